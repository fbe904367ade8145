"""Conductor's answers, written from events: one object, pieces of a stream, or one object with Ollama's fields as well.

What a model thinks is not told: Conductor has no place for it. What a task found out about its answer is `metadata`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from rolecast.dialects import Writer, ollama_generate_writer
from rolecast.dialects.conductor_body import Prompted
from rolecast.dialects.ollama_generate_writer import WholeText
from rolecast.errors import RolecastError
from rolecast.values import Done, Event, Metadata, Phases, Progress, Report, Text

USUAL = ("stop", "load", "unload")
"""Reasons why an answer ended that go without saying."""


class Told(msgspec.Struct, frozen=True):
    """What an answer says besides its text."""

    category: str
    model: str
    session_id: str | None


def writer(request: Prompted, session: str, model_id: str) -> Writer:
    """Writes one answer of that model; `session` is its conversation, '' = none was named."""
    named = (request.asked or model_id) if request.ollama else model_id
    told = Told((request.open and request.found) or request.category, named, session or None)
    if request.stream:
        return ollama_generate_writer.writer(request, named) if request.ollama else _Pieces(told, request.noted)
    return _Union(request, told) if request.union else _Whole(told, request.noted)


def _found(event: Event) -> Mapping[str, Any]:
    """What an event says that becomes metadata; an answer that did not end by itself says why."""
    if isinstance(event, Metadata):
        return event.fields
    return {"finish_reason": event.reason} if isinstance(event, Done) and event.reason not in USUAL else {}


def _fields(told: Told, text: str, tokens: int, phases: Phases, found: dict[str, Any]) -> dict[str, Any]:
    """The fields of a reply; the time is in seconds."""
    fields = {
        "response": text,
        **msgspec.structs.asdict(told),
        "generation_time": round(phases.total_us / 1e6, 6),
        "tokens_generated": tokens,
    }
    return fields | {"metadata": found} if found else fields


class _Whole:
    """One object."""

    content_type = b"application/json"

    def __init__(self, told: Told, noted: Mapping[str, Any]) -> None:
        self._told = told
        self._texts: list[str] = []
        self._tokens = 0
        self._found = dict(noted)

    def write(self, event: Event) -> bytes:
        """Nothing before the end."""
        if isinstance(event, Text):
            self._texts.append(event.text)
        elif isinstance(event, Report):
            self._tokens = event.usage.completion_tokens
        else:
            self._found |= _found(event)
        return b""

    def end(self, phases: Phases) -> bytes:
        """The whole answer."""
        return msgspec.json.encode(_fields(self._told, "".join(self._texts), self._tokens, phases, self._found))


class _Union(WholeText):
    """One object with the fields of both."""

    def __init__(self, request: Prompted, told: Told) -> None:
        super().__init__(told.model, request)
        self._told = told
        self._with_context = request.ollama
        self._found = dict(request.noted)

    def write(self, event: Event) -> bytes:
        """Nothing before the end."""
        self._found |= _found(event)
        return super().write(event)

    def _whole(self, phases: Phases) -> dict[str, Any]:
        theirs = super()._whole(phases)
        if not self._with_context:  # a client of Conductor would never send it back
            theirs.pop("context", None)
        return theirs | _fields(self._told, theirs["response"], theirs["eval_count"], phases, self._found)


class _Pieces:
    """Events of a stream."""

    content_type = b"text/event-stream"

    def __init__(self, told: Told, noted: Mapping[str, Any]) -> None:
        self._told = b",%b}\n\n" % msgspec.json.encode(told)[1:-1]
        self._found = dict(noted)

    def write(self, event: Event) -> bytes:
        """An event for each piece of the text, and for each step of a task that says nothing yet."""
        if isinstance(event, Progress):
            return _event({"progress": msgspec.structs.asdict(event)})
        if not isinstance(event, Text) or not event.text:
            self._found |= _found(event)
            return b""
        return b'data: {"chunk":%b%b' % (msgspec.json.encode(event.text), self._told)

    def end(self, phases: Phases) -> bytes:
        """The event that ends the answer."""
        return _event({"done": True, "metadata": self._found} if self._found else {"done": True})

    def fail(self, error: RolecastError) -> bytes:
        """The end of an answer that breaks off."""
        return _event({"error": error.message})


def _event(value: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(value)
