"""Where a value ends in a text that comes in pieces. Counts brackets and strings; reads nothing twice and no value."""

import re

MOST_DEPTH = 128
"""No arguments are nested so deep."""
_IN_STRING = {'"': re.compile(r'["\\]'), "'": re.compile(r"['\\]")}
_JSON = re.compile(r'["{}\[\]]|[^\s:,0-9.+\-Eaeflnrstu]')
_LITERALS = re.compile(r"[\"'(){}\[\]]")


class Scan:
    """Looks for the end of one JSON object or list."""

    _outside = _JSON
    _quotes = '"'

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._quote = ""
        self._escaped = False

    def end(self, text: str, at: int) -> int | None:
        """The place behind the value, `~` of the first sign that cannot be in one, or None when more must come."""
        while at < len(text):
            if self._quote:
                at = self._string(text, at)
                continue
            mark = self._outside.search(text, at)
            if mark is None:
                break
            at, sign = mark.end(), mark[0]
            if sign in "{[(":
                self._depth += 1
                if self._depth > MOST_DEPTH:
                    return ~mark.start()
            elif sign in "}])":
                self._depth -= 1
                if self._depth <= 0:
                    return at
            elif self._opens(sign, text, mark.start()):
                self._quote = sign
            elif sign not in "\"'":
                return ~mark.start()
        return None

    def _string(self, text: str, at: int) -> int:
        if self._escaped:
            self._escaped = False
            return at + 1
        mark = _IN_STRING[self._quote].search(text, at)
        if mark is None:
            return len(text)
        if mark[0] == "\\":
            self._escaped = True
        else:
            self._quote = ""
        return mark.end()

    def _opens(self, sign: str, text: str, at: int) -> bool:
        return sign == '"'


class LiteralsScan(Scan):
    """Looks for the bracket behind literals such as `city='Rome', days=[1, 2]`; the first one is open already."""

    _outside = _LITERALS

    def __init__(self) -> None:
        super().__init__(depth=1)
        self._before = "("

    def end(self, text: str, at: int) -> int | None:
        """As of JSON. A quote within a word, as in `it's`, begins no string."""
        found = super().end(text, at)
        self._before = text[at:].rstrip()[-1:] or self._before
        return found

    def _opens(self, sign: str, text: str, at: int) -> bool:
        return sign == '"' or (text[:at].rstrip()[-1:] or self._before) in "=([{,:"
