"""Servers that speak Anthropic's Messages: what they are asked, and what every client sees of their answers."""

import gc
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    SSE_HEAD,
    Answer,
    Gate,
    Held,
    ScriptedWorker,
    chat,
    chunk,
    config,
    raw,
    reply,
    request,
    running_gateway,
    short_folder,
    stream,
    until,
)
from hypothesis import given
from hypothesis import strategies as st

from rolecast import backends
from rolecast.config.advice import warnings
from rolecast.config.check import check
from rolecast.config.schema import Config, Limits, Model, Server
from rolecast.dialects import dialect, entries, family
from rolecast.dialects.request import Request
from rolecast.errors import BadRequest
from rolecast.turn.conversion import Conversion
from rolecast.turn.exchange import Exchange
from rolecast.values import (
    Chat,
    Done,
    Endpoint,
    Failure,
    Listen,
    Message,
    Part,
    Phases,
    Reasoning,
    Report,
    Text,
    Tool,
    ToolCallDelta,
    Usage,
)

pytestmark = pytest.mark.anyio
PATH = "/v1/messages"


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def block(index: int, kind: str, *deltas: dict[str, Any], **fields: Any) -> bytes:
    start = event("content_block_start", index=index, content_block={"type": kind, **fields})
    pieces = [event("content_block_delta", index=index, delta=delta) for delta in deltas]
    return start + b"".join(pieces) + event("content_block_stop", index=index)


def delta(kind: str, value: str) -> dict[str, Any]:
    names = {"input_json_delta": "partial_json"}
    return {"type": kind, names.get(kind, kind.removesuffix("_delta")): value}


START = event(
    "message_start",
    message={
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 5,
            "cache_read_input_tokens": 6,
            "cache_creation_input_tokens": 0,
            "output_tokens": 1,
        },
    },
)
PING = event("ping")
THOUGHT = block(
    0, "thinking", delta("thinking_delta", "hm"), delta("signature_delta", "SIG"), thinking="", signature=""
)
TEXT = block(1, "text", delta("text_delta", "Hel"), delta("text_delta", "lo"), text="")
CALL = block(
    2,
    "tool_use",
    delta("input_json_delta", ""),
    delta("input_json_delta", '{"city"'),
    delta("input_json_delta", ': "Bern"}'),
    id="toolu_1",
    name="look",
    input={},
)
STOP = event("message_stop")


def over(reason: str, sequence: str | None = None, **usage: int) -> bytes:
    told = {"stop_reason": reason, "stop_sequence": sequence}
    return event("message_delta", delta=told, usage={"output_tokens": 9, **usage})


ANSWERED = (START, PING, THOUGHT, TEXT, CALL, over("tool_use"), STOP)
WHOLE = {
    "id": "msg_01",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "SIG"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"city": "Bern"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "cache_read_input_tokens": 6, "output_tokens": 9},
}


@asynccontextmanager
async def claude(**fields: Any) -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    with short_folder() as folder:
        async with ScriptedWorker().listening() as worker:
            models = {"m": Model(backend="anthropic", url=worker.url, key="sk-remote", **fields)}
            async with running_gateway(config(models), Path(folder)) as gate:
                yield gate, worker


def asked(**fields: Any) -> bytes:
    body = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "hello"}], **fields}
    return request(body, path=PATH)


