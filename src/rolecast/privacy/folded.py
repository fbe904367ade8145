"""A text as people read it: without signs that nobody sees, and with what stands for others written out.

Copies of web pages have soft hyphens and spaces of no width, file names of a Mac their accents apart, links `%40` for
the `@`. What is private there is as private; so it is looked for in the text as it is read, too.
"""

import re
import unicodedata
from bisect import bisect_right

from rolecast.privacy.spans import Span

_WRITTEN_OUT = (
    r"%[2-7][0-9A-Fa-f]|\\u00[2-7][0-9A-Fa-f]|\\x[2-7][0-9A-Fa-f]|&#(?:\d{2,3}|[xX][0-7][0-9A-Fa-f]);|&commat;"
)
_UNSEEN = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff"
_MARKS = "\u0300-\u036f"
_WIDE = "\ufe52\ufe55\ufe5f-\ufe6b\uff01-\uff5e\U0001d400-\U0001d7ff"
_ASCII = re.compile(_WRITTEN_OUT)
_ANY = re.compile(rf"{_WRITTEN_OUT}|[{_UNSEEN}]+|[^\W\d_][{_MARKS}]{{1,4}}|[{_WIDE}]")
"""Each with a bounded length but for what nobody sees, so that a search takes linear time."""
_SIGNS = ("%", "\\", "&")


class Folded:
    """A text as it is read, and where its parts stood. Falsy where it is read as it is written."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._ends: list[tuple[int, int]] = []
        """Behind each part that is read otherwise: where it ends as it is read, and as it is written."""
        self._begins: list[tuple[int, int]] = []
        if text.isascii():
            if not any(sign in text for sign in _SIGNS):
                return
            odd = _ASCII
        else:
            odd = _ANY
        pieces: list[str] = []
        size = at = 0
        for found in odd.finditer(text):
            before, read = text[at : found.start()], _read(found[0])
            size += len(before)
            self._begins.append((size, found.start()))
            size, at = size + len(read), found.end()
            self._ends.append((size, at))
            pieces += (before, read)
        if pieces:
            self.text = "".join((*pieces, text[at:]))

    def __bool__(self) -> bool:
        return bool(self._ends)

    def written(self, span: Span) -> Span:
        """Where something stands as it was written."""
        return Span(self._place(span.start, last=False), self._place(span.end - 1, last=True), span.kind, span.told)

    def _place(self, at: int, *, last: bool) -> int:
        """Where the character that is read there begins; behind it for the `last` one."""
        part = bisect_right(self._begins, (at, len(self.text) * 16)) - 1
        if part < 0:
            return at + last
        (end, behind), (_, begin) = self._ends[part], self._begins[part]
        if at < end:
            return behind if last else begin
        return behind + at - end + last


def _read(part: str) -> str:
    """What people read in place of this."""
    if part[0] in "%\\":
        return chr(int(part[-2:], 16))
    if part == "&commat;":
        return "@"
    if part[0] == "&":
        code = int(part[3:-1], 16) if part[2] in "xX" else int(part[2:-1])
        return chr(code) if 32 <= code < 127 else " "
    if unicodedata.category(part[0])[0] in "CM":
        return ""
    return unicodedata.normalize("NFKC", part)
