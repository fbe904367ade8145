"""What a closed connection leaves behind (nothing that waits for the collector), and what goes back after a load."""

import asyncio
import ctypes
import gc
import subprocess
import sys

import pytest
from gateway import Client, Held, ScriptedWorker, chat, delta, pair, reply, request, until

from rolecast.net.connection import Connection
from rolecast.server.wire import WireProtocol
from rolecast.telemetry import heap

pytestmark = pytest.mark.anyio


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
allocate = ctypes.CDLL(None).malloc; allocate.restype = ctypes.c_void_p
free = ctypes.CDLL(None).free; free.argtypes = [ctypes.c_void_p]
blocks = [allocate(50_000) for _ in range(1000)]
for block in blocks: ctypes.memset(block, 1, 50_000)
keep = allocate(100)  # on top of them, so that the heap cannot simply shrink
for block in blocks: free(block)
before = psutil.Process().memory_info().rss
assert heap._trim()
print((before - psutil.Process().memory_info().rss) // 1_000_000)
"""
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("this C library gives memory back, or not, as it likes")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 30
