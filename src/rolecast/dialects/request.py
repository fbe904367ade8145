"""A request as a dialect read it: the few fields that routing and safety need, and the bytes."""

from collections.abc import Callable

import msgspec

from rolecast.errors import UNREADABLE, BadRequest
from rolecast.values import Kind

NOTHING: frozenset[str] = frozenset()


class Request(msgspec.Struct):
    """What a dialect read from a body: the few fields that routing needs, and the bytes."""

    kind: Kind
    path: bytes
    asked: str
    stream: bool
    body: bytes
    needs: frozenset[str] = NOTHING
    """What it cannot do without, in words of `capabilities`: images, a forced tool call ..."""
    prefers: frozenset[str] = NOTHING
    """What it would rather have."""
    wants_usage: bool = False
    choice_in_words: dict[str, msgspec.Raw] | None = None
    """`tool_choice` as a word, with the tools it means, for engines that take no object there."""
    edit: bool = False
    """The body holds fields that must be rewritten for the engine."""
    edit_usage: bool = False
    """Usage is asked of the worker and hidden from the client. Set by dispatch."""


Decode = Callable[[bytes], Request]
"""A dialect's reading of a body. Raises BadRequest or Invalid."""

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """The fields of a JSON object, each in the bytes it was written in. Raises BadRequest."""
    try:
        return _decode_fields(body)
    except UNREADABLE as exc:
        raise BadRequest(f"The body is not a valid JSON object: {exc}.", code="bad_json") from None
