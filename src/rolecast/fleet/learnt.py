"""Footprints that were learnt: what a worker is expected to take, by what workers like it were seen to take.

One owner, on the loop's thread. What was seen is in memory at once and written behind; whatever was written outlives a
killed gateway. Measures nothing and decides nothing: who is weighed when, and who is admitted, is the fleet's.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from itertools import zip_longest

from rolecast.books import footprints
from rolecast.books.footprints import KEPT, Floor, Known, Peak, raised, standing, upper
from rolecast.books.store import Store, StoreError
from rolecast.footprint import Estimate, Footprint

log = logging.getLogger("rolecast.fleet")

BELIEVED = 3
"""From so many lives on less than the estimate is believed: one that nobody asked anything long took little. More than
the estimate is believed at once."""
GROWN = 1.01
"""A peak that has grown by less is not written again."""
GROWN_BYTES = 1 << 20
APART_S = 0.001
"""Lives of one key begin at least so far apart, also where the clock was put back."""
RUNAWAY, RUNAWAY_BYTES = 3, 2 << 30
"""More than so many times what was admitted, and this besides, no model takes for itself."""
NOTHING = Footprint()
RETRY_S = 5.0
"""After the database could not be used."""


def ran_away(peak: Footprint, admitted: Footprint) -> bool:
    """Whether it took so much that one request must have made it: no estimate is so far off.

    What is learnt of such a life would keep the model from ever being admitted again.
    """
    return admitted.ram > 0 and peak.ram > RUNAWAY * admitted.ram + RUNAWAY_BYTES


class Life:
    """One worker from its start to its end, as far as its memory goes."""

    def __init__(self, owner: "Learnt", key: str, began: float, admitted: Footprint) -> None:
        self.key = key
        self._admitted = admitted
        self._owner = owner
        self._began = began
        self._peak = Footprint()
        self._written = Footprint()
        """What of that goes into the database."""
        self._dead = False

    def seen(self, peak: Footprint) -> None:
        """It has loaded, and this is the most it has held. Less than it told before counts for nothing."""
        if ran_away(peak, self._admitted):
            return
        most = self._peak.or_more(peak)
        if most != self._peak:
            self._peak = most
            grown = _has_grown(self._written, most)
            self._written = most if grown else self._written
            self._owner.remember(self.key, Peak(self._began, most), write=grown)

    def died_for_memory(self, had: Footprint, lacked: Footprint) -> Footprint | None:
        """It ended because there was not enough in the places where `lacked` is nonzero; `had` is what it was admitted
        with. Raises the floor once, whoever says it how often; the new floor, or None."""
        if self._dead:
            return None
        self._dead = True
        return self._owner.raise_floor(self.key, had.or_more(self._peak), lacked)


class Learnt:
    """What is known of all keys."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, Known] = {}
        self._begun: dict[str, float] = {}
        self._unwritten: dict[tuple[str, float], Peak] = {}
        self._changed: set[str] = set()
        self._news = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Remember what earlier gateways saw, and begin to write. Without its database all is learnt anew."""
        try:
            self._known = await footprints.recall(self._store, self._clock())
        except StoreError as error:
            log.warning("what models took before this start is not known: %s", error.message)
        self._writer = asyncio.create_task(self._write_for_ever())

    async def close(self) -> None:
        """Write what is not written yet, if that can be done now."""
        if self._writer is not None:
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer
        with contextlib.suppress(StoreError):
            await self._write()

    def expected(self, key: str, estimate: Estimate | None) -> Footprint:
        """What a worker with this key takes at most: what is admitted.

        By its estimate until workers like it were seen, then by what they took, and never below the floor. On a GPU
        where nothing was ever seen the estimate stays: many drivers do not tell who holds their memory.
        """
        known = self._known.get(key, Known())
        found = upper([peak.took for peak in known.peaks])
        guess = estimate.most if estimate is not None else Footprint()
        if len(known.peaks) < BELIEVED:
            found = found.or_more(guess)
        elif guess.gpus:
            pairs = zip_longest(found.gpus, guess.gpus, fillvalue=0)
            found = Footprint(found.ram, tuple(seen or guessed for seen, guessed in pairs))
        return found.or_more(standing(known, self._clock()))

    def begins(self, key: str, admitted: Footprint = NOTHING) -> Life:
        """A worker with this key is about to be started, and `admitted` is kept for it."""
        known = self._known.get(key, Known())
        last = max(self._begun.get(key, 0.0), known.peaks[-1].began if known.peaks else 0.0)
        self._begun[key] = began = max(self._clock(), last + APART_S)
        return Life(self, key, began, admitted)

    def remember(self, key: str, peak: Peak, *, write: bool) -> None:
        """That life has taken so much; called by it."""
        known = self._known.get(key, Known())
        others = [each for each in known.peaks if each.began != peak.began]
        peaks = tuple(sorted((*others, peak), key=lambda each: each.began)[-KEPT:])
        self._known[key] = Known(peaks, known.floor)
        if write:
            self._unwritten[key, peak.began] = peak
            self._changed.add(key)
            self._news.set()

    def raise_floor(self, key: str, had: Footprint, lacked: Footprint) -> Footprint:
        """One with that key died; called by its life. The new floor."""
        known = self._known.get(key, Known())
        now = self._clock()
        standing_still = known.floor if standing(known, now) != Footprint() else None
        floor: Floor = raised(standing_still, had, lacked, now)
        self._known[key] = Known(known.peaks, floor)
        self._changed.add(key)
        self._news.set()
        return floor.least

    # -- writing ------------------------------------------------------------------------------------------

    async def _write_for_ever(self) -> None:
        with contextlib.suppress(StoreError):
            await footprints.forget(self._store, self._clock())
        while True:
            await self._news.wait()
            try:
                await self._write()
            except StoreError as error:
                log.debug("footprints are written later: %s", error.message)
                await asyncio.sleep(RETRY_S)

    async def _write(self) -> None:
        """Write all that changed; what could not be written is tried again."""
        self._news.clear()
        lives, changed = self._unwritten, self._changed
        if not changed:
            return
        self._unwritten, self._changed = {}, set()
        try:
            await footprints.write(
                self._store,
                [(key, peak) for (key, _), peak in lives.items()],
                {key: self._known[key] for key in changed},
            )
        except BaseException:
            self._unwritten = {**lives, **self._unwritten}
            self._changed |= changed
            self._news.set()
            raise


def _has_grown(before: Footprint, now: Footprint) -> bool:
    """Whether that is worth writing."""
    places = ((before.ram, now.ram), *zip_longest(before.gpus, now.gpus, fillvalue=0))
    return any(new > (max(old * GROWN, old + GROWN_BYTES) if old else 0) for old, new in places)
