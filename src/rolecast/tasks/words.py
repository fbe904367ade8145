# ruff: noqa: RUF001  # marks of other languages are meant
"""Counts words, and cuts an answer where a reader would when it has too many of them.

Pure. Letters of scripts that put no blank between words count as word processors count them: each of Chinese and
Japanese is a word, five of Thai, Lao, Khmer and Burmese are one.
"""

import re
from collections.abc import Iterator

_WIDE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_RUN = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_WORD = re.compile(rf"[{_WIDE}]|[{_RUN}]{{1,5}}|(?:(?![{_WIDE}{_RUN}])[^\W_])+(?:['’.,-](?![{_WIDE}{_RUN}])[^\W_]+)*")
_ABBREVIATED = re.compile(
    r"\b(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|No|Nos|vs|etc|e\.g|i\.e|cf|al|Fig|Vol|Jr|Sr|Inc|Ltd|Co|pp?|bzw|Nr|ca)\.$"
)
_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]*_]*+(?=\s|$)|[。！？]+[」』”’]*")
_LINE = re.compile(r"(?<=\S)[ \t]*\n")
_MARKED = re.compile(r"(?<![ \t])[ \t]*\n(?![ \t]*(?:[-*•#>]|\d+[.)])[ \t])")
_PARAGRAPH = re.compile(r"\n\s*\n")
_CLOSING = re.compile(r"[^\w\s]*")
_CLAUSE = re.compile(r"[,;:–—](?=\s)|[，；：、]")
ELLIPSIS = "…"
MOST_HELD = 4000
"""So many characters are held back for the end of their sentence."""
RECOUNTED = 400
"""So many characters of a text that comes in pieces are counted again with each."""


def count(text: str) -> int:
    """How many words there are."""
    return sum(1 for _ in _WORD.finditer(text))


def ends(text: str, start: int = 0) -> list[int]:
    """Where sentences and lines end from `start` on, in order, without the blanks behind."""
    found = {match.start() for match in _LINE.finditer(text, start)}
    for match in _END.finditer(text, start):
        if match[0] != "." or not _ABBREVIATED.search(text, max(0, match.end() - 8), match.end()):
            found.add(match.end())
    return sorted(found)


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, each in one line as it stands; headings and entries of lists are some."""
    for paragraph in _PARAGRAPH.split(text):
        flat, start = _MARKED.sub(" ", paragraph), 0  # a line that goes on is no end
        for end in [*ends(flat), len(flat)]:
            if sentence := flat[start:end].strip():
                yield sentence
            start = end


def cut(text: str, least: int, most: int) -> str:
    """The beginning of a text with at most `most` words, 1 or more: up to the last sentence or line that fits.

    Where that leaves less than `least`, up to the last clause, or word, with an ellipsis.
    """
    places = [match.end() for match in _WORD.finditer(text)]
    if len(places) <= most:
        return text
    limit, floor = places[most - 1], places[max(0, min(least, most) - 1)]
    closing = _CLOSING.match(text, limit)
    reach = closing.end() if closing else limit
    fitting = [end for end in ends(text[: reach + 1]) if floor <= end <= reach]
    if fitting:
        return text[: fitting[-1]]
    clauses = [match.start() for match in _CLAUSE.finditer(text, floor, limit)]
    return f"{text[: clauses[-1] if clauses else limit]} {ELLIPSIS}"


class LiveCut:
    """Lets a text through as it comes while it has few enough words: freely up to `least`, then by whole sentences.

    `full` is true once no more may come; what was let through then has at most `most` words.
    """

    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self._most = most
        self._whole = ""
        self._sent = 0
        self._mark = self._words = 0
        self.full = False

    @property
    def sent(self) -> str:
        """What was let through."""
        return self._whole[: self._sent]

    def take(self, piece: str) -> str:
        """Some more; what of it may go on, which is perhaps nothing yet."""
        if self.full:
            return ""
        self._whole += piece
        words = self._count()
        if words < self._least:
            return self._on(len(self._whole))
        if words > self._most:
            return self._last()
        if len(self._whole) - self._sent > MOST_HELD:
            return self._on(len(self._whole))
        fitting = [end for end in ends(self._whole, self._sent) if end < len(self._whole)]
        return self._on(fitting[-1]) if fitting else ""

    def rest(self) -> str:
        """The text has ended: what of it is left, if it fits."""
        if self.full:
            return ""
        return self._last() if self._count() > self._most else self._on(len(self._whole))

    def _count(self) -> int:
        """Words so far; those in front of the mark are not counted again."""
        found = self._words + count(self._whole[self._mark :])
        if len(self._whole) - self._mark > RECOUNTED:
            blank = self._whole.rfind(" ", self._mark)
            if blank <= self._mark:  # of what has none for so long, a word may count twice
                blank = len(self._whole)
            self._words += count(self._whole[self._mark : blank])
            self._mark = blank
        return found

    def _on(self, end: int) -> str:
        going, self._sent = self._whole[self._sent : end], max(self._sent, end)
        return going

    def _last(self) -> str:
        self.full = True
        fitting = cut(self._whole, self._least, self._most)
        if len(fitting.removesuffix(f" {ELLIPSIS}")) < self._sent:  # the rest was blanks, which have gone on
            fitting = self.sent + (ELLIPSIS if fitting.endswith(ELLIPSIS) else "")
        self._whole = fitting
        return self._on(len(fitting))
