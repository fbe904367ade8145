"""`/mcp`: the Model Context Protocol, passed on to a process that speaks it (`rolecast.mcp.child`).

That process starts with the first request and ends when nobody has used it for a while. Here its answers go by as they
come; what is said in them is nobody's business.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from rolecast.config import paths
from rolecast.config.current import Current
from rolecast.dialects.operation import EVENTS, told
from rolecast.errors import UNREADABLE, NotOffered, WorkerDown
from rolecast.net.connection import Headers
from rolecast.net.pieces import Pieces
from rolecast.pages import asked
from rolecast.processes.helper import Helper

MODULE = "rolecast.mcp.child"
TAG = "MCP"
SURFACE = "ROLECAST_MCP_SURFACE"
GATEWAY = b"x-rolecast-gateway"
PASSED = frozenset(
    b"accept content-type last-event-id traceparent tracestate authorization x-api-key x-session-id x-trace-id "
    b"x-span-id".split()
)
"""Headers of requests that go on, besides those of the protocol."""
RETURNED = frozenset(b"content-type cache-control allow retry-after x-accel-buffering".split())
REFUSALS = dict.fromkeys((400, 404, 405, 406, 415), dict[str, Any])
"""Statuses with which the protocol refuses, in its own words."""
BROKEN = "The process that speaks MCP ended; send the request again. `rolecast logs` may say why."
INTERNAL_ERROR = -32603
"""Of JSON-RPC."""
JSON, STREAM = b"application/json", b"text/event-stream"
BOTH = b"%b, %b" % (JSON, STREAM)
"""What the protocol wants clients to accept. Many accept one of them, or do not say."""
OWN = b"mcp-"
"""How the protocol's headers begin."""


class McpPage:
    """The address, and the process behind it."""

    def __init__(self, current: Current, module: str = MODULE) -> None:
        self._current = current
        self.helper = Helper("mcp", module, paths.worker_logs().parent / "mcp.log")
        self._listening: set[Pieces] = set()

    def routes(self) -> list[Route]:
        return [
            Route("/mcp", self.post, methods=["POST"]),
            Route("/mcp", self.listen, methods=["GET"]),
            Route("/mcp", self.end, methods=["DELETE"]),
        ]

    @told(
        "Speak MCP",
        TAG,
        more="A message of JSON-RPC, by the protocol's streamable HTTP. Its answer is JSON or a stream of events.",
        body=dict[str, Any],
        answer=dict[str, Any],
        streams=EVENTS,
        statuses=(200, 202),
        others=REFUSALS,
        errors=(500, 501, 503),
    )
    async def post(self, request: Request) -> Response:
        """One message of JSON-RPC: its answer, as JSON or as a stream. Raises UnsupportedMedia."""
        asked.require_json(request, '{"jsonrpc":"2.0","id":1,"method":"ping"}')
        return await self._passed(request)

    @told("Listen to a session of MCP", TAG, media=EVENTS, others=REFUSALS, errors=(500, 501, 503))
    async def listen(self, request: Request) -> Response:
        """A stream of a session that stays open."""
        return await self._passed(request, listens=True)

    @told("End a session of MCP", TAG, answer=Any, others=REFUSALS, errors=(500, 501, 503))
    async def end(self, request: Request) -> Response:
        """End a session."""
        return await self._passed(request)

    async def _passed(self, request: Request, *, listens: bool = False) -> Response:
        settings = self._current.config.mcp
        if not settings.enabled:
            raise NotOffered("MCP is switched off here (mcp.enabled is false).")
        body = await request.body()
        self.helper.start_s, self.helper.idle_s = float(settings.start_timeout), float(settings.idle_timeout)
        self.helper.env = {SURFACE: self._current.config.server.surface}
        sent = _sent(request, body)
        try:
            answer, status, headers = await self._answer(request, sent)
        except WorkerDown:
            if not await self.helper.has_ended():
                raise
            # What it did for this request has ended with it, and a new one knows no session: asking again is safe.
            answer, status, headers = await self._answer(request, sent)
        if listens:
            self._listening.add(answer)
        sent_body = b"" if listens else body
        return _Passing(answer, sent_body, status, headers, self._done, whole=_wants_whole(request))

    async def _answer(self, request: Request, sent: bytes) -> tuple[Pieces, int, Headers]:
        """The answer as it begins; the process stays until `_done`. Raises WorkerDown."""
        pool = await self.helper.__aenter__()
        answer = Pieces()
        try:
            pool.send(sent, answer)
            return answer, *await _head(request, answer)
        except BaseException as error:
            await self._done(answer)
            if isinstance(error, WorkerDown):
                raise WorkerDown(BROKEN) from error
            raise

    async def _done(self, answer: Pieces) -> None:
        self._listening.discard(answer)
        answer.close()
        await self.helper.__aexit__()

    def leave(self) -> None:
        """End the streams that would stay open for ever; what is under way may end."""
        for answer in list(self._listening):
            answer.close()

    async def close(self) -> None:
        """End the process."""
        self.leave()
        await self.helper.close()


