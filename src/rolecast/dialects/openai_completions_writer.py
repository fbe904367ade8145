"""Answers of OpenAI's completions, written from events: pieces of a stream, or one whole object.

Does what engines leave out: the prompt in front of its answer, logprobs in the shape of completions, and the best of
several answers. The answers to one prompt stand beside each other, prompt by prompt.
"""

import time
from secrets import token_hex
from typing import Any

import msgspec

from rolecast.dialects.openai_logprobs import of_completion
from rolecast.dialects.openai_writer import usage
from rolecast.dialects.request import Request
from rolecast.values import Chances, Done, Event, Phases, Report, Text, Token, Usage


class Wishes(msgspec.Struct, frozen=True):
    """What a client wants of its answers beside their texts."""

    n: int = 1
    """Answers to each prompt."""
    each: int = 1
    """Answers that are made for each, of which the best `n` count."""
    echo: tuple[str, ...] = ()
    """The prompts, if they are to stand in front."""
    logprobs: int | None = None
    """So many other tokens are told of each; None = nothing about tokens."""


class Choice:
    """One answer so far."""

    def __init__(self, index: int, wishes: Wishes) -> None:
        self.index = index
        self._wishes = wishes
        self.texts = [wishes.echo[index // wishes.each]] if wishes.echo else []
        self.tokens: list[Token] = []
        self.reason: str | None = None
        self._offset = 0
        self._sum, self._count = 0.0, 0

    def note(self, tokens: tuple[Token, ...]) -> None:
        """Some more tokens."""
        self.tokens += tokens
        self._sum += sum(each.logprob or 0.0 for each in tokens)
        self._count += len(tokens)

    @property
    def likely(self) -> float:
        """How likely a token was on average."""
        return self._sum / self._count if self._count else float("-inf")

    def taken(self, index: int) -> dict[str, Any]:
        """What has come since this was asked last."""
        text, told = "".join(self.texts), None
        if self._wishes.logprobs is not None:
            told = of_completion(self.tokens, self._offset, self._wishes.logprobs)
        self._offset += len(text)
        self.texts, self.tokens = [], []
        return {"text": text, "index": index, "logprobs": told, "finish_reason": self.reason}


def writer(request: Request, model: str, wishes: Wishes) -> "_Pieces | _Whole":
    """Writes the answer to this request."""
    head = {"id": f"cmpl-{token_hex(12)}", "object": "text_completion", "created": int(time.time()), "model": model}
    return _Pieces(head, wishes, wants_usage=request.wants_usage) if request.stream else _Whole(head, wishes)


class _Choices:
    """All answers of a request, as they come."""

    def __init__(self, head: dict[str, Any], wishes: Wishes) -> None:
        self._head = head
        self._wishes = wishes
        self._choices: dict[int, Choice] = {}
        self._used = Usage()

    def _note(self, event: Event) -> Choice | None:
        """The answer that has more to say now."""
        if isinstance(event, Report):
            self._used = event.usage
        if not isinstance(event, Text | Chances | Done):
            return None
        choice = self._choices.get(event.choice)
        if choice is None:
            choice = self._choices[event.choice] = Choice(event.choice, self._wishes)
        if isinstance(event, Chances):
            choice.note(event.tokens)
            return None
        if isinstance(event, Text):
            choice.texts.append(event.text)
        else:
            choice.reason = event.reason
        return choice


class _Pieces(_Choices):
    """A stream of server-sent events."""

    content_type = b"text/event-stream; charset=utf-8"

    def __init__(self, head: dict[str, Any], wishes: Wishes, *, wants_usage: bool) -> None:
        super().__init__(head, wishes)
        self._wants_usage = wants_usage

    def write(self, event: Event) -> bytes:
        """One piece."""
        choice = self._note(event)
        if choice is None:
            return b""
        return b"data: %b\n\n" % msgspec.json.encode({**self._head, "choices": [choice.taken(choice.index)]})

    def end(self, phases: Phases) -> bytes:
        """The end of the stream, with the counts that were asked for."""
        last = b""
        if self._wants_usage:
            last = b"data: %b\n\n" % msgspec.json.encode({**self._head, "choices": [], "usage": usage(self._used)})
        return last + b"data: [DONE]\n\n"


class _Whole(_Choices):
    """One object with all answers."""

    content_type = b"application/json"

    def write(self, event: Event) -> bytes:
        """Nothing before the end."""
        self._note(event)
        return b""

    def end(self, phases: Phases) -> bytes:
        """The whole answer."""
        choices = [choice.taken(index) for index, choice in enumerate(self._best())]
        return msgspec.json.encode({**self._head, "choices": choices, "usage": usage(self._used)})

    def _best(self) -> list[Choice]:
        """The answers that count, prompt by prompt."""
        wishes, ordered = self._wishes, [self._choices[index] for index in sorted(self._choices)]
        if wishes.each == wishes.n:
            return ordered
        found: list[Choice] = []
        for start in range(0, len(ordered), wishes.each):
            group = ordered[start : start + wishes.each]
            found += sorted(group, key=lambda choice: -choice.likely)[: wishes.n]
        return found
