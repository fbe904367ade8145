"""Long work of pages in small pieces: all who have such work take turns, so that together they hold up the event loop
no longer than one of them would; and it ends when nobody waits for its answer any more.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from rolecast.turn.exchange import clock

Turn = Callable[[], AbstractAsyncContextManager[None]]
"""What each piece of some work is done in."""
SLICE_S = 0.002
"""So long the loop is held, before others have their turn."""


class Turns:
    """Whose turn it is."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._since = clock()

    @asynccontextmanager
    async def one(self, request: Request) -> AsyncIterator[None]:
        """For one piece of the work for this request. Raises ClientDisconnect when whoever asked has left."""
        async with self._lock:  # who waits for it longest has it next
            if clock() - self._since > SLICE_S:
                if await request.is_disconnected():
                    raise ClientDisconnect
                await asyncio.sleep(0)
                self._since = clock()
            yield
