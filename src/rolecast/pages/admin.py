"""What the command line and the status page ask: state of everything, load, unload, logs."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import psutil
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from rolecast import __version__
from rolecast.books.ledger import Ledger
from rolecast.config import variants
from rolecast.config.current import Current
from rolecast.config.names import find, members
from rolecast.dialects.operation import TEXT, Query, told
from rolecast.errors import BadRequest, ConfigError
from rolecast.fleet import Fleet, leaves_in, wall_time
from rolecast.pages import asked, residency
from rolecast.pages.health import Health
from rolecast.pages.replicas import replicas
from rolecast.reload import Reloader
from rolecast.routing.abilities import Abilities
from rolecast.server.asgi import json_response
from rolecast.server.doors import Doors
from rolecast.telemetry import logfile
from rolecast.telemetry.metrics import Telemetry

MAX_LOG_LINES = 5000
EXAMPLE = '{"model":"NAME"}'


BODY = {"model": "standard"}
ON_A_MODEL = (404, 409, 415, 502, 503, 504)
LOGS = (
    Query("model", says="whose log; the gateway's own without"),
    Query("lines", asked.Number, f"at most {MAX_LOG_LINES}"),
    Query("follow", Literal["true", "false"], "keeps the answer open"),
)


class _ModelName(msgspec.Struct):
    model: str


class _Reload(msgspec.Struct):
    """What is done with the file; nothing said = it is applied."""

    dry_run: bool = False
    """Only tell what it would change, or why it would be refused."""
    rollback: bool = False
    """Go back to what applied before the last edit."""


class Admin:
    """The /admin endpoints."""

    def __init__(
        self,
        current: Current,
        fleet: Fleet,
        ledger: Ledger,
        telemetry: Telemetry,
        reloader: Reloader,
        abilities: Abilities,
        health: Health,
        doors: Doors,
        about: Mapping[str, Any],
    ) -> None:
        self._current = current
        self._fleet = fleet
        self._ledger = ledger
        self._telemetry = telemetry
        self._reloader = reloader
        self._abilities = abilities
        self._health = health
        self._doors = doors
        self._about = about
        """Where configuration and ledger are: what only app.py knows."""

    def routes(self) -> list[Route]:
        return [
            Route("/admin/status", self.status, methods=["GET"]),
            Route("/admin/load", self.load, methods=["POST"]),
            Route("/admin/unload", self.unload, methods=["POST"]),
            Route("/admin/reload", self.reload, methods=["POST"]),
            Route("/admin/logs", self.logs, methods=["GET"]),
            Route("/admin/requests", self.requests, methods=["GET"]),
        ]

    @told("State of everything", "Administration", answer="rolecast.pages.shapes:Status")
    async def status(self, request: Request) -> Response:
        started = self._telemetry.started_at
        resident = await self._fleet.stations.resident()
        body = {
            "version": __version__,
            "pid": os.getpid(),
            "started_at": started,
            "uptime_seconds": round(time.time() - started, 3),
            "rss_bytes": psutil.Process().memory_info().rss,
            **self._about,
            "listeners": self._doors.addresses,
            "reload": self._reloader.last,
            "roles": {role: members(models) for role, models in self._current.config.roles.items()},
            "problems": self._health.problems(),
            "memory": residency.room(self._fleet),
            "models": [self._model(i, resident) for i, m in self._current.config.models.items() if m.enabled],
            "variants": self._variants(),
        }
        return json_response(body)

    @told(
        "Load a model",
        "Administration",
        body=_ModelName,
        example=BODY,
        answer="rolecast.pages.shapes:Stated",
        errors=ON_A_MODEL,
    )
    async def load(self, request: Request) -> Response:
        model_id = await self._asked(request)
        await self._fleet.load(model_id)
        return json_response({"model": model_id, "state": self._health.state(model_id)})

    @told(
        "Take a model out of memory",
        "Administration",
        body=_ModelName,
        example=BODY,
        answer="rolecast.pages.shapes:Stated",
        errors=ON_A_MODEL,
    )
    async def unload(self, request: Request) -> Response:
        model_id = await self._asked(request)
        await self._fleet.unload(model_id)
        return json_response({"model": model_id, "state": self._health.state(model_id)})

    @told(
        "Read the configuration again",
        "Administration",
        body=_Reload,
        example={},
        optional=True,
        answer="rolecast.reload:Report",
        errors=(409, 415),
    )
    async def reload(self, request: Request) -> Response:
        """Read the configuration's file again: what changed, what waits for a restart, or why it was refused.

        `dry_run` tells that without a change; `rollback` applies what applied before the last edit.
        """
        asked.require_json(request, '{"dry_run":true}, or {},')
        wanted = await asked.body(request, _Reload, '{"dry_run":true}') if await request.body() else _Reload()
        if wanted.dry_run and wanted.rollback:
            raise BadRequest("`dry_run` and `rollback` cannot be asked for together.", code="invalid_value")
        reloader = self._reloader
        does = reloader.rehearse if wanted.dry_run else reloader.roll_back if wanted.rollback else reloader.reload
        try:
            return json_response(await does())
        except ConfigError as error:
            raise BadRequest(f"Nothing was changed: {error.message}", code="bad_config") from None

    @told("Lines of a log", "Administration", answer=str, media=TEXT, query=LOGS, errors=(404,))
    async def logs(self, request: Request) -> Response:
        """Log lines as plain text; `follow=true` keeps the answer open."""
        name = request.query_params.get("model", "")
        lines = min(asked.number(request.query_params.get("lines", "200")), MAX_LOG_LINES)
        follow = asked.flag(request.query_params.get("follow", "false"))
        if not name:
            return self._own_log(lines, follow=follow)
        model_id = name if self._fleet.stations.is_copy(name) else self._resolve(name)
        child = self._fleet.stations.at[model_id].child
        if child and follow:
            text = (f"{line}\n" async for line in child.follow(lines))
            return StreamingResponse(text, media_type="text/plain; charset=utf-8")
        tail = "".join(f"{line}\n" for line in child.tail(lines)) if child else ""
        tail = tail or _last_lines(self._fleet.log_path(model_id), lines)
        return Response(tail, media_type="text/plain; charset=utf-8")

    def _own_log(self, lines: int, *, follow: bool) -> Response:
        ring = self._telemetry.logs
        if follow:
            text = (f"{line}\n" async for line in ring.follow(lines))
            return StreamingResponse(text, media_type="text/plain; charset=utf-8")
        return Response("".join(f"{line}\n" for line in ring.tail(lines)), media_type="text/plain; charset=utf-8")

    @told(
        "The newest requests",
        "Administration",
        answer="rolecast.pages.shapes:Receipts",
        query=(Query("limit", asked.Number, "at most 1,000"),),
    )
    async def requests(self, request: Request) -> Response:
        """The newest ledger rows, newest first."""
        limit = min(asked.number(request.query_params.get("limit", "50")), 1000)
        return json_response({"requests": [msgspec.structs.asdict(r) for r in await self._ledger.tail(limit)]})

    async def _asked(self, request: Request) -> str:
        return self._resolve((await asked.body(request, _ModelName, EXAMPLE)).model)

    def _resolve(self, name: str) -> str:
        return asked.answerer(self._current, name)

    def _variants(self) -> list[dict[str, Any]]:
        """The variants, with the models that may answer for each, or why none can."""
        config, known = self._current.config, self._current.names
        if not config.variants:
            return []
        unusable = variants.unusable(config)
        return [
            {
                "id": name,
                "variant_of": variant.model,
                "made": isinstance(variant, variants.Made),
                "description": variant.description,
                "models": list(behind.models) if name not in unusable and (behind := find(known, name)) else [],
                "error": unusable.get(name),
            }
            for name, variant in config.variants.items()
        ]

    def _model(self, model_id: str, resident: Mapping[str, int]) -> dict[str, Any]:
        model = self._current.config.models[model_id]
        answerer_id = self._current.answerer_of(model_id)
        worker, child, stats = (
            self._fleet.worker(answerer_id),
            self._fleet.stations.child(answerer_id),
            self._telemetry.models[model_id],
        )
        ready = worker.endpoint is not None
        return {
            "id": model_id,
            "state": self._health.state(model_id),
            "backend": model.backend,
            "source": model.source or model.url,
            "present": self._fleet.present(model_id),
            "stand_in": self._current.stand_ins.get(model_id),
            "aliases": model.aliases,
            "capabilities": model.capabilities,
            "context": self._abilities.context(model_id),
            "parallel": worker.parallel,
            "pinned": worker.pinned if answerer_id == model_id else model.pinned,
            "idle_timeout_s": float(model.idle_timeout),
            "active": worker.active,
            "waiting": len(worker.waiting),
            "wants_memory": self._fleet.wants_memory(answerer_id),
            "pid": child.pid if child else None,
            "endpoint": worker.endpoint.address if worker.endpoint else None,
            "rss_bytes": self._fleet.stations.memory(answerer_id, resident) if child else None,
            "restarts": worker.restarts,
            "loaded_at": wall_time(worker.loaded_at) if ready else None,
            "leaves_at": time.time() + stays if ready and (stays := leaves_in(worker)) is not None else None,
            "last_used_at": wall_time(worker.last_used),
            "error": worker.error or None,
            "requests": stats.requests,
            "prompt_tokens": stats.prompt_tokens,
            "completion_tokens": stats.completion_tokens,
            "load_percent": residency.percent(self._fleet, answerer_id, resident),
            "load_seconds": round(worker.loaded_at - worker.started_at, 3) if ready and child else None,
            "replicas": replicas(self._fleet, answerer_id, resident),
        }


def _last_lines(path: Path, count: int) -> str:
    try:
        return "".join(f"{line}\n" for line in logfile.tail(path, count))
    except OSError:
        return ""
