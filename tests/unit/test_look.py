"""What routing learns of a request, whatever dialect it comes in, and what its headers and metadata say."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    CHAT,
    Gate,
    ScriptedWorker,
    chat,
    config,
    on_uvloop,
    remote,
    request,
    running_gateway,
    short_folder,
)

from rolecast.config.schema import Config, Limits, Listener, Model
from rolecast.decision import Facts
from rolecast.dialects import Entry, conductor, entries, hints, pas
from rolecast.dialects.request import TOOLS, Request
from rolecast.errors import BadRequest
from rolecast.turn.look import look, look_closely
from rolecast.values import Caller

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

HOT = entries(Limits())
CONF = Config(models={"m": Model()}, roles={"standard": ["m"]})
PATHS = {
    **HOT,
    **{p: e for p, e in conductor.on_port(HOT, Listener(port=0), CONF, lambda *_: None).items() if p not in HOT},
    b"/chat/completions": conductor.on_port(HOT, Listener(port=0), CONF, lambda *_: None)[b"/chat/completions"],
}
ON_PAS = pas.on_port(HOT, Limits(), "", 0)

NOBODY = Caller()
TEXT = "Explain to me why `for (int i = 0; i < n; i++)` never ends, please."
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def seen(path: str, body: dict[str, Any], caller: Caller = NOBODY, at: dict[bytes, Entry] = PATHS) -> Facts:
    return closely(path, body, caller, at)[1]


def closely(
    path: str, body: dict[str, Any] | bytes, caller: Caller = NOBODY, at: dict[bytes, Entry] = PATHS
) -> tuple[Request, Facts]:
    entry = at[path.encode()]
    asked = entry.read(body if isinstance(body, bytes) else json.dumps(body).encode())
    return asked, look_closely(look(asked, asked.asked), asked, caller, entry.dialect)


# -- every dialect -------------------------------------------------------------------------------------------

ASKS: list[tuple[str, dict[str, Any]]] = [
    (CHAT, {"messages": [{"role": "user", "content": TEXT}], "max_tokens": 64}),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": TEXT}]}], "max_completion_tokens": 64}),
    (CHAT, {"messages": [{"role": "user", "content": TEXT}], "extra_body": {"max_tokens": 64}}),
    ("/v1/messages", {"messages": [{"role": "user", "content": TEXT}], "max_tokens": 64}),
    ("/v1/responses", {"input": TEXT, "max_output_tokens": 64}),
    ("/v1/responses", {"input": [{"role": "user", "content": TEXT}], "max_output_tokens": 64}),
    ("/api/chat", {"model": "auto", "messages": [{"role": "user", "content": TEXT}], "options": {"num_predict": 64}}),
    ("/api/generate", {"model": "auto", "prompt": TEXT, "options": {"num_predict": 64}}),
    ("/generate", {"prompt": TEXT, "max_tokens": 64}),
    ("/generate", {"model": "auto", "prompt": TEXT, "options": {"num_predict": 64}}),
    ("/chat/completions", {"prompt": TEXT, "max_tokens": 64}),
    ("/code/completion", {"prompt": TEXT, "max_tokens": 64}),
]


@pytest.mark.parametrize(("path", "body"), ASKS)
def test_a_question_has_the_same_facts_in_every_dialect(path: str, body: dict[str, Any]) -> None:
    found = seen(path, body)
    assert (found.text, found.language, found.code, found.turns) == (TEXT, "en", True, 1)
    assert (found.answer_tokens, found.tools, found.images, found.schema, found.open_call) == (64, 0, 0, False, False)
    assert found.tokens == seen(*ASKS[0]).tokens
    assert found.conversation == seen(*ASKS[0]).conversation


@pytest.mark.parametrize("path", ["/generate", "/api/generate"])
def test_a_prompt_to_a_port_of_pas_has_them_too(path: str) -> None:
    found = seen(path, {"model": "auto", "prompt": TEXT, "options": {"num_predict": 64}}, at=ON_PAS)
    assert (found.text, found.tokens, found.answer_tokens) == (TEXT, seen(*ASKS[0]).tokens, 64)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": TEXT, "max_tokens": 64}),
        ("/v1/completions", {"prompt": [TEXT], "max_tokens": 64}),
        ("/v1/completions", {"prompt": TEXT, "max_tokens": 64, "n": 2, "echo": True}),
        ("/api/generate", {"model": "auto", "prompt": TEXT, "raw": True, "options": {"num_predict": 64}}),
    ],
)
def test_a_text_to_go_on_with_is_read_where_it_passes_too(path: str, body: dict[str, Any]) -> None:
    found = seen(path, body)
    assert (found.kind, found.text, found.language, found.code) == ("completion", TEXT, "en", True)
    assert (found.answer_tokens, found.turns) == (64, 0)
    assert 10 < found.tokens < 40


CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"q":"x"}'}}
TOOL = {"name": "look", "description": "Looks", "parameters": SCHEMA}
LONG: list[tuple[str, dict[str, Any]]] = [
    (
        CHAT,
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Where is this?"},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "Lima"},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": TEXT},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                    ],
                },
            ],
            "tools": [{"type": "function", "function": TOOL}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        },
    ),
    (
        "/v1/messages",
        {
            "system": "Be brief.",
            "max_tokens": 64,
            "messages": [
                {"role": "user", "content": "Where is this?"},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {"q": "x"}}],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "c1", "content": "Lima"},
                        {"type": "text", "text": TEXT},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                    ],
                },
            ],
            "tools": [{"name": "look", "description": "Looks", "input_schema": SCHEMA}],
            "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
        },
    ),
    (
        "/v1/responses",
        {
            "instructions": "Be brief.",
            "input": [
                {"role": "user", "content": "Where is this?"},
                {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"q":"x"}'},
                {"type": "function_call_output", "call_id": "c1", "output": "Lima"},
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": TEXT},
                        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
                    ],
                },
            ],
            "tools": [{"type": "function", **TOOL}],
            "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}},
        },
    ),
    (
        "/api/chat",
        {
            "model": "auto",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Where is this?"},
                {"role": "assistant", "tool_calls": [{"function": {"name": "look", "arguments": {"q": "x"}}}]},
                {"role": "tool", "content": "Lima"},
                {"role": "user", "content": TEXT, "images": [PNG]},
            ],
            "tools": [{"type": "function", "function": TOOL}],
            "format": SCHEMA,
        },
    ),
]


@pytest.mark.parametrize(("path", "body"), LONG)
def test_a_conversation_with_tools_and_pictures_has_the_same_facts_in_every_dialect(
    path: str, body: dict[str, Any]
) -> None:
    found, first = seen(path, body), seen(*LONG[0])
    assert (found.text, found.system, found.turns, found.images, found.tools) == (TEXT, "Be brief.", 2, 1, 1)
    assert (found.schema, found.open_call, found.code) == (True, True, True)
    assert (found.needs, found.prefers) == (frozenset({"vision"}), TOOLS)
    assert abs(found.tokens - first.tokens) <= 5
    assert found.conversation == first.conversation


@pytest.mark.parametrize(("path", "body"), LONG)
def test_calls_in_the_history_want_a_model_that_knows_tools_also_where_none_is_offered(
    path: str, body: dict[str, Any]
) -> None:
    asked, _ = closely(path, {name: value for name, value in body.items() if name != "tools"})
    assert asked.prefers == TOOLS


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": [{"role": "user", "content": TEXT}], "n": 3}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "hologram"}, {"type": "text", "text": TEXT}]}]}),
        (
            "/v1/messages",
            {
                "max_tokens": 9,
                "messages": [{"role": "user", "content": TEXT}],
                "tools": [{"type": "web_search_20250305", "name": "web_search"}],
            },
        ),
        (
            "/v1/messages",
            {
                "max_tokens": 9,
                "messages": [
                    {"role": "user", "content": "a"},
                    {
                        "role": "assistant",
                        "content": [{"type": "server_tool_use", "id": "s", "name": "w", "input": {}}],
                    },
                    {"role": "user", "content": [{"type": "container_upload"}, {"type": "text", "text": TEXT}]},
                ],
            },
        ),
    ],
)
def test_what_cannot_be_said_in_words_has_facts_from_what_can_be_read(path: str, body: Any) -> None:
    asked, found = closely(path, body)
    assert asked.chat is None
    assert (found.text, found.code) == (TEXT, True)


def test_kinds_without_words_have_no_text() -> None:
    assert seen("/v1/embeddings", {"model": "auto", "input": "x"}).text == ""


# -- metadata and headers ------------------------------------------------------------------------------------

SAID = {"force_domain": "erp", "type": "planning", "channel": "CODE_TASK", "category": "translation", "prefer": "Speed"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "x"}], "metadata": SAID}),
        (CHAT, {"messages": [{"role": "user", "content": "x"}], "extra_body": {"metadata": SAID}}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "x"}], "max_tokens": 9, "metadata": SAID}),
        ("/v1/responses", {"input": "x", "metadata": SAID}),
        ("/v1/completions", {"prompt": "x", "metadata": SAID}),
        ("/api/chat", {"model": "auto", "messages": [{"role": "user", "content": "x"}], "metadata": SAID}),
        ("/api/generate", {"model": "auto", "prompt": "x", "extra_body": {"metadata": SAID}}),
        ("/generate", {"prompt": "x", "category": "auto", "metadata": SAID}),
    ],
)
def test_metadata_are_hints_in_every_dialect(path: str, body: dict[str, Any]) -> None:
    said = seen(path, body).hints
    assert (said.category, said.channel, said.type, said.prefer) == ("translation", "CODE_TASK", "planning", "speed")
    assert said.metadata == SAID


def test_the_category_of_a_path_or_body_of_conductor_is_a_hint_and_one_that_follows_from_a_model_is_none() -> None:
    assert seen("/summarize", {"prompt": "x"}).hints.category == "summarization"
    assert seen("/generate", {"prompt": "x", "category": "translation"}).hints.category == "translation"
    assert seen("/generate", {"prompt": "x", "temperature": 0}).hints.category == ""


def test_metadata_of_other_shapes_say_nothing_and_are_not_refused() -> None:
    for given in ("x", 3, None, [], {"type": 5, "channel": None}, {"type": "x" * 1000}, {"k" * 100: "v"}):
        said = seen(CHAT, {"messages": [{"role": "user", "content": "x"}], "metadata": given}).hints
        assert (said.type, said.metadata) == ("", {})


@pytest.mark.parametrize("where", ["{%b}", '{"extra_body":{%b}}'])
def test_metadata_of_a_million_fields_are_not_taken_apart(where: str) -> None:
    one = b'"metadata":{"type":"planning"}'
    many = b'"metadata":{"type":"planning",' + b",".join(b'"k%d":"v"' % i for i in range(1_000_000)) + b"}"
    assert hints.in_body(where.replace("%b", one.decode()).encode()).type == "planning"
    began = time.process_time()
    assert hints.in_body(where.encode().replace(b"%b", many)) == hints.NONE
    # About 0.06 s; as objects they take more than a second.
    assert time.process_time() - began < 0.5


def test_of_metadata_with_many_fields_the_first_texts_count() -> None:
    given = {**dict.fromkeys(map(str, range(100)), 1), **dict.fromkeys(map(chr, range(97, 107)), "x")}
    given |= dict.fromkeys(map(str, range(1000, 3000)), "y")
    said = hints.in_body(json.dumps({"metadata": given}).encode())
    assert len(said.metadata) == hints.MOST
    assert said.metadata["a"] == "x"


def test_a_preference_that_is_none_is_a_mistake() -> None:
    for path, body in ((CHAT, {"messages": [{"role": "user", "content": "x"}]}), ("/v1/responses", {"input": "x"})):
        with pytest.raises(BadRequest, match="balanced, quality, speed, cost"):
            seen(path, {**body, "metadata": {"prefer": "beauty"}})


def test_headers_count_where_the_body_is_silent() -> None:
    caller = Caller(prefer="cost", task="summarization")
    body = {"messages": [{"role": "user", "content": "x"}]}
    said = seen(CHAT, body, caller).hints
    assert (said.prefer, said.category) == ("cost", "summarization")
    said = seen(CHAT, {**body, "metadata": {"prefer": "quality", "category": "translation"}}, caller).hints
    assert (said.prefer, said.category) == ("quality", "translation")


@pytest.mark.parametrize(
    ("metadata", "more", "left"),
    [
        ({"force_domain": "erp"}, {}, None),
        ({"force_domain": "erp", "user_id": "u"}, {}, {"user_id": "u"}),
        ({"user_id": "u"}, {}, {"user_id": "u"}),
        ({"type": "x"}, {"store": True}, {"type": "x"}),
        ({"type": "x"}, {"store": False}, None),
    ],
)
def test_hints_do_not_travel_on_to_a_server_that_may_refuse_them(
    metadata: dict[str, str], more: dict[str, Any], left: dict[str, str] | None
) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 9, "metadata": metadata, **more}
    asked, _ = closely(CHAT, body)
    assert json.loads(asked.body).get("metadata") == left
    assert {k: v for k, v in json.loads(asked.body).items() if k != "metadata"} == {
        k: v for k, v in body.items() if k != "metadata"
    }


# -- conversations -------------------------------------------------------------------------------------------


def turns(*texts: str, system: str = "Be brief.", key: str = "", session: str = "") -> str:
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    body = {"messages": [{"role": "system", "content": system}, *messages]}
    return seen(CHAT, body, Caller(key=key, session=session)).conversation


def test_turns_of_a_conversation_have_one_digest_and_others_another() -> None:
    first = turns("Hello there")
    assert first == turns("Hello there", "Hi", "And now?")
    others = {turns("Hello"), turns("Hello there", system="x"), turns("Hello there", key="k"), turns("", "Hello there")}
    assert len(others | {first}) == 5
    assert turns("a", session="s") == turns("b", system="y", session="s") != turns("b", key="k", session="s")
    assert "Hello" not in first


def test_a_digest_cannot_be_made_without_the_secret_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    before = turns("My secret")
    monkeypatch.setattr("rolecast.turn.conversation._SECRET", b"another")
    assert turns("My secret") != before


def test_the_session_of_a_body_of_conductor_counts() -> None:
    one, two = (seen("/generate", {"prompt": text, "session_id": "s"}).conversation for text in ("a", "b"))
    assert one == two != seen("/generate", {"prompt": "a", "session_id": "t"}).conversation


# -- on a running gateway ------------------------------------------------------------------------------------


@asynccontextmanager
async def one_worker(**fields: Any) -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            conf = msgspec.structs.replace(config({"m": remote(worker.url, **fields)}), roles={"standard": ["m"]})
            async with running_gateway(conf, Path(folder)) as gate:
                yield gate, worker


async def test_a_preference_in_the_header_that_is_none_is_refused_with_the_words_that_are() -> None:
    async with one_worker() as (gate, worker):
        for model in ("m", "auto"):
            answer = await gate.ask(request(chat("x", model), head="x-rolecast-prefer: beauty\r\n"))
            assert answer.status == 400
            assert answer.error["param"] == "x-rolecast-prefer"
            assert "balanced, quality, speed, cost" in answer.error["message"]
        answer = await gate.ask(request(chat("x", "auto"), head="x-rolecast-task: a\tb!\r\n"))
        assert (answer.status, answer.error["param"]) == (400, "x-rolecast-task")
        for value in ("quality", "SPEED", "cost", "balanced"):
            answer = await gate.ask(request(chat("x", "auto"), head=f"x-rolecast-prefer: {value}\r\n"))
            assert answer.status == 200
        assert len(worker.requests) == 4


async def test_hints_reach_no_worker_and_other_metadata_do() -> None:
    async with one_worker() as (gate, worker):
        await gate.ask(request(chat("x", "auto", metadata={"force_domain": "erp", "user": "u"})))
        await gate.ask(request(chat("x", "m", metadata={"type": "mine"})))
        assert [received.json["metadata"] for received in worker.requests] == [{"user": "u"}, {"type": "mine"}]


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"role":"user","content":"hi","name":"\\ud800"}]}',
        b'{"messages":[{"role":"user","content":"a\\u0000b"}],"metadata":{"type":"\\ud800"}}',
        b'{"messages":[{"role":"user","content":"hi","reasoning_content":{"a":[1]}}],"tools":[{"type":"x","a":1}]}',
        b'{"messages":[' + b",".join([b'{"role":"user","content":"hi"}'] * 5000) + b"]}",
    ],
)
async def test_no_body_that_passes_is_an_error_of_ours(body: bytes) -> None:
    async with one_worker() as (gate, _):
        assert (await gate.ask(request(body))).status in (200, 400, 422)
