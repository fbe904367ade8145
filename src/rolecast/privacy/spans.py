"""Where something private stands in a text, and of which kind it is."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

KINDS = ("keys", "emails", "ibans", "cards", "phones", "ips", "names")
"""What can be found, by the words of the configuration. Of two that overlap the one named first gives its name."""
_RANK = {kind: rank for rank, kind in enumerate(KINDS)}


class Span(NamedTuple):
    """A piece of a text, from `start` to before `end`, in characters."""

    start: int
    end: int
    kind: str
    told: bool = False
    """Only what stands around it says what it is, so that the same text elsewhere would not be found."""


def merged(spans: Iterable[Span], rank: Mapping[str, int] = _RANK) -> list[Span]:
    """In order and apart: those that overlap become one, so that no end of either stays in the text.

    Its kind is the one with the lower rank.
    """
    found: list[Span] = []
    for span in sorted(spans):
        last = found[-1] if found else None
        if last is None or span.start >= last.end:
            found.append(span)
            continue
        kind = min(last.kind, span.kind, key=rank.__getitem__)
        found[-1] = Span(last.start, max(last.end, span.end), kind, last.told or span.told)
    return found
