"""Where a completion of code ends: before the next definition, or where what follows the cursor begins.

A closing fence ends one as
well. Goes by lines and their indentation, as people write code; parses nothing, so that a stream is cut as it comes.
"""

import re
from functools import cache

from rolecast.tasks.code.language import BY_NAME

_ANY = r"(?:async\s+def|def|class|function|func|fn|public|private|interface|struct)\b"
"""What begins a definition in a language that nobody knows."""
_DECORATES = re.compile(r"\s*(?:@\w|#\[)")
FENCE = "```"
LONGEST_LINE = 1000
LOOKED_BACK = 500
"""Lines before the cursor that are looked at."""
TELLING = 4
"""A line of what follows has so many characters, if meeting it shall mean anything."""


@cache
def _patterns(language: str) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    """What begins a definition, and what begins one that holds others."""
    known = BY_NAME.get(language)
    begins, kinds = (known.begins, known.kinds) if known else (_ANY, r"class\b")
    return (re.compile(begins) if begins else None), (re.compile(kinds) if kinds else None)


class _Open:
    """A definition whose body may go on: its indentation, and whether each of those within stands for itself."""

    __slots__ = ("indent", "parts")

    def __init__(self, indent: int, parts: bool) -> None:
        self.indent = indent
        self.parts = parts


class Cut:
    """Takes a completion as it comes and gives it back up to its end.

    `prefix` is what stands before the cursor, `suffix` what follows. A definition that the completion begins with is
    what is wanted; the next one that stands beside it, or further out, ends it. Blank lines and decorators before that
    are not given. What is given is the begin of what came, to the letter.
    """

    def __init__(self, language: str, prefix: str, suffix: str = "") -> None:
        self._begins, self._kinds = _patterns(language)
        self._stack: list[_Open] = []
        *before, cursor = prefix.split("\n")
        for line in before[-LOOKED_BACK:]:
            self._look(line.rstrip("\r"))
        self._cursor = cursor
        """What the line of the cursor has already; '' once the completion has ended it."""
        self._first = True
        """Nothing was written yet that says where we are."""
        self._follows = next((line.strip() for line in suffix.splitlines() if line.strip()), "")
        if len(self._follows) < TELLING or not suffix.startswith(("\n", "\r\n")):
            self._follows = ""
        self._line = ""
        self._given = 0
        """So much of the line was given."""
        self._held: list[str] = []
        self.why = ""
        """Why it has ended: `definition`, `suffix`, `fence`; '' = it has not."""

    @property
    def over(self) -> bool:
        """It has ended."""
        return bool(self.why)

    def read(self, text: str) -> str:
        """Some more; gives what of it belongs to the completion for sure. Nothing once it has ended."""
        given: list[str] = []
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if self.why:
                break
            given.append(self._take(f"{line}\n"))
        if not self.why and self._line and not self._may_end(self._line):
            given.append(self._drop_held() + self._line[self._given :])
            self._line = self._line[: LONGEST_LINE + 1]  # the rest of a long line tells nothing
            self._given = len(self._line)
        return "".join(given)

    def end(self) -> str:
        """Nothing more comes; gives the rest."""
        if self.why:
            return ""
        line, self._line = self._line, ""
        rest = self._take(line) if line else ""
        return rest if self.why else rest + self._drop_held()

    def _drop_held(self) -> str:
        held = "".join(self._held)
        self._held.clear()
        return held

    def _take(self, line: str) -> str:
        """A whole line; what of it, and of what was held back before it, is to be given."""
        given, self._given = self._given, 0
        cursor, self._cursor = self._cursor, ""
        whole = cursor + line.rstrip("\r\n")
        if not whole.strip():
            self._held.append(line[given:])
            return ""
        if not (cursor or given) and _DECORATES.match(whole):
            self._held.append(line)
            return ""
        if not given and not cursor.strip():
            if whole.rstrip() == FENCE:  # as if it had been written for a chat
                self.why = "fence"
                return ""
            if self._follows and whole.strip() == self._follows:
                self.why = "suffix"
                return ""
            if not self._first and self._ends_here(whole):
                self.why = "definition"
                return ""
        self._look(whole, ours=True)
        self._first = False
        return self._drop_held() + line[given:]

    def _may_end(self, part: str) -> bool:
        """Whether a line that begins so may be one that ends the completion, so that it is held back."""
        if self._given or len(part) > LONGEST_LINE:
            return False
        if self._cursor.strip():
            return False
        bare = part.strip()
        if not bare or bare[0] in "@#" or FENCE.startswith(part.rstrip()):
            return True
        return bool(self._follows.startswith(bare) or (not self._first and self._within(part)))

    def _within(self, part: str) -> bool:
        """Whether a line that begins so stands where a definition would end the completion."""
        return bool(self._begins) and (not self._stack or self._stack[-1].indent >= _indent(part))

    def _ends_here(self, line: str) -> bool:
        if self._begins is None or not self._begins.match(line.lstrip()):
            return False
        return bool(self._stack) and _indent(line) <= self._stack[-1].indent

    def _look(self, line: str, *, ours: bool = False) -> None:
        """Note where a line stands, and the definition that it begins."""
        bare = line.strip()
        if not bare:
            return
        indent = _indent(line)
        begins = self._begins is not None and self._begins.match(bare) is not None
        if not ours or self._first:
            while self._stack and self._stack[-1].indent >= indent and (begins or not _closes(bare)):
                self._stack.pop()
        if begins:
            parts = self._kinds is not None and self._kinds.match(bare) is not None and not ours
            if not ours or not self._stack or self._stack[-1].parts:
                self._stack.append(_Open(indent, parts))


def _closes(bare: str) -> bool:
    """Whether a line only closes what was opened before."""
    return not bare.strip("})];, ") or bare == "end"


def _indent(line: str) -> int:
    line = line.expandtabs(4)
    return len(line) - len(line.lstrip(" "))
