"""Bodies of OpenAI's API, as far as they are looked into: types, ranges, and how a mistake is told.

What a path has besides is its own file's. Fields that are not here stay in the bytes as the client wrote them.
"""

from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec

from rolecast.dialects.openai_chat import explain, fault, is_malformed
from rolecast.dialects.request import MOST_BACK, read_fields
from rolecast.errors import UNREADABLE, BadRequest, Invalid

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Keep = Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)]
Small = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Window = Annotated[int, msgspec.Meta(ge=-1, le=MOST_BACK)]
Real = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
Text = Annotated[str, msgspec.Meta(max_length=512)]

Filled = Annotated[str, msgspec.Meta(min_length=1)]
Bias = Real | bool

Number = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Prompt = str | tuple[int, ...]
"""A text, or the numbers of its tokens."""
FORMS = "a text, a list of texts, a list of token numbers, or a list of such lists"

B = TypeVar("B", bound="Body")
T = TypeVar("T")


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Format(msgspec.Struct):
    """What form an answer must have."""

    type: str | None = None
    json_schema: dict[str, msgspec.Raw] | None = None


class Body(msgspec.Struct):
    """Fields of all requests that generate."""

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
    # An empty one ends the answer before it begins.
    stop: Filled | list[Filled] | None = None
    response_format: Format | None = None
    grammar: str | None = None
    logit_bias: dict[str, Bias] | list[tuple[int | str, Bias]] | None = None
    presence_penalty: Real | None = None
    frequency_penalty: Real | None = None


def read(body: bytes, decode: Callable[[bytes], B]) -> tuple[B, bytes]:
    """The fields of a body, and the body that goes on. What is nested in `extra_body` is judged like the rest."""
    fields = decoded(body, decode)
    if fields.extra_body is not None:
        body = _unnest(body)
        fields = decoded(body, decode)
    if fields.response_format is not None:
        check_format(fields.response_format)
    return fields, body


def decoded(body: bytes, decode: Callable[[bytes], T]) -> T:
    """The fields of a body. Raises BadRequest or Invalid that names the place of what is wrong."""
    try:
        if not body.isascii():
            body.decode()  # what is only passed on is not decoded below
        return decode(body)
    except msgspec.ValidationError as exc:
        where, text = explain(exc)
        if not where:
            raise BadRequest(f"The body must be a JSON object: {text}.", code="bad_json") from None
        raise fault(exc) if is_malformed(where) else Invalid(f"`{where}`: {text}.", param=where) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadRequest(f"The body is not valid JSON: {exc}.", code="bad_json") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.", code="bad_json") from None


def check_format(wanted: Format) -> None:
    """Raises BadRequest for a form that an engine would leave aside without a word."""
    if wanted.type == "json_schema" and "schema" not in (wanted.json_schema or {}):
        text = 'its schema is missing: write {"type":"json_schema","json_schema":{"name":"...","schema":{...}}}'
        raise BadRequest(f"`response_format`: {text}.", param="response_format.json_schema", code="invalid_value")
    if wanted.type == "json_schema" and not bytes((wanted.json_schema or {})["schema"]).startswith(b"{"):
        text = "`response_format`: a schema is an object; an engine would write anything at all for another value."
        raise BadRequest(text, param="response_format.json_schema", code="invalid_value")
    if wanted.type == "grammar":
        text = "`response_format` takes no grammar; send it as the field `grammar`."
        raise BadRequest(text, param="response_format.type", code="invalid_value")


def _unnest(body: bytes) -> bytes:
    """The body with the fields of `extra_body` beside the others, which win."""
    fields = read_fields(body)
    nested = read_fields(bytes(fields.pop("extra_body")))
    nested.pop("extra_body", None)
    return msgspec.json.encode({**nested, **fields})


def absent(value: msgspec.Raw) -> bool:
    """Whether nothing was given: an engine may answer an empty list with nothing, which would look like its fault."""
    return len(value) < 16 and bytes(value).translate(None, b" \t\r\n") in (b"", b"null", b"[]")


_decode_list = msgspec.json.Decoder(list[str | Number | list[Number]]).decode


def prompts_in(raw: msgspec.Raw, field: str) -> list[Prompt]:
    """The texts of a field one by one. Raises Invalid for what is none."""
    try:
        given = [msgspec.json.decode(raw, type=str)] if bytes(raw).startswith(b'"') else _decode_list(raw)
    except UNREADABLE:
        raise Invalid(f"`{field}`: expected {FORMS}.", param=field) from None
    if not given or [] in given:
        raise Invalid(f"`{field}` is an empty list: expected {FORMS}.", param=field)
    nested, numbers = sum(isinstance(each, list) for each in given), sum(isinstance(each, int) for each in given)
    if nested not in (0, len(given)) or (numbers and numbers < len(given)):
        raise Invalid(f"`{field}` mixes texts and tokens: expected {FORMS}.", param=field)
    if numbers:
        return [tuple(each for each in given if isinstance(each, int))]
    return [tuple(each) if isinstance(each, list) else each for each in given if not isinstance(each, int)]
