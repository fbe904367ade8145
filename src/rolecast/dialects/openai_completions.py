"""OpenAI's completions: a text is gone on with, for every prompt of a request, as often as it is wanted.

A request for one plain answer goes on as it is. Any other is cut into parts of one prompt and one answer for an engine
that knows no more than that; what it leaves out of them (`echo`, the shape of logprobs, the best of several) is done
by `openai_completions_writer`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated

import msgspec

from rolecast.config.schema import Limits
from rolecast.decision import Hints
from rolecast.dialects import Read, Writer
from rolecast.dialects.openai import OpenAI, opened
from rolecast.dialects.openai_body import FORMS, Body, Prompt, absent, prompts_in, read
from rolecast.dialects.openai_completions_writer import Wishes, writer
from rolecast.dialects.request import NOTHING, Request, Several, read_fields
from rolecast.errors import BadRequest, Invalid
from rolecast.values import Completion

MOST_ANSWERS = 1024
"""Prompts times answers of one request."""
QUOTE = ord('"')
_NOTHING = (b"", b"null")
_OURS = frozenset(
    {"model", "prompt", "stream", "stream_options", "echo", "suffix", "n", "best_of", "logprobs", "extra_body"}
)
"""Fields that no part has as the client wrote them."""


class CompletionBody(Body):
    prompt: msgspec.Raw = msgspec.Raw()
    echo: bool | None = None
    suffix: str | None = None
    best_of: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    json_schema: msgspec.Raw = msgspec.Raw()
    """llama.cpp's word for a schema that the answer obeys."""
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=1000)] | bool | None = None


_decode = msgspec.json.Decoder(CompletionBody).decode


class Completions(OpenAI):
    """Completions of texts."""

    def paths(self, limits: Limits) -> Mapping[str, Read]:
        """With and without `/v1`."""
        return dict.fromkeys(("/v1/completions", "/completions"), _read)

    def writer(self, request: Request, model: str) -> Writer:
        """Writes pieces, or one whole answer."""
        fields, _ = read(request.body, _decode)
        prompts = prompts_in(fields.prompt, "prompt")
        return writer(request, model, _wishes(fields, prompts))


def _read(body: bytes) -> Request:
    fields, body = read(body, _decode)
    if absent(fields.prompt):
        raise Invalid(f"`prompt` is missing: {FORMS}.", param="prompt")
    request = opened("completion", b"/completions", fields, body)
    request.edit = request.edit or fields.response_format is not None or bytes(fields.json_schema) not in _NOTHING
    many = memoryview(fields.prompt)[0] != QUOTE and len(prompts_in(fields.prompt, "prompt")) > 1
    if fields.n is fields.best_of is None and not (many or fields.echo or fields.suffix or fields.logprobs is not None):
        return request
    _check(fields)
    if fields.suffix:
        request.needs = frozenset({"insert"})
    many = many or max(fields.n or 1, fields.best_of or 1) > 1
    if many or fields.echo or fields.suffix or _is_asked(fields.logprobs):
        request.split = partial(_parts, fields)
    return request


def _is_asked(logprobs: int | bool | None) -> bool:
    return logprobs is not None and logprobs is not False


def _check(fields: CompletionBody) -> None:
    if fields.best_of is None:
        return
    if fields.best_of < (fields.n or 1):
        raise BadRequest("`best_of` must be at least `n`.", param="best_of", code="invalid_value")
    if fields.stream and fields.best_of > (fields.n or 1):
        text = "`best_of` cannot be streamed: which answers are the best is only known at their end."
        raise BadRequest(text, param="best_of", code="invalid_value")


def _wishes(fields: CompletionBody, prompts: list[Prompt]) -> Wishes:
    n = fields.n or 1
    asked = _is_asked(fields.logprobs)
    return Wishes(
        n=n,
        each=max(n, fields.best_of or n),
        echo=tuple(each for each in prompts if isinstance(each, str)) if fields.echo else (),
        logprobs=int(fields.logprobs or 0) if asked else None,
    )


def _parts(fields: CompletionBody, request: Request) -> Several:
    """One request for each answer. Raises BadRequest for what an engine of one answer cannot do."""
    prompts = prompts_in(fields.prompt, "prompt")
    wishes = _wishes(fields, prompts)
    if len(prompts) * wishes.each > MOST_ANSWERS:
        text = (
            f"{len(prompts)} prompts with {wishes.each} answers each are more than the {MOST_ANSWERS} of one request."
        )
        raise BadRequest(f"{text} Send them in several.", param="prompt", code="invalid_value")
    if fields.echo and len(wishes.echo) < len(prompts):
        raise BadRequest("`echo` needs prompts that are texts with this model.", param="echo", code="invalid_value")
    if fields.echo and wishes.logprobs is not None:
        text = "`logprobs` cannot be given of the prompt with this model: leave out `echo` or `logprobs`."
        raise BadRequest(text, param="logprobs", code="invalid_value")
    raw = read_fields(request.body)
    extra = {name: value for name, value in raw.items() if name not in _OURS}
    least = 1 if wishes.logprobs is not None or wishes.each > wishes.n else 0
    if told := max(least, wishes.logprobs or 0):
        extra["logprobs"] = msgspec.Raw(str(told).encode())
    parts = []
    for prompt in prompts:
        for k in range(wishes.each):
            seed = {"seed": msgspec.Raw(str(fields.seed + k).encode())} if k and fields.seed is not None else {}
            words = Completion(
                fields.model or "", prompt, fields.stream is True, fields.suffix or "", extra=extra | seed
            )
            parts.append(_part(words, request.hints))
    return Several(tuple(parts), wishes.each)


def _part(words: Completion, hints: Hints | None) -> Request:
    counted = words.prompt.encode() if isinstance(words.prompt, str) else b"    " * len(words.prompt)
    needs = frozenset({"insert"}) if words.suffix else NOTHING
    return Request("completion", b"", words.model, words.stream, counted, needs, family="", plain=words, hints=hints)
