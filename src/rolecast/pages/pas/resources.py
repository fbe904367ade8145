"""The resource manager of PAS (its port 6104): agents reserve processors, memory and ports, and give them back."""

import time
from typing import Annotated, Any, Literal, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.config.current import Current
from rolecast.dialects.operation import Query, told
from rolecast.errors import BadRequest, Invalid
from rolecast.pages import asked
from rolecast.pages.pas import reading
from rolecast.pages.pas.reading import iso
from rolecast.registry.resources import (
    DEFAULTS,
    MOST_OVER,
    Denied,
    Quota,
    Reservation,
    Resource,
    Resources,
    State,
    number,
    thousandths,
)
from rolecast.server.asgi import json_response
from rolecast.telemetry.events import Events

TAG = "Resource manager"
RESERVE = '{"job_id":"J-1","agent":"trainer","cpu":4,"mem_mb":8192,"gpu":1,"gpu_mem_mb":4096}'
RELEASE = '{"reservation_id":"..."}'
KILL = '{"job_id":"J-1","reason":"manual_kill"}'
UPDATE = '{"resource_type":"cpu","new_capacity":16}'
ENDPOINTS = {
    "reserve": "POST /reserve",
    "release": "POST /release",
    "kill": "POST /kill",
    "quotas": "GET /quotas",
    "reservations": "GET /reservations",
    "update_quota": "POST /quotas/update",
}
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Whole = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
PortNumber = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Anything = dict[str, Any]


class Reserve(msgspec.Struct):
    """What a job needs."""

    job_id: Name
    agent: Name
    cpu: Amount | None = None
    """Cores, also parts of one."""
    mem_mb: Whole | None = None
    gpu: Whole | None = None
    gpu_mem_mb: Whole | None = None
    ports: Annotated[list[PortNumber], msgspec.Meta(max_length=100)] | None = None
    ttl_s: Annotated[float, msgspec.Meta(gt=0, le=31 * 86400)] | None = None
    """It ends by itself after so many seconds; `registry.reservation_ttl` where nothing is said."""


class Release(msgspec.Struct):
    """What is given back: a reservation by its id, or the oldest of a job."""

    reservation_id: str | None = None
    job_id: str | None = None


class Kill(msgspec.Struct):
    """A job all of whose reservations are given back. No process is ended by it."""

    job_id: Name
    reason: Annotated[str, msgspec.Meta(max_length=500)] = "manual_kill"


class Update(msgspec.Struct):
    """How much there is of something."""

    resource_type: Resource
    new_capacity: Amount


