"""One exchange whose answer is read piece by piece as it comes; a slow reader holds the other side back."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from rolecast.net.connection import Connection, Headers, KnownAnswer

MOST_HELD = 256 * 1024
"""Bytes that wait for the reader before the connection is paused."""


class Pieces:
    """A receiver (`net.connection.Receiver`) for one reader."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.closed = False
        self.broken = False
        """The answer broke off before its end."""
        self._head: asyncio.Future[tuple[int, Headers]] = asyncio.get_running_loop().create_future()
        self._parts: deque[bytes] = deque()
        self._held = 0
        self._news = asyncio.Event()
        self._ended = False

    async def head(self) -> tuple[int, Headers]:
        """Status and headers. Raises RolecastError when no answer comes."""
        return await self._head

    async def body(self) -> AsyncIterator[bytes]:
        """The body; it also ends where the answer breaks off."""
        while True:
            while self._parts:
                part = self._parts.popleft()
                self._held -= len(part)
                yield part
            if self._ended:
                return
            if self.connection is not None:
                self.connection.resume()
            self._news.clear()
            await self._news.wait()

    def close(self) -> None:
        """Nobody reads any more: the connection is closed, by which the other side learns of it."""
        self.closed = True
        if self.connection is not None:
            self.connection.abort()
        self._end()

    # -- what the connection tells ------------------------------------------------------------------------

    def on_head(self, status: int, headers: Headers) -> None:
        if not self._head.done():
            self._head.set_result((status, headers))

    def on_body(self, parts: list[bytes], last: bool) -> None:
        self._parts += parts
        self._held += sum(map(len, parts))
        if self._held > MOST_HELD and self.connection is not None and not last:
            self.connection.pause()
        self._news.set()

    def on_end(self) -> None:
        self._end()

    def on_whole(self, head: KnownAnswer, body: bytes) -> None:
        self.on_head(head.status, head.headers)
        self.on_body([body], True)
        self.on_end()

    def on_lost(self, error: Exception) -> None:
        if not self._head.done():
            self._head.set_exception(error)
        self.broken = not (self.closed or self._ended)
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._news.set()