def openai_message(answer: Answer, streams: bool) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Message, reason and usage of a chat completion."""
    assert answer.status == 200, answer
    if not streams:
        (choice,) = answer.json["choices"]
        return choice["message"], choice["finish_reason"], answer.json["usage"]
    events = [json.loads(e[6:]) for e in answer.body.decode().strip().split("\n\n") if e != "data: [DONE]"]
    message: dict[str, Any] = {"content": "", "reasoning_content": ""}
    calls: dict[int, dict[str, Any]] = {}
    for each in (e["choices"][0]["delta"] for e in events if e["choices"]):
        for name in ("content", "reasoning_content"):
            message[name] += each.get(name) or ""
        for call in each.get("tool_calls", ()):
            known = calls.setdefault(call["index"], {"id": call.get("id"), "function": {"name": "", "arguments": ""}})
            known["function"]["name"] += call["function"].get("name", "")
            known["function"]["arguments"] += call["function"]["arguments"]
    reason = [e["choices"][0]["finish_reason"] for e in events if e["choices"]][-1]
    return message | {"tool_calls": [*calls.values()]}, reason, events[-1]["usage"]


# -- answers for clients of other dialects -----------------------------------------------------------------------


@pytest.mark.parametrize("streams", [True, False])
async def test_a_client_of_openai_gets_thoughts_text_calls_and_counts(streams: bool) -> None:
    async with claude() as (gate, worker):
        worker.usual = stream(*ANSWERED) if streams else reply(json.dumps(WHOLE).encode())
        body = chat("hello", "m", stream=streams, stream_options={"include_usage": True})
        message, reason, usage = openai_message(await gate.ask(request(body)), streams)
        assert (message["reasoning_content"], message["content"], reason) == ("hm", "Hello", "tool_calls")
        (call,) = message["tool_calls"]
        assert (call["id"], call["function"]["name"]) == ("toolu_1", "look")
        assert json.loads(call["function"]["arguments"]) == {"city": "Bern"}
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (11, 9)
        assert usage["prompt_tokens_details"]["cached_tokens"] == 6
        other = await gate.ask(request({**chat("hello", "m"), "stream": streams}, path="/api/chat"))
        assert json.loads(other.body.splitlines()[-1])["eval_count"] == 9
        for row in await gate.rows():
            assert (row.outcome, row.prompt_tokens, row.completion_tokens, row.cached_tokens) == ("ok", 11, 9, 6)
        assert [r.line for r in worker.requests] == ["POST /v1/messages HTTP/1.1"] * 2
        assert worker.requests[0].header("x-api-key") == ["sk-remote"]
        assert worker.requests[0].header("anthropic-version") == ["2023-06-01"]
        assert worker.requests[0].header("authorization") == []


async def test_every_word_of_a_chat_reaches_it_in_its_own_dialect() -> None:
    async with claude(remote_model="claude-x") as (gate, worker):
        worker.usual = reply(json.dumps(WHOLE).encode())
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
        messages = [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "what?"}, image]},
            {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
            {"role": "user", "content": "again"},
        ]
        schema = {"type": "object", "properties": {}}
        tool = {"type": "function", "function": {"name": "look", "description": "d", "parameters": schema}}
        body = {"model": "m", "messages": messages, "tools": [tool], "stop": "x", "temperature": 0.5, "seed": 4}
        body |= {"tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 7, "user": "u"}
        body |= {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}
        assert (await gate.ask(request(body))).status == 200
        assert worker.requests[0].json == {
            "model": "claude-x",
            "max_tokens": 7,
            "system": "be brief",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "what?"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    ],
                },
                {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {"a": 1}}]},
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "a cat"}]},
                        {"type": "text", "text": "again"},
                    ],
                },
            ],
            "tools": [{"name": "look", "description": "d", "input_schema": schema}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
            "temperature": 0.5,
            "stop_sequences": ["x"],
            "metadata": {"user_id": "u"},
            "output_config": {"format": {"type": "json_schema", "schema": schema}},
        }


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"messages": (Message("user", (Part("audio", data="data:audio/wav;base64,AA"),)),)}, "no audio"),
        ({"messages": (Message("user", (Part("image", data="/etc/passwd"),)),)}, "must be a URL"),
        ({"answer_schema": b"{}"}, "JSON schema"),
    ],
)
def test_what_it_has_no_word_for_is_refused(said: dict[str, Any], told: str) -> None:
    asked = {"messages": (Message("user", "x"),), **said}
    with pytest.raises(BadRequest, match=told):
        family("anthropic").ask(Chat("m", **asked), usage=False)


# -- answers for its own clients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [True, False])
async def test_its_own_clients_get_its_bytes_and_the_books_their_counts(streams: bool) -> None:
    async with claude() as (gate, worker):
        whole = json.dumps(WHOLE).encode()
        worker.usual = stream(*ANSWERED) if streams else reply(whole)
        thought = {"type": "thinking", "thinking": "hm", "signature": "SIG"}
        search = {"type": "web_search_20250305", "name": "web_search"}
        history = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [thought]}]
        body = {"model": "m", "max_tokens": 64, "stream": streams, "tools": [search]}
        body["messages"] = [*history, history[0]]
        answer = await gate.ask(request(body, path=PATH, head="anthropic-beta: one-2026,two-2026\r\n"))
        assert answer.body == (b"".join(ANSWERED) if streams else whole)
        assert answer.header("request-id") == answer.header("x-request-id")
        (row,) = await gate.rows()
        assert (row.outcome, row.prompt_tokens, row.completion_tokens, row.cached_tokens) == ("ok", 11, 9, 6)
        sent = worker.requests[0].json
        assert worker.requests[0].header("anthropic-beta") == ["one-2026,two-2026"]
        assert (sent["tools"], sent["messages"][1]["content"]) == ([search], [thought])


async def test_the_first_bytes_are_there_before_the_last_are_made() -> None:
    async with claude() as (gate, worker):
        slow = Held(START, PING, block(0, "text", delta("text_delta", "one"), text=""))
        worker.script.append(slow)
        async with gate.client() as client:
            await client.send(asked(stream=True))
            await client.head()
            size = int(await client.reader.readline(), 16)
            assert b'"one"' in await client.reader.readexactly(size)
            assert not slow.let_go.is_set()
            slow.let_go.set()


@pytest.mark.parametrize("path", [PATH, "/v1/chat/completions"])
@pytest.mark.parametrize("streams", [True, False])
async def test_an_error_before_the_first_word_is_an_error_answer_and_is_asked_again(path: str, streams: bool) -> None:
    async with claude() as (gate, worker):
        body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "stream": streams}
        overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        worker.usual = reply(json.dumps(overloaded).encode(), 529)
        told = await gate.ask(request(body, path=path))
        assert told.status == 502
        assert "Overloaded" in told.json["error"]["message"]
        assert told.header("request-id") == (told.header("x-request-id") if path == PATH else None)
        worker.usual = stream(START, event("error", error=overloaded["error"]))
        assert (await gate.ask(request(body, path=path))).status == 502
        long = {"type": "invalid_request_error", "message": "prompt is too long: 210 tokens > 200 maximum"}
        worker.usual = reply(json.dumps({"type": "error", "error": long}).encode(), 400)
        told = await gate.ask(request(body, path=path))
        assert told.status == 400
        assert "prompt is too long: 210 tokens > 200 maximum" in told.json["error"]["message"]
        refused = {"type": "error", "error": {"type": "authentication_error", "message": "no key sk-remote"}}
        worker.usual = reply(json.dumps(refused).encode(), 401)
        told = await gate.ask(request(body, path=path))
        assert told.status == 502
        assert "sk-remote" not in told.body.decode()
        worker.script.append(raw(b"", close=True))
        worker.usual = stream(*ANSWERED) if streams else reply(json.dumps(WHOLE).encode())
        assert (await gate.ask(request(body, path=path))).status == 200


@pytest.mark.parametrize("path", [PATH, "/v1/chat/completions"])
@pytest.mark.parametrize("how", ["error", "cut", "short"])
async def test_an_error_inside_of_a_stream_ends_it(path: str, how: str) -> None:
    async with claude() as (gate, worker):
        begun = (START, PING, TEXT)
        broken = event("error", error={"type": "api_error", "message": "out of memory"})
        worker.usual = {
            "error": stream(*begun, broken),
            "cut": raw(SSE_HEAD, *map(chunk, (*begun, b'event: content_block_delta\ndata: {"ty')), close=True),
            "short": stream(*begun),
        }[how]
        body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "stream": True}
        answer = await gate.ask(request(body, path=path))
        assert answer.status == 200
        last = [e for e in answer.body.decode().split("\n\n") if e and e != "data: [DONE]"][-1]
        assert json.loads(last.partition("data: ")[2])["error"]["message"]
        assert [row.outcome for row in await gate.rows()] == ["error"]


@pytest.mark.parametrize("given", [b"{}", b'{"properties":{"type":{"type":"string"}}}', b'{"type":"object"}'])
def test_a_tool_has_a_schema_of_an_object(given: bytes) -> None:
    tool = Tool("look", parameters=msgspec.Raw(given))
    _, body = family("anthropic").ask(Chat("m", (Message("user", "x"),), tools=(tool,)), usage=False)
    assert json.loads(body)["tools"][0]["input_schema"] == {"type": "object", **json.loads(given)}


@pytest.mark.parametrize("streams", [True, False])
async def test_an_answer_that_is_handed_on_is_freed_without_the_collector(streams: bool) -> None:
    def exchanges() -> int:
        return sum(isinstance(o, Exchange | Conversion) for o in gc.get_objects())

    async with claude() as (gate, worker), gate.client() as client:
        worker.usual = stream(*ANSWERED) if streams else reply(json.dumps(WHOLE).encode())
        gc.collect()
        gc.disable()
        try:
            before = exchanges()
            for _ in range(20):
                await client.send(asked(stream=streams))
                assert (await client.answer()).status == 200
            await until(lambda: exchanges() <= before + 2, "exchanges to go")  # the loop may hold on to the last
        finally:
            gc.enable()


# -- the configuration -------------------------------------------------------------------------------------------


def test_without_a_url_it_is_anthropics_own() -> None:
    endpoint = backends.get("anthropic").plan("m", Model(backend="anthropic", key="k"), None, Listen())
    assert isinstance(endpoint, Endpoint)
    assert (endpoint.address, endpoint.base) == ("https://api.anthropic.com:443", "/v1")
    assert endpoint.health_path == "/v1/models"
    fine = Config(server=Server(port=0), models={"m": Model(backend="anthropic", key="k")}, roles={"standard": ["m"]})
    check(fine, backends.table())
    assert not any("models.m" in line for line in warnings(fine, backends.table()) if "plain text" not in line)


@pytest.mark.parametrize(
    ("fields", "told"), [({}, "key: is missing"), ({"stream_usage": "ask", "key": "env:K"}, "stream_usage")]
)
def test_settings_that_cannot_be_meant_are_told(fields: dict[str, Any], told: str) -> None:
    model = Model(backend="anthropic", **fields)
    given = Config(server=Server(port=0), models={"m": model}, roles={"standard": ["m"]})
    assert [line for line in warnings(given, backends.table()) if line.startswith(f"models.m.{told}")]


# -- round trips -------------------------------------------------------------------------------------------------

SOME = st.text(min_size=1, max_size=12)
NAMES = st.text("abcdefgh_", min_size=1, max_size=8)


@given(
    events=st.lists(
        st.builds(Text, SOME)
        | st.builds(Reasoning, SOME)
        | st.builds(lambda name: ToolCallDelta(-1, f"id_{name}", name, '{"a":1}'), NAMES),
        min_size=1,
        max_size=6,
    ),
    done=st.sampled_from([Done(), Done("length"), Done(stop="x")]),
    streams=st.booleans(),
    cut=st.integers(1, 60),
)
def test_what_is_written_for_its_clients_is_what_is_read(events: Any, done: Done, streams: bool, cut: int) -> None:
    numbered, calls = [], 0
    for each in events:
        if isinstance(each, ToolCallDelta):
            each, calls = ToolCallDelta(calls, each.id, each.name, each.arguments), calls + 1
        numbered.append(each)
    out = dialect("anthropic").writer(Request("chat", b"", "m", streams, b'"cache_control"'), "m")
    report = Report(Usage(11, 4, 5, reasoning_tokens=2))
    data = b"".join(map(out.write, [*numbered, done, report])) + out.end(Phases())
    reader = family("anthropic").reader(streaming=streams)
    read = [e for at in range(0, len(data), cut) for e in reader.read(data[at : at + cut])] + reader.end()
    for kind in (Text, Reasoning):
        assert "".join(e.text for e in read if isinstance(e, kind)) == "".join(
            e.text for e in events if isinstance(e, kind)
        )
    for index in range(calls):
        pieces = [e for e in read if isinstance(e, ToolCallDelta) and e.index == index]
        (given,) = [e for e in numbered if isinstance(e, ToolCallDelta) and e.index == index]
        assert pieces[0].id == given.id
        assert json.loads("".join(piece.arguments for piece in pieces)) == {"a": 1}
    if calls and done == Done():
        done = Done("tool_calls")
    assert read[-2:] == [done, report]


IMAGE = Part("image", data="data:image/png;base64,AAAA")
TURNS = st.lists(
    st.builds(Message, st.just("user"), SOME)
    | st.builds(lambda text: Message("user", (IMAGE, Part("text", text=text))), SOME)
    | st.builds(Message, st.just("assistant"), SOME)
    | st.builds(lambda text, call: Message("tool", text, tool_call_id=call), SOME, NAMES),
    min_size=1,
    max_size=5,
)


@given(turns=TURNS, system=st.none() | SOME)
def test_words_survive_the_way_to_its_wire_and_back(turns: list[Message], system: str | None) -> None:
    """However turns are joined at first, then nothing changes any more."""
    first = [Message("system", system)] if system else []
    wire = entries(Limits())[PATH.encode()]

    def again(chat: Chat) -> tuple[Chat, bytes]:
        _, body = family("anthropic").ask(chat, usage=False)
        return wire.dialect.chat(wire.read(body)), body

    once, body = again(Chat("m", (*first, *turns)))
    twice, _ = again(once)
    assert again(twice)[0] == twice
    for turn in turns:
        texts = [turn.content] if isinstance(turn.content, str) else [p.text for p in turn.content if p.text]
        assert all(json.dumps(text, ensure_ascii=False).encode() in body for text in texts)


@given(data=st.binary(max_size=200), streams=st.booleans())
def test_no_bytes_of_a_server_break_the_reader(data: bytes, streams: bool) -> None:
    reader = family("anthropic").reader(streaming=streams)
    for each in [*reader.read(b"data: " + data + b"\n\n" if streams else data), *reader.end()]:
        assert not isinstance(each, Failure) or isinstance(each.message, str)
