"""From what came of the traces to figures, a table and the bars. Replays nothing and writes no file."""

import math
from collections.abc import Callable, Iterable, Sequence

import msgspec
from fleet_policy import NEVER, Request
from fleet_simulator import Result
from fleet_workload import Trace

OURS, ORDER, COUNT = "rolecast", "fifo", "lru-by-count"
"""The policy that is held to the bars, and the two that it is held against."""
TEAM, TEAM_BETTER = "team", 2.0
"""On this trace the 95th percentile of waiting shall be so many times better than in order of arrival."""


class Figures(msgspec.Struct, frozen=True):
    """One trace under one policy."""

    trace: str
    policy: str
    asked: int
    served: int
    loads: int
    """Each load of a model; the first ones are the same for all policies."""
    idle_loads: int
    wait_p50_s: float
    wait_p95_s: float
    wait_max_s: float
    wait_p95_by_s: dict[str, float]
    """The same for each kind of key: what stands before the last hyphen of its name."""
    per_minute: float
    busy_share: float
    """Part of the time in which somebody was answered."""
    bound_s: float | None = None
    """What was declared of the one who waited longest when it came; None = the policy declares nothing."""
    beyond: int = 0
    """How many waited longer than was declared of them."""


class Bar(msgspec.Struct, frozen=True):
    """Something that must hold."""

    what: str
    told: str
    met: bool


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed; 0 of nothing."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


Promise = Callable[[Request], float]
"""How long a request waits at most, as it was declared when it came."""


def figures(trace: Trace, policy: str, result: Result, promise: Promise | None = None) -> Figures:
    """The figures of one run. Who was never answered counts with an endless wait."""
    slowest = max(result.requests, key=lambda request: request.wait_s, default=None)
    waits = sorted(request.wait_s for request in result.requests)
    served = sum(request.ended_s < NEVER for request in result.requests)
    end_s = result.end_s or 1.0
    return Figures(
        trace=trace.name,
        policy=policy,
        asked=trace.asked,
        served=served,
        loads=result.loads,
        idle_loads=result.idle_loads,
        wait_p50_s=percentile(waits, 0.5),
        wait_p95_s=percentile(waits, 0.95),
        wait_max_s=percentile(waits, 1.0),
        wait_p95_by_s=_by_kind(result.requests),
        per_minute=60 * served / end_s,
        busy_share=result.busy_s / end_s,
        bound_s=promise(slowest) if promise and slowest else None,
        beyond=sum(request.wait_s > promise(request) for request in result.requests) if promise else 0,
    )


def _by_kind(requests: Iterable[Request]) -> dict[str, float]:
    waits: dict[str, list[float]] = {}
    for request in requests:
        kind, _, number = request.key.rpartition("-")
        waits.setdefault(kind or number, []).append(request.wait_s)
    return {kind: percentile(sorted(of), 0.95) for kind, of in sorted(waits.items())}


def bars(rows: Iterable[Figures]) -> list[Bar]:
    """What must hold of these runs; nothing is asked of a trace that lacks a policy it speaks of."""
    by_trace: dict[str, dict[str, Figures]] = {}
    for row in rows:
        by_trace.setdefault(row.trace, {})[row.policy] = row
    found: list[Bar] = []
    for name, of in by_trace.items():
        ours = of.get(OURS)
        if ours is None:
            continue
        found.append(Bar(f"{name}: all are answered", f"{ours.served} of {ours.asked}", ours.served == ours.asked))
        if ours.bound_s is not None:
            told = f"{ours.wait_max_s:.1f} s, declared {ours.bound_s:.1f} s; {ours.beyond} waited longer than declared"
            found.append(Bar(f"{name}: longest wait within the declared bound", told, not ours.beyond))
        if other := of.get(COUNT):
            told = f"{ours.loads}, {other.loads}"
            found.append(Bar(f"{name}: no more swaps than {COUNT}", told, ours.loads <= other.loads))
        if name == TEAM and (other := of.get(ORDER)):
            better = other.wait_p95_s / ours.wait_p95_s if ours.wait_p95_s else NEVER
            what = f"{name}: 95th percentile of waiting at least {TEAM_BETTER:g}x better than {ORDER}"
            found.append(Bar(what, f"{better:.2f}x", better >= TEAM_BETTER))
    return found


def table(rows: Sequence[Figures], traces: dict[str, str]) -> str:
    """All figures, for people; `traces` tells what each is about."""
    lines: list[str] = []
    for name in dict.fromkeys(row.trace for row in rows):
        of = [row for row in rows if row.trace == name]
        lines += ["", f"{name}: {traces.get(name, '')} ({of[0].asked} requests)"]
        lines.append(
            f"  {'policy':14}{'swaps':>7}{'wait p50':>10}{'p95':>9}{'max':>9}{'bound':>9}{'req/min':>9}{'busy':>7}"
        )
        for row in of:
            bound = "-" if row.bound_s is None else f"{row.bound_s:.1f} s"
            waits = f"{_s(row.wait_p50_s):>10}{_s(row.wait_p95_s):>9}{_s(row.wait_max_s):>9}{bound:>9}"
            lines.append(f"  {row.policy:14}{row.loads:>7}{waits}{row.per_minute:>9.1f}{row.busy_share:>7.0%}")
        if len(of[0].wait_p95_by_s) > 1:
            lines.append("  p95 of " + ", ".join(f"{kind:>9}" for kind in of[0].wait_p95_by_s))
            lines += [f"  {row.policy:14}" + "".join(f"{_s(v):>11}" for v in row.wait_p95_by_s.values()) for row in of]
    return "\n".join(lines[1:])


def verdicts(found: Sequence[Bar]) -> str:
    """All bars, for people."""
    return "\n".join(f"{'met   ' if bar.met else 'MISSED'}  {bar.what}: {bar.told}" for bar in found)


def _s(seconds: float) -> str:
    return "never" if seconds == NEVER else f"{seconds:.1f} s"
