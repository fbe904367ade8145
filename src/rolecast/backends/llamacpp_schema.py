"""What of a JSON schema the built-in engine does not understand, as far as that is known without asking it.

It would leave such a schema aside without a word. Looked at is what an answer can be held to: what no `$ref` leads to,
and what the engine leaves out of a schema by itself (`not`, `contains`, `if`), may be anything.
"""

import operator
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

GUIDANCE: Mapping[str, type] = {
    **dict.fromkeys(("whitespace_flexible", "lenient", "coerce_one_of"), bool),
    **dict.fromkeys(("whitespace_pattern", "key_separator", "item_separator"), str),
}
"""What the engine is told besides, in a schema."""
TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
    "number": (int, float),
    "integer": (int, float),
}
"""What there is, and what a value of it is here."""
_ONE = ("items", "additionalProperties")
_LIST = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_TABLE = ("properties", "patternProperties")
"""Where schemas stand in a schema."""
_COUNTS = (("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties"))
_BOUNDS = (("minimum", "maximum"), ("exclusiveMinimum", "exclusiveMaximum"))
_BELOW = {"minimum": operator.le, "exclusiveMinimum": operator.lt}
_PIECE = re.compile(r"\\[pP]\{[^}]*\}|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{\d+(?:,\d*)?\}", re.DOTALL)
"""What stands for characters in a pattern, and how often something may be there."""
_KNOWN = re.compile(r"\\(?:[dDwWsSnrtfvux_]|[pP]\{|[^\w])|\{")
_AROUND = re.compile(r"\(\?(?:[=!>]|<[=!])|(?<=[^(|:])\^|\$(?=[^)|])")
"""What the engine's patterns do not have: looking around, and ends in the middle."""
_ENCODED = re.compile(r"(?:[!-$&-Z^-~]|%[0-9a-fA-F]{2})*")
_AWAY = re.compile(rb'"\$ref"\s*:\s*"(?:https?|file):')
_DIGITS = re.compile(r"[0-9]{1,9}")
_MOST_REFERENCES, _MOST_DEEP, _MOST_OPTIONAL, _MOST_COUNTED = 2_000, 120, 400, 50_000
_LARGEST = 2**62


def faults(written: bytes) -> Iterator[str]:
    """In words that end a sentence. Raises what msgspec does for what is no JSON."""
    schema = msgspec.json.decode(written)
    is_named = b'"$id"' in written or b'"$anchor"' in written
    if isinstance(schema, dict):
        yield from _guidance(schema.get("x-guidance", {}))
    if not is_named and _AWAY.search(written):
        yield "a `$ref` leads out of it"
    every: list[tuple[Any, int]] = [(schema, 0)]
    seen: set[int] = set()
    references = 0
    while every:
        one, deep = every.pop()
        if isinstance(one, bool) and one is not schema:
            continue
        if not isinstance(one, dict):
            yield "it is no object, or something in it is none"
            continue
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield from _faults(one)
        if deep > _MOST_DEEP:
            yield f"it is nested deeper than {_MOST_DEEP} levels"
        inner = _inner(one)
        if "$ref" in one:
            references += 1
            target = _follow(schema, one, is_named=is_named)
            if target is None or references > _MOST_REFERENCES:
                yield "a `$ref` leads nowhere in it, or is not percent-encoded"
            inner += [target] if target is not _ELSEWHERE else []
        every += [(each, deep + 1) for each in inner]


def _guidance(given: Any) -> Iterator[str]:
    if not isinstance(given, dict) or not all(
        isinstance(value, GUIDANCE.get(name, ())) for name, value in given.items()
    ):
        yield f"its `x-guidance` is an object with {', '.join(sorted(GUIDANCE))}"
    elif not _is_pattern(given.get("whitespace_pattern", "")):
        yield "the `whitespace_pattern` of its `x-guidance` is none"


def _inner(one: dict[str, Any]) -> list[Any]:
    inner = [one[name] for name in _ONE if name in one and not isinstance(one[name], list)]
    inner += [each for name in _LIST if isinstance(one.get(name), list) for each in one[name]]
    return inner + [each for name in _TABLE if isinstance(one.get(name), dict) for each in one[name].values()]


def _faults(one: dict[str, Any]) -> Iterator[str]:
    types = one.get("type", "null")
    types = types if isinstance(types, list) else [types]
    if not types or not all(isinstance(each, str) and each in TYPES for each in types):
        yield "it names a `type` that does not exist"
    for name in _LIST:
        given = one.get(name, [0])
        if name != "items" and not (isinstance(given, list) and (given or name == "allOf")):
            yield f"its `{name}` is no list, or an empty one"
    for name in _TABLE:
        if not isinstance(one.get(name, {}), dict):
            yield f"its `{name}` is no object"
    if not (isinstance(one.get("enum", [0]), list) and one.get("enum", [0])):
        yield "its `enum` is no list, or an empty one"
    values = one.get("enum", [one["const"]] if "const" in one else [])
    if "type" in one and values and not any(_fits(each, types) for each in values):
        yield "its `enum` or `const` has nothing of its `type`"
    if "type" not in one or "object" in types:
        yield from _names(one)
    yield from _counts(one)
    yield from _bounds(one)
    yield from _texts(one, types)


