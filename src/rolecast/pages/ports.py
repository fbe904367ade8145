"""The health of the front door and of the ports that look like one model, in each system's exact shape; the metrics."""

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.config.current import Current
from rolecast.config.schema import Listener
from rolecast.dialects.operation import TEXT, told
from rolecast.pages.health import Health
from rolecast.pages.ollama import ROOT, is_for_ollama, running
from rolecast.server.asgi import json_response
from rolecast.telemetry.metrics import Telemetry


class FrontDoor:
    """Health and metrics of the main port."""

    def __init__(self, telemetry: Telemetry, health: Health) -> None:
        self._telemetry = telemetry
        self._health = health

    def routes(self) -> list[Route]:
        return [
            Route("/health", self.health, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]

    @told("Health of the gateway", "Health", answer="rolecast.pages.shapes:FrontHealth")
    async def health(self, request: Request) -> Response:
        """`healthy` while every model that should run does and all is recorded; `degraded` says what does not and why.

        The status is 200 either way: requests are answered, and a supervisor must not restart what serves.
        """
        loaded = await self._health.loaded()
        failing, problems = self._health.told()
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

    @told("Metrics for Prometheus", "Health", answer=str, media=TEXT)
    async def metrics(self, request: Request) -> Response:
        memory = dict(await self._health.workers())
        return Response(self._telemetry.exposition(memory), media_type="text/plain; version=0.0.4")


BROKEN = ("failed", "disabled")
"""States of a model whose port is unhealthy. `disabled`: an edit took it away, and the port stays until a restart."""


class SingleModel:
    """/health of a port that looks like a server of one model."""

    def __init__(
        self,
        listener: Listener,
        current: Current,
        telemetry: Telemetry,
        health: Health,
    ) -> None:
        self._listener = listener
        self._current = current
        self._telemetry = telemetry
        self._health = health
        self._started = time.perf_counter()

    def routes(self) -> list[Route]:
        shapes = {"llama-server": self.llama_server, "pas": self.pas}
        return [
            Route("/health", shapes.get(self._listener.surface, self.front), methods=["GET"]),
            Route("/", self.root, methods=["GET"]),
        ]

    @told("Who answers here", "Health", answer="rolecast.pages.shapes:Root", more=ROOT)
    async def root(self, request: Request) -> Response:
        if is_for_ollama(request):
            return running()
        return json_response({"service": "rolecast", "status": "running", "model": self._listener.model})

    @told(
        "Health of the model",
        "Health",
        answer="rolecast.pages.shapes:ModelHealth",
        others={503: "rolecast.pages.shapes:ModelHealth"},
    )
    async def front(self, request: Request) -> Response:
        state = self._health.state(self._listener.model or "")
        healthy = state not in BROKEN
        body = {
            "status": "healthy" if healthy else "unhealthy",
            "model": self._listener.model,
            "state": state,
        }
        return json_response(self._marked(body), 200 if healthy else 503)

    @told(
        "Health of the model",
        "Health",
        answer="rolecast.pages.shapes:LlamaHealth",
        others={503: "rolecast.pages.shapes:LlamaTrouble"},
    )
    async def llama_server(self, request: Request) -> Response:
        """Exactly llama.cpp's bytes: start scripts compare them."""
        if self._health.state(self._listener.model or "") in BROKEN:
            return json_response({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, 503)
        return json_response({"status": "ok"})

    @told("Health of the model", "Health", answer="rolecast.pages.shapes:PASHealth")
    async def pas(self, request: Request) -> Response:
        model_id = self._listener.model or ""
        state = self._health.state(model_id)
        last = self._telemetry.last_request.get(self._listener.label)
        model = self._current.config.models.get(model_id)
        port = self._listener.port or request.scope["server"][1]  # 0 is any; Ollama's paths are on this port, too
        body = {
            "status": "unhealthy" if state in BROKEN else "healthy",
            "service": _SERVICE_NAMES.get(self._listener.name or "", self._listener.name or model_id),
            "agent_id": self._listener.name,
            "port": port,
            "ollama_backend": (model.url if model else "") or f"http://127.0.0.1:{port}",
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
