"""What a closed connection leaves behind (nothing that waits for the collector), and what goes back after a load."""

import asyncio
import contextlib
import ctypes
import gc
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest
from gateway import (
    DONE,
    SSE_HEAD,
    Client,
    Held,
    Script,
    ScriptedWorker,
    chat,
    chunk,
    delta,
    pair,
    raw,
    reply,
    request,
    stream,
    until,
)

from rolecast.errors import RolecastError
from rolecast.net.connection import Connection
from rolecast.server.wire import WireProtocol
from rolecast.telemetry import heap
from rolecast.turn.ask import Asker
from rolecast.turn.conversion import Conversion
from rolecast.turn.exchange import Exchange, ExchangeIds
from rolecast.values import Caller, Chat, Message

pytestmark = pytest.mark.anyio
Visit = Callable[[Client, ScriptedWorker], Awaitable[None]]


def alive() -> dict[str, int]:
    """Connections that exist, whether anybody still knows them or not; the collector is off."""
    found = gc.get_objects()
    return {kind.__name__: sum(isinstance(o, kind) for o in found) for kind in (WireProtocol, Connection)}


async def read_an_answer(client: Client, worker: ScriptedWorker) -> None:
    worker.script.append(reply())
    await client.send(request(chat()))
    assert (await client.answer()).status == 200


async def leave_a_stream(client: Client, worker: ScriptedWorker) -> None:
    held = Held(delta("one"))
    worker.script.append(held)
    await client.send(request(chat(stream=True)))
    await held.began.wait()


async def test_closed_connections_are_freed_without_the_collector() -> None:
    async with pair() as (front, worker):
        gc.collect()
        before = alive()
        gc.disable()
        try:
            for visit in (read_an_answer, leave_a_stream) * 5:
                async with front.client() as client:
                    await visit(client, worker)
            # The event loop may hold on to the last one; a kept-alive connection to the worker may wait.
            await until(lambda: alive()["WireProtocol"] <= before["WireProtocol"] + 1, "connections of clients to go")
            await until(lambda: alive()["Connection"] <= before["Connection"] + 1, "connections to the worker to go")
        finally:
            gc.enable()


async def ollama_reads(client: Client, worker: ScriptedWorker) -> None:
    worker.script.append(stream(delta("one"), DONE))
    await client.send(request(chat(), path="/api/chat"))
    assert (await client.answer()).status == 200


async def ollama_is_refused(client: Client, worker: ScriptedWorker) -> None:
    worker.script += [reply(b'{"error":"no"}', 400)] * 2
    await client.send(request(chat(), path="/api/chat"))
    assert (await client.answer()).status == 400


async def ollama_sees_it_break(client: Client, worker: ScriptedWorker) -> None:
    worker.script.append(raw(SSE_HEAD + chunk(delta("one")), close=True))
    await client.send(request(chat(), path="/api/chat"))
    assert b"error" in (await client.answer()).body


OF_ONE = 3
"""Objects of one request that are counted below."""


def exchanges() -> int:
    return sum(isinstance(o, Exchange | Conversion | Asker) for o in gc.get_objects())


@pytest.mark.parametrize("visit", [ollama_reads, ollama_is_refused, ollama_sees_it_break])
async def test_a_converted_answer_is_freed_without_the_collector(visit: Visit) -> None:
    async with pair() as (front, worker), front.client() as client:
        await visit(client, worker)
        gc.collect()
        gc.disable()
        try:
            before = exchanges()
            for _ in range(20):
                await visit(client, worker)
            await until(lambda: exchanges() <= before + OF_ONE, "exchanges to go")  # the loop may hold on to the last
        finally:
            gc.enable()


@pytest.mark.parametrize("answers", [[stream(delta("one"), DONE)], [reply(b'{"error":"no"}', 400)] * 2])
async def test_what_the_gateway_asks_is_freed_without_the_collector(answers: list[Script]) -> None:
    async def ask() -> None:
        worker.script += answers
        with contextlib.suppress(RolecastError):
            asker = Asker(front.gateway.dispatch, ExchangeIds())
            assert [event async for event in asker.ask(Chat("m", (Message("user", "x"),)), Caller(listener="task"))]

    async with pair() as (front, worker):
        await ask()
        gc.collect()
        gc.disable()
        try:
            before = exchanges()
            for _ in range(20):
                await ask()
            await until(lambda: exchanges() <= before + OF_ONE, "exchanges to go")  # the loop may hold on to the last
        finally:
            gc.enable()


async def test_memory_is_given_back_once_after_each_load_and_never_during_one(monkeypatch: pytest.MonkeyPatch) -> None:
    answered, running = 0, 1
    trims: list[int] = []

    def trim() -> bool:
        trims.append(answered)
        return True

    monkeypatch.setattr(heap, "QUIET_S", 0.001)
    monkeypatch.setattr(heap, "_trim", trim)
    giving = asyncio.create_task(heap.give_back(lambda: answered, lambda: running))
    try:
        await asyncio.sleep(0.02)
        assert trims == [], "nothing was asked for yet"
        answered = 3
        await asyncio.sleep(0.02)
        assert trims == [], "something runs"
        running = 0
        await until(lambda: trims)
        await asyncio.sleep(0.02)
        assert trims == [3]
        answered = 5
        await until(lambda: len(trims) == 2)
    finally:
        giving.cancel()


def test_freed_memory_really_goes_back() -> None:
    code = """
import ctypes, psutil
from rolecast.telemetry import heap
from rolecast.turn.ask import Asker
from rolecast.turn.conversion import Conversion
from rolecast.turn.exchange import Exchange, ExchangeIds
from rolecast.values import Caller, Chat, Message
allocate = ctypes.CDLL(None).malloc; allocate.restype = ctypes.c_void_p
free = ctypes.CDLL(None).free; free.argtypes = [ctypes.c_void_p]
blocks = [allocate(50_000) for _ in range(1000)]
for block in blocks: ctypes.memset(block, 1, 50_000)
for block in blocks[:-1]: free(block)  # the last one is on top of them, so that the heap cannot simply shrink
before = psutil.Process().memory_info().rss
assert heap._trim()
print((before - psutil.Process().memory_info().rss) // 1_000_000)
"""
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("this C library gives memory back, or not, as it likes")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 30
