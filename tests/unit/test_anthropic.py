"""Anthropic's Messages on a scripted worker of another dialect: what is asked of it, and what the client sees."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from gateway import (
    DONE,
    SSE_HEAD,
    USAGE,
    Answer,
    Gate,
    Held,
    ScriptedWorker,
    chunk,
    delta,
    event,
    pair,
    raw,
    reply,
    request,
    stream,
    until,
)
from hypothesis import given
from hypothesis import strategies as st

from rolecast.config.schema import Limits
from rolecast.dialects import dialect, entries, family
from rolecast.dialects.anthropic_writer import writer
from rolecast.dialects.request import Request
from rolecast.errors import BadRequest, Busy, LoadFailed, RolecastError, Unauthorized, UpstreamError, UpstreamTimeout
from rolecast.values import Chat, Done, Message, Phases, Reasoning, Report, Text, ToolCall, ToolCallDelta, Usage

pytestmark = pytest.mark.anyio
PATH = "/v1/messages"
PIXEL = "iVBORw0KGgo="


ENDED = {"choices": [{"delta": {}, "finish_reason": "stop"}]}


def finish(reason: str = "stop", **more: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason, **more}]})


@pytest.fixture
async def both() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    async with pair() as (gate, worker):
        yield gate, worker


def body(text: Any = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": text}], **fields}


def text(told: str) -> dict[str, Any]:
    return {"type": "text", "text": told}


def asked(text: Any = "hello", path: str = PATH, **fields: Any) -> bytes:
    return request(body(text, **fields), path=path)


def events_of(data: bytes) -> list[dict[str, Any]]:
    """The events of a stream, each under the name that it says of itself."""
    found = []
    for block in data.decode().removesuffix("\n\n").split("\n\n"):
        name, _, value = block.partition("\ndata: ")
        found.append(json.loads(value))
        assert name == f"event: {found[-1]['type']}", block
    return found


def events(answer: Answer) -> list[dict[str, Any]]:
    assert (answer.status, answer.header("content-type")) == (200, "text/event-stream; charset=utf-8"), answer
    return events_of(answer.body)


def message_of(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that a client puts together of a stream. Strict about the order that Anthropic promises."""
    assert [e["type"] for e in found[:2]] == ["message_start", "ping"]
    assert [e["type"] for e in found[-2:]] == ["message_delta", "message_stop"]
    message, opened = found[0]["message"], None
    for each in found[2:-2]:
        if each["type"] == "content_block_start":
            assert (opened, each["index"]) == (None, len(message["content"]))
            opened = each["index"]
            message["content"].append(each["content_block"] | {"json": ""})
            continue
        assert each["index"] == opened
        block = message["content"][opened]
        if each["type"] == "content_block_stop":
            opened, text = None, block.pop("json")
            if block["type"] == "tool_use":
                block["input"] = json.loads(text or "{}")
            continue
        change = each["delta"]
        field = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
        name = field.get(change["type"], "json")
        block[name] += change["partial_json" if name == "json" else name]
    assert opened is None
    return message | found[-2]["delta"] | {"usage": found[-2]["usage"]}


# -- answers -----------------------------------------------------------------------------------------------------


