"""The form of a completion's answer as llama.cpp reads it: a schema by itself, as `json_schema`.

Chats need none of this: there the engine reads `response_format`, and keeps white space short itself.
"""

from typing import Any

import msgspec

from rolecast.errors import UNREADABLE

_TIGHT = {"whitespace_flexible": False, "key_separator": ": ", "item_separator": ", "}
"""As `json.dumps` writes, which is what models have read most of. With any white space allowed, which is the built-in
engine's default here, a small model may write line ends until its tokens are spent."""
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class _Format(msgspec.Struct):
    type: str | None = None
    json_schema: dict[str, msgspec.Raw] = {}
    schema: msgspec.Raw = msgspec.Raw(b'{"type":"object"}')


_format = msgspec.json.Decoder(_Format).decode


def write(fields: dict[str, Any], *, tight: bool) -> None:
    """Put `json_schema` for a `response_format`; a schema that stands there already comes first.

    `tight` = no white space but after commas and colons, unless the schema's own `x-guidance` says otherwise.
    """
    given = _bytes(fields.get("json_schema"))
    if given is None:
        given = _asked(_bytes(fields.get("response_format")))
    if given is None:
        return
    if tight:
        try:
            given = msgspec.json.encode({"x-guidance": _TIGHT} | _object(given))
        except UNREADABLE:
            pass  # no object: `true`, or what the engine refuses
    fields["json_schema"] = msgspec.Raw(given)


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
    if wanted.type == "json_object":
        return bytes(wanted.schema)
    return None


def _bytes(value: Any) -> bytes | None:
    """As it is written in a body; None where it is not there, or null."""
    if value is None:
        return None
    written = bytes(value) if isinstance(value, msgspec.Raw) else msgspec.json.encode(value)
    return None if written.strip() == b"null" else written
