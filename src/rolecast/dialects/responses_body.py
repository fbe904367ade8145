"""The body of a Responses request: its settings, what is refused of them, and how an answer repeats them.

Knows no conversation beyond this request.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from rolecast.dialects import responses_items, responses_tools
from rolecast.dialects.openai_chat import explain
from rolecast.dialects.request import read_fields
from rolecast.dialects.responses_items import Item
from rolecast.dialects.responses_tools import Offered
from rolecast.errors import BadRequest, NotFound
from rolecast.values import Chat, Sampling

Real = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
Length = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
ID = re.compile(r"resp_[0-9a-f]{32}\Z")
"""Ids of answers that were made here."""


class _Format(msgspec.Struct):
    type: str
    name: str | None = None
    schema: dict[str, msgspec.Raw] | None = None


class _Text(msgspec.Struct):
    format: _Format | None = None


class _Reasoning(msgspec.Struct):
    effort: Annotated[str, msgspec.Meta(extra_json_schema={"enum": EFFORTS})] | None = None


class Body(msgspec.Struct):
    model: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    input: msgspec.Raw = msgspec.Raw(b"null")
    prompt: msgspec.Raw = msgspec.Raw(b"null")
    instructions: str | None = None
    stream: bool | None = None
    tools: list[responses_tools.Tool] | None = None
    tool_choice: str | responses_tools.Choice | None = None
    parallel_tool_calls: bool | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    max_output_tokens: Length | None = None
    max_tokens: Length | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)] | None = None
    min_p: Real | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: str | list[str] | None = None
    presence_penalty: Real | None = None
    frequency_penalty: Real | None = None
    repetition_penalty: Real | None = None
    chat_template_kwargs: dict[str, msgspec.Raw] | None = None
    top_logprobs: int | None = None
    include: list[str] | None = None
    truncation: Annotated[str, msgspec.Meta(extra_json_schema={"enum": ("auto", "disabled")})] | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    background: bool | None = None
    conversation: msgspec.Raw = msgspec.Raw(b"null")
    metadata: dict[str, str] | None = None
    max_tool_calls: int | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    session_id: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    extra_body: dict[str, msgspec.Raw] | None = None


_decode = msgspec.json.Decoder(Body).decode


def read(body: bytes) -> tuple[Body, bytes]:
    try:
        body.decode()  # the decoder looks into no text that it hands on as it stands
        fields = _decode(body)
        if fields.extra_body is not None:
            raw = read_fields(body)
            raw.pop("extra_body")
            body = msgspec.json.encode({**fields.extra_body, **raw})
            fields = _decode(body)
        return fields, body
    except msgspec.ValidationError as exc:
        where, text = explain(exc)
        if not where:
            raise BadRequest(f"The body must be a JSON object: {text}.", code="bad_json") from None
        raise BadRequest(f"`{where}`: {text}.", param=where, code="invalid_value") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequest(f"The body is not valid JSON: {exc}.", code="bad_json") from None


def refuse(fields: Body) -> None:
    """Raises BadRequest for what is not done here."""
    effort = fields.reasoning.effort if fields.reasoning else None
    refusals = {
        "background": (fields.background, "answers are not made in the background: leave it out and stream"),
        "conversation": (bytes(fields.conversation) != b"null", "use `previous_response_id`, which is kept here"),
        "top_logprobs": (fields.top_logprobs, "there are none here; /v1/chat/completions has `logprobs`"),
        "include": (
            "message.output_text.logprobs" in (fields.include or ()),
            "there are no logprobs here; /v1/chat/completions has `logprobs`",
        ),
        "truncation": (
            fields.truncation not in (None, "auto", "disabled"),
            'it is "auto" or "disabled"; nothing is ever cut here',
        ),
        "reasoning.effort": (effort is not None and effort not in EFFORTS, f"it is one of {', '.join(EFFORTS)}"),
        "session_id": (
            fields.session_id and fields.previous_response_id,
            "it and `previous_response_id` are two ways to go on with a conversation: send one of them",
        ),
        "prompt": (bytes(fields.prompt).startswith(b"{"), "there are no stored prompts here: send `input`"),
    }
    for name, (refused, why) in refusals.items():
        if refused:
            raise BadRequest(f"`{name}`: {why}.", param=name, code="unsupported_value")
    before = fields.previous_response_id
    if before and not ID.match(before):  # it never was an id of ours
        text = f"There is no response {before[:100]!r}: send the `id` of an answer that was kept."
        raise NotFound(text, param="previous_response_id", code="previous_response_not_found")


def items(fields: Body) -> bytes:
    """The items that were sent; a text is a message of the user's. Raises BadRequest."""
    given = bytes(fields.input).strip()
    if given == b"null":
        given = bytes(fields.prompt).strip()  # some clients say so
    if given.startswith(b'"'):
        return b'[{"type":"message","role":"user","content":%b}]' % given
    if not given.startswith(b"["):
        if given == b"null" and fields.previous_response_id:
            return b"[]"
        raise BadRequest("`input` is missing: a text, or a list of items.", param="input")
    if given[1:-1].strip() == b"" and not fields.previous_response_id:
        raise BadRequest("`input` is empty: a text, or a list of items.", param="input")
    return given


