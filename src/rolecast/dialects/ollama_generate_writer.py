"""Answers of Ollama's `/api/generate`, written from events; what they share with a chat's is `ollama_writer`'s."""

from typing import Any

from rolecast.dialects import ollama_context
from rolecast.dialects.ollama_writer import Lines, Whole
from rolecast.dialects.request import Request
from rolecast.values import Event, Phases, Text


def writer(request: Request, model: str) -> "_Lines | WholeText":
    """Writes one answer; `model` is the name that the client asked for."""
    return _Lines(model, request) if request.stream else WholeText(model, request)


def _flat(answer: dict[str, Any]) -> dict[str, Any]:
    """The object with its text at the top."""
    message = answer.pop("message")
    answer["response"] = message["content"]
    if "thinking" in message:
        answer["thinking"] = message["thinking"]
    return answer


class _Lines(Lines):
    """A line for each piece, and one that ends the answer."""

    around = b'","done":false,"response":', b"}\n"

    def __init__(self, model: str, request: Request) -> None:
        super().__init__(model)
        self._request = request
        self._said: list[str] = []

    def write(self, event: Event) -> bytes:
        """The same, and kept for the context."""
        if type(event) is Text:
            self._said.append(event.text)
            return self._text(event.text)
        return super().write(event)

    def _object(self, message: dict[str, Any]) -> dict[str, Any]:
        return _flat(super()._object(message))

    def _last(self, phases: Phases) -> dict[str, Any]:
        return super()._last(phases) | _context(self._request, self._said)


class WholeText(Whole):
    """One object."""

    def __init__(self, model: str, request: Request) -> None:
        super().__init__(model)
        self._request = request

    def _object(self, message: dict[str, Any]) -> dict[str, Any]:
        return _flat(super()._object(message))

    def _last(self, phases: Phases) -> dict[str, Any]:
        return super()._last(phases) | _context(self._request, self._texts)


def _context(request: Request, said: list[str]) -> dict[str, Any]:
    """What the next request may bring back; nothing where there was no conversation."""
    return {} if request.chat is None else {"context": ollama_context.pack(request.chat.messages, "".join(said))}
