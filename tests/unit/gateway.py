"""A gateway inside the test's own event loop, a worker that says what a test wants, and a client of raw bytes.

Everything runs over real sockets and through the real parts; only the worker's answers are scripted. Knows
HTTP framing well enough to be a strict judge of it on both sides of the gateway.
"""

import asyncio
import contextlib
import json
import logging
import re
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from rolecast import app
from rolecast.books.receipt import Receipt
from rolecast.config.schema import Config, Limits, Listener, Log, Model, Routing, Server, Storage

DEADLINE_S = 20.0
"""Only bounds how long a failure takes to show."""
CHAT = "/v1/chat/completions"


async def turns(count: int = 4) -> None:
    """Let everybody on the loop read what was sent to them."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], Any], what: str = "") -> Any:
    """The first true value of `condition`."""
    async with asyncio.timeout(DEADLINE_S):
        while not (value := condition()):
            await asyncio.sleep(0.001)
    return value


# -- the worker ----------------------------------------------------------------------------------------------


class Received(NamedTuple):
    """One request as the worker saw it."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes
    peer: "Peer"

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> list[str]:
        return [v for n, v in self.headers if n.lower() == name]


Script = Callable[["Peer", Received], Awaitable[None]]

_PATHS = rb"chat/completions|completions|embeddings|messages(?:/count_tokens)?|rerank|audio/\w+|images/\w+"
_LINE = re.compile(rb"POST /v1/(%b) HTTP/1\.1\Z" % _PATHS)
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ([\x20-\x7e]*)\Z")


class Peer(asyncio.Protocol):
    """One connection from the gateway. A request that is not exactly one well-formed request is put on `bad`."""

    def __init__(self, worker: "ScriptedWorker") -> None:
        self.worker = worker
        self.gone = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        self.sent = 0
        self._data = bytearray()
        self._busy = False
        self.requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.worker.peers.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return
        head, rest = bytes(self._data[:end]), bytes(self._data[end + 4 :])
        line, *lines = head.split(b"\r\n")
        if re.match(rb"GET \S*/models HTTP", line):  # what it has is asked by the way
            self._data.clear()
            self.transport.write(message(b"{}", 404))
            return
        pairs = [_HEADER.match(x) for x in lines]
        headers = [(m[1].decode(), m[2].decode()) for m in pairs if m]
        lengths = [v for n, v in headers if n.lower() == "content-length"]
        if self._busy or not _LINE.match(line) or not all(pairs) or len(lengths) != 1 or not lengths[0].isdigit():
            self.worker.bad.append(bytes(self._data))
            self.transport.abort()
            return
        length = int(lengths[0])
        if len(rest) < length:
            return
        if len(rest) > length or any(n.lower() == "transfer-encoding" for n, _ in headers):
            self.worker.bad.append(bytes(self._data))
            self.transport.abort()
            return
        self._data.clear()
        self._busy = True
        self.requests += 1
        received = Received(line.decode(), headers, rest, self)
        self.worker.received(received)

    async def run(self, script: Script, received: Received) -> None:
        try:
            await script(self, received)
        finally:
            self._busy = False

    async def send(self, data: bytes) -> None:
        """Write as fast as the gateway takes it."""
        if self.gone.is_set():
            return
        self.transport.write(data)
        self.sent += len(data)
        await self.writable.wait()

    async def send_split(self, *pieces: bytes) -> None:
        """Each piece in a read of its own."""
        for number, piece in enumerate(pieces):
            if number:
                await turns()
            await self.send(piece)

    def close(self) -> None:
        self.transport.close()


