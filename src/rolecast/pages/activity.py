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

from rolecast import sources
from rolecast.books.ledger import Ledger
from rolecast.config.current import Current
from rolecast.config.schema import Model
from rolecast.dialects.operation import told
from rolecast.errors import RolecastError
from rolecast.fleet import Fleet
from rolecast.jobs.owner import Jobs
from rolecast.pages import residency
from rolecast.server.asgi import json_response
from rolecast.telemetry.metrics import KEPT_REFUSALS, Telemetry
from rolecast.turn.dispatch import Dispatch
from rolecast.turn.exchange import Exchange, clock

MAX_RUNNING = 200


class Activity:
    """`/admin/activity` and `/admin/refusals`."""

    def __init__(
        self,
        current: Current,
        fleet: Fleet,
        ledger: Ledger,
        telemetry: Telemetry,
        dispatch: Dispatch,
        store: Path,
        jobs: Jobs,
    ) -> None:
        self._current = current
        self._fleet = fleet
        self._ledger = ledger
        self._telemetry = telemetry
        self._dispatch = dispatch
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
        absent = self._absent()
        running = sorted((each for each in self._dispatch.active if not each.part), key=_number)
        body = {
            "at": time.time(),
            "running": [_running(e) for e in running[-MAX_RUNNING:]],
            "loads": await self._loads(),
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

    async def _loads(self) -> list[residency.Loading]:
        models = [model_id for model_id, model in self._current.config.models.items() if model.enabled]
        found = [await residency.loading(self._fleet, model_id) for model_id in models]
        return [load for load in found if load is not None]


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
