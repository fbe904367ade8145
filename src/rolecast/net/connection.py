"""One keep-alive HTTP/1.1 connection to a worker or remote: sends a request, delivers the pieces of its answer.

Knows sockets, framing, keep-alive and stale connections. Knows nothing of models, JSON or retries across
workers. A `Receiver` gets the pieces as they arrive. Callbacks instead of coroutines because the client
decides the cost of a gateway: docs/design.md has the figures.
"""

import asyncio
from typing import Any, Protocol

import httptools
import msgspec

from rolecast.errors import WorkerDown
from rolecast.net.cork import Cork
from rolecast.net.headmemo import HeadMemo, remember

MAX_HEAD_BYTES = 64 * 1024

Headers = list[tuple[bytes, bytes]]


class KnownAnswer(msgspec.Struct):
    """A response head seen before: what the parser made of it, but for its Content-Length."""

    status: int
    headers: Headers
    lines: bytes | None = None
    """What the receiver makes of the headers; kept here by the receiver."""


class Receiver(Protocol):
    """Takes one answer. `connection` is set while it runs."""

    connection: "Connection | None"

    @property
    def closed(self) -> bool:
        """Whether nobody wants the answer any more."""

    def on_head(self, status: int, headers: Headers) -> None:
        """Status and headers; names are lower-case."""

    def on_body(self, parts: list[bytes], last: bool) -> None:
        """Body pieces of one read, unframed; with `last`, `on_end` follows at once. The list is reused."""

    def on_end(self) -> None:
        """The answer is complete; the connection is already back in its pool."""

    def on_whole(self, head: KnownAnswer, body: bytes) -> None:
        """`on_head`, `on_body` and `on_end` in one, for an answer that came in one piece."""

    def on_lost(self, error: Exception) -> None:
        """No (more) answer will come."""


class Home(Protocol):
    """Whose connection it is: `net.pool.Pool`."""

    cork: Cork
    open: "set[Connection]"
    max_requests: int
    memo: HeadMemo | None

    def put(self, connection: "Connection") -> None:
        """Take back a connection after a clean end of message."""

    def learn(self, keep_alive: bytes) -> None:
        """Heed a worker's `Keep-Alive` header."""

    def send_fresh(self, request: bytes, receiver: Receiver) -> None:
        """Send on a new connection."""


