"""Who of those that wait for a model is given a slot now, and by which of its copies; who is refused instead.

Changes lines and slots. Whether somebody new is loaded is asked for here and decided in `residency`.
"""

from collections.abc import Callable, Iterable
from typing import Any

from rolecast.config.schema import Model
from rolecast.fleet import copies, queue, refusals
from rolecast.fleet.copies import SERVING
from rolecast.fleet.effects import Effect, Grant, Refuse
from rolecast.fleet.queue import Waiter
from rolecast.fleet.rooms import Rooms, Sizes
from rolecast.fleet.worker import State, Worker
from rolecast.footprint import Footprint


class Serving:
    """All workers, and the lines before them."""

    def __init__(
        self, models: Iterable[tuple[str, Model]], queue_limit: int, sizes: Sizes = lambda model: Footprint()
    ) -> None:
        self.workers = {i: Worker(i, m, queue_limit) for i, m in models}
        copies.link(self.workers)
        self.rooms = Rooms(sizes)
        self.paces: Callable[[str], tuple[float, float]] = lambda model: (0.0, 0.0)
        """Seconds that a request to that model, and a load of it, took lately; 0 = not known. app.py sets it."""
        self._now = 0.0

    def _serve(self, w: Worker, now: float) -> list[Effect]:
        """Give what is free, of all copies where there are several; who is left over may have another one loaded."""
        effects: list[Effect] = []
        while w.waiting:
            first = w.line.first(now)
            found = self._seat(w, first)
            if found is None:
                break
            at, slots = found
            at.active += slots
            w.line.go(first, now)
            effects.append(Grant(at.model_id, first.ticket, slots))
        if w.waiting and w.copies is not None:
            self._wake(w, now)
        return effects

    def _seat(self, w: Worker, first: Waiter) -> tuple[Worker, int] | None:
        """The worker that has what the first in line wants, and how many slots that are."""
        if w.copies is None:
            slots = self._slots(w, first) if w.state in SERVING else None
            return None if slots is None else (w, slots)
        for each in w.copies.serving():
            if (slots := self._slots(each, first)) is not None:
                return each, slots
        return None

    @staticmethod
    def _slots(w: Worker, first: Waiter) -> int | None:
        """How many slots the first in line gets now; None when it has to wait.

        To run alone tells something only on a worker that has answered nobody yet; later it is one of many.
        """
        if not first.holds:
            return 0
        if not first.alone or w.answered == w.generation or w.state is State.REMOTE:
            return 1 if w.active < w.parallel else None
        if w.active:
            return None
        w.alone = w.generation
        return w.parallel

    def _wake(self, w: Worker, now: float) -> list[Effect]:
        """Have it loaded if it is wanted, or those of its model that are needed by who waits."""
        if w.wanted or (w.waiting and w.copies is None):
            self._start(w, now)
        for each in w.copies.due(now) if w.copies is not None else ():
            self._start(each, now)
        return []

    def _start(self, w: Worker, now: float) -> None:
        """It wants to be loaded or woken, and is as soon as there is room."""
        if w.state in (State.COLD, State.ASLEEP) or (w.state is State.FAILED and now >= w.retry_at):
            self.rooms.claim(w, now)

    def _overfull(self, w: Worker, newcomer: Any, key: str, rank: int, now: float) -> Refuse:
        """As many wait as may: who is refused is the newcomer, or one who leaves the line for it."""
        error = refusals.full(copies.whole(w), self.paces(w.of), now)
        other = w.line.gives_way(key, rank)
        if other is None:
            return Refuse(newcomer, error)
        queue.leave(w.waiting, other.ticket)
        return Refuse(other.ticket, error)

    def _expire(self, w: Worker, now: float) -> list[Effect]:
        late = queue.take(w.waiting, lambda x: x.deadline <= now)
        if not late:
            return []
        w.last_used = max(w.last_used, now)  # they may come back at once
        of = copies.whole(w)
        claims = self.rooms.lacks(of)
        holders = self.rooms.holders(self.workers) if claims else ()
        error = refusals.late(of, self.paces(w.of), now, claims=claims, holders=holders)
        return [*(Refuse(x.ticket, error) for x in late), *self._serve(w, now)]

    def _refuse_all(self, w: Worker, now: float) -> list[Effect]:
        """Nobody is served by this worker soon, nor by another copy."""
        if w.copies is not None and w.copies.go_on_without(w, now):
            return []
        refused: list[Effect] = [Refuse(x.ticket, refusals.broken(w, now)) for x in w.waiting]
        w.waiting.clear()
        return refused
