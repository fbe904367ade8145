"""What the registry's port reads and answers: the shapes of PAS's services and those of its agents, side by side."""

import uuid
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from rolecast.errors import Invalid
from rolecast.pages.pas.reading import iso
from rolecast.registry.service import AGENT, INTERVAL_S, ROLES, TTL_S, Kind, Role, Service, Status

MOST_CAPS, MOST_LABELS = 200, 64
METADATA_BYTES = 16 * 1024
AGENT_ROLES = ("execution", "exec", "coord", "coordination", "coordinator", "system")
"""Roles by which agents call themselves; for us they are labels."""
YEAR_S = 31_622_400.0

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2048, pattern=r"^[^\x00-\x20\x7f]+$")]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Caps = Annotated[list[Word], msgspec.Meta(max_length=MOST_CAPS)]
Span = Annotated[float, msgspec.Meta(ge=1, le=YEAR_S)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Registration(msgspec.Struct, frozen=True):
    """A service, as services describe themselves or as agents do: `agent_id`, `capabilities`, `endpoint`. What is null
    was not said."""

    service_id: Id | None = None
    """Without it and without `agent_id` one is made up."""
    agent_id: Id | None = None
    name: Name | None = None
    type: Kind | None = None
    role: Word | None = None
    """`production`, `staging`, `canary`, `experimental`, or what an agent does: `execution`, `coord`, `system`."""
    url: Url | None = None
    endpoint: Url | None = None
    """The same as `url`."""
    caps: Caps | None = None
    capabilities: Caps | None = None
    """The same as `caps`."""
    labels: dict[str, Any] | None = None
    ctx_limit: Count | None = None
    cost_hint: dict[str, Any] | float | None = None
    """`{"usd_per_1k": 0.002}`."""
    cost_per_1k_tokens: Amount | None = None
    heartbeat_interval_s: Span | None = None
    """60 if nothing is said."""
    ttl_s: Span | None = None
    """90 if nothing is said."""
    tier: int | str | None = None
    transport: Word | None = None
    metadata: dict[str, Any] | None = None


class Heartbeat(msgspec.Struct, frozen=True):
    """A service lives. What is null is as before."""

    service_id: Id | None = None
    agent_id: Id | None = None
    """The same as `service_id`."""
    status: Status | None = None
    """`ok` if nothing is said."""
    p95_ms: Amount | None = None
    queue_depth: Count | None = None
    load: Annotated[float, msgspec.Meta(ge=0, le=1e6)] | None = None
    message: Annotated[str, msgspec.Meta(max_length=1000)] | None = None


class Sought(msgspec.Struct, frozen=True):
    """What services must have that are looked for: all of it."""

    capabilities: Caps | None = None
    caps: Caps | None = None
    """The same as `capabilities`."""
    cap: Word | None = None
    """One more."""
    type: Kind | None = None
    role: Word | None = None
    name: Name | None = None
    status: Status | None = None


class Promotion(msgspec.Struct, frozen=True):
    """All instances of this name change their role."""

    name: Name
    from_role: Role
    to_role: Role


class Leaving(msgspec.Struct, frozen=True):
    """A service goes."""

    service_id: Id | None = None
    agent_id: Id | None = None
    """The same as `service_id`."""


class Registered(msgspec.Struct, frozen=True):
    """A service is registered now."""

    service_id: str
    registered_at: str
    """When it came first."""
    agent_id: str
    name: str
    action: str
    """`registered` or `updated`."""


class Done(msgspec.Struct, frozen=True):
    success: bool
    ts: str


class Promoted(msgspec.Struct, frozen=True):
    updated_instances: int
    ts: str


class Short(msgspec.Struct, frozen=True):
    """A service in a list."""

    service_id: str
    name: str
    type: Kind
    role: Role
    status: Status
    url: str


class Item(msgspec.Struct, frozen=True):
    """A service, as services see it."""

    service_id: str
    name: str
    type: Kind
    role: Role
    url: str
    caps: tuple[str, ...]
    labels: Mapping[str, str]
    ctx_limit: int | None
    cost_hint_usd_per_1k: float | None
    status: Status
    last_heartbeat_ts: str
    registered_at: str
    p95_ms: float | None
    queue_depth: int | None
    load: float | None


class Agent(msgspec.Struct, frozen=True):
    """An agent, as agents see it."""

    agent_id: str
    name: str
    tier: int | str
    role: str
    capabilities: tuple[str, ...]
    endpoint: str
    transport: str
    cost_per_1k_tokens: float | None
    metadata: Mapping[str, Any]
    status: Status
    service_id: str


class Found(msgspec.Struct, frozen=True):
    """`items` are all that fit; `agents` those of them that are of type agent."""

    items: list[Item]
    agents: list[Agent]


class Listed(msgspec.Struct, frozen=True):
    items: list[Short]


class Whole(Item, frozen=True):
    """All that is known of a service."""

    heartbeat_interval_s: float
    ttl_s: float
    missed_beats: int
    message: str
    agent_id: str
    metadata: Mapping[str, Any]


class Health(msgspec.Struct, frozen=True):
    status: str
    registered: int
    healthy: int


class Root(msgspec.Struct, frozen=True):
    """What this port is."""

    service: str
    version: str
    port: int
    status: str
    registered_services: int
    healthy_services: int
    endpoints: list[str]
    docs: str


# -- from and to services ------------------------------------------------------------------------------------


def service_of(said: Registration) -> Service:
    """The service that is described. Raises Invalid, which names what is missing or wrong."""
    url, caps = said.url or said.endpoint, said.caps or said.capabilities
    name = said.name or (said.agent_id and said.agent_id[:100])
    as_agent = said.agent_id is not None
    kind = said.type or ("agent" if as_agent else None)
    if not name or kind is None or not url or not caps:
        missing = {"name": name, "type": kind, "url": url, "caps": caps}
        param = next(word for word, value in missing.items() if not value)
        raise Invalid(f"`{param}` is missing: a service needs name, type, url and at least one of caps.", param=param)
    labels = _labels(said)
    role = said.role or "production"
    if role not in ROLES:
        if not as_agent and role not in AGENT_ROLES:
            raise Invalid(f"`role` must be one of {', '.join((*ROLES, *AGENT_ROLES))}.", param="role")
        labels["agent_role"], role = role, "production"
    return Service(
        id=_id(said),
        name=name,
        kind=kind,
        role=role,  # type: ignore[arg-type]  # one of ROLES
        url=url,
        caps=tuple(dict.fromkeys(caps)),
        labels=labels,
        metadata=_metadata(said),
        ctx_limit=said.ctx_limit,
        usd_per_1k=_usd(said),
        interval_s=said.heartbeat_interval_s or INTERVAL_S,
        ttl_s=said.ttl_s or TTL_S,
    )


def _id(said: Registration) -> str:
    if said.service_id is not None:
        return said.service_id
    if said.agent_id is None:
        return str(uuid.uuid4())
    return said.agent_id if said.agent_id.startswith(AGENT) else AGENT + said.agent_id


def _labels(said: Registration) -> dict[str, str]:
    """Texts only, whatever they were; what agents say beside their labels is among them."""
    more = {"tier": said.tier, "transport": said.transport, "cost_per_1k_tokens": said.cost_per_1k_tokens}
    given = {**{name: value for name, value in more.items() if value is not None}, **(said.labels or {})}
    if len(given) > MOST_LABELS:
        raise Invalid(f"`labels`: at most {MOST_LABELS} of them are kept.", param="labels")
    labels = {name: _word(value) for name, value in given.items() if value is not None}
    for name, value in labels.items():
        if len(name) > 100 or len(value) > 1000:
            raise Invalid("`labels`: a name has at most 100 characters, a value 1000.", param="labels")
    return labels


def _word(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _metadata(said: Registration) -> dict[str, Any]:
    metadata = said.metadata or {}
    if len(msgspec.json.encode(metadata)) > METADATA_BYTES:
        raise Invalid(f"`metadata` has more than {METADATA_BYTES} bytes.", param="metadata")
    return metadata


def _usd(said: Registration) -> float | None:
    hint = said.cost_hint.get("usd_per_1k") if isinstance(said.cost_hint, dict) else said.cost_hint
    if hint is None:
        return said.cost_per_1k_tokens
    try:
        return msgspec.convert(hint, Amount, strict=False)
    except msgspec.ValidationError:
        raise Invalid("`cost_hint.usd_per_1k` must be a number of dollars.", param="cost_hint.usd_per_1k") from None


def item(s: Service) -> Item:
    """As services see it."""
    return Item(
        s.id,
        s.name,
        s.kind,
        s.role,
        s.url,
        s.caps,
        s.labels,
        s.ctx_limit,
        s.usd_per_1k,
        s.status,
        iso(s.beat_at),
        iso(s.registered_at),
        s.p95_ms,
        s.queue_depth,
        s.load,
    )


def whole(s: Service) -> Whole:
    """All of it."""
    return Whole(
        **msgspec.structs.asdict(item(s)),
        heartbeat_interval_s=s.interval_s,
        ttl_s=s.ttl_s,
        missed_beats=s.missed,
        message=s.message,
        agent_id=s.agent_id,
        metadata=s.metadata,
    )


def agent(s: Service) -> Agent:
    """As agents see it."""
    tier = s.labels.get("tier", "2")
    return Agent(
        s.agent_id,
        s.name,
        int(tier) if tier.isascii() and tier.isdigit() and len(tier) < 10 else tier,
        s.labels.get("agent_role", s.role),
        s.caps,
        s.url,
        s.labels.get("transport", "rest"),
        s.usd_per_1k,
        s.metadata,
        s.status,
        s.id,
    )


def short(s: Service) -> Short:
    """For a list."""
    return Short(s.id, s.name, s.kind, s.role, s.status, s.url)
