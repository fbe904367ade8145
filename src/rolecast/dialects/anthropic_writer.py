"""Answers of Anthropic's Messages, written from events: the events of a stream, or one whole message."""

from secrets import token_hex
from typing import Any

import msgspec

from rolecast.dialects.request import Request
from rolecast.errors import UNREADABLE
from rolecast.values import Done, Event, Phases, Reasoning, Report, Text, ToolCallDelta, Usage

REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_encode = msgspec.json.Encoder().encode
_decode_input = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def writer(request: Request, model: str) -> "Events | Whole":
    """Writes one answer; `model` is the name that the client asked for."""
    return Events(request, model) if request.stream else Whole(request, model)


class _Call:
    """A call as far as it came."""

    def __init__(self) -> None:
        self.id = self.name = self.arguments = ""

    def add(self, event: ToolCallDelta) -> None:
        self.id = self.id or event.id
        self.name += event.name
        self.arguments += event.arguments

    @property
    def input(self) -> dict[str, msgspec.Raw] | None:
        """The arguments as an object; None when they are none."""
        return _input(self.arguments or "{}")

    def block(self) -> dict[str, Any]:
        call_id = self.id or f"toolu_{token_hex(12)}"
        return {"type": "tool_use", "id": call_id, "caller": {"type": "direct"}, "name": self.name, "input": {}}


def _input(arguments: str) -> dict[str, msgspec.Raw] | None:
    try:
        return _decode_input(arguments)
    except UNREADABLE:
        return None


class _Answer:
    """What both forms of an answer have in common."""

    def __init__(self, request: Request, model: str) -> None:
        self._model = model
        self._done = Done()
        self._used = Usage()
        self._called = False
        self._tells_cache = b'"cache_control"' in request.body
        self._awaited = _begun(request)
        """The client's own beginning of the answer, which some engines repeat and Anthropic does not."""
        self._repeated = ""

    def _note(self, event: Event) -> None:
        """Keep what is told at the end."""
        if isinstance(event, Report):
            self._used = event.usage
        elif isinstance(event, Done):
            self._done = event

    def _new(self, text: str) -> str:
        """The text without the beginning that the client gave; nothing as long as it may still be that."""
        if not self._awaited:
            return text
        self._repeated += text
        if self._awaited.startswith(self._repeated) and self._repeated != self._awaited:
            return ""
        text, self._repeated = self._repeated.removeprefix(self._awaited), ""
        self._awaited = ""
        return text

    def _message(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"msg_{token_hex(12)}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "container": None,
        }

    def _stop(self) -> dict[str, Any]:
        if self._done.stop:
            return {"stop_reason": "stop_sequence", "stop_sequence": self._done.stop}
        reason = REASONS.get(self._done.reason, "end_turn")
        if self._called and reason == "end_turn":
            reason = "tool_use"
        return {"stop_reason": reason, "stop_sequence": None}

    def _usage(self) -> dict[str, Any]:
        """Tokens. What an engine had in its cache by itself is input; told apart only where a cache was asked for."""
        used = self._used
        cached = min(used.cached_tokens, used.prompt_tokens) if self._tells_cache else 0
        return {
            "input_tokens": used.prompt_tokens - cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "cache_creation": None,
            "output_tokens": used.completion_tokens,
            "output_tokens_details": {"thinking_tokens": used.reasoning_tokens} if used.reasoning_tokens else None,
            "server_tool_use": None,
            "service_tier": None,
            "inference_geo": None,
        }


def _begun(request: Request) -> str:
    last = request.chat.messages[-1] if request.chat is not None and request.chat.messages else None
    begun = last is not None and last.role == "assistant" and isinstance(last.content, str) and not last.tool_calls
    return str(last.content).rstrip() if last is not None and begun else ""


