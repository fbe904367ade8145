"""Asks for GPUs, and goes on without an answer: a driver that hangs, as after a fault of a card, may never come back.

Whoever has to know then gets what was told last. Blocks for a bounded time: not for an event loop.
"""

import logging
import threading
from collections.abc import Sequence

from rolecast.telemetry import gpus
from rolecast.telemetry.gpus import Cards, Gpu

log = logging.getLogger("rolecast.telemetry")

WITHIN_S = 5.0
"""A driver that is well answers in milliseconds, one that wakes its cards first in a second or two."""


class Patient:
    """One question at a time; for one who asks at a time."""

    def __init__(self, cards: Cards) -> None:
        self._cards = cards
        self._told: Sequence[Gpu] = ()
        self._asking: _Question | None = None

    def __call__(self) -> Sequence[Gpu]:
        """What there is now; what there was, while nobody answers. Raises what the question raises."""
        question, is_new = self._asking or _Question(self._cards), self._asking is None
        self._asking = question
        if not question.answered.wait(WITHIN_S if is_new else 0.0):
            if is_new:
                log.warning("the driver of the GPUs does not answer; what it told last holds until it does")
            return self._told
        self._asking = None
        if question.error is not None:
            raise question.error
        self._told = question.told
        return self._told


def cards() -> Sequence[Gpu]:
    """What there is now, for who asks once; nothing, when nobody answers."""
    return Patient(gpus.cards)()


class _Question:
    """In a thread that keeps nobody from ending."""

    def __init__(self, cards: Cards) -> None:
        self._cards = cards
        self.answered = threading.Event()
        self.told: Sequence[Gpu] = ()
        self.error: Exception | None = None
        threading.Thread(target=self._ask, name="gpus", daemon=True).start()

    def _ask(self) -> None:
        try:
            self.told = self._cards()
        except Exception as error:
            self.error = error
        self.answered.set()
