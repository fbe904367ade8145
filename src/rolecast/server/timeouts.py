"""Connections that are idle, slow or stalled for too long, and how long that is. Runs no timer of its own."""

from typing import Any

from rolecast.config.schema import Limits
from rolecast.errors import RequestTimeout
from rolecast.server.refusal import BODY, HEAD, RefusingProtocol

MIN_BODY_RATE = 16 * 1024
"""Bytes per second that a body must come in with, beyond `body_timeout`."""


class TimedProtocol(RefusingProtocol):
    """A connection that can be looked after."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.body_bytes = 0
        """So much of the body came that is being read."""

    def timeout_keep_alive_handler(self) -> None:
        """uvicorn's own timer is not used; `sweep` looks after all connections."""

    def sweep(self, now: float) -> None:
        """Close what is idle, slow or stalled for too long; called about once a second."""
        limits = self.lane.limits
        if self.stalled_since and now - self.stalled_since > limits.stall_timeout:
            self.transport.abort()
        elif self.transport.is_closing():
            if now - self.since > limits.stall_timeout:  # the client does not even take the rest of its answer
                self.transport.abort()
        elif self.flow.read_paused:  # it is us who do not read
            self.since = now
        elif not self.input_closed:
            self._sweep_input(now - self.since, limits)

    def _sweep_input(self, waited: float, limits: Limits) -> None:
        if self.phase == BODY:
            if waited > limits.body_timeout + self.body_bytes / MIN_BODY_RATE:
                self.refuse_input(RequestTimeout("The request body did not arrive in time."))
        elif self.phase == HEAD:
            if waited > limits.head_timeout:
                self.refuse_input(RequestTimeout("The request head did not arrive in time."))
        elif (self.cycle is None or self.cycle.response_complete) and waited > limits.keep_alive:
            self.transport.close()
