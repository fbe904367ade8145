"""Keep-alive connections to one worker or remote: kept, lent, retired before the other side closes them."""

import asyncio
import re
import ssl
from collections.abc import Callable

from rolecast.config.loopback import is_loopback
from rolecast.errors import StaysHere, WorkerDown
from rolecast.net.connection import Connection, Receiver
from rolecast.net.cork import Cork
from rolecast.net.headmemo import HeadMemo
from rolecast.values import Endpoint

CONNECT_TIMEOUT_S = 10.0
_KEEP_ALIVE = re.compile(rb"(timeout|max)=(\d{1,9})")


class Pool:
    """Keep-alive connections to one worker. Holds no more idle ones than were busy at once."""

    def __init__(self, endpoint: Endpoint, cork: Cork | None = None, *, leaves: bool = False) -> None:
        self.endpoint = endpoint
        self.leaves = leaves or not (endpoint.uds or is_loopback(endpoint.host))
        """What is sent leaves this machine: only what was seen off is taken."""
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

    def upload(self, path: bytes, body: bytes, content_type: bytes, extra: bytes = b"") -> bytes:
        """A whole POST below the endpoint's base of what is no JSON."""
        head = self._head(b"POST", self.endpoint.base.encode() + path, content_type)
        return self._form % (head, extra, len(body), body)

    def request(self, method: bytes, path: bytes, body: bytes) -> bytes:
        """A whole request to any path."""
        return b"%bcontent-length: %d\r\n\r\n%b" % (self._head(method, path), len(body), body)

    def _head(self, method: bytes, path: bytes, content_type: bytes = b"application/json") -> bytes:
        return b"%b %b HTTP/1.1\r\nhost: %b\r\naccept-encoding: identity\r\n%bcontent-type: %b\r\n" % (
            method,
            path,
            self._host,
            self.endpoint.headers,
            content_type,
        )

    def send(self, request: bytes, receiver: Receiver, *, seen_off: bool = False) -> None:
        """Send on an idle connection if there is one, else on a new one.

        Raises StaysHere for what would leave this machine and was not seen off.
        """
        if self.leaves and not seen_off:
            raise StaysHere(f"This request was not seen off, and {self.endpoint.address} is elsewhere.")
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
