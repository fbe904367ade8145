"""What a closed connection leaves behind: nothing that waits for the garbage collector."""

import gc

import pytest
from gateway import Client, Held, ScriptedWorker, chat, delta, pair, reply, request, until

from rolecast.api.wire import WireProtocol
from rolecast.upstream import Connection

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
