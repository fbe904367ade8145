"""Fenced blocks of code in an answer, read as it comes: what is code, and what is said around it.

Fences are CommonMark's (spec 0.31, 4.5): three or more backticks or tildes, closed by as many of the same or more. One
may be indented as far as it likes, since models put blocks into lists; its lines lose as much.
"""

import re
from collections.abc import Callable

from rolecast.tasks.code.language import language_named

_OPENS = re.compile(r"([ \t]*)(`{3,}(?=[^`]*$)|~{3,})[ \t]*([^\s`{]*)[^\r\n]*(?:\r?\n)?$")
_CLOSES = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*(?:\r?\n)?$")
HELD = 200
"""A line that is longer opens no fence."""


def fenced(code: str, language: str = "") -> str:
    """Code in a fence that nothing in it closes."""
    runs = (len(run) for run in re.findall("`+", code))
    fence = "`" * max(3, 1 + max(runs, default=0))
    return f"{fence}{language}\n{code}{'' if code.endswith(chr(10)) else chr(10)}{fence}"


class Fences:
    """Tells the code of an answer from the rest.

    The code is the first block in the language that is asked for, or in none that is said; without one, the first of
    all. `join` puts those that follow in that language behind it. An answer without a fence is `said`, all of it.
    """

    def __init__(self, language: str, *, join: bool = False) -> None:
        self._language = language
        self._join = join
        self._line = ""
        self._fence = ""
        self._indent = 0
        self._taken = False
        self._blocks = 0
        self._code: list[str] = []
        self._said: list[str] = []
        self._other: list[str] | None = None
        """The first block in another language, while none fits; it is `said` as well, from `_from` to `_to`."""
        self._from = self._to = 0
        self._mid = False
        """The begin of the line that comes was taken already."""
        self._emit: Callable[[str], None] = self._said.append

    @property
    def code(self) -> str:
        """The code so far, its line ends as they came."""
        return "".join(self._code)

    @property
    def said(self) -> str:
        """All that is no code of it, other blocks among it."""
        return "".join(self._said).strip()

    @property
    def blocks(self) -> int:
        """Blocks that were opened."""
        return self._blocks

    @property
    def open(self) -> bool:
        """The answer broke off within a block."""
        return bool(self._fence)

    def read(self, text: str) -> str:
        """Some more of the answer; gives what of it is code for sure, as soon as it is."""
        before = len(self._code)
        *lines, self._line = (self._line + text).split("\n")  # what is held of a line is short
        for line in lines:
            self._take(f"{line}\n")
        if self._line and self._is_plain(self._line):
            self._take_part()
        return "".join(self._code[before:])

    def end(self) -> str:
        """The answer is complete; gives the code that was not given yet."""
        before = len(self._code)
        if self._line:
            line, self._line = self._line, ""
            self._take(line)
        if not self._taken and self._other is not None:
            self._code += self._other
            del self._said[self._from : self._to or None]
            self._taken = True
        return "".join(self._code[before:])

    def _take(self, line: str) -> None:
        """A whole line, or the last one."""
        if self._mid:
            self._mid = False
            self._emit(line)
        elif self._fence:
            closes = _CLOSES.match(line) if len(line) < HELD else None
            if closes and closes[1][0] == self._fence[0] and len(closes[1]) >= len(self._fence):
                self._close(line)
            else:
                self._emit(self._dedented(line))
        elif (opens := _OPENS.match(line) if len(line) < HELD else None) is not None:
            self._open(line, *opens.groups())
        else:
            self._said.append(line)

    def _is_plain(self, part: str) -> bool:
        """Whether a line that begins so is no fence, however it goes on."""
        if self._mid or len(part) >= HELD:
            return True
        bare = part.lstrip(" \t")
        return bool(bare) and bare[0] not in "`~"

    def _take_part(self) -> None:
        """The begin of a line that is no fence: nobody need wait for its end."""
        part, self._line = self._line, ""
        self._emit(part if self._mid or not self._fence else self._dedented(part))
        self._mid = True

    def _dedented(self, line: str) -> str:
        own = len(line) - len(line.lstrip(" \t"))
        return line[min(own, self._indent) :]

    def _open(self, line: str, indent: str, fence: str, info: str) -> None:
        self._fence, self._indent = fence, len(indent)
        self._blocks += 1
        fits = not info or language_named(info) == self._language
        if fits and not self._taken:
            self._taken = True
            self._emit = self._code.append
        elif fits and self._join:
            self._emit = self._code.append
            self._code.append("\n")
        elif not self._taken and self._other is None:
            self._other, self._from = [], len(self._said)
            self._said.append(line)
            self._emit = self._take_other
        else:
            self._said.append(line)
            self._emit = self._said.append

    def _take_other(self, line: str) -> None:
        assert self._other is not None
        self._other.append(line)
        self._said.append(line)

    def _close(self, line: str) -> None:
        self._fence = ""
        if self._emit != self._code.append:
            self._said.append(line)
            self._to = self._to or (len(self._said) if self._other is not None else 0)
        self._emit = self._said.append