async def test_a_stream_comes_in_the_order_that_clients_rely_on(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script.append(stream(delta("Hel"), delta("lo"), finish(), USAGE, DONE))
    answer = await gate.ask(asked(stream=True))
    found = events(answer)
    assert [e["type"] for e in found] == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    told = message_of(found)
    assert told["content"] == [text("Hello")]
    assert (told["type"], told["role"], told["model"]) == ("message", "assistant", "m")
    assert (told["stop_reason"], told["stop_sequence"]) == ("end_turn", None)
    assert (told["usage"]["input_tokens"], told["usage"]["output_tokens"]) == (11, 3)
    (row,) = await gate.rows()
    assert (row.kind, row.stream, row.outcome, row.prompt_tokens, row.completion_tokens) == ("chat", True, "ok", 11, 3)
    assert answer.header("request-id") == answer.header("x-request-id") == row.id


@pytest.mark.parametrize("path", ["/v1/messages", "/messages", "/v1/messages?beta=true", "/v1//messages/"])
async def test_a_whole_answer_is_one_message(both: tuple[Gate, ScriptedWorker], path: str) -> None:
    gate, _ = both
    answer = await gate.ask(asked(path=path))
    assert answer.header("content-type") == "application/json"
    told, used = answer.json, answer.json["usage"]
    assert told["id"].startswith("msg_")
    assert (told["type"], told["role"], told["model"], told["content"]) == ("message", "assistant", "m", [text("hi")])
    assert (told["stop_reason"], told["stop_sequence"]) == ("end_turn", None)
    assert (used["input_tokens"], used["cache_read_input_tokens"], used["output_tokens"]) == (5, 0, 2)
    assert answer.header("request-id") == answer.header("x-request-id")
    assert answer.header("x-rolecast-model") == "m"


async def test_the_first_event_is_there_before_the_last_is_made(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    slow = Held(delta("one"))
    worker.script.append(slow)
    async with gate.client() as client:
        await client.send(asked(stream=True))
        await client.head()
        size = int(await client.reader.readline(), 16)
        found = events_of(await client.reader.readexactly(size))
        assert found[-1]["delta"] == {"type": "text_delta", "text": "one"}
        assert not slow.let_go.is_set()
        slow.let_go.set()


async def test_who_leaves_frees_the_slot_and_stops_the_worker(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    slow = Held(delta("one"), delta("two"))
    worker.script.append(slow)
    async with gate.client() as client:
        await client.send(asked(stream=True))
        await slow.began.wait()
        await client.head()
        client.abort()
        assert slow.peer is not None
        await asyncio.wait_for(slow.peer.gone.wait(), 10)
    await until(lambda: not gate.gateway.dispatch.active and gate.gateway.fleet.worker("m").active == 0)
    assert (await gate.rows())[0].outcome == "cancelled"


@pytest.mark.parametrize("streams", [True, False])
async def test_thoughts_texts_and_calls_are_blocks_in_their_order(
    both: tuple[Gate, ScriptedWorker], streams: bool
) -> None:
    gate, worker = both
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}
    parts = [{"index": 0, "function": {"arguments": piece}} for piece in ('{"ci', 'ty": "Bern"}')]
    deltas = [{"reasoning_content": "hm"}, {"content": "I look."}, {"tool_calls": [{"index": 0, **call}]}]
    deltas += [{"tool_calls": [part]} for part in parts]
    worker.script.append(
        stream(*(event({"choices": [{"index": 0, "delta": each}]}) for each in deltas), finish("tool_calls"), DONE)
    )
    answer = await gate.ask(asked(stream=streams))
    told = message_of(events(answer)) if streams else answer.json
    assert told["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        text("I look."),
        {"type": "tool_use", "id": "c1", "caller": {"type": "direct"}, "name": "look", "input": {"city": "Bern"}},
    ]
    assert told["stop_reason"] == "tool_use"


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize(
    ("last", "reason", "sequence"),
    [
        (finish("length"), "max_tokens", None),
        (finish("content_filter"), "refusal", None),
        (finish("stop", stop_reason="END"), "stop_sequence", "END"),
        (finish("stop", stop_reason=151645), "end_turn", None),
        (event(ENDED | {"__verbose": {"stopping_word": "x"}}), "stop_sequence", "x"),
        (event(ENDED | {"__verbose": {"stopping_word": ""}}), "end_turn", None),
    ],
)
async def test_why_it_ended_is_told_and_by_which_sequence(
    both: tuple[Gate, ScriptedWorker], streams: bool, last: bytes, reason: str, sequence: str | None
) -> None:
    gate, worker = both
    worker.script.append(stream(delta("one"), last, DONE))
    answer = await gate.ask(asked(stream=streams, stop_sequences=["END", "x"]))
    told = message_of(events(answer)) if streams else answer.json
    assert (told["stop_reason"], told["stop_sequence"]) == (reason, sequence)


@pytest.mark.parametrize(("marked", "told"), [(False, (11, 0)), (True, (4, 7))])
async def test_cached_tokens_are_input_and_told_apart_where_a_cache_was_asked_for(
    both: tuple[Gate, ScriptedWorker], marked: bool, told: tuple[int, int]
) -> None:
    gate, worker = both
    used = {"prompt_tokens": 11, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 7}}
    worker.usual = stream(delta("hi"), finish(), event({"choices": [], "usage": used}), DONE)
    block = {"type": "text", "text": "hello"} | ({"cache_control": {"type": "ephemeral"}} if marked else {})
    for streams in (True, False):
        answer = await gate.ask(asked([block], stream=streams))
        usage = (message_of(events(answer)) if streams else answer.json)["usage"]
        assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == told


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize(
    "texts", [["The answer is (", "B)"], ["The ans", "wer is (B)"], ["B)"], ["The answer"], ["Th", "X"]]
)
async def test_an_answer_goes_on_where_the_client_began_it(
    both: tuple[Gate, ScriptedWorker], streams: bool, texts: list[str]
) -> None:
    gate, worker = both
    worker.script.append(stream(*map(delta, texts), finish(), DONE))
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "The answer is ("}]
    answer = await gate.ask(asked(messages=messages, stream=streams))
    told = message_of(events(answer)) if streams else answer.json
    (block,) = told["content"]
    assert block["text"] == "".join(texts).removeprefix("The answer is (")


