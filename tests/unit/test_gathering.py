"""Workers that heed a client who leaves in streams alone: they are asked for a stream, and it is answered whole."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gateway import (
    ANSWER,
    CHAT,
    DONE,
    SSE_HEAD,
    Answer,
    Gate,
    Held,
    ScriptedWorker,
    chat,
    chunk,
    config,
    delta,
    event,
    raw,
    reply,
    request,
    running_gateway,
    short_folder,
    stream,
    until,
)

from rolecast.config.schema import Model

MODULE = '''
"""A backend of another package, whose servers heed leavers in streams alone."""
from rolecast.backends.remote import OpenAIRemote


class Deaf(OpenAIRemote):
    usage = "timings"
    stops_streams_only = True
'''
WISH = {"stream": True, "stream_options": {"include_usage": True}}
ROLE = event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": None}]})
BROKEN = event({"error": {"code": 500, "message": "Invalid diff", "type": "server_error"}})
pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that registers the backend."""
    folder = tmp_path / "site" / "deaf-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: deaf\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[rolecast.backends]\ndeaf = deaf:Deaf\n")
    (tmp_path / "site" / "deaf.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "deaf", raising=False)


@asynccontextmanager
async def deaf(**fields: Any) -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    """A gateway with the model `m` on such a worker."""
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            fields = {"markup": "pass", "capabilities": ["chat", "completion", "embeddings"]} | fields
            models = {"m": Model(backend="deaf", url=worker.url, parallel=64, **fields)}
            async with running_gateway(config(models), Path(folder)) as gate:
                yield gate, worker
                assert not worker.bad


def end(reason: str = "stop", index: int = 0) -> bytes:
    return event({"choices": [{"index": index, "delta": {}, "finish_reason": reason}]})


def totals(prompt: int = 11, completion: int = 3) -> bytes:
    used = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return event({"id": "own", "model": "m", "object": "chat.completion.chunk", "choices": [], "usage": used})


def said(*texts: str) -> tuple[bytes, ...]:
    """A whole stream."""
    return (ROLE, *map(delta, texts), end(), totals(), DONE)


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1)} if depth else {}


async def ask(gate: Gate, path: str = CHAT, **fields: Any) -> Answer:
    return await gate.ask(request(chat(**fields) if "prompt" not in fields else {"model": "m", **fields}, path=path))


def text(answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    return answer.json["choices"][0]["message"]["content"]


@pytest.mark.parametrize("fields", [{}, {"stream": False}, {"stream": None, "stream_options": None}])
async def test_a_stream_is_asked_for_and_answered_whole(fields: dict[str, Any]) -> None:
    async with deaf() as (gate, worker):
        worker.script.append(stream(*said("Hel", "lo", " \u2713")))
        answer = await ask(gate, seed=3, **fields)
        assert worker.requests[0].json == chat(seed=3) | WISH
        message = {"role": "assistant", "content": "Hello \u2713"}
        assert answer.json == {
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "id": "own",
            "model": "m",
            "object": "chat.completion",
            "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
        }
        assert answer.header("content-type") == "application/json; charset=utf-8"
        assert answer.header("cache-control") is None
        assert not answer.chunked
        (row,) = await gate.rows()
        assert (row.outcome, row.stream, row.attempts) == ("ok", False, 1)
        assert (row.prompt_tokens, row.completion_tokens, row.counted) == (11, 3, False)


async def test_the_body_is_not_read_anew_where_nothing_in_it_is_of_streams() -> None:
    async with deaf() as (gate, worker):
        worker.script.append(stream(*said("hi")))
        body = b'{ "model": "m", "x": 1.50, "messages": [{"role": "user", "content": "hello"}]} \n'
        assert text(await gate.ask(request(body))) == "hi"
        wish = b',"stream":true,"stream_options":{"include_usage":true}}'
        assert worker.requests[0].body == body.rstrip()[:-1] + wish


async def test_calls_and_thoughts_come_together_by_their_places() -> None:
    def calls(*pieces: dict[str, Any]) -> bytes:
        return event({"choices": [{"index": 0, "delta": {"tool_calls": pieces}}]})

    first = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    second = {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    more = [{"index": 0, "function": {"arguments": piece}} for piece in ('{"x"', ":1}")]
    thoughts = [event({"choices": [{"index": 0, "delta": {"reasoning_content": piece}}]}) for piece in ("Hm", ".")]
    async with deaf() as (gate, worker):
        worker.script.append(
            stream(ROLE, *thoughts, calls(first), calls(more[0], second), calls(more[1]), end("tool_calls"), DONE)
        )
        (choice,) = (await ask(gate)).json["choices"]
        function = {"name": "f", "arguments": '{"x":1}'}
        assert choice["message"] == {
            "role": "assistant",
            "content": "",
            "reasoning_content": "Hm.",
            "tool_calls": [
                {"id": "a", "type": "function", "function": function},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        }
        assert choice["finish_reason"] == "tool_calls"


async def test_of_several_answers_each_is_whole_and_the_totals_are_those_of_the_first() -> None:
    def piece(index: int, text: str, reason: str | None = None, **more: Any) -> bytes:
        choice = {"text": text, "index": index, "logprobs": None, "finish_reason": reason}
        return event({"object": "text_completion", "choices": [choice], **more})

    used = [{"prompt_tokens": 2 + i, "completion_tokens": 5, "total_tokens": 7 + i} for i in range(2)]
    async with deaf() as (gate, worker):
        worker.script.append(
            stream(
                b"data: null\n\n",
                *(piece(1, "b"), piece(0, "a"), piece(0, "A"), piece(0, "", "length", usage=used[0])),
                *(piece(1, "B"), piece(1, "", "stop", usage=used[1]), DONE),
            )
        )
        answer = await ask(gate, "/v1/completions", prompt=["x", "y"])
        assert answer.json == {
            "object": "text_completion",
            "choices": [
                {"index": 0, "text": "aA", "logprobs": None, "finish_reason": "length"},
                {"index": 1, "text": "bB", "logprobs": None, "finish_reason": "stop"},
            ],
            "usage": used[0],
        }


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"stop": ["x"]}),
        (CHAT, {"stop": "x"}),
        (CHAT, {"logprobs": True}),
        (CHAT, {"n_probs": 3}),
        (CHAT, {"verbose": True}),
        (CHAT, {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "Well"}]}),
        ("/v1/completions", {"prompt": "x", "logprobs": 2}),
        ("/v1/embeddings", {"input": "x"}),
    ],
)
async def test_what_a_stream_would_lose_is_asked_for_as_the_client_wrote_it(path: str, fields: dict[str, Any]) -> None:
    async with deaf() as (gate, worker):
        body = chat(**{name: value for name, value in fields.items() if name != "messages"}) | fields
        answer = await gate.ask(request(body, path=path))
        assert (answer.status, answer.body) == (200, ANSWER)
        assert [each.json for each in worker.requests] == [body]


