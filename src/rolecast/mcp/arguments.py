"""The arguments of a call, read as they were meant.

Clients and small models write numbers and flags as texts, texts that are numbers as numbers, lists and objects as JSON
in a text, null or '' for what they leave out, and some add fields of their own. Where that can mean one thing only it
is read so; all else stays as it came, for the schema to judge.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from rolecast.errors import UNREADABLE
from rolecast.mcp.schemas import Schema

TRUE = frozenset({"true", "yes", "on", "1"})
FALSE = frozenset({"false", "no", "off", "0"})
LONGEST = 64
"""No number that anybody means has more digits."""


def read(takes: Schema, said: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The arguments as a schema wants them, and the names of those that it does not know, which are left out."""
    known: Mapping[str, Schema] = takes.get("properties", {})
    needed = takes.get("required", ())
    found: dict[str, Any] = {}
    for name, value in said.items():
        if name not in known or (name not in needed and _left_out(known[name], value)):
            continue
        found[name] = _meant(known[name], value)
    return found, [name for name in said if name not in known]


def _left_out(schema: Schema, value: Any) -> bool:
    """Whether this is how somebody writes nothing."""
    return value is None or (value == "" and ("enum" in schema or schema.get("type") not in ("string", None)))


def _meant(schema: Schema, value: Any) -> Any:
    if kinds := schema.get("anyOf"):
        return _meant(kinds[0], value)
    reader = _READERS.get(str(schema.get("type")))
    value = reader(value) if reader is not None else value
    return _spelled(schema["enum"], value) if "enum" in schema else value


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _number(value: Any) -> Any:
    if not isinstance(value, str) or len(value) > LONGEST:
        return value
    try:
        number = float(value)
        return int(number) if number == int(number) else number
    except (ValueError, OverflowError):
        return value


def _flag(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    word = str(value).strip().lower().removesuffix(".0")
    return True if word in TRUE else False if word in FALSE else value


def _list(value: Any) -> Any:
    return _parsed(value, "[", list)


def _object(value: Any) -> Any:
    return _parsed(value, "{", dict)


def _parsed(value: Any, begins: str, kind: type) -> Any:
    if not isinstance(value, str) or not value.lstrip().startswith(begins):
        return value
    try:
        found = msgspec.json.decode(value)
    except UNREADABLE:
        return value
    return found if isinstance(found, kind) else value


def _spelled(words: list[str], value: Any) -> Any:
    """One of the words that somebody spelled as a title or with spaces."""
    if not isinstance(value, str) or value in words:
        return value
    word = value.strip().lower().replace("-", "_").replace(" ", "_")
    return word if word in words else value


_READERS = {
    "string": _text,
    "integer": _number,
    "number": _number,
    "boolean": _flag,
    "array": _list,
    "object": _object,
}
