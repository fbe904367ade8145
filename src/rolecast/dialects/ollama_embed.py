"""Ollama's `/api/embed`, and `/api/embeddings` as it was before: texts in, vectors out.

Texts are never cut, whatever `truncate` says: one that is too long is an error. Fewer dimensions are the first ones,
brought to length 1 again, as Ollama does it.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from rolecast.config.schema import Limits
from rolecast.dialects import Read, Writer
from rolecast.dialects.ollama import Ollama, Options
from rolecast.dialects.ollama_body import KeepAlive, decoded, seconds, without_answer
from rolecast.dialects.request import Request
from rolecast.dialects.vectors import shortened
from rolecast.errors import BadRequest
from rolecast.values import Embedding, Event, Phases, Report, Usage, Vector


class EmbedBody(msgspec.Struct):
    model: Annotated[str, msgspec.Meta(max_length=512)] = ""
    input: str | list[str] | None = None
    prompt: str | None = None
    """The text of the old path."""
    truncate: bool | None = None
    dimensions: Annotated[float, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    options: Options | None = None
    keep_alive: KeepAlive = None


_decode = msgspec.json.Decoder(EmbedBody).decode


class OllamaEmbed(Ollama):
    """Vectors of many texts."""

    def paths(self, limits: Limits) -> Mapping[str, Read]:
        """Ollama has one spelling."""
        return {"/api/embed": _read}

    def writer(self, request: Request, model: str) -> Writer:
        """Writes one object."""
        dimensions = request.plain.dimensions if isinstance(request.plain, Embedding) else 0
        return _Many(model, dimensions)


class OllamaEmbeddings(Ollama):
    """The vector of one text, on the path of before."""

    def paths(self, limits: Limits) -> Mapping[str, Read]:
        """Ollama has one spelling."""
        return {"/api/embeddings": _read_one}

    def writer(self, request: Request, model: str) -> Writer:
        """Writes one object."""
        return _One(model)


def _read(body: bytes) -> Request:
    fields = decoded(body, _decode)
    if fields.input is None:
        raise BadRequest("`input` is missing: a text or a list of texts.", param="input")
    given = [fields.input] if isinstance(fields.input, str) else fields.input
    return _request(body, fields, given if given != [""] else [])


def _read_one(body: bytes) -> Request:
    fields = decoded(body, _decode)
    return _request(body, fields, [fields.prompt] if fields.prompt else [])


def _request(body: bytes, fields: EmbedBody, inputs: list[str]) -> Request:
    stay_s = seconds(fields.keep_alive)
    if not inputs:
        return without_answer(body, fields.model, stay_s)
    plain = Embedding(fields.model, tuple(inputs), int(fields.dimensions or 0))
    return Request("embeddings", b"", fields.model, False, body, family="", plain=plain, stay_s=stay_s)


class _Many:
    """The vectors in the order of their texts."""

    content_type = b"application/json; charset=utf-8"

    def __init__(self, model: str, dimensions: int) -> None:
        self._model = model
        self._dimensions = dimensions
        self._vectors: list[Vector] = []
        self._used = Usage()

    def write(self, event: Event) -> bytes:
        """Nothing before the end."""
        if isinstance(event, Vector):
            self._vectors.append(event)
        elif isinstance(event, Report):
            self._used = event.usage
        return b""

    def end(self, phases: Phases) -> bytes:
        """The whole answer. Durations in nanoseconds."""
        return msgspec.json.encode(
            {
                "model": self._model,
                "embeddings": self._numbers(),
                "total_duration": phases.total_us * 1000,
                "load_duration": phases.load_us * 1000,
                "prompt_eval_count": self._used.prompt_tokens,
            }
        )

    def _numbers(self) -> list[Any]:
        vectors = sorted(self._vectors, key=lambda vector: vector.index)
        if not self._dimensions:
            return [vector.numbers for vector in vectors]
        return [shortened(vector.numbers, self._dimensions) for vector in vectors]


class _One(_Many):
    """One vector."""

    def __init__(self, model: str) -> None:
        super().__init__(model, 0)

    def end(self, phases: Phases) -> bytes:
        """The whole answer."""
        return msgspec.json.encode({"embedding": next(iter(self._numbers()), [])})
