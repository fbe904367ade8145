"""Whatever a worker answers: who asks in another dialect gets the same text, and the same row in the books."""

import json
from typing import Any

import pytest
from gateway import (
    ANSWER,
    CHAT,
    DONE,
    SSE_HEAD,
    USAGE,
    Peer,
    Received,
    Script,
    chunk,
    delta,
    event,
    pair,
    raw,
    reply,
    request,
    stream,
)

from rolecast.books.receipt import Receipt

pytestmark = pytest.mark.anyio
FINISH = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})


def use(**usage: Any) -> bytes:
    return event({"choices": [], "usage": usage})


def first(**fields: Any) -> bytes:
    """The first event of an answer, with more fields than it needs."""
    return event({**fields, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "hi"}}]})


def end(**fields: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], **fields})


def byte_by_byte(*events: bytes) -> Script:
    async def script(peer: Peer, _: Received) -> None:
        await peer.send(SSE_HEAD)
        for byte in b"".join(events):
            await peer.send(chunk(bytes([byte])))
        await peer.send(b"0\r\n\r\n")

    return script


def call(**fields: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **fields}]}}]})


STREAMS: dict[str, Script] = {
    "one byte at a time": byte_by_byte(delta("hi"), FINISH, USAGE, DONE),
    "lines end in CRLF": stream(*(e.replace(b"\n", b"\r\n") for e in (delta("hi"), FINISH, USAGE, DONE))),
    "a byte order mark": stream(b"\xef\xbb\xbf" + delta("hi"), FINISH, DONE),
    "an event of 5 MB": stream(delta("hi"), delta("x" * 5_000_000), FINISH, USAGE, DONE),
    "data without data": stream(b"data: \n\n", delta("hi"), b"data:\n\n", FINISH, USAGE, b"data: [DONE] \n\n"),
    "no usage": stream(delta("hi"), delta("ho"), FINISH, DONE),
    "no end": stream(delta("hi"), delta("ho"), DONE),
    "absurd usage": stream(delta("hi"), FINISH, use(prompt_tokens=10**30, completion_tokens=10**15), DONE),
    "usage below nothing": stream(delta("hi"), FINISH, use(prompt_tokens=-5, completion_tokens=-5), DONE),
    "usage in texts": stream(delta("hi"), FINISH, use(prompt_tokens="11", completion_tokens="3"), DONE),
    "usage with a point": stream(delta("hi"), FINISH, use(prompt_tokens=11.0, completion_tokens=3.0), DONE),
    "usage of nothing": stream(delta("hi"), FINISH, use(), DONE),
    "usage is a list": stream(delta("hi"), FINISH, event({"choices": [], "usage": []}), DONE),
    "absurd timings": stream(delta("hi"), end(timings={"cache_n": 10**30, "prompt_n": 1, "prompt_ms": 1e308}), DONE),
    "timings below nothing": stream(delta("hi"), end(timings={"prompt_n": -1, "predicted_ms": -1.5}), DONE),
    "timings of nothing": stream(delta("hi"), end(timings={"cache_n": None, "prompt_ms": None}), USAGE, DONE),
    "NaN in timings": stream(delta("hi"), end(timings={"prompt_ms": float("nan")}), USAGE, DONE),
    "no error, it says": stream(first(error=None), event({"error": None, "choices": []}), FINISH, USAGE, DONE),
    "half of a character": stream(delta("hi"), delta("\ud83d"), FINISH, USAGE, DONE),
    "half of a UTF-8 text": stream(delta("hi"), delta("+").replace(b"+", b"\xc3"), FINISH, USAGE, DONE),
    "an id that is a number": stream(delta("hi"), call(id=7, function={"name": "f"}), FINISH, USAGE, DONE),
    "an end that is a number": stream(delta("hi"), event({"choices": [{"finish_reason": 1}]}), USAGE, DONE),
    "no index": stream(event({"choices": [{"index": None, "delta": {"content": "hi"}}]}), FINISH, USAGE, DONE),
    "the end comes first": stream(FINISH, delta("hi"), USAGE, DONE),
    "two ends": stream(delta("hi"), FINISH, FINISH, USAGE, DONE),
    "more after the end": stream(delta("hi"), FINISH, USAGE, DONE, delta("ho")),
}
ODD: dict[str, Script] = {
    "a byte order mark": reply(b"\xef\xbb\xbf" + ANSWER),
    "half of a character": reply(ANSWER.replace(b'"hi"', b'"hi\\ud83d"')),
    "NaN": reply(ANSWER.replace(b'"id":"x"', b'"id":NaN')),
    "a content in parts": reply(ANSWER.replace(b'"hi"', b'[{"type":"text","text":"hi"}]')),
}
WHOLE: dict[str, Script] = {
    "all is well": reply(),
    "no usage": reply(b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hi, how are you?"}}]}'),
    "absurd usage": reply(ANSWER.replace(b'"prompt_tokens":5', b'"prompt_tokens":50000000000000000000000')),
    "usage below nothing": reply(ANSWER.replace(b'"prompt_tokens":5', b'"prompt_tokens":-5')),
    "usage in texts": reply(ANSWER.replace(b'"prompt_tokens":5', b'"prompt_tokens":"5"')),
    "usage with a point": reply(ANSWER.replace(b'"prompt_tokens":5', b'"prompt_tokens":5.0')),
    "an error beside an answer": reply(ANSWER.replace(b'"id":"x"', b'"error":{"message":"x"}')),
}


async def asked(path: str, answer: Script, *, streams: bool) -> tuple[bytes, Receipt]:
    """What a client there gets of this answer, and the row of it."""
    async with pair() as (gate, worker):
        worker.usual = answer
        body = {"model": "m", "messages": [{"role": "user", "content": "hello there"}], "stream": streams}
        got = await gate.ask(request(body, path=path))
        (row,) = await gate.rows()
        assert got.status == 200, got
        return got.body, row


def of_row(row: Receipt) -> tuple[Any, ...]:
    return row.outcome, row.status, row.error, row.completion_tokens, row.counted


@pytest.mark.parametrize("what", STREAMS)
async def test_a_stream_is_the_same_in_every_dialect(what: str) -> None:
    passed, row = await asked(CHAT, STREAMS[what], streams=True)
    body, converted = await asked("/api/chat", STREAMS[what], streams=True)
    assert b'"content":"hi"' in passed
    lines = [json.loads(line) for line in body.splitlines()]
    assert "".join(line["message"]["content"] for line in lines).startswith("hi")
    assert lines[-1]["done"]
    assert min(value for name, value in lines[-1].items() if name.endswith(("_count", "_duration"))) >= 0
    assert of_row(row) == of_row(converted)
    assert row.outcome == "ok"


@pytest.mark.parametrize("what", WHOLE)
async def test_a_whole_answer_is_the_same_in_every_dialect(what: str) -> None:
    passed, row = await asked(CHAT, WHOLE[what], streams=False)
    body, converted = await asked("/api/chat", WHOLE[what], streams=False)
    assert json.loads(passed)["choices"][0]["message"]["content"] == json.loads(body)["message"]["content"]
    assert of_row(row) == of_row(converted)


@pytest.mark.parametrize("what", ODD)
async def test_an_answer_that_is_written_oddly_is_read_as_far_as_it_goes(what: str) -> None:
    body, row = await asked("/api/chat", ODD[what], streams=False)
    assert json.loads(body)["message"]["content"].rstrip("\ufffd") == "hi"
    assert (row.outcome, row.prompt_tokens, row.completion_tokens) == ("ok", 5, 2)


async def test_calls_after_the_end_are_told() -> None:
    late = stream(FINISH, call(id="c", function={"name": "look", "arguments": "{}"}), USAGE, DONE)
    body, _ = await asked("/api/chat", late, streams=True)
    called = [json.loads(line)["message"].get("tool_calls") for line in body.splitlines()]
    assert called[0][0]["function"]["name"] == "look"


@pytest.mark.parametrize(
    "told",
    [
        event({"object": "error", "message": "out of memory"}),
        event({"type": "error", "error": {"message": "out of memory"}}),
        event({"error": {"message": "out of memory"}, "choices": [{"delta": {}, "finish_reason": "error"}]}),
    ],
)
async def test_an_error_within_a_stream_is_told_however_it_is_written(told: bytes) -> None:
    body, row = await asked("/api/chat", stream(delta("hi"), told, DONE), streams=True)
    assert "out of memory" in json.loads(body.splitlines()[-1])["error"]
    assert row.outcome == "error"


async def test_data_lines_without_end_are_not_waited_for() -> None:
    lines = raw(SSE_HEAD + chunk(delta("hi")), *[chunk(b"data:\n" * 20_000)] * 10)
    body, row = await asked("/api/chat", lines, streams=True)
    assert "error" in json.loads(body.splitlines()[-1])
    assert row.outcome == "error"
