"""All finders together, by the kinds that are wanted."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from rolecast.privacy import accounts, contacts, keys
from rolecast.privacy.folded import Folded
from rolecast.privacy.names import Names
from rolecast.privacy.spans import KINDS, Span, merged

Find = Callable[[str], Iterable[Span]]
_BY_FORM: Mapping[str, Find] = {
    "keys": keys.keys,
    "emails": contacts.emails,
    "ibans": accounts.ibans,
    "cards": accounts.cards,
    "phones": contacts.phones,
    "ips": contacts.ips,
}
_PIECE = re.compile(r"[^\s\"'`,;<>]{4,512}")
_EDGES = ".!?()[]{}*:="
PIECE = 64 * 1024
"""Characters of a long text that are searched at once: one search of a pattern holds up all that goes on meanwhile."""
BEFORE, LONGEST = 1024, 24 * 1024
"""So much before and behind a piece is looked at with it: what tells what something is, and the rest of the longest."""


class Finder:
    """Finds these kinds of private things in texts."""

    def __init__(self, kinds: Collection[str], names: Iterable[str] = ()) -> None:
        """Raises ValueError for a kind that there is not."""
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            raise ValueError(f"there is no kind {unknown[0]!r}; use {', '.join(KINDS)}")
        self._finders = [_BY_FORM[kind] for kind in KINDS if kind in kinds and kind in _BY_FORM]
        listed = Names(names) if "names" in kinds else Names(())
        if listed:
            self._finders.append(listed.find)

    def __bool__(self) -> bool:
        return bool(self._finders)

    def find(self, text: str) -> list[Span]:
        """What is private in it, in order and apart."""
        if len(text) < 2:
            return []
        found = self._in(text)
        if folded := Folded(text):
            found += map(folded.written, self._in(folded.text))
        return merged(found)

    def _in(self, text: str) -> list[Span]:
        """What is found, in any order."""
        if len(text) <= PIECE + LONGEST:
            return [span for find in self._finders for span in find(text)]
        found: list[Span] = []
        for start in range(0, len(text), PIECE):
            first, end = max(0, start - BEFORE), min(len(text), start + PIECE + LONGEST)
            piece = text[first:end]
            found += (
                Span(span.start + first, span.end + first, span.kind, span.told)
                for find in self._finders
                for span in find(piece)
                # What is at a cut, its neighbour has whole.
                if (span.start or not first) and (span.end < len(piece) or end == len(text))
            )
        return found


def repeated(text: str, known: Mapping[str, str]) -> Iterator[Span]:
    """Where one of these texts stands again, by what each of them is: whole pieces between blanks and quotes."""
    for piece in _PIECE.finditer(text):
        said = piece[0]
        bare = said.strip(_EDGES)
        if (kind := known.get(said)) is not None:
            yield Span(piece.start(), piece.end(), kind)
        elif (kind := known.get(bare)) is not None:
            start = piece.start() + said.index(bare)
            yield Span(start, start + len(bare), kind)