class ScriptedWorker:
    """Answers with the scripts of `script`, first come first served; then, and else, with `usual`."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.requests: list[Received] = []
        self.bad: list[bytes] = []
        self.script: deque[Script] = deque()
        self.usual: Script = reply()
        self.keep = True
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    def reset(self) -> None:
        self.requests.clear()
        self.bad.clear()
        self.script.clear()
        self.usual = reply()

    def received(self, request: Received) -> None:
        if self.keep:
            self.requests.append(request)
        script = self.script.popleft() if self.script else self.usual
        task = asyncio.ensure_future(request.peer.run(script, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @contextlib.asynccontextmanager
    async def listening(self, path: str = "") -> AsyncIterator["ScriptedWorker"]:
        loop = asyncio.get_running_loop()
        if path:
            server = await loop.create_unix_server(lambda: Peer(self), path)
            self.url = f"unix:{path}"
        else:
            server = await loop.create_server(lambda: Peer(self), "127.0.0.1", 0)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        try:
            yield self
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for peer in self.peers:
                peer.transport.abort()
            await asyncio.gather(*(peer.gone.wait() for peer in self.peers))
            await server.wait_closed()


ANSWER = (
    b'{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"}}],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}'
)


def message(body: bytes, status: int = 200, *, head: bytes = b"", kind: bytes = b"application/json") -> bytes:
    """The bytes of a plain answer with Content-Length."""
    lines = b"HTTP/1.1 %d X\r\nContent-Type: %b\r\n%bContent-Length: %d\r\n\r\n"
    return lines % (status, kind, head, len(body)) + body


def reply(body: bytes = ANSWER, status: int = 200, *, head: bytes = b"", kind: bytes = b"application/json") -> Script:
    """A plain answer."""
    return raw(message(body, status, head=head, kind=kind))


def raw(*pieces: bytes, close: bool = False) -> Script:
    """Exactly these bytes, each piece in a read of its own; then perhaps the end of the connection."""

    async def script(peer: Peer, _: Received) -> None:
        await peer.send_split(*pieces)
        if close:
            await turns()
            peer.close()

    return script


SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def delta(text: str) -> bytes:
    """One event of a chat stream."""
    return event({"choices": [{"index": 0, "delta": {"content": text}}]})


DONE = b"data: [DONE]\n\n"
USAGE = event({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}})


def stream(*events: bytes) -> Script:
    """A chunked event stream, one chunk and one read per event."""
    return raw(SSE_HEAD, *(chunk(e) for e in events), b"0\r\n\r\n")


class Held:
    """A script that sends a few events and then waits to be let go."""

    def __init__(self, *events: bytes) -> None:
        self.events = events
        self.peer: Peer | None = None
        self.began = asyncio.Event()
        self.let_go = asyncio.Event()

    async def __call__(self, peer: Peer, _: Received) -> None:
        self.peer = peer
        await peer.send(SSE_HEAD + b"".join(chunk(e) for e in self.events))
        self.began.set()
        await self.let_go.wait()
        await peer.send(chunk(DONE) + b"0\r\n\r\n")


# -- the client ----------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """One answer as the client saw it; names of headers are lower-case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    chunked: bool

    def header(self, name: str) -> str | None:
        found = [v for n, v in self.headers if n == name]
        assert len(found) < 2, f"{name} is there twice: {found}"
        return found[0] if found else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object, which must have the one shape."""
        body = self.json
        assert set(body) == {"error", "detail"}, body
        assert set(body["error"]) == {"message", "type", "param", "code"}, body
        assert body["detail"] == body["error"]["message"]
        return dict(body["error"])


class Client:
    """A connection to the gateway; reads answers strictly, one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> "Client":
        """Each piece in a segment of its own."""
        for number, piece in enumerate(pieces):
            if number:
                await turns()
            self.writer.write(piece)
            await self.writer.drain()
        return self

    async def head(self) -> tuple[int, list[tuple[str, str]]]:
        async with asyncio.timeout(DEADLINE_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
        line, *lines = head[:-4].decode("latin-1").split("\r\n")
        assert re.fullmatch(r"HTTP/1\.1 \d{3} [ -~]*", line), line
        pairs = [x.partition(": ") for x in lines]
        assert all(n and sep for n, sep, _ in pairs), lines
        return int(line[9:12]), [(n.lower(), v) for n, _, v in pairs]

    async def answer(self, method: str = "POST") -> Answer:
        """The next answer, whole."""
        status, headers = await self.head()
        if status == 100:
            return Answer(100, headers, b"", False)
        names = dict(headers)
        async with asyncio.timeout(DEADLINE_S):
            if method == "HEAD" or status in (204, 304):
                body = b""
            elif names.get("transfer-encoding") == "chunked":
                assert "content-length" not in names
                body = b"".join([piece async for piece in self.chunks()])
            elif "content-length" in names:
                body = await self.reader.readexactly(int(names["content-length"]))
            else:
                assert names.get("connection") == "close"
                body = await self.reader.read()
        return Answer(status, headers, body, "transfer-encoding" in names)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces of a chunked body, to its end."""
        while True:
            async with asyncio.timeout(DEADLINE_S):
                size = int((await self.reader.readuntil(b"\r\n"))[:-2], 16)
                piece = (await self.reader.readexactly(size + 2))[:-2]
            if not size:
                return
            yield piece

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def is_closed(self) -> bool:
        """Waits for the end; true when nothing more came before it."""
        return await self.rest() == b""

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass

    def abort(self) -> None:
        """Leave at once."""
        self.writer.transport.abort()


def request(
    body: bytes | dict[str, Any] | None = None,
    *,
    path: str = CHAT,
    method: str = "POST",
    head: str = "",
    host: str = "localhost",
    version: str = "1.1",
) -> bytes:
    """The bytes of a well-formed request; `head` is more header lines, each ending in CRLF."""
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    lines = f"{method} {path} HTTP/{version}\r\nHost: {host}\r\n{head}"
    if content is not None:
        lines += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return lines.encode("latin-1") + b"\r\n" + (content or b"")


def chat(text: str = "hello", model: str = "m", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


# -- the gateway ---------------------------------------------------------------------------------------------


class Gate:
    """A running gateway and what a test asks of it."""

    def __init__(self, gateway: app.Gateway) -> None:
        self.gateway = gateway

    @property
    def connections(self) -> dict[str, set[Any]]:
        """The open ones of each listener, as the gateway counts them."""
        return {door.lane.name: door.connections for door in self.gateway.doors}

    def port(self, listener: str = "front door") -> int:
        return next(door.port for door in self.gateway.doors if door.lane.name == listener)

    @contextlib.asynccontextmanager
    async def client(self, listener: str = "front door", limit: int = 2**16) -> AsyncIterator[Client]:
        """A fresh connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port(listener), limit=limit)
        client = Client(reader, writer)
        try:
            yield client
        finally:
            await client.close()

    async def ask(self, data: bytes, listener: str = "front door", method: str = "POST") -> Answer:
        """One request on a connection of its own."""
        async with self.client(listener) as client:
            await client.send(data)
            return await client.answer(method)

    def protocol(self, listener: str = "front door") -> Any:
        """The gateway's end of the only open connection."""
        (protocol,) = self.connections[listener]
        return protocol

    def pass_time(self, seconds: float, listener: str = "front door") -> None:
        """What the sweep does when so many seconds have passed without a byte."""
        now = asyncio.get_running_loop().time() + seconds
        for protocol in list(self.connections[listener]):
            protocol.sweep(now)

    async def rows(self) -> list[Receipt]:
        """The ledger, oldest first."""
        await self.gateway.ledger.close()
        return (await self.gateway.ledger.tail(1000))[::-1]


