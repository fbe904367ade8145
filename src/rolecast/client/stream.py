"""Server-sent events of a streamed chat to deltas, and to the one result at the end. Pure."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rolecast.client.calls import Call
from rolecast.client.errors import LLMConnectionError
from rolecast.client.replies import arguments_json, as_object, as_text, as_word, error_object, invalid, reply_object
from rolecast.client.results import ChatResult, Delta, ToolCallDelta
from rolecast.speech import Piece, Speech


class StreamReader:
    """Server-sent events in, deltas out; at the end the same result as an unstreamed reply gives."""

    def __init__(self, call: Call[ChatResult]) -> None:
        self._call = call
        self._headers: Mapping[str, str] = {}
        self._rest = b""
        self._speech = Speech()
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._tools: dict[int, dict[str, str]] = {}
        self._seen: dict[str, Any] = {}
        self._finish_reason: str | None = None
        self._result: ChatResult | None = None
        self.done = False
        """`[DONE]` was read; what follows is not part of the answer."""

    @property
    def result(self) -> ChatResult:
        """The whole answer. Raises RuntimeError while the stream has not been read to its end."""
        if self._result is None:
            raise RuntimeError("The answer is not complete; read the stream to its end before asking for it.")
        return self._result

    def begin(self, headers: Mapping[str, str]) -> None:
        """Take the reply's headers."""
        self._headers = headers

    def feed(self, chunk: bytes) -> Iterator[Delta]:
        """The deltas that these bytes complete. Raises the error that an `error` event stands for."""
        *lines, self._rest = re.split(rb"\r\n|\n|\r", self._rest + chunk)
        for line in lines:
            if delta := self._line(line):
                yield delta

    def finish(self) -> list[Delta]:
        """The last deltas, after which `result` is there. Raises LLMConnectionError when it was cut off."""
        deltas = [delta for delta in [self._line(self._rest)] if delta]
        if not self.done and self._finish_reason is None:
            raise LLMConnectionError(
                f"{self._call.place} ended the stream before the answer was complete.",
                status=200,
                request_id=self._headers.get("x-request-id"),
            )
        content, reasoning = _parted(self._speech.end())
        if content or reasoning:
            deltas.append(Delta(content=content, reasoning=reasoning))
        self._result = self._call.read(self._assembled(), self._headers)
        return deltas

    def whole(self, body: bytes) -> list[Delta]:
        """A reply from a server that does not stream, as one delta."""
        data = reply_object(200, self._headers, body, self._call.place)
        self._result = result = self._call.read(data, self._headers)
        pieces = tuple(
            ToolCallDelta(index, call.id, call.name, call.arguments) for index, call in enumerate(result.tool_calls)
        )
        return [Delta(result.content, result.reasoning_trace or "", pieces, result.finish_reason)]

    def _line(self, line: bytes) -> Delta | None:
        field, _, data = line.removeprefix(b"\xef\xbb\xbf").partition(b":")
        data = data.strip()
        if self.done or field != b"data" or not data:
            return None  # blank lines, comments and other fields
        if data == b"[DONE]":
            self.done = True
            return None
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            invalid("The stream has an event that is not a JSON object.", self._headers)
        if event.get("error"):
            raise error_object(event["error"], self._headers, 200)
        return self._event(event)

    def _event(self, event: dict[str, Any]) -> Delta | None:
        self._seen |= {key: value for key, value in event.items() if key != "choices" and value is not None}
        choices = event.get("choices")
        choice = as_object(choices[0]) if isinstance(choices, list) and choices else {}
        if not choice or choice.get("index"):
            return None
        delta = as_object(choice.get("delta"))
        text = as_text(delta.get("content"))
        own_reasoning = as_text(delta.get("reasoning_content") or delta.get("reasoning"))
        content, reasoning = _parted(self._speech.feed(text))
        self._text.append(text)
        self._reasoning.append(own_reasoning)
        self._finish_reason = as_word(choice.get("finish_reason")) or self._finish_reason
        entries = delta.get("tool_calls")
        pieces = tuple(map(self._tool_piece, entries)) if isinstance(entries, list) else ()
        said = Delta(content, own_reasoning + reasoning, pieces, as_word(choice.get("finish_reason")))
        return None if said == Delta() else said

    def _tool_piece(self, entry: Any) -> ToolCallDelta:
        entry = as_object(entry)
        function = as_object(entry.get("function"))
        index = entry.get("index")
        index = index if isinstance(index, int) else 0
        arguments = function.get("arguments")
        piece = ToolCallDelta(
            index=index,
            id=as_word(entry.get("id")) or "",
            name=as_word(function.get("name")) or "",
            arguments="" if arguments is None else arguments_json(arguments),
        )
        call = self._tools.setdefault(index, {"id": "", "name": "", "arguments": ""})
        call["id"] = call["id"] or piece.id
        call["name"] = call["name"] or piece.name
        call["arguments"] += piece.arguments
        return piece

    def _assembled(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._text)}
        if reasoning := "".join(self._reasoning):
            message["reasoning_content"] = reasoning
        if self._tools:
            message["tool_calls"] = [
                {
                    "id": c["id"],
                    "type": "function",
                    "function": {"name": c["name"], "arguments": c["arguments"]},
                }
                for _, c in sorted(self._tools.items())
            ]
        choice = {"index": 0, "message": message, "finish_reason": self._finish_reason}
        return {**self._seen, "object": "chat.completion", "choices": [choice]}


def _parted(pieces: list[Piece]) -> tuple[str, str]:
    """Answer and thoughts. Calls written as text are only known of the whole, as part of the result."""
    kinds = ("text", "thought")
    answer, thoughts = ("".join(piece.text for piece in pieces if piece.kind == kind) for kind in kinds)
    return answer, thoughts
