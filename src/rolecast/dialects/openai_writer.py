"""Answers of OpenAI's chat completions, written from events: chunks of a stream, or one whole object."""

import time
from secrets import token_hex
from typing import Any

import msgspec

from rolecast.dialects.openai_logprobs import of_chat
from rolecast.dialects.request import Request
from rolecast.values import Chances, Done, Event, Phases, Reasoning, Report, Text, Token, ToolCallDelta, Usage


def writer(request: Request, model: str) -> "_Chunks | _Whole":
    """Writes the answer to this request."""
    return _Chunks(model, wants_usage=request.wants_usage) if request.stream else _Whole(model)


def _head(kind: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{token_hex(12)}", "object": kind, "created": int(time.time()), "model": model}


def usage(used: Usage) -> dict[str, Any]:
    """The counts of an answer."""
    return {
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "total_tokens": used.prompt_tokens + used.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": used.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
    }


class _Chunks:
    """A stream of server-sent events."""

    content_type = b"text/event-stream; charset=utf-8"

    def __init__(self, model: str, *, wants_usage: bool) -> None:
        self._head = _head("chat.completion.chunk", model)
        self._start = b'data: %b,"choices":[{"index":' % msgspec.json.encode(self._head)[:-1]
        self._begun: set[int] = set()
        self._tokens: dict[int, list[Token]] = {}
        self._wants_usage = wants_usage
        self._used = Usage()

    def write(self, event: Event) -> bytes:
        if isinstance(event, Text):
            if event.choice not in self._begun:
                return self._chunk({"content": event.text}, event.choice)
            told = self._start, event.choice, msgspec.json.encode(event.text)
            return b'%b%d,"delta":{"content":%b},"finish_reason":null}]}\n\n' % told
        if isinstance(event, Reasoning):
            return self._chunk({"reasoning_content": event.text}, event.choice)
        if isinstance(event, ToolCallDelta):
            return self._chunk({"tool_calls": [_call(event)]}, event.choice)
        if isinstance(event, Done):
            return self._chunk({}, event.choice, event.reason)
        if isinstance(event, Chances):
            self._tokens.setdefault(event.choice, []).extend(event.tokens)
        if isinstance(event, Report):
            self._used = event.usage
        return b""

    def end(self, phases: Phases) -> bytes:
        last = b""
        if self._wants_usage:
            last = b"data: %b\n\n" % msgspec.json.encode({**self._head, "choices": [], "usage": usage(self._used)})
        return last + b"data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, Any], choice: int, reason: str | None = None) -> bytes:
        if choice not in self._begun:
            self._begun.add(choice)
            delta = {"role": "assistant", **delta}
        piece: dict[str, Any] = {"index": choice, "delta": delta, "finish_reason": reason}
        if self._tokens and (tokens := self._tokens.pop(choice, None)):
            piece["logprobs"] = of_chat(tokens)
        body = {**self._head, "choices": [piece]}
        return b"data: %b\n\n" % msgspec.json.encode(body)


def _call(event: ToolCallDelta) -> dict[str, Any]:
    call: dict[str, Any] = {"index": event.index, "function": {"arguments": event.arguments}}
    if event.id:
        call |= {"id": event.id, "type": "function"}
    if event.name:
        call["function"] = {"name": event.name, "arguments": event.arguments}
    return call


class _Message:
    """One answer so far."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._tokens: list[Token] = []
        self._reason = "stop"

    def take(self, event: Event) -> None:
        """Some more of it."""
        if isinstance(event, Text):
            self._texts.append(event.text)
        elif isinstance(event, Reasoning):
            self._thoughts.append(event.text)
        elif isinstance(event, ToolCallDelta):
            self._add(event)
        elif isinstance(event, Chances):
            self._tokens += event.tokens
        elif isinstance(event, Done):
            self._reason = event.reason

    def choice(self, index: int) -> dict[str, Any]:
        """As the answer has it."""
        text = "".join(self._texts)
        message: dict[str, Any] = {"role": "assistant", "content": text if text or not self._calls else None}
        if self._thoughts:
            message["reasoning_content"] = "".join(self._thoughts)
        if self._calls:
            message["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        choice = {"index": index, "message": message, "finish_reason": self._reason}
        return choice | {"logprobs": of_chat(self._tokens)} if self._tokens else choice

    def _add(self, event: ToolCallDelta) -> None:
        call = self._calls.setdefault(
            event.index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        )
        call["id"] = event.id or call["id"]
        call["function"]["name"] += event.name
        call["function"]["arguments"] += event.arguments


class _Whole:
    """One object with the whole answer."""

    content_type = b"application/json"

    def __init__(self, model: str) -> None:
        self._head = _head("chat.completion", model)
        self._messages = {0: _Message()}
        self._used = Usage()

    def write(self, event: Event) -> bytes:
        if isinstance(event, Report):
            self._used = event.usage
        elif isinstance(event, Text | Reasoning | ToolCallDelta | Chances | Done):
            message = self._messages.get(event.choice)
            if message is None:
                message = self._messages[event.choice] = _Message()
            message.take(event)
        return b""

    def end(self, phases: Phases) -> bytes:
        choices = [self._messages[index].choice(index) for index in sorted(self._messages)]
        return msgspec.json.encode({**self._head, "choices": choices, "usage": usage(self._used)})
