"""OpenAI's embeddings. They go on as they are; what an engine leaves out, shorter vectors, is done by `vectors`."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal

import msgspec

from rolecast.config.schema import Limits
from rolecast.dialects import Read, Writer, vectors
from rolecast.dialects.openai import OpenAI, opened
from rolecast.dialects.openai_body import FORMS, Body, absent, prompts_in, read
from rolecast.dialects.request import Request, Several
from rolecast.errors import Invalid


class EmbeddingsBody(Body):
    input: msgspec.Raw = msgspec.Raw()
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None


_decode = msgspec.json.Decoder(EmbeddingsBody).decode


class Embeddings(OpenAI):
    """Vectors of texts."""

    def paths(self, limits: Limits) -> Mapping[str, Read]:
        """With and without `/v1`."""
        return dict.fromkeys(("/v1/embeddings", "/embeddings"), _read)

    def writer(self, request: Request, model: str) -> Writer:
        """Writes one object."""
        fields, _ = read(request.body, _decode)
        return vectors.writer(_wanted(fields), model)


def _read(body: bytes) -> Request:
    fields, body = read(body, _decode)
    if absent(fields.input):
        raise Invalid(f"`input` is missing: {FORMS}.", param="input")
    request = opened("embeddings", b"/embeddings", fields, body)
    if fields.dimensions is not None:
        request.split = partial(_whole, fields)
    return request


def _wanted(fields: EmbeddingsBody) -> vectors.Wanted:
    texts = tuple(prompts_in(fields.input, "input"))
    packed = fields.encoding_format == "base64"
    return vectors.Wanted(fields.model or "", texts, dimensions=fields.dimensions or 0, packed=packed)


def _whole(fields: EmbeddingsBody, request: Request) -> Several:
    """One part: the same texts, for an engine that shortens no vector."""
    wanted = _wanted(fields)
    part = Request("embeddings", b"", wanted.model, False, request.body, family="", plain=wanted)
    return Several((part,), 1)
