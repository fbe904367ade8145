"""What requests cost, as the ledger has it: sums by whatever is asked for, and the receipts of a run. Writes nothing.

Numbers of requests grow with time, so a span of time is a span of the primary key, and older rows are never looked at.
Money is whole picodollars here; `.cost_usd` is the same in dollars, exactly.
"""

import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, get_args

import msgspec

from rolecast.books.store import Query, Store, Value, structs
from rolecast.money import dollars

By = Literal["", "provider", "model", "worker", "key", "run", "agent", "task", "role", "listener", "kind", "minute",
             "hour", "day"]  # fmt: skip
"""What sums are made for; '' = one for all."""
BYS: tuple[By, ...] = get_args(By)
Window = Literal["minute", "hour", "day"]
WINDOW_S: Mapping[Window, float] = {"minute": 60.0, "hour": 3600.0, "day": 86_400.0}
MOST = 10_000
"""So many groups, or receipts, are told at most."""
LAST = 2**63 - 1
BILLION = 10**9
"""Money is summed in two parts, for a few absurd amounts would be more than 64 bits hold, and no sum could be made."""
_MS = 1 << 20
"""Numbers of requests in a millisecond."""

_FROM = (
    " FROM requests q JOIN routes r ON r.id = q.route LEFT JOIN notes n ON n.id = q.id"
    " LEFT JOIN charges c ON c.id = q.id"
)
_WHERE = " WHERE q.id >= :since AND q.id < :until AND (CAST(:every_key AS INTEGER) = 1 OR r.key = :key)"
_SUMS = (
    "count(*), sum(CASE WHEN (q.bits >> 2) & 3 = 1 THEN 1 ELSE 0 END),"
    " sum(CASE WHEN (q.bits >> 2) & 3 = 2 THEN 1 ELSE 0 END), sum(q.prompt_tokens), sum(q.completion_tokens),"
    " sum(coalesce(n.cached_tokens, 0)), sum(coalesce(c.cost, 0) / 1000000000),"
    " sum(coalesce(c.cost, 0) % 1000000000), sum(CASE WHEN coalesce(c.fallback, '') <> '' THEN 1 ELSE 0 END)"
)
_NAMES: Mapping[By, str] = {
    "provider": "coalesce(c.provider, 'local')",
    "model": "r.model",
    "worker": "r.worker",
    "key": "r.key",
    "run": "coalesce(c.run, '')",
    "agent": "coalesce(c.agent, '')",
    "role": "r.role",
    "listener": "r.listener",
    "kind": "r.kind",
}


def _by_name(column: str, more: str = "") -> Query:
    return Query(f"SELECT {column}, {_SUMS}{_FROM}{more}{_WHERE} GROUP BY 1 ORDER BY 1 LIMIT :most")


ALL = Query(f"SELECT '', {_SUMS}{_FROM}{_WHERE} LIMIT :most")
BY_NAME: Mapping[By, Query] = {by: _by_name(column) for by, column in _NAMES.items()}
BY_TASK = _by_name("coalesce(d.task, '')", " LEFT JOIN decisions d ON d.id = q.id")
BY_TIME = _by_name("(q.id >> 20) / CAST(:width_ms AS INTEGER)")
RECEIPTS = Query(
    "SELECT c.id, q.at, c.run, c.agent, c.provider, r.model, r.worker, r.key, q.prompt_tokens, q.completion_tokens,"
    " coalesce(n.cached_tokens, 0), c.written_tokens, c.cost, q.total_us, q.bits >> 4, (q.bits >> 2) & 3,"
    " coalesce(n.error, ''), c.fallback, coalesce(n.attempts, 1)"
    " FROM charges c JOIN requests q ON q.id = c.id JOIN routes r ON r.id = q.route LEFT JOIN notes n ON n.id = c.id"
    " WHERE c.run = :run AND c.run <> '' AND c.id >= :since AND (CAST(:every_key AS INTEGER) = 1 OR r.key = :key)"
    " ORDER BY c.id LIMIT :most"
)
_SPENT = "SELECT sum(cost / 1000000000), sum(cost % 1000000000) FROM charges"
SPENT_BY_RUN = Query(f"{_SPENT} WHERE run = :name AND run <> '' AND id >= :since AND id < :until")
SPENT_BY_KEY = Query(f"{_SPENT} WHERE key = :name AND key <> '' AND id >= :since AND id < :until")
_OUTCOMES = ("ok", "error", "cancelled")


