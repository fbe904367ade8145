"""What was used in a stretch of time: requests, tokens, money, energy and times, as sums over the ledger's rows.

Everything is computed when it is asked for and kept nowhere, so it is right to the row. Inside there are whole numbers
(picodollars, microjoules, microseconds); a `Report` has decimals.
"""

import itertools
import math
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Literal, get_args

import msgspec

from rolecast.books.charges import BILLION
from rolecast.books.store import Query, Row, Store, Value
from rolecast.config.schema import Config
from rolecast.money import Rates, dollars
from rolecast.telemetry.metrics import BUCKETS_MS

By = Literal["model", "provider", "key", "run", "task", "hour", "day", "listener"]
"""What rows may be summed up by. Hours and days are those of UTC."""
BYS: tuple[By, ...] = get_args(By)
STEPS_S: dict[str, int] = {"hour": 3600, "day": 86_400}
LOCAL = "local"
"""The provider of what was answered on this machine."""
PERCENTS = (50, 90, 95, 99)
MOST_GROUPS = 1000
"""So many groups are told, those with the most requests; the total is of all."""
MICRO = Decimal(1_000_000)
_PER_REQUEST = Decimal("0.000000000001")


class Window(msgspec.Struct, frozen=True):
    """A stretch of time, in seconds since 1970: its end is not part of it."""

    since: float
    until: float


class Compared(msgspec.Struct, frozen=True):
    """The cloud model that local answers are compared with."""

    name: str
    rates: Rates | None
    """None = the price list does not know it."""


class Spread(msgspec.Struct, frozen=True):
    """Percentiles by nearest rank, in ms: each is a time that was. None where there was none."""

    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


class Bucket(msgspec.Struct, frozen=True):
    """Complete answers that took longer than the bucket before, and at most so long."""

    most_ms: float | None
    """None = there is no bound."""
    count: int


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows of one group come to."""

    group: str = ""
    """The model, key, run ..., or when the hour or day began (ISO 8601); '' where rows have none."""
    called: str = ""
    """How people call the key; '' for one that has no name, or is gone, and for all else."""
    requests: int = 0
    errors: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompts."""
    local_requests: int = 0
    """Answered on this machine."""
    local_tokens: int = 0
    """Of their prompts and answers."""
    cost_usd: Decimal = Decimal(0)
    avoided_usd: Decimal | None = None
    """What the texts written on this machine would have cost; None where no price is known to compare with."""
    fallbacks: int = 0
    """Requests that another model answered, because one before it failed."""
    fallbacks_to_cloud: int = 0
    """Those of them that were answered by a provider."""
    energy_joules: Decimal | None = None
    """None where nothing was measured or estimated."""
    measured_joules: Decimal | None = None
    """What of that was measured."""
    first_ms: Spread = Spread()
    """To the first byte of complete answers."""
    total_ms: Spread = Spread()
    """To the end of complete answers."""

    @property
    def tokens(self) -> int:
        """Of prompts and answers."""
        return self.prompt_tokens + self.completion_tokens


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was used, all in all and by group."""

    since: float
    until: float
    by: By | None
    compared_with: str
    """The model of `avoided_usd`."""
    total: Sums
    groups: list[Sums]
    """The one with the most requests first; hours and days in their order."""
    left_out: int
    """Groups that are not told, because there are too many."""
    histogram: list[Bucket]
    """Of `total_ms`."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway of PAS tells of a window of time, and what else is worth knowing."""

    total_cost_usd: Decimal
    total_requests: int
    total_tokens: int
    cost_per_request: Decimal
    requests_per_provider: dict[str, int]
    cost_per_provider: dict[str, Decimal]
    local_tokens: int
    avoided_usd: Decimal | None
    latency_ms: Spread
    histogram: list[Bucket]
    fallbacks_to_cloud: int
    energy_joules: Decimal | None


def compared(config: Config) -> Compared:
    """The model of `money.compare`, with its prices of today."""
    from rolecast.config import prices

    return Compared(config.money.compare, prices.rates_of(config.money.compare, config.providers))