class Events(_Answer):
    """Events of a stream: each block begins, grows and ends before the next one begins.

    A worker may mix the pieces of several calls. No block can be opened again, so what comes while a call is not
    complete waits for its end.
    """

    content_type = b"text/event-stream; charset=utf-8"

    def __init__(self, request: Request, model: str) -> None:
        super().__init__(request, model)
        self._started = False
        self._open: str | int = ""
        """The kind of block that is open, or the number of the call in it; '' = none is."""
        self._index = -1
        self._calls: dict[int, _Call] = {}
        self._told: set[int] = set()
        """Calls whose first piece came."""
        self._over: set[int] = set()
        """Calls whose block has ended."""
        self._sent = ""
        """What was written of the call that is open."""
        self._waiting: list[tuple[str | int, str]] = []

    def write(self, event: Event) -> bytes:
        """The events for a piece of text, thought or call."""
        if isinstance(event, Text):
            return self._piece("text", self._new(event.text)) if event.text else b""
        if isinstance(event, Reasoning):
            return self._piece("thinking", event.text) if event.text else b""
        if isinstance(event, ToolCallDelta):
            return self._call(event)
        self._note(event)
        return b""

    def end(self, phases: Phases) -> bytes:
        """What waits, the end of the last block, and the end of the message."""
        nameless = [call.arguments for call in self._calls.values() if not call.name]
        self._waiting += [("text", text) for text in (self._repeated, *nameless)]
        kinds = dict.fromkeys(kind for kind, _ in self._waiting)
        rest = [self._grown(kind, "".join(t for k, t in self._waiting if k == kind)) for kind in kinds]
        last = b"".join(rest) + self._begun() + self._ended()
        told = {"type": "message_delta", "delta": self._stop(), "usage": self._usage()}
        return last + _event(b"message_delta", told) + _event(b"message_stop", {"type": "message_stop"})

    # -- blocks -----------------------------------------------------------------------------------------------

    def _call(self, event: ToolCallDelta) -> bytes:
        """Some more of a call, which begins with its name."""
        call = self._calls.setdefault(event.index, _Call())
        call.add(event)
        if not call.name:
            return b""
        self._called = True
        if event.index in self._told:
            return self._piece(event.index, event.arguments) if event.arguments else b""
        self._told.add(event.index)
        return self._piece(event.index, call.arguments)

    def _piece(self, kind: str | int, text: str) -> bytes:
        """Write it, or let it wait for a call that is not complete."""
        if kind == self._open:
            written = self._grown(kind, text)
            return written + self._freed() if self._waiting and not self._busy else written
        if self._busy:
            self._waiting.append((kind, text))
            return b""
        return self._grown(kind, text)

    @property
    def _busy(self) -> bool:
        """Whether a call is open that is not complete."""
        if not isinstance(self._open, int):
            return False
        return not self._sent or _input(self._sent) is None

    def _freed(self) -> bytes:
        """What waited; some of it may go on to wait for another call."""
        waited, self._waiting = self._waiting, []
        return b"".join(self._piece(kind, text) for kind, text in waited)

    def _grown(self, kind: str | int, text: str) -> bytes:
        """A piece of a block, which begins with it if it is not open."""
        if kind in self._over:  # more than an object: it can only be told as text
            kind = "text"
        if isinstance(kind, int):
            before = b"" if self._open == kind else self._begin(kind, self._calls[kind].block())
            if not text:
                return before
            self._sent += text
            return before + self._delta({"type": "input_json_delta", "partial_json": text})
        if not text:
            return b""
        before = b""
        if self._open != kind:
            before = self._begin(kind, _block(kind, ""))
        name = kind.encode()
        return (
            b'%bevent: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":'
            b'{"type":"%b_delta","%b":%b}}\n\n' % (before, self._index, name, name, _encode(text))
        )

    def _begin(self, kind: str | int, block: dict[str, Any]) -> bytes:
        """Begin a block, after the end of the one before it."""
        before = self._begun() + self._ended()
        self._open = kind
        self._index += 1
        self._sent = ""
        start = {"type": "content_block_start", "index": self._index, "content_block": block}
        return before + _event(b"content_block_start", start)

    def _begun(self) -> bytes:
        """The start of the message, once."""
        if self._started:
            return b""
        self._started = True
        start = {"type": "message_start", "message": self._message([]) | {"usage": self._usage()}}
        return _event(b"message_start", start) + _event(b"ping", {"type": "ping"})

    def _ended(self) -> bytes:
        """The end of the block that is open."""
        if self._open == "":
            return b""
        if isinstance(self._open, int):
            self._over.add(self._open)
        last = self._delta({"type": "signature_delta", "signature": ""}) if self._open == "thinking" else b""
        self._open = ""
        return last + _event(b"content_block_stop", {"type": "content_block_stop", "index": self._index})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        told = {"type": "content_block_delta", "index": self._index, "delta": delta}
        return _event(b"content_block_delta", told)


def _event(name: bytes, value: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name, _encode(value))


class Whole(_Answer):
    """One object with the whole message."""

    content_type = b"application/json"

    def __init__(self, request: Request, model: str) -> None:
        super().__init__(request, model)
        self._blocks: list[tuple[str, list[str]]] = []
        self._calls: dict[int, _Call] = {}

    def write(self, event: Event) -> bytes:
        """Nothing before the end."""
        if isinstance(event, Text):
            self._add("text", self._new(event.text))
        elif isinstance(event, Reasoning):
            self._add("thinking", event.text)
        elif isinstance(event, ToolCallDelta):
            self._calls.setdefault(event.index, _Call()).add(event)
        else:
            self._note(event)
        return b""

    def end(self, phases: Phases) -> bytes:
        """The whole message."""
        self._add("text", self._repeated)
        calls = [self._calls[index] for index in sorted(self._calls)]
        for call in calls:
            if call.input is None:  # cut off, or never an object: told as the model wrote it
                self._add("text", call.arguments)
        content = [_block(kind, "".join(texts)) for kind, texts in self._blocks]
        made = [call.block() | {"input": call.input} for call in calls if call.input is not None]
        self._called = bool(made)
        if not made and self._done.reason == "tool_calls":
            self._done = Done()
        return _encode(self._message([*content, *made]) | self._stop() | {"usage": self._usage()})

    def _add(self, kind: str, text: str) -> None:
        if not text:
            return
        if not self._blocks or self._blocks[-1][0] != kind:
            self._blocks.append((kind, []))
        self._blocks[-1][1].append(text)


def _block(kind: str, text: str) -> dict[str, Any]:
    if kind == "thinking":
        return {"type": "thinking", "thinking": text, "signature": ""}
    return {"type": "text", "text": text}
