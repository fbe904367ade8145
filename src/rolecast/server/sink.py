"""One request on the fast lane and the framing of its answer: status line, Content-Length or chunks, close.

Stands in for uvicorn's cycle, so that both kinds queue in the same pipeline. Reads nothing from the socket.
"""

import logging
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from rolecast.dialects import Dialect, Entry
from rolecast.errors import BadRequest, Internal, RolecastError
from rolecast.net.cork import Cork
from rolecast.server.lane import Lane
from rolecast.telemetry.metrics import Place
from rolecast.turn.conversion import Written
from rolecast.turn.exchange import Exchange

log = logging.getLogger("rolecast.wire")


class Wire(Protocol):
    """The connection an answer goes out on."""

    lane: Lane
    cork: Cork
    transport: Any
    client: tuple[str, int] | None
    """Where it comes from."""

    @property
    def target(self) -> tuple[str, str]:
        """Method and path of the head that was read last."""

    def on_response_complete(self) -> None:
        """The answer is out; the connection lives on."""

    def close_gently(self) -> None:
        """The answer is out and was the last one."""


class WireSink:
    """One request on the fast lane and the framing of its answer. Stands in for uvicorn's cycle."""

    # Defaults live on the class: most requests never touch them.
    exchange: Exchange | None = None
    body: bytes | bytearray = b""
    complete = False
    queued = False
    started = False
    response_complete = False
    disconnected = False
    expect = False
    http10 = False
    refusal: RolecastError | None = None
    refusal_head = b""
    """Header lines of a refusal that has no exchange."""
    dialect: Dialect | None = None
    """What is spoken at the path of a refusal that has no entry, as far as both are known."""
    _head = b""
    _chunked = False

    def __init__(self, protocol: Wire, entry: Entry | None, keep_alive: bool) -> None:
        self.protocol = protocol
        self.entry = entry
        self.keep_alive = keep_alive

    @property
    def target(self) -> tuple[str, str]:
        """Method and path. Of the path it knows itself: its connection may have read the next head meanwhile."""
        if self.entry is not None:
            return "POST", self.entry.path
        return self.protocol.target

    @property
    def peer(self) -> str:
        """The address of the client; empty on a unix socket."""
        client = self.protocol.client
        return client[0] if client else ""

    def go(self) -> None:
        """The request is complete and it is its turn."""
        exchange = self.exchange
        if self.refusal is not None or exchange is None or self.entry is None:
            self._refuse(self.refusal or BadRequest("The request could not be read."))
            return
        body = self.body
        self.body = b""
        try:
            exchange.dispatch.begin(exchange, self.entry.read(body if isinstance(body, bytes) else bytes(body)))
        except RolecastError as error:
            exchange.fail(error)
        except Exception:
            log.exception("request %s failed", exchange.id)
            exchange.fail(Internal())

    # -- turn.exchange.Sink ------------------------------------------------------------------------------------

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        protocol = self.protocol
        if not self.disconnected:
            self.started = True
            close = b"" if self.keep_alive else b"connection: close\r\n"
            protocol.cork.write(
                protocol.transport,
                b"%b%b%b%bcontent-length: %d\r\n\r\n%b"
                % (STATUS_LINE[status], protocol.lane.date, head, close, len(body), body),
            )
        self._done()

    def start(self, status: int, head: bytes, length: int | None) -> None:
        if length is not None:
            framing = b"content-length: %d\r\n" % length
        elif self.http10:
            framing, self.keep_alive = b"", False
        else:
            framing, self._chunked = b"transfer-encoding: chunked\r\n", True
        close = b"" if self.keep_alive else b"connection: close\r\n"
        self._head = b"%b%b%b%b%b\r\n" % (STATUS_LINE[status], self.protocol.lane.date, head, framing, close)

    def write(self, data: bytes) -> None:
        if self.disconnected:
            return
        if self._chunked:
            data = b"%b%x\r\n%b\r\n" % (self._head, len(data), data)
        elif self._head:
            data = self._head + data
        protocol = self.protocol
        if self._head:
            self._head = b""
            self.started = True
            protocol.cork.write_first(protocol.transport, data)
        else:
            protocol.cork.write(protocol.transport, data)

    def finish(self, data: bytes = b"") -> None:
        if not self.disconnected:
            if self._chunked:
                last = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
                data = b"%b%b0\r\n\r\n" % (self._head, last)
            else:
                data = self._head + data
            if data:
                self.protocol.cork.write(self.protocol.transport, data)
        self.started = True
        self._done()

    def refuse(self, error: RolecastError, head: bytes) -> None:
        dialect = self.entry.dialect if self.entry is not None else self.dialect
        body = dialect.error(error) if dialect is not None else error.body()
        self.respond(error.status, b"content-type: application/json\r\n" + head, body)

    def break_off(self, error: RolecastError, last: bytes | None) -> None:
        if last is not None:
            self.finish(last)
            return
        self.keep_alive = False
        self.response_complete = True
        self.protocol.transport.abort()

    def outlet(self, exchange: Exchange) -> Written:
        request, plan = exchange.request, exchange.plan
        assert request is not None
        assert plan is not None
        dialect = exchange.dialect
        if (writer_for := dialect.writer_for) is not None:
            return Written(exchange, writer_for(request, exchange.caller, plan.model_id))
        return Written(exchange, dialect.writer(request, request.asked or plan.model_id))

    # -- inside -------------------------------------------------------------------------------------------

    def _refuse(self, error: RolecastError) -> None:
        if self.exchange is not None:
            self.exchange.fail(error)
            return
        lane = self.protocol.lane
        lane.dispatch.refused(error, Place(lane.name, *self.target))
        self.refuse(error, error.head + self.refusal_head)

    def _done(self) -> None:
        self.response_complete = True
        self.exchange = None  # no cycle: both are freed at once, without the collector
        protocol = self.protocol
        if self.keep_alive or self.disconnected:
            protocol.on_response_complete()
        else:
            protocol.close_gently()
