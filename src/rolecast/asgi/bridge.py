"""One request from an ASGI server to a port of an embedded gateway, and its answer back, as they come.

Both bodies are streamed, a reader that is slow slows the model, and a client that leaves ends the request there. Host,
Origin and keys go along as they are: the gateway judges them. Knows HTTP/1.1 and ASGI; not what the paths mean.
"""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Protocol
from urllib.parse import quote

import httptools
from starlette.types import Message, Receive, Scope, Send

from rolecast.errors import BadRequest, RolecastError, WorkerDown

CHUNK_BYTES = 64 * 1024
_OF_A_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect")
)
_OF_THE_SERVER = frozenset((*_OF_A_HOP, b"date"))
"""What the ASGI server says by itself."""

Header = tuple[bytes, bytes]


class Host(Protocol):
    """What runs the gateway."""

    async def enter(self) -> None:
        """Start it, or join those who use it."""

    async def leave(self) -> None:
        """Go; the last one ends it."""

    async def socket(self, port: int | None) -> str:
        """Where a port really listens; starts what does not run."""
        ...


class Bridge:
    """The ASGI app of one port. Its lifespan starts and ends the gateway; without one the first request starts it."""

    def __init__(self, host: Host, port: int | None) -> None:
        self._host = host
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ConfigError when the gateway cannot start."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._carry(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000, "reason": "There are no websockets here."})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._host.enter()
        except RolecastError as error:
            await send({"type": "lifespan.startup.failed", "message": error.message})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._host.leave()
        await send({"type": "lifespan.shutdown.complete"})

    async def _carry(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            head = request_head(scope)
            reader, writer = await asyncio.open_unix_connection(await self._host.socket(self._port))
        except BadRequest as error:
            await _refuse(error, send)
            return
        answer = _Answer(scope["method"], reader, send)
        upload = asyncio.create_task(_upload(head, scope["headers"], receive, writer))
        download = asyncio.create_task(answer.pass_on())
        try:
            await asyncio.wait({upload, download}, return_when=asyncio.FIRST_COMPLETED)
            if download.done():
                download.result()
        finally:
            writer.transport.abort()
            for task in (upload, download):
                task.cancel()
            await asyncio.gather(upload, download, return_exceptions=True)


def request_head(scope: Scope) -> bytes:
    """The request line and the headers, without the blank line. Raises BadRequest for what is no single line."""
    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    root = quote(scope.get("root_path", "")).encode()
    if root and path.startswith(root):  # where the app is mounted
        path = path[len(root) :] or b"/"
    target = path + (b"?" + scope["query_string"] if scope.get("query_string") else b"")
    lines = [b"%b %b HTTP/1.1" % (scope["method"].encode(), target), b"connection: close"]
    lines += [b"%b: %b" % pair for pair in _kept(scope["headers"], _OF_A_HOP)]
    if any(b"\r" in line or b"\n" in line for line in lines) or b" " in target:
        raise BadRequest("The request line or a header holds a line break or a space where none may be.")
    return b"\r\n".join(lines)


def _kept(headers: Iterable[Header], dropped: frozenset[bytes]) -> Iterator[Header]:
    return ((name, value) for name, value in headers if name.lower() not in dropped)


async def _refuse(error: RolecastError, send: Send) -> None:
    body = error.body()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _upload(head: bytes, headers: Iterable[Header], receive: Receive, writer: asyncio.StreamWriter) -> None:
    """Send the request as it comes; returns when the client has gone."""
    names = {name.lower() for name, _ in headers}
    chunked = b"transfer-encoding" in names and b"content-length" not in names
    message = None
    if not chunked and b"content-length" not in names:  # with HTTP/2 there may be a body all the same
        message = await receive()
        chunked = bool(message.get("body") or message.get("more_body"))
    writer.write(head + (b"\r\ntransfer-encoding: chunked\r\n\r\n" if chunked else b"\r\n\r\n"))
    message = message or await receive()
    try:
        while message["type"] == "http.request":
            piece = message.get("body", b"")
            if piece:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                await writer.drain()
            if not message.get("more_body"):
                break
            message = await receive()
        if chunked and message["type"] == "http.request":
            writer.write(b"0\r\n\r\n")
    except ConnectionError:
        pass  # it has refused the rest; its answer says why
    if message["type"] != "http.disconnect" and (await receive())["type"] != "http.disconnect":
        await asyncio.get_running_loop().create_future()  # no server says more than that; the answer ends this


class _Answer:
    """The answer of the gateway, passed on piece by piece. Its methods `on_*` are the parser's."""

    def __init__(self, method: str, reader: asyncio.StreamReader, send: Send) -> None:
        self._is_head = method == "HEAD"
        self._reader = reader
        self._send = send
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[Header] = []
        self._ready: list[Message] = []
        self._begun = self._complete = False

    async def pass_on(self) -> None:
        """Raises ConnectionError when it ends in its midst: then the server has to cut the client's connection."""
        while not self._complete:
            data = await self._read()
            if not data:
                break
            self._parser.feed_data(data)
            ready, self._ready = self._ready, []
            for message in ready:
                await self._send(message)
        if self._complete:
            await self._send({"type": "http.response.body", "body": b""})
        elif self._begun:
            raise ConnectionResetError("The gateway has ended in the midst of an answer.")
        else:
            await _refuse(WorkerDown("The gateway has ended before it answered; ask again."), self._send)

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(CHUNK_BYTES)
        except ConnectionError:
            return b""

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        headers, self._headers = list(_kept(self._headers, _OF_THE_SERVER)), []
        if status >= 200:
            self._begun = True
            self._complete = self._is_head
            self._ready.append({"type": "http.response.start", "status": status, "headers": headers})

    def on_body(self, body: bytes) -> None:
        self._ready.append({"type": "http.response.body", "body": body, "more_body": True})

    def on_message_complete(self) -> None:
        self._complete = self._begun