class Totals(msgspec.Struct, frozen=True):
    """What some requests came to."""

    name: str
    """Of what they have in common: a model, a run ...; of a span of time its start, in whole seconds since 1970."""
    requests: int = 0
    errors: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost: int = 0
    """In picodollars."""
    fallbacks: int = 0
    """Answered by another model than was to answer first."""

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost_usd(self) -> Decimal:
        """In dollars, exactly."""
        return dollars(self.cost)

    @property
    def at(self) -> int:
        """The start of a span of time."""
        return int(self.name or 0)


class RunReceipt(msgspec.Struct, frozen=True):
    """One request of a run."""

    number: int
    at: float
    """When it was over, in seconds since 1970."""
    run: str
    agent: str
    provider: str
    model: str
    worker: str
    key: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    written_tokens: int
    cost: int
    """In picodollars."""
    total_us: int
    status: int
    outcome: str
    error: str
    fallback: str
    """The model that was to answer first, where another one did."""
    attempts: int

    @property
    def id(self) -> str:
        """As its client knows it."""
        return f"req_{self.number:016x}"

    @property
    def cost_usd(self) -> Decimal:
        """In dollars, exactly."""
        return dollars(self.cost)


def number_at(at: float) -> int:
    """The least number that a request which begins then may have; `at` in seconds since 1970."""
    return min(max(int(at * 1000) * _MS, 0), LAST)


async def totals(
    store: Store,
    *,
    by: By = "",
    since: float = 0.0,
    until: float | None = None,
    key: str | None = None,
    most: int = MOST,
) -> list[Totals]:
    """Sums of the requests that began from `since` to before `until` (seconds since 1970), sorted by name.

    By minute, hour and day those of UTC; spans without requests are left out. `key`: of that key's requests only.
    Without `by` one sum, of nothing as well. Raises StoreError.
    """
    values: dict[str, Value] = {
        "since": number_at(since),
        "until": LAST if until is None else number_at(until),
        "every_key": int(key is None),
        "key": key or "",
        "most": most,
    }
    if by in ("minute", "hour", "day"):
        width_ms = int(WINDOW_S[by] * 1000)
        rows = await store.read(BY_TIME, width_ms=width_ms, **values)
        rows = [(str(int(number) * width_ms // 1000), *sums) for number, *sums in rows]
    else:
        rows = await store.read(ALL if by == "" else BY_TASK if by == "task" else BY_NAME[by], **values)
    return [_totals(str(name), *(int(each or 0) for each in sums)) for name, *sums in rows]


def _totals(name: str, *sums: int) -> Totals:
    requests, errors, cancelled, prompt, completion, cached, large, small, fallbacks = sums
    cost = large * BILLION + small
    return Totals(name, requests, errors, cancelled, prompt, completion, cached, cost, fallbacks)


async def window(store: Store, span: Window, by: By = "", now: float | None = None) -> list[Totals]:
    """The sums of the last minute, hour or day. Raises StoreError."""
    return await totals(store, by=by, since=(time.time() if now is None else now) - WINDOW_S[span])


async def receipts(
    store: Store, run: str, *, since: float = 0.0, key: str | None = None, most: int = MOST
) -> list[RunReceipt]:
    """The requests of a run, oldest first. Raises StoreError."""
    rows = await store.read(
        RECEIPTS, run=run, since=number_at(since), every_key=int(key is None), key=key or "", most=most
    )
    return structs(RunReceipt, [(*row[:15], _OUTCOMES[row[15]], *row[16:]) for row in rows])


async def spent(store: Store, scope: Literal["run", "key"], name: str, since: float, until: float | None = None) -> int:
    """Picodollars that the requests of a run, or a key, cost that began since then, to before `until`.

    Raises StoreError.
    """
    query = SPENT_BY_RUN if scope == "run" else SPENT_BY_KEY
    end = LAST if until is None else number_at(until)
    ((large, small),) = await store.read(query, name=name, since=number_at(since), until=end)
    return int(large or 0) * BILLION + int(small or 0)