def config(
    models: dict[str, Model], *, limits: Limits | None = None, listeners: list[Listener] | None = None, **server: Any
) -> Config:
    """A configuration on free ports with its ledger in a folder that must be given to `running_gateway`."""
    return Config(
        server=Server(
            port=0, limits=limits or Limits(), listeners=listeners or [], drain_timeout=_seconds(0.0), **server
        ),
        models=models,
        roles={"standard": [next(iter(models))]} if models else {},
        routing=Routing(),
        log=Log(level="debug"),
    )


def _seconds(value: float) -> Any:
    from rolecast.config.schema import Seconds

    return Seconds(value)


def remote(url: str, **fields: Any) -> Model:
    """A model that the scripted worker plays."""
    return Model(backend="openai", url=url, parallel=fields.pop("parallel", 64), **fields)


@contextlib.asynccontextmanager
async def running_gateway(
    config: Config, folder: Path, file: Path | None = None, *, asks_remotes: bool = False
) -> AsyncIterator[Gate]:
    """The whole gateway of that configuration, on its sockets, in this event loop; its ledger is in `folder`.

    With `file`, the one the configuration was read from, it watches that. With `asks_remotes` it asks servers elsewhere
    for their health, which would come between the requests that a scripted worker judges.
    """
    storage = Storage(url=f"sqlite:///{folder / 'ledger.db'}", models=str(folder / "models"))
    config = msgspec.structs.replace(config, storage=storage)
    hurry = asyncio.Event()
    gateway = app.Gateway(config, file)
    if not asks_remotes:
        gateway.elsewhere.look = turns  # type: ignore[method-assign]
    async with app.serving(gateway, hurry):
        try:
            yield Gate(gateway)
        finally:
            hurry.set()


@pytest.fixture(scope="module")
def on_uvloop() -> tuple[str, dict[str, bool]]:
    """The event loop that a gateway runs on, one for a module that says `anyio_backend = on_uvloop`."""
    return "asyncio", {"use_uvloop": True}


@contextlib.contextmanager
def short_folder() -> Iterator[str]:
    """A folder whose path is short enough for a unix socket."""
    with tempfile.TemporaryDirectory(prefix="rc") as folder:
        yield folder


@contextlib.asynccontextmanager
async def pair(
    *, limits: Limits | None = None, model: dict[str, Any] | None = None, **server: Any
) -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    """A gateway with the model `m`, and the worker that plays it behind a unix socket."""
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            models = {"m": remote(worker.url, **(model or {}))}
            async with running_gateway(config(models, limits=limits, **server), Path(folder)) as gate:
                yield gate, worker


@contextlib.contextmanager
def clean(worker: ScriptedWorker, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """One test of a shared pair: nothing malformed reaches the worker, and nothing of ours goes wrong."""
    worker.reset()
    yield
    assert not worker.bad
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []
