"""An Ollama that says the same every time: its lists, a model's card, and one answer. Notes what it was asked."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


class OllamaServer:
    """Listens on loopback; `models` are what it has."""

    def __init__(self, models: tuple[str, ...] = ("m:latest",)) -> None:
        self.models = models
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.url = ""
        self.port = 0

    @property
    def app(self) -> Starlette:
        routes = [
            Route("/api/tags", self.tags),
            Route("/api/show", self.show, methods=["POST"]),
            Route("/api/chat", self.chat, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    async def tags(self, _: Request) -> Response:
        return JSONResponse({"models": [{"name": name, "model": name} for name in self.models]})

    async def show(self, _: Request) -> Response:
        info = {"general.architecture": "qwen3", "qwen3.context_length": 40960}
        return JSONResponse({"capabilities": ["completion", "tools", "thinking"], "model_info": info})

    async def chat(self, http: Request) -> Response:
        body = json.loads(await http.body())
        self.asked.append((http.url.path, body))
        pieces = ["He", "y", ""] if body.get("stream") else ["Hey"]
        lines: list[dict[str, Any]] = [{"message": {"role": "assistant", "content": each}} for each in pieces]
        lines[-1] |= {"done": True, "done_reason": "stop", "prompt_eval_count": 7, "eval_count": 3}
        if not body.get("stream"):
            return JSONResponse(lines[0])
        said = (json.dumps(line) + "\n" for line in lines)
        return StreamingResponse(said, media_type="application/x-ndjson")

    @contextlib.asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator["OllamaServer"]:
        """While the block runs."""
        import uvicorn

        settings = uvicorn.Config(
            self.app,
            port=port,
            lifespan="off",
            timeout_graceful_shutdown=1,
            log_config=None,  # the logging of a process belongs to the test that runs in it
            access_log=False,
        )
        server = uvicorn.Server(settings)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        serving = asyncio.create_task(server.serve())
        async with asyncio.timeout(20):
            while not server.started:
                await asyncio.sleep(0.005)
        self.port = server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        try:
            yield self
        finally:
            server.should_exit = server.force_exit = True
            await serving
