"""Servers that speak Anthropic's Messages: chats written for them, and their answers read into events.

What the wire has no word for is left out where it only shades an answer (a seed, penalties, thoughts without the
signature of who thought them), and refused where the answer would be another one.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from rolecast.dialects import complaint, lenient, usage
from rolecast.dialects.openai_worker import MAX_ANSWER_BYTES
from rolecast.dialects.sse import Events
from rolecast.errors import UNREADABLE, BadRequest
from rolecast.values import (
    Chat,
    Done,
    Event,
    Failure,
    Message,
    Part,
    Reasoning,
    Report,
    Text,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)

MAX_TOKENS = 8192
"""The length that an answer may have where the client gives none: the wire cannot do without."""
LEAST_THOUGHT = 1024
"""Tokens to think with; fewer are refused."""
EFFORTS = {"minimal": "low"}
REASONS = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class AnthropicWorker:
    """Anthropic's own servers, and others with the same API."""

    def ask(self, chat: Chat, *, usage: bool) -> tuple[bytes, bytes]:
        """A message. Raises BadRequest for what cannot be said so."""
        sampling = chat.sampling
        asked = sampling.max_tokens or 0
        most = asked if asked > 0 else MAX_TOKENS
        fields: dict[str, Any] = {"model": chat.model, "max_tokens": most}
        system = [_text(each) for each in chat.messages if each.role in ("system", "developer")]
        if any(system):
            fields["system"] = "\n\n".join(filter(None, system))
        fields["messages"] = _turns(chat.messages)
        if chat.stream:
            fields["stream"] = True
        fields |= _tools(chat)
        fields |= _thinking(chat, most)
        if chat.answer_schema is not None:
            if bytes(chat.answer_schema).strip() == b"{}":
                raise BadRequest("This model's server needs a JSON schema; it has no word for any JSON object.")
            wanted = {"type": "json_schema", "schema": chat.answer_schema}
            fields["output_config"] = fields.get("output_config", {}) | {"format": wanted}
        for name in ("temperature", "top_p", "top_k"):
            if (value := getattr(sampling, name)) is not None:
                fields[name] = value
        if sampling.stop:
            fields["stop_sequences"] = sampling.stop
        if user := chat.extra.get("user"):
            fields["metadata"] = {"user_id": user}
        return b"/messages", msgspec.json.encode(fields)

    def reader(self, *, streaming: bool) -> "_Stream | _Whole":
        """Reads a stream of events, or one message."""
        return _Stream() if streaming else _Whole()


def _tools(chat: Chat) -> dict[str, Any]:
    if not chat.tools:
        return {}
    fields: dict[str, Any] = {"tools": [_tool(each) for each in chat.tools]}
    choice = {"required": "any"}.get(chat.tool_choice, chat.tool_choice)
    if chat.tool_named:
        fields["tool_choice"] = {"type": "tool", "name": chat.tool_named}
    elif choice:
        fields["tool_choice"] = {"type": choice}
    parallel = chat.extra.get("parallel_tool_calls")
    if parallel is False or (isinstance(parallel, msgspec.Raw) and bytes(parallel) == b"false"):
        fields["tool_choice"] = fields.get("tool_choice", {"type": "auto"}) | {"disable_parallel_tool_use": True}
    return fields


def _tool(tool: Tool) -> dict[str, Any]:
    schema = tool.parameters if b'"type"' in bytes(tool.parameters) else {"type": "object", "properties": {}}
    described = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, **described, "input_schema": schema}


def _thinking(chat: Chat, most: int) -> dict[str, Any]:
    if isinstance(chat.think, str):
        return {"output_config": {"effort": EFFORTS.get(chat.think, chat.think)}}
    if chat.think is None:
        return {}
    if not chat.think:
        return {"thinking": {"type": "disabled"}}
    budget = chat.extra.get("thinking_budget_tokens") or max(LEAST_THOUGHT, most // 2)
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


# -- messages ----------------------------------------------------------------------------------------------------


def _turns(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The messages by turns: results of tools are the user's, and neighbours of one role are one message."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role in ("system", "developer"):
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = [_result(message)] if message.role == "tool" else [*_blocks(message), *map(_call, message.tool_calls)]
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "\n\n".join(part.text for part in message.content if part.kind == "text")


def _blocks(message: Message) -> list[dict[str, Any]]:
    """The content; an empty text would be refused."""
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}] if message.content else []
    return [_block(part) for part in message.content if part.kind != "text" or part.text]


def _block(part: Part) -> dict[str, Any]:
    if part.kind == "text":
        return {"type": "text", "text": part.text}
    if part.kind not in ("image", "file"):
        raise BadRequest(f"This model takes no {part.kind}: its server has no word for it.", param="messages")
    head, comma, data = part.data.partition(";base64,")
    if comma and head.startswith("data:"):
        source = {"type": "base64", "media_type": head.removeprefix("data:"), "data": data}
    elif part.data.startswith(("http://", "https://")):
        source = {"type": "url", "url": part.data}
    else:
        raise BadRequest(f"The {part.kind} must be a URL: data:TYPE;base64,... or https://...", param="messages")
    if part.kind == "image":
        return {"type": "image", "source": source}
    return {"type": "document", "source": source} | ({"title": part.name} if part.name else {})


def _call(call: ToolCall) -> dict[str, Any]:
    try:
        given = _object(call.arguments or "{}")
    except UNREADABLE:
        text = "The `arguments` of a call must be the text of a JSON object."
        raise BadRequest(text, param="messages", code="invalid_value") from None
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": given}


def _result(message: Message) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": _blocks(message)}


# -- answers -----------------------------------------------------------------------------------------------------


