"""Requests that must be answered by a time that their caller named, or else get an error: `Caller.deadline_s`.

The clock begins with the request's body. An answer whose first byte is sent goes on.
"""

import asyncio

from rolecast.errors import DeadlineExceeded
from rolecast.turn.exchange import Exchange, clock

LONGEST_S = 86_400.0
"""No caller waits for longer."""


class Deadlines:
    """Ends the requests whose time is over."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._alarms: dict[Exchange, asyncio.TimerHandle] = {}

    def begin(self, exchange: Exchange) -> None:
        """The body of a request is here: its time runs, if it has one. Once for each, however often it begins anew."""
        if not exchange.caller.deadline_s or exchange.due or exchange.part:
            return
        exchange.due = clock() + exchange.caller.deadline_s
        self._alarms[exchange] = self._loop.call_later(exchange.caller.deadline_s, self._ring, exchange)

    def over(self, exchange: Exchange) -> None:
        """It has ended."""
        if (alarm := self._alarms.pop(exchange, None)) is not None:
            alarm.cancel()

    def _ring(self, exchange: Exchange) -> None:
        self._alarms.pop(exchange, None)
        if exchange.closed or exchange.sink.started:
            return
        if exchange.task is not None:
            exchange.task.cancel()
        exchange.fail(exceeded(exchange))


def left(exchange: Exchange) -> float:
    """Seconds until its time is over; infinity where it named none."""
    return exchange.due - clock() if exchange.due else float("inf")


def exceeded(exchange: Exchange) -> DeadlineExceeded:
    """What its client is told."""
    who = f" by {exchange.plan.answerer_id}" if exchange.plan is not None else ""
    text = (
        f"This request was not answered{who} within the {exchange.caller.deadline_s:g} s that it named as its deadline."
    )
    return DeadlineExceeded(text)
