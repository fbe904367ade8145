"""One worker that is started as the fleet starts it, with clients for its socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai

from rolecast import backends
from rolecast.config.schema import Model
from rolecast.processes import folder as runtime
from rolecast.processes import process
from rolecast.values import Launch, Listen

MODEL_ID = "org/tiny:1"
DEADLINE_S = 20


@dataclass
class Running:
    """A worker that answers, a raw client and the official one."""

    child: process.Child
    http: httpx2.AsyncClient
    openai: openai.AsyncOpenAI
    socket: Path

    async def chat(self, text: str = "hello there", **fields: Any) -> Any:
        messages = [{"role": "user", "content": text}]
        return await self.openai.chat.completions.create(model="any", messages=messages, **fields)

    async def post(self, path: str, **fields: Any) -> httpx2.Response:
        return await self.http.post(path, json=fields)

    async def lines(self, path: str, **fields: Any) -> list[Any]:
        """The events of a stream, decoded; the last must be [DONE] and is left out."""
        answer = await self.post(path, stream=True, **fields)
        events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
        assert events.pop() == "[DONE]"
        return [json.loads(event) for event in events]


@asynccontextmanager
async def running(
    backend: backends.Backend, model: Model, folder: Path, weights: Path | None = None
) -> AsyncIterator[Running]:
    socket = runtime.socket_path(folder, MODEL_ID, 1)
    plan = backend.plan(MODEL_ID, model, weights, Listen(str(socket)))
    assert isinstance(plan, Launch)
    child = await process.spawn(plan, name=MODEL_ID, log=folder / "w.log")
    # llama.cpp announces keep-alive and yet closes after each streamed answer: no connection is used twice.
    transport = httpx2.AsyncHTTPTransport(uds=str(socket), limits=httpx2.Limits(max_keepalive_connections=0))
    async with httpx2.AsyncClient(transport=transport, base_url="http://worker", timeout=DEADLINE_S) as http:
        try:
            await until_healthy(child, http)
            client = openai.AsyncOpenAI(api_key="none", base_url="http://worker/v1", http_client=http, max_retries=0)
            yield Running(child, http, client, socket)
        finally:
            await child.stop(5)


async def until_healthy(child: process.Child, http: httpx2.AsyncClient) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while child.returncode is None:
            try:
                if (await http.get("/health")).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.01)
    raise AssertionError("\n".join(child.tail(20)))


async def until_idle(worker: Running) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while any(slot["is_processing"] for slot in (await worker.http.get("/slots")).json()):
            await asyncio.sleep(0.01)
