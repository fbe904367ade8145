"""The list of models, and the health of their backends."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request as HTTPRequest
from starlette.responses import Response
from starlette.routing import Route

from rolecast.config import words
from rolecast.config.current import Current
from rolecast.config.names import Name, find, members
from rolecast.dialects.operation import told
from rolecast.errors import ModelNotFound
from rolecast.fleet import Fleet
from rolecast.pages import anthropic, asked, residency
from rolecast.pages.asked import Reach, whole
from rolecast.pages.health import Health
from rolecast.routing.abilities import Abilities
from rolecast.server.asgi import json_response
from rolecast.values import Rights

AUTO = "auto"
_WRITES = frozenset({"chat", "completion"})
_TYPES = {
    "embeddings": "embeddings",
    "rerank": "rerank",
    "transcription": "whisper",
    "speech": "speech",
    "images": "image-generation",
}
"""What SLM Server's clients call a model by what it is for first."""


def _type(capabilities: list[str]) -> str:
    if _WRITES & set(capabilities):
        return "lm"
    return next((_TYPES[word] for word in capabilities if word in _TYPES), "lm")


class Catalogue:
    """What `/v1/models` and `/v1/backends/health` say, from the configuration and a view of the fleet."""

    def __init__(
        self, current: Current, abilities: Abilities, health: Health, fleet: Fleet, reach: Reach = whole
    ) -> None:
        self._current = current
        self._fleet = fleet
        self._reach = reach
        self._abilities = abilities
        self._health = health
        self._created = int(time.time())

    def entries(self, port_model: str = "", rights: Rights | None = None) -> Iterator[dict[str, Any]]:
        """All names a request may use with that key, models first; on a single-model port just that model."""
        current = self._current
        names = [
            n
            for n in map(self._reach(rights), current.names.values())
            if n is not None and current.config.models[n.models[0]].enabled and port_model in ("", n.name)
        ]
        for name in sorted(names, key=lambda n: n.kind != "model"):
            yield self.entry(name)
        if not port_model and (auto := self._auto(rights)) is not None:
            yield auto

    def _auto(self, rights: Rights | None) -> dict[str, Any] | None:
        """What `auto` means: last in the list, because many clients begin with the first. None without a default."""
        default = self._current.names.get(self._current.config.routing.default)
        default = None if default is None else self._reach(rights)(default)
        if default is None or not self._current.config.models[default.models[0]].enabled:
            return None
        return self.entry(default) | {"id": AUTO, "kind": "auto"}

    def entry(self, name: Name) -> dict[str, Any]:
        target = name.models[0]
        config = self._current.config
        model = config.models[target]
        port = next((x.port for x in config.server.listeners if x.model == target), config.server.port)
        entry: dict[str, Any] = {
            "id": name.name,
            "object": "model",
            "created": self._created,
            "owned_by": "rolecast",
            "kind": name.kind,
            "root": target,
            "backend": model.backend,
            "port": port,
            "model_type": _type(model.capabilities),
            "context_length": self._abilities.context(target),
            "quantization": model.quantization or None,
            "supports_function_calling": self._abilities.can(target, "tools") is True,
            "capabilities": self._abilities.words(target),
            "state": self._health.state(target),
            "roles": [role for role, listed in config.roles.items() if target in members(listed)],
            "size_bytes": self._abilities.size(target),
            "memory": residency.memory(self._fleet, self._current.answerer_of(target)),
        }
        if name.kind == "variant" and (about := config.variants[name.name].description):
            entry["description"] = about
        if name.kind == "role":
            entry["models"] = list(name.models)
        if target in self._current.stand_ins:
            entry["stand_in"] = self._current.stand_ins[target]
        return entry

    @told("Every name that a request may use", "Models", answer="rolecast.pages.shapes:MODELS")
    async def models(self, request: HTTPRequest) -> Response:
        models = self._current.config.models
        await asyncio.to_thread(self._abilities.learn, models.values())
        await residency.learn(self._fleet, models)
        entries = list(self.entries(request.app.state.lane.port_model, asked.rights(request)))
        if anthropic.speaks(request):
            return json_response(anthropic.listed(entries))
        return json_response({"object": "list", "data": entries})

    @told("One of the names", "Models", answer="rolecast.pages.shapes:MODEL", errors=(404,))
    async def one(self, request: HTTPRequest) -> Response:
        wanted, rights = request.path_params["model"], asked.rights(request)
        if wanted == AUTO and (auto := self._auto(rights)) is not None:
            return json_response(anthropic.card(auto) if anthropic.speaks(request) else auto)
        name = find(self._current.names, wanted) or words.find(self._current.config, self._current.names, wanted)
        name = None if name is None else self._reach(rights)(name)
        if name is None:
            raise ModelNotFound(f"The model {wanted[:200]!r} does not exist here.", param="model")
        answerer = self._current.answerer_of(name.models[0])
        await residency.learn(self._fleet, [answerer])
        entry = self.entry(name)
        if (load := await residency.loading(self._fleet, answerer)) is not None:
            entry["load"] = load
        return json_response(anthropic.card(entry) if anthropic.speaks(request) else entry)

    @told("The health of each role", "Models", answer="rolecast.pages.shapes:BACKENDS")
    async def backends_health(self, request: HTTPRequest) -> Response:
        """One status per configured role, as SLM Server's clients read it."""
        out: dict[str, Any] = {}
        reached = self._reach(asked.rights(request))
        roles = {
            role: members(models)[0]
            for role, models in self._current.config.roles.items()
            if role not in self._current.names or reached(self._current.names[role]) is not None
        }
        firsts = list(dict.fromkeys(roles.values()))
        said = dict(zip(firsts, await asyncio.gather(*map(self._health.asked, firsts)), strict=True))
        for role, first in roles.items():
            entry = (
                self.entry(self._current.names[first])
                if first in self._current.names
                else {"port": None, "backend": None}
            )
            status = said[first]
            out[role] = {
                "status": status,
                "port": entry["port"],
                "model_id": first,
                "backend": entry["backend"],
                "state": self._health.state(first),
            }
            if status == "healthy":
                out[role]["http_status"] = 200
            if "stand_in" in entry:
                out[role]["stand_in"] = entry["stand_in"]
        for model_id, model in self._current.config.models.items():
            if not model.enabled:
                out[model_id] = {"status": "disabled", "model_id": model_id, "port": None}
        return json_response(out)

    def routes(self) -> list[Route]:
        return [Route(f"{prefix}/models", self.models, methods=["GET"]) for prefix in ("/v1", "")] + [
            Route("/v1/models/{model:path}", self.one, methods=["GET"]),
            Route("/v1/backends/health", self.backends_health, methods=["GET"]),
        ]
