"""One answer of a model, read piece by piece, with what it cost in time and tokens.

Knows the chunks of a streamed chat completion. Prints nothing.
"""

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from rolecast.cli.gateway import Gateway


class Piece(msgspec.Struct, frozen=True):
    """A few characters of the answer, or of the thinking before it."""

    text: str
    reasoning: bool = False


class Stats(msgspec.Struct):
    """What one answer cost. Times in seconds from the moment the request was sent."""

    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_s: float = 0.0
    total_s: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        """Speed after the first token; 0 when there is nothing to divide."""
        elapsed = self.total_s - self.first_s
        return (self.completion_tokens - 1) / elapsed if self.completion_tokens > 1 and elapsed > 0 else 0.0

    def line(self) -> str:
        """For people: model, tokens, speed, time to the first token."""
        parts = [self.model, f"{self.completion_tokens} tokens"]
        if self.tokens_per_second:
            parts.append(f"{self.tokens_per_second:.1f} tokens/s")
        parts.append(f"first token after {self.first_s * 1000:.0f} ms")
        return " · ".join(part for part in parts if part)


class Answer:
    """Iterate once over the pieces; `text`, `reasoning` and `stats` hold what has arrived so far."""

    def __init__(self, gateway: Gateway, body: dict[str, Any]) -> None:
        self._gateway = gateway
        self._body = body
        self.text = ""
        self.stats = Stats()
        self._pieces = 0

    def __iter__(self) -> Iterator[Piece]:
        began = time.perf_counter()
        try:
            for event in self._gateway.completion_events(self._body):
                for piece in self._read(event):
                    if not self._pieces:
                        self.stats.first_s = time.perf_counter() - began
                    self._pieces += 1
                    if not piece.reasoning:
                        self.text += piece.text
                    yield piece
        finally:
            self.stats.total_s = time.perf_counter() - began
            # An answer cut short carries no usage: a piece is about a token.
            self.stats.completion_tokens = self.stats.completion_tokens or self._pieces

    def _read(self, event: dict[str, Any]) -> Iterator[Piece]:
        self.stats.model = event.get("model") or self.stats.model
        if usage := event.get("usage"):
            self.stats.prompt_tokens = usage.get("prompt_tokens") or 0
            self.stats.completion_tokens = usage.get("completion_tokens") or 0
        for choice in event.get("choices") or []:
            delta = choice.get("delta") or {}
            if thought := delta.get("reasoning_content"):
                yield Piece(thought, reasoning=True)
            if text := delta.get("content"):
                yield Piece(text)
