"""The end of a stream: who sees its last event is in the books, however the worker ends its message."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gateway import (
    CHAT,
    DONE,
    SSE_HEAD,
    USAGE,
    Gate,
    Peer,
    Received,
    ScriptedWorker,
    chat,
    chunk,
    config,
    delta,
    event,
    on_uvloop,
    pair,
    request,
    running_gateway,
    short_folder,
    stream,
    until,
)

from rolecast.config.schema import Model
from rolecast.turn import passage, relay

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop
ENDS = ["later", "never", "cut"]


def named(kind: str, **fields: Any) -> bytes:
    return b"event: %b\n" % kind.encode() + event({"type": kind, **fields})


MESSAGE = [
    named("message_start", message={"usage": {"input_tokens": 11, "output_tokens": 0}}),
    named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    named("content_block_delta", index=0, delta={"type": "text_delta", "text": "hi"}),
    named("content_block_stop", index=0),
]
STOP = named("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3}) + named("message_stop")


class Ending:
    """Sends a stream up to its last event in one read, and the end of the message as it is told to."""

    def __init__(self, how: str, *events: bytes) -> None:
        self.how = how
        self.events = events
        self.sent = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, peer: Peer, _: Received) -> None:
        await peer.send_split(SSE_HEAD, *map(chunk, self.events))
        self.sent.set()
        await self.go.wait()
        if self.how == "cut":
            peer.close()
        elif self.how == "later":
            await peer.send(b"0\r\n\r\n")


@contextlib.asynccontextmanager
async def anthropic() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            models = {"m": Model(backend="anthropic", url=worker.url, key="sk-remote")}
            async with running_gateway(config(models), Path(folder)) as gate:
                yield gate, worker


async def told(gate: Gate, worker: ScriptedWorker, script: Ending, path: str, mark: bytes) -> None:
    """What its client sees when, and what the books have then."""
    worker.script.append(script)
    async with gate.client() as client:
        await client.send(request(chat(stream=True, max_tokens=9), path=path))
        await script.sent.wait()
        await client.head()
        seen, pieces = b"", client.chunks()
        while mark not in seen:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    seen += await anext(pieces)
                    continue
            assert b"hi" in seen  # what was said is there at once
            script.go.set()
            pieces = client.chunks()
        assert not gate.gateway.dispatch.active, "its last event came before its row"
        seen += b"".join([piece async for piece in pieces])
    assert seen.count(mark) == 1
    assert b"error" not in seen
    await until(lambda: not gate.gateway.ledger._rows)
    (row,) = await gate.rows()
    assert (row.outcome, row.prompt_tokens, row.completion_tokens, row.counted) == ("ok", 11, 3, 0)


@pytest.mark.parametrize("how", ENDS)
async def test_the_end_of_a_stream_comes_after_its_row(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passage, "END_S", 0.3)
    async with pair() as (gate, worker):
        await told(gate, worker, Ending(how, delta("hi"), USAGE, DONE), CHAT, b"[DONE]")


@pytest.mark.parametrize("how", ENDS)
async def test_so_does_that_of_a_message(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "END_S", 0.3)
    async with anthropic() as (gate, worker):
        await told(gate, worker, Ending(how, *MESSAGE, STOP), "/v1/messages", b"message_stop\n")


async def test_an_end_within_the_answer_is_none() -> None:
    async with pair() as (gate, worker):
        worker.script.append(stream(delta("a") + DONE, delta("b"), DONE))
        answer = await gate.ask(request(chat(stream=True)))
        assert answer.body == delta("a") + DONE + delta("b") + DONE