def _texts(one: dict[str, Any], types: list[str]) -> Iterator[str]:
    if not isinstance(one.get("format", ""), str):
        yield "its `format` is no text"
    if "pattern" in one and ("string" in types or "type" not in one) and not _is_pattern(one["pattern"]):
        yield "its `pattern` is none, or looks around or back, which no grammar can"


def _names(one: dict[str, Any]) -> Iterator[str]:
    required, properties = one.get("required", []), one.get("properties", {})
    if not (isinstance(required, list) and all(isinstance(each, str) for each in required)):
        yield "its `required` is no list of names"
    elif isinstance(properties, dict):
        others = "patternProperties" in one or one.get("additionalProperties", True)
        if any(properties.get(name, others) is False for name in required):
            yield "its `required` has a name that it does not allow"
        if len(properties.keys() - {*required}) > _MOST_OPTIONAL:
            yield f"it has more than {_MOST_OPTIONAL} properties that are not `required`"
    if isinstance(one.get("patternProperties"), dict) and not all(map(_is_pattern, one["patternProperties"])):
        yield "a name in its `patternProperties` is no pattern, or looks around or back, which no grammar can"


def _fits(value: Any, types: list[str]) -> bool:
    kinds = [TYPES[each] for each in types if each in TYPES]
    is_flag = isinstance(value, bool)
    return any(isinstance(value, kind) and (not is_flag or kind is bool) for kind in kinds)


def _counts(one: dict[str, Any]) -> Iterator[str]:
    for least, most in _COUNTS:
        found = [one[name] for name in (least, most) if name in one]
        if not all(isinstance(each, int) and not isinstance(each, bool) and 0 <= each < 2**31 for each in found):
            yield f"its `{least}` and `{most}` are whole numbers from 0 on"
        elif len(found) == 2 and found[0] > found[1]:
            yield f"its `{least}` is more than its `{most}`"
        elif any(each > _MOST_COUNTED for each in found) and "Items" in least:
            yield f"its `{least}` or `{most}` is more than {_MOST_COUNTED}"
    if one.get("items") is False and "prefixItems" not in one and one.get("minItems", 0):
        yield "it wants items and allows none"


def _bounds(one: dict[str, Any]) -> Iterator[str]:
    for least, most in _BOUNDS:
        found = [one[name] for name in (least, most) if name in one]
        if not all(isinstance(each, int | float) for each in found):
            yield f"its `{least}` and `{most}` are numbers"
        elif any(abs(each) > _LARGEST for each in found):
            yield f"its `{least}` or `{most}` is beyond 2^62"
        elif len(found) == 2 and bool not in map(type, found) and not _BELOW[least](*found):
            yield f"its `{least}` and `{most}` leave no number"
    of = one.get("multipleOf", 1)
    if not isinstance(of, int | float) or not of:
        yield "its `multipleOf` is no number, or 0"


def _is_pattern(text: Any) -> bool:
    if not isinstance(text, str):
        return False
    pieces, rest = _PIECE.findall(text), _PIECE.sub("x", text)
    sets = [each[1:-1] for each in pieces if each[0] == "["]
    escapes = [piece for each in (*sets, *pieces) for piece in re.findall(r"\\.\{?.?", each, re.DOTALL)]
    if any("&&" in each or "[" in re.sub(r"\\.", "", each) or not each.strip("^") for each in sets):
        return False
    if not all(_KNOWN.match(each) for each in escapes) or _AROUND.search(rest) or "{" in rest or "[" in rest:
        return False
    depth = 0
    for letter in rest:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            return False
    return not depth and not text.startswith("{") and not rest.endswith("\\")


_ELSEWHERE = object()
"""Where a name leads that a schema gives itself, which is not looked for."""


def _follow(schema: dict[str, Any], one: dict[str, Any], *, is_named: bool) -> Any:
    """What a reference leads to in the end; None = nothing, or itself, with nothing on the way."""
    passed: set[int] = set()
    at: Any = one
    while isinstance(at, dict) and "$ref" in at:
        if id(at) in passed or len(passed) > _MOST_DEEP:
            return None
        passed.add(id(at))
        at = _target(schema, at["$ref"], is_named=is_named)
    return at


def _target(schema: Any, reference: Any, *, is_named: bool) -> Any:
    if not isinstance(reference, str) or not reference or not _ENCODED.fullmatch(reference):
        return None
    if reference == "#":
        return schema
    if not reference.startswith("#/"):
        return _ELSEWHERE if is_named else None
    try:
        steps = unquote(reference[2:], errors="strict").split("/")
    except UnicodeDecodeError:
        return None
    for step in steps:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(schema, list) and _DIGITS.fullmatch(name) and int(name) < len(schema):
            schema = schema[int(name)]
        elif isinstance(schema, dict) and name in schema:
            schema = schema[name]
        else:
            return None
    return schema
