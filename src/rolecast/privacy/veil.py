"""A body of JSON whose private values are replaced by tokens, and what the tokens stand for."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from rolecast.privacy.finder import Finder, repeated
from rolecast.privacy.spans import Span, merged
from rolecast.privacy.tokens import Tokens

_MEDIA = "data file_data b64_json image_data signature encrypted_content audio_data image bytes thought_signature"
MEDIA = frozenset(_MEDIA.split())
"""Fields that hold what is no text, where it looks so."""
LINKS = frozenset({"image_url", "video_url", "audio_url", "file_url", "source", "file"})
"""Fields whose `url` is the address of a medium, which its reader must be able to fetch."""
_BASE64 = re.compile(r"[A-Za-z0-9+/=_\r\n-]*\Z")
_DATA = re.compile(r"data:[\w.+/-]{0,100}(?:;[\w.+-]{1,40}=[\w.+-]{1,60}){0,4};base64,")
LEAST_BASE64 = 64
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
LEAST_NUMBER, MOST_NUMBER = 10**6, 10**25
"""Smaller and larger numbers are nobody's."""
DEEPEST = 200


class Unreadable(Exception):
    """It cannot be searched."""


class Repeated(dict[str, Any]):
    """An object whose body named a field twice: which of them its reader takes, nobody knows."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else Repeated(found)


class Veil:
    """One request: what was found in it, and its tokens."""

    def __init__(self, finder: Finder, tokens: Tokens) -> None:
        self._finder = finder
        self._tokens = tokens
        self.values: dict[str, str] = {}
        """Values by their tokens, without brackets."""
        self.counts: dict[str, int] = {}
        """How often each kind was replaced."""
        self.unread = 0
        """Pieces that hold no text, or text as numbers, and were not searched."""
        self.repeats = False
        """A field is named twice in the body, so that it must be written anew."""
        self._told: dict[str, str] = {}

    def cover(self, body: bytes) -> bytes:
        """The body without what is private; the very bytes where nothing is. Raises Unreadable."""
        try:
            found = json.loads(body, object_pairs_hook=_object)
            covered = self._walk(found, self._covered, "", 0)
            if self._told:  # what only its surroundings gave away may stand elsewhere without them
                covered = self._walk(covered, self._again, "", 0)
            if not self.values and not self.repeats:
                return body
            return json.dumps(covered, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        except (ValueError, RecursionError) as error:
            raise Unreadable(type(error).__name__) from None

    def _walk(self, value: Any, text: Callable[[str, str], str], field: str, depth: int) -> Any:
        """The same value with every text in it seen to."""
        if depth > DEEPEST:
            raise Unreadable("nested too deeply")
        if isinstance(value, str):
            return value if field == "model" and depth == 1 else text(value, field)
        if isinstance(value, dict):
            self.repeats = self.repeats or isinstance(value, Repeated)
            return {text(name, ""): self._field(name, each, text, field, depth + 1) for name, each in value.items()}
        if isinstance(value, list):
            if len(value) > 3 and all(type(each) is int and each <= LEAST_NUMBER for each in value):
                self.unread += 1  # tokens of a text, or bytes
                return value
            return [self._walk(each, text, field, depth + 1) for each in value]
        if isinstance(value, int | float) and depth > 1 and LEAST_NUMBER < abs(value) < MOST_NUMBER and value % 1 == 0:
            said = str(abs(int(value)))
            covered = text(said, field)
            return value if covered == said else covered
        return value

    def _field(self, name: str, value: Any, text: Callable[[str, str], str], within: str, depth: int) -> Any:
        if name == "url" and within in LINKS and isinstance(value, str) and value.startswith(("http://", "https://")):
            self.unread += 1
            return value
        return self._walk(value, text, name, depth)

    def _covered(self, text: str, field: str) -> str:
        if self._is_medium(text, field):
            self.unread += 1
            return text
        if "\\" in text and text.lstrip()[:1] in ("{", "[", '"'):
            return self._in_json(text, field)
        return self._replaced(text, self._finder.find(text), field)

    def _again(self, text: str, field: str) -> str:
        if self._is_medium(text, field):
            return text
        return self._replaced(text, merged(repeated(text, self._told)), field)

    def _in_json(self, text: str, field: str) -> str:
        """A text that is JSON itself: what its signs stand for counts, not how they are written."""
        try:
            found = json.loads(text, object_pairs_hook=_object)
        except (ValueError, RecursionError):
            return self._replaced(text, self._finder.find(text), field)
        before = len(self.values), dict(self.counts)
        covered = self._walk(found, self._covered, field, 2)
        if (len(self.values), self.counts) == before:
            return self._replaced(text, self._finder.find(text), field)
        return json.dumps(covered, ensure_ascii=False)

    def _replaced(self, text: str, spans: list[Span], field: str) -> str:
        if not spans:
            return text
        pieces, at = [], 0
        for span in spans:
            value = text[span.start : span.end]
            token = self._tokens.of(span.kind, value, self.values)
            self.values[token] = value
            self.counts[span.kind] = self.counts.get(span.kind, 0) + 1
            if span.told:
                self._told[value] = span.kind
            alone = field == "name" and span.start == 0 and span.end == len(text) and _NAME.match(text)
            pieces += [text[at : span.start], token if alone else f"[{token}]"]
            at = span.end
        return "".join((*pieces, text[at:]))

    def _is_medium(self, text: str, field: str) -> bool:
        if text[:5] == "data:" and (head := _DATA.match(text)) is not None:
            return _BASE64.match(text, head.end()) is not None
        return field in MEDIA and len(text) >= LEAST_BASE64 and _BASE64.match(text) is not None


def line_is_clean(finder: Finder, line: bytes) -> bool:
    """Whether a header line holds nothing private."""
    return not finder.find(line.decode("latin-1").strip())


Values = Mapping[str, str]
"""Values by their tokens."""
