"""What requests cost, as the ledger has it: the receipts of a run, and what a run or a key spent. Writes nothing.

Numbers of requests grow with time, so a span of time is a span of the primary key, and older rows are never looked at.
Money is whole picodollars here; `.cost_usd` is the same in dollars, exactly.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

import msgspec

from rolecast.books.store import Query, Store, structs
from rolecast.money import dollars

Window = Literal["minute", "hour", "day"]
WINDOW_S: Mapping[Window, float] = {"minute": 60.0, "hour": 3600.0, "day": 86_400.0}
MOST = 10_000
"""So many groups, or receipts, are told at most."""
LAST = 2**63 - 1
BILLION = 10**9
"""Money is summed in two parts, for a few absurd amounts would be more than 64 bits hold, and no sum could be made."""
_MS = 1 << 20
"""Numbers of requests in a millisecond."""

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
