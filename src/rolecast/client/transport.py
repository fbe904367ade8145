"""Carries calls over HTTP, blocking and on an event loop: pools, time limits, retries, streams.

The only file of the client that knows httpx2. What a call says and what a reply means is decided elsewhere.
"""

import asyncio
import importlib.util
import os
import ssl
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

from rolecast.client.calls import Call
from rolecast.client.errors import (
    LLMBadRequest,
    LLMClientError,
    LLMConnectionError,
    LLMInvalidResponse,
    LLMTimeout,
    pause_s,
)
from rolecast.client.replies import reply_object
from rolecast.client.results import ChatResult, Delta
from rolecast.client.stream import StreamReader

if TYPE_CHECKING:
    import httpx2

CONNECT_TIMEOUT_S = 10.0
T = TypeVar("T")


class Carrier:
    """Carries calls and waits for them; may be shared by threads."""

    def __init__(self, sleep: Callable[[float], object] = time.sleep) -> None:
        self._sleep = sleep
        self._pools: dict[str, httpx2.Client] = {}
        self._opening = threading.Lock()

    def send(self, call: Call[T]) -> T:
        """The result of a call, tried again as long as that helps."""
        return read_reply(call, self._attempts(call, stream=False))

    def stream(self, call: Call[ChatResult]) -> "ChatStream":
        """The deltas of a streamed chat; the request starts when the first one is asked for."""
        reader = StreamReader(call)
        return ChatStream(self._deltas(call, reader), reader)

    def close(self) -> None:
        """Close the idle connections; a later call opens new ones."""
        with self._opening:
            pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.close()

    def _attempts(self, call: Call[Any], *, stream: bool) -> "httpx2.Response":
        attempt = 0
        while True:
            try:
                return self._once(call, stream=stream)
            except LLMClientError as failure:
                wait = pause_s(failure, attempt, call.max_retries, call.timeout_s)
                if wait is None:
                    raise
            self._sleep(wait)
            attempt += 1

    def _once(self, call: Call[Any], *, stream: bool) -> "httpx2.Response":
        pool = self._pool(call.base)
        with failures_named(call):
            response = pool.send(pool.build_request(**request_parts(call)), stream=stream)
            if stream and not response.is_success:
                try:
                    response.read()
                finally:
                    response.close()
        if not response.is_success:
            read_reply(call, response)  # raises the error that the status stands for
        return response

    def _deltas(self, call: Call[ChatResult], reader: StreamReader) -> Generator[Delta]:
        response = self._attempts(call, stream=True)
        try:
            with failures_named(call):
                reader.begin(response.headers)
                if not is_event_stream(response):
                    yield from reader.whole(response.read())
                    return
                for chunk in response.iter_bytes():
                    yield from reader.feed(chunk)
                    if reader.done:
                        break
                yield from reader.finish()
        finally:
            response.close()

    def _pool(self, base: str) -> "httpx2.Client":
        with self._opening:
            if base not in self._pools:
                import httpx2

                pool = httpx2.Client(**pool_settings(base))
                weakref.finalize(self, pool.close)  # a client nobody closed leaves no open socket behind
                self._pools[base] = pool
            return self._pools[base]


