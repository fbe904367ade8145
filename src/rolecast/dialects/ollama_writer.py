"""Answers of Ollama's `/api/chat`, written from events: lines of JSON as tokens come, or one whole object."""

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from rolecast.errors import UNREADABLE
from rolecast.values import Done, Event, Phases, Reasoning, Report, Text, ToolCallDelta, Usage

REASONS = ("length", "load", "unload")
"""Besides `stop`, which is also said of calls."""
_encode = msgspec.json.encode
_decode_arguments = msgspec.json.Decoder(dict[str, Any] | str | None).decode


def writer(model: str, *, stream: bool) -> "Lines | Whole":
    """Writes one answer; `model` is the name that the client asked for."""
    return Lines(model) if stream else Whole(model)


def moment(at: float) -> str:
    """A time in seconds since 1970 as Ollama writes it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@lru_cache(maxsize=4)
def _second(at: int) -> bytes:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def _now() -> bytes:
    """The time as `moment` writes it, of which most stays the same for a second."""
    now = time.time_ns()
    second = now // 1_000_000_000
    return b"%b.%06dZ" % (_second(second), (now - second * 1_000_000_000) // 1000)


class _Answer:
    """What both forms of an answer have in common. A call is told once it is complete, as Ollama does."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._calls: dict[int, list[str]] = {}
        self._reason = "stop"
        self._report = Report(Usage())

    def _note(self, event: Event) -> None:
        """Keep what is told at the end."""
        if isinstance(event, ToolCallDelta):
            call = self._calls.setdefault(event.index, ["", "", ""])
            call[0] = event.id or call[0]
            call[1] += event.name
            call[2] += event.arguments
        elif isinstance(event, Report):
            self._report = event
        elif isinstance(event, Done):
            self._reason = event.reason if event.reason in REASONS else "stop"

    def _object(self, message: dict[str, Any]) -> dict[str, Any]:
        message = {"role": "assistant", **message}
        return {"model": self._model, "created_at": moment(time.time()), "message": message, "done": False}

    def _called(self) -> tuple[list[dict[str, Any]], str]:
        """The calls, and what the model wrote instead of calls: their arguments are objects here, not text."""
        calls, text = [], ""
        for index in sorted(self._calls):
            call_id, name, arguments = self._calls[index]
            given = _arguments(arguments)
            if given is None:
                text += arguments
                continue
            function = {"index": index, "name": name, "arguments": given}
            calls.append({"id": call_id, "function": function} if call_id else {"function": function})
        return calls, text

    def _last(self, phases: Phases) -> dict[str, Any]:
        """The fields of the end. Durations in nanoseconds; the parts are never more than the whole."""
        total, load = phases.total_us * 1000, phases.load_us * 1000
        told = self._report
        first = max(0, phases.first_us - phases.load_us - phases.queue_us) * 1000
        read = min(int(told.prompt_ms * 1e6) or first, total - load)
        wrote = min(int(told.completion_ms * 1e6) or total - load - read, total - load - read)
        return {
            "done": True,
            "done_reason": self._reason,
            "total_duration": total,
            "load_duration": load,
            "prompt_eval_count": told.usage.prompt_tokens,
            "prompt_eval_duration": read,
            "eval_count": told.usage.completion_tokens,
            "eval_duration": wrote,
        }


def _arguments(written: str) -> dict[str, Any] | None:
    """The object that a model wrote, perhaps as a text within a text; None when it is none."""
    for _ in range(2):
        try:
            given = _decode_arguments(written.strip() or "null")
        except UNREADABLE:
            return None
        if not isinstance(given, str):
            return given or {}
        written = given
    return None


class Lines(_Answer):
    """A line for each piece, and one that ends the answer."""

    content_type = b"application/x-ndjson"
    around = b'","message":{"role":"assistant","content":', b'},"done":false}\n'
    """What stands between the time and a text, and after the text."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self._start = b'{"model":%b,"created_at":"' % _encode(model)

    def write(self, event: Event) -> bytes:
        """A line for text and thoughts; calls wait for the end of theirs."""
        if type(event) is Text:
            return self._text(event.text)
        if isinstance(event, Reasoning):
            return self._line({"content": "", "thinking": event.text})
        self._note(event)
        return self._calls_line() if isinstance(event, Done) else b""

    def end(self, phases: Phases) -> bytes:
        """The line with counts and durations, after calls that came late."""
        last = msgspec.json.encode(self._object({"content": ""}) | self._last(phases)) + b"\n"
        return self._calls_line() + last

    def _text(self, text: str) -> bytes:
        """A line for a text, which most lines are."""
        before, behind = self.around
        return b"%b%b%b%b%b" % (self._start, _now(), before, _encode(text), behind)

    def _calls_line(self) -> bytes:
        """The calls so far, once."""
        if not self._calls:
            return b""
        calls, text = self._called()
        self._calls = {}
        return self._line({"content": text, "tool_calls": calls} if calls else {"content": text})

    def _line(self, message: dict[str, Any]) -> bytes:
        return msgspec.json.encode(self._object(message)) + b"\n"


class Whole(_Answer):
    """One object."""

    content_type = b"application/json; charset=utf-8"

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self._texts: list[str] = []
        self._thoughts: list[str] = []

    def write(self, event: Event) -> bytes:
        """Nothing before the end."""
        if isinstance(event, Text):
            self._texts.append(event.text)
        elif isinstance(event, Reasoning):
            self._thoughts.append(event.text)
        else:
            self._note(event)
        return b""

    def end(self, phases: Phases) -> bytes:
        """The whole answer."""
        return msgspec.json.encode(self._whole(phases))

    def _whole(self, phases: Phases) -> dict[str, Any]:
        calls, text = self._called()
        message: dict[str, Any] = {"content": "".join(self._texts) + text}
        if self._thoughts:
            message["thinking"] = "".join(self._thoughts)
        if calls:
            message["tool_calls"] = calls
        return self._object(message) | self._last(phases)
