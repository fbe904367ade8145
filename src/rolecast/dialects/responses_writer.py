"""Answers of OpenAI's Responses, written from events: a stream of numbered events, or one whole object.

Every field of the schema is there, null where it is empty. A text and thoughts are over when something else begins;
calls stay open to the end, since their pieces may come in turns.
"""

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from rolecast.dialects.responses_tools import Offered, free_text
from rolecast.errors import RolecastError
from rolecast.values import Done, Event, Phases, Reasoning, Report, Text, ToolCallDelta, Usage

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_encode = msgspec.json.encode


class Answer:
    """What is known of an answer before it is made, and its bytes once it is."""

    def __init__(self, hex_id: str, told: dict[str, Any]) -> None:
        self.hex = hex_id
        self.id = f"resp_{hex_id}"
        self.told = told
        self.created_at = int(time.time())
        self.offered: Mapping[str, Offered] = {}
        """The tools by the names that the model knows."""
        self.written = b""
        """The whole answer; empty until it is complete."""

    def fields(self, model: str, status: str, **known: Any) -> dict[str, Any]:
        """The object as it is now."""
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "completed_at": None,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": model,
            "output": [],
            "usage": None,
            **self.told,
            **known,
        }


def writer(answer: Answer, model: str, *, stream: bool) -> "Stream | Whole":
    """Writes one answer; `model` is the name that the client asked for."""
    return Stream(answer, model) if stream else Whole(answer, model)


def error_event(error: RolecastError, number: int | None) -> bytes:
    """The event that tells of an error in a stream."""
    told = {"type": "error", "code": error.code, "message": error.message, "param": error.param}
    return _event("error", told if number is None else {**told, "sequence_number": number})


def _event(kind: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(fields))


class _Item:
    """One item of the output while it grows."""

    kind = ""
    part = ""
    """The type of its one part; empty for calls."""
    delta, done = "", ""
    """The events for more of it and for all of it."""
    field = "text"
    beside = b""
    """What is told beside each piece."""

    def __init__(self, item_id: str, index: int) -> None:
        self.id = item_id
        self.index = index
        self.pieces: list[str] = []
        where = _encode(self.place())[1:-1]
        self.around = (
            b'event: %b\ndata: {"type":"%b","sequence_number":' % (self.delta.encode(), self.delta.encode()),
            b',%b,"delta":' % where,
            b"%b}\n\n" % self.beside,
        )
        """What stands before the number of a piece, between it and the text, and after the text."""

    def fields(self, status: str, text: str) -> dict[str, Any]:
        """The item as it is now."""
        raise NotImplementedError

    def part_fields(self, text: str) -> dict[str, Any]:
        return {"type": self.part, "text": text}

    def place(self) -> dict[str, Any]:
        """Where its events belong."""
        where: dict[str, Any] = {"item_id": self.id, "output_index": self.index}
        return {**where, "content_index": 0} if self.part else where


class _Said(_Item):
    kind, part, delta, done = "msg", "output_text", "response.output_text.delta", "response.output_text.done"
    beside = b',"logprobs":[]'

    def fields(self, status: str, text: str) -> dict[str, Any]:
        content = [] if status == "in_progress" else [self.part_fields(text)]
        return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content}

    def part_fields(self, text: str) -> dict[str, Any]:
        return {"type": self.part, "text": text, "annotations": [], "logprobs": []}


class _Thought(_Item):
    kind, part, delta, done = "rs", "reasoning_text", "response.reasoning_text.delta", "response.reasoning_text.done"

    def fields(self, status: str, text: str) -> dict[str, Any]:
        content = [] if status == "in_progress" else [self.part_fields(text)]
        item = {"id": self.id, "type": "reasoning", "status": status, "summary": [], "content": content}
        return {**item, "encrypted_content": None}


class _Called(_Item):
    kind, field = "fc", "arguments"
    delta, done = "response.function_call_arguments.delta", "response.function_call_arguments.done"

    def __init__(self, item_id: str, index: int) -> None:
        super().__init__(item_id, index)
        self.name = ""
        self.call_id = ""
        self.namespace = ""

    def fields(self, status: str, text: str) -> dict[str, Any]:
        item = {"id": self.id, "type": "function_call", "status": status, "call_id": self.call_id}
        return {**item, **self.named(), "arguments": text}

    def named(self) -> dict[str, Any]:
        """What the client knows the tool by."""
        return {"name": self.name, **({"namespace": self.namespace} if self.namespace else {})}


class _CustomCalled(_Called):
    """A call of a custom tool: its text is known when the arguments are whole."""

    kind, field = "ctc", "input"
    delta, done = "response.custom_tool_call_input.delta", "response.custom_tool_call_input.done"

    def fields(self, status: str, text: str) -> dict[str, Any]:
        item = {"id": self.id, "type": "custom_tool_call", "status": status, "call_id": self.call_id}
        return {**item, **self.named(), "input": text}


