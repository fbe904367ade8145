"""The heartbeat monitor's port (PAS's 6109): its rules, how services fare, what to know of them."""

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.config.current import Current
from rolecast.dialects.operation import Query, told
from rolecast.errors import Invalid
from rolecast.pages import asked
from rolecast.pages.pas.reading import iso
from rolecast.registry.registry import Registry
from rolecast.registry.rows import KEPT_ALERTS
from rolecast.registry.service import Action, AlertKind
from rolecast.registry.services import DOWN_AFTER, REMOVED_AFTER, counted
from rolecast.server.asgi import json_response

TAG = "Heartbeats"
USUAL = 50


class MonitorHealth(msgspec.Struct, frozen=True):
    """The rules that hold."""

    status: Literal["ok"]
    check_interval_s: float
    max_misses_before_down: int
    max_misses_before_deregister: int


class Stats(msgspec.Struct, frozen=True):
    """How many services fare how."""

    total_services: int
    healthy_services: int
    degraded_services: int
    down_services: int
    last_check: str | None


class ToldAlert(msgspec.Struct, frozen=True):
    """What people should know of a service."""

    alert_type: AlertKind
    service_id: str
    service_name: str
    missed_beats: int
    last_seen: str
    action: Action
    ts: str
    parent: str | None


class Alerts(msgspec.Struct, frozen=True):
    """The newest first."""

    alerts: list[ToldAlert]


class HeartbeatPages:
    """All of that port."""

    def __init__(self, registry: Registry, current: Current) -> None:
        self._registry = registry
        self._current = current

    def routes(self) -> list[Route]:
        return [
            Route("/health", self.health, methods=["GET"]),
            Route("/stats", self.stats, methods=["GET"]),
            Route("/alerts", self.alerts, methods=["GET"]),
        ]

    @told("Health and rules of the monitor", TAG, answer=MonitorHealth)
    async def health(self, request: Request) -> Response:
        interval_s = float(self._current.config.registry.check_interval)
        whole = int(interval_s) if interval_s.is_integer() else interval_s
        return json_response(MonitorHealth("ok", whole, DOWN_AFTER, REMOVED_AFTER))

    @told("How services fare", TAG, answer=Stats)
    async def stats(self, request: Request) -> Response:
        """Ours among them."""
        services = self._registry.look()
        count, checked = counted(services), self._registry.last_check
        last = iso(checked) if checked else None
        return json_response(Stats(len(services), count["healthy"], count["degraded"], count["down"], last))

    @told(
        "Heartbeats that did not come, or came again",
        TAG,
        answer=Alerts,
        query=(Query("limit", asked.Number, f"{USUAL} if nothing is said, at most {KEPT_ALERTS:,}"),),
        errors=(400, 422),
    )
    async def alerts(self, request: Request) -> Response:
        """The newest first. They outlive the gateway."""
        most = asked.number(request.query_params.get("limit", str(USUAL)))
        if not most:
            raise Invalid("`limit` must be at least 1.", param="limit")
        told = [
            ToldAlert(
                alert.alert_type,
                alert.service_id,
                alert.service_name,
                alert.missed_beats,
                iso(alert.last_seen),
                alert.action,
                iso(alert.ts),
                alert.parent,
            )
            for alert in self._registry.alerts(most)
        ]
        return json_response(Alerts(told))
