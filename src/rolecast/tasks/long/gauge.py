"""How much of a text goes into a model, in the tokens of its own tokenizer.

A text is weighed without asking anybody, by an estimate that was set right on samples of it. What is really sent is
counted by the worker that gets it. A server that cannot count is trusted with less.
"""

import asyncio
from math import ceil

from rolecast.errors import BadRequest, RolecastError
from rolecast.routing import tokens
from rolecast.tasks.long.chunks import STRIDE
from rolecast.turn.stage import Stage
from rolecast.values import Chat, Message

SAMPLES, SAMPLE = 8, 4000
"""So many pieces of so many characters tell how the words of a text are cut."""
MARGIN = 1.04
"""A piece is weighed as a little more, so that few turn out too long when they are counted."""
UNCOUNTED = 1.4
"""An estimate that nobody can check counts so many times: texts of names and numbers have more tokens than most."""
UNKNOWN = 4096
"""Tokens that a model is taken to hold of which nobody knows."""
TRIES, PAUSE_S = 6, 0.1
"""A worker that is being started again is asked so often for a count; each pause is twice as long."""


class Gauge:
    """Of one request's model."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._scale = 1.0
        self.room = stage.room or UNKNOWN
        self.counts = True
        """Whether the worker counts; False = all numbers are estimates on the safe side."""

    async def measure(self, chat: Chat) -> int:
        """Tokens of the prompt that this chat makes. Raises RolecastError."""
        pause = PAUSE_S
        for again in range(TRIES, 0, -1):
            if not self.counts:
                break
            try:
                return await self._stage.count(chat)
            except BadRequest as error:
                if error.code != "wrong_capability":
                    raise
                self.counts = False
            except RolecastError as error:
                if again == 1 or not error.retryable:
                    raise
                await asyncio.sleep(pause)
                pause *= 2
        texts = [each.content for each in chat.messages if isinstance(each.content, str)]
        return ceil(sum(_estimated(each) + tokens.PER_MESSAGE for each in texts) * UNCOUNTED)

    async def learn(self, text: str) -> None:
        """Set the estimate right for this text: two counts. Raises RolecastError."""
        sample = text
        if len(text) > SAMPLES * SAMPLE:
            step = (len(text) - SAMPLE) // (SAMPLES - 1)
            sample = "\n".join(text[i * step : i * step + SAMPLE] for i in range(SAMPLES))
        nothing, whole = await self.measure(_said(".")), await self.measure(_said(sample))
        self._scale = max(0.1, (whole - nothing) / max(1.0, _estimated(sample)))

    def weigh(self, text: str) -> float:
        """Tokens of a text, rather too many."""
        return _estimated(text) * self._scale * MARGIN

    def tokens(self, text: str) -> int:
        """The same without anything added, as a whole number."""
        return round(_estimated(text) * self._scale)

    def may_fit(self, text: str) -> bool:
        """Whether it is short enough that counting it whole is worth while."""
        return tokens.of_texts([text]) * self._scale < 2 * self.room


def _estimated(text: str) -> float:
    return sum(tokens.of_texts([text[i : i + STRIDE]]) for i in range(0, len(text), STRIDE))


def _said(text: str) -> Chat:
    return Chat("", (Message("user", text),))