class _Passing(StreamingResponse):
    """An answer that goes by; however it ends, it is over then."""

    def __init__(
        self,
        answer: Pieces,
        asked: bytes,
        status: int,
        headers: Headers,
        done: Callable[[Pieces], Awaitable[None]],
        *,
        whole: bool = False,
    ) -> None:
        whole = whole and any(name == b"content-type" and value.startswith(STREAM) for name, value in headers)
        body = _body(answer, asked, headers)
        super().__init__(_last_message(body) if whole else body, status)
        self.raw_headers = [(name, value) for name, value in headers if name in RETURNED or name.startswith(OWN)]
        if whole:
            self.raw_headers = [(n, JSON if n == b"content-type" else value) for n, value in self.raw_headers]
        self._answer = answer
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._done(self._answer)


async def _body(answer: Pieces, asked: bytes, headers: Headers) -> AsyncIterator[bytes]:
    """The answer; an event stream that breaks off ends with an error for `asked`, or its client would wait for ever."""
    async for part in answer.body():
        yield part
    if answer.broken and any(n == b"content-type" and v.startswith(b"text/event-stream") for n, v in headers):
        try:
            number = msgspec.json.decode(asked, type=_Asked).id
        except UNREADABLE:
            return
        if number is not None:
            error = {"code": INTERNAL_ERROR, "message": BROKEN}
            told = msgspec.json.encode({"jsonrpc": "2.0", "id": number, "error": error})
            yield b"event: message\r\ndata: %b\r\n\r\n" % told


class _Asked(msgspec.Struct):
    """What is read of a message: to which request an error belongs."""

    id: str | int | None = None


def _wants_whole(request: Request) -> bool:
    """Whether a client reads no stream, so that it gets the answer alone, as JSON."""
    accepted = request.headers.get("accept", "").lower()
    return request.method == "POST" and "application/json" in accepted and not re.search(r"text/|\*/\*", accepted)


async def _last_message(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The answer of a stream of events: the last message; what is told on the way is left out."""
    rest, last = b"", b""
    async for part in body:
        *lines, rest = (rest + part).split(b"\n")
        last = next((line for line in reversed(lines) if line.startswith(b"data:") and line[5:].strip()), last)
    yield last[5:].strip()


async def _head(request: Request, answer: Pieces) -> tuple[int, Headers]:
    """Status and headers of the answer. Raises RolecastError, and ClientDisconnect when nobody waits any more."""
    head = asyncio.ensure_future(answer.head())
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({head, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not head.done():
            raise ClientDisconnect
        return head.result()
    finally:
        gone.cancel()
        head.cancel()


def _sent(request: Request, body: bytes) -> bytes:
    """The request for the process: what of it is the protocol's, who sends it, and where we are to be asked."""
    lines = [b"%b /mcp HTTP/1.1" % request.method.encode(), b"host: localhost", b"%b: %b" % (GATEWAY, _here(request))]
    if request.method == "POST":
        lines.append(b"accept: %b" % BOTH)
    for name, value in request.scope["headers"]:
        if name == b"accept" and request.method == "POST":
            continue
        if name in PASSED or name.startswith(OWN):
            lines.append(b"%b: %b" % (name, value.strip(b" \t")))  # some are compared with what the body says
    lines.append(b"content-length: %d" % len(body))
    return b"%b\r\n\r\n%b" % (b"\r\n".join(lines), body)


def _here(request: Request) -> bytes:
    """Where this request came in: an address that surely is ours, of a socket that surely is open."""
    host, port = request.scope["server"]
    if port is None:
        return b"unix:%b" % str(host).encode()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}".encode()
