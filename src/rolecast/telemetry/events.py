"""What happens in the gateway that others may want to hear of: the newest in memory, and who listens.

Knows no kind of event. Nothing of a request's words is ever told here.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import msgspec

KEPT = 100
"""So many events are kept for who comes later."""
MOST_WAITING = 1000
"""A listener that is so many events behind misses the oldest."""
OWN = "rolecast"
"""Who told it, unless a client did."""

Tell = Callable[[str, Mapping[str, Any]], object]
"""How a part that knows nothing of events tells of one: its kind, and what there is to know."""


def unheard(event_type: str, data: Mapping[str, Any]) -> None:
    """A `Tell` before there is anybody to tell."""


class Happening(msgspec.Struct, frozen=True):
    """One event."""

    number: int
    """Counts from 1 at each start."""
    event_type: str
    """A few words with underscores: `service_registered`, `budget_alert`."""
    data: Mapping[str, Any]
    timestamp: float
    """In seconds since 1970."""
    source: str = OWN
    """Who told it: `rolecast`, or `client` for what came from outside."""


Queue = asyncio.Queue[Happening | None]
"""What a listener still has to hear, in order; None = nothing will follow."""


class Events:
    """The newest events, and all that follow."""

    def __init__(self) -> None:
        self._kept: deque[Happening] = deque(maxlen=KEPT)
        self._listeners: set[Queue] = set()
        self._number = 0
        self._closed = False
        self.epoch = f"{time.time_ns() // 1_000_000:x}"
        """Of this start: numbers of another one mean nothing here."""

    def tell(self, event_type: str, data: Mapping[str, Any], source: str = OWN) -> Happening:
        """Something has happened. On the loop's thread; returns at once."""
        self._number += 1
        happening = Happening(self._number, event_type, data, time.time(), source)
        self._kept.append(happening)
        for queue in self._listeners:
            _put(queue, happening)
        return happening

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def recent(self, most: int = KEPT) -> list[Happening]:
        """The newest, oldest first."""
        return list(self._kept)[-most:] if most > 0 else []

    def close(self) -> None:
        """The gateway stops: whoever listens hears what is left, and that it is the end."""
        self._closed = True
        for queue in self._listeners:
            _put(queue, None)

    @contextlib.contextmanager
    def listening(self, after: int | None = None) -> Iterator[Queue]:
        """All that happens within the block, and before it those kept that came after that number."""
        queue: Queue = asyncio.Queue(MOST_WAITING)
        for each in self._kept:
            if after is not None and each.number > after:
                queue.put_nowait(each)
        if self._closed:
            _put(queue, None)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    async def follow(self, after: int | None = None) -> AsyncIterator[Happening]:
        """The same, one after the other, until the gateway stops."""
        with self.listening(after) as queue:
            while (happening := await queue.get()) is not None:
                yield happening


def _put(queue: Queue, happening: Happening | None) -> None:
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(happening)
