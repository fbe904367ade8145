"""All kinds of exports, and which of them a file is."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from rolecast.avatars.conversation import AS_IT_IS, Item, Reading, Source, Told
from rolecast.avatars.sources import chatgpt, claude, discord, imessage, jsonl, mbox, slack, telegram, whatsapp
from rolecast.avatars.sources.bundle import Bundle
from rolecast.errors import ExportError

SOURCES: tuple[Source, ...] = (imessage, slack, whatsapp, telegram, discord, chatgpt, claude, mbox, jsonl)
"""The first that fits reads it."""


def detect(path: Path) -> Source:
    """What kind of export that file or folder is. Raises ExportError for none that is known."""
    with Bundle(path) as bundle:  # says what is wrong with it, if anything is
        size = bundle.size
    for source in SOURCES:
        if source.fits(path):
            return source
    if not size:
        raise ExportError(f"{path} is empty; export it again.")
    known = ", ".join(source.TITLE for source in SOURCES)
    raise ExportError(f"{path} is no export that is known here. These are: {known}.")


class Found:
    """A file or folder that is an export, and of which kind."""

    def __init__(self, path: Path, source: Source, *, named: bool) -> None:
        self.path, self.source = path, source
        self.named = named
        """Whether somebody named it; else it lay in a folder with others."""
        with Bundle(path) as bundle:
            self.size = max(1, bundle.size)


def look(paths: Sequence[Path]) -> list[Found]:
    """The exports among those; of a folder that is none itself, all that are in it. Raises ExportError."""
    return [each for path in paths for each in _look(path)]


def _look(path: Path) -> Iterator[Found]:
    try:
        yield Found(path, detect(path), named=True)
    except ExportError as error:
        within = list(_within(path)) if path.is_dir() else []
        if not within:
            raise error from None
        yield from within


def _within(folder: Path) -> Iterator[Found]:
    with Bundle(folder) as bundle:
        names = list(bundle.sizes)
    for name in names:
        with contextlib.suppress(ExportError):
            yield Found(folder / name, detect(folder / name), named=False)


def read(paths: Sequence[Path], told: Told, how: Reading = AS_IT_IS) -> Iterator[Item]:
    """All that those exports hold, one after the other; `told` hears of bytes of all of them.

    What is damaged among the files of a folder is told and left out. Raises ExportError, and Invalid for what only a
    person can say.
    """
    found = look(paths)
    total = sum(each.size for each in found)
    done = 0
    for each in found:
        part = _Part(told, each, done, total, alone=len(found) == 1)
        try:
            yield from each.source.read(each.path, part, how)
        except ExportError as error:
            if each.named:
                raise
            told.skipped(str(each.path), error.message)
        done += each.size
    told.progress(total, total)


class _Part:
    """Hears of one file, and tells of all."""

    def __init__(self, told: Told, found: Found, before: int, total: int, *, alone: bool) -> None:
        self._told, self._size, self._before, self._total = told, found.size, before, total
        self._name = "" if alone else f"{found.path.name}, "

    def progress(self, done: int, total: int) -> None:
        self._told.progress(self._before + self._size * done // max(1, total), self._total)

    def skipped(self, where: str, why: str) -> None:
        self._told.skipped(f"{self._name}{where}", why)