class Connection(asyncio.Protocol):
    """One keep-alive connection to a worker; runs one exchange at a time."""

    __slots__ = (
        "_closing",
        "_complete",
        "_first_data",
        "_got_bytes",
        "_head_bytes",
        "_head_ready",
        "_headers",
        "_keep_alive",
        "_last_headers",
        "_length",
        "_parser",
        "_parts",
        "_paused",
        "_pool",
        "_receiver",
        "_request",
        "_requests",
        "_status",
        "_until_eof",
        "idle_since",
        "on_body",
        "transport",
    )

    def __init__(self, pool: Home) -> None:
        self._pool = pool
        self._parts: list[bytes] = []
        self.on_body = self._parts.append  # the parser calls C straight away, once per chunk
        self._headers: Headers = []
        self._parser: Any = httptools.HttpResponseParser(self)
        self._receiver: Receiver | None = None
        self._request: bytes = b""
        self._requests = 0
        self._got_bytes = self._head_ready = self._complete = self._paused = False
        self._keep_alive = True
        self._until_eof = False
        self._first_data = b""
        self._closing = False
        self._length = b""
        self._status = 0
        self._head_bytes: int | None = 0
        """Bytes that came before the end of the head; None once it is complete."""
        self._last_headers: Headers = []
        self.idle_since = 0.0
        self.transport: asyncio.Transport | None = None

    # -- used by the pool and by receivers ----------------------------------------------------------------

    def start(self, request: bytes, receiver: Receiver) -> None:
        """Send `request` (head and body) and deliver the answer to `receiver`."""
        self._receiver = receiver
        self._request = request
        self._requests += 1
        self._got_bytes = self._head_ready = self._complete = self._until_eof = False
        self._head_bytes = 0
        receiver.connection = self
        assert self.transport is not None
        self._pool.cork.write(self.transport, request)

    def pause(self) -> None:
        """Stop reading from the worker (the client is slow)."""
        if not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()

    @property
    def paused(self) -> bool:
        """Whether it is us who do not read."""
        return self._paused

    def resume(self) -> None:
        """Read again."""
        if self._paused and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()

    def abort(self) -> None:
        """Close at once and forget the receiver; this is how a worker learns that nobody listens."""
        if self._receiver is not None:
            self._receiver.connection = None
            self._receiver = None
        self.close()

    def close(self) -> None:
        """Close the socket; a running exchange is not told."""
        self._closing = True
        if self.transport is not None:
            self.transport.abort()

    @property
    def usable(self) -> bool:
        """Open and below the number of requests after which the worker would close it."""
        return self.transport is not None and not self._closing and self._requests < self._pool.max_requests

    # -- asyncio.Protocol ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._pool.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.open.discard(self)
        self.transport = None
        self._parser = None  # it holds our methods: without it we are freed at once, not by the collector
        receiver = self._receiver
        if receiver is None:
            return
        self._receiver = None
        receiver.connection = None
        if self._until_eof and exc is None:
            receiver.on_end()
        elif self._requests > 1 and not self._got_bytes:
            # A kept-alive connection that the worker closed while we were sending: nothing was answered.
            self._pool.send_fresh(self._request, receiver)
        else:
            reason = f": {exc}" if exc else ""
            receiver.on_lost(WorkerDown(f"The model's worker closed the connection{reason}.", code="worker_lost"))

    def data_received(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:  # bytes nobody asked for: a broken worker
            self.close()
            return
        if not self._got_bytes:
            self._got_bytes = True
            self._request = b""
            if self._take_whole(data, receiver):
                return
        if not self._parse(data, receiver):
            return
        if self._head_ready:
            self._head_ready = False
            receiver.on_head(self._status, self._last_headers)
        if self._parts:
            if self._receiver is receiver:
                receiver.on_body(self._parts, self._complete)
            self._parts.clear()
        if self._complete and self._receiver is receiver:
            self._finish(receiver)

    def eof_received(self) -> bool:
        return False

    def _parse(self, data: bytes, receiver: Receiver) -> bool:
        """Feed the parser; False when that ended the exchange."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            if not self._complete:
                self._fail(receiver, f"sent invalid HTTP: {exc}")
                return False
            self._closing = True  # more than one answer to one request: the first counts, the rest reaches nobody
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._fail(receiver, f"sent a head of more than {MAX_HEAD_BYTES} bytes")
                return False
        return True

    def _take_whole(self, data: bytes, receiver: Receiver) -> bool:
        """Deliver an answer that came whole under the head that this worker used last; False otherwise.

        The parser is not involved and stays at the start of a message.
        """
        memo = self._pool.memo
        body = memo.body(data) if memo is not None else None
        if memo is None or body is None:
            self._first_data = data
            return False
        self._receiver = None
        receiver.connection = None
        if self._requests < self._pool.max_requests:
            self._pool.put(self)
        else:
            self.close()
        receiver.on_whole(memo.value, body)  # type: ignore[arg-type]
        return True

    def _fail(self, receiver: Receiver, what: str) -> None:
        self.abort()
        receiver.on_lost(WorkerDown(f"The model's worker {what}.", code="bad_upstream"))

    def _finish(self, receiver: Receiver) -> None:
        self._receiver = None
        receiver.connection = None
        self.resume()
        if self._keep_alive and self.usable:
            self._pool.put(self)
        else:
            self.close()
        receiver.on_end()

    # -- httptools callbacks (on_body is the list's append) -----------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            raise ValueError("an answer that nobody asked for")
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self._headers) > 256:
            raise ValueError("too many headers")
        name = name.lower()
        self._headers.append((name, value))
        if name == b"keep-alive":
            self._pool.learn(value)

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self._first_data = b""
            return
        self._head_ready = True
        self._status = status
        self._head_bytes = None
        headers = self._last_headers = self._headers
        self._headers = []  # trailers go here, and nowhere from here
        names = dict(headers)
        single = len(names) == len(headers) and b"connection" not in names
        self._length = names.get(b"content-length", b"") if single else b""
        self._until_eof = b"content-length" not in names and b"transfer-encoding" not in names

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            return
        self._complete = True
        self._keep_alive = self._parser.should_keep_alive()
        if self._first_data:
            if self._keep_alive and status == 200 and self._length:
                value = KnownAnswer(status, self._last_headers)
                self._pool.memo = remember(self._first_data, self._length, value)
            self._first_data = b""
