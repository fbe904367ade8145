"""The front door's own pages and the ports that look like one model: health in each system's exact shape."""

import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from pathlib import PurePath
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rolecast import __version__
from rolecast.config.current import Current
from rolecast.config.schema import Listener
from rolecast.errors import NotFound
from rolecast.server.asgi import json_response
from rolecast.telemetry.metrics import Telemetry

Loaded = Callable[[], Awaitable[list[tuple[str, int]]]]
"""(model, resident bytes) of each worker that is loaded."""
Unwell = Callable[[], tuple[Sequence[str], Sequence[str]]]
"""The models that should run and do not, and all that is wrong, in sentences."""

SECURITY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-cache",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


class FrontDoor:
    """Root page, health and metrics of the main port."""

    def __init__(self, telemetry: Telemetry, loaded: Loaded, unwell: Unwell) -> None:
        self._telemetry = telemetry
        self._loaded = loaded
        self._unwell = unwell

    def routes(self) -> list[Route]:
        return [
            Route("/", self.root, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
            Route("/ui", self.page, methods=["GET"]),
            Route("/ui/{name}", self.asset, methods=["GET"]),
        ]

    async def root(self, request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("/ui", status_code=307)
        return json_response({"service": "rolecast", "version": __version__, "status": "running", "docs": "/ui"})

    async def health(self, request: Request) -> Response:
        """`healthy` while every model that should run does and all is recorded; `degraded` says what does not and why.

        The status is 200 either way: requests are answered, and a supervisor must not restart what serves.
        """
        loaded = await self._loaded()
        failing, problems = self._unwell()
        now = time.time()
        body: dict[str, Any] = {
            "status": "degraded" if problems else "healthy",
            "loaded_models": len(loaded),
            "total_memory_gb": round(sum(b for _, b in loaded) / 1e9, 3),
            "uptime_seconds": round(now - self._telemetry.started_at, 3),
            "last_updated": round(now, 3),
        }
        if failing:
            body["failing"] = failing
        if problems:
            body["problems"] = problems
        return json_response(body)

    async def metrics(self, request: Request) -> Response:
        return Response(self._telemetry.exposition(), media_type="text/plain; version=0.0.4")

    async def page(self, request: Request) -> Response:
        return _file("index.html", "text/html")

    async def asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _assets():
            raise NotFound(f"There is nothing at /ui/{name[:200]}; the status page is /ui.")
        return _file(name, _assets()[name])


_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@functools.cache
def _assets() -> dict[str, str]:
    """The files that the page loads, with their types: all of the folder `web` but the page itself."""
    names = [PurePath(file.name) for file in files("rolecast").joinpath("web").iterdir()]
    return {name.name: _TYPES[name.suffix] for name in names if name.suffix in _TYPES}


def _file(name: str, media_type: str) -> Response:
    content = files("rolecast").joinpath("web").joinpath(name).read_bytes()
    return Response(content, media_type=media_type, headers=SECURITY)


BROKEN = ("failed", "disabled")
"""States of a model whose port is unhealthy. `disabled`: an edit took it away, and the port stays until a restart."""


class SingleModel:
    """/health of a port that looks like a server of one model."""

    def __init__(
        self,
        listener: Listener,
        current: Current,
        telemetry: Telemetry,
        state: Callable[[str], str],
    ) -> None:
        self._listener = listener
        self._current = current
        self._telemetry = telemetry
        self._state = state
        self._started = time.perf_counter()

    def routes(self) -> list[Route]:
        shapes = {"openai": self.front, "llama-server": self.llama_server, "pas": self.pas}
        return [Route("/health", shapes[self._listener.surface], methods=["GET"])]

    async def front(self, request: Request) -> Response:
        state = self._state(self._listener.model or "")
        healthy = state not in BROKEN
        body = {
            "status": "healthy" if healthy else "unhealthy",
            "model": self._listener.model,
            "state": state,
        }
        return json_response(self._marked(body), 200 if healthy else 503)

    async def llama_server(self, request: Request) -> Response:
        """Exactly llama.cpp's bytes: start scripts compare them."""
        if self._state(self._listener.model or "") in BROKEN:
            return json_response({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, 503)
        return json_response({"status": "ok"})

    async def pas(self, request: Request) -> Response:
        model_id = self._listener.model or ""
        state = self._state(model_id)
        last = self._telemetry.last_request.get(self._listener.label)
        model = self._current.config.models.get(model_id)
        body = {
            "status": "unhealthy" if state in BROKEN else "healthy",
            "service": _SERVICE_NAMES.get(self._listener.name or "", self._listener.name or model_id),
            "agent_id": self._listener.name,
            "port": self._listener.port,
            "ollama_backend": (model.url if model else "") or f"http://127.0.0.1:{self._current.config.server.port}",
            "model": model_id,
            "model_loaded": state in ("ready", "remote"),
            "uptime_seconds": round(time.perf_counter() - self._started, 3),
            "last_request_ms": None if last is None else round((time.perf_counter() - last) * 1000),
        }
        return json_response(self._marked(body))

    def _marked(self, body: dict[str, Any]) -> dict[str, Any]:
        stand_in = self._current.stand_ins.get(self._listener.model or "")
        return {**body, "stand_in": stand_in} if stand_in else body


_SERVICE_NAMES = {
    "llm_llama31_8b": "llama31_8b_wrapper",
    "llm_tinyllama_1b": "tinyllama_wrapper",
    "tlc_domain_classifier": "tlc_domain_classifier",
}
"""The `service` value that the documented health checks of these agents read."""
