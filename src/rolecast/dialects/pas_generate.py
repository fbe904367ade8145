"""Prompts on a port with `surface: pas`: its `/generate`, and Ollama's `/api/generate` as it is there.

Both are Ollama's, but an answer is one object unless a stream is asked for, and the model of the port answers under
its own name, whatever name was asked for. `/generate` refuses as PAS does: with 422 and a `detail`.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, TypeVar

import msgspec

from rolecast.config.schema import Limits
from rolecast.dialects import Read
from rolecast.dialects.ollama import Options
from rolecast.dialects.ollama_body import decoded
from rolecast.dialects.ollama_generate import OllamaGenerate, Prompt, asked
from rolecast.dialects.operation import Reference
from rolecast.dialects.request import Request
from rolecast.errors import BadRequest, Invalid, RolecastError

UNNAMED = "auto"
"""What a body without `model` means where the port has none."""


class _Options(Options):
    top_k: Annotated[float, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    num_predict: Annotated[float, msgspec.Meta(ge=-2, le=2**31 - 1)] | None = None
    repeat_penalty: Annotated[float, msgspec.Meta(ge=0, le=1e6)] | None = None


class PromptOptions(Prompt):
    options: _Options | None = None


P = TypeVar("P", bound=Prompt)
_decode = msgspec.json.Decoder(PromptOptions).decode
_decode_any = msgspec.json.Decoder(Prompt).decode


class PasOllama(OllamaGenerate):
    """`/api/generate` of such a port."""

    id_header = ping = b""
    writer_for = None

    def __init__(self, model: str) -> None:
        self._model = model

    def paths(self, limits: Limits) -> Mapping[str, Read]:
        """Ollama's own."""
        most = int(limits.messages)
        return {"/api/generate": lambda body: asked(body, self._fields(body, _decode_any), most)}

    def reference(self) -> Reference:
        """What its paths take and give."""
        from rolecast.dialects import pas_reference

        return pas_reference.OLLAMA

    def _fields(self, body: bytes, decode: Callable[[bytes], P]) -> P:
        fields = decoded(body, decode, self._model or UNNAMED)
        fields.model = self._model or fields.model
        fields.stream = fields.stream is True
        return fields


class PasGenerate(PasOllama):
    """`/generate`."""

    def __init__(self, model: str, context: int) -> None:
        super().__init__(model)
        self._context = context

    def paths(self, limits: Limits) -> Mapping[str, Read]:
        """PAS has one spelling."""
        most = int(limits.messages)
        return {"/generate": lambda body: self._read(body, most)}

    def error(self, error: RolecastError, *, started: bool = False) -> bytes:
        """The one shape of all pages, whose `detail` is PAS's; in a stream it is the last line."""
        return error.body() + b"\n" * started

    def reference(self) -> Reference:
        """What its paths take and give."""
        from rolecast.dialects import pas_reference

        return pas_reference.GENERATE

    def _read(self, body: bytes, most: int) -> Request:
        try:
            fields = self._fields(body, _decode)
            if not fields.prompt:
                raise BadRequest("`prompt` is missing or empty: give the text to answer.", param="prompt")
            request = asked(body, fields, most)
        except BadRequest as error:
            if error.param is None:  # no JSON at all
                raise
            raise Invalid(error.message, param=error.param) from None
        wanted = fields.options.num_predict if fields.options else None
        if self._context and (wanted or 0) > self._context:
            text = f"`options.num_predict` is more than the context of this model, {self._context} tokens"
            raise Invalid(f"{text}.", param="options.num_predict")
        return request
