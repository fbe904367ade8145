"""Who can hold a prompt, and who is asked when nobody of a role can do what a request needs."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny_gguf
from gateway import Gate, ScriptedWorker, chat, config, on_uvloop, remote, request, running_gateway, short_folder

from rolecast.config import names
from rolecast.config.current import Current
from rolecast.config.edit import edit_to
from rolecast.config.schema import Config, Model, Routing
from rolecast.decision import Choice, Facts, Verdict
from rolecast.errors import BadRequest
from rolecast.routing import build
from rolecast.routing.abilities import Abilities
from rolecast.routing.view import View

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

CONFIG = Config(
    models={
        "small": Model(context=1024),
        "big": Model(context=8192),
        "vast": Model(context=100_000),
        "eyes": Model(context=1024, capabilities=["chat", "vision"]),
        "unknown": Model(),  # its context was not configured
        "vectors": Model(context=512, capabilities=["embeddings"]),
    },
    roles={
        "standard": ["small"],
        "both": ["small", "big"],
        "open": ["small", "unknown"],
        "twins": [["small", "eyes"]],
        "looking": ["eyes"],
        "coding": ["vast"],
        "embeddings": ["vectors"],
    },
)
ABLE: Mapping[str, frozenset[str]] = {"eyes": frozenset({"vision"}), "big": frozenset({"tools"})}


def can(model_id: str, need: str) -> bool:
    return need in ABLE.get(model_id, ())


def pick(
    name: str, tokens: int = 0, answer: int = 0, needs: str = "", prefers: str = "", conf: Config = CONFIG
) -> Choice:
    wanted = Facts(
        name, "chat", frozenset(needs.split()), frozenset(prefers.split()), tokens=tokens, answer_tokens=answer
    )
    return build(names.table(conf), conf, can).choose(wanted)


# -- how long the prompt is ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "answer", "models"),
    [
        (0, 0, ("small", "big")),
        (1000, 0, ("small", "big")),
        (1100, 0, ("big",)),
        (800, 4096, ("big",)),
        (700, 4096, ("small", "big")),
        (9000, 0, ("big", "small")),
        (16_000, 0, ("big", "small")),
    ],
)
def test_of_a_role_only_those_are_asked_that_hold_the_prompt_and_all_when_none_seems_to(
    tokens: int, answer: int, models: tuple[str, ...]
) -> None:
    choice = pick("both", tokens, answer)
    assert (choice.model, *choice.alternatives) == models
    assert choice.reason == "asked for role both" + ", a model that holds the prompt" * (len(models) == 1)


def test_a_prompt_of_more_than_twice_the_context_is_refused_and_told_who_holds_more() -> None:
    with pytest.raises(
        BadRequest,
        match=r"about 17000 tokens.*'both' has a context of 8192 tokens.*vast holds most, up to 100000. Ask for it",
    ) as e:
        pick("both", 17_000)
    assert (e.value.status, e.value.code) == (400, "context_length_exceeded")
    with pytest.raises(BadRequest, match="Shorten it"):
        pick("coding", 300_000)


def test_a_model_that_is_named_is_asked_whatever_it_holds() -> None:
    assert pick("small", 1_000_000).model == "small"


def test_a_model_of_unknown_context_may_hold_anything() -> None:
    assert pick("open", 5000).model == "unknown"
    assert pick("open", 500).model == "small"


def test_a_word_for_a_kind_of_model_means_those_that_hold_the_prompt() -> None:
    conf = msgspec.structs.replace(CONFIG, roles={"standard": ["small", "big"]})
    assert pick("general_reasoning", 5000, conf=conf).model == "big"


def test_auto_leaves_a_role_that_holds_too_little_for_one_that_holds_it() -> None:
    choice = pick("auto", 5000)
    assert (choice.model, choice.role, choice.source) == ("big", "both", "default")
    assert choice.reason == "no model named, the default role has nobody for it"
    assert pick("auto", 50_000).model == "unknown"
    assert pick("auto", 500).reason == "no model named, default role for chat"


# -- who can -------------------------------------------------------------------------------------------------


def test_auto_gives_a_picture_to_whoever_sees_and_says_so() -> None:
    choice = pick("auto", needs="vision")
    assert (choice.model, choice.role) == ("eyes", "twins")
    assert choice.reason == "no model named, the default role has nobody for it, needs vision"
    with pytest.raises(BadRequest, match="'standard' cannot take images"):
        pick("standard", needs="vision")
    with pytest.raises(BadRequest, match="cannot take sound"):
        pick("auto", needs="audio")


def test_auto_gives_tools_to_whoever_knows_them_and_else_to_its_role() -> None:
    assert pick("auto", prefers="tools").model == "big"
    lacking = msgspec.structs.replace(CONFIG, models={**CONFIG.models, "big": Model(enabled=False)})
    assert pick("auto", prefers="tools", conf=lacking).model == "small"
    assert pick("standard", prefers="tools").model == "small"


def test_vectors_come_from_their_own_role_alone() -> None:
    facts = Facts("auto", "embeddings", frozenset({"vision"}))
    with pytest.raises(BadRequest):
        build(names.table(CONFIG), CONFIG, can).choose(facts)


@pytest.mark.parametrize(
    ("verdict", "facts", "settled"),
    [
        ("small", {}, True),
        ("small", {"tokens": 5000}, False),
        ("standard", {"tokens": 5000}, False),
        ("both", {"tokens": 5000}, True),
        ("standard", {"needs": frozenset({"vision"})}, False),
        ("looking", {"needs": frozenset({"vision"})}, True),
        ("standard", {"prefers": frozenset({"tools"})}, False),
        ("both", {"prefers": frozenset({"tools"})}, True),
        ("standard", {"prefers": frozenset({"search"})}, True),  # nobody here can
        ("standard", {"tokens": 190_000}, False),
        ("coding", {"tokens": 190_000}, True),  # nobody holds it, for all that is known
    ],
)
def test_a_verdict_for_those_who_cannot_is_left_to_the_next_strategy(
    verdict: str, facts: dict[str, Any], settled: bool
) -> None:
    conf = msgspec.structs.replace(CONFIG, models={i: m for i, m in CONFIG.models.items() if i != "unknown"})
    conf = msgspec.structs.replace(conf, roles={k: v for k, v in conf.roles.items() if k != "open"})
    router = build(names.table(conf), conf, can)
    view = View(msgspec.structs.replace(Facts("auto", "chat"), **facts), lambda: None, {})
    assert (router.settle(Verdict(verdict, "rule", "x"), view) is not None) is settled


# -- what is known of a context ------------------------------------------------------------------------------


def test_the_context_of_a_server_elsewhere_is_known_where_it_was_configured(tmp_path: Path) -> None:
    weights = tmp_path / "w.gguf"
    tiny_gguf.write(weights, context=2048)
    models = {
        "elsewhere": Model(backend="openai", url="http://localhost:1"),
        "said": Model(backend="openai", url="http://localhost:1", context=32768),
        "command": Model(backend="command", command=["serve", "--port", "{port}"]),
        "told": Model(backend="command", command=["serve", "{port}", "{context}"]),
        "here": Model(source=str(weights), context=8192),
    }
    abilities = Abilities(Current(edit_to(Config(models=models), {})), lambda model: weights if model.source else None)
    rooms = {name: abilities.room(name) for name in models}
    assert rooms == {"elsewhere": None, "said": 32768, "command": None, "told": 4096, "here": 2048}


# -- on a running gateway ------------------------------------------------------------------------------------


@asynccontextmanager
async def cast(
    models: dict[str, dict[str, Any]], roles: dict[str, Any], **more: Any
) -> AsyncIterator[tuple[Gate, dict[str, ScriptedWorker]]]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(short_folder())
        workers = {
            name: await stack.enter_async_context(ScriptedWorker().listening(f"{folder}/{i}.sock"))
            for i, name in enumerate(models)
        }
        conf = config({name: remote(workers[name].url, **fields) for name, fields in models.items()}, **more)
        conf = msgspec.structs.replace(conf, roles=roles, routing=Routing(strategies=["explicit"]))
        yield await stack.enter_async_context(running_gateway(conf, Path(folder))), workers


MODELS: dict[str, dict[str, Any]] = {"small": {"context": 1024}, "big": {"context": 8192}}


async def test_a_role_gives_long_prompts_to_the_model_that_holds_them_and_short_ones_to_the_first() -> None:
    async with cast(MODELS, {"standard": ["small", "big"]}) as (gate, _):
        long, longest = "why is it so? " * 300, "why is it so? " * 6000
        for asked in ("standard", "auto"):
            for text, model in (("hi", "small"), (long, "big"), ("hi", "small"), (long, "big")):
                answer = await gate.ask(request(chat(text, asked)))
                assert answer.header("x-rolecast-model") == model
            answer = await gate.ask(request(chat(longest, asked)))
            assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
        assert len(gate.gateway.plans.made) == 2, "only what holds for any short request is kept"
        answer = await gate.ask(request(chat(longest, "small")))
        assert answer.status == 200, "its own server tells"


async def test_a_long_body_of_few_tokens_stays_with_the_first() -> None:
    async with cast(MODELS, {"standard": ["small", "big"]}) as (gate, workers):
        padded = chat("hi", "standard", user="u" * 20_000, metadata={"prefer": "a seat by the window"})
        assert (await gate.ask(request(padded))).header("x-rolecast-model") == "small"
        (received,) = workers["small"].requests
        assert received.json["metadata"] == padded["metadata"], "who names a model says no hint"


async def test_a_client_of_anthropic_learns_that_it_must_shorten_its_prompt() -> None:
    async with cast({"small": {"context": 1024}}, {"standard": ["small"]}) as (gate, _):
        body = {
            "model": "standard",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "why is it so? " * 2000}],
        }
        answer = await gate.ask(request(body, path="/v1/messages"))
        assert answer.status == 400
        assert answer.json["error"]["message"].startswith("prompt is too long: ")
        assert "1024 maximum" in answer.json["error"]["message"]


async def test_a_kept_conversation_that_grew_too_long_moves_to_the_model_that_holds_it() -> None:
    async with cast(MODELS, {"standard": ["small", "big"]}) as (gate, _):
        first = await gate.ask(request({"model": "standard", "input": "why is it so? " * 190}, path="/v1/responses"))
        assert first.header("x-rolecast-model") == "small"
        more = {"model": "standard", "input": "and then? " * 120, "previous_response_id": first.json["id"]}
        answer = await gate.ask(request(more, path="/v1/responses"))
        assert answer.header("x-rolecast-model") == "big"
