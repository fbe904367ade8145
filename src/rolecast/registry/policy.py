"""Who of all who could answers: one policy over registered providers, models here and configured clouds. Pure.

Left out is who cannot: another model, too little context, a feature or capability that is lacking, more cost or latency
than allowed. Who is not well comes last, whatever it costs. The rest is ordered by what is to be saved:

- `cost`: the mean of what a token of a prompt and one of an answer cost;
- `latency`: the observed p95, else the promised one, and the wait just now; who is not known comes last, by cost;
- `balanced`: the least of 0.7 * cost / highest cost + 0.3 * latency / highest latency, each over those that are left.
  An unknown latency counts as the highest, an unknown cost too.

With `prefer_local` all on this machine come before all others. Ties go by name: equal states give equal choices.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from rolecast.errors import NotFound

Optimization = Literal["cost", "latency", "balanced"]

MOST_ALTERNATIVES = 2
BUDGET_INPUT, BUDGET_OUTPUT = 1000, 500
"""Tokens of the request that a budget is compared with before the real one is known."""
OF_COST, OF_LATENCY = 0.7, 0.3
REASONS = {
    "cost": "Lowest cost provider",
    "latency": "Lowest latency SLO",
    "balanced": "Balanced optimization (cost-weighted)",
}
NO_SLO = "No latency SLO available, selected lowest cost"
OBSERVED = "Lowest observed latency"
FAR = float("inf")


class Candidate(msgspec.Struct, frozen=True):
    """Somebody who could answer, as it stands just now."""

    name: str
    """What it is called among providers."""
    model: str
    """What it serves, by the name that its endpoint takes."""
    endpoint: str
    provider: str
    """Who sends the bill; `local` on this machine."""
    names: frozenset[str]
    """All names of the model that requests may ask for."""
    local: bool = False
    context: int | None = None
    """Tokens; None = nobody knows, and it is not left out for that, as of what follows."""
    features: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    input_cost: int | None = None
    """Picodollars per token."""
    output_cost: int | None = None
    per_token: int | None = None
    """Both together: twice the mean of a token. Set by `priced`, as is the next."""
    estimate: int | None = None
    """Picodollars of the request that budgets are compared with."""
    latency_ms: float | None = None
    """Of 95 in 100 answers."""
    observed: bool = False
    """That was measured here, not promised."""
    wait_ms: float = 0.0
    """So long it takes until it begins: a queue, a load, a rest after failures."""
    well: bool = True
    """It can be expected to answer."""
    model_id: str = ""
    """The model of the gateway that asks it; '' = it is never asked from here."""
    why_not: str = ""
    """Why it is never asked."""


def priced(candidate: Candidate) -> Candidate:
    """The same with what follows from its prices, which is looked at often."""
    reading, writing = candidate.input_cost, candidate.output_cost
    if reading is None or writing is None:
        return candidate
    estimate = reading * BUDGET_INPUT + writing * BUDGET_OUTPUT
    return msgspec.structs.replace(candidate, per_token=reading + writing, estimate=estimate)


class Wish(msgspec.Struct, frozen=True):
    """What is asked for. None and '' = does not matter."""

    model: str = ""
    capability: str = ""
    context: int | None = None
    features: frozenset[str] = frozenset()
    max_cost: int | None = None
    """Picodollars of a request of 1,000 tokens with an answer of 500."""
    max_latency_ms: float | None = None
    optimization: Optimization = "cost"
    prefer_local: bool = False
    only_local: bool = False
    """The request may not leave this machine."""


class Selection(msgspec.Struct, frozen=True):
    """Who answers, who could in its place, best first, and why."""

    first: Candidate
    others: tuple[Candidate, ...]
    reason: str


def choose(candidates: Iterable[Candidate], wish: Wish) -> Selection:
    """The best of these. Raises NotFound, with what is lacking, when nobody is left."""
    able = [each for each in candidates if _can(each, wish)]
    if not able:
        raise NotFound(f"No providers found matching requirements: {_words(wish)}.", code="no_provider")
    if wish.max_cost is not None:
        most = wish.max_cost
        able = [each for each in able if each.estimate is not None and each.estimate <= most]
        if not able:
            text = (
                f"No providers found within budget: none that match cost so little for {BUDGET_INPUT} tokens of a"
                f" prompt and {BUDGET_OUTPUT} of an answer."
            )
            raise NotFound(text, code="no_provider_in_budget")
    if wish.max_latency_ms is not None:
        limit = wish.max_latency_ms
        able = [each for each in able if each.latency_ms is None or each.latency_ms + each.wait_ms <= limit]
        if not able:
            text = f"No providers found within max_latency_ms: all that match are slower than {limit:g} ms."
            raise NotFound(text, code="no_provider_in_time")
    ranked = sorted(able, key=_order(able, wish))
    return Selection(ranked[0], tuple(ranked[1:]), _reason(ranked[0], able, wish))


def _can(each: Candidate, wish: Wish) -> bool:
    return (
        (not wish.model or wish.model in each.names)
        and (not wish.capability or wish.capability in each.capabilities)
        and (wish.context is None or each.context is None or each.context >= wish.context)
        and (not wish.features or wish.features <= each.features)
        and (not wish.only_local or each.local)
    )


Key = tuple[bool, bool, float, float, str]


def _order(able: Sequence[Candidate], wish: Wish) -> Callable[[Candidate], Key]:
    """What they are sorted by: distance, health, what is to be saved, then cost, then name."""

    def cost(each: Candidate) -> float:
        found = each.per_token
        return FAR if found is None else found

    def latency(each: Candidate) -> float:
        return FAR if each.latency_ms is None else each.latency_ms + each.wait_ms

    by: Callable[[Candidate], float] = cost
    if wish.optimization == "latency":
        by = latency
    elif wish.optimization == "balanced":
        dearest = max((c for each in able if (c := cost(each)) < FAR), default=0.0) or 1.0
        slowest = max((t for each in able if (t := latency(each)) < FAR), default=0.0) or 1.0

        def by(each: Candidate) -> float:
            return OF_COST * min(cost(each) / dearest, 1.0) + OF_LATENCY * min(latency(each) / slowest, 1.0)

    return lambda each: (
        wish.prefer_local and not each.local,
        not each.well,
        by(each),
        cost(each),
        each.name,
    )


def _reason(first: Candidate, able: Sequence[Candidate], wish: Wish) -> str:
    if wish.prefer_local and first.local:
        return "On this machine, which costs nothing"
    if wish.optimization == "latency":
        if all(each.latency_ms is None for each in able):
            return NO_SLO
        if first.observed:
            return OBSERVED
    return REASONS[wish.optimization]


def _words(wish: Wish) -> str:
    said = [
        f"model {wish.model[:200]!r}" if wish.model else "",
        f"capability {wish.capability[:200]!r}" if wish.capability else "",
        f"context of {wish.context}" if wish.context is not None else "",
        f"features {', '.join(sorted(wish.features))[:200]}" if wish.features else "",
        "on this machine" if wish.only_local else "",
    ]
    return ", ".join(filter(None, said)) or "anything"
