"""Turns on their way to the database, in order: while that cannot be used they wait in memory, and so many bytes."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable

import msgspec

from rolecast.books import sessions as books
from rolecast.books.sessions import New, Turn
from rolecast.books.store import Store, StoreError
from rolecast.turn.session_line import Place

log = logging.getLogger("rolecast.sessions")

MOST_WAITING = 16 * 1000 * 1000
"""While the database cannot be used, so many bytes of turns wait for it."""


RETRY_S = 5.0
"""What waits is tried again so often, whether anybody asks for it or not."""


class _Pending(msgspec.Struct):
    """A turn until it is written, which gives it its number."""

    new: New
    number: int = 0


class Writer:
    """Writes turns; `most` says how many a session keeps."""

    def __init__(self, store: Store, most: Callable[[], int]) -> None:
        self._store = store
        self._most = most
        self._waiting: dict[Place, deque[_Pending]] = {}
        self._flushing = asyncio.Lock()
        self._trouble = ""
        self._not_before = 0.0
        self._again: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Try once more to write what waits."""
        if self._again is not None:
            self._again.cancel()
        self._not_before = 0.0
        await self.flush()

    async def write(self, new: New) -> int:
        """Write a turn behind those that wait; its number, 0 = it waits for the database, or is lost. Never raises."""
        pending = _Pending(new)
        self._waiting.setdefault((new.key, new.id), deque()).append(pending)
        try:
            await self.flush()
        except Exception as error:  # its words might quote what was to be kept
            log.error("a turn of a session could not be kept: %s", type(error).__name__)
            self._remove(pending)
        return pending.number

    async def flush(self) -> None:
        """Write all that wait, if the database can be used."""
        async with self._flushing:
            batch = [pending for line in self._waiting.values() for pending in line]
            if not batch or time.monotonic() < self._not_before:
                return
            began = time.monotonic()
            try:
                numbers = await books.keep(self._store, [each.new for each in batch], self._most())
            except StoreError as error:
                self._note_trouble(error.message)
                self._drop_oldest()
                now = time.monotonic()
                self._not_before = now + (now - began)  # a locked one takes its time; others need not wait for that
                if self._again is None or self._again.done():
                    self._again = asyncio.get_running_loop().create_task(self._try_again())
                return
            self._note_trouble("")
            for pending, number in zip(batch, numbers, strict=True):
                pending.number = number
                self._remove(pending)

    async def _try_again(self) -> None:
        while self._waiting:
            await asyncio.sleep(RETRY_S)
            with contextlib.suppress(Exception):  # as `write` does: its words might quote what was to be kept
                await self.flush()

    async def turns(self, place: Place, after: int) -> list[Turn]:
        """The newest turns of a session behind that number, oldest first, those that wait among them."""
        waiting = [each.new for each in self._waiting.get(place, ())]
        found = await books.newest(self._store, *place, after)
        there = {(turn.at, turn.asked) for turn in found}  # some may have been written meanwhile
        late = [new for new in waiting if (new.at, new.asked) not in there]
        return found + [Turn(0, new.at, new.asked, new.answer, new.model, new.tokens) for new in late]

    def stays(self, place: Place) -> bool:
        """Whether a turn that waits was said under `local-only`."""
        return any(each.new.stays for each in self._waiting.get(place, ()))

    def forget(self, place: Place) -> None:
        """What waits of a session is not written."""
        self._waiting.pop(place, None)

    def _remove(self, pending: _Pending) -> None:
        place = (pending.new.key, pending.new.id)
        rest = deque(each for each in self._waiting.get(place, ()) if each is not pending)
        if rest:
            self._waiting[place] = rest
        else:
            self._waiting.pop(place, None)

    def _drop_oldest(self) -> None:
        excess = sum(each.new.size for line in self._waiting.values() for each in line) - MOST_WAITING
        while excess > 0:
            oldest = min((line[0] for line in self._waiting.values()), key=lambda each: each.new.at)
            excess -= oldest.new.size
            self._remove(oldest)

    def _note_trouble(self, why: str) -> None:
        before, self._trouble = self._trouble, why
        if why and not before:
            log.warning("turns of sessions wait for the database: %s", why)
        elif before and not why:
            log.info("turns of sessions are kept again")
