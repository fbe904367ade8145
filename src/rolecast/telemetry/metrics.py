"""Counters and what becomes of them; the only file that knows prometheus_client.

The hot path adds plain numbers to `ModelStats`; they become Prometheus samples only when scraped. Labels are
bounded: configured models, configured tasks and a fixed set of words, never a key, a path or a name from a request.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import msgspec

from rolecast.config.edit import Change, Edit
from rolecast.config.labels import CATEGORIES
from rolecast.errors import RolecastError
from rolecast.money import dollars
from rolecast.telemetry.logs import LogRing
from rolecast.telemetry.requests import RequestLog
from rolecast.values import Usage

BUCKETS_MS = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000)


class Histogram:
    """Counts per bucket of `BUCKETS_MS` and a sum."""

    __slots__ = ("counts", "total_ms")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_MS) + 1)
        self.total_ms = 0.0


class ModelStats:
    """What one model did since the gateway started, or what was done for one task."""

    __slots__ = (
        "cached_tokens",
        "completion_tokens",
        "cost",
        "duration",
        "fallbacks",
        "first",
        "outcomes",
        "prompt_tokens",
        "provider",
        "requests",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.outcomes: dict[str, int] = {}
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.cached_tokens = 0
        self.provider = ""
        """Who sent bills for it last; '' = nobody did."""
        self.cost = 0
        """In picodollars."""
        self.fallbacks = 0
        """Requests that it answered because a model before it had failed."""
        self.first = Histogram()
        self.duration = Histogram()

    def count(self, outcome: str, usage: Usage, first_ms: float, total_ms: float) -> None:
        """Add one request. `first_ms` 0 = no byte was ever received."""
        self.requests += 1
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self.cached_tokens += usage.cached_tokens
        duration, first = self.duration, self.first
        duration.counts[bisect_left(BUCKETS_MS, total_ms)] += 1
        duration.total_ms += total_ms
        if first_ms:
            first.counts[bisect_left(BUCKETS_MS, first_ms)] += 1
            first.total_ms += first_ms

    def charge(self, provider: str, cost: int, *, fell: bool) -> None:
        """Add what a request cost, in picodollars; `fell` = it came from a model that failed."""
        self.provider = provider
        self.cost += cost
        self.fallbacks += fell


class Place(msgspec.Struct, frozen=True):
    """Where a request was refused. `path` has no query; `asked` is the name of a model, when it came so far."""

    listener: str
    method: str
    path: str
    asked: str = ""


class Refusal(msgspec.Struct):
    """A request that was answered before it reached a model, and how often in a row: no content, no key."""

    status: int
    code: str
    listener: str
    method: str
    path: str
    asked: str
    first_at: float
    at: float
    count: int


KEPT_REFUSALS = 200
SHOWN_CHARS = 100
SPENT = "budget_spent"
"""The code of an error for who may spend no more."""


class Refusals:
    """The newest refusals. Equal ones are one entry, so that a client in a loop does not push out the rest."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, str, Place], Refusal] = {}

    def add(self, error: RolecastError, place: Place) -> None:
        """Note one; the oldest goes when there are more than `KEPT_REFUSALS`."""
        code, now = error.code or "", time.time()
        place = Place(place.listener, _shown(place.method), _shown(place.path), _shown(place.asked))
        key = (error.status, code, place)
        entry = self._kept.pop(key, None)
        if entry is None:
            where = (place.listener, place.method, place.path, place.asked)
            entry = Refusal(error.status, code, *where, first_at=now, at=now, count=0)
        entry.at = now
        entry.count += 1
        self._kept[key] = entry  # at the end: the newest
        if len(self._kept) > KEPT_REFUSALS:
            del self._kept[next(iter(self._kept))]

    def newest(self, limit: int) -> list[Refusal]:
        """The newest first."""
        return list(self._kept.values())[::-1][:limit]


def _shown(word: str) -> str:
    """Printable and short, whatever a client sent."""
    return "".join(c if c.isprintable() else "\ufffd" for c in word[:SHOWN_CHARS])