class AsyncCarrier:
    """Carries calls on one event loop."""

    def __init__(self, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self._sleep = sleep
        self._pools: dict[str, httpx2.AsyncClient] = {}

    async def send(self, call: Call[T]) -> T:
        """The result of a call, tried again as long as that helps."""
        return read_reply(call, await self._attempts(call, stream=False))

    def stream(self, call: Call[ChatResult], *, close_after: bool = False) -> "AsyncChatStream":
        """The deltas of a streamed chat; the request starts when the first one is asked for."""
        reader = StreamReader(call)
        return AsyncChatStream(self._deltas(call, reader, close_after), reader)

    async def aclose(self) -> None:
        """Close the idle connections; a later call opens new ones."""
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            await pool.aclose()

    async def _attempts(self, call: Call[Any], *, stream: bool) -> "httpx2.Response":
        attempt = 0
        while True:
            try:
                return await self._once(call, stream=stream)
            except LLMClientError as failure:
                wait = pause_s(failure, attempt, call.max_retries, call.timeout_s)
                if wait is None:
                    raise
            await self._sleep(wait)
            attempt += 1

    async def _once(self, call: Call[Any], *, stream: bool) -> "httpx2.Response":
        pool = self._pool(call.base)
        with failures_named(call):
            response = await pool.send(pool.build_request(**request_parts(call)), stream=stream)
            if stream and not response.is_success:
                try:
                    await response.aread()
                finally:
                    await response.aclose()
        if not response.is_success:
            read_reply(call, response)  # raises the error that the status stands for
        return response

    async def _deltas(self, call: Call[ChatResult], reader: StreamReader, close_after: bool) -> AsyncGenerator[Delta]:
        try:
            response = await self._attempts(call, stream=True)
            try:
                with failures_named(call):
                    reader.begin(response.headers)
                    if not is_event_stream(response):
                        for delta in reader.whole(await response.aread()):
                            yield delta
                        return
                    async for chunk in response.aiter_bytes():
                        for delta in reader.feed(chunk):
                            yield delta
                        if reader.done:
                            break
                    for delta in reader.finish():
                        yield delta
            finally:
                await response.aclose()
        finally:
            if close_after:
                await self.aclose()

    def _pool(self, base: str) -> "httpx2.AsyncClient":
        if base not in self._pools:
            import httpx2

            self._pools[base] = httpx2.AsyncClient(**pool_settings(base))
        return self._pools[base]


class ChatStream:
    """A streamed answer: iterate over its deltas, then read `result`. Closing it stops the model."""

    def __init__(self, deltas: Generator[Delta], reader: StreamReader) -> None:
        self._deltas = deltas
        self._reader = reader

    @property
    def result(self) -> ChatResult:
        """The whole answer. Raises RuntimeError while the stream has not been read to its end."""
        return self._reader.result

    def __iter__(self) -> Iterator[Delta]:
        return self._deltas

    def close(self) -> None:
        """Stop reading; the server stops writing."""
        self._deltas.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncChatStream:
    """A streamed answer: iterate with `async for`, then read `result`. Closing it stops the model."""

    def __init__(self, deltas: AsyncGenerator[Delta], reader: StreamReader) -> None:
        self._deltas = deltas
        self._reader = reader

    @property
    def result(self) -> ChatResult:
        """The whole answer. Raises RuntimeError while the stream has not been read to its end."""
        return self._reader.result

    def __aiter__(self) -> AsyncGenerator[Delta]:
        return self._deltas

    async def aclose(self) -> None:
        """Stop reading; the server stops writing."""
        await self._deltas.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def read_reply(call: Call[T], response: "httpx2.Response") -> T:
    """The result that a reply stands for. Raises the error that it stands for."""
    return call.read(
        reply_object(response.status_code, response.headers, response.content, call.place), response.headers
    )


def is_event_stream(response: "httpx2.Response") -> bool:
    """False for a server that answers a streaming request with one JSON object."""
    return not response.headers.get("content-type", "").startswith("application/json")


def request_parts(call: Call[Any]) -> dict[str, Any]:
    """Arguments for httpx2's `build_request`. The limit counts silence, not the length of an answer."""
    import httpx2

    limit = call.timeout_s
    connect = CONNECT_TIMEOUT_S if limit is None else min(limit, CONNECT_TIMEOUT_S)
    return {
        "method": call.method,
        "url": call.url,
        "headers": call.headers,
        "content": call.body,
        "timeout": httpx2.Timeout(limit, connect=connect),
    }


@contextmanager
def failures_named(call: Call[Any]) -> Iterator[None]:
    """Turns what the transport raises into the client's own errors, with the next step for people."""
    import httpx2

    try:
        yield
    except httpx2.ConnectTimeout as failure:
        raise LLMTimeout(f"{call.place} did not accept a connection in time; is the address right?") from failure
    except httpx2.TimeoutException as failure:
        raise LLMTimeout(
            f"{call.place} was silent for {call.timeout_s:g} s; "
            "a larger timeout_s waits longer, a smaller max_tokens makes shorter answers."
        ) from failure
    except httpx2.ConnectError as failure:
        step = "set SSL_CERT_FILE to its CA" if "CERTIFICATE" in str(failure) else "is it running? Try `rolecast up`"
        raise LLMConnectionError(f"{call.place} cannot be reached ({failure}); {step}.") from failure
    except httpx2.DecodingError as failure:
        raise LLMInvalidResponse(f"{call.place} sent a body that cannot be decoded ({failure}).") from failure
    except (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol) as failure:
        raise LLMBadRequest(f"The request to {call.place} cannot be sent ({failure}).") from failure
    except httpx2.HTTPError as failure:
        raise LLMConnectionError(f"The connection to {call.place} broke ({failure}).") from failure


def pool_settings(base: str) -> dict[str, Any]:
    """Arguments for an httpx2 client of that address: trust, and proxies unless it is this machine."""
    parts = urlsplit(base)
    return {
        "verify": trust() if parts.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        "trust_env": not is_loopback(parts.hostname or ""),
    }


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def trust() -> ssl.SSLContext:
    """The system's certificate authorities; certifi's where the system has none and none are configured."""
    import httpx2

    try:
        context = httpx2.create_ssl_context()
    except OSError as failure:
        raise LLMConnectionError(
            f"The certificate authorities cannot be read ({failure}); check SSL_CERT_FILE and SSL_CERT_DIR."
        ) from failure
    configured = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
    bare = type(context) is ssl.SSLContext and not context.cert_store_stats()["x509_ca"]
    if bare and not configured and importlib.util.find_spec("certifi"):
        import certifi

        context.load_verify_locations(certifi.where())
    return context
