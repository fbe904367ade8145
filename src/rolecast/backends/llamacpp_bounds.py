"""Bounds in schemas and grammars that are the wrong way round: llama.cpp would count from one to the other for ever.

It takes `"minLength": 5, "maxLength": 2` for a number of characters just below 2^64, and its memory grows until the
system ends it, long after the client has left. It refuses all else that is too large by itself.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from rolecast.errors import UNREADABLE, BadRequest

_SIGNS = (b'"minLength"', b'"minItems"', b'"pattern"', b'"grammar"', b"\\u00")
"""A body without any of these has no such bounds; the last one may be a letter of their names."""
_PAIRS = (("minLength", "maxLength"), ("minItems", "maxItems"))
_MOST = 2**31 - 1
"""Larger numbers become others there."""
_COUNTED = re.compile(r"\{\s*\+?(\d+)[^{},]*,\s*\+?(\d+)")
_ESCAPED = re.compile(r"\\.")
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|#[^\n]*')
"""What a grammar has as texts, sets of characters and remarks."""


class _Asked(msgspec.Struct):
    tools: Any = None
    functions: Any = None
    response_format: Any = None
    json_schema: Any = None
    grammar: Any = None


_decode = msgspec.json.Decoder(_Asked).decode


def refuse(body: bytes) -> None:
    """Raises BadRequest for such a request."""
    if not any(sign in body for sign in _SIGNS):
        return
    try:
        asked = _decode(body)
    except UNREADABLE:
        return  # told by who reads it
    if isinstance(asked.grammar, str) and _counts_down(_QUOTED.sub("", asked.grammar)):
        raise BadRequest(f"`grammar`: {_WRONG}.", param="grammar", code="invalid_value")
    for name in ("response_format", "json_schema", "tools", "functions"):
        if fault := next(_faults(getattr(asked, name)), ""):
            raise BadRequest(f"`{name}`: {fault}.", param=name, code="invalid_value")


_WRONG = "a repetition {m,n} has an n that is smaller than its m"


def _faults(given: Any) -> Iterator[str]:
    """Of all objects in it, schemas or not."""
    every = [given]
    while every:
        one = every.pop()
        if isinstance(one, list):
            every += one
        elif isinstance(one, dict):
            every += one.values()
            if isinstance(pattern := one.get("pattern"), str) and _counts_down(_ESCAPED.sub("", pattern)):
                yield f"in a `pattern` of a JSON schema, {_WRONG}"
            for least, most in _PAIRS:
                bounds = [value for name in (least, most) if isinstance(value := one.get(name), int | float)]
                if len(bounds) == 2 and bounds[0] > bounds[1]:
                    yield f"a JSON schema has a `{least}` of {bounds[0]} and a `{most}` of {bounds[1]}, which is less"
                if any(bound > _MOST for bound in bounds):
                    yield f"a JSON schema has a `{least}` or `{most}` beyond {_MOST}"


def _counts_down(text: str) -> bool:
    return any(int(least) > int(most) or int(most) > _MOST for least, most in _COUNTED.findall(text))
