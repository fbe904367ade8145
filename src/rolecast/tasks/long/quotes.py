"""Whether quotes in an answer are in the text that it is about.

Pure. Blanks, letter case and kinds of marks are not looked at; an ellipsis in a quote may stand for anything.
"""

import re

_QUOTE = re.compile(r"\"([^\"\n]+)\"|“([^“”\n]+)”|„([^„“”\n]+)[“”]|«([^«»\n]+)»|「([^「」\n]+)」")
SHORTEST = 12
"""Shorter ones, in letters, are names and terms."""
_GAP = re.compile(r"\s*(?:\[?\.\.\.\]?|\[?…\]?)\s*")
_BLANK = re.compile(r"[^\w]+")


class Quotes:
    """Looks quotes up in one text."""

    def __init__(self, text: str) -> None:
        self._text = _plain(text)

    def check(self, answer: str) -> tuple[str, int, int]:
        """The answer in which quotes that are not in the text have no marks; how many are there, and how many not."""
        there = absent = 0

        def look(match: re.Match[str]) -> str:
            nonlocal there, absent
            quoted = next(each for each in match.groups() if each is not None)
            if len(quoted) < SHORTEST:
                return match[0]
            if self._has(quoted):
                there += 1
                return match[0]
            absent += 1
            return quoted

        return _QUOTE.sub(look, answer), there, absent

    def _has(self, quoted: str) -> bool:
        place = 0
        for piece in filter(None, map(_plain, _GAP.split(quoted))):
            place = self._text.find(piece, place)
            if place < 0:
                return False
            place += len(piece)
        return True


def _plain(text: str) -> str:
    return _BLANK.sub(" ", text.casefold()).strip()
