"""Puts values back where an answer has their tokens, also where a stream cuts a token in pieces."""

import json
import re
from collections.abc import Mapping

from rolecast.privacy.tokens import ANY, MOST_DIGITS, NAMES, WORDS

_OPEN = ("", "[", "\\[", "%5B")
_BETWEEN = ("_", "\\_", "-", " ")
_HEADS = [f"{opened}{word}{between}" for opened in _OPEN for word in WORDS.values() for between in _BETWEEN]
_BEGINNINGS = frozenset(head[:size].upper() for head in _HEADS for size in range(1, len(head) + 1))
_UNFINISHED = re.compile(
    rf"(?:%5B|\\?\[)?(?:{NAMES})(?:\\?_|[- ])[0-9a-f]{{0,{MOST_DIGITS}}}(?:\\|%5?)?", re.IGNORECASE
)
LONGEST = max(map(len, _HEADS)) + MOST_DIGITS + 2
"""Characters of a token that is not complete."""


class Restorer:
    """One text that comes in pieces. `escaped` = it is JSON, so that values stand in strings of it."""

    def __init__(self, values: Mapping[str, str], *, escaped: bool = False) -> None:
        """`values` by their tokens without brackets, as `Tokens.of` gives them."""
        self._values = values
        self._escaped = escaped
        self._held = ""
        self._last = ""
        """The character before what is held back."""

    def feed(self, text: str) -> str:
        """What can be said of it now."""
        text = self._held + text
        kept = _beginning(text, self._last)
        self._held = text[kept:]
        return self._restored(text[:kept])

    def end(self) -> str:
        """The rest."""
        rest, self._held = self._held, ""
        return self._restored(rest)

    def whole(self, text: str) -> str:
        """A text that is complete."""
        return ANY.sub(self._value, text)

    def _restored(self, text: str) -> str:
        if not text:
            return text
        # What stands before decides whether a token begins here at all.
        found = ANY.sub(self._value, self._last + text)[len(self._last) :] if self._last else self.whole(text)
        self._last = text[-1]
        return found

    def _value(self, match: re.Match[str]) -> str:
        value = self._values.get(f"{match[1].upper()}_{match[2].lower()}")
        if value is None:
            return match[0]
        return json.dumps(value, ensure_ascii=False)[1:-1] if self._escaped else value


def _beginning(text: str, before: str) -> int:
    """From where on the text may be the beginning of a token."""
    for start in range(max(0, len(text) - LONGEST), len(text)):
        tail = text[start:].upper()
        if tail not in _BEGINNINGS and not _UNFINISHED.fullmatch(tail):
            continue
        behind = text[start - 1] if start else before
        if tail[0] in "[\\%" or not (behind.isalnum() and behind.isascii()):
            return start
    return len(text)
