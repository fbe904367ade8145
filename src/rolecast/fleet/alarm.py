"""One timer on the event loop that is always set to the next thing to do. Knows no reason for it."""

import asyncio
from collections.abc import Callable

NEVER = float("inf")


class Alarm:
    """Calls once at the time that was set last, in the loop's clock."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._call = call
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.at = NEVER

    def set(self, at: float) -> None:
        """At this time, and not at the one before; infinity = not at all."""
        if at == self.at:
            return
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self.at = at
        if at != NEVER and not self._closed:
            self._timer = self._loop.call_at(at, self._ring)

    def close(self) -> None:
        """Never again."""
        self._closed = True
        if self._timer:
            self._timer.cancel()

    def _ring(self) -> None:
        self._timer, self.at = None, NEVER
        self._call()
