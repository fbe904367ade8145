"""Tasks on a scripted worker: what each value of each option makes of the request that reaches a model."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    DONE,
    USAGE,
    Gate,
    ScriptedWorker,
    config,
    delta,
    event,
    on_uvloop,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    stream,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolecast.config.labels import CATEGORIES, EXTERNAL, TWINS
from rolecast.config.schema import Routing
from rolecast.config.tasks import Option, Task
from rolecast.dialects.conductor import TASKS
from rolecast.dialects.request import Order
from rolecast.errors import Invalid
from rolecast.tasks import PLAYS, play_of
from rolecast.tasks.job import MOST_TEXTS, job_of
from rolecast.tasks.table import PATHS, built_in, merged
from rolecast.values import Chat, Message, Part, Sampling

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

QUESTION = "Which of the two is older?"
VOCABULARY: dict[str, dict[str, list[str]]] = {
    "general_reasoning": {
        "reasoning_type": [
            "logical",
            "analytical",
            "causal",
            "comparative",
            "critical",
            "strategic",
            "ethical",
            "systematic",
        ],
        "step_by_step": ["true", "false"],
        "consider_alternatives": ["true", "false"],
        "depth": ["shallow", "medium", "deep"],
    },
    "conversational_chat": {},
    "creative_writing": {
        "genre": ["fiction", "poetry", "screenplay", "dialogue", "prose", "humor", "a fable"],
        "style": ["literary", "like a telegram"],
        "length": ["short", "medium", "long"],
        "tone": ["engaging", "dry"],
        "techniques": ["foreshadowing", "irony"],
        "characters": ["a cook", "a thief"],
        "setting": ["a ship", "a mine"],
        "add_title": ["true", "false"],
    },
    "instruction_following": {
        "instruction_type": [
            *["task_completion", "format_conversion", "analysis_request", "transformation"],
            *["extraction", "classification", "comparison", "synthesis"],
        ],
        "context": ["a letter", "a bill"],
        "format_requirements": ["a list", "a table", "steps", "JSON"],
        "examples": ["in: a, out: b", "in: c, out: d"],
        "constraints": ["no jargon", "be kind"],
        "validate_completeness": ["true", "false"],
    },
    "question_answering": {
        "context": ["The tower is older.", "The bridge is older."],
        "question_type": ["factual", "explanatory", "analytical", "comparative", "opinion", "procedural", "contextual"],
        "answer_format": ["direct", "detailed", "structured", "bullet_points", "pros_and_cons", "step_by_step"],
        "confidence_level": ["true", "false"],
        "sources_requested": ["true", "false"],
        "depth": ["shallow", "medium", "deep"],
    },
    "scientific_research": {
        "domain": ["biology", "physics", "computer_science", "medicine", "folklore"],
        "task_type": [
            *["literature_review", "methodology_analysis", "results_interpretation", "hypothesis_generation"],
            *[
                "experimental_design",
                "data_analysis",
                "paper_summary",
                "research_proposal",
                "peer_review",
                "meta_analysis",
            ],
        ],
        "evidence_level": ["high", "moderate", "low", "expert_opinion", "hearsay"],
        "include_citations": ["true", "false"],
        "peer_review_mode": ["true", "false"],
        "methodology_focus": ["true", "false", "sampling"],
        "statistical_analysis": ["true", "false"],
    },
    "legal_analysis": {
        "legal_area": ["contract", "tax", "privacy", "maritime"],
        "document_type": ["contract", "lease", "will", "a letter"],
        "analysis_type": [
            *["risk_assessment", "compliance_review", "contract_review", "precedent_analysis", "regulatory_analysis"],
            *["due_diligence", "clause_analysis", "comparative_analysis", "summary", "redlining"],
        ],
        "jurisdiction": ["general", "Germany", "Texas"],
        "risk_focus": ["true", "false"],
        "compliance_standards": ["GDPR", "HIPAA"],
        "cite_precedents": ["true", "false"],
    },
}
"""What clients may say, from the documentation of Conductor; and a word of their own where any will do."""
COUNTS = {("scientific_research", "domain"): 12, ("legal_analysis", "legal_area"): 12}
COUNTS |= {("legal_analysis", "document_type"): 10, ("legal_analysis", "analysis_type"): 10}
COUNTS |= {("scientific_research", "task_type"): 10}
DEFAULTS: dict[str, dict[str, Any]] = {
    "general_reasoning": {
        "reasoning_type": "analytical",
        "step_by_step": True,
        "consider_alternatives": True,
        "depth": "medium",
    },
    "creative_writing": {"genre": "fiction", "style": "literary", "length": "medium", "tone": "engaging"},
    "instruction_following": {"instruction_type": "task_completion", "validate_completeness": True},
    "question_answering": {
        "answer_format": "detailed",
        "confidence_level": False,
        "sources_requested": False,
        "depth": "medium",
    },
    "scientific_research": {
        "task_type": "literature_review",
        "evidence_level": "high",
        "include_citations": True,
        "peer_review_mode": True,
    },
    "legal_analysis": {"analysis_type": "summary", "jurisdiction": "general", "risk_focus": True},
}
SETTINGS = {
    "general_reasoning": (0.7, 0.9, 512, 1.1),
    "conversational_chat": (0.7, 0.9, 512, 1.1),
    "creative_writing": (0.8, 0.95, 1024, 1.05),
    "instruction_following": (0.5, 0.9, 1024, 1.1),
    "question_answering": (0.6, 0.9, 512, 1.1),
    "scientific_research": (0.5, 0.85, 1024, 1.1),
    "legal_analysis": (0.3, 0.85, 1536, 1.15),
}
OURS = tuple(VOCABULARY)
FLAGS = (
    *("consider_alternatives", "add_title", "validate_completeness", "confidence_level", "sources_requested"),
    *("peer_review_mode", "statistical_analysis", "risk_focus", "cite_precedents"),
)
SILENT = {"depth": "medium", "jurisdiction": "general", "methodology_focus": "false", **dict.fromkeys(FLAGS, "false")}
"""Values that add no sentence, which is how they differ from the others."""


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    """`m` answers all but what `talker` is named for."""
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            own = {
                "haiku": Task(
                    system="Write a haiku.",
                    model="talker",
                    temperature=0.0,
                    max_tokens=0,
                    options={"season": Option(kind="word", values=["spring", "autumn"], says="Season: {value}.")},
                ),
                "Legal Document Analysis": Task(ends="Ask a lawyer in town.", model="talker"),
                "general_reasoning": Task(options={"depth": Option(default="deep", says={"deep": "Go very deep."})}),
                "bare": Task(system="Say it."),
            }
            made = config({name: remote(worker.url) for name in ("m", "talker")})
            made = msgspec.structs.replace(
                made,
                roles={"standard": ["m"], "image_generation": ["m"]},
                routing=Routing(default="standard"),
                tasks=own,
            )
            async with running_gateway(made, Path(folder)) as gate:
                yield gate, worker


@pytest.fixture
def both(front: Gate, worker: ScriptedWorker) -> tuple[Gate, ScriptedWorker]:
    return front, worker


def asked(category: str = "", path: str = "/conductor/generate", prompt: str = QUESTION, **fields: Any) -> bytes:
    body = {"prompt": prompt, **({"category": category} if category else {}), **fields}
    return request(body, path=path)


def sent(worker: ScriptedWorker, place: int = -1) -> Any:
    return worker.requests[place].json


def words(worker: ScriptedWorker) -> dict[str, str]:
    """The messages that reached the model, by role; each role once, the system first."""
    messages = sent(worker)["messages"]
    assert [each["role"] for each in messages] in (["system", "user"], ["user"]), messages
    return {each["role"]: each["content"] for each in messages}


def said(text: str) -> Any:
    """A whole answer, or the same as a stream, whatever is asked for."""
    return stream(delta(text), event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}), USAGE, DONE)


# -- the rows ------------------------------------------------------------------------------------------------------


def test_every_row_of_ours_has_the_options_defaults_and_settings_that_are_documented() -> None:
    rows = built_in()
    for name in OURS:
        row = rows[name]
        assert set(row.options) == set(VOCABULARY[name]), name
        defaults = {option: each.default for option, each in row.options.items() if each.default not in (None, False)}
        wanted = {option: value for option, value in DEFAULTS.get(name, {}).items() if value is not False}
        assert defaults == wanted, name
        assert (row.temperature, row.top_p, row.max_tokens, row.repetition_penalty) == SETTINGS[name]
    assert {name for name, row in rows.items() if row.persona and name in OURS} == {
        "conversational_chat",
        "general_reasoning",
        "question_answering",
        "instruction_following",
    }
    for (name, option), count in COUNTS.items():
        assert len(rows[name].options[option].values) == count


def test_every_option_of_every_row_can_be_read_and_is_explained() -> None:
    for name, row in built_in().items():
        assert row.title and row.description and len(row.system) < 400, name  # noqa: PT018
        assert not row.play or row.play in PLAYS
        for option_name, option in row.options.items():
            assert option.description, (name, option_name)
            if option.default is not None:
                assert job(row, {option_name: option.default}).options[option_name] == option.default
            if isinstance(option.says, dict):
                assert set(option.says) <= {*option.values, "*", "true", "false"}, (name, option_name)
                assert not option.open or "*" in option.says


def test_every_play_can_be_found() -> None:
    for name in PLAYS:
        assert callable(play_of(name))


def test_the_paths_that_are_told_are_those_that_are_served() -> None:
    assert {path: name for name, path in PATHS.items() if path != "/chat/completions"} == dict(TASKS)


# -- what reaches the worker ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [name for name in OURS if VOCABULARY[name]])
async def test_each_value_of_each_option_changes_what_reaches_the_worker(
    both: tuple[Gate, ScriptedWorker], task: str
) -> None:
    gate, worker = both
    worker.usual = said("hi there.")
    for option, values in VOCABULARY[task].items():
        told: dict[str, str] = {}
        row = merged(gate.gateway.current.config.tasks)[task].options[option]
        values = list(dict.fromkeys([*values, *row.values]))
        for value in values:
            worker.requests.clear()
            options = {"validate_completeness": False, option: value}
            answer = await gate.ask(asked(task, extra_params=options))
            assert answer.status == 200, answer.body
            told[value] = json.dumps(sent(worker, 0)["messages"])
        assert len(set(told.values())) == len(values), (task, option)
        # One that adds nothing is the shortest, and is meant to: every other one has a sentence of its own.
        shortest = min(map(len, told.values()))
        silent = {value for value, text in told.items() if value == SILENT.get(option)}
        assert {value for value in silent if len(told[value]) != shortest} == set(), (task, option)
        for value in set(values) - silent:
            known = value in row.values or row.kind == "flag"
            sentence = row.says.get(value if known else "*", "") if isinstance(row.says, dict) else row.says
            sentence = (sentence or row.puts).replace("{value}", value)
            assert sentence, (task, option, value)
            assert json.dumps(sentence)[1:-1] in told[value], (task, option, value)


@pytest.mark.parametrize("task", OURS)
async def test_the_prompt_is_messages_with_the_settings_of_the_task_and_nothing_is_sent_twice(
    both: tuple[Gate, ScriptedWorker], task: str
) -> None:
    gate, worker = both
    worker.usual = said("hi")
    answer = await gate.ask(asked(task, extra_params={"context": "A tower stood here before the bridge did."}))
    assert answer.status == 200, answer.body
    assert len(worker.requests) == 1
    told = words(worker)
    system = merged(gate.gateway.current.config.tasks)[task].system.strip()
    assert told["system"].startswith(system)
    assert told["system"].count(system) == 1
    assert told["user"].endswith(QUESTION)
    assert json.dumps(sent(worker)).count(QUESTION) == 1
    temperature, top_p, most, penalty = SETTINGS[task]
    assert sent(worker).items() >= {"temperature": temperature, "top_p": top_p, "max_tokens": most}.items()
    assert penalty in (sent(worker).get("repetition_penalty"), sent(worker).get("repeat_penalty"))


@pytest.mark.parametrize("place", ["beside", "extra_params", "both"])
async def test_an_explicit_zero_is_obeyed_wherever_it_stands(both: tuple[Gate, ScriptedWorker], place: str) -> None:
    gate, worker = both
    zeros = {"temperature": 0, "top_p": 0, "max_tokens": 0}
    fields: dict[str, Any] = {} if place == "extra_params" else dict(zeros)
    if place != "beside":
        fields["extra_params"] = zeros
    assert (await gate.ask(asked("general_reasoning", **fields))).status == 200
    assert {name: sent(worker)[name] for name in zeros} == zeros


async def test_a_tasks_own_zeros_are_a_temperature_of_zero_and_no_limit(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    assert (await gate.ask(asked("haiku"))).status == 200
    assert sent(worker)["temperature"] == 0
    assert "max_tokens" not in sent(worker)
    await gate.ask(asked("haiku", max_tokens=9))
    assert sent(worker)["max_tokens"] == 9


async def test_several_texts_stand_on_lines_of_their_own_and_other_names_of_options_are_known(
    both: tuple[Gate, ScriptedWorker],
) -> None:
    gate, worker = both
    worker.usual = said("hi")
    lists = {"constraints": ["be kind", {"tone": "dry"}], "examples": {"in": "out"}, "output_format": ["plain prose"]}
    await gate.ask(asked("instruction_following", extra_params=lists))
    told = words(worker)
    assert '- be kind\n- {"tone":"dry"}' in told["user"]
    assert "Examples:\nin: out" in told["user"]
    assert "plain prose" in told["system"]


async def test_what_a_request_says_before_its_prompt_and_beside_it_stays(both: tuple[Gate, ScriptedWorker]) -> None:
    row = built_in()["general_reasoning"]
    pictured = (Part("text", "old words"), Part("image", data="data:image/png;base64,AA=="))
    chat = Chat("m", (Message("system", "be brief"), Message("user", "a"), Message("assistant", "b")))
    chat = msgspec.structs.replace(chat, messages=(*chat.messages, Message("user", pictured)))
    told = job_of(Order("general_reasoning", "new words", {}), "general_reasoning", row, chat).written().messages
    assert [each.role for each in told] == ["system", "user", "assistant", "user"]
    assert str(told[0].content).endswith("be brief")
    assert told[-1].content == (Part("text", "new words"), pictured[1])


async def test_what_ollamas_fields_say_is_obeyed_together_with_the_task(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    body = asked("bare", "/generate", system="be brief", options={"top_k": 3}, colour="red")
    answer = await gate.ask(body)
    assert words(worker) == {"system": "Say it.\n\nbe brief", "user": QUESTION}
    assert sent(worker)["top_k"] == 3
    assert answer.json["metadata"] == {"ignored_options": ["colour"]}


# -- where tasks are reached ---------------------------------------------------------------------------------------


SPELLINGS = [*(name for name in CATEGORIES if name != EXTERNAL), *TWINS]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", SPELLINGS)
async def test_every_category_answers_as_such_whole_and_streamed(
    both: tuple[Gate, ScriptedWorker], name: str, streamed: bool
) -> None:
    gate, worker = both
    worker.usual = said("4")
    text = {"text_to_summarize": "x y z", "code_to_review": "x = 1", "context_text": "x y z"}
    for path in ("/generate/stream",) if streamed else ("/generate", "/conductor/generate"):
        answer = await gate.ask(asked(name, path, stream=streamed, extra_params=text))
        assert answer.status == 200, answer.body
        if streamed:
            *pieces, last = [json.loads(line[6:]) for line in answer.body.decode().split("\n\n") if line]
            assert last["done"] is True
            told = next(each for each in pieces if "chunk" in each)["category"]
        else:
            told = answer.json["category"]
        assert told == TWINS.get(name, name)


@pytest.mark.parametrize(("path", "task"), [*TASKS.items(), ("/chat/completions", "conversational_chat")])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_direct_path_is_its_task(
    both: tuple[Gate, ScriptedWorker], path: str, task: str, streamed: bool
) -> None:
    gate, worker = both
    worker.usual = said("4")
    answer = await gate.ask(asked("", path, stream=streamed))
    assert answer.status == 200, answer.body
    assert (f'"category":"{task}"').encode() in answer.body.replace(b": ", b":")
    if task in OURS:
        assert merged(gate.gateway.current.config.tasks)[task].system.strip() in words(worker)["system"]


async def test_a_model_that_is_named_alone_gets_no_prompt_of_ours(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    await gate.ask(asked(model="m", session_id=None))
    assert words(worker) == {"user": QUESTION}


# -- the user's own ------------------------------------------------------------------------------------------------


async def test_a_task_of_the_users_own_is_a_category_with_its_model(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    answer = await gate.ask(asked("Haiku", season="autumn"))
    assert (answer.status, answer.json["category"], answer.json["model"]) == (200, "haiku", "talker")
    assert words(worker)["system"] == "Write a haiku.\n\nSeason: autumn."
    bare = await gate.ask(asked("bare"))
    assert (bare.json["category"], bare.json["model"]) == ("bare", "m")  # the default role answers
    found = (await gate.ask(request(path="/categories", method="GET"), method="GET")).json
    assert {"haiku", "bare"} <= set(found["categories"])
    assert found["category_info"]["haiku"]["model"] == "talker"
    assert len(found["categories"]) == len(set(found["categories"]))
    spoken = await gate.ask(request({"model": "haiku", "messages": [{"role": "user", "content": "hi"}]}))
    assert (spoken.status, sent(worker)["model"]) == (200, "talker")


async def test_a_change_keeps_what_it_does_not_name(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.usual = said("It is so.")
    await gate.ask(asked("general_reasoning"))
    told = words(worker)["system"]
    assert "Go very deep." in told
    assert "Take the question apart" in told
    await gate.ask(asked("general_reasoning", depth="shallow"))
    assert "Be brief." in words(worker)["system"]
    legal = await gate.ask(asked("legal_analysis"))
    assert legal.json["model"] == "talker"
    assert legal.json["response"] == "It is so.\n\nAsk a lawyer in town."
    assert built_in()["legal_analysis"].system in words(worker)["system"]
    twice = await gate.ask(asked("legal_document_analysis", "/conductor/generate"))
    assert (twice.json["category"], twice.json["model"]) == ("legal_analysis", "talker")


async def test_an_edit_applies_to_the_next_request(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    now = gate.gateway.current.config
    edited = {**now.tasks, "limerick": Task(system="Write a limerick."), "bare": Task(system="Sing it.")}
    await gate.gateway.reloader.apply(msgspec.structs.replace(now, tasks=edited))
    try:
        assert (await gate.ask(asked("limerick"))).json["category"] == "limerick"
        assert words(worker)["system"] == "Write a limerick."
        await gate.ask(asked("bare"))
        assert words(worker)["system"] == "Sing it."
    finally:
        await gate.gateway.reloader.apply(now)
    assert (await gate.ask(asked("limerick"))).status == 400


# -- wrong and unknown options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_options_that_a_task_does_not_have_are_told_and_do_no_harm(
    both: tuple[Gate, ScriptedWorker], streamed: bool
) -> None:
    gate, worker = both
    worker.usual = said("4")
    for task in ("conversational_chat", "question_answering", "legal_analysis"):
        fields = {"extra_params": {"colour": "red", "flavour": 1}, "language": "python", "stream": streamed}
        answer = await gate.ask(asked(task, **fields))
        last = json.loads(answer.body.decode().rstrip().rsplit("data: ", 1)[-1]) if streamed else answer.json
        assert sorted(last["metadata"]["ignored_options"]) == ["colour", "flavour", "language"]
        assert "red" not in json.dumps(sent(worker))
        assert "error" not in answer.json if not streamed else b'"error"' not in answer.body


async def test_an_answer_that_is_cut_says_so(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    cut = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
    worker.script.append(stream(delta("He"), cut, USAGE, DONE))
    answer = await gate.ask(asked("conversational_chat", "/generate/stream", stream=True))
    assert answer.body.endswith(b'{"done":true,"metadata":{"finish_reason":"length"}}\n\n')
    whole = b'{"choices":[{"index":0,"message":{"content":"He"},"finish_reason":"length"}],"usage":{}}'
    for path in ("/generate", "/conductor/generate"):
        worker.script.append(reply(whole))
        assert (await gate.ask(asked("conversational_chat", path))).json["metadata"] == {"finish_reason": "length"}


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        ("general_reasoning", {"depth": "SECRET"}, "one of shallow, medium, deep"),
        ("general_reasoning", {"step_by_step": "SECRET"}, "true or false"),
        ("general_reasoning", {"step_by_step": [True]}, "true or false"),
        ("general_reasoning", {"depth": ["SECRET"]}, "one of shallow"),
        ("creative_writing", {"genre": {"SECRET": 1}}, "or another text"),
        ("question_answering", {"answer_format": 7}, "pros_and_cons"),
        ("instruction_following", {"constraints": ["x"] * (MOST_TEXTS + 1)}, "at most 1000"),
    ],
    ids=str,
)
async def test_a_value_that_an_option_cannot_have_is_422_with_those_it_can(
    both: tuple[Gate, ScriptedWorker], task: str, options: dict[str, Any], said: str
) -> None:
    gate, worker = both
    for fields in (options, {"extra_params": options}):
        answer = await gate.ask(asked(task, **fields))
        assert (answer.status, answer.error["param"]) == (422, next(iter(options)))
        assert said in answer.error["message"]
        assert b"SECRET" not in answer.body
    assert not worker.requests


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (True, True),
        ("Yes", True),
        (" on ", True),
        (1, True),
        (1.0, True),
        ("0", False),
        (0, False),
        ("FALSE", False),
        ("", True),  # as forms write what nobody filled in: the default
    ],
    ids=repr,
)
def test_flags_are_read_as_clients_write_them(value: Any, read: bool) -> None:
    assert job(built_in()["general_reasoning"], {"step_by_step": value}).options["step_by_step"] is read


@pytest.mark.parametrize("value", ["Step by step", "step-by-step", " STEP_BY_STEP "])
def test_words_are_read_however_they_are_spelled(value: str) -> None:
    assert job(built_in()["question_answering"], {"answer_format": value}).options["answer_format"] == "step_by_step"


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("x" * 10**6) | st.just("nan"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KINDS = {
    "text": Option(kind="text", says="{value}", puts="{value}"),
    "texts": Option(kind="texts", says="{value}", puts="{value}"),
    "word": Option(kind="word", values=["a", "b"], says={"a": "A"}),
    "open": Option(kind="word", values=["a"], open=True, says={"*": "{value}"}),
    "flag": Option(kind="flag", says={"true": "yes"}),
    "number": Option(kind="number", says="{value}"),
}


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*KINDS, "unknown"]), ODD))
def test_whatever_an_option_holds_it_is_read_or_refused_by_its_name(options: dict[str, Any]) -> None:
    row = Task(options=KINDS)
    options = {name: value for name, value in options.items() if value is not None}
    found, error = read(row, options)
    if error is not None:
        assert error.param in options
        assert error.status == 422
        assert len(error.message) < 200
        return
    assert found.ignored == (("unknown",) if "unknown" in options else ())
    assert set(found.options) <= set(KINDS)
    assert isinstance(found.options.get("flag", True), bool)
    number = found.options.get("number", 0)
    assert isinstance(number, int | float)
    assert number == number and abs(number) != float("inf")  # noqa: PT018
    assert found.options.get("word", "a") in ("a", "b")
    assert all(isinstance(each, str) for each in found.options.get("texts", []))
    written = found.written()
    assert [each.role for each in written.messages][-1] == "user"


def test_what_is_nested_beyond_reason_is_refused_or_read_but_never_a_failure() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    for kind in KINDS:
        _, error = read(Task(options=KINDS), {kind: deep})
        assert error is None or error.param == kind


def job(row: Task, options: dict[str, Any]) -> Any:
    return job_of(Order("x", QUESTION, options), "x", row, Chat("m", (Message("user", QUESTION),), sampling=Sampling()))


def read(row: Task, options: dict[str, Any]) -> tuple[Any, Invalid | None]:
    """The job, or why it cannot be read."""
    try:
        return job(row, options), None
    except Invalid as error:
        return None, error


HOSTILE = [
    b'"\\ud800"',
    b'"\\u0000\\u001b[2J"',
    b"1e400",
    b"-0.0",
    b'"' + b"x" * 10**6 + b'"',
    b"[" * 400 + b"]" * 400,
    b'{"a":' * 400 + b"1" + b"}" * 400,
    b"[" + b"1," * 5000 + b"1]",
    b'"{value}{value}"',
    b"true",
    b"null",
    b"[]",
    b"{}",
    b'""',
]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: value[:20].decode())
async def test_no_value_of_any_option_is_a_failure_of_ours(both: tuple[Gate, ScriptedWorker], value: bytes) -> None:
    gate, worker = both
    worker.usual = said("4")
    for task in ("general_reasoning", "creative_writing", "instruction_following", "question_answering"):
        for option, row in built_in()[task].options.items():
            body = b'{"prompt":"x","category":"%b","extra_params":{"%b":%b}}' % (task.encode(), option.encode(), value)
            answer = await gate.ask(request(body, path="/conductor/generate"))
            assert answer.status in (200, 400, 422), (option, answer.body)
            if answer.status == 422 and row.values:
                assert row.values[0] in answer.error["message"]
    assert (await gate.ask(asked("general_reasoning"))).status == 200
