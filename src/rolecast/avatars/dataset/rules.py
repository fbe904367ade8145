"""A table of patterns for what is private: what they find, and what a text must have so that they are tried at all."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from rolecast.privacy.spans import Span

_WORD = re.compile(r"[^\W\d_]+")


class Rule(NamedTuple):
    """One pattern. Its group `v`, where it has one, is what is private; the rest tells that it is."""

    kind: str
    pattern: re.Pattern[str]
    digits: bool = True
    """Whether there must be a digit in the text."""
    words: frozenset[str] = frozenset()
    """One of these must be in it, in small letters; empty = none has to."""
    fits: Callable[[str], bool] | None = None
    """Whether what was found is private."""
    sign: str = ""
    """What must be in the text."""


def rule(
    kind: str,
    pattern: str,
    *,
    digits: bool = True,
    words: str = "",
    fits: Callable[[str], bool] | None = None,
    case: bool = False,
    sign: str = "",
) -> Rule:
    """`case` = capital letters are told from small ones."""
    return Rule(kind, re.compile(pattern, 0 if case else re.IGNORECASE), digits, frozenset(words.split()), fits, sign)


class Rules:
    """A table, ready to be used. Each pattern has a bounded length, so that a search takes linear time."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)

    def find(self, text: str) -> Iterator[Span]:
        """What is private, in any order."""
        digits = any(map(str.isdigit, text))
        words: set[str] | None = None
        for each in self._rules:
            if (each.digits and not digits) or each.sign not in text:
                continue
            if each.words:
                if words is None:
                    words = {m[0] for m in _WORD.finditer(text.lower())}
                if each.words.isdisjoint(words):
                    continue
            for found in each.pattern.finditer(text):
                group = "v" if "v" in each.pattern.groupindex else 0
                if found[group] and (each.fits is None or each.fits(found[group])):
                    yield Span(*found.span(group), each.kind, told=group == "v")