def offered(body: Body, conversation: Sequence[Item], earlier: int) -> list[Offered]:
    """The tools of this request, and those that its items brought. Raises BadRequest."""
    brought = [(f"input[{i - earlier}].tools", each.tools) for i, each in enumerate(conversation) if each.tools]
    return responses_tools.offered([("tools", body.tools or []), *brought])


def chat(body: Body, conversation: Sequence[Item], earlier: int, offers: Sequence[Offered]) -> Chat:
    """The whole conversation in words of no dialect. Raises BadRequest."""
    tools, choice, named = responses_tools.choice(offers, body.tool_choice)
    extra: dict[str, Any] = {}
    if body.parallel_tool_calls is not None and tools:
        extra["parallel_tool_calls"] = body.parallel_tool_calls
    if body.chat_template_kwargs is not None:
        extra["chat_template_kwargs"] = body.chat_template_kwargs
    effort = body.reasoning.effort if body.reasoning else None
    return Chat(
        model=body.model or "",
        messages=responses_items.messages(body.instructions or "", conversation, earlier),
        stream=body.stream is True,
        tools=tools,
        tool_choice=choice,
        tool_named=named,
        answer_schema=_schema(body.text.format if body.text else None),
        think=False if effort == "none" else effort,
        sampling=Sampling(
            max_tokens=body.max_output_tokens or body.max_tokens,
            temperature=body.temperature,
            top_p=body.top_p,
            top_k=body.top_k,
            min_p=body.min_p,
            seed=body.seed,
            stop=tuple(filter(None, [body.stop] if isinstance(body.stop, str) else body.stop or ())),
            presence_penalty=body.presence_penalty,
            frequency_penalty=body.frequency_penalty,
            repetition_penalty=body.repetition_penalty,
        ),
        extra=extra,
    )


def _schema(given: _Format | None) -> msgspec.Raw | None:
    if given is None or given.type == "text":
        return None
    if given.type == "json_object":
        return msgspec.Raw(b"{}")
    if given.type == "json_schema" and given.schema:
        return msgspec.Raw(msgspec.json.encode(given.schema))
    text = "`text.format` must be of the type text, json_object, or json_schema with a `schema`."
    raise BadRequest(text, param="text.format", code="invalid_value")


_NUMBERS = {"temperature": 1.0, "top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
"""Where nothing was said the schema wants a number all the same; the model's own settings are what applies."""


def told(body: Body) -> dict[str, Any]:
    """The settings as the answer repeats them: every field of the schema, null where nothing was said."""
    return {
        "background": False,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens or body.max_tokens,
        "max_tool_calls": body.max_tool_calls,
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "conversation": None,
        "prompt": None,
        "prompt_cache_key": body.prompt_cache_key,
        "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
        "safety_identifier": body.safety_identifier,
        "service_tier": "default",
        "store": body.store is not False,
        **{name: said if (said := getattr(body, name)) is not None else usual for name, usual in _NUMBERS.items()},
        "text": {"format": _told_format(body.text.format if body.text else None)},
        "tool_choice": responses_tools.told_choice(body.tool_choice),
        "tools": responses_tools.told(body.tools or ()),
        "top_logprobs": 0,
        "truncation": "disabled",
        "user": body.user,
        "metadata": body.metadata or {},
    }


def _told_format(given: _Format | None) -> dict[str, Any]:
    if given is None or given.type != "json_schema":
        return {"type": given.type if given else "text"}
    told = {"type": "json_schema", "name": given.name or "answer", "schema": given.schema}
    return {**told, "description": None, "strict": True}
