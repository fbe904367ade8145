"""Sessions over real sockets: what each request is told of those before it, in every dialect, and what is kept."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    DONE,
    USAGE,
    Answer,
    Gate,
    Held,
    Peer,
    Received,
    ScriptedWorker,
    chunk,
    config,
    delta,
    message,
    on_uvloop,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    stream,
    until,
)

from rolecast.config.schema import Config, Listener, Routing
from rolecast.config.tasks import Personas, Sessions

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

CHAT, OLLAMA, GENERATE, ANTHROPIC, RESPONSES = (
    *("/v1/chat/completions", "/api/chat", "/api/generate"),
    *("/v1/messages", "/v1/responses"),
)


async def echo(peer: Peer, received: Received) -> None:
    """Answers `re: ` and the last text."""
    body = received.json
    text = f"re: {words(body['messages'][-1]['content'])}"
    if body.get("stream"):
        await stream(delta(text[:3]), delta(text[3:]), USAGE, DONE)(peer, received)
        return
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    await peer.send(message(json.dumps({"choices": [choice], "usage": usage}).encode()))


def words(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def cast(worker: ScriptedWorker, **more: Any) -> Config:
    models = {name: remote(worker.url, **more.pop("model", {})) for name in ("m", "other")}
    made = config(models, listeners=[Listener(port=0, name="pas", model="m", surface="pas")], **more.pop("server", {}))
    roles = {"general_reasoning": ["m"], "conversational_chat": ["m"], "legal_analysis": ["m"]}
    return msgspec.structs.replace(made, roles=roles, routing=Routing(default="general_reasoning"), **more)


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            async with running_gateway(cast(worker), Path(folder)) as gate:
                yield gate, worker


@pytest.fixture
def gate(front: Gate, worker: ScriptedWorker) -> Gate:
    worker.usual = echo
    return front


def body_of(path: str, text: str, session: str, **more: Any) -> dict[str, Any]:
    named = {"session_id": session} if session else {}
    if path in (GENERATE, "/generate", "/chat/completions"):
        return {"model": "m", "prompt": text, **named, **more}
    if path == RESPONSES:
        return {"model": "m", "input": text, **named, **more}
    limit = {"max_tokens": 50} if path == ANTHROPIC else {}
    return {"model": "m", "messages": [{"role": "user", "content": text}], **limit, **named, **more}


async def say(gate: Gate, path: str, text: str, session: str = "s", head: str = "", **more: Any) -> Answer:
    answer = await gate.ask(request(body_of(path, text, session, **more), path=path, head=head))
    assert answer.status == 200, answer.body
    return answer


def told(worker: ScriptedWorker) -> list[tuple[str, str]]:
    return [(each["role"], words(each["content"])) for each in worker.requests[-1].json["messages"]]


def pairs(*texts: str) -> list[tuple[str, str]]:
    return [pair for text in texts for pair in (("user", text), ("assistant", f"re: {text}"))]


async def get(gate: Gate, path: str, head: str = "", method: str = "GET", body: Any = None) -> Answer:
    return await gate.ask(request(body, path=path, method=method, head=head), method=method)


@pytest.mark.parametrize("streamed", [False, True])
async def test_every_dialect_goes_on_with_a_session(gate: Gate, worker: ScriptedWorker, streamed: bool) -> None:
    name, said = f"every {streamed}", []
    for path in (CHAT, OLLAMA, GENERATE, ANTHROPIC, RESPONSES, "/generate", CHAT):
        text = f"by {path}"
        answer = await say(gate, path, text, name, stream=streamed)
        assert told(worker) == [*pairs(*said), ("user", text)]
        assert b"session_id" not in worker.requests[-1].body
        assert answer.header("x-rolecast-session") == (
            f"every%20{streamed}; kept={len(said)}; used={len(said)}; dropped=0; summarized=0"
        )
        said.append(text)
    pas = await gate.ask(request(body_of("/api/generate", "pas", name), path="/api/generate"), "pas")
    assert pas.status == 200
    assert told(worker) == [*pairs(*said), ("user", "pas")]
    shown = (await get(gate, f"/sessions/every%20{streamed}")).json
    assert [(turn["asked"], turn["answer"]) for turn in shown["history"]] == [(t, f"re: {t}") for t in (*said, "pas")]
