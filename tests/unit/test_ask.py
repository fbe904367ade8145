"""A chat that the gateway itself asks for: the same way as any request, its answer as events."""

import asyncio
from typing import Any

import pytest
from gateway import (
    DONE,
    SSE_HEAD,
    USAGE,
    Gate,
    Held,
    chunk,
    delta,
    event,
    pair,
    raw,
    reply,
    stream,
    until,
)

from rolecast.errors import ModelNotFound, RolecastError, WorkerDown
from rolecast.values import Caller, Chat, Done, Event, Message, Report, Sampling, Text, Usage

pytestmark = pytest.mark.anyio
FINISH = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
TASK = Caller(listener="task", key="k1", session="s1")


def chat(text: str = "hello", model: str = "m", **fields: Any) -> Chat:
    return Chat(model, (Message("user", text),), sampling=Sampling(temperature=0.0), **fields)


async def events(gate: Gate, asked: Chat) -> list[Event]:
    return [event async for event in gate.gateway.asker.ask(asked, TASK)]


async def test_an_answer_comes_as_events_and_is_in_the_books() -> None:
    async with pair() as (gate, worker):
        worker.script.append(stream(delta("Hel"), delta("lo"), FINISH, USAGE, DONE))
        assert await events(gate, chat()) == [Text("Hel"), Text("lo"), Done("stop"), Report(Usage(11, 3))]
        (row,) = await gate.rows()
        assert (row.listener, row.key, row.outcome, row.completion_tokens) == ("task", "k1", "ok", 3)
        assert not gate.gateway.dispatch.active


async def test_it_falls_back_like_any_request() -> None:
    async with pair() as (gate, worker):
        worker.script += [raw(b"", close=True), stream(delta("hi"), FINISH, DONE)]
        assert (await events(gate, chat()))[0] == Text("hi")
        assert (await gate.rows())[0].attempts == 2


async def test_a_failure_is_raised_before_and_after_the_first_event() -> None:
    async with pair() as (gate, worker):
        with pytest.raises(ModelNotFound):
            await events(gate, chat(model="nobody"))
        worker.script += [reply(b'{"error":"bad temperature"}', 400)] * 2  # once more without a wish of ours
        with pytest.raises(RolecastError, match="bad temperature"):
            await events(gate, chat())
        worker.script.append(raw(SSE_HEAD + chunk(delta("one")), close=True))
        answer = gate.gateway.asker.ask(chat(), TASK)
        assert await anext(answer) == Text("one")
        with pytest.raises(WorkerDown):
            await anext(answer)


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_who_stops_listening_frees_the_slot(how: str) -> None:
    async with pair() as (gate, worker):
        slow = Held(delta("one"))
        worker.script.append(slow)
        answer = gate.gateway.asker.ask(chat(), TASK)
        assert await anext(answer) == Text("one")
        if how == "closed":
            await answer.aclose()
        else:
            waiting = asyncio.ensure_future(anext(answer))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        assert slow.peer is not None
        await asyncio.wait_for(slow.peer.gone.wait(), 10)
        await until(lambda: not gate.gateway.dispatch.active)
        assert (await gate.rows())[0].outcome == "cancelled"


async def test_a_slow_listener_pauses_the_worker() -> None:
    async with pair() as (gate, worker):
        worker.script.append(stream(*(delta(str(n)) for n in range(3000)), FINISH, DONE))
        answer = gate.gateway.asker.ask(chat(), TASK)
        got = [await anext(answer)]
        (exchange,) = gate.gateway.dispatch.active
        await until(lambda: exchange.carrier.connection.paused)
        got += [each async for each in answer]
        assert [e.text for e in got if isinstance(e, Text)] == [str(n) for n in range(3000)]


async def test_many_ask_at_once() -> None:
    async with pair() as (gate, worker):
        worker.usual = stream(delta("hi"), FINISH, DONE)
        answers = await asyncio.gather(*(events(gate, chat(str(n))) for n in range(40)))
        assert all(answer[0] == Text("hi") for answer in answers)
