"""Answers of servers that speak Ollama's own API, read into events: lines of JSON, or one object.

Takes a wrong count for none. The last line says so, and has the counts; durations are nanoseconds.
"""

from typing import Any

import msgspec

from rolecast.dialects import complaint, lenient, usage
from rolecast.dialects.gathered import MAX_ANSWER_BYTES, Gathered, unreadable
from rolecast.errors import UNREADABLE
from rolecast.values import Done, Event, Failure, Reasoning, Report, Text, ToolCallDelta, Usage, Vector

REASONS = {"length": "length", "load": "load", "unload": "unload"}
NS_PER_MS = 1e6


def reader(*, streaming: bool) -> "_Stream | _Whole":
    """Reads one answer."""
    return _Stream() if streaming else _Whole()


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class _Call(msgspec.Struct):
    function: _Function | None = None
    id: str | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Line(msgspec.Struct):
    """A line, or a whole answer: of a chat, of a prompt, of an embedding."""

    message: _Message | None = None
    response: str | None = None
    thinking: str | None = None
    embeddings: list[msgspec.Raw] | None = None
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_duration: int | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Line).decode
_NEEDED = frozenset({"message", "content", "response", "embeddings", "done", "arguments"})
"""Without these an answer would be another one."""


class _Answer:
    """What was said so far of one answer."""

    def __init__(self) -> None:
        self._calls = 0
        self.begun = self.ended = False

    def events(self, data: bytes) -> list[Event]:
        """What one object says."""
        try:
            line: _Line | None = _decode(data)
        except UNREADABLE:
            line = lenient.read(data, _Line, _NEEDED)
        if line is None or line.error:
            self.begun = self.ended = True
            return [complaint.read(data) if line is not None or complaint.is_error(data) else unreadable()]
        self.begun = True
        found: list[Event] = []
        if line.message is not None:
            found += self._said(line.message)
        if line.thinking:
            found.append(Reasoning(line.thinking))
        if line.response:
            found.append(Text(line.response))
        found += [Vector(numbers, place) for place, numbers in enumerate(line.embeddings or ())]
        if line.done or line.embeddings is not None:
            self.ended = True
            reason = REASONS.get(line.done_reason or "", "tool_calls" if self._calls else "stop")
            found += [Done(reason), _report(line)]
        return found

    def _said(self, message: _Message) -> list[Event]:
        found: list[Event] = [Reasoning(message.thinking)] if message.thinking else []
        if message.content:
            found.append(Text(message.content))
        for call in message.tool_calls or ():
            function = call.function or _Function()
            given = function.arguments
            arguments = given if isinstance(given, str) else msgspec.json.encode(given or {}).decode()
            call_id = call.id or f"call_{self._calls}"  # older servers number none
            found.append(ToolCallDelta(self._calls, call_id, function.name or "", arguments))
            self._calls += 1
        return found


def _report(line: _Line) -> Report:
    used = Usage(_count(line.prompt_eval_count), _count(line.eval_count))
    return Report(used, _ms(line.prompt_eval_duration), _ms(line.eval_duration))


def _count(tokens: int | None) -> int:
    return min(max(tokens or 0, 0), usage.MOST_TOKENS)


def _ms(duration_ns: int | None) -> float:
    return max(duration_ns or 0, 0) / NS_PER_MS


class _Stream:
    """Lines as they come."""

    def __init__(self) -> None:
        self._answer = _Answer()
        self._rest = b""

    def read(self, data: bytes) -> list[Event]:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        found = self._lines(lines)
        return [*found, unreadable()] if len(self._rest) > MAX_ANSWER_BYTES else found

    def end(self) -> list[Event]:
        """What was left; a stream that stops before the line that says so was cut off."""
        found = self._lines([self._rest])
        self._rest = b""
        failed = any(isinstance(each, Failure) for each in found)
        if self._answer.begun and not self._answer.ended and not failed:
            found.append(Failure("its answer broke off", code="bad_upstream"))
        return found

    def _lines(self, lines: list[bytes]) -> list[Event]:
        found: list[Event] = []
        for line in lines:
            if line.strip() and not self._answer.ended:
                found += self._answer.events(line)
        return found


class _Whole(Gathered):
    """One object."""

    def end(self) -> list[Event]:
        body = self.body()
        if not body.strip():
            return []
        answer = _Answer()
        found = answer.events(body)
        if answer.begun and not answer.ended:
            return [complaint.read(body)]
        return found
