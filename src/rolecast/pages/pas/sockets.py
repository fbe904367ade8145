"""Who listens to the event stream by Socket.IO, as the clients of Flask-SocketIO do.

The protocol is `python-socketio`'s, imported when the first client comes. Long polling only: an upgrade to WebSocket is
not offered, and clients do without. Those that come, and what waits for each, are bounded.
"""

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from starlette.types import Message, Scope, Send

from rolecast.errors import BadRequest, NotOffered
from rolecast.pages.pas.reading import iso
from rolecast.telemetry.events import Events, Happening

if TYPE_CHECKING:  # it takes 0.3 s and some megabytes
    from socketio import AsyncServer

log = logging.getLogger("rolecast.pages.events")

MOST_CLIENTS = 100
PATIENCE_S = 5.0
"""So long it may take to read what a client sends."""
MOST_WAITING = 500
"""A client with so many packets that it has not fetched is let go."""


class Sockets:
    """The clients."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._server: AsyncServer | None = None
        self._making = asyncio.Lock()
        self._pump: asyncio.Task[None] | None = None
        self._clients: set[str] = set()

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    @property
    def listens(self) -> int:
        """How many listeners to the events are our own: none or one."""
        return int(self._pump is not None and not self._pump.done())

    async def server(self) -> "AsyncServer":
        """What speaks the protocol. Raises NotOffered where it is not installed."""
        async with self._making:
            if self._server is None:
                self._server = made = await asyncio.to_thread(_made)
                for name, heard in (
                    ("connect", self._connect),
                    ("disconnect", self._disconnect),
                    ("ping", self._ping),
                    ("request_history", self._history),
                ):
                    made.on(name, heard)
        return self._server

    @property
    def is_full(self) -> bool:
        """Whether one more connection is too many, also of those that never say who they are."""
        return self._server is not None and len(self._server.eio.sockets) >= MOST_CLIENTS

    async def answer(self, server: "AsyncServer", sid: str, content: bytes, scope: Scope, send: Send) -> None:
        """One request of the protocol, whose whole body this is. Raises BadRequest for what are no packets."""
        connection = server.eio.sockets.get(sid)

        async def once() -> Message:
            return {"type": "http.request", "body": content, "more_body": False}

        try:
            async with asyncio.timeout(PATIENCE_S if scope["method"] == "POST" else None):
                await server.handle_request(scope, once, send)
        except TimeoutError:  # it waits for who sent it to fetch its farewell
            raise BadRequest("What was sent are no packets of Socket.IO.") from None
        finally:
            if connection is not None and connection.closed:
                connection.queue.put_nowait(None)  # or a poll that waits would not learn that it is over

    # -- what clients do ------------------------------------------------------------------------------------

    async def _connect(self, client: str, environ: Any, auth: Any = None) -> None:
        assert self._server is not None
        self._clients.add(client)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._pass_on())
        kept = self._events.recent()
        hello = {"status": "connected", "server_time": iso(time.time()), "buffered_events": len(kept)}
        await self._server.emit("connected", hello, to=client)
        if kept:
            await self._history(client)

    async def _disconnect(self, client: str, reason: Any = None) -> None:
        self._clients.discard(client)

    async def _ping(self, client: str, data: Any = None) -> None:
        assert self._server is not None
        if not await self._is_behind(client):
            await self._server.emit("pong", {"timestamp": iso(time.time())}, to=client)

    async def _history(self, client: str, data: Any = None) -> None:
        assert self._server is not None
        if not await self._is_behind(client):
            await self._server.emit("event_history", [shown(each) for each in self._events.recent()], to=client)

    # -- what they hear -------------------------------------------------------------------------------------

    async def _pass_on(self) -> None:
        """Every event to every client, until the gateway stops: then they are let go, and what they wait in ends."""
        server = self._server
        assert server is not None
        async for happening in self._events.follow():
            if self._clients:
                for client in tuple(self._clients):
                    await self._is_behind(client)
                await server.emit("event", shown(happening))
        for connection in tuple(server.eio.sockets.values()):
            await connection.close(wait=False)  # without waiting for those that fetch nothing any more
        await server.shutdown()

    async def _is_behind(self, client: str) -> bool:
        """Whether so much waits for this one that it is let go."""
        server = self._server
        assert server is not None
        found = server.manager.eio_sid_from_sid(client, "/")
        connection = server.eio.sockets.get(found)
        if connection is None or connection.queue.qsize() < MOST_WAITING:
            return False
        log.info("a listener to events is let go: it does not fetch what waits for it")
        self._clients.discard(client)
        await connection.close(wait=False)
        return True


def _made() -> "AsyncServer":
    try:
        from socketio import AsyncServer
    except ImportError:
        raise NotOffered("Socket.IO is not installed here: pip install 'rolecast[events]'.") from None
    quiet = logging.getLogger("rolecast.socketio")
    quiet.setLevel(logging.CRITICAL)  # below that it writes what clients say
    return AsyncServer(
        async_mode="asgi",
        cors_allowed_origins=[],  # origins are judged before anything comes here
        allow_upgrades=False,
        transports=["polling"],
        max_http_buffer_size=2**20,  # less is taken, before it comes here
        http_compression=False,
        always_connect=True,  # or what is sent to welcome a client would come before the welcome
        logger=quiet,
        engineio_logger=quiet,
    )


def shown(happening: Happening) -> dict[str, Any]:
    """An event as PAS writes it."""
    data = {"timestamp": iso(happening.timestamp), **happening.data}
    return {
        "event_type": happening.event_type,
        "data": data,
        "server_timestamp": iso(happening.timestamp),
        "source": happening.source,
    }
