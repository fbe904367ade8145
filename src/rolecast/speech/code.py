"""Where a text is code: blocks between fences, and spans between backquotes. What looks like a mark there is none."""

import re

_RUN = re.compile(r"`+")
_RUN_OR_LINE = re.compile(r"`+|\n")
FENCE = 3
LONGEST_RUN = 64


class Code:
    """Follows a text, in pieces, by what was said of it."""

    def __init__(self) -> None:
        self._run = ""
        """The backquotes that began it; empty outside of code."""
        self._block = False
        self.at_line = True
        """Nothing but white space stands before this place on its line."""

    @property
    def open(self) -> bool:
        """Whether the text is code here."""
        return bool(self._run)

    def begin(self, run: str) -> None:
        """Backquotes outside of code, which are yet to be noted."""
        self._run = run
        self._block = len(run) >= FENCE

    def note(self, text: str) -> None:
        """Some more of the text."""
        last = text.rpartition("\n")
        self.at_line = (bool(last[1]) or self.at_line) and not last[2].strip()

    def passed(self) -> None:
        """Some text came that nobody looked at."""
        self.at_line = False

    def end(self, text: str, at: int, *, last: bool) -> int:
        """Up to where the text is code, at most to its end; `at` when more must come to tell."""
        for mark in (_RUN if self._block else _RUN_OR_LINE).finditer(text, at):
            run = mark[0]
            if run == "\n":  # a span that was none
                self._run = ""
                return mark.end()
            if mark.end() == len(text) and not last and len(run) < LONGEST_RUN:  # it may go on
                return mark.start()
            if len(run) >= len(self._run) if self._block else run == self._run:
                self._run = ""
                return mark.end()
        return len(text)