_TIMES = "q.at >= :since AND q.at < :until AND (CAST(:key AS TEXT) IS NULL OR r.key = CAST(:key AS TEXT))"
_SLOT = "CAST((q.at - :first) / :step AS INTEGER)"
_SLOT = f"{_SLOT} - CASE WHEN {_SLOT} > (q.at - :first) / :step THEN 1 ELSE 0 END"
"""The number of the hour or day: PostgreSQL rounds where SQLite cuts off."""
_GROUP = f"""
    CASE CAST(:by AS TEXT)
    WHEN 'model' THEN r.model WHEN 'listener' THEN r.listener WHEN 'key' THEN r.key
    WHEN 'provider' THEN coalesce(c.provider, '{LOCAL}') WHEN 'run' THEN coalesce(c.run, '')
    WHEN 'task' THEN coalesce(d.task, '') WHEN 'hour' THEN CAST({_SLOT} AS TEXT)
    WHEN 'day' THEN CAST({_SLOT} AS TEXT) ELSE '' END AS grp
"""
_FROM = """
    FROM requests q JOIN routes r ON r.id = q.route LEFT JOIN charges c ON c.id = q.id
    LEFT JOIN decisions d ON d.id = q.id
"""
_ROWS = f"""
    SELECT {_GROUP}, (q.bits >> 2) & 3 AS outcome, q.prompt_tokens, q.completion_tokens,
    coalesce(n.cached_tokens, 0) AS cached_tokens, coalesce(c.cost, 0) AS cost,
    CASE WHEN coalesce(c.provider, '{LOCAL}') = '{LOCAL}' THEN 1 ELSE 0 END AS here,
    CASE WHEN r.kind IN ('chat', 'completion') AND (q.bits >> 2) & 3 <> 1 THEN 1 ELSE 0 END AS written,
    CASE WHEN coalesce(c.fallback, '') <> '' OR substr(r.route, 1, 9) = 'fallback;' THEN 1 ELSE 0 END AS fallback,
    e.microjoules, e.measured
    {_FROM} LEFT JOIN notes n ON n.id = q.id LEFT JOIN energy e ON e.id = q.id WHERE {_TIMES}
"""
_LEAST = "CASE WHEN cached_tokens < prompt_tokens THEN cached_tokens ELSE prompt_tokens END"
SUMS = Query(f"""
    SELECT grp, count(*), sum(CASE WHEN outcome = 1 THEN 1 ELSE 0 END), sum(CASE WHEN outcome = 2 THEN 1 ELSE 0 END),
    sum(prompt_tokens), sum(completion_tokens), sum(cached_tokens), sum(here),
    sum(here * (prompt_tokens + completion_tokens)),
    sum(here * written * (prompt_tokens - {_LEAST})), sum(here * written * completion_tokens),
    sum(here * written * {_LEAST}), sum(cost / {BILLION}), sum(fallback), sum(fallback * (1 - here)),
    count(microjoules), sum(microjoules), sum(microjoules * measured), sum(cost % {BILLION}), count(*) OVER () AS groups
    FROM ({_ROWS}) AS asked GROUP BY grp ORDER BY count(*) DESC, grp LIMIT :most
""")  # noqa: S608
_PERCENTILES = ", ".join(f"max(CASE WHEN place = ({percent} * times + 99) / 100 THEN us END)" for percent in PERCENTS)
"""Nearest rank: of n times in order, the one at the place n * p / 100, rounded up."""


def _ranks(column: str, which: str) -> Query:
    """The percentiles of complete answers, apart from the sums: what is sorted must be narrow."""
    return Query(f"""
        SELECT grp, {_PERCENTILES} FROM (
            SELECT grp, us, row_number() OVER (PARTITION BY grp ORDER BY us) AS place,
            count(*) OVER (PARTITION BY grp) AS times
            FROM (SELECT {_GROUP}, {column} AS us {_FROM} WHERE {_TIMES} AND {which}) AS asked
        ) AS ranked GROUP BY grp
    """)  # noqa: S608


FIRST = _ranks("q.first_us", "(q.bits & 12) = 0 AND q.first_us > 0")
WHOLE = _ranks("q.total_us", "(q.bits & 12) = 0")
_WITHIN = ", ".join(f"sum(CASE WHEN q.total_us <= {int(each * 1000)} THEN 1 ELSE 0 END)" for each in BUCKETS_MS)
_TIMED = f"FROM requests q JOIN routes r ON r.id = q.route WHERE {_TIMES} AND (q.bits & 12) = 0"
NAMES = Query("SELECT id, name FROM keys WHERE name <> ''")
HISTOGRAM = Query(f"SELECT {_WITHIN}, count(*) {_TIMED}")
"""Complete answers that took at most so long."""


async def report(
    store: Store, window: Window, compared: Compared, by: By | None = None, key: str | None = None
) -> Report:
    """What was used in that time, by group. `key` = the requests of that key alone. Raises StoreError."""
    total = await _sums(store, window, compared, None, key)
    groups = await _sums(store, window, compared, by, key) if by is not None else ([], 0)
    return Report(
        since=window.since,
        until=window.until,
        by=by,
        compared_with=compared.name if compared.rates is not None else "",
        total=total[0][0] if total[0] else _empty(compared),
        groups=await _called(store, groups[0]) if by == "key" else groups[0],
        left_out=groups[1] - len(groups[0]),
        histogram=await histogram(store, window, key),
    )


