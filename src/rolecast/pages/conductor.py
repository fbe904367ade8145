"""Conductor's pages: its models, categories, sessions and figures, and what loads, unloads and reloads.

What is counted since the start of the gateway is the telemetry's, sizes are what the workers take now. A stand-in's
memory is its own, so that sizes can be added up.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.config.categories import Categories
from rolecast.config.current import Current
from rolecast.config.names import Name
from rolecast.config.schema import Model
from rolecast.dialects.operation import told
from rolecast.errors import BadRequest, ConfigError, LoadFailed
from rolecast.fleet import Fleet, State, absence, wall_time
from rolecast.pages import asked
from rolecast.pages.asked import Reach, whole
from rolecast.pages.health import Health
from rolecast.reload import Reloader
from rolecast.server.asgi import json_response
from rolecast.telemetry.metrics import ModelStats, Telemetry
from rolecast.turn.sessions import Sessions

STATUSES = {
    "ready": "loaded",
    "remote": "loaded",
    "asleep": "loaded",
    "loading": "loading",
    "draining": "unloading",
    "stopping": "unloading",
    "failed": "error",
}
"""Conductor's words for states of a model; every other one is `unloaded`."""
TAG = "Conductor"
MOST_USED = 5
RECENT_S = 3600.0
"""A model that was used so long ago was used recently."""


class ConductorModels:
    """The list of models."""

    def __init__(
        self, current: Current, fleet: Fleet, telemetry: Telemetry, health: Health, reach: Reach = whole
    ) -> None:
        self._current = current
        self._reach = reach
        self._fleet = fleet
        self._telemetry = telemetry
        self._health = health

    def routes(self, path: str = "/conductor/models") -> list[Route]:
        return [Route(path, self.models, methods=["GET"])]

    @told("The models", TAG, answer=list[dict[str, Any]])
    async def models(self, request: Request) -> Response:
        """One entry for each model that the key may ask; on a port of one model only that."""
        port_model = request.app.state.lane.port_model
        return json_response([each for each in await self.seen(request) if port_model in ("", each["technical_name"])])

    async def seen(self, request: Request) -> list[dict[str, Any]]:
        """Those of all entries that who asks may see."""
        reached = self.reached(request)
        return [each for each in await self.listed() if reached(each["technical_name"])]

    def reached(self, request: Request) -> Callable[[str], bool]:
        """Whether who asks may ask a model, by its id."""
        reach = self._reach(asked.rights(request))
        return lambda model_id: reach(Name(model_id, "model", (model_id,))) is not None

    async def listed(self) -> list[dict[str, Any]]:
        """Every model that is in use: its categories, its state, the memory it takes here, and what it has answered."""
        resident = await self._fleet.stations.resident()
        categories = Categories.of(self._current.config)
        models = self._current.config.models.items()
        return [self._entry(i, m, categories.all_of(i), resident) for i, m in models if m.enabled]

    def _entry(self, model_id: str, model: Model, categories: list[str], resident: Mapping[str, int]) -> dict[str, Any]:
        stand_in = self._current.stand_ins.get(model_id)
        stations = self._fleet.stations
        own = 0 if stand_in or stations.child(model_id) is None else stations.memory(model_id, resident)
        entry: dict[str, Any] = {
            "technical_name": model_id,
            "category": categories[0] if categories else "",
            "categories": categories,
            "status": STATUSES.get(self._health.state(model_id), "unloaded"),
            "memory_gb": round(own / 1e9, 3),
            "generation_count": self._telemetry.models[model_id].outcomes.get("ok", 0),
            "stay_loaded": self._fleet.worker(model_id).pinned,
        }
        return {**entry, "stand_in": stand_in} if stand_in else entry


