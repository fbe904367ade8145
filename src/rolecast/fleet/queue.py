"""The line of those who wait for one worker: who stands where, who leaves, who waited too long.

Pure, on plain deques: the path of a request looks at their length alone. Knows no worker.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import msgspec


class Waiter(msgspec.Struct, eq=False):
    """A request in line. `holds` is False for a plain load, which takes no slot.

    `again` counts the workers that went away under it: who lost more of them waits in front of who lost fewer.
    `alone` marks one that nothing may run beside, so that it shows who ends the workers.
    """

    ticket: Any
    deadline: float
    holds: bool = True
    again: int = 0
    alone: bool = False
    since: float = 0.0
    """When it came."""
    key: str = ""
    """Whose request it is."""
    rank: int = 0
    """Its class: higher ones go first."""


class Line:
    """Those who wait for one model, in the order they came, and who is next.

    Next is who lost most workers; of those alike who is of the highest class; then whose key was given least; then who
    came first. Of a lower class one goes ahead when none of it has begun for `overdue_s`, but no two in a row. So one
    key with a thousand requests does not keep another's single one waiting, nor does a class, and nobody is passed for
    ever.

    Keys take turns as in start-time fair queueing (Goyal, Vin, Cheng 1996): one that comes, or comes back, begins in
    the round that is on. It has saved nothing up.
    """

    __slots__ = ("_ahead", "_begun", "_given", "_plain", "_round", "overdue_s", "waiting")

    def __init__(self, overdue_s: float = 30.0) -> None:
        self.waiting: deque[Waiter] = deque()
        self.overdue_s = overdue_s
        self._given: dict[str, int] = {}
        """The next round of each key, since the line was empty; the round that is on, if that is later."""
        self._round = 0
        """That of the last who was given anything."""
        self._begun: dict[int, float] = {}
        """When one of each class was last given anything, since the line was empty."""
        self._ahead = False
        """Whether the last one went ahead of a higher class."""
        self._plain = True
        """Whether all are alike, as they are almost always: then next is who stands first."""

    def join(self, waiter: Waiter) -> None:
        """Stand in line: at its end, or in front of all who lost fewer workers."""
        line = self.waiting
        if not line:
            self._given.clear()
            self._begun.clear()
            self._round, self._plain, self._ahead = 0, True, False
        elif self._plain:
            self._plain = waiter.key == line[0].key and waiter.rank == line[0].rank
        line.insert(sum(x.again >= waiter.again for x in line) if waiter.again else len(line), waiter)

    def first(self, now: float) -> Waiter:
        """Who is next in a line that is not empty."""
        if self._plain:
            return self.waiting[0]
        lost = max(waiter.again for waiter in self.waiting)
        line = [waiter for waiter in self.waiting if waiter.again == lost]
        highest = max(waiter.rank for waiter in line)
        if not self._ahead:
            left_out = [w for w in line if w.rank < highest and now - self._left_out_since(w) >= self.overdue_s]
            if left_out:
                return min(left_out, key=lambda waiter: (self._left_out_since(waiter), self._round_of(waiter.key)))
        return min((w for w in line if w.rank == highest), key=lambda waiter: self._round_of(waiter.key))

    def _left_out_since(self, waiter: Waiter) -> float:
        return max(waiter.since, self._begun.get(waiter.rank, 0.0))

    def _round_of(self, key: str) -> int:
        return max(self._round, self._given.get(key, 0))

    def gives_way(self, key: str, rank: int) -> Waiter | None:
        """Who leaves a full line for one of that key and class; None when nobody has to.

        A line is shared as slots are: of the lowest class below it, or of its own, the key that has more in line than
        its own key has gives up its newest. Who lost a worker stays.
        """
        line = self.waiting
        if not line or (self._plain and (line[0].key, line[0].rank) == (key, rank)):
            return None
        has = Counter((waiter.key, waiter.rank) for waiter in line)
        own = has[key, rank]
        able = [
            waiter
            for waiter in reversed(line)
            if waiter.holds and not waiter.again
            if waiter.rank <= rank and has[waiter.key, waiter.rank] - (waiter.rank == rank) > own
        ]
        return max(able, key=lambda waiter: (-waiter.rank, has[waiter.key, waiter.rank]), default=None)

    def go(self, waiter: Waiter, now: float) -> None:
        """It is given what it waited for."""
        if self.waiting[0] is waiter:
            self.waiting.popleft()
        else:
            self.waiting.remove(waiter)
        if waiter.holds:
            self._round = self._round_of(waiter.key)
            self._given[waiter.key] = self._round + 1
            self._begun[waiter.rank] = now
            self._ahead = any(other.rank > waiter.rank for other in self.waiting)


def leave(line: deque[Waiter], ticket: Any) -> None:
    """Whoever has this ticket gives up."""
    take(line, lambda waiter: waiter.ticket is ticket)


def take(line: deque[Waiter], whom: Callable[[Waiter], bool]) -> list[Waiter]:
    """Take these out of the line; the others keep their order."""
    taken = [waiter for waiter in line if whom(waiter)]
    if taken:
        left = [waiter for waiter in line if not whom(waiter)]
        line.clear()
        line.extend(left)
    return taken


def next_deadline(line: deque[Waiter]) -> float:
    """When the first of a line that is not empty has waited too long."""
    return min(waiter.deadline for waiter in line)