async def _called(store: Store, groups: list[Sums]) -> list[Sums]:
    """With the names of the keys that have some. Raises StoreError."""
    names: dict[Value, str] = dict(await store.read(NAMES))
    return [msgspec.structs.replace(each, called=names.get(each.group, "")) for each in groups]


async def facts(store: Store, window: Window, compared: Compared, key: str | None = None) -> Facts:
    """What the gateway of PAS tells of that time. Raises StoreError."""
    found = await report(store, window, compared, "provider", key)
    total = found.total
    each = total.cost_usd / total.requests if total.requests else Decimal(0)
    return Facts(
        total_cost_usd=total.cost_usd,
        total_requests=total.requests,
        total_tokens=total.tokens,
        cost_per_request=each.quantize(_PER_REQUEST, ROUND_HALF_UP).normalize(),
        requests_per_provider={one.group: one.requests for one in found.groups},
        cost_per_provider={one.group: one.cost_usd for one in found.groups},
        local_tokens=total.local_tokens,
        avoided_usd=total.avoided_usd,
        latency_ms=total.total_ms,
        histogram=found.histogram,
        fallbacks_to_cloud=total.fallbacks_to_cloud,
        energy_joules=total.energy_joules,
    )


async def histogram(store: Store, window: Window, key: str | None = None) -> list[Bucket]:
    """How many complete answers took how long; without those buckets at both ends that are empty."""
    ((*within, count),) = await store.read(HISTOGRAM, since=window.since, until=window.until, key=key)
    bounds: list[float | None] = [*map(float, BUCKETS_MS), None]
    upto = [0, *(int(each or 0) for each in within), int(count)]
    counts = [after - before for before, after in itertools.pairwise(upto)]
    full = [at for at, n in enumerate(counts) if n]
    if not full:
        return []
    return [Bucket(bounds[at], counts[at]) for at in range(full[0], full[-1] + 1)]


async def _sums(
    store: Store, window: Window, compared: Compared, by: By | None, key: str | None
) -> tuple[list[Sums], int]:
    """The groups that are told, and how many there are."""
    step = STEPS_S.get(by or "", 1)
    first = math.floor(window.since / step) * step
    slots: dict[str, Value] = {"by": by or "", "first": float(first), "step": float(step)}
    of: dict[str, Value] = {"since": window.since, "until": window.until, "key": key, **slots}
    rows = await store.read(SUMS, most=MOST_GROUPS, **of)  # one after the other: those of others want their turn
    first_us, whole_us = await store.read(FIRST, **of), await store.read(WHOLE, **of)
    firsts, wholes = ({group: _spread(times) for group, *times in ranks} for ranks in (first_us, whole_us))
    found = [_summed(row, compared, firsts.get(row[0], Spread()), wholes.get(row[0], Spread())) for row in rows]
    if by in STEPS_S:
        began = [msgspec.structs.replace(one, group=_began(first + int(one.group) * step)) for one in found]
        found = sorted(began, key=lambda one: one.group)
    return found, int(rows[0][-1]) if rows else 0


def _summed(row: Row, compared: Compared, first: Spread, whole: Spread) -> Sums:
    group, *numbers = row[:19]
    counts = [int(each or 0) for each in numbers]
    plain, completion, cached = counts[8:11]
    known, energy, measured = counts[14:17]
    return Sums(
        group=str(group),
        requests=counts[0],
        errors=counts[1],
        cancelled=counts[2],
        prompt_tokens=counts[3],
        completion_tokens=counts[4],
        cached_tokens=counts[5],
        local_requests=counts[6],
        local_tokens=counts[7],
        cost_usd=dollars(counts[11] * BILLION + counts[17]),
        avoided_usd=_avoided(compared, plain, completion, cached),
        fallbacks=counts[12],
        fallbacks_to_cloud=counts[13],
        energy_joules=energy / MICRO if known else None,
        measured_joules=measured / MICRO if known else None,
        first_ms=first,
        total_ms=whole,
    )


def _empty(compared: Compared) -> Sums:
    return Sums(avoided_usd=_avoided(compared, 0, 0, 0))


def _avoided(compared: Compared, plain: int, completion: int, cached: int) -> Decimal | None:
    """A cost is a sum over tokens, so that of many requests is that of all their tokens."""
    rates = compared.rates
    return None if rates is None else dollars(rates.cost(plain + cached, completion, cached))


def _spread(times_us: Sequence[Any]) -> Spread:
    return Spread(*(None if each is None else int(each) / 1000 for each in times_us))


def _began(at: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%MZ")