class Conductor:
    """The other pages of the front door."""

    def __init__(
        self,
        current: Current,
        fleet: Fleet,
        telemetry: Telemetry,
        health: Health,
        reloader: Reloader,
        sessions: Sessions,
        models: ConductorModels,
    ) -> None:
        self._current = current
        self._fleet = fleet
        self._telemetry = telemetry
        self._health = health
        self._reloader = reloader
        self._sessions = sessions
        self._models = models

    def routes(self) -> list[Route]:
        return [
            *self._models.routes(),
            Route("/categories", self.categories, methods=["GET"]),
            Route("/stats", self.stats, methods=["GET"]),
            Route("/models/{model:path}/load", self.load, methods=["POST"]),
            Route("/models/{model:path}/unload", self.unload, methods=["POST"]),
            Route("/reload-config", self.reload, methods=["POST"]),
        ]

    @told("The categories that somebody answers", TAG, answer=dict[str, Any])
    async def categories(self, request: Request) -> Response:
        """The categories that somebody answers, and who is asked first."""
        models, reached = self._current.config.models, self._models.reached(request)
        firsts = {each.name: next(filter(reached, each.models), "") for each in Categories.of(self._current.config)}
        info = {
            name: {"model": first, "precision": models[first].quantization, "stay_loaded": models[first].pinned}
            for name, first in firsts.items()
            if first
        }
        return json_response({"categories": list(info), "category_info": info})

    @told("What was answered since the start", TAG, answer=dict[str, Any])
    async def stats(self, request: Request) -> Response:
        """What was answered since the start, and what is in memory here now, remotes left out."""
        listed = await self._models.seen(request)
        loaded = dict(await self._health.loaded())
        counts = {each["technical_name"]: each["generation_count"] for each in listed}
        most = sorted((name for name, count in counts.items() if count), key=lambda name: -counts[name])[:MOST_USED]
        since = time.time() - RECENT_S
        recent = [name for name in counts if counts[name] and self._used_at(name) >= since]
        body = {
            "uptime_seconds": round(time.time() - self._telemetry.started_at, 3),
            "request_count": sum(stats.requests for stats in self._telemetry.models.values()),
            "active_sessions": len(self._sessions.of(asked.key(request))),
            "memory_usage": {
                "total_memory_gb": round(sum(loaded.values()) / 1e9, 3),
                "loaded_model_count": len(loaded),
                "models": [each for each in listed if each["technical_name"] in loaded],
            },
            "activity": {
                "total_generations": sum(counts.values()),
                "active_models": sum(each["status"] == "loaded" and "stand_in" not in each for each in listed),
                "most_used": [{"technical_name": name, "generation_count": counts[name]} for name in most],
                "recently_used_count": len(recent),
                "by_category": {name: _figures(s) for name, s in self._telemetry.tasks.items() if s.requests},
            },
            "engine_count": len(list(Categories.of(self._current.config))),
        }
        return json_response(body)

    @told("Begin to load a model", TAG, answer=dict[str, Any], errors=(404, 409, 415, 502, 503))
    async def load(self, request: Request) -> Response:
        """Begin to load a model; the list of models says when it is there. Raises LoadFailed without its weights."""
        name, model_id = self._named(request)
        if self._fleet.worker(model_id).state is State.REMOTE:
            return json_response({"message": f"Model {name} is on another server and is ready as long as that is."})
        if not self._fleet.present(model_id):
            raise LoadFailed(f"{name!r} cannot be loaded: {absence(model_id, self._current.config.models[model_id])}")
        self._fleet.preload(model_id)
        return json_response({"message": f"Model {name} is being loaded; GET /conductor/models says when it is."})

    @told("Take a model out of memory", TAG, answer=dict[str, Any], errors=(404, 409, 415, 502, 503))
    async def unload(self, request: Request) -> Response:
        """Unload a model, and wait until its memory is free."""
        name, model_id = self._named(request)
        if self._fleet.worker(model_id).state is State.REMOTE:
            return json_response({"message": f"Model {name} is on another server, so nothing of it is loaded here."})
        await self._fleet.unload(model_id)
        return json_response({"message": f"Model {name} is unloaded."})

    def _named(self, request: Request) -> tuple[str, str]:
        """The name in the path, and the model that answers for it."""
        asked.refuse_forms(request)
        name = request.path_params["model"]
        return name, asked.answerer(self._current, name)

    @told("Read the configuration again", TAG, answer=dict[str, Any], errors=(415,))
    async def reload(self, request: Request) -> Response:
        """Read the configuration's file again."""
        asked.refuse_forms(request)
        try:
            report = await self._reloader.reload()
        except ConfigError as error:
            raise BadRequest(f"Nothing was changed: {error.message}", code="bad_config") from None
        changed = ", ".join(report.applied) or "nothing has changed"
        return json_response({"message": f"The configuration was read again: {changed}.", "reload": report})

    def _used_at(self, model_id: str) -> float:
        """When it, or what stands in for it, was used last, in seconds since 1970; 0 = never."""
        return wall_time(self._fleet.worker(self._current.answerer_of(model_id)).last_used) or 0.0


def _figures(stats: ModelStats) -> dict[str, Any]:
    """What was done for one category; the time is of a whole answer, on average."""
    return {
        "request_count": stats.requests,
        "generation_count": stats.outcomes.get("ok", 0),
        "error_count": stats.outcomes.get("error", 0),
        "tokens_generated": stats.completion_tokens,
        "average_seconds": round(stats.duration.total_ms / 1000 / stats.requests, 3),
    }
