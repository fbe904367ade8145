"""Brings exports into our database, and counts."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from rolecast.avatars.conversation import AS_IT_IS, Item, Message, Person, Reading, Told
from rolecast.avatars.kept import Kept
from rolecast.avatars.sources.table import read
from rolecast.books.store import Store

BATCH = 2000
"""Items that are read and written together: what is in memory at a time."""
FORGOTTEN = "its author was forgotten"


class Voice(msgspec.Struct, frozen=True):
    """Somebody who wrote in what was brought."""

    person: Person
    messages: int


class Brought(msgspec.Struct, frozen=True):
    """What came of an import."""

    new: int
    changed: int
    """Known ones whose text or time is another one now."""
    known: int
    skipped: Mapping[str, int]
    """What was left out: reasons, and how often."""
    chats: int
    voices: tuple[Voice, ...]
    """Who wrote, who wrote most first."""

    @property
    def messages(self) -> int:
        return self.new + self.changed + self.known


async def bring(paths: Sequence[Path], store: Store, told: Told, how: Reading = AS_IT_IS) -> Brought:
    """Import those exports. Doing it again brings nothing new, and a longer export only what it has more.

    `told` is called from another thread. One that is broken off may be begun again: what was brought stays. Raises
    ExportError, Invalid for what only a person can say, and StoreError.
    """
    ears = _Counting(told)
    kept = Kept(store)
    items = read(paths, ears, how)
    counts: Counter[str] = Counter()
    names: dict[str, Person] = {}
    voices: Counter[str] = Counter()
    chats: set[str] = set()
    places: dict[str, int] = {}
    batch: list[Item] | BaseException = await asyncio.to_thread(_next, items)
    while batch and not isinstance(batch, BaseException):
        adding = kept.add(batch, places, forgotten=how.forgotten)
        # What comes next is read while this is written; neither is left alone when the other one fails.
        added, coming = await asyncio.gather(adding, asyncio.to_thread(_next, items), return_exceptions=True)
        if isinstance(added, BaseException):
            raise added
        counts.update(new=added.new, changed=added.changed, known=added.known)
        if added.refused:
            ears.reasons[FORGOTTEN] += added.refused
        for item in batch:
            if isinstance(item, Message):
                voices[item.person] += 1
                chats.add(item.chat)
            elif isinstance(item, Person):
                names[item.id] = item
        batch = coming
    if isinstance(batch, BaseException):
        raise batch
    said = tuple(Voice(names.get(each, Person(each, each)), count) for each, count in voices.most_common())
    skipped = dict(ears.reasons.most_common())
    return Brought(counts["new"], counts["changed"], counts["known"], skipped, len(chats), said)


def _next(items: Iterator[Item]) -> list[Item]:
    return list(islice(items, BATCH))


class _Counting:
    def __init__(self, told: Told) -> None:
        self._told = told
        self.reasons: Counter[str] = Counter()

    def progress(self, done: int, total: int) -> None:
        self._told.progress(done, total)

    def skipped(self, where: str, why: str) -> None:
        self.reasons[why] += 1
        self._told.skipped(where, why)
