"""A text cut into pieces that are translated by themselves, and what is between them and stays. Pure.

The pieces and gaps, joined, are the text to the character.
"""

import re
from collections.abc import Callable, Iterator

import msgspec

_FENCE = re.compile(r"^[ \t]*(```+|~~~+)")
_SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])\s*")  # noqa: RUF001  # other writing's stops
_SHAPE = re.compile(r"[ \t]*(?:#{1,6}(?=\s)|[-*+](?=\s)|>|\d{1,3}[.)](?=\s)|\|)?")
_LETTER = re.compile(r"[^\W\d_]")

Measure = Callable[[str], float]
"""About how many tokens a text has."""


class Piece(msgspec.Struct, frozen=True):
    """Some text. `kept` = it stays as it is."""

    text: str
    kept: bool = False


def pieces(text: str, most: float, measure: Measure) -> list[Piece]:
    """The text as pieces of at most so many tokens: paragraphs together where they fit, long ones cut at sentences."""
    found: list[Piece] = []
    for piece in _blocks(text):
        last = found[-1] if found else None
        if last is not None and last.kept and not (last.text + piece.text).strip():
            found[-1] = Piece(last.text + piece.text, True)
        elif piece.kept or not _LETTER.search(piece.text):
            found.append(Piece(piece.text, True))
        elif (
            len(found) > 1
            and last is not None
            and last.kept
            and not last.text.strip()
            and not found[-2].kept
            and measure(joined := found[-2].text + last.text + piece.text) <= most
        ):
            found[-2:] = [Piece(joined)]
        else:
            found += _fitting(piece.text, most, measure)
    return found


def shape(text: str) -> list[str]:
    """What a translation keeps of the lines: how many they are, which are empty, and their marks of Markdown."""
    return [_marked(line) if line.strip() else "" for line in text.split("\n")]


def opening(line: str) -> str:
    """The mark of Markdown that a line begins with, and the spaces around it."""
    found = _SHAPE.match(line)
    end = found.end() if found else 0
    return line[: end + len(line[end:]) - len(line[end:].lstrip())]


def _marked(line: str) -> str:
    mark = opening(line).strip()
    return "1." if mark[:1].isdigit() else mark if mark not in ("*", "+") else "-"


def _blocks(text: str) -> Iterator[Piece]:
    """Code, the blank lines between paragraphs, and paragraphs, each without its last line break."""
    fence, lines, blank = "", list[str](), True
    for whole in re.findall(r"[^\n]*\n|[^\n]+", text):
        opens = _FENCE.match(whole)
        if fence:
            lines.append(whole)
            if whole.strip().startswith(fence) and not whole.strip().strip(fence[0]):
                yield Piece("".join(lines), True)
                fence, lines, blank = "", [], True
        elif opens:
            yield from _paragraph(lines, blank)
            fence, lines = opens[1], [whole]
        elif lines and (not whole.strip()) != blank:
            yield from _paragraph(lines, blank)
            lines, blank = [whole], not whole.strip()
        else:
            if not lines:
                blank = not whole.strip()
            lines.append(whole)
    if fence:
        yield Piece("".join(lines), True)
    else:
        yield from _paragraph(lines, blank)


def _paragraph(lines: list[str], blank: bool) -> Iterator[Piece]:
    text = "".join(lines)
    if not text:
        return
    if blank:
        yield Piece(text, True)
        return
    yield from _trimmed(text)


def _trimmed(text: str) -> Iterator[Piece]:
    """The text without the space around it, which stays."""
    bare = text.strip()
    start = text.index(bare)
    for each in (Piece(text[:start], True), Piece(bare), Piece(text[start + len(bare) :], True)):
        if each.text:
            yield each


def _fitting(text: str, most: float, measure: Measure) -> Iterator[Piece]:
    """A paragraph in pieces that fit, cut at lines, sentences, words, and at last anywhere."""
    if measure(text) <= most or len(text) < 2:
        yield Piece(text)
        return
    for cut in (re.compile(r"\n+"), _SENTENCE, re.compile(r"\s+")):
        places = [found.end() for found in cut.finditer(text) if 0 < found.end() < len(text)]
        if places:
            middle = min(places, key=lambda at: abs(at - len(text) // 2))
            if cut is _SENTENCE or len(text) // 8 <= middle <= len(text) - len(text) // 8:
                break
    else:
        middle = len(text) // 2
    for half in (text[:middle], text[middle:]):
        for piece in _trimmed(half):
            if piece.kept:
                yield piece
            else:
                yield from _fitting(piece.text, most, measure)
