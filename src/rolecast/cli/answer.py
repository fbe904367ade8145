"""One answer of a model, read piece by piece, with what it cost in time and tokens. Prints nothing."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from rolecast.client import ChatStream


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
    """Iterate once over the pieces; `text`, `thought` and `stats` hold what has arrived so far."""

    def __init__(self, stream: "ChatStream") -> None:
        self._stream = stream
        self.text = ""
        self.thought = False
        self.stats = Stats()

    def __iter__(self) -> Iterator[Piece]:
        began = time.perf_counter()
        pieces = 0
        try:
            for delta in self._stream:
                if not pieces:
                    self.stats.first_s = time.perf_counter() - began
                pieces += 1
                self.text += delta.content
                if delta.reasoning:
                    self.thought = True
                    yield Piece(delta.reasoning, reasoning=True)
                if delta.content:
                    yield Piece(delta.content)
            self._take_usage()
        finally:
            self._stream.close()
            self.stats.total_s = time.perf_counter() - began
            # An answer that was cut short carries no usage; a piece is about a token.
            self.stats.completion_tokens = self.stats.completion_tokens or pieces

    def _take_usage(self) -> None:
        result = self._stream.result
        self.stats.model = result.model
        self.stats.prompt_tokens = result.usage.prompt_tokens
        self.stats.completion_tokens = result.usage.completion_tokens
