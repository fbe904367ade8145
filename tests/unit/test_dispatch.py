"""The path of a request when something fails on it: retries, fallbacks, stand-ins, the end of the gateway."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    ANSWER,
    DONE,
    SSE_HEAD,
    Gate,
    Held,
    ScriptedWorker,
    chat,
    chunk,
    config,
    delta,
    pair,
    raw,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    stream,
    until,
)

from rolecast.config.retries import Retries
from rolecast.config.schema import Listener, Model

pytestmark = pytest.mark.anyio

CUT = raw(b"", close=True)
"""The connection ends without a byte."""


@asynccontextmanager
async def cast(
    count: int = 2, *, listeners: list[Listener] | None = None, **models: Model
) -> AsyncIterator[tuple[Gate, list[ScriptedWorker]]]:
    """A gateway with `count` models a, b, ... on a worker each, all of them in the role `standard`."""
    from contextlib import AsyncExitStack

    async with AsyncExitStack() as stack:
        folder = stack.enter_context(short_folder())
        workers = [
            await stack.enter_async_context(ScriptedWorker().listening(f"{folder}/{i}.sock")) for i in range(count)
        ]
        names = dict(zip("abc", workers, strict=False))
        conf = config({n: remote(w.url) for n, w in names.items()} | models, listeners=listeners)
        conf = msgspec.structs.replace(conf, roles={"standard": list(names)})
        yield await stack.enter_async_context(running_gateway(conf, Path(folder))), workers


def asked(text: str = "hello", model: str = "standard", **fields: Any) -> bytes:
    return request(chat(text, model, **fields))


# -- another try ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [CUT, raw(b"HTTP/1.1 200 OK\r\nContent-Le", close=True)])
async def test_a_worker_that_closes_before_its_answer_is_asked_again(fault: Any) -> None:
    async with pair() as (gate, worker):
        worker.script += [fault, fault]
        answer = await gate.ask(asked(model="m"))
        assert (answer.status, answer.body) == (200, ANSWER)
        assert len(worker.requests) == 3
        (row,) = await gate.rows()
        assert (row.outcome, row.attempts, row.completion_tokens) == ("ok", 3, 2)


async def test_a_worker_that_never_answers_is_not_asked_for_ever() -> None:
    async with pair() as (gate, worker):
        worker.usual = CUT
        answer = await gate.ask(asked(model="m"))
        assert (answer.status, answer.error["code"]) == (503, "worker_lost")
        assert len(worker.requests) == Retries().attempts
        (row,) = await gate.rows()
        assert (row.outcome, row.error, row.attempts) == ("error", "worker_lost", Retries().attempts)


async def test_a_whole_answer_that_is_cut_off_half_way_is_asked_for_again() -> None:
    async with pair() as (gate, worker):
        half = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Ratelimit-Left: 1\r\nContent-Length: 99\r\n\r\nhalf"
        worker.script.append(raw(half, close=True))
        answer = await gate.ask(asked(model="m"))
        assert (answer.status, answer.body) == (200, ANSWER)
        assert answer.header("content-type") == "application/json"  # nothing of the first answer is left
        assert answer.header("x-ratelimit-left") is None


async def test_a_stream_that_breaks_off_is_not_answered_twice() -> None:
    async with pair() as (gate, worker):
        worker.script.append(raw(SSE_HEAD + chunk(delta("one")), close=True))
        answer = await gate.ask(asked(model="m", stream=True))
        first, error, done, rest = answer.body.split(b"\n\n")
        assert (first + b"\n\n", done, rest) == (delta("one"), b"data: [DONE]", b"")
        assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "worker_lost"
        assert len(worker.requests) == 1


async def test_an_event_that_was_cut_in_two_does_not_swallow_the_error() -> None:
    async with pair() as (gate, worker):
        worker.script.append(raw(SSE_HEAD + chunk(delta("one")), chunk(delta("two")[:20]), close=True))
        answer = await gate.ask(asked(model="m", stream=True, stream_options={"include_usage": True}))
        events = [e for e in answer.body.split(b"\n\n") if e]
        assert json.loads(events[-2].removeprefix(b"data: "))["error"]["code"] == "worker_lost"
        assert events[-1] == b"data: [DONE]"


async def test_a_stream_with_windows_line_ends_is_not_held_back_and_its_usage_is_hidden() -> None:
    async with pair() as (gate, worker):
        usage = b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":3}}\r\n\r\n'
        events = [delta("one").replace(b"\n", b"\r\n"), delta("two").replace(b"\n", b"\r\n")]
        held = Held(events[0])
        worker.script.append(held)
        async with gate.client() as client:
            await client.send(asked(model="m", stream=True))
            assert (await client.head())[0] == 200
            assert await anext(client.chunks()) == events[0]
            held.let_go.set()
        worker.script.append(stream(*events, usage, DONE.replace(b"\n", b"\r\n")))
        answer = await gate.ask(asked(model="m", stream=True))
        assert answer.body == b"".join([*events, DONE.replace(b"\n", b"\r\n")])
        assert (await gate.rows())[-1].prompt_tokens == 11


# -- the next model ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", [301, 401, 402, 403, 404, 405, 408, 409, 424, 429, 451, 500, 501, 502, 503, 504, 529]
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_the_next_model_is_asked_when_one_is_busy_or_fails(status: int, streamed: bool) -> None:
    async with cast(3) as (gate, (a, b, c)):
        a.usual = b.usual = reply(b'{"error":{"message":"not now"}}', status, head=b"Retry-After: 7\r\n")
        c.usual = stream(delta("hi"), DONE) if streamed else reply()
        answer = await gate.ask(asked(stream=streamed))
        assert answer.status == 200
        assert answer.body == (delta("hi") + DONE if streamed else ANSWER)
        assert answer.header("x-rolecast-model") == "c"
        assert answer.header("x-rolecast-route") == "fallback; b failed"
        assert answer.header("retry-after") is None
        (row,) = await gate.rows()
        assert (row.model, row.role, row.attempts) == ("c", "standard", 3)


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_mistake_in_the_request_is_passed_on_as_the_worker_tells_it(status: int) -> None:
    async with cast() as (gate, (a, b)):
        a.usual = reply(b'{"error":{"message":"no","type":"odd","param":"x","code":"why"}}', status)
        answer = await gate.ask(asked())
        assert (answer.status, answer.header("x-rolecast-model")) == (status, "a")
        assert answer.error == {"message": "no", "type": "odd", "param": "x", "code": "why"}
        assert not b.requests


@pytest.mark.parametrize("status", [401, 403, 404, 408, 500, 502, 529])
async def test_with_no_model_left_the_client_learns_who_failed_and_what_it_said(status: int) -> None:
    async with cast() as (gate, (a, b)):
        a.usual = b.usual = reply(b'{"error":{"message":"bad key","code":"invalid_api_key"}}', status)
        for model in ("standard", "b"):
            answer = await gate.ask(asked(model=model))
            assert (answer.status, answer.error["code"]) == (502, "upstream_error")
            assert answer.error["message"] == f"b at unix:{b.url[5:]} answered with status {status}: bad key"
        assert [r.error for r in await gate.rows()] == ["upstream_error"] * 2


async def test_a_worker_that_is_silent_before_its_first_byte_is_left_for_the_next() -> None:
    async with cast() as (gate, (a, _)):
        a.script.append(_never)
        asking = asyncio.create_task(gate.ask(asked()))
        await until(lambda: a.requests)
        (exchange,) = gate.gateway.dispatch.active
        exchange.carrier.last_activity -= 10_000
        answer = await asking
        assert (answer.status, answer.header("x-rolecast-model")) == (200, "b")
        await a.requests[0].peer.gone.wait()  # and is told that nobody waits any more


async def test_a_model_asked_by_name_that_is_silent_is_a_timeout() -> None:
    async with cast() as (gate, (a, b)):
        a.script.append(_never)
        asking = asyncio.create_task(gate.ask(asked(model="a")))
        await until(lambda: a.requests)
        (exchange,) = gate.gateway.dispatch.active
        exchange.carrier.last_activity -= 10_000
        answer = await asking
        assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
        assert not b.requests


async def _never(peer: Any, _: Any) -> None:
    await peer.gone.wait()


async def test_the_last_model_has_the_last_word() -> None:
    async with cast() as (gate, (a, b)):
        a.usual = CUT
        b.usual = reply(b'{"error":{"message":"full"}}', 429, head=b"Retry-After: 7\r\n")
        answer = await gate.ask(asked())
        assert (answer.status, answer.error["message"]) == (429, "full")
        assert answer.header("retry-after") == "7"


async def test_a_model_asked_by_name_has_no_substitute() -> None:
    async with cast() as (gate, (a, b)):
        a.usual = reply(b"{}", 503)
        assert (await gate.ask(asked(model="a"))).status == 503
        assert not b.requests


async def test_a_fallback_gets_the_clients_request_and_the_client_its_headers() -> None:
    async with cast() as (gate, (a, b)):
        a.usual = CUT
        b.usual = stream(delta("hi"), DONE)
        head = "Origin: http://localhost:3000\r\nX-Trace-Id: t-1\r\n"
        answer = await gate.ask(request(chat("hello", "standard", stream=True, top_k=1), head=head))
        assert answer.header("access-control-allow-origin") == "http://localhost:3000"
        assert answer.header("x-trace-id") == "t-1"
        assert answer.body == delta("hi") + DONE
        assert b.requests[0].json["top_k"] == 1
        assert b.requests[0].json["stream_options"] == {"include_usage": True}
        assert b.requests[0].header("x-trace-id") == ["t-1"]
        (row,) = await gate.rows()
        assert (row.client_id, row.attempts) == ("t-1", 2)


async def test_a_port_of_one_model_and_the_front_door_explain_their_own_choice() -> None:
    async with cast(listeners=[Listener(port=0, name="only a", model="a")]) as (gate, (a, b)):
        for _ in range(2):
            at_port = await gate.ask(asked(model="b"), "only a")
            assert at_port.header("x-rolecast-route") == "listener; port of a"
            at_door = await gate.ask(asked(model="a"))
            assert at_door.header("x-rolecast-route") == "explicit; asked for model a"
        assert (len(a.requests), len(b.requests)) == (4, 0)
        rows = await gate.rows()
        assert {(r.listener, r.route) for r in rows} == {
            ("only a", "listener; port of a"),
            ("front door", "explicit; asked for model a"),
        }


# -- clients that leave, gateways that end -------------------------------------------------------------------------


async def test_a_client_that_leaves_stops_the_worker_and_is_in_the_books() -> None:
    async with pair(model={"parallel": 1}) as (gate, worker):
        held = Held(delta("one"), delta("two"))
        worker.script.append(held)
        async with gate.client() as client, gate.client() as second:
            await client.send(asked(model="m", stream=True))
            await client.head()
            await second.send(asked(model="m"))
            await until(lambda: gate.gateway.fleet.worker("m").waiting)
            client.abort()
            assert held.peer is not None
            await held.peer.gone.wait()
            assert (await second.answer()).status == 200
        rows = await gate.rows()
        assert [(r.outcome, r.status, r.counted) for r in rows] == [("cancelled", 499, True), ("ok", 200, False)]
        assert rows[0].completion_tokens > 0


async def test_a_client_that_leaves_while_it_waits_is_never_sent_to_the_worker() -> None:
    async with pair(model={"parallel": 1}) as (gate, worker):
        held = Held(delta("one"))
        worker.script.append(held)
        async with gate.client() as first, gate.client() as second, gate.client() as third:
            await first.send(asked(model="m", stream=True))
            await held.began.wait()
            await second.send(asked("never", model="m"))
            await until(lambda: len(gate.gateway.fleet.worker("m").waiting) == 1)
            await third.send(asked("third", model="m"))
            await until(lambda: len(gate.gateway.fleet.worker("m").waiting) == 2)
            second.abort()
            await until(lambda: len(gate.gateway.fleet.worker("m").waiting) == 1)
            held.let_go.set()
            assert (await third.answer()).status == 200
        assert [r.json["messages"][0]["content"] for r in worker.requests] == ["hello", "third"]
        assert gate.gateway.fleet.worker("m").active == 0
        assert not gate.gateway.dispatch.active


async def test_at_the_end_running_requests_finish_and_new_ones_are_refused() -> None:
    async with pair() as (gate, worker):
        held = Held(delta("one"))
        worker.script.append(held)
        async with gate.client() as running, gate.client() as kept:
            await running.send(asked(model="m", stream=True))
            await held.began.wait()
            draining = asyncio.create_task(gate.gateway.dispatch.drain(20.0, asyncio.Event()))
            await asyncio.sleep(0)
            await kept.send(asked(model="m"))
            refused = await kept.answer()
            assert (refused.status, refused.error["code"]) == (503, "shutting_down")
            assert refused.header("retry-after") == "1"
            assert not draining.done()
            held.let_go.set()
            await running.head()
            assert b"".join([c async for c in running.chunks()]) == delta("one") + DONE
            await draining


async def test_at_the_end_who_is_in_a_hurry_waits_for_nobody() -> None:
    async with pair(model={"parallel": 1}) as (gate, worker):
        worker.script.append(Held(delta("one")))
        async with gate.client() as running, gate.client() as waiting:
            await running.send(asked(model="m", stream=True))
            await running.head()
            await waiting.send(asked(model="m"))
            await until(lambda: gate.gateway.fleet.worker("m").waiting)
            hurry = asyncio.Event()
            hurry.set()
            await gate.gateway.dispatch.drain(20.0, hurry)
            assert b'"code":"shutting_down"' in b"".join([c async for c in running.chunks()])
            assert (await waiting.answer()).error["code"] == "shutting_down"
        assert {r.error for r in await gate.rows()} == {"shutting_down"}


async def test_a_mistake_of_ours_is_an_answer_too(caplog: pytest.LogCaptureFixture) -> None:
    async with pair(model={"parallel": 1}) as (gate, worker):
        held = Held(delta("one"))
        worker.script.append(held)
        async with gate.client() as running, gate.client() as waiting:
            await running.send(asked(model="m", stream=True))
            await held.began.wait()
            await waiting.send(asked("my secret", model="m"))
            await until(lambda: gate.gateway.fleet.worker("m").waiting)
            gate.gateway.plans.refreshed = None  # type: ignore[assignment,method-assign]
            held.let_go.set()
            answer = await waiting.answer()
        assert (answer.status, answer.error["code"]) == (500, "internal")
        assert "secret" not in caplog.text
        assert gate.gateway.dispatch.active == set()


# -- what workers say ----------------------------------------------------------------------------------------------


async def test_a_redirect_of_a_worker_is_a_bad_gateway() -> None:
    async with pair() as (gate, worker):
        worker.script.append(reply(b"", 302, head=b"Location: http://elsewhere/\r\n"))
        answer = await gate.ask(asked(model="m"))
        assert (answer.status, answer.header("location")) == (502, None)
