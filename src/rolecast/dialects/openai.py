"""The OpenAI dialect: what is read of bodies that go on as they are, and how answers and errors look.

Only fields that routing or safety need are typed; all others stay in the bytes and reach the worker as the
client wrote them. Numbers that have crashed engines elsewhere are range-checked before they go on.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, TypeVar

import msgspec

from rolecast.config.schema import Limits
from rolecast.dialects import Read, Writer, openai_words, openai_writer
from rolecast.dialects.openai_chat import (
    Message,
    Tool,
    ToolChoice,
    explain,
    fault,
    in_words,
    is_malformed,
    needs_of_messages,
    needs_of_tools,
)
from rolecast.dialects.operation import Reference
from rolecast.dialects.request import MOST_BACK, Request, read_fields
from rolecast.errors import BadRequest, Invalid, RolecastError
from rolecast.values import Chat, Kind

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Keep = Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)]
Small = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Window = Annotated[int, msgspec.Meta(ge=-1, le=MOST_BACK)]
Real = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
Text = Annotated[str, msgspec.Meta(max_length=512)]

B = TypeVar("B", bound="Body")


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Body(msgspec.Struct):
    """Fields of all three kinds of request."""

    model: Text | None = None
    stream: bool | None = None
    stream_options: StreamOptions | msgspec.UnsetType | None = msgspec.UNSET
    extra_body: dict[str, msgspec.Raw] | None = None
    repetition_penalty: Real | None = None
    max_tokens: Keep | None = None
    max_completion_tokens: Keep | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Int32 | None = None
    min_p: Real | None = None
    seed: int | None = None
    n_predict: Keep | None = None
    n_keep: Keep | None = None
    n_discard: Small | None = None
    n_probs: Small | None = None
    # An engine sets aside memory for as many tokens as it is to look back, for each sampler anew.
    repeat_last_n: Window | None = None
    dry_penalty_last_n: Window | None = None
    samplers: Annotated[str, msgspec.Meta(max_length=32)] | Annotated[list[str], msgspec.Meta(max_length=32)] | None = (
        None
    )
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=1000)] | None = None
    # Of another type these are ignored by engines without a word, and the answer is not what was asked for.
    stop: str | list[str] | None = None
    response_format: dict[str, msgspec.Raw] | None = None
    logit_bias: dict[str, msgspec.Raw] | list[msgspec.Raw] | None = None


class ChatBody(Body):
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | ToolChoice | None = None
    thinking_budget: Int32 | None = None


class CompletionBody(Body):
    prompt: msgspec.Raw = msgspec.Raw()


class EmbeddingsBody(Body):
    input: msgspec.Raw = msgspec.Raw()
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None


class OpenAI:
    """Chat completions, completions and embeddings."""

    def paths(self, limits: Limits) -> Mapping[str, Read]:
        """With and without `/v1`."""
        reads = {"/chat/completions": read_chat(int(limits.messages)), "/completions": _completion}
        reads["/embeddings"] = _embeddings
        return {prefix + path: read for path, read in reads.items() for prefix in ("", "/v1")}

    def chat(self, request: Request) -> Chat:
        """A chat request in words of no dialect."""
        return openai_words.chat(request.body)

    def writer(self, request: Request, model: str) -> Writer:
        """Writes chunks, or one whole answer."""
        return openai_writer.writer(request, model)

    def error(self, error: RolecastError, *, started: bool = False) -> bytes:
        """The error object; in a stream as an event, with the end that clients wait for."""
        return b"data: %b\n\ndata: [DONE]\n\n" % error.body() if started else error.body()

    def reference(self) -> Reference:
        """What its paths take and give."""
        from rolecast.dialects import openai_reference

        return openai_reference.REFERENCE


def _no_messages(body: bytes) -> Request:
    raise Invalid("`messages` is missing: a list of objects with `role` and `content`.", param="messages")


def read_chat(max_messages: int, otherwise: Read = _no_messages) -> Read:
    """What reads the body of a chat; `otherwise` reads one without `messages`."""

    def read(body: bytes) -> Request:
        fields, body = _read(body, _decode_chat)
        if fields.messages is None:
            return otherwise(body)
        if len(fields.messages) > max_messages:
            raise Invalid(
                f"`messages` holds {len(fields.messages)} entries; {max_messages} are allowed.",
                param="messages",
            )
        request = _request("chat", b"/chat/completions", fields, body)
        if fields.thinking_budget is not None:
            request.edit = True
        if needs := needs_of_messages(fields.messages):
            request.needs = needs
        if fields.tools is not None or fields.tool_choice is not None:
            _take_tools(request, fields)
        return request

    return read


def _completion(body: bytes) -> Request:
    fields, body = _read(body, _decode_completion)
    if _absent(fields.prompt):
        raise Invalid("`prompt` is missing or empty: a text, or a list of texts or tokens.", param="prompt")
    return _request("completion", b"/completions", fields, body)


def _embeddings(body: bytes) -> Request:
    fields, body = _read(body, _decode_embeddings)
    if _absent(fields.input):
        raise Invalid("`input` is missing or empty: a text or a list of texts.", param="input")
    return _request("embeddings", b"/embeddings", fields, body)


_decode_chat = msgspec.json.Decoder(ChatBody).decode
_decode_completion = msgspec.json.Decoder(CompletionBody).decode
_decode_embeddings = msgspec.json.Decoder(EmbeddingsBody).decode


def _read(body: bytes, decode: Callable[[bytes], B]) -> tuple[B, bytes]:
    """The fields of a body, and the body that goes on. What is nested in `extra_body` is judged like the rest."""
    try:
        if not body.isascii():
            body.decode()  # what is only passed on is not decoded below
        fields = decode(body)
        if fields.extra_body is not None:
            body = _unnest(body)
            fields = decode(body)
        return fields, body
    except msgspec.ValidationError as exc:
        where, text = explain(exc)
        if not where:
            raise BadRequest(f"The body must be a JSON object: {text}.", code="bad_json") from None
        raise fault(exc) if is_malformed(where) else Invalid(f"`{where}`: {text}.", param=where) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadRequest(f"The body is not valid JSON: {exc}.", code="bad_json") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.", code="bad_json") from None


def _unnest(body: bytes) -> bytes:
    """The body with the fields of `extra_body` beside the others, which win."""
    fields = read_fields(body)
    nested = read_fields(bytes(fields.pop("extra_body")))
    nested.pop("extra_body", None)
    return msgspec.json.encode({**nested, **fields})


def _absent(value: msgspec.Raw) -> bool:
    """Whether nothing was given: an engine may answer an empty list with nothing, which would look like its fault."""
    return len(value) < 16 and bytes(value).translate(None, b" \t\r\n") in (b"", b"null", b"[]")


def _request(kind: Kind, path: bytes, fields: Body, body: bytes) -> Request:
    options = fields.stream_options
    request = Request(kind, path, fields.model or "", fields.stream is True, body)
    if options is not msgspec.UNSET:
        request.wants_usage = options is not None and options.include_usage is True
        # A `stream_options` of the client's own is edited, not spliced, when usage has to be asked for.
        request.edit = not request.wants_usage
    if fields.repetition_penalty is not None:
        request.edit = True
    return request


def _take_tools(request: Request, fields: ChatBody) -> None:
    """What the tools of a chat mean for who may answer and for how it is asked."""
    needs, request.prefers = needs_of_tools(fields.tools, fields.tool_choice)
    request.needs |= needs
    if words := in_words(request.body, fields.tools, fields.tool_choice):
        request.choice_in_words, request.edit = words, True
