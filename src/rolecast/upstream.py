"""The one outbound HTTP/1.1 client to workers and remotes: pooled, streaming, callback-driven.

Knows sockets, framing, keep-alive and stale connections. Knows nothing of models, JSON or retries across
workers. A `Receiver` gets the pieces of an answer as they arrive. Callbacks instead of coroutines because
the client decides the cost of a gateway: docs/design.md has the figures.
"""

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import Any, Protocol

import httptools
import msgspec

from rolecast.cork import Cork
from rolecast.errors import WorkerDown
from rolecast.headmemo import HeadMemo, remember
from rolecast.values import Endpoint

CONNECT_TIMEOUT_S = 10.0
MAX_HEAD_BYTES = 64 * 1024

_KEEP_ALIVE = re.compile(rb"(timeout|max)=(\d{1,9})")

Headers = list[tuple[bytes, bytes]]


class KnownHead(msgspec.Struct):
    """A response head seen before: what the parser made of it, but for its Content-Length."""

    status: int
    headers: Headers
    lines: bytes | None = None
    """What the receiver makes of the headers; kept here by the receiver."""


class Receiver(Protocol):
    """Takes one answer. `connection` is set while it runs; `closed` means nobody wants the answer any more."""

    connection: "Connection | None"
    closed: bool

    def on_head(self, status: int, headers: Headers) -> None:
        """Status and headers; names are lower-case."""

    def on_body(self, parts: list[bytes], last: bool) -> None:
        """Body pieces of one read, unframed; with `last`, `on_end` follows at once. The list is reused."""

    def on_end(self) -> None:
        """The answer is complete; the connection is already back in its pool."""

    def on_whole(self, head: KnownHead, body: bytes) -> None:
        """`on_head`, `on_body` and `on_end` in one, for an answer that came in one piece."""

    def on_lost(self, error: Exception) -> None:
        """No (more) answer will come."""


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

    def __init__(self, pool: "Pool") -> None:
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
                value = KnownHead(status, self._last_headers)
                self._pool.memo = remember(self._first_data, self._length, value)
            self._first_data = b""


class Pool:
    """Keep-alive connections to one worker. Holds no more idle ones than were busy at once."""

    def __init__(self, endpoint: Endpoint, cork: Cork | None = None) -> None:
        self.endpoint = endpoint
        self.max_requests = endpoint.max_requests
        self.memo: HeadMemo | None = None
        self.idle_s = endpoint.idle_s
        self.open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._loop = asyncio.get_running_loop()
        self.cork = cork or Cork(self._loop)
        self._tls = ssl.create_default_context() if endpoint.tls else None
        self._tasks: set[asyncio.Task[None]] = set()
        self._host = endpoint.authority.encode()
        self._prefixes: dict[bytes, bytes] = {}
        self._form = b"%b%b" + endpoint.via.replace(b"%", b"%%") + b"content-length: %d\r\n\r\n%b"

    def post(self, path: bytes, body: bytes, extra: bytes = b"") -> bytes:
        """A whole POST below the endpoint's base, with raw `extra` header lines and a JSON body."""
        prefix = self._prefixes.get(path)
        if prefix is None:
            prefix = self._prefixes[path] = self._head(b"POST", self.endpoint.base.encode() + path)
        return self._form % (prefix, extra, len(body), body)

    def request(self, method: bytes, path: bytes, body: bytes) -> bytes:
        """A whole request to any path."""
        return b"%bcontent-length: %d\r\n\r\n%b" % (self._head(method, path), len(body), body)

    def _head(self, method: bytes, path: bytes) -> bytes:
        return b"%b %b HTTP/1.1\r\nhost: %b\r\naccept-encoding: identity\r\n%bcontent-type: application/json\r\n" % (
            method,
            path,
            self._host,
            self.endpoint.headers,
        )

    def send(self, request: bytes, receiver: Receiver) -> None:
        """Send on an idle connection if there is one, else on a new one."""
        oldest_ok = self._loop.time() - self.idle_s
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since >= oldest_ok and connection.usable:
                connection.start(request, receiver)
                return
            connection.close()
        self.send_fresh(request, receiver)

    def send_fresh(self, request: bytes, receiver: Receiver) -> None:
        """Send on a new connection."""
        task = self._loop.create_task(self._connect(request, receiver))
        self._tasks.add(task)

        def ended(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            if task.cancelled() and not receiver.closed:  # by `close`, perhaps before it ran at all
                receiver.on_lost(WorkerDown("The model's worker went away.", code="worker_lost"))

        task.add_done_callback(ended)

    def put(self, connection: Connection) -> None:
        """Take back a connection after a clean end of message."""
        connection.idle_since = self._loop.time()
        self._idle.append(connection)

    def learn(self, keep_alive: bytes) -> None:
        """Heed a worker's `Keep-Alive: timeout=5, max=100`: leave one request and one second before it does."""
        for name, number in _KEEP_ALIVE.findall(keep_alive) if self.max_requests else ():
            if name == b"max":
                self.max_requests = min(self.endpoint.max_requests, max(1, int(number) - 1))
            else:
                self.idle_s = min(self.endpoint.idle_s, max(0.5, int(number) - 1))

    def retire(self) -> None:
        """Take no connection back any more: those in use end with their request."""
        self.max_requests = 0
        while self._idle:
            self._idle.pop().close()

    def retire_idle(self) -> None:
        """Close connections that idled too long; called once a second or so."""
        oldest_ok = self._loop.time() - self.idle_s
        while self._idle and self._idle[0].idle_since < oldest_ok:
            self._idle.pop(0).close()

    def close(self) -> None:
        """Close every connection; running exchanges get `on_lost`."""
        for task in self._tasks:
            task.cancel()
        for connection in list(self.open):
            connection.close()
        self._idle.clear()

    async def _connect(self, request: bytes, receiver: Receiver) -> None:
        try:
            connection = await self._open()
        except (OSError, TimeoutError, ValueError) as exc:  # ValueError: a host name that cannot be encoded
            if not receiver.closed:
                why = str(exc) or type(exc).__name__
                who = "server" if self.endpoint.via else "model's worker"
                receiver.on_lost(
                    WorkerDown(
                        f"The {who} at {self.endpoint.address} is unreachable: {why}.",
                        code="unreachable",
                    )
                )
            return
        if receiver.closed and connection.usable:
            self.put(connection)
        elif receiver.closed:  # and nobody wants connections to there any more
            connection.close()
        else:
            connection.start(request, receiver)

    async def _open(self) -> Connection:
        e = self.endpoint
        make: Callable[[], Connection] = lambda: Connection(self)  # noqa: E731
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            if e.uds:
                _, connection = await self._loop.create_unix_connection(make, e.uds)
            else:
                _, connection = await self._loop.create_connection(make, e.host, e.port, ssl=self._tls)
        return connection
