"""Ollama's /api/chat on a scripted worker of another dialect: what is asked of it, and what the client sees."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
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
from msgspec import structs

from rolecast.config.schema import Limits
from rolecast.dialects import dialect, entries, family
from rolecast.dialects.ollama_writer import writer
from rolecast.dialects.request import Request
from rolecast.dialects.turns import settled
from rolecast.errors import ModelNotFound
from rolecast.values import Chat, Done, Failure, Part, Phases, Report, Text, ToolCallDelta, Usage

pytestmark = pytest.mark.anyio
CHAT = "/api/chat"
FINISH = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()


@pytest.fixture
async def both() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    async with pair() as (gate, worker):
        yield gate, worker


def asked(text: str = "hello", **fields: Any) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
    return request(body, path=CHAT)


def asks(message: bytes, more: bytes = b'"stream":true') -> bytes:
    """A body in bytes that no JSON writer would write."""
    return b'{"model":"m","messages":[%b],%b}' % (message, more)


def lines(answer: Answer) -> list[dict[str, Any]]:
    assert (answer.status, answer.header("content-type")) == (200, "application/x-ndjson")
    assert answer.body.endswith(b"\n")
    return [json.loads(line) for line in answer.body.splitlines()]


# -- answers -------------------------------------------------------------------------------------------------------


async def test_a_stream_comes_as_lines_and_ends_with_counts_and_durations(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script.append(stream(delta("Hel"), delta("lo"), FINISH, USAGE, DONE))
    *pieces, last = lines(await gate.ask(asked()))
    assert [piece["message"] for piece in pieces] == [{"role": "assistant", "content": t} for t in ("Hel", "lo")]
    assert all(set(piece) == {"model", "created_at", "message", "done"} and not piece["done"] for piece in pieces)
    assert (last["done"], last["done_reason"], last["message"]["content"]) == (True, "stop", "")
    assert (last["prompt_eval_count"], last["eval_count"]) == (11, 3)
    assert last["total_duration"] >= last["load_duration"] + last["prompt_eval_duration"] + last["eval_duration"]
    (row,) = await gate.rows()
    assert (row.kind, row.stream, row.outcome, row.prompt_tokens, row.completion_tokens) == ("chat", True, "ok", 11, 3)


async def test_a_whole_answer_is_one_object(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, _ = both
    answer = await gate.ask(asked(stream=False))
    assert answer.header("content-type") == "application/json; charset=utf-8"
    body = answer.json
    assert body["message"] == {"role": "assistant", "content": "hi"}
    assert (body["model"], body["done"], body["prompt_eval_count"], body["eval_count"]) == ("m", True, 5, 2)
    assert answer.header("x-rolecast-model") == "m"
    assert (await gate.rows())[0].completion_tokens == 2


async def test_the_first_line_is_there_before_the_last_is_made(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    slow = Held(delta("one"))
    worker.script.append(slow)
    async with gate.client() as client:
        await client.send(asked())
        await client.head()
        size = int(await client.reader.readline(), 16)
        assert json.loads(await client.reader.readexactly(size))["message"]["content"] == "one"
        assert not slow.let_go.is_set()
        slow.let_go.set()


async def test_who_leaves_frees_the_slot_and_stops_the_worker(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    slow = Held(delta("one"), delta("two"))
    worker.script.append(slow)
    async with gate.client() as client:
        await client.send(asked())
        await slow.began.wait()
        await client.head()
        client.abort()
        assert slow.peer is not None
        await asyncio.wait_for(slow.peer.gone.wait(), 10)
    await until(lambda: not gate.gateway.dispatch.active and gate.gateway.fleet.worker("m").active == 0)
    (row,) = await gate.rows()
    assert (row.outcome, row.completion_tokens, row.counted) == ("cancelled", 2, True)


async def test_thoughts_and_calls_have_their_own_fields(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}
    parts = [{"index": 0, "function": {"arguments": piece}} for piece in ('{"ci', 'ty": "Bern"}')]
    deltas = [{"reasoning_content": "hm"}, {"tool_calls": [call]}, *({"tool_calls": [part]} for part in parts)]
    done = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    events = [event({"choices": [{"index": 0, "delta": each}]}) for each in deltas]
    worker.script.append(stream(*events, done, DONE))
    thought, called, last = lines(await gate.ask(asked()))
    assert thought["message"] == {"role": "assistant", "content": "", "thinking": "hm"}
    (made,) = called["message"]["tool_calls"]
    assert made == {"id": "c1", "function": {"index": 0, "name": "look", "arguments": {"city": "Bern"}}}
    assert last["done_reason"] == "stop"


async def test_arguments_that_are_no_object_are_told_as_text() -> None:
    out = writer("m", stream=False)
    for each in (ToolCallDelta(0, "c", "look", '{"city": '), Done("tool_calls"), Report(Usage(1, 1))):
        assert out.write(each) == b""
    message = json.loads(out.end(Phases()))["message"]
    assert message == {"role": "assistant", "content": '{"city": '}


# -- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/me", "/api//experimental/", "/api/generate/x"])
async def test_what_of_ollama_is_not_there_is_told_in_its_shape(both: tuple[Gate, ScriptedWorker], path: str) -> None:
    gate, _ = both
    for ask in (request({"model": "m"}, path=path), f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()):
        answer = await gate.ask(ask)
        assert (answer.status, list(answer.json)) == (404, ["error"])


async def test_who_may_not_in_is_told_in_the_shape_of_ollama(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, _ = both
    answer = await gate.ask(b"GET /api/tags HTTP/1.1\r\nhost: evil.example\r\n\r\n")
    assert (answer.status, list(answer.json)) == (403, ["error"])
    assert isinstance(answer.json["error"], str)


async def test_an_error_is_a_text(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    missing = await gate.ask(request({"model": "nobody", "messages": [{"role": "user", "content": "x"}]}, path=CHAT))
    assert (missing.status, list(missing.json)) == (404, ["error"])
    assert "not found" in missing.json["error"]
    assert missing.header("x-request-id")
    worker.script += [reply(b'{"error":{"message":"no such thing"}}', 400)] * 2  # once more without a wish of ours
    refused = await gate.ask(asked())
    assert (refused.status, refused.json) == (400, {"error": "no such thing"})


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "`model` is missing"),
        (b'{"model":"m","messages":{}}', "`messages`"),
        (b'{"model":"m","messages":[{"content":"x"}]}', "role"),
        (b'{"model":"m","messages":[{"role":"user","content":[]}]}', "`messages[0].content`"),
        (b'{"model":"m","messages":[{"role":"user","images":["@@"]}]}', "base64"),
        (b'{"model":"m","messages":[{"role":"user"}],"options":{"temperature":-1}}', "`options.temperature`"),
        (b'{"model":"m","messages":[{"role":"user"}],"options":{"num_predict":1e99}}', "`options.num_predict`"),
        (b'{"model":"m","messages":[{"role":"user"}],"format":"xml"}', "`format`"),
        (b'{"model":"m","messages":[{"role":"user"}],"tools":[{"function":{}}]}', "name"),
        (b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', "not valid JSON"),
        (b'{"model":"m","messages":' + b"[" * 100_000, "messages"),
        (asks(b'{"role":"tool","tool_calls":[{"function":{"name":"f","arguments":{"a":"\xff"}}}]}'), "not valid JSON"),
        (asks(b'{"role":"user"}', b'"format":{"a":"\xff"}'), "not valid JSON"),
        (asks(b'{"role":"user"}', b'"tools":[{"function":{"name":"f","parameters":5}}]'), "`tools[0].function.param"),
        (asks(b'{"role":"user","images":[""]}'), "base64"),
        (asks(b'{"role":"user","images":["data:image/png,x"]}'), "base64"),
    ],
)
async def test_a_bad_body_is_the_clients_mistake(both: tuple[Gate, ScriptedWorker], body: bytes, told: str) -> None:
    gate, worker = both
    answer = await gate.ask(request(body, path=CHAT))
    assert answer.status in (400, 422)
    assert told in answer.json["error"]
    assert not worker.requests


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize(
    "answer",
    [
        reply(b"{}"),
        reply(b"<html>"),
        reply(b"null"),
        reply(b'{"choices":[]}'),
        reply(b'{"error":"overloaded"}'),
        stream(DONE),
        stream(b": hello\n\n"),
        stream(event({"error": {"message": "overloaded"}})),
        raw(SSE_HEAD + b"0\r\n\r\n"),
    ],
)
async def test_what_is_no_answer_is_an_error_before_anything_was_sent(
    both: tuple[Gate, ScriptedWorker], streams: bool, answer: Any
) -> None:
    gate, worker = both
    worker.usual = answer
    told = await gate.ask(asked(stream=streams))
    assert told.status == 502, told
    assert list(told.json) == ["error"]
    assert (await gate.rows())[0].outcome == "error"


async def test_an_error_inside_of_a_stream_is_its_last_line(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script.append(stream(delta("one"), event({"error": {"message": "out of memory"}}), DONE))
    first, last = lines(await gate.ask(asked()))
    assert first["message"]["content"] == "one"
    assert list(last) == ["error"]
    assert "out of memory" in last["error"]
    assert (await gate.rows())[0].outcome == "error"


async def test_a_stream_that_stops_in_good_order_before_its_end_is_told_as_broken(
    both: tuple[Gate, ScriptedWorker],
) -> None:
    gate, worker = both
    worker.script += [stream(delta("one"))]
    first, last = lines(await gate.ask(asked()))
    assert (first["message"]["content"], list(last)) == ("one", ["error"])
    assert "broke off" in last["error"]
    assert (await gate.rows())[0].outcome == "error"


async def test_a_worker_that_dies_in_a_stream_is_told_in_its_last_line(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script.append(raw(SSE_HEAD + chunk(delta("one")), close=True))
    first, last = lines(await gate.ask(asked()))
    assert (first["message"]["content"], list(last)) == ("one", ["error"])


async def test_a_worker_that_dies_before_its_first_piece_is_asked_again(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script += [raw(b"", close=True), stream(delta("hi"), FINISH, DONE)]
    assert lines(await gate.ask(asked()))[0]["message"]["content"] == "hi"
    assert (await gate.rows())[0].attempts == 2


async def test_a_worker_that_takes_no_wish_for_usage_is_asked_without(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script += [reply(b'{"error":"unknown field"}', 400), stream(delta("hi"), delta("ho"), FINISH, DONE)]
    *_, last = lines(await gate.ask(asked()))
    assert last["eval_count"] == 2  # counted here
    wished = ["stream_options" in json.loads(received.body) for received in worker.requests]
    assert wished == [True, False]


# -- what the worker is asked --------------------------------------------------------------------------------------


async def test_every_word_of_the_request_reaches_the_worker_in_its_own_dialect(
    both: tuple[Gate, ScriptedWorker],
) -> None:
    gate, worker = both
    schema = {"type": "object", "properties": {"colour": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "look", "description": "d", "parameters": {"type": "object"}}}
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "what is this?", "images": [PNG]},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "look", "arguments": {"a": 1}}}]},
        {"role": "tool", "content": "a cat", "tool_name": "look"},
    ]
    options = {"num_predict": 7, "temperature": 0, "seed": 3, "stop": ["x"], "repeat_penalty": 1.1, "num_ctx": 99}
    body = {"model": "m", "messages": messages, "tools": [tool], "format": schema, "options": options, "think": True}
    await gate.ask(request({**body, "stream": False, "keep_alive": "5m"}, path=CHAT))
    sent = json.loads(worker.requests[0].body)
    assert worker.requests[0].line.startswith("POST /v1/chat/completions ")
    system, user, called, result = sent["messages"]
    assert system == {"role": "system", "content": "be brief"}
    assert user["content"][0] == {"type": "text", "text": "what is this?"}
    assert user["content"][1]["image_url"]["url"] == f"data:image/png;base64,{PNG}"
    (call,) = called["tool_calls"]
    assert json.loads(call["function"].pop("arguments")) == {"a": 1}
    assert (call["type"], call["function"], result["tool_call_id"]) == ("function", {"name": "look"}, call["id"])
    assert sent["tools"] == [tool]
    assert sent["response_format"]["json_schema"]["schema"] == schema
    wanted = {"max_tokens": 7, "temperature": 0, "seed": 3, "stop": ["x"], "repetition_penalty": 1.1}
    assert {name: sent[name] for name in wanted} == wanted
    assert "num_ctx" not in sent
    assert "keep_alive" not in sent
    assert "stream" not in sent


def chat_of(**body: Any) -> Chat:
    read = entries(Limits())[b"/api/chat"].read(json.dumps({"model": "m", **body}).encode()).chat
    assert read is not None
    return read


def test_results_belong_to_calls_by_id_then_by_name_then_in_order() -> None:
    calls = [{"id": "x", "function": {"name": "a"}}, *({"function": {"name": name}} for name in "bbc")]
    results = [{"tool_name": "b"}, {"tool_call_id": "x"}, {"tool_name": "z"}, {"name": "b"}, {}]
    messages = [{"role": "assistant", "tool_calls": calls}, *({"role": "tool", **each} for each in results)]
    chat = chat_of(messages=messages)
    assert [m.tool_call_id for m in chat.messages[1:]] == ["call_0_1", "x", "call_0_2", "call_0_3", "call_0"]


async def test_results_of_many_calls_do_not_hold_up_the_others(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    calls = [{"function": {"name": "a"}}] * 50_000
    results = [{"role": "tool", "tool_name": "b"}] * 4000
    body = {"model": "m", "stream": False, "messages": [{"role": "assistant", "tool_calls": calls}, *results]}
    assert (await gate.ask(request(body, path=CHAT))).status == 200
    assert len({m.get("tool_call_id") for m in worker.requests[0].json["messages"]}) == 4001


@pytest.mark.parametrize("text", ["\n".join([PNG[:20], PNG[20:]]), f"data:image/webp;base64,{PNG}"])
def test_a_picture_may_come_in_lines_or_as_a_url(text: str) -> None:
    (message,) = chat_of(messages=[{"role": "user", "images": [text]}]).messages
    assert message.content[1] == Part("image", data=f"data:image/png;base64,{PNG}")


def test_a_tool_without_parameters_takes_none() -> None:
    (tool,) = chat_of(messages=[{"role": "user"}], tools=[{"function": {"name": "f", "parameters": None}}]).tools
    assert bytes(tool.parameters) == b"{}"


# -- round trips ---------------------------------------------------------------------------------------------------

WORDS = st.text(max_size=12)
NAMES = st.text("abcdefgh_", min_size=1, max_size=8)
FUNCTION = st.fixed_dictionaries({"name": NAMES, "parameters": st.just({"type": "object"})})
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": WORDS},
        optional={"images": st.lists(st.just(PNG), max_size=2), "thinking": WORDS},
    ),
    min_size=1,
    max_size=4,
)


@given(
    messages=MESSAGES,
    options=st.fixed_dictionaries(
        {}, optional={"temperature": st.floats(0, 2), "seed": st.integers(0, 99), "num_predict": st.integers(1, 99)}
    ),
    tools=st.lists(st.fixed_dictionaries({"function": FUNCTION}), max_size=2),
)
def test_words_survive_the_way_to_openai_and_back(messages: Any, options: Any, tools: Any) -> None:
    body = {"model": "m", "messages": messages, "options": options, "tools": tools}
    chat = entries(Limits())[b"/api/chat"].read(json.dumps(body).encode()).chat
    assert chat is not None
    path, written = family("openai").ask(chat, usage=False)
    assert path == b"/chat/completions"
    openai = entries(Limits())[b"/v1/chat/completions"]
    assert openai.dialect.chat(openai.read(written)) == structs.replace(chat, messages=tuple(settled(chat.messages)))


@given(
    texts=st.lists(st.text(min_size=1), max_size=5),
    cut=st.integers(1, 40),
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    last=st.booleans(),
)
def test_a_stream_is_read_alike_however_its_bytes_are_cut(texts: list[str], cut: int, end: bytes, last: bool) -> None:
    data = b": comment\n\n" + b"".join(delta(text) for text in texts) + FINISH + b"event: x\nid: 1\n" + USAGE
    data = (data + DONE if last else data.removesuffix(b"\n\n")).replace(b"\n", end)
    reader = family("openai").reader(streaming=True)
    events = [e for at in range(0, len(data), cut) for e in reader.read(data[at : at + cut])] + reader.end()
    assert events == [*map(Text, texts), Done("stop"), Report(Usage(11, 3))]


def test_an_event_without_end_is_not_waited_for() -> None:
    reader = family("openai").reader(streaming=True)
    events = [event for _ in range(100) for event in reader.read(b"data: " + b"x" * 100_000)]
    assert isinstance(events[0], Failure)


def test_what_openai_is_written_is_what_it_reads() -> None:
    events = [Text("a"), ToolCallDelta(0, "c", "look", '{"a":'), ToolCallDelta(0, arguments="1}"), Done("tool_calls")]
    for streams in (True, False):
        request = Request("chat", b"", "m", streams, b"", wants_usage=True)
        out = dialect("openai").writer(request, "m")
        body = b"".join(map(out.write, [*events, Report(Usage(3, 2, 1, reasoning_tokens=1))])) + out.end(Phases())
        reader = family("openai").reader(streaming=streams)
        read = reader.read(body) + reader.end()
        assert "".join(e.text for e in read if isinstance(e, Text)) == "a"
        assert "".join(e.arguments for e in read if isinstance(e, ToolCallDelta)) == '{"a":1}'
        assert read[-2:] == [Done("tool_calls"), Report(Usage(3, 2, 1, reasoning_tokens=1))]


def test_clients_look_for_not_found_before_they_pull() -> None:
    assert b"not found" in dialect("ollama").error(ModelNotFound("x"))
