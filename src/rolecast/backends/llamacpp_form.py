"""The form of a completion's answer as llama.cpp reads it: a schema by itself, as `json_schema`.

Chats need none of this: there the engine reads `response_format`, refuses what it cannot do, and keeps white space
short. In completions the built-in engine writes anything at all where it does not understand a schema, and says so in
its log alone; so what it would not understand is found here.
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import msgspec

from rolecast.errors import UNREADABLE, BadRequest

_TIGHT = {"whitespace_flexible": False, "key_separator": ": ", "item_separator": ", ", "lenient": True}
"""As `json.dumps` writes, which is what models have read most of. With any white space allowed, which is the built-in
engine's default here, a small model may write line ends until its tokens are spent. Lenient: what of a schema cannot be
held to is left out, and not all of it."""
_GUIDANCE = frozenset(
    {"whitespace_flexible", "whitespace_pattern", "key_separator", "item_separator", "lenient", "coerce_one_of"}
)
TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_ONE = ("items", "additionalProperties", "contains", "not", "propertyNames")
_LIST = ("anyOf", "oneOf", "allOf", "prefixItems")
_TABLE = ("properties", "patternProperties", "$defs", "definitions")
"""Where schemas stand in a schema."""
_AROUND = re.compile(r"\(\?(?:[=!]|<[=!])|\\[1-9]")
"""What the engine's patterns do not have: looking around, and back."""


class _Format(msgspec.Struct):
    type: str | None = None
    json_schema: dict[str, msgspec.Raw] = {}
    schema: msgspec.Raw = msgspec.Raw(b'{"type":"object"}')


_format = msgspec.json.Decoder(_Format).decode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def write(fields: dict[str, Any], *, built_in: bool) -> None:
    """Put `json_schema` for a `response_format`; a schema that stands there already comes first.

    For the built-in engine without white space but after commas and colons, unless the schema's own `x-guidance` says
    otherwise. Raises BadRequest for a schema that it would not understand.
    """
    name, given = "json_schema", _bytes(fields.get("json_schema"))
    if given is None:
        name, given = "response_format", _asked(_bytes(fields.get("response_format")))
    if given is None:
        return
    if built_in:
        schema = _decoded(given)
        if fault := next(_faults(schema), ""):
            text = f"`{name}`: the JSON schema cannot be turned into a grammar: {fault}."
            raise BadRequest(text, param=name, code="invalid_value")
        given = msgspec.json.encode({"x-guidance": _TIGHT} | _object(given))
    fields["json_schema"] = msgspec.Raw(given)


def _faults(schema: Any) -> Iterator[str]:
    """What nobody could hold an answer to."""
    guidance = schema.get("x-guidance", {}) if isinstance(schema, dict) else {}
    if not isinstance(guidance, dict) or guidance.keys() - _GUIDANCE:
        yield f"its `x-guidance` is an object with {', '.join(sorted(_GUIDANCE))}"
    every = [schema]
    while every:
        one = every.pop()
        if isinstance(one, bool) and one is not schema:
            continue
        if not isinstance(one, dict):
            yield "it is no object, or something in it is none"
            continue
        types = one.get("type", [])
        if not all(isinstance(each, str) and each in TYPES for each in (types if isinstance(types, list) else [types])):
            yield "it names a `type` that does not exist"
        if not _leads(schema, one.get("$ref", "#")):
            yield "a `$ref` leads nowhere in it"
        if isinstance(pattern := one.get("pattern"), str) and _AROUND.search(pattern):
            yield "its `pattern` looks around or back, which no grammar can"
        every += [one[name] for name in _ONE if name in one]
        every += [each for name in _LIST if isinstance(one.get(name), list) for each in one[name]]
        every += [each for name in _TABLE if isinstance(one.get(name), dict) for each in one[name].values()]


def _leads(schema: Any, reference: Any) -> bool:
    """Whether it is a path in the schema that is there. Names that a schema gives itself are not looked for."""
    if not isinstance(reference, str):
        return False
    if not reference.startswith("#/"):
        return reference == "#" or not reference.startswith(("http:", "https:"))
    for step in unquote(reference[2:]).split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(schema, list) and name.isdecimal() and int(name) < len(schema):
            schema = schema[int(name)]
        elif isinstance(schema, dict) and name in schema:
            schema = schema[name]
        else:
            return False
    return True


def _decoded(written: bytes) -> Any:
    try:
        return msgspec.json.decode(written)
    except UNREADABLE:
        return None


def _asked(written: bytes | None) -> bytes | None:
    """The schema of a `response_format`; None = it asks for text, or says nothing that is understood."""
    if written is None:
        return None
    try:
        wanted = _format(written)
    except UNREADABLE:
        return None
    if wanted.type == "json_schema" and "schema" in wanted.json_schema:
        return bytes(wanted.json_schema["schema"])
    return bytes(wanted.schema) if wanted.type == "json_object" else None


def _bytes(value: Any) -> bytes | None:
    """As it is written in a body; None where it is not there, or null."""
    if value is None:
        return None
    written = bytes(value) if isinstance(value, msgspec.Raw) else msgspec.json.encode(value)
    return None if written.strip() == b"null" else written
