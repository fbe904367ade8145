"""The gateway's HTTP API as the methods of MCP use it. Knows addresses, keys and the wire, and no method."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec

from rolecast.errors import UNREADABLE, RolecastError, Unauthorized, UpstreamTimeout, WorkerDown

TIMEOUT = httpx2.Timeout(600, connect=5)
"""Longest silence, in seconds: loading a large model takes minutes."""
UNIX = "unix:"
START_HINT = "Start one with `rolecast up`."


class Api:
    """One gateway for one caller: `headers` are the caller's key, session and the like."""

    def __init__(self, http: httpx2.AsyncClient, base: str, headers: Mapping[str, str] = {}) -> None:
        self._http = http
        self._base = base
        self._headers = dict(headers)

    async def get(self, path: str) -> Any:
        """The JSON at that path. Raises RolecastError."""
        return await self._json("GET", path)

    async def post(self, path: str, body: Any) -> Any:
        """The JSON answer. Raises RolecastError with the gateway's sentence."""
        return await self._json("POST", path, body)

    async def delete(self, path: str) -> Any:
        """The JSON answer. Raises RolecastError."""
        return await self._json("DELETE", path)

    async def events(self, path: str, body: Any) -> AsyncIterator[dict[str, Any]]:
        """The events of a streamed answer. Raises RolecastError; whoever stops listening ends it."""
        async with self._sent("POST", path, body) as response:
            if "text/event-stream" not in response.headers.get("content-type", ""):
                yield _object(await response.aread())
                return
            async for line in response.aiter_lines():
                if line.startswith("data:"):
                    yield _object(line[5:].encode())

    async def _json(self, method: str, path: str, body: Any = None) -> Any:
        async with self._sent(method, path, body) as response:
            found = await response.aread()
        try:
            return msgspec.json.decode(found)
        except UNREADABLE:
            raise RolecastError(f"{self._base}{path} gave no JSON; is a Rolecast gateway there?") from None

    @asynccontextmanager
    async def _sent(self, method: str, path: str, body: Any = None) -> AsyncIterator[httpx2.Response]:
        if not self._base:
            raise WorkerDown(f"No gateway is running. {START_HINT}")
        content = None if body is None else msgspec.json.encode(body)
        headers = self._headers | ({} if content is None else {"content-type": "application/json"})
        try:
            request = self._http.build_request(method, path, content=content, headers=headers)
            response = await self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    await response.aread()
                    raise explained(response, self._base)
                yield response
            finally:
                await response.aclose()
        except UnicodeEncodeError:
            raise RolecastError("What was written is no text: it holds half a character.", status=400) from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            raise WorkerDown(f"No gateway answers on {self._base}. {START_HINT}") from None
        except httpx2.TimeoutException:
            text = f"The gateway at {self._base} was silent for too long; look at `rolecast logs`."
            raise UpstreamTimeout(text) from None
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
            text = f"{self._base!r} is not an address; use one such as http://127.0.0.1:8000."
            raise RolecastError(text) from None
        except httpx2.TransportError as error:
            why = str(error) or type(error).__name__
            raise WorkerDown(f"The connection to {self._base} broke ({why}); look at `rolecast logs`.") from None


class Gateways:
    """Keep-alive connections to gateways by their addresses: `http://HOST:PORT`, or `unix:PATH`; '' = there is none."""

    def __init__(self) -> None:
        self._open: dict[str, httpx2.AsyncClient] = {}

    def api(self, base: str, headers: Mapping[str, str] = {}) -> Api:
        """That gateway for that caller."""
        if base not in self._open:
            self._open[base] = _client(base)
        return Api(self._open[base], base, headers)

    async def aclose(self) -> None:
        """Close all connections."""
        clients, self._open = self._open, {}
        for client in clients.values():
            await client.aclose()


def _client(base: str) -> httpx2.AsyncClient:
    unlimited = httpx2.Limits(max_connections=None)
    transport = httpx2.AsyncHTTPTransport(uds=base.removeprefix(UNIX), limits=unlimited) if base[:5] == UNIX else None
    url = "http://localhost" if transport is not None else base
    return httpx2.AsyncClient(
        base_url=url, transport=transport, limits=unlimited, timeout=TIMEOUT, trust_env=False, follow_redirects=False
    )


def explained(response: httpx2.Response, base: str) -> RolecastError:
    """The gateway's own sentence, or one made from the status when the answer is not ours."""
    if response.status_code == 401:
        return Unauthorized(
            f"The gateway at {base} asks for a key: give one of those under server.keys, or of `rolecast keys`: to "
            "`rolecast mcp` by --key or ROLECAST_API_KEY, to the address /mcp as the header Authorization: Bearer KEY."
        )
    try:
        body = msgspec.json.decode(response.content)
    except UNREADABLE:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    if not isinstance(message, str) or not message:
        message = f"{base} answered {response.status_code} and does not look like a Rolecast gateway."
    return RolecastError(message, status=response.status_code)


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(data)
    except UNREADABLE:
        found = None
    if not isinstance(found, dict):
        raise WorkerDown("The gateway's answer broke off.")
    return found