class _Details(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct):
    """Counts; later ones in a stream are added to those before them, or replace them."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: _Details | None = None


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Message(msgspec.Struct):
    usage: _Usage | None = None


class _Event(msgspec.Struct):
    """Any event of a stream, or a whole message."""

    type: str = ""
    index: int = 0
    message: _Message | str | None = None
    content_block: _Block | None = None
    delta: _Block | None = None
    content: list[_Block] | None = None
    usage: _Usage | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


_decode = msgspec.json.Decoder(_Event).decode
_NEEDED = frozenset({"type", "content", "delta", "content_block", "text", "partial_json"})


def _read(data: bytes) -> _Event | None:
    try:
        return _decode(data)
    except UNREADABLE:
        return lenient.read(data, _Event, _NEEDED)


def _done(reason: str | None, sequence: str | None) -> Done:
    return Done(REASONS.get(reason or "", "stop"), stop=sequence or "")


def _report(told: Mapping[str, int]) -> Report:
    """Anthropic's input does not count what was read from a cache or written into it."""
    count = {name: min(max(value, 0), usage.MOST_TOKENS) for name, value in told.items()}
    cached = count.get("cache_read_input_tokens", 0)
    asked = count.get("input_tokens", 0) + count.get("cache_creation_input_tokens", 0) + cached
    thought = count.get("thinking_tokens", 0)
    return Report(Usage(asked, count.get("output_tokens", 0), cached, reasoning_tokens=thought))


def _counts(told: _Usage | None) -> dict[str, int]:
    if told is None:
        return {}
    counts = {name: value for name, value in msgspec.structs.asdict(told).items() if isinstance(value, int)}
    if told.output_tokens_details is not None and told.output_tokens_details.thinking_tokens:
        counts["thinking_tokens"] = told.output_tokens_details.thinking_tokens
    return counts


def _unreadable() -> Failure:
    return Failure("its answer cannot be read", code="bad_upstream")


class _Stream:
    """Events of a stream."""

    def __init__(self) -> None:
        self._events = Events()
        self._counts: dict[str, int] = {}
        self._calls: dict[int, int] = {}
        """The number of the call in a block."""
        self._given: dict[int, bytes] = {}
        """The input with which a block began, until another comes."""
        self._ended = False

    def read(self, data: bytes) -> list[Event]:
        found: list[Event] = []
        for event in self._events.feed(data):
            found += self._said(event)
        return [*found, _unreadable()] if self._events.overflowed else found

    def end(self) -> list[Event]:
        """What was left; a stream that stops before it says why it ends was cut off."""
        found: list[Event] = []
        for event in self._events.finish():
            found += self._said(event)
        if not self._ended and self._counts and not any(isinstance(each, Failure) for each in found):
            found.append(Failure("its answer stops before its end", code="bad_upstream"))
        return found

    def _said(self, data: bytes) -> list[Event]:
        if data == b"[DONE]":
            return []
        event = _read(data)
        if event is None or event.type == "error":
            return [complaint.read(data) if event is not None or complaint.is_error(data) else _unreadable()]
        if event.type == "message_start" and isinstance(event.message, _Message):
            self._counts |= _counts(event.message.usage)
        elif event.type == "content_block_start" and event.content_block is not None:
            return self._begun(event.index, event.content_block)
        elif event.type == "content_block_delta" and event.delta is not None:
            return self._grown(event.index, event.delta)
        elif event.type == "content_block_stop" and (given := self._given.pop(event.index, None)):
            return [ToolCallDelta(self._calls[event.index], arguments=given.decode())]
        elif event.type == "message_delta":
            return self._over(event)
        elif not event.type and complaint.is_error(data):
            return [complaint.read(data)]
        return []

    def _begun(self, index: int, block: _Block) -> list[Event]:
        if block.type == "tool_use":
            number = self._calls[index] = len(self._calls)
            if bytes(block.input).strip() not in (b"", b"{}", b"null"):
                self._given[index] = bytes(block.input)
            return [ToolCallDelta(number, block.id or "", block.name or "")]
        return _texts(block)

    def _grown(self, index: int, delta: _Block) -> list[Event]:
        if delta.partial_json is None:
            return _texts(delta)
        if index not in self._calls or not delta.partial_json:
            return []
        self._given.pop(index, None)
        return [ToolCallDelta(self._calls[index], arguments=delta.partial_json)]

    def _over(self, event: _Event) -> list[Event]:
        self._counts |= _counts(event.usage)
        found: list[Event] = []
        if event.delta is not None and event.delta.stop_reason:
            self._ended = True
            found.append(_done(event.delta.stop_reason, event.delta.stop_sequence))
        return [*found, _report(self._counts)] if self._counts else found


def _texts(block: _Block) -> list[Event]:
    found: list[Event] = [Reasoning(block.thinking)] if block.thinking else []
    return [*found, Text(block.text)] if block.text else found


class _Whole:
    """One message."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def read(self, data: bytes) -> list[Event]:
        self._parts.append(data)
        self._size += len(data)
        return [_unreadable()] if self._size > MAX_ANSWER_BYTES else []

    def end(self) -> list[Event]:
        body = b"".join(self._parts)
        answer = _read(body)
        if answer is None or answer.content is None:
            return [complaint.read(body)]
        found: list[Event] = []
        calls = 0
        for block in answer.content:
            found += _texts(block)
            if block.type == "tool_use":
                given = bytes(block.input or b"{}").decode()
                found.append(ToolCallDelta(calls, block.id or "", block.name or "", given))
                calls += 1
        found.append(_done(answer.stop_reason, answer.stop_sequence))
        counts = _counts(answer.usage)
        return [*found, _report(counts)] if counts else found
