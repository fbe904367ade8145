"""Requests of one session stand in line: each sees what the one before it said. Sessions do not wait for each other."""

import asyncio
from collections import deque

from rolecast.errors import Busy

Place = tuple[str, str]
"""A key, and the id of a session that it may see."""
MOST = 100
"""So many requests of one session wait at once."""


class Ticket:
    """The place of one request in its session's line."""

    def __init__(self, lines: "Lines", place: Place) -> None:
        self.place = place
        self.void = False
        """The session was cleared or deleted while it was in line: what comes of it is not kept."""
        self._lines = lines
        self._turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def come(self, timeout_s: float) -> None:
        """Wait until all before it have left. Raises Busy when that takes too long."""
        try:
            await asyncio.wait_for(self._turn, timeout_s)
        except TimeoutError:
            text = "The requests of this session before this one took too long; ask again."
            raise Busy(text, retry_after=5.0, code="queue_timeout") from None

    def call(self) -> None:
        """It is first in line."""
        if not self._turn.done():
            self._turn.set_result(None)

    def leave(self) -> None:
        """Make way; more than once is the same."""
        if not self._turn.done():
            self._turn.cancel()
        self._lines.leave(self)


class Lines:
    """The lines of all sessions that have requests."""

    def __init__(self) -> None:
        self._lines: dict[Place, deque[Ticket]] = {}

    def join(self, place: Place) -> Ticket:
        """The end of that line. Raises Busy when it is too long."""
        line = self._lines.get(place)
        if line is not None and len(line) >= MOST:
            text = f"{MOST} requests of this session wait already: one goes on from the answer to the one before it."
            raise Busy(text, retry_after=1.0, code="queue_full")
        if line is None:
            line = self._lines[place] = deque()
        ticket = Ticket(self, place)
        line.append(ticket)
        line[0].call()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Who comes next is called."""
        line = self._lines.get(ticket.place)
        if line is None or ticket not in line:
            return
        line.remove(ticket)
        if line:
            line[0].call()
        else:
            del self._lines[ticket.place]

    def void(self, place: Place) -> None:
        """What all who are in this line come to is not kept."""
        for ticket in self._lines.get(place, ()):
            ticket.void = True

    def __len__(self) -> int:
        """So many sessions have requests."""
        return len(self._lines)
