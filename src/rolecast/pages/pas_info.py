"""`/info` of a port with `surface: pas`: what its model is, what it is for, and how fast it was."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast import __version__
from rolecast.books.pace import Pace, pace
from rolecast.books.store import Store
from rolecast.config.current import Current
from rolecast.config.schema import Listener, Model
from rolecast.dialects.operation import told
from rolecast.errors import ModelNotFound
from rolecast.pages import tlc
from rolecast.pages.ollama_model import describe
from rolecast.registry import own
from rolecast.routing import taxonomy
from rolecast.routing.abilities import Abilities
from rolecast.server.asgi import json_response
from rolecast.weights import Finder

ENDPOINTS = ("/chat/completions", "/generate", "/health", "/info", "/v1/chat/completions", "/api/generate")
_TITLES = {
    "llm_llama31_8b": "Llama 3.1 8B Wrapper",
    "llm_tinyllama_1b": "TinyLlama 1.1B Service",
    "tlc_domain_classifier": "TLC Domain Classifier",
}
"""How these agents are called for people."""


class PasInfo:
    """What a client may know before it asks."""

    def __init__(
        self, listener: Listener, current: Current, abilities: Abilities, store: Store, finder: Finder
    ) -> None:
        self._listener = listener
        self._current = current
        self._abilities = abilities
        self._store = store
        self._find = finder

    def routes(self) -> list[Route]:
        return [Route("/info", self.info, methods=["GET"])]

    @told("What this port answers with", "PAS", answer="rolecast.pages.shapes:PASInfo", errors=(404,))
    async def info(self, request: Request) -> Response:
        """A stand-in's speed is its own, and not told any more once the weights are here."""
        model_id = self._listener.model or ""
        model = self._current.config.models.get(model_id)
        if model is None or not model.enabled:
            raise ModelNotFound(f"The model of this port, {model_id!r}, is not in use any more.", param="model")
        name = self._listener.name or ""
        body = {
            "service_name": _TITLES.get(name, name or model_id),
            "version": __version__,
            "model": await asyncio.to_thread(self._about, model_id, model),
            "capabilities": own.of_port(own.words(self._current, self._abilities, model_id), name),
            "performance": performance(
                await pace(self._store, self._listener.label, self._current.answerer_of(model_id))
            ),
            "endpoints": ENDPOINTS,
        }
        if tlc.serves(self._listener):
            version = taxonomy.scheme("seed").version
            body |= {"endpoints": (*ENDPOINTS, *tlc.PATHS), "domain_taxonomy_version": version}
        stand_in = self._current.stand_ins.get(model_id)
        return json_response({**body, "stand_in": stand_in} if stand_in else body)

    def _about(self, model_id: str, model: Model) -> dict[str, Any]:
        """Null is what nobody knows, as of a remote, or before the weights are here."""
        said = describe(model_id, model, self._find, 0.0, template=False)
        return {
            "name": model_id,
            "parameters": model.parameters or said.parameter_size or None,
            "quantization": model.quantization or said.quantization or None,
            "context_length": self._abilities.context(model_id),
            "embedding_dim": said.info.get(f"{said.family}.embedding_length"),
        }


def performance(measured: Pace | None) -> dict[str, float | None]:
    """How fast it was; null = nobody knows yet."""
    if measured is None:
        return {"avg_throughput_tok_s": 0.0, "avg_latency_ms": None, "p95_latency_ms": None}
    return {
        "avg_throughput_tok_s": round(measured.tokens_per_s, 1),
        "avg_latency_ms": round(measured.average_ms, 1),
        "p95_latency_ms": round(measured.p95_ms, 1),
    }
