"""Finds where people of a conversation are mentioned, and which of them: by any of their names, as chats spell them.

Whole words in any case, with or without accents; a slip of the keyboard; possessives; letters held down (`annaaa`);
part of a line in scripts that put no blanks between words. A name that is also a word (Will, Rose) counts only where it
stands as a name does.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from rolecast.avatars.conversation import Person
from rolecast.avatars.dataset.known import WORD, Known
from rolecast.avatars.dataset.slips import LEAST, Slips, apart
from rolecast.avatars.dataset.standing import stand_as_name, stands_as_name
from rolecast.avatars.dataset.words import FREQUENT
from rolecast.privacy.names import common, plain

_MARKED = re.compile(r"(?:[^\W\d_][\u0300-\u036f]*)+")
"""A word whose accents are signs by themselves, as a Mac writes file names."""


class Mention(NamedTuple):
    """Somebody, from `start` to before `end` of a text; `person` is an id."""

    start: int
    end: int
    person: str


class _Word(NamedTuple):
    start: int
    end: int
    said: str
    """As it is read: with its accents in their letters."""


class Mentions:
    """The people of a conversation, ready to be looked for. A name of several of them is the first one's."""

    def __init__(self, people: Iterable[Person]) -> None:
        self._known = Known(people)
        self._slips = Slips(self._known)
        self._unspaced = _either(self._known.unspaced, "(?-i:{})")
        self._handles = _either(self._known.handles, r"(?<![^\W_])@?(?:{})(?![^\W_])")

    def __bool__(self) -> bool:
        return bool(self._known.parts or self._known.unspaced or self._known.handles)

    def find(self, text: str) -> list[Mention]:
        """Where somebody is mentioned, in order and apart; the longest name first."""
        found = list(self._in_words(text))
        if self._unspaced is not None and not text.isascii():
            found += (Mention(m.start(), m.end(), self._known.unspaced[m[0]]) for m in self._unspaced.finditer(text))
        if self._handles is not None:
            for handle in self._handles.finditer(text):
                if (person := self._known.handles.get(handle[0].lstrip("@").casefold())) is not None:
                    found.append(Mention(handle.start(), handle.end(), person))
        found.sort(key=lambda each: (each.start, -each.end))
        apart_: list[Mention] = []
        for each in found:
            if not apart_ or each.start >= apart_[-1].end:
                apart_.append(each)
        return apart_

    def _in_words(self, text: str) -> Iterator[Mention]:
        words = list(_words(text))
        meant = [self._slips.meant(word.said) for word in words]
        if not any(meant):
            return
        if self._known.longest > 1:
            self._look_beside(text, words, meant)
        at = 0
        while at < len(words):
            size, person = self._name(text, words, meant, at) if meant[at] else (0, "")
            if size:
                yield Mention(words[at].start, words[at + size - 1].end, person)
            at += size or 1

    def _look_beside(self, text: str, words: list[_Word], meant: list[str]) -> None:
        """Find words with a slip beside another part of the name: there less has to fit."""
        for at, word in enumerate(words):
            folded = plain(word.said)
            if meant[at] or len(folded) < LEAST or folded in FREQUENT:
                continue
            if word.said[0].islower() and folded in common():
                continue
            for other in self._neighbours(text, words, at):
                if not meant[other]:
                    continue
                parts = self._known.of.get(self._known.parts[meant[other]], {})
                near = (part for part in parts if part != meant[other] and apart(folded, part, 1) <= 1)
                if part := next(near, ""):
                    meant[at] = part
                    break

    def _neighbours(self, text: str, words: list[_Word], at: int) -> Iterator[int]:
        """The words beside one, and behind a piece like `van` or `O`."""
        if at and _are_beside(text, words[at - 1], words[at]):
            yield at - 1
        if at + 1 < len(words) and _are_beside(text, words[at], words[at + 1]):
            yield at + 1
            if at + 2 < len(words) and plain(words[at + 1].said) in self._known.short:
                yield at + 2

    def _name(self, text: str, words: list[_Word], meant: list[str], at: int) -> tuple[int, str]:
        """How many words of a name begin there, and whose it is; 0 = none does."""
        parts = [meant[at]]
        while at + len(parts) < len(words) and len(parts) < max(self._known.longest, 2):
            word = words[at + len(parts)]
            part = meant[at + len(parts)] or plain(word.said)
            if not _are_beside(text, words[at + len(parts) - 1], word):
                break
            if not meant[at + len(parts)] and part not in self._known.short:
                break
            parts.append(part)
        for size in range(len(parts), 1, -1):
            person = self._whose(parts[:size])
            if person and stand_as_name(text, words[at].start, words[at + size - 1].end, parts[:size]):
                return size, person
        if stands_as_name(text, words[at].start, words[at].end, meant[at]):
            return 1, self._known.parts[meant[at]]
        if at + 1 < len(words) and _are_beside(text, words[at], words[at + 1]):  # the blank is in a wrong place
            pieces = plain(words[at].said), plain(words[at + 1].said)
            if pieces not in self._known.aliases and (owner := self._known.joined.get("".join(pieces))):
                return 2, owner
        return 0, ""

    def _whose(self, parts: list[str]) -> str:
        """Whose name these words are together: whole, or first and last in any order; '' = nobody's."""
        if (person := self._known.aliases.get(tuple(parts))) is not None:
            return person
        if parts[-1] in self._known.short or len(set(parts)) < len(parts):
            return ""
        owners = {self._known.parts.get(part, "") for part in parts if part not in self._known.short}
        return owners.pop() if len(owners) == 1 else ""


def _either(texts: Mapping[str, str], around: str) -> re.Pattern[str] | None:
    """A pattern for any of these, the longest first."""
    if not texts:
        return None
    either = "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))
    return re.compile(around.replace("{}", either), re.IGNORECASE)


def _words(text: str) -> Iterator[_Word]:
    """Words as they are read, and where they stand."""
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        yield from (_Word(m.start(), m.end(), m[0]) for m in WORD.finditer(text))
        return
    for found in _MARKED.finditer(text):
        yield _Word(found.start(), found.end(), unicodedata.normalize("NFC", found[0]))


def _are_beside(text: str, first: _Word, second: _Word) -> bool:
    return first.end < second.start <= first.end + 2 and not text[first.end : second.start].strip(" \u00a0-.'\u2019_")
