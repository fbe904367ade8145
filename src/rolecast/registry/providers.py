"""Providers that registered: what each serves, for how much, how fast by its own word. Plain state; time comes in.

Prices are whole picodollars per token. Nothing here is ever asked for an answer: who may be, `directory` says.
"""

from bisect import insort
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec

from rolecast.errors import Conflict, NotFound

MOST = 10_000
"""So many are kept, active or not."""
Size = Annotated[float, msgspec.Meta(ge=0)]


class Slo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a provider promises; None = nothing."""

    latency_p95_ms: Size | None = None
    throughput_rps: Size | None = None
    availability_percent: Size | None = None


class Provider(msgspec.Struct, frozen=True):
    """One registered server of one model. Costs in picodollars per token, times in seconds since 1970."""

    name: str
    model: str
    context_window: int
    input_cost: int
    output_cost: int
    endpoint: str
    features: tuple[str, ...] = ()
    slo: Slo | None = None
    metadata: Mapping[str, Any] = {}
    created_at: float = 0.0
    updated_at: float = 0.0
    active: bool = True

    @property
    def latency_ms(self) -> float | None:
        """What it promises of 95 in 100 answers."""
        return self.slo.latency_p95_ms if self.slo is not None else None


class Stats(msgspec.Struct, frozen=True):
    """How many there are."""

    active_providers: int
    inactive_providers: int
    unique_models: list[str]
    total_models: int


class Providers:
    """All of them, by name; those that are active also by model, cheapest first."""

    def __init__(self) -> None:
        self._all: dict[str, Provider] = {}
        self._by_model: dict[str, list[tuple[int, str, Provider]]] = {}

    def restore(self, kept: Iterable[Provider]) -> None:
        """Begin with what was kept before."""
        for provider in kept:
            self._put(provider)

    def registered(self, provider: Provider, now: float) -> tuple[Provider, Literal["registered", "updated"]]:
        """What becomes of this registration; `put` makes it so. Raises Conflict when there are too many.

        One that is known is updated, and active again if it was switched off.
        """
        before = self._all.get(provider.name)
        if before is None and len(self._all) >= MOST:
            text = f"{MOST} providers are registered, which is the most; a name that is known can still be updated."
            raise Conflict(text, code="too_many_providers")
        created = now if before is None else before.created_at
        fresh = msgspec.structs.replace(provider, created_at=created, updated_at=now, active=True)
        return fresh, "registered" if before is None else "updated"

    def deactivated(self, name: str, now: float) -> Provider:
        """It, switched off. Raises NotFound for a name that never registered."""
        before = self._all.get(name)
        if before is None:
            raise _unknown(name)
        return msgspec.structs.replace(before, updated_at=now, active=False) if before.active else before

    def put(self, provider: Provider) -> None:
        """Let this hold from now on."""
        self._put(provider)

    def of(self, name: str) -> Provider:
        """The active one of that name. Raises NotFound."""
        found = self._all.get(name)
        if found is None or not found.active:
            raise _unknown(name)
        return found

    def get(self, name: str) -> Provider | None:
        """The one of that name, active or not."""
        return self._all.get(name)

    def active(self) -> list[Provider]:
        """Those that may be chosen, by name."""
        return [each for _, each in sorted(self._all.items()) if each.active]

    def of_model(self, model: str) -> list[Provider]:
        """Those that may be chosen for that model, cheapest first, then by name."""
        return [each for _, _, each in self._by_model.get(model, ())]

    def listed(self, model: str | None = None, min_context: int | None = None) -> list[Provider]:
        """Those with that model and at least so much context."""
        return [
            each
            for each in self.active()
            if (model is None or each.model == model) and (min_context is None or each.context_window >= min_context)
        ]

    def stats(self) -> Stats:
        """How many there are."""
        active = sum(map(len, self._by_model.values()))
        models = sorted(self._by_model)
        return Stats(active, len(self._all) - active, models, len(models))

    def _put(self, provider: Provider) -> None:
        before = self._all.get(provider.name)
        if before is not None and before.active:
            alike = self._by_model[before.model]
            alike[:] = [entry for entry in alike if entry[1] != before.name]
            if not alike:
                del self._by_model[before.model]
        self._all[provider.name] = provider
        if provider.active:
            alike = self._by_model.setdefault(provider.model, [])
            insort(alike, (provider.input_cost + provider.output_cost, provider.name, provider), key=lambda e: e[:2])


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no provider {name[:200]!r}; GET /providers lists them.", code="provider_not_found")
