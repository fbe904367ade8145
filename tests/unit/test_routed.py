"""Requests that name nobody, through a running gateway: who answers, and what the header says of why."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import Answer, Gate, chat, config, on_uvloop, request, running_gateway

from rolecast.config.labels import BUSINESS, CATEGORIES
from rolecast.config.routing import Labels, Routing, Rule, When
from rolecast.config.schema import Config, Model

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

CODE = "write a python function that merges two sorted lists"
ROUTER = Path(__file__).parents[2] / "training" / "router"
SLM = ("standard", "router", "reasoning", "coding")
LABELS = Labels(
    examples={
        "kitchen": ["how long do I boil an egg", "my sauce is too thin", "can I freeze bread dough", "dull knives"],
        "garden": ["when do I plant tulips", "slugs eat my lettuce", "how do I prune roses", "moss in the lawn"],
    },
    use={"kitchen": "cook", "garden": "gardener"},
)


def settings(*roles: str, **routing: Any) -> Config:
    """Each role has a fake model of its name, and the first is the default."""
    made = config({f"m-{role}": Model(backend="fake", parallel=16, context=2_000_000) for role in roles})
    listed: dict[str, list[str | list[str]]] = {role: [f"m-{role}"] for role in roles}
    return msgspec.structs.replace(made, roles=listed, routing=Routing(default=roles[0], **routing))


@asynccontextmanager
async def gateway(folder: Path, *roles: str, **routing: Any) -> AsyncIterator[Gate]:
    async with running_gateway(settings(*roles, **routing), folder) as gate:
        yield gate


def why(answer: Answer) -> tuple[str | None, str | None]:
    assert answer.status == 200, answer.body
    return answer.header("x-rolecast-model"), answer.header("x-rolecast-route")


async def ask(gate: Gate, text: str, **fields: Any) -> tuple[str | None, str | None]:
    return why(await gate.ask(request(chat(text, "auto", **fields))))


async def test_the_header_says_which_strategy_decided_and_why(tmp_path: Path) -> None:
    mine = Rule(use="reasoning", name="contracts", when=When(matches=r"(?i)\bcontract\b"))
    async with gateway(tmp_path, *SLM, rules=[mine]) as gate:
        assert await ask(gate, "Is this Contract void?") == ("m-reasoning", "rule; rule contracts")
        assert await ask(gate, "thanks a lot!") == ("m-router", "rule; a bare greeting, so router")
        assert await ask(gate, CODE) == ("m-coding", "learned; looks like code_generation, so coding")
        assert await ask(gate, "?!") == ("m-standard", "default; no model named, default role for chat")
        named = await gate.ask(request(chat("Is this contract void?", "coding")))
        assert why(named) == ("m-coding", "role; asked for role coding")
        nobody = await gate.ask(request({"messages": [{"role": "user", "content": CODE}]}))
        assert why(nobody)[0] == "m-coding"
        rows = await gate.rows()
        assert [row.route.split(";")[0] for row in rows[:4]] == ["rule", "rule", "learned", "default"]
        assert not any("python" in str(row) or "void" in str(row) for row in rows)


async def test_what_was_said_last_decides_also_of_a_long_talk_and_in_parts(tmp_path: Path) -> None:
    talk = [
        {"role": "user", "content": CODE},
        {"role": "assistant", "content": "def merge(a, b): ..."},
        {"role": "user", "content": [{"type": "text", "text": "thank you"}]},
    ]
    async with gateway(tmp_path, *SLM) as gate:
        answer = await gate.ask(request({"model": "auto", "messages": talk}))
        assert why(answer) == ("m-router", "rule; a bare greeting, so router")


async def apply(gate: Gate, edit: Config) -> None:
    """What a reload of the file does."""
    current = gate.gateway.current.config
    await gate.gateway.reloader.apply(msgspec.structs.replace(edit, server=current.server, storage=current.storage))


async def test_an_image_passes_by_a_rule_whose_model_is_blind(tmp_path: Path) -> None:
    blind = Rule(use="coding", name="blind", when=When(matches="look"))
    sees = Rule(use="eyes", name="sees", when=When(matches="look"))
    made = settings("standard", "coding", "eyes", rules=[blind, sees])
    made.models["m-eyes"] = Model(backend="fake", capabilities=["chat", "vision"])
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    async with running_gateway(made, tmp_path) as gate:
        assert await ask(gate, "look here") == ("m-coding", "rule; rule blind")
        content = [{"type": "text", "text": "look here"}, image]
        answer = await gate.ask(request({"model": "auto", "messages": [{"role": "user", "content": content}]}))
        assert why(answer) == ("m-eyes", "rule; rule sees")


async def test_a_body_of_a_megabyte_and_a_pattern_made_to_be_slow_hold_up_nobody(tmp_path: Path) -> None:
    slow = [Rule(use="coding", when=When(matches=pattern)) for pattern in (r"(a+)+$", r"(.*)*x", r"((a{0,30}){30})b")]
    async with gateway(tmp_path, *SLM, rules=slow) as gate:
        await ask(gate, "warm up")
        big = asyncio.create_task(ask(gate, "a" * 1_000_000 + "!"))
        start = asyncio.get_running_loop().time()
        while not big.done():
            await ask(gate, "good morning")
        assert "rule" not in str(await big)
        assert asyncio.get_running_loop().time() - start < 5


async def test_words_for_categories_and_tiers_are_obeyed(tmp_path: Path) -> None:
    async with gateway(tmp_path, *SLM) as gate:
        for name in ("code_review_debugging", "heavy", "planning"):
            answer = await gate.ask(request(chat("hi", name)))
            assert (answer.header("x-rolecast-route") or "").startswith(f"rule; asked for the word {name}, which means")


# -- the learned model and labels of the user's own ------------------------------------------------------------


async def test_rules_alone_never_read_the_learned_model(tmp_path: Path) -> None:
    async with gateway(tmp_path, *SLM, strategies=["explicit", "rules"]) as gate:
        assert await ask(gate, "hi") == ("m-router", "rule; a bare greeting, so router")
        assert (await ask(gate, CODE))[0] == "m-standard"
        assert gate.gateway.plans.mind() is None
        await gate.gateway.plans.mind.wake()  # as another part of the gateway may
        assert gate.gateway.plans.mind() is not None
        assert await ask(gate, "thanks") == ("m-router", "rule; a bare greeting, so router")


async def test_labels_of_the_users_own_are_learned_with_the_model_and_again_by_an_edit(tmp_path: Path) -> None:
    roles = ("standard", "cook", "gardener")
    async with gateway(tmp_path, *roles, labels={"room": LABELS}) as gate:
        assert gate.gateway.plans.mind.labels() == {}  # nobody needed them yet
        slugs = "slugs eat all my lettuce"
        assert await ask(gate, slugs) == ("m-gardener", "learned; looks like garden of room, so gardener")
        swapped = msgspec.structs.replace(LABELS, use={"kitchen": "gardener", "garden": "cook"})
        await apply(gate, settings(*roles, labels={"room": swapped}))
        assert await ask(gate, slugs) == ("m-cook", "learned; looks like garden of room, so cook")
        renamed = Labels(
            examples={"food": LABELS.examples["kitchen"], "plants": LABELS.examples["garden"]}, use={"plants": "cook"}
        )
        await apply(gate, settings(*roles, labels={"place": renamed}))
        assert set(gate.gateway.plans.mind.labels()) == {"place"}  # before anybody asks
        assert await ask(gate, slugs) == ("m-cook", "learned; looks like plants of place, so cook")
        await apply(gate, settings(*roles))
        assert "room" not in str(await ask(gate, slugs))
        assert gate.gateway.plans.mind.labels() == {}


async def test_an_edit_before_anybody_asked_is_what_is_learned(tmp_path: Path) -> None:
    roles = ("standard", "cook", "gardener")
    async with gateway(tmp_path, *roles) as gate:
        await apply(gate, settings(*roles, labels={"room": LABELS}))
        assert gate.gateway.plans.mind.asleep
        assert (await ask(gate, "slugs eat all my lettuce"))[0] == "m-gardener"


async def test_who_asks_while_the_labels_are_learned_waits_and_gets_the_newest(tmp_path: Path) -> None:
    roles = ("standard", "cook", "gardener")
    async with gateway(tmp_path, *roles, labels={"old": LABELS}) as gate:
        asking = [asyncio.create_task(ask(gate, "slugs eat all my lettuce")) for _ in range(5)]
        await asyncio.sleep(0)
        await apply(gate, settings(*roles, labels={"new": LABELS}))
        answers = {await each for each in asking}
        assert answers <= {
            ("m-gardener", "learned; looks like garden of new, so gardener"),
            ("m-gardener", "learned; looks like garden of old, so gardener"),
        }
        assert await ask(gate, "slugs eat all my lettuce") == (
            "m-gardener",
            "learned; looks like garden of new, so gardener",
        )


async def test_switching_the_learned_strategy_on_reads_the_model(tmp_path: Path) -> None:
    async with gateway(tmp_path, *SLM, strategies=["rules"]) as gate:
        assert (await ask(gate, CODE))[0] == "m-standard"
        await apply(gate, settings(*SLM))
        assert (await ask(gate, CODE))[0] == "m-coding"


async def test_examples_that_teach_nothing_are_left_out_and_quoted_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Labels(examples={"a": ["a secret prompt"], "b": []}, use={"a": "coding"})
    with caplog.at_level(logging.WARNING):
        async with gateway(tmp_path, *SLM, labels={"broken": broken}) as gate:  # as no check would let it in
            assert (await ask(gate, CODE))[0] == "m-coding"
    assert "routing.labels.broken is left out" in caplog.text
    assert "secret" not in caplog.text


async def test_a_model_that_fails_to_be_read_leaves_the_next_strategy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rolecast.routing.learned import Learned

    def broken(*_: object) -> Learned:
        raise RuntimeError("no memory")

    monkeypatch.setattr(Learned, "load", broken)
    async with gateway(tmp_path, *SLM) as gate:
        assert (await ask(gate, CODE))[1] == "default; no model named, default role for chat"
        assert (await ask(gate, "hi"))[0] == "m-router"


async def test_bestboxs_destinations_from_ten_examples_each(tmp_path: Path) -> None:
    examples: dict[str, list[str]] = {}
    for line in (ROUTER / "destinations" / "examples.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        examples.setdefault(row["destination"], []).append(row["text"])
    own = Labels(examples=examples, use={label: label for label in BUSINESS})
    async with gateway(tmp_path, "general", *BUSINESS, labels={"destination": own}) as gate:
        for text, role in (
            ("What is our current inventory level?", "erp"),
            ("Which customers are at risk of churning?", "crm"),
            ("Schedule a meeting with the team.", "oa"),
        ):
            assert await ask(gate, text) == (f"m-{role}", f"learned; looks like {role} of destination, so {role}")


# -- Conductor's prompts without a category --------------------------------------------------------------------


CONDUCTOR = ("general_reasoning", *(each for each in CATEGORIES if each != "general_reasoning"))


@pytest.mark.parametrize(
    ("prompt", "category"),
    [
        (CODE, "code_generation"),
        ("Translate 'good morning, how are you?' into Polish.", "translation"),
        ("solve 3x + 7 = 22 for x", "mathematical_reasoning"),
        ("What does this do wrong?\ndef add(a, b):\n    return a - b\nprint(add(1, 2))  # prints -1", "code_review"),
        ("hello, how are you today?", "conversational_chat"),
        ("xqzt vvk", "general_reasoning"),
    ],
)
@pytest.mark.parametrize("fields", [{}, {"category": ""}, {"category": "auto"}, {"category": None, "model": "auto"}])
async def test_a_prompt_without_a_category_is_classified_and_the_reply_says_as_what(
    conductor: Gate, prompt: str, category: str, fields: dict[str, Any]
) -> None:
    for path in ("/generate", "/conductor/generate"):
        answer = await conductor.ask(request({"prompt": prompt, **fields}, path=path))
        assert answer.status == 200, answer.body
        assert (answer.json["category"], answer.json["model"]) == (category, f"m-{category}")
    streamed = await conductor.ask(request({"prompt": prompt, "stream": True, **fields}, path="/generate/stream"))
    pieces = [json.loads(line[6:]) for line in streamed.body.decode().split("\n\n") if line]
    assert {piece["category"] for piece in pieces if "chunk" in piece} == {category}


@pytest.fixture(scope="module")
async def conductor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    async with gateway(tmp_path_factory.mktemp("conductor"), *CONDUCTOR) as gate:
        yield gate


@pytest.mark.parametrize(
    ("prompt", "never"),
    [
        ("Which of the two proteins binds the receptor more strongly, and how was it measured?", "conversational_chat"),
        ("Name a well-known painter of the baroque", "mathematical_reasoning"),
        ("What is a class action lawsuit?", "code_generation"),
        ("Review this contract: the tenant shall indemnify the landlord for all damages.", "code_review"),
        ("Which research does this theory need, you think?", "conversational_chat"),
        ("How long does a ball python live in captivity?", "code_generation"),
        ("Help me complete the form for a parking permit", "code_completion"),
        ("draw up a list of what Rome left to Europe", "image_generation"),
        ("What is a motion for summary judgment?", "summarization"),
    ],
)
async def test_a_word_within_a_prompt_does_not_make_its_category(conductor: Gate, prompt: str, never: str) -> None:
    answer = await conductor.ask(request({"prompt": prompt}, path="/generate"))
    assert answer.json["category"] != never


async def test_who_names_a_category_or_a_path_is_not_second_guessed(conductor: Gate) -> None:
    told = await conductor.ask(request({"prompt": CODE, "category": "translation"}, path="/generate"))
    assert (told.json["category"], told.json["model"]) == ("translation", "m-translation")
    auto = await conductor.ask(request({"prompt": CODE, "category": "translation", "model": "auto"}, path="/generate"))
    assert (auto.json["category"], auto.json["model"]) == ("translation", "m-translation")
    path = await conductor.ask(request({"prompt": CODE}, path="/summarize"))
    assert (path.json["category"], path.json["model"]) == ("summarization", "m-summarization")
    talk = await conductor.ask(request({"prompt": CODE}, path="/chat/completions"))
    assert (talk.json["category"], talk.json["model"]) == ("conversational_chat", "m-conversational_chat")


async def test_a_category_without_a_role_of_its_own_goes_to_the_role_it_stands_for(tmp_path: Path) -> None:
    async with gateway(tmp_path, *SLM) as gate:
        for path, model_id in (("/code/generation", "m-coding"), ("/translate", "m-standard")):
            answer = await gate.ask(request({"prompt": "x"}, path=path))
            assert (answer.status, answer.json["model"]) == (200, model_id)
        plain = await gate.ask(request({"prompt": CODE}, path="/generate"))
        assert (plain.json["category"], plain.json["model"]) == ("code_generation", "m-coding")
        greeting = await gate.ask(request({"prompt": "hi"}, path="/generate"))
        assert greeting.json["model"] == "m-router"


async def test_without_the_learned_strategy_a_prompt_is_of_the_default_roles_category(tmp_path: Path) -> None:
    async with gateway(tmp_path, "conversational_chat", "coding", strategies=["explicit"]) as gate:
        for _ in range(2):
            answer = await gate.ask(request({"prompt": CODE}, path="/generate"))
            assert answer.json["category"] == "conversational_chat"


# -- what a request says of itself -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "model", "reason"),
    [
        ({"channel": "CODE_TASK"}, "m-coding", "channel CODE_TASK, so coding"),
        ({"channel": "SYSTEM_HEALTH"}, "m-reasoning", "channel SYSTEM_HEALTH, so reasoning"),
        ({"channel": "CHAT"}, "m-router", "channel CHAT, so router"),
        ({"type": "planning"}, "m-reasoning", "type planning, so reasoning"),
        ({"force_domain": "erp"}, "m-reasoning", "domain erp is forced, so reasoning"),
        ({"force_domain": "general"}, "m-standard", "domain general is forced, so standard"),
        ({"category": "code_review_debugging"}, "m-coding", "task code_review is asked, so coding"),
    ],
)
async def test_metadata_decides_for_every_dialect(
    tmp_path: Path, metadata: dict[str, str], model: str, reason: str
) -> None:
    text = "What is the role of glucose in diabetes?"
    talk = {"model": "auto", "messages": [{"role": "user", "content": text}], "metadata": metadata, "max_tokens": 99}
    bodies = {
        "/v1/chat/completions": talk,
        "/v1/messages": talk,
        "/v1/responses": {"model": "auto", "input": text, "metadata": metadata},
    }
    async with gateway(tmp_path, *SLM) as gate:
        for path, body in bodies.items():
            assert why(await gate.ask(request(body, path=path))) == (model, f"rule; {reason}"), path


async def test_a_rule_reads_metadata_tools_and_length(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    listed = [
        Rule(use="reasoning", name="team", when=When(metadata={"team": "*"})),
        Rule(use="coding", name="tools", when=When(tools=True)),
        Rule(use="router", name="long", when=When(min_tokens=1000)),
        Rule(use="coding", name="french", when=When(language=["fr"])),
    ]
    async with gateway(tmp_path, *SLM, rules=listed) as gate:
        for fields, name in (
            ({"metadata": {"team": "a"}}, "team"),
            ({"tools": [tool]}, "tools"),
        ):
            assert (await ask(gate, "what is the time in Oslo", **fields))[1] == f"rule; rule {name}"
        assert (await ask(gate, "the river rose again " * 500))[1] == "rule; rule long"
        french = "Pourquoi le ciel est-il bleu pendant la journée et rouge le soir ?"
        assert (await ask(gate, french))[1] == "rule; rule french"


async def test_tools_never_reach_the_light_model_of_bestbox(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    async with gateway(tmp_path, "light", "heavy") as gate:
        assert (await ask(gate, "hi"))[0] == "m-light"
        for text in ("hi", "what is the capital of Norway", "thanks"):
            assert (await ask(gate, text, tools=[tool]))[0] == "m-heavy"


async def test_a_completion_is_routed_by_its_prompt(tmp_path: Path) -> None:
    made = settings(*SLM, rules=[Rule(use="m-coding", name="python", when=When(matches="^def "))])
    models = {i: msgspec.structs.replace(m, capabilities=["chat", "completion"]) for i, m in made.models.items()}
    async with running_gateway(msgspec.structs.replace(made, models=models), tmp_path) as gate:
        body = {"model": "auto", "prompt": "def merge(a, b):\n"}
        answer = await gate.ask(request(body, path="/v1/completions"))
        assert why(answer) == ("m-coding", "rule; rule python")
