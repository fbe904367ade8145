"""Vectors as clients want them: shorter ones, and as base64. Those of a worker are JSON lists of numbers."""

import base64
import math
import struct
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from rolecast.config.schema import Limits
from rolecast.dialects import Read, Writer
from rolecast.dialects.openai import OpenAI
from rolecast.dialects.openai_body import Text, decoded
from rolecast.dialects.operation import Reference
from rolecast.dialects.request import Request
from rolecast.errors import UNREADABLE, BadRequest, Invalid
from rolecast.values import Embedding, Event, Phases, Report, Usage, Vector

_decode_vector = msgspec.json.Decoder(list[float]).decode


def shortened(numbers: msgspec.Raw, dimensions: int) -> list[float] | msgspec.Raw:
    """The first numbers of a vector, brought to length 1; all of it when it has no more, or is none."""
    try:
        vector = _decode_vector(numbers)
    except UNREADABLE:
        return numbers
    if dimensions >= len(vector):
        return numbers
    length = math.hypot(*vector[:dimensions])
    return [number / length for number in vector[:dimensions]] if length else vector[:dimensions]


class Wanted(Embedding, frozen=True):
    """Texts, and how their vectors are to look."""

    packed: bool = False
    """As base64 of 32-bit floats."""
    bare: bool = False
    """A list and nothing around it."""
    plain: bool = False
    """An object with the vectors alone."""


class _Gathered:
    """The vectors so far."""

    content_type = b"application/json"

    def __init__(self, wanted: Wanted, model: str) -> None:
        self._wanted = wanted
        self._model = model
        self._vectors: list[tuple[int, Any]] = []
        self._used = Usage()

    def write(self, event: Event) -> bytes:
        """Nothing before the end. Raises BadRequest for more numbers than there are."""
        if isinstance(event, Vector):
            self._vectors.append((event.index, self._numbers(event.numbers)))
        elif isinstance(event, Report):
            self._used = event.usage
        return b""

    def _numbers(self, numbers: msgspec.Raw) -> Any:
        wanted = self._wanted
        if not (wanted.dimensions or wanted.packed):
            return numbers
        try:
            vector = _decode_vector(numbers)
        except UNREADABLE:
            return numbers
        if wanted.dimensions > len(vector):
            text = f"`dimensions` is {wanted.dimensions}, and the vectors of this model have {len(vector)} numbers."
            raise BadRequest(text, param="dimensions", code="invalid_value")
        short = shortened(numbers, wanted.dimensions) if wanted.dimensions else vector
        short = vector if isinstance(short, msgspec.Raw) else short
        return base64.b64encode(struct.pack(f"<{len(short)}f", *short)).decode() if wanted.packed else short

    def end(self, phases: Phases) -> bytes:
        """The whole answer."""
        found = [vector for _, vector in sorted(self._vectors, key=lambda each: each[0])]
        if self._wanted.bare:
            return msgspec.json.encode(found)
        if self._wanted.plain:
            return msgspec.json.encode({"embeddings": found, "model": self._model})
        data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(found)]
        tokens = self._used.prompt_tokens
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return msgspec.json.encode({"object": "list", "data": data, "model": self._model, "usage": usage})


def writer(wanted: Wanted, model: str) -> Writer:
    """Writes one object."""
    return _Gathered(wanted, model)


class EmbedBody(msgspec.Struct):
    model: Text | None = None
    inputs: str | list[str] | None = None
    texts: Annotated[list[str], msgspec.Meta(min_length=1)] | None = None
    normalize: bool | None = None
    truncate: bool | None = None


_decode = msgspec.json.Decoder(EmbedBody).decode


class Embed(OpenAI):
    """Vectors as TEI gives them: `/embed` with `inputs`; with `texts` an object around them."""

    def paths(self, limits: Limits) -> Mapping[str, Read]:
        """TEI has one spelling."""
        return {"/embed": _read}

    def writer(self, request: Request, model: str) -> Writer:
        """Writes a list, or an object."""
        assert isinstance(request.plain, Wanted)
        return writer(request.plain, model)

    def reference(self) -> Reference:
        """What its paths take and give."""
        from rolecast.dialects import openai_more_reference

        return openai_more_reference.REFERENCE


def _read(body: bytes) -> Request:
    fields = decoded(body, _decode)
    given = fields.texts or fields.inputs
    if not given:
        raise Invalid("`inputs` is missing or empty: a text or a list of texts.", param="inputs")
    texts = (given,) if isinstance(given, str) else tuple(given)
    listed = fields.texts is not None
    plain = Wanted(fields.model or "", texts, bare=not listed, plain=listed)
    return Request("embeddings", b"", plain.model, False, body, family="", plain=plain)
