"""Which conversations are kept on disk: what is worth it, which one a request goes on with, and which one has to go.

Pure: knows no file, no engine and no clock.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from hashlib import blake2b

import msgspec

from rolecast.config.units import Bytes
from rolecast.fleet.seats import Marks

BLOCK = 64
"""Tokens for each mark: a conversation is known to so many."""
LEAST = 256
"""Tokens below which it is not worth it: to look for a file, check it and read it takes about as long as a quick
machine needs to read so few tokens anew."""
KEPT_S = 7 * 24 * 3600.0
"""One that nobody came back to for so long is given up: what lies on a disk for nothing can only be read by the wrong
people."""
AUTO, AUTO_SHARE = 2 << 30, 0.05
"""Bytes that `auto` takes at most, and the part of the free disk."""


MOST_SHARE = 0.5
"""The part of the free disk that is taken at most, whatever was asked for."""


class Saved(msgspec.Struct, frozen=True):
    """One conversation in a file."""

    file: str
    identity: str
    """What it fits: see `SlotFiles.identity`."""
    marks: tuple[int, ...]
    tokens: int
    size: int
    """Bytes of the file."""
    checksum: int
    """CRC-32 of the whole file: an engine may die of one that was damaged."""
    used: float
    """When it was saved or asked for last, in seconds since 1970."""


def marks(tokens: Sequence[int]) -> Marks:
    """A conversation by the digests of its beginnings, each of one more block of tokens; the rest is left out."""
    packed = memoryview(array("i", tokens)).cast("B")
    step = BLOCK * array("i").itemsize
    found, digest = [], blake2b(digest_size=7)
    for at in range(0, len(packed) - step + 1, step):
        digest.update(packed[at : at + step])
        found.append(int.from_bytes(digest.digest()))
    return tuple(found)


def allowed(setting: str | int, free: int, held: int) -> int:
    """How many bytes may be kept, of `held` that are now and `free` on the disk besides."""
    if setting == "auto":
        return min(AUTO, int(AUTO_SHARE * (free + held)))
    return min(Bytes.parse(setting), int(MOST_SHARE * (free + held)))


class Carried:
    """The conversations that are kept, in memory as they are listed on disk."""

    def __init__(self, saved: Iterable[Saved] = ()) -> None:
        self._saved = {each.file: each for each in saved}

    def __iter__(self) -> Iterator[Saved]:
        return iter(self._saved.values())

    def __len__(self) -> int:
        return len(self._saved)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(each.size for each in self._saved.values())

    def has(self, identity: str) -> bool:
        """Whether there is any that fits."""
        return any(each.identity == identity for each in self._saved.values())

    def best(self, identity: str, wanted: Marks, known: AbstractSet[int], least: float = 0.0) -> Saved | None:
        """The one that spares the most of this prompt; None when none spares enough.

        What begins with `known` marks the engine has in memory. The file must hold at least `least` blocks of it.
        """
        there = next((at for at, mark in enumerate(wanted) if mark not in known), len(wanted))
        found, most = None, max(there + LEAST / BLOCK, least)
        for each in self._saved.values():
            if each.identity != identity:
                continue
            shared = common(each.marks, wanted)
            if shared > most or (shared == most and (found is None or each.used > found.used)):
                found, most = each, shared
        return found

    def put(self, saved: Saved) -> list[Saved]:
        """Keep it; tells which ones need no longer be kept, perhaps this one: another has all that they have."""
        same = [each for each in self._saved.values() if each.identity == saved.identity]
        if any(len(each.marks) > len(saved.marks) and _begins(each.marks, saved.marks) for each in same):
            return [saved]
        spare = [each for each in same if each.file != saved.file and _begins(saved.marks, each.marks)]
        self._saved[saved.file] = saved
        for each in spare:
            del self._saved[each.file]
        return spare

    def touch(self, file: str, now: float) -> None:
        """Somebody came back to it."""
        if file in self._saved:
            self._saved[file] = msgspec.structs.replace(self._saved[file], used=now)

    def drop(self, file: str) -> None:
        """It is no longer kept."""
        self._saved.pop(file, None)

    def trim(self, size: int, now: float) -> list[Saved]:
        """Give up what is older than `KEPT_S`, and the oldest until the others take no more than so many bytes."""
        gone, total = [], self.size
        for each in sorted(self._saved.values(), key=lambda each: each.used):
            if total <= size and now - each.used <= KEPT_S:
                continue
            del self._saved[each.file]
            total -= each.size
            gone.append(each)
        return gone


def common(one: Marks, other: Marks) -> int:
    """Blocks with which both begin."""
    least, most = 0, min(len(one), len(other))
    while least < most:  # a mark stands for all blocks before it, too
        middle = (least + most + 1) // 2
        if one[middle - 1] == other[middle - 1]:
            least = middle
        else:
            most = middle - 1
    return least


def _begins(whole: Marks, part: Marks) -> bool:
    """Whether the whole begins with the part."""
    return len(part) <= len(whole) and (not part or whole[len(part) - 1] == part[-1])
