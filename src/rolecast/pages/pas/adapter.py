"""A port with `surface: adapter`: a model in the cloud behind a door of its own, as the adapters of PAS on 8100-8103.

Chats on it go the way of all requests, so retries, breaker, redaction and books hold. No key is ever shown, only
whether one is there.
"""

import asyncio
import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast import __version__
from rolecast.backends import reach
from rolecast.books.pace import pace
from rolecast.books.store import Store
from rolecast.config import secrets
from rolecast.config.current import Current
from rolecast.config.schema import Listener, Model
from rolecast.dialects.operation import told
from rolecast.errors import ModelNotFound
from rolecast.money import exact
from rolecast.pages.health import Health
from rolecast.pages.pas_info import performance
from rolecast.pages.ports import BROKEN
from rolecast.routing.abilities import Abilities
from rolecast.server.asgi import json_response
from rolecast.telemetry.metrics import Telemetry
from rolecast.turn.plan import provider_of

ENDPOINTS = ("/chat/completions", "/v1/chat/completions", "/health", "/info", "/")
_PLACE = "rolecast.pages.pas.adapter_shapes"


class Adapter:
    """How it fares, and what it is."""

    def __init__(
        self,
        listener: Listener,
        current: Current,
        telemetry: Telemetry,
        health: Health,
        abilities: Abilities,
        store: Store,
    ) -> None:
        self._listener = listener
        self._current = current
        self._telemetry = telemetry
        self._health = health
        self._abilities = abilities
        self._store = store
        self._started = time.perf_counter()

    def routes(self) -> list[Route]:
        return [
            Route("/health", self.health, methods=["GET"]),
            Route("/info", self.info, methods=["GET"]),
            Route("/", self.root, methods=["GET"]),
        ]

    @told("Health of the adapter", "PAS", answer=f"{_PLACE}:AdapterHealth")
    async def health(self, request: Request) -> Response:
        """Nobody is asked: what is known of the key and of earlier requests."""
        model = self._current.config.models.get(self._listener.model or "")
        status, present, reason = await self._state(model)
        last = self._telemetry.last_request.get(self._listener.label)
        body = {
            "status": status,
            "service": self._service(model),
            "port": self._port(request),
            "provider": self._provider(model),
            "model": self._named(model),
            "api_key_present": present,
            "uptime_seconds": round(time.perf_counter() - self._started, 3),
            "last_request_ms": None if last is None else round((time.perf_counter() - last) * 1000),
        }
        return json_response({**body, "reason": reason} if reason else body)

    @told("What this port answers with", "PAS", answer=f"{_PLACE}:AdapterInfo", errors=(404,))
    async def info(self, request: Request) -> Response:
        """What is known of the model, and how fast it was of late."""
        model_id = self._listener.model or ""
        model = self._current.config.models.get(model_id)
        if model is None or not model.enabled:
            raise ModelNotFound(f"The model of this port, {model_id!r}, is not in use any more.", param="model")
        measured = await pace(self._store, self._listener.label, self._current.answerer_of(model_id))
        return json_response(
            {
                "service_name": self._service(model),
                "version": __version__,
                "provider": self._provider(model),
                "model": {"id": model_id, "name": self._named(model), "context_length": self._abilities.room(model_id)},
                "capabilities": self._abilities.words(model_id),
                "performance": performance(measured),
                "price": _price(model),
                "endpoints": ENDPOINTS,
            }
        )

    @told("Who answers here", "PAS", answer=f"{_PLACE}:AdapterRoot")
    async def root(self, request: Request) -> Response:
        model = self._current.config.models.get(self._listener.model or "")
        status, _, _ = await self._state(model)
        return json_response(
            {
                "service": self._service(model),
                "version": __version__,
                "port": self._port(request),
                "status": status,
                "provider": self._provider(model),
                "model": self._named(model),
                "endpoints": ENDPOINTS,
                "docs": "/openapi.json",
            }
        )

    async def _state(self, model: Model | None) -> tuple[str, bool, str]:
        """How it fares, whether a key is there, and what is wrong."""
        model_id = self._listener.model or ""
        if model is None or not model.enabled:
            return "unhealthy", False, "this model is not in use any more"
        lacks = await asyncio.to_thread(secrets.unset, {}, model.key) if model.key else None  # a file may hold it
        present = bool(model.key) and lacks is None
        if self._health.state(model_id) in BROKEN or lacks:
            return "unhealthy", present, _without_paths(lacks) if lacks else "its server cannot be asked"
        for resting, wait_s, why in self._health.resting():
            if resting == model_id:
                return "degraded", present, f"left alone for {wait_s:.0f} s more: {why or 'it failed'}"
        return "healthy", present, ""

    def _service(self, model: Model | None) -> str:
        return self._listener.name or f"{self._provider(model)}_adapter"

    def _provider(self, model: Model | None) -> str:
        return "" if model is None else provider_of(model, away=reach.leaves(model))

    def _named(self, model: Model | None) -> str:
        return (model.remote_model if model is not None else "") or self._listener.model or ""

    def _port(self, request: Request) -> int:
        return self._listener.port or int(request.scope["server"][1])  # 0 is any


def _without_paths(lacks: str) -> str:
    """Whoever may ask a port need not learn where files are."""
    return "its key cannot be read" if "/" in lacks else lacks.partition(";")[0]


def _price(model: Model) -> dict[str, str | None] | None:
    """In dollars per million tokens."""
    if model.price is None:
        return None
    said = {kind: getattr(model.price, kind) for kind in ("input", "cached", "written", "output")}
    return {kind: None if cents is None else f"{(exact(cents) / 100).normalize():f}" for kind, cents in said.items()}