# -- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (BadRequest("x"), 400, "invalid_request_error"),
        (Unauthorized("x"), 401, "authentication_error"),
        (BadRequest("x", status=413), 413, "request_too_large"),
        (Busy("x"), 429, "rate_limit_error"),
        (UpstreamError("x"), 502, "api_error"),
        (LoadFailed("x"), 503, "overloaded_error"),
        (UpstreamTimeout("x"), 504, "timeout_error"),
        (RolecastError("x"), 500, "api_error"),
    ],
)
def test_errors_have_the_types_of_anthropic(error: RolecastError, status: int, kind: str) -> None:
    told = json.loads(dialect("anthropic").error(error))
    assert error.status == status
    assert told == {"type": "error", "error": {"type": kind, "message": "x"}, "request_id": None}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("The request (3031 tokens) exceeds the available context size (1024 tokens)", "3031 tokens > 1024 maximum"),
        ("maximum context length is 8192 tokens, but you asked for 9000 tokens (8000 in it)", "9000 tokens > 8192 max"),
        ("too long for me", "too long for me"),
    ],
)
def test_a_prompt_beyond_the_context_is_told_in_the_words_that_clients_know(said: str, told: str) -> None:
    error = BadRequest(said, code="context_length_exceeded")
    assert f"prompt is too long: {told}" in json.loads(dialect("anthropic").error(error))["error"]["message"]


