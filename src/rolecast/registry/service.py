"""A service that registered, and what is told of one: the values that the registry, its pages and its rows share.

Plain data. Times ending in `_at` are seconds since 1970, for people and for the database; whether a heartbeat is late
is never judged by them, since a clock may be set.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import msgspec

Kind = Literal["model", "tool", "agent"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Role = Literal["production", "staging", "canary", "experimental"]
ROLES: tuple[Role, ...] = get_args(Role)
Status = Literal[
    "ok", "degraded", "down", "queued", "running", "blocked", "waiting_approval", "paused", "error", "done"
]
STATUSES: tuple[Status, ...] = get_args(Status)
UNWELL = ("degraded", "blocked", "error")
"""Statuses that count as degraded; all others but `down` are healthy."""

AlertKind = Literal["heartbeat_miss", "heartbeat_restored", "service_down", "service_deregistered"]
Action = Literal["warning", "marked_down", "deregistered", "escalated"]

AGENT = "agent-"
"""In front of the id of an agent that has no id of a service."""
MANAGED, OURS = "managed_by", "rolecast"
"""The label, and its value, of what a gateway registers itself; others may say so, too."""
INTERVAL_S, TTL_S = 60.0, 90.0
"""Where a registration says nothing."""


class Moment(NamedTuple):
    """Now, by two clocks: one that only goes on, and the one on the wall."""

    ticks: float
    """Seconds, from an unknown start; never set."""
    at: float
    """Seconds since 1970."""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One service as it is known now."""

    id: str
    name: str
    kind: Kind
    role: Role = "production"
    url: str = ""
    caps: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}
    metadata: Mapping[str, Any] = {}
    """What it said of itself besides; kept as it came."""
    ctx_limit: int | None = None
    usd_per_1k: float | None = None
    """What it asks for a thousand tokens, as it said; a hint, never added up."""
    interval_s: float = INTERVAL_S
    """It promises a heartbeat so often."""
    ttl_s: float = TTL_S
    """So long after its last heartbeat it is kept at least."""
    registered_at: float = 0.0
    """When it came first."""
    beat_at: float = 0.0
    """When it was last heard of."""
    status: Status = "ok"
    p95_ms: float | None = None
    queue_depth: int | None = None
    load: float | None = None
    message: str = ""
    missed: int = 0
    """Heartbeats that were missed in a row; 1 = it was warned of, 2 and more = it is down."""
    is_ours: bool = False
    """This gateway registered it."""

    @property
    def agent_id(self) -> str:
        """Its id without what is put in front of an agent's."""
        return self.id.removeprefix(AGENT)

    @property
    def is_agent(self) -> bool:
        """Whether it is told as an agent: what says so, and our ports, which others must not count among theirs."""
        return self.kind == "agent" or (self.is_ours and self.id.startswith(AGENT))

    @property
    def condition(self) -> Literal["healthy", "degraded", "down"]:
        """Its status in one of three words."""
        return "down" if self.status == "down" else "degraded" if self.status in UNWELL else "healthy"


class Beat(msgspec.Struct, frozen=True):
    """What a heartbeat says; None = as before."""

    status: Status = "ok"
    p95_ms: float | None = None
    queue_depth: int | None = None
    load: float | None = None
    message: str | None = None


class Alert(msgspec.Struct, frozen=True):
    """What people should know of a service: a heartbeat that did not come, or came again."""

    alert_type: AlertKind
    service_id: str
    service_name: str
    missed_beats: int
    last_seen: float
    """In seconds since 1970, as is `ts`."""
    action: Action
    ts: float
    parent: str | None = None
    """What the service belongs to, by its label `parent`."""


NewsKind = Literal["registered", "updated", "deregistered", "miss", "down", "removed", "restored", "beat"]


class News(msgspec.Struct, frozen=True):
    """Something has changed. `beat` is a heartbeat that changed nothing but figures."""

    kind: NewsKind
    service: Service
    """As it is now; of one that is gone, as it was."""
    alert: Alert | None = None
