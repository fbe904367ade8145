"""A server of MCP behind an address: the SDK's streamable HTTP over a client with bounds."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

MOST_BYTES = 4 * 1024**2
"""Of an answer, and of one event of a stream."""
CONNECT_S = 10.0
GONE, SESSION = 404, "mcp-session-id"
TERMINATED = "its server began anew"
"""Why a connection ended whose session its server knows no more."""
SILENT_S = 3600.0
"""A stream may be silent for so long; how long a call may take is bounded elsewhere."""


class _Bounded(httpx2.AsyncByteStream):
    """A body that breaks off when it is too long."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._stream:
            size += len(piece)
            if size > MOST_BYTES:
                raise httpx2.ReadError(f"the answer is longer than {MOST_BYTES // 1024**2} MiB")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Transport(httpx2.AsyncHTTPTransport):
    """Takes no compressed answer, which may be of any length, and no endless one."""

    def __init__(self, ended: Callable[[str], None]) -> None:
        super().__init__()
        self._ended = ended

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["accept-encoding"] = "identity"
        response = await super().handle_async_request(request)
        if response.status_code == GONE and SESSION in request.headers:
            self._ended(TERMINATED)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.ReadError("the answer is compressed, which was not asked for")
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            response.stream = _Bounded(response.stream)
        return response


class Address:
    """The transport of one connection: an async context manager that gives the SDK's streams."""

    def __init__(self, url: str, headers: Sequence[tuple[str, str]], ended: Callable[[str], None]) -> None:
        self._ended = ended
        self._url = url
        self._headers = dict(headers)
        self._context: Any = None

    async def __aenter__(self) -> Any:
        self._context = self._streams()
        return await self._context.__aenter__()

    async def __aexit__(self, *exc: Any) -> Any:
        return await self._context.__aexit__(*exc)

    @asynccontextmanager
    async def _streams(self) -> AsyncIterator[Any]:
        timeout = httpx2.Timeout(SILENT_S, connect=CONNECT_S)
        transport = _Transport(self._ended)
        async with (
            httpx2.AsyncClient(
                headers=self._headers, timeout=timeout, transport=transport, trust_env=False, follow_redirects=False
            ) as http,
            streamable_http_client(self._url, http_client=http, max_sse_event_size=MOST_BYTES) as streams,
        ):
            yield streams