async def test_an_error_names_its_request(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    missing = await gate.ask(asked(model="nobody"))
    assert (missing.status, missing.json["error"]["type"]) == (404, "not_found_error")
    assert missing.json["request_id"] == missing.header("request-id") == missing.header("x-request-id")
    worker.script += [reply(b'{"error":{"message":"no such thing"}}', 400)] * 2
    refused = await gate.ask(asked())
    assert (refused.status, refused.json["error"]["message"]) == (400, "no such thing")
    other = await gate.ask(request(None, path=PATH, method="GET"))
    assert (other.status, other.json["type"]) == (405, "error")


async def test_what_is_not_there_of_its_paths_is_told_in_its_words(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, _ = both
    batches = await gate.ask(request({}, path="/v1/messages/batches"))
    assert (batches.status, batches.json["error"]["type"]) == (404, "not_found_error")
    assert "single messages are" in batches.json["error"]["message"]
    asked = await gate.ask(request(None, path="/v1/messages/count_tokens", method="GET"), method="GET")
    assert (asked.status, asked.header("allow"), asked.json["type"]) == (405, "POST", "error")


async def test_an_error_inside_of_a_stream_is_its_last_event(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script.append(stream(delta("one"), event({"error": {"message": "out of memory"}}), DONE))
    last = events(await gate.ask(asked(stream=True)))[-1]
    assert (last["type"], last["error"]["type"]) == ("error", "api_error")
    assert "out of memory" in last["error"]["message"]
    worker.script.append(raw(SSE_HEAD + chunk(delta("one")), close=True))
    assert events(await gate.ask(asked(stream=True)))[-1]["error"]["type"] == "overloaded_error"
    assert [row.outcome for row in await gate.rows()] == ["error", "error"]


BYTES = b'{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":[%b]}]}' % (
    b'{"type":"tool_use","id":"a","name":"b","input":{"c":"\xff"}}'
)
LOOK = {"name": "look", "input_schema": {"type": "object"}}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
LIST = {"type": "tool_use", "id": "a", "name": "b", "input": []}
FILE = {"type": "image", "source": {"type": "file", "file_id": "f"}}


def turn(*blocks: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(blocks)}]}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "`messages` is missing"),
        (b'{"messages":' + b"[" * 100_000, "messages"),
        (b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"\xff"}]}', "not valid JSON"),
        (BYTES, "not valid JSON"),
        ({"messages": []}, "`messages` is missing"),
        ({"max_tokens": None}, "`max_tokens` is missing"),
        ({"max_tokens": 0}, "`max_tokens`"),
        ({"temperature": -1}, "`temperature`"),
        ({"top_p": "x"}, "`top_p`"),
        ({"stop_sequences": [""]}, "`stop_sequences"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "`messages[0].role`"),
        ({"messages": [{"role": "user"}]}, "content"),
        (turn({"text": "x"}), "type"),
        (turn({"type": "text"}), "`messages[0].content[0].text`"),
        (turn({"type": "video"}), "'video' is not understood"),
        (turn(FILE), ".source`"),
        (turn({"type": "tool_result"}), "tool_use_id"),
        (turn({"type": "tool_result", "tool_use_id": "a", "content": 3}), "content"),
        (turn(LIST, role="assistant"), "input"),
        (turn({"type": "server_tool_use"}, role="assistant"), "server_tool_use"),
        ({"tools": [SEARCH]}, "web_search_20250305"),
        ({"tools": [{"name": "look"}]}, "`tools[0].input_schema`"),
        ({"tool_choice": {"type": "any"}}, "lists no tool"),
        ({"tools": [LOOK], "tool_choice": {"type": "tool", "name": "x"}}, "does not list"),
        ({"tools": [LOOK], "tool_choice": {"type": "some"}}, "`tool_choice.type`"),
        ({"mcp_servers": [{"url": "x"}]}, "`mcp_servers`"),
        ({"output_config": {"format": {"type": "yaml"}}}, "json_schema"),
    ],
)
async def test_a_bad_body_is_the_clients_mistake(both: tuple[Gate, ScriptedWorker], fields: Any, told: str) -> None:
    gate, worker = both
    answer = await gate.ask(request(fields if isinstance(fields, bytes) else body(**fields), path=PATH))
    assert answer.status == 400
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert told in answer.json["error"]["message"]
    assert not worker.requests
    assert gate.gateway.fleet.worker("m").active == 0


# -- what the worker is asked ------------------------------------------------------------------------------------


async def test_every_word_of_the_request_reaches_the_worker_in_its_own_dialect(
    both: tuple[Gate, ScriptedWorker],
) -> None:
    gate, worker = both
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "what is this?"}, image]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "redacted_thinking", "data": "xyz"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "c1", "name": "look", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [text("gone")], "is_error": True},
                {"type": "text", "text": "again"},
            ],
        },
        {"role": "user", "content": "and now"},
    ]
    tool = {"name": "look", "description": "d", "input_schema": {"type": "object", "properties": {"a": {}}}}
    wanted = asked(
        messages=messages,
        system=[
            {"type": "text", "text": "x-anthropic-billing-header: cch=12345"},
            {"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}},
        ],
        tools=[tool],
        tool_choice={"type": "tool", "name": "look", "disable_parallel_tool_use": True},
        stop_sequences=["x"],
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        thinking={"type": "enabled", "budget_tokens": 1024},
        metadata={"user_id": "u1"},
        output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}},
        service_tier="auto",
    )
    assert (await gate.ask(wanted)).status == 200
    sent = json.loads(worker.requests[0].body)
    assert worker.requests[0].line.startswith("POST /v1/chat/completions ")
    system, user, called, result, again = sent.pop("messages")
    assert system == {"role": "system", "content": "be brief"}
    assert user["content"][1]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
    (call,) = called["tool_calls"]
    assert (called["content"], called["reasoning_content"]) == ("I look.", "hm")
    assert (call["id"], call["function"]) == ("c1", {"name": "look", "arguments": '{"a": 1}'})
    assert result == {"role": "tool", "content": "Error: gone", "tool_call_id": "c1"}
    assert again == {"role": "user", "content": "again\n\nand now"}
    function = {"name": "look", "description": "d", "parameters": tool["input_schema"]}
    assert sent.pop("tools") == [{"type": "function", "function": function}]
    assert sent.pop("response_format")["json_schema"]["schema"] == {"type": "object"}
    assert sent == {
        "model": "m",
        "max_tokens": 64,
        "stop": ["x"],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": False,
        "chat_template_kwargs": {"enable_thinking": True},
        "thinking_budget_tokens": 1024,
        "user": "u1",
    }


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ({"type": "text", "media_type": "text/plain", "data": "D"}, ["T", "D"]),
        ({"type": "content", "content": "D"}, ["T", "D"]),
        ({"type": "content", "content": [text("D"), text("E")]}, ["T", "D", "E"]),
    ],
)
def test_a_document_of_text_is_text_under_its_title(source: Any, parts: list[str]) -> None:
    given = body([{"type": "document", "title": "T", "source": source}])
    (message,) = words(given).messages
    assert isinstance(message.content, tuple)
    assert [part.text for part in message.content] == parts


