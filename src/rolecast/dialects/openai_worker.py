"""What most workers speak: chats written as OpenAI's wire has them, and its answers read into events.

Also reads llama.cpp's `timings`. Takes what servers of this field leave out or spell otherwise; holds at most a
bounded piece of an answer that is not complete.
"""

from typing import Any

import msgspec

from rolecast.dialects import complaint, usage
from rolecast.dialects.sse import Events
from rolecast.errors import UNREADABLE
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
    ToolCallDelta,
    Usage,
)

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A plain answer beyond this is none."""


class OpenAIWorker:
    """llama-server, vLLM, most servers and clouds."""

    def ask(self, chat: Chat, *, usage: bool) -> tuple[bytes, bytes]:
        """A chat completion."""
        fields: dict[str, Any] = dict(chat.extra)
        fields["model"] = chat.model
        fields["messages"] = [_message(each) for each in chat.messages]
        if chat.stream:
            fields["stream"] = True
            if usage:
                fields["stream_options"] = {"include_usage": True}
        if chat.tools:
            fields["tools"] = [_tool(each) for each in chat.tools]
        if chat.tool_named:
            fields["tool_choice"] = {"type": "function", "function": {"name": chat.tool_named}}
        elif chat.tool_choice:
            fields["tool_choice"] = chat.tool_choice
        if chat.answer_schema is not None:
            fields["response_format"] = _format(chat.answer_schema)
        if isinstance(chat.think, str):
            fields["reasoning_effort"] = chat.think
        elif chat.think is not None:
            fields["chat_template_kwargs"] = fields.get("chat_template_kwargs", {}) | {"enable_thinking": chat.think}
        sampling = msgspec.structs.asdict(chat.sampling)
        fields |= {name: value for name, value in sampling.items() if value not in (None, ())}
        return b"/chat/completions", msgspec.json.encode(fields)

    def reader(self, *, streaming: bool) -> "_Stream | _Whole":
        """Reads a stream of events, or one object."""
        return _Stream() if streaming else _Whole()


def _message(message: Message) -> dict[str, Any]:
    content = message.content
    fields: dict[str, Any] = {
        "role": message.role,
        "content": content if isinstance(content, str) else [_part(each) for each in content],
    }
    if message.reasoning:
        fields["reasoning_content"] = message.reasoning
    if message.tool_calls:
        fields["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        fields["tool_call_id"] = message.tool_call_id
    if message.name:
        fields["name"] = message.name
    return fields


def _part(part: Part) -> dict[str, Any]:
    if part.kind == "text":
        return {"type": "text", "text": part.text}
    if part.kind == "file":
        return {"type": "file", "file": {"file_data": part.data, "filename": part.name}}
    head, comma, data = part.data.partition(";base64,")
    if part.kind == "audio" and comma and head.startswith("data:audio/"):
        return {"type": "input_audio", "input_audio": {"data": data, "format": head.removeprefix("data:audio/")}}
    return {"type": f"{part.kind}_url", f"{part.kind}_url": {"url": part.data}}


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _format(schema: msgspec.Raw) -> dict[str, Any]:
    if bytes(schema).strip() == b"{}":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


# -- answers ---------------------------------------------------------------------------------------------


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Timings(msgspec.Struct, gc=False):
    cache_n: int = 0
    prompt_n: int = 0
    prompt_ms: float = 0.0
    predicted_n: int = 0
    predicted_ms: float = 0.0


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    timings: _Timings | None = None
    error: msgspec.Raw | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def _events(data: bytes) -> list[Event]:
    """What one object of an answer says."""
    try:
        answer = _decode(data)
    except UNREADABLE:
        return [complaint.read(data)] if complaint.is_error(data) else [_unreadable()]
    if answer.error is not None and not answer.choices:
        return [complaint.read(data)]
    events: list[Event] = []
    for choice in answer.choices:
        delta = choice.delta or choice.message
        if delta is not None:
            _add(events, delta, choice.index)
        if choice.finish_reason:
            events.append(Done(choice.finish_reason, choice.index))
    if answer.usage is not None or answer.timings is not None:
        events.append(_report(answer.usage, answer.timings))
    return events


def _add(events: list[Event], delta: _Delta, choice: int) -> None:
    if thought := delta.reasoning_content or delta.reasoning:
        events.append(Reasoning(thought, choice))
    if text := delta.content or delta.refusal:
        events.append(Text(text, choice))
    for place, call in enumerate(delta.tool_calls or ()):
        function = call.function or _Function()
        given = function.arguments
        arguments = msgspec.json.encode(given).decode() if isinstance(given, dict) else given or ""
        index = place if call.index is None else call.index
        events.append(ToolCallDelta(index, call.id or "", function.name or "", arguments, choice))


def _report(reported: _Usage | None, timings: _Timings | None) -> Report:
    times = timings or _Timings()
    if reported is None or reported.prompt_tokens is None:
        used = Usage(times.cache_n + times.prompt_n, times.predicted_n, times.cache_n)
    else:
        details, thought = reported.prompt_tokens_details, reported.completion_tokens_details
        used = Usage(
            _bounded(reported.prompt_tokens),
            _bounded(reported.completion_tokens),
            _bounded(details.cached_tokens if details else 0),
            reasoning_tokens=_bounded(thought.reasoning_tokens if thought else 0),
        )
    return Report(used, times.prompt_ms, times.predicted_ms)


def _bounded(tokens: int | None) -> int:
    return min(max(tokens or 0, 0), usage.MOST_TOKENS)


def _unreadable() -> Failure:
    return Failure("its answer cannot be read", code="bad_upstream")


class _Stream:
    """Server-sent events."""

    def __init__(self) -> None:
        self._events = Events()

    def read(self, data: bytes) -> list[Event]:
        found: list[Event] = []
        for event in self._events.feed(data):
            if event != b"[DONE]":
                found += _events(event)
        return [*found, _unreadable()] if self._events.overflowed else found

    def end(self) -> list[Event]:
        found: list[Event] = []
        for event in self._events.finish():
            if event != b"[DONE]":
                found += _events(event)
        return found


class _Whole:
    """One JSON object."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def read(self, data: bytes) -> list[Event]:
        self._parts.append(data)
        self._size += len(data)
        return [_unreadable()] if self._size > MAX_ANSWER_BYTES else []

    def end(self) -> list[Event]:
        body = b"".join(self._parts)
        if not complaint.is_answer(body):
            return [complaint.read(body)]
        return _events(body)
