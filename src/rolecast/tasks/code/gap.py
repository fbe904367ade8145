"""A completion for a gap, without what follows the gap already and without the marks that a model writes around it.

Models go on writing past the gap: the rest of the line, the bracket that the editor closed, the line that closes the
block. An editor would show these twice. A bracket that only looks like that stays: what is open before the cursor
decides how many may be closed.
"""

import re
from collections import Counter

LOOKED_AT = 500
"""Lines before and behind the cursor that are looked at."""
LONGEST = 200
"""A longer rest of a line is not looked for."""
TELLING = 4
"""So many characters, with a letter or digit among them, are no chance."""
MARKS = (
    *("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>", "<|file_sep|>", "<|repo_name|>"),
    *("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>", "<file_sep>", "<|endoftext|>", "<|im_end|>"),
    *("<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"),
    *("<SUF>", "<MID>", "<EOT>"),
)
"""How models mark the parts around a gap, and its end."""
_PAIRS = {")": "(", "]": "[", "}": "{"}
QUOTES = "\"'`"
_QUOTED = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'")


class Unmarked:
    """Ends at the first mark of a gap. Marks that the code around has itself are text."""

    why = "stop"

    def __init__(self, prefix: str, suffix: str) -> None:
        self._marks = tuple(mark for mark in MARKS if mark not in prefix and mark not in suffix)
        self._held = ""
        self.over = False

    def read(self, text: str) -> str:
        """As `Filter` says."""
        if self.over:
            return ""
        text = self._held + text
        self._held = ""
        if found := [at for mark in self._marks if (at := text.find(mark)) >= 0]:
            self.over = True
            return text[: min(found)]
        for at in range(max(0, len(text) - LONGEST), len(text)):
            if text[at] in "<[" and any(mark.startswith(text[at:]) for mark in self._marks):
                self._held = text[at:]
                return text[:at]
        return text

    def end(self) -> str:
        """Nothing more comes; gives the rest."""
        held, self._held = self._held, ""
        return held


class Unfollowed:
    """Ends where the completion begins to repeat what stands behind the cursor."""

    why = "suffix"

    def __init__(self, prefix: str, suffix: str) -> None:
        first, _, below = suffix.partition("\n")
        self._rest = first.rstrip() if len(first) <= LONGEST else ""
        """What the line of the cursor has behind it."""
        self._rests = (self._rest, self._rest.lstrip())
        self._closer = next((line.rstrip() for line in below.split("\n") if line.strip()), "")
        if self._closer.strip(" \t)]};,"):
            self._closer = ""
        """The next line, if all it does is close something."""
        self._open = _Signs().and_("\n".join(prefix.split("\n")[-LOOKED_AT:])).open
        self._closes = _Signs().and_("\n".join(suffix.split("\n")[:LOOKED_AT])).closed
        self._lines = _Signs()
        """Of the lines of the completion so far."""
        self._begun = False
        self._line = ""
        self._given = 0
        self.over = False

    def read(self, text: str) -> str:
        """As `Filter` says."""
        found: list[str] = []
        self._line += text
        while not self.over and (at := self._line.find("\n")) >= 0:
            line, rest = self._line[: at + 1], self._line[at + 1 :]
            found.append(self._take(line))
            self._lines = self._lines.and_(line)
            self._begun = True
            self._line, self._given = rest, 0
        if not self.over and (sure := self._sure()) > self._given:
            found.append(self._line[self._given : sure])
            self._given = sure
        return "".join(found)

    def end(self) -> str:
        """Nothing more comes; gives the rest."""
        if self.over or not self._line:
            return ""
        line, self._line = self._line, ""
        return self._take(line)

    def _take(self, line: str) -> str:
        """A whole line; what of it is to be given."""
        body = line.rstrip()
        end = self._ends_at(body)
        if end is None:
            return line[self._given :]
        self.over = True
        return line[self._given : end]

    def _ends_at(self, body: str) -> int | None:
        """Where in a line the repetition begins; None = nowhere."""
        if self._begun and self._closer and body == self._closer and self._too_many(self._lines.and_(body)):
            return 0
        rest = self._rest.lstrip()
        if not rest or not body.endswith(rest):
            return None
        if not self._is_telling(rest) and not self._doubled(self._lines.and_(body), rest):
            return None
        return len(body) - len(self._rest if body.endswith(self._rest) else rest)

    @staticmethod
    def _is_telling(rest: str) -> bool:
        return len(rest) >= TELLING and re.search(r"\w", rest) is not None

    def _doubled(self, written: "_Signs", rest: str) -> bool:
        """Whether a few signs at the end are those behind the cursor, and not signs like them."""
        if re.search(r"\w", rest):
            return False
        if any(sign in _PAIRS for sign in rest):
            return self._too_many(written)
        quotes = [sign for sign in QUOTES if sign in rest]
        return all(written.quotes[sign] % 2 for sign in quotes) if quotes else True

    def _too_many(self, written: "_Signs") -> bool:
        """Whether more would be closed than is open, with what stands behind the cursor."""
        closed = written.closed
        return any(closed[sign] and closed[sign] + self._closes[sign] > self._open[_PAIRS[sign]] for sign in _PAIRS)

    def _sure(self) -> int:
        """So much of a line that is not complete cannot be a repetition."""
        line = self._line
        if self._closer and self._begun and not self._given and self._closer.startswith(line.rstrip()):
            return 0
        for at in range(max(self._given, len(line) - 2 * LONGEST), len(line)):
            tail = line[at:]
            if any(rest and (rest.startswith(tail) or tail.rstrip() == rest) for rest in self._rests):
                return at
        return len(line)


class _Signs:
    """The brackets and quotes of a text, taken line by line."""

    __slots__ = ("closed", "open", "quotes")

    def __init__(self) -> None:
        self.open: Counter[str] = Counter()
        """Brackets that are open at its end."""
        self.closed: Counter[str] = Counter()
        """Those that it closes without having opened them."""
        self.quotes: Counter[str] = Counter()

    def and_(self, text: str) -> "_Signs":
        """The same with some more lines."""
        found = _Signs()
        found.open, found.closed, found.quotes = self.open.copy(), self.closed.copy(), self.quotes.copy()
        for sign in QUOTES:
            found.quotes[sign] += text.count(sign)
        for sign in _QUOTED.sub("", text):
            if sign in "([{":
                found.open[sign] += 1
            elif sign in _PAIRS:
                if found.open[_PAIRS[sign]]:
                    found.open[_PAIRS[sign]] -= 1
                else:
                    found.closed[sign] += 1
        return found
