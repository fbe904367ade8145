"""What happens in the gateway that others may want to hear of: the newest in memory, and who listens.

Knows no kind of event. Nothing of a request's words is ever told here.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

KEPT = 100
"""So many events are kept for who comes later."""
MOST_WAITING = 1000
"""A listener that is so many events behind misses the oldest."""


class Happening(msgspec.Struct, frozen=True):
    """One event."""

    number: int
    """Counts from 1 at each start."""
    event_type: str
    """A few words with underscores: `service_registered`, `budget_alert`."""
    data: Mapping[str, Any]
    timestamp: float
    """In seconds since 1970."""


class Events:
    """The newest events, and all that follow."""

    def __init__(self) -> None:
        self._kept: deque[Happening] = deque(maxlen=KEPT)
        self._listeners: set[asyncio.Queue[Happening]] = set()
        self._number = 0

    def tell(self, event_type: str, data: Mapping[str, Any]) -> Happening:
        """Something has happened. On the loop's thread; returns at once."""
        self._number += 1
        happening = Happening(self._number, event_type, data, time.time())
        self._kept.append(happening)
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(happening)
        return happening

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def recent(self, most: int = KEPT) -> list[Happening]:
        """The newest, oldest first."""
        return list(self._kept)[-most:] if most > 0 else []

    async def follow(self, after: int | None = None) -> AsyncIterator[Happening]:
        """Every event from now on, and before them those kept that came after that number."""
        queue: asyncio.Queue[Happening] = asyncio.Queue(MOST_WAITING)
        missed = [each for each in self._kept if after is not None and each.number > after]
        self._listeners.add(queue)
        try:
            for each in missed:
                yield each
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)