class Telemetry:
    """The gateway's counters, one `ModelStats` per configured model and per task plus refusals."""

    def __init__(self, models: Iterable[str], tasks: Iterable[str] = ()) -> None:
        self.models: dict[str, ModelStats] = {}
        self.tasks: dict[str, ModelStats] = {}
        """By category: the product's, and tasks and roles of the configuration; nothing that a request brings."""
        self.add(models, (*CATEGORIES, *tasks))
        self.requests = RequestLog()
        self.refused: dict[int, int] = {}
        self.over_budget = 0
        """Requests that were refused because a budget is spent."""
        self.joules: dict[tuple[str, bool], float] = {}
        """By model, and whether it was measured."""
        self.refusals = Refusals()
        self.started_at = time.time()
        self.logs = LogRing()
        self.last_request: dict[str, float] = {}
        """`time.perf_counter` time of the newest request per listener."""
        self.gauges: Callable[[], Iterable[tuple[str, str, float]]] = lambda: ()
        """(metric, model, value) now; app.py sets it to the fleet's view."""

    async def prepare(self, edit: Edit) -> Change:
        """Nothing to refuse."""
        return Change(
            partial(
                self.add,
                [i for i, m in edit.config.models.items() if m.enabled],
                [*edit.config.tasks, *edit.config.roles],
            )
        )

    def add(self, models: Iterable[str], tasks: Iterable[str] = ()) -> None:
        """Count for these too; what was counted before stays, as Prometheus expects of counters."""
        for model in models:
            self.models.setdefault(model, ModelStats())
        for task in tasks:
            self.tasks.setdefault(task, ModelStats())

    def did(self, task: str, outcome: str, usage: Usage, first_ms: float, total_ms: float) -> None:
        """Count a request that was for a task, as `ModelStats.count` does; one of a task that nobody knows is not."""
        if (stats := self.tasks.get(task)) is not None:
            stats.count(outcome, usage, first_ms, total_ms)

    def took(self, model: str, joules: float, *, measured: bool) -> None:
        """Add energy that requests of a configured model took."""
        self.joules[model, measured] = self.joules.get((model, measured), 0.0) + joules

    def answered(self) -> int:
        """Requests that reached a model since the start."""
        return sum(stats.requests for stats in self.models.values())

    def refuse(self, error: RolecastError, place: Place) -> None:
        """Count and note a request that was answered before it reached a model."""
        self.refused[error.status] = self.refused.get(error.status, 0) + 1
        self.over_budget += error.code == SPENT
        self.refusals.add(error, place)
        if self.requests.wanted:
            self.requests.refused(error.status, error.code or "", place.listener, place.method, place.path)

    def exposition(self, memory: Mapping[str, int] = MappingProxyType({})) -> bytes:
        """The Prometheus text format; `memory` has the resident bytes of each worker."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(self, memory))
        return generate_latest(registry)


class _Collector:
    def __init__(self, telemetry: Telemetry, memory: Mapping[str, int]) -> None:
        self._t = telemetry
        self._memory = memory

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        t = self._t
        yield from _families("rolecast", "model", t.models)
        yield from _families("rolecast_task", "task", {name: s for name, s in t.tasks.items() if s.requests})
        refused = CounterMetricFamily(
            "rolecast_refused", "Requests refused before a model, by status.", labels=["status"]
        )
        for status, n in t.refused.items():
            refused.add_metric([str(status)], n)
        yield refused
        yield from _money(t)
        resident = GaugeMetricFamily("rolecast_worker_memory_bytes", "Resident memory by model.", labels=["model"])
        for model, size in self._memory.items():
            resident.add_metric([model], size)
        yield resident
        gauges: dict[str, Any] = {}
        for name, model, value in t.gauges():
            if name not in gauges:
                gauges[name] = GaugeMetricFamily(f"rolecast_{name}", f"{name.replace('_', ' ')} now.", labels=["model"])
            gauges[name].add_metric([model], value)
        yield from gauges.values()
        yield GaugeMetricFamily("rolecast_start_time_seconds", "When the gateway started.", value=t.started_at)


def _money(t: Telemetry) -> Iterator[Any]:
    """Dollars, fall-backs and energy; of models alone that had any."""
    from prometheus_client.core import CounterMetricFamily

    labels = ["model", "provider"]
    cost = CounterMetricFamily("rolecast_cost_dollars", "What requests cost, by model and provider.", labels=labels)
    fell = CounterMetricFamily("rolecast_fallbacks", "Answers in place of a model that failed.", labels=labels)
    energy = CounterMetricFamily("rolecast_energy_joules", "Energy of requests.", labels=["model", "source"])
    for model, s in t.models.items():
        if s.cost:
            cost.add_metric([model, s.provider], float(dollars(s.cost)))
        if s.fallbacks:
            fell.add_metric([model, s.provider], s.fallbacks)
    for (model, measured), joules in t.joules.items():
        energy.add_metric([model, "measured" if measured else "estimated"], joules)
    yield from (cost, fell, energy)
    yield CounterMetricFamily("rolecast_budget_refusals", "Requests refused for a spent budget.", value=t.over_budget)


def _families(prefix: str, label: str, counted: Mapping[str, ModelStats]) -> Iterator[Any]:
    """Requests, tokens and times, each with one label for what they are counted by."""
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

    requests = CounterMetricFamily(f"{prefix}_requests", f"Requests by {label} and outcome.", labels=[label, "outcome"])
    tokens = CounterMetricFamily(f"{prefix}_tokens", f"Tokens by {label} and kind.", labels=[label, "kind"])
    first = HistogramMetricFamily(
        f"{prefix}_first_byte_seconds", f"Request complete to first byte, by {label}.", labels=[label]
    )
    whole = HistogramMetricFamily(
        f"{prefix}_request_seconds", f"Request complete to answer complete, by {label}.", labels=[label]
    )
    for name, s in counted.items():
        for outcome, n in s.outcomes.items():
            requests.add_metric([name, outcome], n)
        tokens.add_metric([name, "prompt"], s.prompt_tokens)
        tokens.add_metric([name, "completion"], s.completion_tokens)
        tokens.add_metric([name, "cached"], s.cached_tokens)
        first.add_metric([name], _cumulative(s.first), s.first.total_ms / 1000)
        whole.add_metric([name], _cumulative(s.duration), s.duration.total_ms / 1000)
    return iter((requests, tokens, first, whole))


def _cumulative(h: Histogram) -> list[tuple[str, float]]:
    total, out = 0, []
    for bound, n in zip((*BUCKETS_MS, float("inf")), h.counts, strict=True):
        total += n
        out.append(("+Inf" if bound == float("inf") else str(bound / 1000), float(total)))
    return out
