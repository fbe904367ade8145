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
from heapq import nsmallest
from operator import attrgetter
from typing import Any, Literal

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
    estimate: float = FAR
    """Picodollars of the request that budgets are compared with. Set by `ranked`, as are the next two."""
    by_cost: tuple[float, str] = (FAR, "")
    """What both kinds of tokens cost together, and the name: the order where cost is to be saved."""
    by_latency: tuple[float, float, str] = (FAR, FAR, "")
    """Milliseconds, the wait just now included, and the same."""


def ranked(candidate: Candidate) -> Candidate:
    """The same with what it is compared by, which is looked at far more often than it changes."""
    reading, writing = candidate.input_cost, candidate.output_cost
    known = reading is not None and writing is not None
    cost = reading + writing if known else FAR  # type: ignore[operator]
    latency = FAR if candidate.latency_ms is None else candidate.latency_ms + candidate.wait_ms
    return msgspec.structs.replace(
        candidate,
        estimate=reading * BUDGET_INPUT + writing * BUDGET_OUTPUT if known else FAR,  # type: ignore[operator]
        by_cost=(cost, candidate.name),
        by_latency=(latency, cost, candidate.name),
    )


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


def choose(candidates: Iterable[Candidate], wish: Wish, most: int | None = None) -> Selection:
    """The best of these, and so many others; all without `most`. Raises NotFound, with what is lacking, without any."""
    able = _able(candidates, wish)
    if not able:
        raise NotFound(f"No providers found matching requirements: {_words(wish)}.", code="no_provider")
    if wish.max_cost is not None:
        limit = wish.max_cost
        able = [each for each in able if each.estimate <= limit]
        if not able:
            text = (
                f"No providers found within budget: none that match cost so little for {BUDGET_INPUT} tokens of a"
                f" prompt and {BUDGET_OUTPUT} of an answer."
            )
            raise NotFound(text, code="no_provider_in_budget")
    if wish.max_latency_ms is not None:
        longest = wish.max_latency_ms
        able = [each for each in able if each.latency_ms is None or each.by_latency[0] <= longest]
        if not able:
            text = f"No providers found within max_latency_ms: all that match are slower than {longest:g} ms."
            raise NotFound(text, code="no_provider_in_time")
    order = _order(able, wish, len(able) if most is None else most + 1)
    return Selection(order[0], tuple(order[1:]), _reason(order[0], able, wish))


def _able(candidates: Iterable[Candidate], wish: Wish) -> list[Candidate]:
    """Those that can. One look at all for each thing that is asked for: there may be thousands."""
    able = list(candidates)
    if model := wish.model:
        able = [each for each in able if model in each.names]
    if capability := wish.capability:
        able = [each for each in able if capability in each.capabilities]
    if (context := wish.context) is not None:
        able = [each for each in able if each.context is None or each.context >= context]
    if features := wish.features:
        able = [each for each in able if features <= each.features]
    if wish.only_local:
        able = [each for each in able if each.local]
    return able


def _order(able: Sequence[Candidate], wish: Wish, most: int) -> list[Candidate]:
    """The best of them: by distance, then health, then what is to be saved."""
    classes: list[list[Candidate]] = [[], [], [], []]
    for each in able:
        classes[2 * (wish.prefer_local and not each.local) + (not each.well)].append(each)
    order: list[Candidate] = []
    key = _key(able, wish)
    for alike in classes:
        if alike and len(order) < most:
            order += nsmallest(most - len(order), alike, key)
    return order


def _key(able: Sequence[Candidate], wish: Wish) -> Callable[[Candidate], Any]:
    """What is to be saved, then cost, then the name."""
    if wish.optimization == "cost":
        return attrgetter("by_cost")
    if wish.optimization == "latency":
        return attrgetter("by_latency")
    known = [each.by_latency for each in able]
    of_cost = OF_COST / (max([cost for _, cost, _ in known if cost < FAR], default=0) or 1)
    of_latency = OF_LATENCY / (max([time for time, _, _ in known if time < FAR], default=0) or 1)

    def score(each: Candidate) -> tuple[float, float, str]:
        latency, cost, name = each.by_latency
        part = OF_COST if cost == FAR else cost * of_cost
        return part + (OF_LATENCY if latency == FAR else latency * of_latency), cost, name

    return score


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
