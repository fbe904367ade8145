"""Decisions of the past, as the ledger holds them, newest first; a page at a time, so that any number fits."""

from collections.abc import AsyncIterator, Mapping

import msgspec

from rolecast.books.store import Query, Store
from rolecast.decision import Seen
from rolecast.errors import UNREADABLE

PAGE = 1000
PAST = Query(
    "SELECT d.id, r.model, r.role, q.prompt_tokens, q.completion_tokens, d.seen, "
    "(SELECT avg(f.rating) FROM feedback f WHERE f.request = d.id), "
    "(SELECT f.labels FROM feedback f WHERE f.request = d.id ORDER BY f.at DESC LIMIT 1) "
    "FROM decisions d JOIN requests q ON q.id = d.id JOIN routes r ON r.id = q.route "
    "WHERE d.id < :before ORDER BY d.id DESC LIMIT :most"
)
SPEEDS = Query(
    "SELECT r.model, sum(q.completion_tokens), CAST(sum(q.total_us) AS REAL) / 1000000 FROM requests q "
    "JOIN routes r ON r.id = q.route WHERE (q.bits & 12) = 0 AND q.completion_tokens > 0 GROUP BY r.model"
)
_decode_labels = msgspec.json.Decoder(dict[str, str]).decode


class Decided(msgspec.Struct, frozen=True):
    """One of them."""

    model: str
    role: str
    prompt_tokens: int
    completion_tokens: int
    seen: Seen
    rating: float | None
    """The mean of what people gave it."""
    labels: Mapping[str, str]
    """What would have been right, as somebody said last."""


async def past(store: Store) -> AsyncIterator[Decided]:
    """All of them. One that a newer version wrote otherwise is left out. Raises StoreError."""
    before = 2**63 - 1
    while rows := await store.read(PAST, before=before, most=PAGE):
        before = rows[-1][0]
        for _, model, role, prompt_tokens, completion_tokens, kept, rating, labels in rows:
            try:
                seen = msgspec.json.decode(kept, type=Seen)
            except UNREADABLE:
                continue
            said = _decode_labels(labels) if labels else {}
            yield Decided(model, role, prompt_tokens, completion_tokens, seen, rating, said)


async def speeds(store: Store) -> dict[str, float]:
    """Tokens per second by model, of all complete answers, waiting and loading included. Raises StoreError."""
    rows = await store.read(SPEEDS)
    return {model: float(tokens) / seconds for model, tokens, seconds in rows if seconds and seconds > 0}
