"""What a body says of a request besides its words: its `metadata`, as far as routing may go by it.

Any client may send any metadata for ends of its own, so nothing is refused here.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import msgspec

from rolecast.decision import Hints
from rolecast.dialects.request import read_fields
from rolecast.errors import UNREADABLE, RolecastError

NONE = Hints()
OURS = frozenset({"force_domain", "query_type", "category", "channel", "type", "prefer"})
"""Fields of metadata that are said to a router, and to no server of a model."""
MOST, MOST_KEY, MOST_VALUE = 64, 64, 512
"""So many fields are looked at, of so many characters."""
MOST_BYTES = 262_144
"""Longer metadata are no hints: to take a million fields apart would hold up everybody else."""


class _Extra(msgspec.Struct):
    metadata: msgspec.Raw = msgspec.Raw()


class _Body(_Extra):
    extra_body: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Body).decode
_decode_extra = msgspec.json.Decoder(_Extra).decode
_NAME = b'"metadata"'


def of_metadata(given: Mapping[str, Any] | None) -> Hints:
    """What metadata says. What is no text in it is left aside."""
    texts = {
        name: value.strip()
        for name, value in list((given or {}).items())[:MOST]
        if isinstance(value, str) and len(value) <= MOST_VALUE and len(name) <= MOST_KEY
    }
    if not texts:
        return NONE
    category, channel, kind = (texts.get(name, "") for name in ("category", "channel", "type"))
    return Hints(category, channel, kind, texts.get("prefer", "").lower(), texts)


def in_body(body: bytes) -> Hints:
    """What the metadata of a body says, or that of its `extra_body`."""
    if _NAME not in body:
        return NONE
    try:
        fields = _decode(body)
        found = _object(fields.metadata)
        if not found and bytes(fields.extra_body).startswith(b"{"):
            found = _object(_decode_extra(fields.extra_body).metadata)
        said = ((name, raw) for name, raw in found.items() if bytes(raw).startswith(b'"'))
        texts = {name: msgspec.json.decode(raw) for name, raw in islice(said, MOST)}
    except UNREADABLE:
        return NONE
    return of_metadata(texts)


def without(body: bytes) -> bytes:
    """The body without what only a router reads; as it is where the client wants it stored.

    Some servers refuse metadata that is not to be stored, or that they do not know.
    """
    if _NAME not in body:
        return body
    try:
        fields = read_fields(body)
        metadata = _object(fields.get("metadata"))
    except (RolecastError, *UNREADABLE):
        return body
    if not OURS & metadata.keys() or bytes(fields.get("store", b"")) == b"true":
        return body
    if rest := {name: value for name, value in metadata.items() if name not in OURS}:
        fields["metadata"] = msgspec.Raw(msgspec.json.encode(rest))
    else:
        del fields["metadata"]
    return msgspec.json.encode(fields)


def _object(raw: msgspec.Raw | None) -> dict[str, msgspec.Raw]:
    """The fields of an object; of anything else, and of one that is too long, none."""
    if not raw or len(text := bytes(raw)) > MOST_BYTES or not text.startswith(b"{"):
        return {}
    return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
