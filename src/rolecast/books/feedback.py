"""What people thought of answers: a rating, the label that would have been right, a comment. Judges nothing."""

import time
from collections.abc import Mapping

import msgspec

from rolecast.books.store import Query, Store, change

PUT = Query(
    "INSERT INTO feedback (request, key, at, rating, labels, comment) "
    "VALUES (:request, :key, :at, :rating, :labels, :comment) ON CONFLICT (request, key) DO UPDATE SET "
    "at = excluded.at, rating = excluded.rating, labels = excluded.labels, comment = excluded.comment"
)
NEWEST = Query(
    "SELECT f.request, f.key, f.at, f.rating, f.labels, f.comment, l.model, l.role, l.task "
    "FROM feedback f JOIN ledger l ON l.number = f.request ORDER BY f.at DESC LIMIT :most"
)
SUMMARY = Query(
    "SELECT count(*), sum(CASE WHEN rating > 0.5 THEN 1 ELSE 0 END), sum(CASE WHEN rating < 0.5 THEN 1 ELSE 0 END), "
    "avg(rating) FROM feedback"
)


class Opinion(msgspec.Struct, frozen=True):
    """What one key said of one request."""

    request_id: str
    key: str
    """Id of the API key; '' = none was needed."""
    at: float
    """In seconds since 1970."""
    rating: float | None
    """From 0 = down to 1 = up; null = only a label or a comment was given."""
    label: Mapping[str, str]
    """What would have been right, by what it belongs to."""
    comment: str
    model: str = ""
    """Who answered, as which role, and what it was taken for."""
    role: str = ""
    task: str = ""


class Summary(msgspec.Struct, frozen=True):
    """All of it in numbers."""

    count: int
    up: int
    down: int
    mean: float | None


async def put(
    store: Store, number: int, key: str, rating: float | None, labels: Mapping[str, str], comment: str
) -> float:
    """Keep it in place of what that key said of that request before; the time. Raises StoreError and Unstorable."""
    at = time.time()
    kept = msgspec.json.encode(labels).decode()
    await change(store, PUT, request=number, key=key, at=at, rating=rating, labels=kept, comment=comment)
    return at


async def newest(store: Store, most: int) -> list[Opinion]:
    """The newest first. Raises StoreError."""
    found = []
    for number, key, at, rating, labels, comment, *answered in await store.read(NEWEST, most=most):
        label = msgspec.json.decode(labels, type=dict[str, str])
        found.append(Opinion(f"req_{number:016x}", key, at, rating, label, comment, *answered))
    return found


async def summary(store: Store) -> Summary:
    """How much there is, and what it comes to. Raises StoreError."""
    ((count, up, down, mean),) = await store.read(SUMMARY)
    return Summary(count, up or 0, down or 0, mean)
