"""Conversations in a graph of messages that follow each other: which belong together, and in which order. Pure."""

import heapq
from array import array
from collections.abc import Iterable, Iterator, Sequence
from math import inf

UNKNOWN = -inf
"""The time of a message that has none: it is older than all others where the newest are chosen."""
_NONE = -1


class Chains:
    """Messages without their texts, by number, and which follows which.

    Takes about 200 bytes a message. Any graph will do: chains, branches, several messages before one, cycles.
    """

    def __init__(self) -> None:
        self.elements: list[str] = []
        """What the database calls them."""
        self.ids: list[str] = []
        self.speakers: list[str] = []
        self.times = array("d")
        self._names: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._from, self._to = array("l"), array("l")

    def add(self, element: str, speaker: str, at: float | None, name: str = "") -> None:
        """A message, and its id where that is not what the database calls it; the same element is the same message."""
        if element in self._numbers:
            return
        self._numbers[element] = len(self.ids)
        self.elements.append(element)
        self.ids.append(name or element)
        self.speakers.append(self._names.setdefault(speaker, speaker))
        self.times.append(UNKNOWN if at is None else at)

    def follow(self, first: str, then: str) -> None:
        """`then` follows `first`. Edges of messages that were not added, and of a message to itself, say nothing."""
        one, other = self._numbers.get(first, _NONE), self._numbers.get(then, _NONE)
        if one != other and _NONE not in (one, other):
            self._from.append(one)
            self._to.append(other)

    def turned(self) -> bool:
        """Turn all edges around if most of them lead back in time: some write that a reply FOLLOWS what it answers."""
        forth = back = 0
        for one, other in zip(self._from, self._to, strict=True):
            if UNKNOWN not in (self.times[one], self.times[other]):
                forth += self.times[one] < self.times[other]
                back += self.times[one] > self.times[other]
        if back > forth:
            self._from, self._to = self._to, self._from
        return back > forth

    def conversations(self) -> Iterator["Conversation"]:
        """Each that hangs together, in order; last those messages that follow nothing, as one, in order of time."""
        groups: dict[int, list[int]] = {}
        roots = self._roots()
        for number, root in enumerate(roots):
            groups.setdefault(root, []).append(number)
        then: dict[int, list[int]] = {}
        for one, other in zip(self._from, self._to, strict=True):
            then.setdefault(one, []).append(other)
        loose: list[int] = []
        for members in groups.values():
            if len(members) == 1:
                loose += members
            else:
                yield Conversation(*_ordered(members, then, self.times))
        if loose:
            loose.sort(key=lambda each: (self.times[each], each))
            yield Conversation(loose, {}, loose=True)

    def _roots(self) -> Sequence[int]:
        """A number for each message, the same for those that hang together (union-find with halved paths)."""
        parent = array("l", range(len(self.ids)))

        def root(each: int) -> int:
            while parent[each] != each:
                parent[each] = parent[parent[each]]
                each = parent[each]
            return each

        for one, other in zip(self._from, self._to, strict=True):
            low, high = sorted((root(one), root(other)))
            parent[high] = low
        return [root(each) for each in range(len(parent))]


class Conversation:
    """Numbers of messages in order; `before` names the one that each of them follows, if any."""

    __slots__ = ("before", "loose", "order")

    def __init__(self, order: list[int], before: dict[int, int], *, loose: bool = False) -> None:
        self.order = order
        self.before = before
        self.loose = loose
        """Whether nothing in the graph says that they belong together."""


def _ordered(
    members: Sequence[int], then: dict[int, list[int]], times: Sequence[float]
) -> tuple[list[int], dict[int, int]]:
    """Nobody before what they follow, else by time (Kahn's algorithm over a heap). A cycle is cut at its oldest."""
    waits = dict.fromkeys(members, 0)
    for each in members:
        for other in then.get(each, ()):
            waits[other] += 1
    spare = iter(sorted(members, key=lambda each: (times[each], each)))
    ready = [(times[each], each) for each in members if not waits[each]]
    heapq.heapify(ready)
    order: list[int] = []
    before: dict[int, int] = {}
    done: set[int] = set()
    while len(done) < len(members):
        if not ready:  # all that are left are in cycles, or behind one
            cut = next(each for each in spare if each not in done)
            ready.append((times[cut], cut))
        at, each = heapq.heappop(ready)
        if each in done:
            continue
        done.add(each)
        order.append(each)
        for other in then.get(each, ()):
            if other in done:
                continue
            before[other] = each
            waits[other] -= 1
            if not waits[other]:
                heapq.heappush(ready, (times[other] if times[other] != UNKNOWN else at, other))
    return order, before


def newest(times: Iterable[tuple[float, int]], most: int) -> set[int]:
    """The numbers of the newest `most`, 0 = of all; memory grows with `most` only, unless it is 0."""
    if not most:
        return {number for _, number in times}
    return {number for _, number in heapq.nlargest(most, times)}
