"""A mapping of somebody else's file that remembers which of its keys were read.

What nobody read becomes a note by itself, so nothing is dropped silently, whatever the file holds. Knows how a
value of the wrong type is told. Knows no format, and never shows a value: it may be a secret.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

Note = Callable[[str, str], None]
"""Takes a place and what is to be said about it."""
EMPTY: tuple[Any, ...] = (None, "", [], {})
"""Values that set nothing, so nothing is lost without them."""
NO_COUNTERPART = "no counterpart"
_TYPES = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
_FLAGS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
_LISTED = 100
_HUGE = 1 << 53
"""Beyond it a number is no setting, and a float no longer counts in ones."""


class Section:
    """One mapping; reading a key marks it, `name_unread` tells the rest."""

    def __init__(self, value: Any, place: str, note: Note) -> None:
        self.place = place
        self._note = note
        self._value: dict[str, Any] = dict(value) if isinstance(value, dict) else {}
        self._read: set[str] = set()
        self._inner: dict[str, Section] = {}

    def __contains__(self, key: str) -> bool:
        return self._value.get(key) not in EMPTY

    def names(self) -> Iterator[str]:
        """Every key, read or not."""
        yield from self._value

    def peek(self, key: str) -> Any:
        """The value without marking it: somebody else reads it, or it is named after all."""
        return self._value.get(key)

    def take(self, key: str) -> Any:
        """The value as it is, with all that is in it."""
        self._read.add(key)
        return self._value.get(key)

    def put(self, key: str, value: Any) -> None:
        """Go on with another value, such as one with its macros written out."""
        self._value[key] = value

    def text(self, key: str) -> str:
        """A text or number as text; '' when it is not set or neither."""
        value = self.take(key)
        if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
            return str(value)
        self._wrong(key, value, "text")
        return ""

    def number(self, key: str) -> float | int | None:
        """A number, also one that is written as text; None when it is not set or none."""
        return self._as(key, _number, "a number")

    def whole(self, key: str) -> int | None:
        """A whole number; None when it is not set or none."""
        return self._as(key, _whole, "a whole number")

    def flag(self, key: str) -> bool | None:
        """True or false, also as the words that people write; None when it is not set or neither."""
        return self._as(key, _flag, "true or false")

    def texts(self, key: str) -> list[str]:
        """A list of texts; a single text counts as a list of one."""
        value = self.take(key)
        if isinstance(value, str):
            value = [value] if value else []
        if not isinstance(value, list):
            self._wrong(key, value, "a list")
            return []
        plain = [x for x in value if isinstance(x, str | int | float) and not isinstance(x, bool)]
        if len(plain) < len(value):
            self._note(f"{self.place}.{key}".lstrip("."), "what is not text in the list is left out")
        return [str(x) for x in plain]

    def section(self, key: str) -> "Section":
        """The mapping under that key; an empty one when there is none."""
        value = self.take(key)
        if not isinstance(value, dict):
            self._wrong(key, value, "a mapping")
        return self._open(value, key)

    def entries(self, key: str) -> dict[str, "Section"]:
        """A mapping of mappings, such as models by name; what is no mapping in it is named and left out."""
        whole, found = self.section(key), {}
        for name in list(whole.names()):
            value = whole.peek(name)
            if isinstance(value, dict):
                found[name] = whole.section(name)
            else:
                whole.take(name)
                self._note(f"{whole.place}.{shown(name)}", f"left out: expected a mapping, got {kind(value)}")
        return found

    def sections(self, key: str, label: str = "") -> list["Section"]:
        """A list of mappings; `label` is the key that names each one for people."""
        value, found = self.take(key), []
        if not isinstance(value, list):
            self._wrong(key, value, "a list")
            return []
        for i, item in enumerate(value):
            name = item.get(label) if isinstance(item, dict) else None
            place = f"{key}.{i}" + (f" ({shown(name)})" if isinstance(name, str) else "")
            if isinstance(item, dict):
                found.append(self._open(item, place))
            else:
                self._note(f"{self.place}.{place}".lstrip("."), f"left out: expected a mapping, got {kind(item)}")
        return found

    def pass_over(self, reason: str) -> None:
        """Leave the whole mapping out, with one note instead of one per key."""
        self._read.update(self._value)
        self._inner.clear()
        self._note(self.place, f"left out: {reason}")

    def name_unread(self, reasons: Mapping[str, str]) -> None:
        """A note for the keys that nobody read, here and below; `reasons` says why by key."""
        groups: dict[str, list[str]] = {}
        for key, value in self._value.items():
            if key not in self._read and value not in EMPTY:
                groups.setdefault(reasons.get(key, NO_COUNTERPART), []).append(shown(key) + _inside(value))
        for reason, keys in groups.items():
            self._note(self.place or "file", f"{', '.join(keys)} left out; {reason}")
        for inner in self._inner.values():
            inner.name_unread(reasons)

    def _open(self, value: Any, key: str) -> "Section":
        """The same section each time, so that all its readers mark the same keys."""
        if key not in self._inner:
            self._inner[key] = Section(value, f"{self.place}.{shown(key)}".lstrip("."), self._note)
        return self._inner[key]

    def _as(self, key: str, read: Callable[[Any], T | None], wanted: str) -> T | None:
        value = self.take(key)
        found = read(value)
        if found is None:
            self._wrong(key, value, wanted)
        return found

    def _wrong(self, key: str, value: Any, wanted: str) -> None:
        if value not in EMPTY:
            self._note(f"{self.place}.{shown(key)}".lstrip("."), f"left out: expected {wanted}, got {kind(value)}")


def kind(value: Any) -> str:
    """The type of a value in plain words."""
    return _TYPES.get(type(value), "nothing")


def shown(name: Any) -> str:
    """A name from the file as it may stand in a line: bounded and without control characters."""
    text = "".join(c if c.isprintable() else "?" for c in str(name)[:81])
    return text if len(text) <= 80 else text[:77] + "..."


def _number(value: Any) -> float | int | None:
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d+(\.\d+)?\s*", value):
        value = float(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or not -_HUGE < value < _HUGE:
        return None
    return int(value) if value == int(value) else value


def _whole(value: Any) -> int | None:
    number = _number(value)
    return number if isinstance(number, int) else None


def _flag(value: Any) -> bool | None:
    if isinstance(value, str):
        return _FLAGS.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _inside(value: Any) -> str:
    """The keys of a mapping and of what is in it, so that they are named, too."""
    names = list(dict.fromkeys(_keys(value, "")))
    return f" ({', '.join(names[:_LISTED])}{', ...' if len(names) > _LISTED else ''})" if names else ""


def _keys(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _keys(item, place)
    elif isinstance(value, dict):
        for key, item in value.items():
            name = f"{place}{shown(key)}"
            inner = list(_keys(item, f"{name}."))
            yield from inner or [name]
