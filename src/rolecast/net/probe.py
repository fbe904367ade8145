"""One small exchange with a worker, awaited: health checks and the like. The whole answer in memory, bounded."""

import asyncio
from typing import Any

import msgspec

from rolecast.errors import UpstreamTimeout, WorkerDown
from rolecast.net.connection import Connection, Headers, KnownAnswer
from rolecast.net.pool import Pool

MAX_FETCH_BYTES = 16 * 1024**2


class Response(msgspec.Struct, frozen=True):
    """A whole answer in memory."""

    status: int
    headers: Headers
    body: bytes


class _Collector:
    """A receiver that gathers a bounded answer into a future."""

    def __init__(self, future: "asyncio.Future[Response]", limit: int) -> None:
        self.connection: Connection | None = None
        self.closed = False
        self._future = future
        self._limit = limit
        self._status = 0
        self._headers: Headers = []
        self._body = bytearray()

    def on_head(self, status: int, headers: Headers) -> None:
        self._status, self._headers = status, headers

    def on_body(self, parts: list[bytes], last: bool) -> None:
        self._body += b"".join(parts)
        if len(self._body) > self._limit and self.connection is not None:
            self.connection.abort()
            self.on_lost(WorkerDown(f"The worker's answer is larger than {self._limit} bytes."))

    def on_end(self) -> None:
        if not self._future.done():
            self._future.set_result(Response(self._status, self._headers, bytes(self._body)))

    def on_whole(self, head: KnownAnswer, body: bytes) -> None:
        self.on_head(head.status, head.headers)
        self.on_body([body], True)
        self.on_end()

    def on_lost(self, error: Exception) -> None:
        if not self._future.done():
            self._future.set_exception(error)


async def fetch(
    pool: Pool,
    method: str,
    path: str,
    body: Any = None,
    *,
    timeout_s: float = 5.0,
    limit: int = MAX_FETCH_BYTES,
    seen_off: bool = False,
) -> Response:
    """Send one small request and await the whole answer. Without a body it may go anywhere.

    Raises WorkerDown when there is none, UpstreamTimeout after `timeout_s` seconds.
    """
    future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    collector = _Collector(future, limit)
    data = b"" if body is None else msgspec.json.encode(body)
    pool.send(pool.request(method.encode(), path.encode(), data), collector, seen_off=seen_off or not data)
    try:
        async with asyncio.timeout(timeout_s):
            return await future
    except TimeoutError:
        raise UpstreamTimeout(f"{pool.endpoint.address}{path} did not answer within {timeout_s:g} s.") from None
    finally:
        collector.closed = True
        if collector.connection is not None:
            collector.connection.abort()
