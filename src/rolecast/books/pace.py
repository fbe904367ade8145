"""How fast the answers of one port were, from the ledger's rows. Knows no request and no model's state."""

import math
import time

import msgspec

from rolecast.books.store import Query, Store

DAY_S = 86_400.0
MOST = 1000
"""Answers that are looked at."""
_PASSED = Query(
    "SELECT q.completion_tokens, q.total_us FROM requests q JOIN routes r ON r.id = q.route"
    " WHERE q.id >= :since AND r.listener = :listener AND r.worker = :worker"
    " AND (q.bits & 12) = 0 AND q.completion_tokens > 0 ORDER BY q.id DESC LIMIT :most"
)
"""Answers that were complete and had text. Ids grow with time, so that older rows are never looked at."""


_RECENT = Query(
    "SELECT r.worker, q.bits & 1 AS stream, q.prompt_tokens, q.completion_tokens, coalesce(n.cached_tokens, 0),"
    " q.first_us, q.total_us, coalesce(n.queue_us, 0), coalesce(n.load_us, 0)"
    " FROM requests q JOIN routes r ON r.id = q.route LEFT JOIN notes n ON n.id = q.id"
    " WHERE q.id >= :since AND (q.bits & 12) = 0 AND coalesce(n.attempts, 1) = 1 ORDER BY q.id DESC LIMIT :most"
)
"""Complete answers at the first attempt, of all models."""


_TIMES = Query(
    "SELECT r.listener, r.worker, q.total_us FROM requests q JOIN routes r ON r.id = q.route"
    " WHERE q.id >= :since AND (q.bits & 12) = 0 AND q.prompt_tokens + q.completion_tokens > 0"
    " ORDER BY q.id DESC LIMIT :most"
)
"""How long complete answers took, of all ports and models; what only loaded one is none."""


class Past(msgspec.Struct, frozen=True):
    """A request that was answered before: who did it, how much, and how long each phase took."""

    worker: str
    stream: bool
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    first_s: float
    """From the request to the first byte, waiting and loading included; so is `total_s`."""
    total_s: float
    queue_s: float
    load_s: float


async def recent(store: Store) -> list[Past]:
    """The newest thousand answers of the last day, the oldest first. Raises StoreError."""
    since = int((time.time() - DAY_S) * 1000) << 20
    rows = await store.read(_RECENT, since=since, most=MOST)
    return [
        Past(str(worker), bool(stream), *(int(n or 0) for n in counts[:3]), *(int(n or 0) / 1e6 for n in counts[3:]))
        for worker, stream, *counts in reversed(rows)
    ]


class Pace(msgspec.Struct, frozen=True):
    """As clients saw it: times in ms from a request to the end of its answer, waiting and loading included."""

    tokens_per_s: float
    average_ms: float
    p95_ms: float


async def pace(store: Store, listener: str, worker: str) -> Pace | None:
    """Of the newest thousand answers of that worker on that port in the last day; None when there was none.

    Raises StoreError.
    """
    since = int((time.time() - DAY_S) * 1000) << 20
    rows = await store.read(_PASSED, since=since, listener=listener, worker=worker, most=MOST)
    times_ms = sorted(total_us / 1000 for _, total_us in rows)
    total_ms = sum(times_ms)
    if not total_ms:
        return None
    return Pace(
        tokens_per_s=sum(tokens for tokens, _ in rows) / total_ms * 1000,
        average_ms=total_ms / len(times_ms),
        p95_ms=times_ms[math.ceil(0.95 * len(times_ms)) - 1],
    )


async def slowest(store: Store) -> dict[tuple[str, str], float]:
    """The 95th percentile in ms by port and worker, and by worker alone with '' as its port.

    Of the newest thousand answers of the last day. Raises StoreError.
    """
    since = int((time.time() - DAY_S) * 1000) << 20
    times: dict[tuple[str, str], list[int]] = {}
    for listener, worker, total_us in await store.read(_TIMES, since=since, most=MOST):
        for place in ((listener, worker), ("", worker)):
            times.setdefault(place, []).append(total_us)
    return {place: sorted(found)[math.ceil(0.95 * len(found)) - 1] / 1000 for place, found in times.items()}