def test_a_document_in_a_file_needs_a_model_that_takes_files() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    result = {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "document", "source": source}]}
    for block in (result, result["content"][0]):
        read = entries(Limits())[PATH.encode()].read(json.dumps(body([block])).encode())
        assert read.needs == {"files"}


# -- round trips -------------------------------------------------------------------------------------------------

TEXTS = st.text(max_size=12)
SOME = st.text(min_size=1, max_size=12)
NAMES = st.text("abcdefgh_", min_size=1, max_size=8)


def words(given: dict[str, Any]) -> Chat:
    entry = entries(Limits())[PATH.encode()]
    return entry.dialect.chat(entry.read(json.dumps(given).encode()))


def blocks(kind: str, **fields: Any) -> Any:
    return st.fixed_dictionaries({"type": st.just(kind), **fields})


ASSISTANT = st.lists(
    blocks("text", text=SOME)
    | blocks("thinking", thinking=SOME)
    | blocks("tool_use", id=NAMES, name=NAMES, input=st.dictionaries(NAMES, st.integers())),
    min_size=1,
    max_size=3,
)
USERS = st.lists(
    blocks("text", text=SOME) | blocks("tool_result", tool_use_id=NAMES, content=SOME), min_size=1, max_size=3
)
TURNS = st.lists(
    st.fixed_dictionaries({"role": st.just("user"), "content": SOME | USERS})
    | st.fixed_dictionaries({"role": st.just("assistant"), "content": SOME | ASSISTANT}),
    min_size=1,
    max_size=4,
)


@given(messages=TURNS, stops=st.lists(SOME, max_size=2), temperature=st.none() | st.floats(0, 1))
def test_words_survive_the_way_to_openai_and_back(messages: Any, stops: Any, temperature: Any) -> None:
    chat = words(body(messages=messages, stop_sequences=stops, temperature=temperature))
    path, written = family("openai").ask(chat, usage=False)
    assert path == b"/chat/completions"
    openai = entries(Limits())[b"/v1/chat/completions"]
    assert openai.dialect.chat(openai.read(written)) == chat


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.sampled_from(["text", "image", "tool_use"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "source", "content", "input", "id", "name", "data", "role", "url"]), inner
        )
    ),
    max_leaves=8,
)
HELLO = [{"role": "user", "content": "hello"}]
FIELDS = ("messages", "system", "tools", "tool_choice", "thinking", "output_config", "metadata", "stop_sequences")
KINDS = ("text", "image", "document", "search_result", "tool_use", "tool_result", "thinking", "x")


@given(
    fields=st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=2),
    blocks=st.lists(st.tuples(st.sampled_from(KINDS), ANYTHING), max_size=2),
    role=st.sampled_from(["user", "assistant"]),
)
def test_no_body_is_more_than_a_mistake_of_the_client(fields: Any, blocks: Any, role: str) -> None:
    content = [{"type": kind} | (more if isinstance(more, dict) else {"source": more}) for kind, more in blocks]
    for one in (fields, {"messages": [{"role": role, "content": content}]}, fields | {"messages": HELLO}):
        with suppress(BadRequest):
            words(body(**one))


ARGUMENTS = ["{}", '{"a":1}', '{"a":{"b":[]}}', '{"a":', ""]


