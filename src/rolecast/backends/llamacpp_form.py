"""The form of a completion's answer as llama.cpp reads it: a schema by itself, as `json_schema`.

Chats need none of this: there the engine reads `response_format`, refuses what it cannot do, and keeps white space
short. In completions the built-in engine writes anything at all where it does not understand a schema, and says so in
its log alone; so what it would not understand is found here.
"""

import re
from typing import Any

import msgspec

from rolecast.backends import llamacpp_schema
from rolecast.backends.llamacpp_errors import FORMS, SCHEMA
from rolecast.errors import UNREADABLE, BadRequest

_TIGHT = {"whitespace_flexible": False, "key_separator": ": ", "item_separator": ", "}
"""As `json.dumps` writes, which is what models have read most of. With any white space allowed, which is the built-in
engine's default here, a small model may write line ends until its tokens are spent."""
MOST_BYTES = 1 << 20
"""No schema is longer that an engine takes in reasonable time."""

_NAMES = {
    "$schema": re.compile(rb'"https?://json-schema\.org/(?:draft-0[467]/schema#?|draft/20(?:19-09|20-12)/schema)"'),
    "$id": re.compile(rb'"[a-z][a-z0-9+.-]*:[!#-\[\]-~]+"'),
}
"""Which of them the engine knows; of others nothing depends on them."""


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
        if fault := _fault(given):
            raise BadRequest(f"`{name}`: {SCHEMA}: {fault}.", param=name, code="invalid_value")
        own = _object(given)
        for keyword, known in _NAMES.items():
            if keyword in own and not known.fullmatch(bytes(own[keyword])):
                del own[keyword]
        # Lenient: what of a schema cannot be held to is left out, and not all of it.
        told = msgspec.json.decode(own.get("x-guidance", b"{}"))
        given = msgspec.json.encode(own | {"x-guidance": (told or _TIGHT) | {"lenient": True}})
    fields["json_schema"] = msgspec.Raw(given)


def _fault(written: bytes) -> str:
    """Why the engine would not understand a schema; '' = it will, as far as is known."""
    if len(written) > MOST_BYTES:
        return f"it is longer than {MOST_BYTES >> 20} MiB"
    try:
        return next(llamacpp_schema.faults(written), "")
    except UNREADABLE as error:
        return f"it cannot be read: {error}"


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
    if wanted.type not in (None, "text", "json_object", "json_schema"):
        raise BadRequest(FORMS, param="response_format.type", code="invalid_value")
    return bytes(wanted.schema) if wanted.type == "json_object" else None


def _bytes(value: Any) -> bytes | None:
    """As it is written in a body; None where it is not there, or null."""
    if value is None:
        return None
    written = bytes(value) if isinstance(value, msgspec.Raw) else msgspec.json.encode(value)
    return None if written.strip() == b"null" else written
