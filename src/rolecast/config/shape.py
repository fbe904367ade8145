"""Turns plain values into the structs of `schema`, collecting every problem instead of the first.

Knows msgspec and how to say a type in plain words. Knows no setting by name, no file and no line.
"""

import re
from collections.abc import Iterable
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from rolecast.config.document import Trail
from rolecast.config.schema import Section

Problem = tuple[Trail, str]
S = TypeVar("S", bound=Section)

_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list such as [a, b]",
    "object": "settings (key: value)",
    "null": "nothing",
}


def build(kind: type[S], value: Any, trail: Trail, problems: list[Problem]) -> S | None:
    """The struct that `value` describes, without the settings that are wrong: those go to `problems`.

    None when a required setting is missing.
    """
    if value is not None and not isinstance(value, dict):
        problems.append((trail, f"expected {_WORDS['object']}, got {_shown(value, trail)}"))
        value = None
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    settings = {}
    for name, item in (value or {}).items():
        if name not in fields:
            told = kind.told.get(name)
            problems.append(((*trail, name), f"unknown setting; {told}" if told else unknown(name, fields)))
            continue
        built = _value(fields[name].type, item, (*trail, name), problems)
        if built is not msgspec.UNSET:
            settings[name] = built
    missing = [name for name, field in fields.items() if field.required and name not in settings]
    absent = [name for name in missing if name not in (value or {})]
    problems += [(trail, f"'{name}' is missing; add it") for name in absent]
    return None if missing else kind(**settings)


def unknown(name: str, known: Iterable[str]) -> str:
    """What to say of a setting that does not exist."""
    options = sorted(known)
    hint = meant(name, options)
    advice = f"did you mean '{hint}'?" if hint else f"known here: {', '.join(options)}"
    return f"unknown setting; {advice}"


def meant(name: str, options: Iterable[str], likeness: float = 0.6) -> str:
    """The option that `name` most resembles (1 = equal), or ''."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name.lower(), list(options), 1, likeness)), "")


def section_of(kind: Any) -> type[Section] | None:
    """The struct that this type is, when it is one of ours."""
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _value(kind: Any, value: Any, trail: Trail, problems: list[Problem]) -> Any:
    """One setting of any type; UNSET when it was wrong."""
    if section := section_of(kind):
        built = build(section, value, trail, problems)
        return msgspec.UNSET if built is None else built
    origin, args = get_origin(kind), get_args(kind)
    if origin is UnionType and isinstance(value, list):  # so that a fault in it gets its own place
        kind = next((arg for arg in args if get_origin(arg) is list), kind)
        origin, args = get_origin(kind), get_args(kind)
    if origin in (dict, list) and value is None:
        return origin()
    if origin is dict and isinstance(value, dict):
        entries = {key: _value(args[1], item, (*trail, key), problems) for key, item in value.items()}
        return {key: item for key, item in entries.items() if item is not msgspec.UNSET}
    if origin is list and isinstance(value, list):
        items = [_value(args[0], item, (*trail, i), problems) for i, item in enumerate(value)]
        return [item for item in items if item is not msgspec.UNSET]
    try:
        return msgspec.convert(value, kind, dec_hook=_parse)
    except msgspec.ValidationError as e:
        problems.append((trail, _explain(kind, value, trail, str(e))))
        return msgspec.UNSET


def _parse(kind: Any, value: Any) -> Any:
    return kind.parse(value)


def _explain(kind: Any, value: Any, trail: Trail, message: str) -> str:
    kind = next((arg for arg in get_args(kind) if get_origin(arg) is Literal), kind)
    if get_origin(kind) is Literal:
        allowed = [str(option) for option in get_args(kind)]
        hint = meant(str(value), allowed)
        advice = f"; did you mean {hint}?" if hint else ""
        return f"expected one of {', '.join(allowed)}, got {_cut(repr(value))}{advice}"
    wanted, _, got = message.removeprefix("Expected ").partition(", got ")
    if not message.startswith("Expected `"):
        return _cut(message[0].lower() + message[1:], 200)
    kinds, _, bound = wanted.strip("`").partition("` ")
    words = " or ".join(_WORDS.get(part, part) for part in kinds.split(" | "))
    if bound:
        bound = bound.replace(">=", "of at least").replace("<=", "of at most")
        return f"expected {words} {bound}, got {_cut(repr(value))}"
    quotes = "; put it in quotes" if "str" in kinds and got in ("`int`", "`float`", "`bool`") else ""
    return f"expected {words}, got {_shown(value, trail)}{quotes}"


_SECRETS = frozenset({"environment", "key", "keys"})
_LIKE_A_SECRET = re.compile(r"(?i)key|token|secret|passw|bearer|sk-")


def _shown(value: Any, trail: Trail) -> str:
    """The type of a value in plain words, and the value itself unless it is long or may be a secret."""
    names = {type(None): "null", bool: "bool", int: "int", float: "float", str: "str", list: "array"}
    words = _WORDS[names.get(type(value), "object")]
    hidden = not isinstance(value, str | int | float) or _SECRETS & {str(part) for part in trail}
    if hidden or _LIKE_A_SECRET.search(str(value)):
        return words
    return f"{words}: {_cut(repr(value))}"


def _cut(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[:most] + "..."
