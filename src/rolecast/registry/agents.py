"""The agents among the services that registered: found by name, role, tier and what they can do. Pure.

What this gateway registers itself is no agent of anybody's: it is found by its name, or by who asks for it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from rolecast.errors import NotFound

ROLES: Mapping[str, str] = {"execution": "exec", "executor": "exec", "coordinator": "coord", "coordination": "coord"}
"""Words that agents use for their role, by the word that the router uses."""
UNKNOWN = "unknown"


class Registered(Protocol):
    """What the registry knows of a service."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def caps(self) -> Sequence[str]: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def status(self) -> str: ...
    @property
    def is_ours(self) -> bool: ...


def agent_name(service: Registered) -> str:
    """How the router calls it: its id without what stands in front of an agent's."""
    return service.id.removeprefix("agent-")


def role(service: Registered) -> str | None:
    """What kind of agent it is: `coord`, `exec`, `system`, or its own word."""
    said = service.labels.get("agent_role")
    return ROLES.get(said, said) if said else None


def tier(service: Registered) -> str | None:
    """Its tier, as it wrote it."""
    return service.labels.get("tier")


def status(service: Registered) -> str:
    """`down` for one whose heartbeats are missed, else what it says of itself."""
    return "down" if service.status == "down" else service.labels.get("status") or "available"


def has_address(service: Registered) -> bool:
    """Whether it can be asked over HTTP, however it writes that."""
    return service.url[:8].lower().startswith(("http://", "https://"))


def shown(service: Registered) -> dict[str, Any]:
    """An agent as the router tells of it."""
    return {
        "agent_name": agent_name(service),
        "display_name": service.name,
        "role": role(service),
        "tier": tier(service),
        "capabilities": list(service.caps),
        "url": service.url,
        "status": status(service),
    }


class Agents:
    """A view on the services, which are asked anew each time."""

    def __init__(self, services: Iterable[Registered]) -> None:
        self._services = services

    def all(self, *, managed: bool = False) -> Iterator[Registered]:
        """Every agent; with `managed` also whatever this gateway registered."""
        for service in self._services:
            if managed if service.is_ours else service.kind == "agent":
                yield service

    def find(
        self,
        capabilities: Collection[str] = (),
        agent_role: str = "",
        tier_wanted: int | None = None,
        *,
        managed: bool = False,
    ) -> Iterator[Registered]:
        """Those that can do all of it, are of that role and of that tier."""
        wanted = ROLES.get(agent_role, agent_role)
        for service in self.all(managed=managed):
            if wanted and role(service) != wanted:
                continue
            if tier_wanted is not None and tier(service) != str(tier_wanted):
                continue
            if all(each in service.caps for each in capabilities):
                yield service

    def named(self, name: str) -> Registered:
        """The agent of that name, or of that id, or whose display name it is; ours too. Raises NotFound."""
        by_display: Registered | None = None
        for service in self.all(managed=True):
            if name in (agent_name(service), service.id):
                return service
            if service.name == name and by_display is None:
                by_display = service
        if by_display is not None:
            return by_display
        text = f"No agent {name[:200]!r} is registered; POST /discover lists those that are."
        raise NotFound(text, param="agent_name", code="agent_not_found")

    def able(self, capabilities: Collection[str]) -> Registered:
        """The first that can do all of it, and is not down if there is such a one; ours where no other can.

        Raises NotFound.
        """
        for managed in (False, True):
            found = list(self.find(capabilities, managed=managed))
            if found:
                return next((each for each in found if status(each) != "down"), found[0])
        wanted = ", ".join(capabilities)[:500]
        text = f"No agent is registered that can do: {wanted}. POST /discover lists those that are."
        raise NotFound(text, param="capabilities", code="agent_not_found")

    def stats(self) -> dict[str, Any]:
        """How many there are, by role and by tier; ours are counted apart."""
        roles: dict[str, int] = {}
        tiers: dict[str, int] = {}
        total = 0
        for service in self.all():
            total += 1
            for counts, word in ((roles, role(service)), (tiers, tier(service))):
                counts[word or UNKNOWN] = counts.get(word or UNKNOWN, 0) + 1
        managed = sum(service.is_ours for service in self._services)
        return {"total_agents": total, "by_role": roles, "by_tier": tiers, "managed_agents": managed}