@pytest.mark.parametrize(
    "fields",
    [
        {"stop": None, "logprobs": False, "verbose": False},
        {"stop": []},
        {"messages": [{"role": "assistant", "content": '"stop"'}, {"role": "user", "content": "verbose"}]},
        {"metadata": {"a": "stop"}},
    ],
)
async def test_what_only_looks_like_it_is_gathered(fields: dict[str, Any]) -> None:
    async with deaf() as (gate, worker):
        worker.script.append(stream(*said("hi")))
        assert text(await gate.ask(request(chat() | fields))) == "hi"


@pytest.mark.parametrize(
    "script",
    [
        reply(b'{"error":{"code":400,"message":"Cannot use tools with stream"}}', 400),
        reply(b'{"error":{"code":500,"message":"no"}}', 500),
        stream(ROLE, delta("half"), BROKEN),
        stream(BROKEN),
        stream(ROLE, delta("half"), b'error: {"code":500,"message":"old"}\n\n'),
        stream(ROLE, delta("half")),
        stream(),
        stream(ROLE, b"data: {broken\n\n", DONE),
        stream(ROLE, b"data: [1]\n\n", DONE),
        stream(event({"choices": [{"index": 0, "delta": "x"}]}), DONE),
        stream(event({"choices": {"a": 1}}), DONE),
        stream(event({"choices": [{"text": 5}]}), DONE),
        stream(*(event({"choices": [{"index": each, "text": "x"}]}) for each in (0, "a")), DONE),
        stream(event({"choices": [{"delta": {"tool_calls": [{"index": 0}, {"index": "a"}]}}]}), DONE),
        stream(event({"choices": [{"delta": {"tool_calls": [nested(900)]}}]}), DONE),
    ],
)
async def test_an_error_of_the_stream_is_none_of_the_answer_before_it_was_asked_for_whole(script: Any) -> None:
    async with deaf() as (gate, worker):
        worker.script.append(script)
        answer = await ask(gate, seed=1)
        assert (answer.status, answer.body) == (200, ANSWER)
        assert [each.json for each in worker.requests] == [chat(seed=1) | WISH, chat(seed=1)]
        (row,) = await gate.rows()
        assert (row.outcome, row.status, row.attempts, row.completion_tokens) == ("ok", 200, 1, 2)


async def test_an_error_of_both_is_told_with_its_status() -> None:
    async with deaf() as (gate, worker):
        worker.script.append(stream(ROLE, delta("half"), BROKEN))
        worker.script.append(reply(b'{"error":{"code":400,"message":"too much"}}', 400))
        answer = await ask(gate)
        assert (answer.status, answer.error["message"]) == (400, "too much")
        assert len(worker.requests) == 2


async def test_a_worker_that_is_lost_in_the_middle_is_asked_again_for_a_stream() -> None:
    async with deaf() as (gate, worker):
        worker.script.append(raw(SSE_HEAD, chunk(ROLE + delta("lost")), close=True))
        worker.script.append(stream(*said("whole")))
        assert text(await ask(gate)) == "whole"
        assert [each.json for each in worker.requests] == [chat() | WISH] * 2


