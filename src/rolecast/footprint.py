"""How much memory something takes, by place, and what it is made of. Values and their arithmetic; measures nothing."""

from collections.abc import Iterable
from itertools import zip_longest

import msgspec


class Footprint(msgspec.Struct, frozen=True):
    """Bytes in the machine's memory, and in that of each GPU by its number. Memory that both share counts as `ram`."""

    ram: int = 0
    gpus: tuple[int, ...] = ()

    def __add__(self, other: "Footprint") -> "Footprint":
        pairs = zip_longest(self.gpus, other.gpus, fillvalue=0)
        return Footprint(self.ram + other.ram, tuple(one + two for one, two in pairs))

    def __sub__(self, other: "Footprint") -> "Footprint":
        """What is left; below zero where more is taken than there is."""
        pairs = zip_longest(self.gpus, other.gpus, fillvalue=0)
        return Footprint(self.ram - other.ram, tuple(one - two for one, two in pairs))

    def within(self, room: "Footprint") -> bool:
        """Whether there is room for it in every place that it needs at all."""
        pairs = zip_longest(self.gpus, room.gpus, fillvalue=0)
        return (not self.ram or self.ram <= room.ram) and all(not need or need <= free for need, free in pairs)

    def or_more(self, other: "Footprint") -> "Footprint":
        """The larger of both, place by place."""
        pairs = zip_longest(self.gpus, other.gpus, fillvalue=0)
        return Footprint(max(self.ram, other.ram), tuple(max(one, two) for one, two in pairs))


def total(each: Iterable[Footprint]) -> Footprint:
    """All of them together."""
    found = Footprint()
    for one in each:
        found += one
    return found


class Estimate(msgspec.Struct, frozen=True):
    """What a worker will take, before it is started."""

    parts: tuple[tuple[str, int], ...]
    """What it is made of, in bytes: weights, a second copy of them, cache of each kind, buffers ..."""
    loaded: Footprint
    """When it has loaded: what the progress of a load is measured by."""
    most: Footprint
    """At most, with long prompts read and its caches full: what is admitted."""
