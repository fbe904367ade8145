"""The first piece of every stream reaches its client before the last is made: each path, each family of workers.

The worker sends one word and goes on only when the client has it, so an answer that is held back never ends. The
paths are those of the running configuration: a new one fails here until it says how it streams, or that it cannot.
"""

import asyncio
import json
import typing
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gateway import (
    DEADLINE_S,
    SSE_HEAD,
    USAGE,
    Gate,
    Peer,
    Received,
    ScriptedWorker,
    chunk,
    event,
    on_uvloop,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
)
from gateway import config as configured

from rolecast.config.schema import Listener, Model, Service

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

SURFACES = [
    surface
    for surface in typing.get_args(typing.get_type_hints(Listener)["surface"])
    if surface not in typing.get_args(Service)  # which have no paths to models
]
SAY: Any = [{"role": "user", "content": "hi"}]
FIRST, LAST = "alpha", "omega"

CONDUCTOR = (
    "/generate/stream",
    "/conductor/generate",
    "/conductor/generate/stream",
    "/code/completion",
    "/code/generation",
    "/translate",
    "/math/solve",
    "/research/analyze",
    "/legal/analyze",
    "/summarize",
)
"""Paths of its tasks, asked where they are there."""
STREAMS: dict[str, list[dict[str, Any]]] = {
    "/chat/completions": [{"messages": SAY, "stream": True}],
    "/completions": [{"prompt": "hi", "stream": True}],
    "/responses": [{"input": "hi", "stream": True, "store": False}],
    "/messages": [{"messages": SAY, "max_tokens": 9, "stream": True}],
    "/api/chat": [{"messages": SAY}, {"messages": SAY, "stream": True}],
    "/api/generate": [{"prompt": "hi", "stream": True}, {"prompt": "hi", "raw": True, "stream": True}],
    "/generate": [{"prompt": "hi", "stream": True}],
    # At that temperature no completion of code is answered from memory.
    **{path: [{"prompt": "hi", "stream": True, "temperature": 1}] for path in CONDUCTOR},
    "/summarize": [],  # it asks for counts first; its streams are in test_summary
}
"""The bodies that ask for a stream, by path without `/v1`. All of a path's forms are asked."""
BEGUN = {"/code/generation": "```python\n"}
"""What a model says before its first word: what is said around the code is no part of that stream."""
WHOLE = {"/embeddings", "/api/embed", "/api/embeddings", "/embed", "/rerank", "/v2/rerank", "/reranking"}
"""Vectors and scores come at once."""
FORWARDED = {f"/audio/{word}" for word in ("transcriptions", "translations", "speech")} | {
    f"/images/{word}" for word in ("generations", "edits", "variations")
}
"""What comes there is no text: test_media has it."""
THINKS = {"/chat/completions": {}, "/responses": {}, "/messages": {}, "/api/chat": {"think": True}}
"""Where a thought is a part of the stream, and what asks for it."""


def bare(path: str) -> str:
    return path.removeprefix("/v1")


Gates = dict[str, tuple[Gate, ScriptedWorker]]


def paths(gates: Gates, surface: str) -> list[str]:
    """All paths to models of the port with that surface."""
    (lane,) = [door.lane for door in gates["openai"][0].gateway.doors if door.lane.name == surface]
    return [path.decode() for path in lane.hot]


def openai_says(received: Received, word: str, kind: str) -> bytes:
    """One event of an OpenAI worker, of a chat or a completion."""
    if "/chat/" not in received.line:
        return event({"choices": [{"index": 0, "text": word}]})
    name = "content" if kind == "text" else "reasoning_content"
    return event({"choices": [{"index": 0, "delta": {name: word}}]})


def anthropic_says(received: Received, word: str, kind: str) -> bytes:
    """The same of Anthropic's; the block is opened again, which readers take."""
    name, field = ("text", "text") if kind == "text" else ("thinking", "thinking")
    told = {"type": "content_block_delta", "index": 0, "delta": {"type": f"{name}_delta", field: word}}
    return named(told)


def named(told: dict[str, Any]) -> bytes:
    return f"event: {told['type']}\ndata: {json.dumps(told)}\n\n".encode()


def opening(family: str, kind: str) -> bytes:
    if family == "openai":
        return b""
    block = {"type": "text", "text": ""} if kind == "text" else {"type": "thinking", "thinking": "", "signature": ""}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
    usage = {"input_tokens": 1, "output_tokens": 1}
    return named({"type": "message_start", "message": {**message, "usage": usage}}) + named(
        {"type": "content_block_start", "index": 0, "content_block": block}
    )