async def test_one_that_answers_no_stream_is_passed_on() -> None:
    async with deaf() as (gate, worker):
        worker.script.append(reply(head=b"X-Ratelimit-Left: 3\r\n"))
        answer = await ask(gate)
        assert (answer.status, answer.body) == (200, ANSWER)
        assert answer.header("x-ratelimit-left") == "3"
        assert len(worker.requests) == 1


async def test_a_client_that_leaves_ends_the_stream_and_what_was_made_is_booked() -> None:
    async with deaf() as (gate, worker):
        held = Held(ROLE, *map(delta, ("a", "b", "c")))
        worker.script.append(held)
        async with gate.client() as client:
            await client.send(request(chat()))
            await held.began.wait()
            (exchange,) = gate.gateway.dispatch.active
            await until(lambda: exchange.carrier and exchange.carrier.produced().completion_tokens == 3)
            assert exchange.first, "the first token has its time before the last is made"
            client.abort()
            assert held.peer is not None
            async with asyncio.timeout(20):
                await held.peer.gone.wait()
        (row,) = await gate.rows()
        assert (row.outcome, row.stream, row.completion_tokens, row.counted) == ("cancelled", False, 3, True)


async def test_an_answer_of_any_length_is_whole() -> None:
    words = [f"{number} " for number in range(6000)]
    async with deaf() as (gate, worker):
        events = b"".join((ROLE, *map(delta, words), end("length"), totals(11, 6000), DONE))
        pieces = [chunk(events[i : i + 7001]) for i in range(0, len(events), 7001)]  # cut anywhere
        worker.script.append(raw(SSE_HEAD, *pieces, b"0\r\n\r\n"))
        assert text(await ask(gate)) == "".join(words)
        worker.script.append(stream(ROLE, *[delta("x" * 2**16)] * 40, end(), totals(), DONE))
        answer = await ask(gate)
        assert text(answer) == "x" * (40 * 2**16)
        assert (await gate.rows())[-1].prompt_tokens == 11


async def test_thoughts_and_calls_in_the_text_are_told_apart_in_what_was_gathered() -> None:
    async with deaf(markup="read") as (gate, worker):
        worker.script.append(stream(*said("<thi", "nk>Hm.</th", "ink>So ", "be it.")))
        (choice,) = (await ask(gate)).json["choices"]
        assert choice["message"] == {"role": "assistant", "content": "So be it.", "reasoning_content": "Hm."}
        worker.script.append(stream(*said("Hm.</th", "ink>So ", "be it.")))
        (choice,) = (await ask(gate)).json["choices"]
        assert choice["message"]["reasoning_content"] == "Hm.", "as in a whole answer, not as in a stream"


@pytest.mark.parametrize(
    ("path", "body", "found"),
    [
        ("/api/chat", {"stream": False, "messages": [{"role": "user", "content": "x"}]}, ("message", "content")),
        ("/api/generate", {"stream": False, "prompt": "x"}, ("response",)),
        ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}, ("content", 0, "text")),
        ("/v1/responses", {"input": "x"}, ("output", 0, "content", 0, "text")),
    ],
)
async def test_other_dialects_are_answered_whole_of_a_stream(path: str, body: Any, found: tuple[Any, ...]) -> None:
    async with deaf() as (gate, worker):
        worker.script.append(stream(*said("Hel", "lo")))
        answer = await gate.ask(request({"model": "m", **body}, path=path))
        assert answer.status == 200, answer.body
        value = answer.json
        for step in found:
            value = value[step]
        assert value == "Hello"
        sent = worker.requests[0].json
        assert {name: sent[name] for name in WISH} == WISH
        (row,) = await gate.rows()
        assert (row.outcome, row.stream, row.prompt_tokens, row.completion_tokens) == ("ok", False, 11, 3)


async def test_other_dialects_are_answered_of_a_whole_answer_where_a_stream_fails_or_would_lose_something() -> None:
    whole = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
    body: dict[str, Any] = {"model": "m", "stream": False, "messages": [{"role": "user", "content": "x"}]}
    async with deaf() as (gate, worker):
        worker.usual = reply(json.dumps(whole).encode())
        for script in (stream(ROLE, delta("half"), BROKEN), stream(ROLE, delta("half"))):
            worker.requests.clear()
            worker.script.append(script)
            answer = await gate.ask(request(body, path="/api/chat"))
            assert (answer.status, answer.json["message"]["content"]) == (200, "hi")
            assert [each.json.get("stream") for each in worker.requests] == [True, None]
        worker.requests.clear()
        answer = await gate.ask(request(body | {"options": {"stop": ["x"]}}, path="/api/chat"))
        assert answer.json["message"]["content"] == "hi"
        assert [each.json.get("stream") for each in worker.requests] == [None]