class Stream:
    """Events with numbers, each as soon as there is something to tell."""

    content_type = b"text/event-stream"

    def __init__(self, answer: Answer, model: str) -> None:
        self._answer = answer
        self._model = model
        self._number = 0
        self._out: list[bytes] = []
        self._output: list[dict[str, Any]] = []
        """Items that are over, by their place; those under way hold theirs."""
        self._open: _Item | None = None
        """A text or thoughts under way."""
        self._calls: dict[int, _Called] = {}
        self._reason = ""
        self._usage = Usage()

    def write(self, event: Event) -> bytes:
        """What this event adds."""
        if not self._number:
            self._begin()
        if isinstance(event, Text):
            self._say(_Said, event.text)
        elif isinstance(event, Reasoning):
            self._say(_Thought, event.text)
        elif isinstance(event, ToolCallDelta):
            self._call(event)
        elif isinstance(event, Done):
            self._reason = event.reason
        elif isinstance(event, Report):
            self._usage = event.usage
        return self._taken()

    def end(self, phases: Phases) -> bytes:
        """The ends of what is under way, and the whole answer."""
        if not self._number:
            self._begin()
        if not self._output and not self._calls:
            self._start(_Said)
        cut = INCOMPLETE.get(self._reason)
        status = "incomplete" if cut else "completed"
        for call in self._calls.values():
            self._finish(call, status)
        self._calls = {}
        self._close(status)
        known = self._known(status, incomplete_details={"reason": cut} if cut else None)
        known["completed_at"] = None if cut else int(time.time())
        self._answer.written = _encode(known)
        self._tell(f"response.{status}", response=msgspec.Raw(self._answer.written))
        return self._taken()

    def fail(self, error: RolecastError) -> bytes:
        """The end of an answer that broke off."""
        if not self._number:
            self._begin()
        self._out.append(error_event(error, self._number))
        self._number += 1
        self._close("incomplete")
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        self._tell("response.failed", response=self._known("failed", error={"code": code, "message": error.message}))
        return self._taken()

    # -- inside -------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        now = self._answer.fields(self._model, "in_progress")
        self._tell("response.created", response=now)
        self._tell("response.in_progress", response=now)

    def _known(self, status: str, **more: Any) -> dict[str, Any]:
        """The answer with all that is over."""
        used = self._usage
        usage = {
            "input_tokens": used.prompt_tokens,
            "input_tokens_details": {"cached_tokens": used.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": used.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
            "total_tokens": used.prompt_tokens + used.completion_tokens,
        }
        output = [item for item in self._output if item]
        return self._answer.fields(
            self._model, status, output=output, usage=None if status == "failed" else usage, **more
        )

    def _say(self, kind: type[_Item], text: str) -> None:
        item = self._open
        if type(item) is not kind:
            self._close("completed")
            item = self._start(kind)
        assert item is not None
        self._grow(item, text)

    def _call(self, event: ToolCallDelta) -> None:
        call = self._calls.get(event.index)
        if call is None:
            self._close("completed")
            known = self._answer.offered.get(event.name)
            call = self._new(_CustomCalled if known is not None and known.is_custom else _Called)
            self._calls[event.index] = call
            call.name = known.name if known is not None else event.name
            call.namespace = known.namespace if known is not None else ""
            call.call_id = event.id or f"call_{self._answer.hex}_{call.index}"
            self._tell("response.output_item.added", output_index=call.index, item=call.fields("in_progress", ""))
        else:
            call.name += event.name
        if event.arguments and isinstance(call, _CustomCalled):
            call.pieces.append(event.arguments)
        elif event.arguments:
            self._grow(call, event.arguments)

    def _new(self, kind: type[Any]) -> Any:
        index = len(self._output)
        self._output.append({})
        return kind(f"{kind.kind}_{self._answer.hex}_{index}", index)

    def _start(self, kind: type[_Item]) -> _Item:
        item: _Item = self._new(kind)
        self._open = item
        self._tell("response.output_item.added", output_index=item.index, item=item.fields("in_progress", ""))
        self._tell("response.content_part.added", **item.place(), part=item.part_fields(""))
        return item

    def _grow(self, item: _Item, text: str) -> None:
        item.pieces.append(text)
        self._tell_piece(item, text)

    def _close(self, status: str) -> None:
        """End the text or the thoughts under way."""
        if self._open is not None:
            self._finish(self._open, status)
            self._open = None

    def _finish(self, item: _Item, status: str) -> None:
        if isinstance(item, _CustomCalled):
            whole, item.pieces = free_text("".join(item.pieces)), []
            self._grow(item, whole)
        elif isinstance(item, _Called) and status == "completed" and not "".join(item.pieces).strip():
            self._grow(item, "{}")  # what takes no arguments is called with nothing by some, which is no JSON
        text = "".join(item.pieces)
        more: dict[str, Any] = {"logprobs": []} if type(item) is _Said else {}
        if type(item) is _Called:
            more["name"] = item.name
        self._tell(item.done, **item.place(), **{item.field: text}, **more)
        if item.part:
            self._tell("response.content_part.done", **item.place(), part=item.part_fields(text))
        self._output[item.index] = item.fields(status, text)
        self._tell("response.output_item.done", output_index=item.index, item=self._output[item.index])

    def _tell_piece(self, item: _Item, text: str) -> None:
        """Some more of an item, which most events are: only its number and its text are written anew."""
        start, between, end = item.around
        self._out.append(b"%b%d%b%b%b" % (start, self._number, between, _encode(text), end))
        self._number += 1

    def _tell(self, kind: str, **fields: Any) -> None:
        self._out.append(_event(kind, {"type": kind, "sequence_number": self._number, **fields}))
        self._number += 1

    def _taken(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out


class Whole(Stream):
    """One object."""

    content_type = b"application/json"

    def _tell(self, kind: str, **fields: Any) -> None:
        """Nothing before the end."""
        self._number += 1

    def _tell_piece(self, item: _Item, text: str) -> None:
        """Nothing before the end."""
        self._number += 1

    def end(self, phases: Phases) -> bytes:
        """The whole answer."""
        super().end(phases)
        return self._answer.written
