# ruff: noqa: RUF001  # marks of other languages are meant
"""Cuts a long text into pieces that a model can hold, where a reader would: at headings, paragraphs, sentences.

Pure, and lazy: a piece is found when it is asked for, in time that depends on its own length. Joined without what they
show twice, the pieces are the text.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator

import msgspec

STRIDE = 1280
"""So many characters are weighed at once."""
FIRM, LOOSE = 0.6, 0.4
"""A piece is at least this part of what would fit, where a paragraph ends it, or a heading."""
LONGEST_SENTENCE = 2000
"""Further back no end of a sentence is looked for."""
MOST_MARKS = 16
"""So many marks of one letter are kept together with it."""

_TITLE = r"[^\n]{0,70}$"
_NAMES = (
    "chapter|book|part|section|act|scene|volume|letter|canto|appendix|prologue|epilogue|preface|introduction|conclusion"
    "|abstract|kapitel|teil|abschnitt|chapitre|partie|capítulo|parte|capitolo|hoofdstuk"
)
HEADING = re.compile(
    rf"(?:\A|(?<=\n))(?:#{{1,6}}[ \t]+\S{_TITLE}|[^\s=-][^\n]{{0,70}}\n(?:={{3,}}|-{{3,}})[ \t]*$"
    rf"|(?:(?:\A|(?<=\n\n))(?:(?:{_NAMES})\b{_TITLE}|\d{{1,3}}(?:\.\d{{1,3}}){{0,4}}\.?[ \t]+\S{_TITLE})(?=\n\s*\n)))",
    re.IGNORECASE | re.MULTILINE,
)
"""A line that names what follows: marked as in Markdown, underlined, or a name or number between empty lines."""
_SENTENCE = re.compile(r"[.!?…][\"'”’»)\]]*\s+|[。！？]+[」』”’]*\s*")
Weigh = Callable[[str], float]
"""Tokens of a text, about; what two texts weigh together is the sum."""


class Piece(msgspec.Struct, frozen=True):
    """The text from `start` to `end`, shown from `begin`: before `start` it is what the piece before ends with."""

    begin: int
    start: int
    end: int

    def shown(self, text: str) -> str:
        """What is read of the text."""
        return text[self.begin : self.end]


def cut(text: str, size: float, weigh: Weigh, *, overlap: float = 0, at_headings: bool = False) -> Iterator[Piece]:
    """The text in pieces that weigh at most `size` with what they show of the piece before, which is `overlap`.

    A single character is a piece, however much it weighs. With `at_headings` a piece rather ends before a heading.
    """
    start = 0
    while start < len(text):
        begin = _back(text, start, min(overlap, size / 2), weigh) if start and overlap else start
        end = _reach(text, start, size - weigh(text[begin:start]), weigh)
        end = _border(text, start, end, at_headings=at_headings)
        yield Piece(begin, start, end)
        start = end


def halves(text: str, piece: Piece) -> tuple[Piece, Piece] | None:
    """The same piece in two, of which the second shows nothing twice; None = it is a single character."""
    if piece.end - piece.start < 2:
        return None
    middle = _border(text, piece.start, piece.start + (piece.end - piece.start + 1) // 2)
    return Piece(piece.start, piece.start, middle), Piece(middle, middle, piece.end)


def has_headings(text: str, *, least: int = 2) -> bool:
    """Whether its beginning is parted by headings."""
    return sum(1 for _ in zip(range(least), HEADING.finditer(text[:200_000]), strict=False)) == least


def title_in(text: str) -> str:
    """The last heading of these lines, in one line; '' = there is none."""
    titles = [match[0] for match in HEADING.finditer(text)]
    return titles[-1].split("\n")[0].strip("# \t=-") if titles else ""


def _reach(text: str, start: int, size: float, weigh: Weigh) -> int:
    """The end of what weighs `size` from `start` on, at least a character further."""
    end, left = start, size
    while end < len(text):
        stride = text[end : end + STRIDE]
        weight = weigh(stride)
        if weight > left:
            part = int(len(stride) * max(left, 0) / weight)
            while part and weigh(stride[:part]) > left:
                part = part * 9 // 10
            end += part
            break
        left -= weight
        end += len(stride)
    return max(end, start + 1)


def _back(text: str, start: int, size: float, weigh: Weigh) -> int:
    """Where a sentence begins from which on the text weighs at most `size` up to `start`."""
    begin, left = start, size
    while begin > 0:
        stride = text[max(0, begin - STRIDE) : begin]
        weight = weigh(stride)
        if weight > left:
            part = int(len(stride) * max(left, 0) / weight)
            while part and weigh(stride[len(stride) - part :]) > left:
                part = part * 9 // 10
            begin -= part
            break
        left -= weight
        begin -= len(stride)
    found = _SENTENCE.search(text, begin, start)
    if found is not None and found.end() < start:
        return found.end()
    blank = text.find(" ", begin, start)
    return start if blank < 0 else blank + 1


def _border(text: str, start: int, end: int, *, at_headings: bool = False) -> int:
    """The best place for an end after `start` and not after `end`."""
    if end >= len(text):
        return len(text)
    span = end - start
    firm = start + max(1, int(span * FIRM))
    loose = start + max(1, int(span * (LOOSE / 2 if at_headings else LOOSE)))
    if (found := _last_heading(text, loose, end)) > loose:
        return found
    for blank in ("\n\n", "\n"):
        if (found := text.rfind(blank, firm, end)) >= 0:
            return found + len(blank)
    found = -1
    for match in _SENTENCE.finditer(text, max(start + 1, start + span // 4, end - LONGEST_SENTENCE), end):
        found = match.end()
    if found > start:
        return found
    if (found := text.rfind(" ", start + 1, end)) > 0:
        return found + 1
    return _between_letters(text, start, end)


def _last_heading(text: str, start: int, end: int) -> int:
    found = -1
    for match in HEADING.finditer(text, start, end):
        if match.end() < end or text[end : end + 1] == "\n":  # else its line goes on, and it may be none
            found = match.start()
    return found


def _between_letters(text: str, start: int, end: int) -> int:
    """Not within a letter and its marks, nor between the two characters that end a line."""
    place = end
    while place > max(start + 1, end - MOST_MARKS) and (
        unicodedata.combining(text[place])
        or text[place] in "\u200d\ufe0f"
        or text[place - 1] == "\u200d"
        or (text[place] == "\n" and text[place - 1] == "\r")
    ):
        place -= 1
    return place
