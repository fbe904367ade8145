"""One open port: how connections get in, what they meet there, and how they end.

Uses uvicorn's protocol (`server/wire.py`) and its record of connections, and nothing of its server, which cannot
close one of several ports or show other pages on one. Does not know why a port is opened or closed.
"""

import asyncio
import socket
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

import msgspec
import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from rolecast.config.schema import Limits, Listener
from rolecast.dialects import Entry
from rolecast.errors import ShuttingDown
from rolecast.server import wire
from rolecast.server.guard import Guard
from rolecast.server.lane import Lane
from rolecast.server.sink import WireSink
from rolecast.server.sockets import BACKLOG

LAST_S = 1.0
"""What was written last has this long to reach a client before its connection is cut."""
POLL_S = 0.01


class View(msgspec.Struct, frozen=True):
    """What answers on a port, and how its requests are judged."""

    listener: Listener
    app: ASGIApp
    hot: Mapping[bytes, Entry]
    guard: Guard
    limits: Limits
    logs_access: bool


class Door:
    """A listening socket with the connections that came through it. It shows a view from `open` on."""

    def __init__(self, sock: socket.socket, host: str, lane: Lane) -> None:
        self.sock = sock
        self.host = host
        """The address that was asked for, in numbers."""
        address = sock.getsockname()
        self.port: int = address[1] if isinstance(address, tuple) else 0
        """0 of a unix socket."""
        self.lane = lane
        self.view: View | None = None
        """Set before the first client comes in."""
        self._state = ServerState()
        self.connections: set[Any] = self._state.connections
        lane.connections = self.connections
        self._server: asyncio.Server | None = None
        self._opening: asyncio.Task[None] | None = None
        self._left = False

    def show(self, view: View) -> None:
        """Another view from the next request on, also on connections that are open."""
        listener, self.view = view.listener, view
        self.lane.renew(listener.label, listener.model or "", view.hot, view.guard, view.limits)
        for connection in self.connections:
            connection.app, connection.access_log = view.app, view.logs_access

    def open(self) -> None:
        """Let clients in. Those who have come since the socket was made have waited."""
        self.tick()
        self._opening = asyncio.create_task(self._accept())

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        kind, state = wire.protocol_for(self.lane), self._state
        config = uvicorn.Config(
            self._shown().app,
            http=kind,
            ws="none",
            lifespan="off",
            log_config=None,
            server_header=False,
            proxy_headers=False,
        )
        config.load()

        def protocol() -> asyncio.Protocol:
            view = self._shown()
            connection = kind(config=config, server_state=state, app_state={}, _loop=loop)
            connection.app, connection.access_log = view.app, view.logs_access
            return connection

        self._server = await loop.create_server(protocol, sock=self.sock, backlog=BACKLOG)
        if self._left:
            self._server.close()

    async def opened(self) -> None:
        """Wait until clients are let in."""
        if self._opening is not None:
            await asyncio.wait({self._opening})

    def _shown(self) -> View:
        assert self.view is not None
        return self.view

    def tick(self) -> None:
        """Once a second: refresh the Date header and look after every connection."""
        date = formatdate(usegmt=True).encode()
        self.lane.date = b"date: %b\r\n" % date
        self._state.default_headers = [(b"date", date)]
        now = asyncio.get_running_loop().time()
        for connection in list(self.connections):
            connection.sweep(now)

    # -- the end ------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Let nobody in any more, at once; connections end with the requests that they have."""
        self._left = True
        if self._server is not None:
            self._server.close()
        self._dismiss()

    def _dismiss(self) -> None:
        for connection in list(self.connections):
            if not connection.input_closed:  # that one ends by itself, when its answer has arrived
                connection.shutdown()

    async def close(self, grace_s: float, hurry: asyncio.Event) -> None:
        """The same, and wait until all are gone: what still runs after `grace_s`, or at `hurry`, gets an error."""
        self.leave()
        await self.opened()
        await self._emptied(grace_s, hurry)
        for connection in list(self.connections):
            _cut(connection)
        await self._emptied(LAST_S)
        for connection in list(self.connections):
            connection.transport.abort()
        await self._emptied(LAST_S)
        for task in list(self._state.tasks):
            task.cancel()

    async def _emptied(self, timeout_s: float, hurry: asyncio.Event | None = None) -> None:
        """Wait until nothing runs here."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while (self.connections or self._state.tasks) and loop.time() < end and not (hurry and hurry.is_set()):
            await asyncio.sleep(POLL_S)
            self._dismiss()  # who was let in in the very moment of leaving


def _cut(connection: Any) -> None:
    """End what runs on a connection with an error, as far as anybody can still be told."""
    running = connection.running
    if type(running) is WireSink:
        if running.complete and running.exchange is not None:
            running.exchange.fail(ShuttingDown("This port of the gateway is closed."))
    elif running is not None and not running.response_complete:
        return  # a page, perhaps the answer to the reload that closes its port: soon out, or cut without a word
    if not connection.input_closed:
        connection.cork.release()
        connection.transport.close()
