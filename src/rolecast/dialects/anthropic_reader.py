"""Answers of servers that speak Anthropic's Messages, read into events: a stream, or one whole message.

Takes a wrong count or id for none. Blocks that Anthropic's own servers filled (searches and the like) say nothing
here, and neither do signatures.
"""

from collections.abc import Mapping

import msgspec

from rolecast.dialects import complaint, lenient, usage
from rolecast.dialects.alike import Alike
from rolecast.dialects.gathered import Gathered, unreadable
from rolecast.dialects.sse import Events
from rolecast.errors import UNREADABLE
from rolecast.values import Done, Event, Failure, Reasoning, Report, Text, ToolCallDelta, Usage

REASONS = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def reader(*, streaming: bool) -> "_Stream | _Whole":
    """Reads one answer."""
    return _Stream() if streaming else _Whole()


class _Details(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class _Creation(msgspec.Struct, gc=False):
    ephemeral_1h_input_tokens: int | None = None


class _Usage(msgspec.Struct):
    """Counts; later ones in a stream are added to those before them, or replace them."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: _Details | None = None
    cache_creation: _Creation | None = None


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
    thought, written = count.get("thinking_tokens", 0), count.get("cache_creation_input_tokens", 0)
    answer = count.get("output_tokens", 0)
    hour = min(count.get("hour_tokens", 0), written)
    return Report(Usage(asked, answer, cached, reasoning_tokens=thought, written_tokens=written, hour_tokens=hour))


def _counts(told: _Usage | None) -> dict[str, int]:
    if told is None:
        return {}
    counts = {name: value for name, value in msgspec.structs.asdict(told).items() if isinstance(value, int)}
    if told.output_tokens_details is not None and told.output_tokens_details.thinking_tokens:
        counts["thinking_tokens"] = told.output_tokens_details.thinking_tokens
    if told.cache_creation is not None and told.cache_creation.ephemeral_1h_input_tokens:
        counts["hour_tokens"] = told.cache_creation.ephemeral_1h_input_tokens
    return counts


def _json(raw: msgspec.Raw | bytes) -> str:
    """JSON as a text, with a mark in place of what is no character."""
    return bytes(raw).decode("utf-8", "replace")


class _Stream:
    """Events of a stream."""

    def __init__(self) -> None:
        self._events = Events()
        self._alike = Alike(_text_alone)
        self._counts: dict[str, int] = {}
        self._calls: dict[int, int] = {}
        """The number of the call in a block."""
        self._given: dict[int, msgspec.Raw] = {}
        """The input with which a block began, until another comes."""
        self._started = self._ended = False

    def read(self, data: bytes) -> list[Event]:
        found: list[Event] = []
        again = self._alike.again
        for event in self._events.feed(data):
            if (text := again(event)) is not None:
                found.append(text)
                continue
            said = self._said(event)
            self._alike.learn(event, said)
            found += said
        return [*found, unreadable()] if self._events.overflowed else found

    def end(self) -> list[Event]:
        """What was left; a stream that stops before it says why it ends was cut off."""
        found: list[Event] = []
        for event in self._events.finish():
            found += self._said(event)
        if self._started and not self._ended and not any(isinstance(each, Failure) for each in found):
            found.append(Failure("its answer stops before its end", code="bad_upstream"))
        return found

    def told(self) -> Usage | None:
        """A stream begins with the counts of its prompt."""
        return _report(self._counts).usage if self._counts else None

    def _said(self, data: bytes) -> list[Event]:
        if data == b"[DONE]":
            return []
        event = _read(data)
        if event is None or event.type == "error":
            return [complaint.read(data) if event is not None or complaint.is_error(data) else unreadable()]
        if event.type == "message_start" and isinstance(event.message, _Message):
            self._started = True
            self._counts |= _counts(event.message.usage)
        elif event.type == "content_block_start" and event.content_block is not None:
            return self._begun(event.index, event.content_block)
        elif event.type == "content_block_delta" and event.delta is not None:
            return self._grown(event.index, event.delta)
        elif event.type == "content_block_stop" and (given := self._given.pop(event.index, None)):
            return [ToolCallDelta(self._calls[event.index], arguments=_json(given))]
        elif event.type == "message_delta":
            return self._over(event)
        elif not event.type and complaint.is_error(data):
            return [complaint.read(data)]
        return []

    def _begun(self, index: int, block: _Block) -> list[Event]:
        if block.type == "tool_use":
            number = self._calls[index] = len(self._calls)
            if bytes(block.input).strip() not in (b"", b"{}", b"null"):
                self._given[index] = block.input.copy()
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


def _text_alone(data: bytes) -> list[Event]:
    """What an event says that is some more of a block, and no call."""
    event = _read(data)
    if event is None or event.type != "content_block_delta" or event.delta is None or event.delta.partial_json:
        return []
    return _texts(event.delta)


def _texts(block: _Block) -> list[Event]:
    found: list[Event] = [Reasoning(block.thinking)] if block.thinking else []
    return [*found, Text(block.text)] if block.text else found


class _Whole(Gathered):
    """One message."""

    def end(self) -> list[Event]:
        body = self.body()
        answer = _read(body)
        if answer is None or answer.content is None:
            return [complaint.read(body)]
        found: list[Event] = []
        calls = 0
        for block in answer.content:
            found += _texts(block)
            if block.type == "tool_use":
                found.append(ToolCallDelta(calls, block.id or "", block.name or "", _json(block.input or b"{}")))
                calls += 1
        found.append(_done(answer.stop_reason, answer.stop_sequence))
        counts = _counts(answer.usage)
        return [*found, _report(counts)] if counts else found