@st.composite
def answers(draw: st.DrawFn) -> list[Any]:
    """Texts, thoughts and calls, their pieces mixed in any way that keeps the order within each call."""
    calls = draw(st.lists(st.sampled_from(ARGUMENTS), max_size=3))
    lines: list[list[Any]] = [draw(st.lists(st.builds(Text, SOME) | st.builds(Reasoning, SOME), max_size=4))]
    for index, arguments in enumerate(calls):
        cut = draw(st.integers(0, len(arguments)))
        pieces = [ToolCallDelta(index, arguments=piece) for piece in (arguments[:cut], arguments[cut:])]
        lines.append([ToolCallDelta(index, f"c{index}", "look"), *pieces])
    mixed = []
    while lines := [line for line in lines if line]:
        mixed.append(draw(st.sampled_from(lines)).pop(0))
    return mixed


@given(pieces=answers())
def test_every_stream_is_one_that_clients_can_read(pieces: list[Any]) -> None:
    """Blocks never overlap, however a worker mixes its calls, and nothing of them is lost."""
    out = writer(Request("chat", b"", "m", True, b""), "m")
    data = b"".join(map(out.write, [*pieces, Done(), Report(Usage(3, 2))])) + out.end(Phases())
    opened: list[str] = []
    heard: dict[str, str] = {}
    for each in events_of(data)[2:-2]:
        if each["type"] == "content_block_start":
            assert each["index"] == len(opened)
            opened.append(each["content_block"].get("id", each["content_block"]["type"]))
            assert opened.count(opened[-1]) == 1 or opened[-1] in ("text", "thinking")
        elif each["type"] == "content_block_delta":
            assert each["index"] == len(opened) - 1
            _, text = each["delta"].values()
            heard[opened[-1]] = heard.get(opened[-1], "") + text
    calls = [p for p in pieces if isinstance(p, ToolCallDelta)]
    for index in {call.index for call in calls}:
        assert heard.get(f"c{index}", "") == "".join(call.arguments for call in calls if call.index == index)
        assert f"c{index}" in opened
    assert heard.get("text", "") == "".join(p.text for p in pieces if isinstance(p, Text))
    assert heard.get("thinking", "") == "".join(p.text for p in pieces if isinstance(p, Reasoning))


def test_arguments_that_are_no_object_are_told_as_text() -> None:
    out = writer(Request("chat", b"", "m", False, b""), "m")
    for each in (ToolCallDelta(0, "c", "look", '{"city": '), Done("tool_calls"), Report(Usage(1, 1))):
        assert out.write(each) == b""
    told = json.loads(out.end(Phases()))
    assert (told["content"], told["stop_reason"]) == ([text('{"city": ')], "end_turn")


def test_what_is_said_in_one_turn_is_one_message() -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "i", "name": "n", "input": {}}]},
        {"role": "assistant", "content": "d"},
    ]
    assert words(body(messages=messages)).messages == (
        Message("user", "a\n\nb"),
        Message("assistant", "c", tool_calls=(ToolCall("i", "n", "{}"),)),
        Message("assistant", "d"),
    )


# -- counts ------------------------------------------------------------------------------------------------------


async def test_what_an_agent_puts_between_turns_keeps_its_place_and_results_stay_behind_their_calls(
    both: tuple[Gate, ScriptedWorker],
) -> None:
    """Templates refuse a second system message, and servers a text between a call and its result."""
    gate, worker = both
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "42"}
    messages = [
        {"role": "system", "content": "More."},
        {"role": "user", "content": "Go."},
        {"role": "system", "content": "Early."},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [{"type": "text", "text": "Note."}, result]},
        {"role": "system", "content": "Late."},
    ]
    answer = await gate.ask(request(body(messages=messages, system="First."), path=PATH))
    assert answer.status == 200, answer.body
    sent = worker.requests[-1].json["messages"]
    assert [(each["role"], each["content"]) for each in sent] == [
        ("system", "First.\n\nMore."),
        ("user", "Go.\n\n<system-reminder>\nEarly.\n</system-reminder>"),
        ("assistant", ""),
        ("tool", "42"),
        ("user", "Note.\n\n<system-reminder>\nLate.\n</system-reminder>"),
    ]


async def test_a_server_that_cannot_count_is_named(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    for path in ("/v1/messages/count_tokens", "/messages/count_tokens"):
        answer = await gate.ask(request({"model": "m", "messages": [{"role": "user", "content": "x"}]}, path=path))
        assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_request_error")
        assert "m cannot count tokens" in answer.json["error"]["message"]
    assert not worker.requests
    assert gate.gateway.fleet.worker("m").active == 0
