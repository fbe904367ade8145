"""Which slot of an engine a conversation gets: the one that has read it already, else the one nobody misses.

An engine keeps in each slot what it read last. A turn that comes to the slot of its conversation has only its new words
read; in any other slot all of it is read again, and what that slot held is lost. Pure: decides, and asks nobody.
"""

from collections.abc import Sequence

Marks = Sequence[int]
"""A conversation by the digests of its beginnings: the first is of its first message, each other of one message more.

So two that share their first messages share as many marks, and the last mark of a turn is in all turns that follow.
"""


class Seats:
    """The slots of one start of an engine, numbered as the engine numbers them."""

    def __init__(self, count: int) -> None:
        self._held: list[Marks] = [()] * count
        """What each has read last."""
        self._busy = [False] * count
        self._left = [0] * count
        """When each became idle, by a count of what was done here: 0 = it was never used."""
        self._clock = 0

    def take(self, marks: Marks) -> int | None:
        """The idle slot for this conversation, from now on busy with it; None when none is idle.

        One that holds a beginning of it comes first, the longest such; then one that holds it and more (a turn that is
        asked again, or was edited); then one that was never used; then the one that has been idle longest.
        """
        idle = [slot for slot, busy in enumerate(self._busy) if not busy]
        if not idle:
            return None
        chosen = max(idle, key=lambda slot: (*_worth(self._held[slot], marks), -self._left[slot], -slot))
        self._busy[chosen] = True
        self._held[chosen] = tuple(marks)
        return chosen

    def leave(self, slot: int) -> None:
        """It is idle again, and keeps what it read."""
        self._clock += 1
        self._busy[slot] = False
        self._left[slot] = self._clock


def _worth(held: Marks, marks: Marks) -> tuple[int, int]:
    """How good a slot is that holds that: first by kind, then by how much need not be read again."""
    common = 0
    for one, other in zip(held, marks, strict=False):
        if one != other:
            break
        common += 1
    lost = len(held) - common
    if common and not lost:
        return 2, common
    # of two that begin alike only the one that is nearly this one was this one: the others go on by themselves
    if common and lost <= _EDITED and common >= lost:
        return 1, common
    return 0, 0


_EDITED = 2
"""A turn that is asked again in other words differs by its last message; with the answer before it, by two."""