def ending(family: str, received: Received) -> bytes:
    if family == "openai":
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        choice |= {"delta": {}} if "/chat/" in received.line else {"text": ""}
        return event({"choices": [choice]}) + USAGE + b"data: [DONE]\n\n"
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    return (
        named({"type": "content_block_stop", "index": 0})
        + named({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 2}})
        + named({"type": "message_stop"})
    )


class Waiting:
    """Says one word, and the other only when the first was acknowledged."""

    def __init__(self, family: str, kind: str = "text", begun: str = "") -> None:
        self.family, self.kind, self.begun = family, kind, begun
        self.acknowledged = asyncio.Event()
        self.worker: ScriptedWorker | None = None

    async def __call__(self, peer: Peer, received: Received) -> None:
        if "count_tokens" in received.line and self.worker is not None:  # a task asks how long its prompt is
            self.worker.script.insert(0, self)
            await reply(b'{"input_tokens":9}')(peer, received)
            return
        say = openai_says if self.family == "openai" else anthropic_says
        first = opening(self.family, self.kind) + say(received, self.begun + FIRST, self.kind)
        await peer.send(SSE_HEAD + chunk(first))
        await self.acknowledged.wait()
        rest = say(received, LAST, self.kind) + ending(self.family, received)
        await peer.send(chunk(rest) + b"0\r\n\r\n")


@pytest.fixture(scope="module")
async def gates() -> AsyncIterator[Gates]:
    """A gateway for each family of workers, with a port for each surface."""
    listeners = [Listener(port=0, name=surface, model="m", surface=surface) for surface in SURFACES]
    with short_folder() as folder:
        async with ScriptedWorker().listening() as plain, ScriptedWorker().listening() as claude:
            models = {"openai": remote(plain.url), "anthropic": Model(backend="anthropic", url=claude.url, parallel=9)}
            (Path(folder) / "a").mkdir()
            (Path(folder) / "o").mkdir()
            of = {name: configured({"m": model}, listeners=listeners) for name, model in models.items()}
            async with (
                running_gateway(of["openai"], Path(folder) / "o") as one,
                running_gateway(of["anthropic"], Path(folder) / "a") as two,
            ):
                yield {"openai": (one, plain), "anthropic": (two, claude)}


async def told(gates: Gates, surface: str, path: str, body: Any, waiting: Waiting) -> bytes:
    """All bytes of the answer's body; the last word is only asked for when the first is here."""
    gate, worker = gates[waiting.family]
    waiting.worker = worker
    worker.script.append(waiting)
    async with gate.client(surface) as client, asyncio.timeout(DEADLINE_S):
        await client.send(request({"model": "m", **body}, path=path))
        status, _ = await client.head()
        assert status == 200, await client.reader.read(1000)
        found = b""
        async for piece in client.chunks():
            found += piece
            if FIRST.encode() in found and not waiting.acknowledged.is_set():
                assert LAST.encode() not in found
                waiting.acknowledged.set()
        return found


@pytest.mark.parametrize("family", ["openai", "anthropic"])
@pytest.mark.parametrize("surface", SURFACES)
async def test_the_first_piece_is_there_before_the_last_is_made(
    gates: Gates, surface: str, family: str, subtests: pytest.Subtests
) -> None:
    for path in paths(gates, surface):
        for body in STREAMS.get(bare(path), []):
            with subtests.test(path, body=body):
                if family == "anthropic" and (bare(path) == "/completions" or body.get("raw")):
                    refused = await gates[family][0].ask(request({"model": "m", **body}, path=path), surface)
                    assert refused.status == 400, "a server of Anthropic's has no completions"
                    continue
                waiting = Waiting(family, begun=BEGUN.get(bare(path), ""))
                assert LAST.encode() in await told(gates, surface, path, body, waiting)


@pytest.mark.parametrize("family", ["openai", "anthropic"])
async def test_the_first_thought_is_there_before_the_last_is_made(
    gates: Gates, family: str, subtests: pytest.Subtests
) -> None:
    thinking = [path for path in paths(gates, "openai") if bare(path) in THINKS]
    assert len(thinking) >= len(THINKS)
    for path in thinking:
        body = STREAMS[bare(path)][0] | THINKS[bare(path)]
        with subtests.test(path):
            assert LAST.encode() in await told(gates, "openai", path, body, Waiting(family, "thinking"))


async def test_every_path_says_how_it_streams(gates: Gates) -> None:
    every = [(surface, path) for surface in SURFACES for path in paths(gates, surface)]
    silent = [f"{path} on {surface}" for surface, path in every if bare(path) not in {*STREAMS, *WHOLE, *FORWARDED}]
    assert not silent, f"say in STREAMS how a stream is asked for there, or in WHOLE that there is none: {silent}"
    known = {path for _, path in every}
    assert {"/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat", "/generate"} <= known