class ResourceManager:
    """The pages of that port."""

    def __init__(self, current: Current, resources: Resources, events: Events) -> None:
        self._current = current
        self._resources = resources
        self._events = events

    def routes(self) -> list[Route]:
        return [
            Route("/", self.root, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/reserve", self.reserve, methods=["POST"]),
            Route("/release", self.release, methods=["POST"]),
            Route("/kill", self.kill, methods=["POST"]),
            Route("/quotas", self.quotas, methods=["GET"]),
            Route("/quotas/update", self.update, methods=["POST"]),
            Route("/reservations", self.reservations, methods=["GET"]),
        ]

    @told("What this port is", TAG, answer=Anything, errors=(503,))
    async def root(self, request: Request) -> Response:
        """The service, what is free, and what it answers."""
        quotas, active = await self._resources.quotas(time.time())
        shown = {name: _amounts(quota) for name, quota in quotas.items()}
        about = reading.service(request, "PAS Resource Manager", ENDPOINTS, quotas=shown, active_reservations=active)
        return json_response(about)

    @told("Health", TAG, answer=dict[str, str])
    async def health(self, request: Request) -> Response:
        """Whether it answers."""
        return json_response({"status": "ok"})

    @told(
        "Reserve what a job needs",
        TAG,
        body=Reserve,
        example={"job_id": "J-1", "agent": "trainer", "cpu": 4, "mem_mb": 8192},
        answer=Anything,
        errors=(415, 422, 503),
    )
    async def reserve(self, request: Request) -> Response:
        """All of it or nothing: `status` is `granted` with an id, or `denied` with the reason."""
        said = await reading.body(request, Reserve, RESERVE)
        wanted = {name: thousandths(amount) for name in DEFAULTS if (amount := getattr(said, name)) is not None}
        now = time.time()
        seconds = said.ttl_s or float(self._current.config.registry.reservation_ttl)
        made = await self._resources.reserve(said.job_id, said.agent, wanted, said.ports or [], now, seconds)
        about = {"job_id": said.job_id, "agent": said.agent}
        if isinstance(made, Denied):
            self._events.tell("resources_denied", about | {"reason": made.reason})
            answer: Anything = {"reservation_id": None, "status": "denied", "reason": made.reason}
            if made.resource in DEFAULTS:
                answer["quotas"] = _amounts(Quota(made.total, made.allocated))
            return json_response(answer)
        granted = {name: getattr(said, name) for name in (*DEFAULTS, "ports")}
        self._events.tell("resources_reserved", about | {"reservation_id": made.id, "granted": granted})
        return json_response(
            {
                "reservation_id": made.id,
                "status": "granted",
                "granted": granted,
                "expires_at": iso(made.until),
                "ts": iso(now),
            }
        )

    @told(
        "Give back what was reserved",
        TAG,
        body=Release,
        example={"job_id": "J-1"},
        answer=Anything,
        errors=(400, 404, 415, 422, 503),
    )
    async def release(self, request: Request) -> Response:
        """By its id, or the oldest of a job."""
        said = await reading.body(request, Release, RELEASE)
        if not said.reservation_id and not said.job_id:
            raise BadRequest("Send `reservation_id` or `job_id`.", param="reservation_id")
        now = time.time()
        ended = await self._resources.release(said.reservation_id or "", said.job_id or "", now)
        released = {name: number(amount) for name in DEFAULTS if (amount := getattr(ended, name))}
        told = {"job_id": ended.job, "agent": ended.agent, "reservation_id": ended.id, "released": released}
        self._events.tell("resources_released", told)
        return json_response({"success": True, "released": released, "ts": iso(now)})

    @told(
        "Give back all that a job has",
        TAG,
        body=Kill,
        example={"job_id": "J-1", "reason": "manual_kill"},
        answer=Anything,
        errors=(404, 415, 422, 503),
    )
    async def kill(self, request: Request) -> Response:
        """Its reservations end; no process does."""
        said = await reading.body(request, Kill, KILL)
        now = time.time()
        count = await self._resources.kill(said.job_id, now)
        self._events.tell("resources_killed", {"job_id": said.job_id, "reason": said.reason, "reservations": count})
        answer = {"success": True, "killed_reservations": count, "reason": said.reason, "ts": iso(now)}
        return json_response(answer)

    @told("What there is", TAG, answer=Anything, errors=(503,))
    async def quotas(self, request: Request) -> Response:
        """Of each resource: all, what is reserved, and what is free."""
        quotas, _ = await self._resources.quotas(time.time())
        shown = {}
        for name, quota in quotas.items():
            amounts = _amounts(quota)
            utilization = quota.allocated / quota.total if quota.total else 0
            shown[name] = {"total_capacity": amounts.pop("total"), **amounts, "utilization": utilization}
        return json_response({"quotas": shown})

    @told(
        "Say how much there is",
        TAG,
        body=Update,
        example={"resource_type": "cpu", "new_capacity": 16},
        answer=Anything,
        errors=(403, 415, 422, 503),
    )
    async def update(self, request: Request) -> Response:
        """What is reserved already stays so, also where there is less now."""
        reading.require_admin(request)
        said = await reading.body(request, Update, UPDATE)
        before = await self._resources.resize(said.resource_type, thousandths(said.new_capacity))
        told = {
            "resource_type": said.resource_type,
            "old_capacity": number(before),
            "new_capacity": number(thousandths(said.new_capacity)),
        }
        self._events.tell("quota_updated", told)
        return json_response({"success": True, **told, "ts": iso(time.time())})

    @told(
        "What is and was reserved",
        TAG,
        answer=Anything,
        query=(
            Query("status", Literal["active", "released", "expired", "killed"], "those alone"),
            Query("limit", asked.Number, f"at most {MOST_OVER:,}"),
        ),
        errors=(422, 503),
    )
    async def reservations(self, request: Request) -> Response:
        """The newest first."""
        state = request.query_params.get("status") or None
        if state is not None and state not in get_args(State):
            raise Invalid(f"`status` must be one of {', '.join(get_args(State))}.", param="status")
        most = min(asked.number(request.query_params.get("limit", str(MOST_OVER))), MOST_OVER)
        found = await self._resources.all(state, time.time(), most)  # type: ignore[arg-type]  # looked at above
        return json_response({"reservations": [_shown(each) for each in found]})


def _amounts(quota: Quota) -> Anything:
    free = number(quota.total - quota.allocated)
    return {"total": number(quota.total), "allocated": number(quota.allocated), "reserved": 0, "available": free}


def _shown(reservation: Reservation) -> Anything:
    resources: Anything = {name: number(getattr(reservation, name)) for name in DEFAULTS}
    resources["ports"] = msgspec.json.decode(reservation.ports)
    return {
        "reservation_id": reservation.id,
        "job_id": reservation.job,
        "agent": reservation.agent,
        "resources": resources,
        "status": reservation.state,
        "created_at": iso(reservation.at),
        "expires_at": iso(reservation.until),
        "released_at": None if reservation.ended_at is None else iso(reservation.ended_at),
    }
