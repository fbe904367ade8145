"""What goes on right now, for the status page: running requests, loads, downloads, jobs, and what was refused.

Reads what the parts know anyway and keeps nothing itself, so it costs only while somebody looks. Knows no content
of any request.
"""

import asyncio
import functools
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast import sources, weights
from rolecast.books.ledger import Ledger
from rolecast.config.current import Current
from rolecast.config.schema import Model
from rolecast.dialects.operation import told
from rolecast.errors import RolecastError
from rolecast.fleet import Fleet, State, wall_time
from rolecast.jobs.owner import Jobs
from rolecast.server.asgi import json_response
from rolecast.telemetry.metrics import KEPT_REFUSALS, Telemetry
from rolecast.turn.dispatch import Dispatch
from rolecast.turn.exchange import Exchange, clock
from rolecast.weights import Finder, gguf

MAX_RUNNING = 200
WORKER_BYTES = 64 << 20
"""Resident memory of a worker before its weights: the interpreter and the engine."""


class Activity:
    """`/admin/activity` and `/admin/refusals`."""

    def __init__(
        self,
        current: Current,
        fleet: Fleet,
        ledger: Ledger,
        telemetry: Telemetry,
        dispatch: Dispatch,
        find: Finder,
        store: Path,
        jobs: Jobs,
    ) -> None:
        self._current = current
        self._fleet = fleet
        self._ledger = ledger
        self._telemetry = telemetry
        self._dispatch = dispatch
        self._find = find
        self._store = store
        self._jobs = jobs

    def routes(self) -> list[Route]:
        return [
            Route("/admin/activity", self.activity, methods=["GET"]),
            Route("/admin/refusals", self.refusals, methods=["GET"]),
        ]

    @told("What goes on now", "Administration", answer="rolecast.pages.shapes:Activity")
    async def activity(self, request: Request) -> Response:
        """Everything that changes from one second to the next.

        `ledger_rows` and `refused` count up, so that whoever polls knows when there is more to read.
        """
        absent, loading = self._absent(), self._loading()
        running = sorted((each for each in self._dispatch.active if not each.part), key=_number)
        body = {
            "at": time.time(),
            "running": [_running(e) for e in running[-MAX_RUNNING:]],
            "loads": [await self._load(i, m, path) for i, m, path in loading],
            "downloads": await asyncio.to_thread(_downloads, absent, self._store) if absent else [],
            "jobs": self._jobs.newest(),
            "ledger_rows": self._ledger.written,
            "refused": sum(self._telemetry.refused.values()),
            "versions": _versions(),
        }
        return json_response(body)

    @told("What was refused", "Administration", answer="rolecast.pages.shapes:Refusals")
    async def refusals(self, request: Request) -> Response:
        """Requests that were answered before they reached a model, newest first; equal ones are one row."""
        return json_response({"refusals": self._telemetry.refusals.newest(KEPT_REFUSALS)})

    def _absent(self) -> dict[str, Model]:
        models = self._current.config.models.items()
        return {i: m for i, m in models if m.enabled and m.source and not self._fleet.present(i)}

    def _loading(self) -> list[tuple[str, Model, Path | None]]:
        found = []
        for model_id, model in self._current.config.models.items():
            if model.enabled and self._fleet.worker(model_id).state is State.LOADING:
                found.append((model_id, model, weights.found(self._find, model)))
        return found

    async def _load(self, model_id: str, model: Model, path: Path | None) -> dict[str, Any]:
        expected = await asyncio.to_thread(expected_bytes, model, path) if path else None
        began = wall_time(self._fleet.worker(model_id).started_at)
        return {
            "model": model_id,
            "seconds": round(time.time() - began, 3) if began else 0.0,
            "rss_bytes": (await self._fleet.stations.resident()).get(model_id, 0),
            "expected_bytes": expected,
        }


def expected_bytes(model: Model, path: Path) -> int | None:
    """Resident memory of the worker once it has loaded, roughly; None when the file does not tell."""
    header = gguf.known(path)
    if header is None:
        return None
    size = sum(part.stat().st_size for part in weights.parts(path) if part.is_file())
    per_token = header.kv_bytes_per_token() if header.causal else 0
    return int(WORKER_BYTES + size + header.repacked_bytes + per_token * weights.context(model, path) * model.parallel)


def _number(exchange: Exchange) -> int:
    return exchange.number


def _running(exchange: Exchange) -> dict[str, Any]:
    """One request under way. `tokens` counts the events of a stream so far; times in ms."""
    plan, request, now = exchange.plan, exchange.request, clock()
    assert plan is not None
    assert request is not None
    lease = exchange.lease
    return {
        "id": exchange.id,
        "listener": exchange.caller.listener,
        "kind": request.kind,
        "asked": plan.asked,
        "model": plan.model_id,
        "worker": plan.answerer_id,
        "role": plan.choice.role,
        "stream": request.stream,
        "state": "waiting" if lease is None else "writing" if exchange.first else "reading",
        "tokens": exchange.carrier.events if request.stream and exchange.carrier is not None else 0,
        "writing_ms": round((now - exchange.first) * 1000, 1) if exchange.first else 0.0,
        "total_ms": round((now - exchange.began) * 1000, 1),
    }


def _downloads(absent: dict[str, Model], store: Path) -> list[dict[str, Any]]:
    """What has arrived of absent weights. Looks at files only, so a pull in another process is seen, too."""
    found = []
    for model_id, model in absent.items():
        try:
            arrival = sources.arriving(sources.parse(model.source, model.sha256), store)
        except RolecastError:
            continue
        if arrival is not None:
            found.append({"model": model_id, "bytes": arrival.bytes, "changed_at": arrival.changed_at})
    return found


@functools.cache
def _versions() -> dict[str, str]:
    """Of what runs here, besides the gateway; without what is not installed."""
    found = {"python": platform.python_version()}
    for package in ("xllamacpp", "uvicorn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            pass
    return found
