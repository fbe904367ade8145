#!/usr/bin/env python3
"""Client, gateway and a fake model server on one event loop, for measuring what a request or an event takes.

    inprocess.py SOURCE WORK [WORK ...] --count N

SOURCE is the source tree of the gateway. A WORK is `request`, or `stream:DIALECT:SIZE`: a stream of events of which
SIZE come in one read. `direct:` before a WORK leaves the gateway out: there the DIALECT is the fake server's. Prints
the CPU microseconds of each. With `--borders LIBRARY` it calls that library's `begin` once and its `border` at every
border of what is measured, which is how instructions.py counts.

The client asks for more only when it has what was sent, so nothing depends on time: two runs do the same.
"""

import argparse
import asyncio
import contextlib
import ctypes
import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable

import asking
import uvloop

ANSWER = (
    b'{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"hello there"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}'
)
REPLY = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PARTIAL = 100
"""Requests or events of the shorter of two turns; their difference holds no start and no end."""
STOPPED = {"COMPILE_AFTER_S": 1e6, "FLUSH_S": 3600.0, "SWEEP_S": 3600.0, "FLUSH_ROWS": 100}
BORDERS = 3
"""Of what is measured: before both turns, between, and after them."""


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Server(asyncio.Protocol):
    """A connection of the fake model server. Of a stream it sends so much at a time as it is told to."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.got += data
        end = self.got.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.got[:end].lower()
        place = head.find(b"content-length: ")
        length = int(head[place + 16 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
        if len(self.got) < end + 4 + length:
            return
        self.got = b""
        if self.world.pieces:
            self.world.server = self
            self.transport.write(STREAM)
            self.world.more()
        else:
            self.transport.write(REPLY)


class Client(asyncio.Protocol):
    """A connection that asks again as soon as it is answered."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        world = self.world
        if data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 200"):
            self.got = b""
            world.over(data)
        elif world.way is not None:
            world.seen += data.count(world.way.mark)
            if data.endswith(b"0\r\n\r\n"):
                world.over(data)
            elif world.seen >= world.sent:
                world.more()
        else:
            self.take(data)

    def take(self, data: bytes) -> None:
        """Some more of a plain answer."""
        world = self.world
        self.got += data
        end = self.got.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.got[:end]
        place = head.find(b"content-length: ")
        if len(self.got) >= end + 4 + int(head[place + 16 :].split(b"\r\n", 1)[0]):
            self.got = b""
            world.left -= 1
            if world.left < 0:
                world.over(data)
            else:
                self.transport.write(world.request)


class World:
    """What client and server of one measurement share."""

    def __init__(self, library: str) -> None:
        self._library = ctypes.CDLL(library) if library else None
        self.loop = asyncio.get_running_loop()
        self.server: Server | None = None
        self.way: asking.Way | None = None
        self.request = b""
        self.left = 0
        self.pieces: list[bytes] = []
        self.last = b""
        self.seen = self.sent = 0
        self.size = 1
        self.borders = 0

    def border(self) -> None:
        """What is measured begins or ends here."""
        self.borders += 1
        if self._library is not None:
            self._library.border()

    def begin(self) -> None:
        """From here on it is worth counting."""
        if self._library is not None:
            self._library.begin()

    def more(self) -> None:
        """The next events, in one write."""
        assert self.server is not None
        if self.sent >= len(self.pieces):
            self.server.transport.write(chunk(self.last) + b"0\r\n\r\n")
            return
        some = self.pieces[self.sent : self.sent + self.size]
        self.sent += len(some)
        self.server.transport.write(b"".join(map(chunk, some)))

    def over(self, data: bytes) -> None:
        if not self.done.done():
            self.done.set_result(data)

    async def ask(self, port: int, way: asking.Way, model: str, *, events: int, size: int, count: int) -> None:
        """So many requests, or one stream of so many events."""
        body = way.body(model, events, stream=bool(events))
        head = b"POST %b HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self.request = head % (way.path.encode(), port, len(body)) + body
        before, self.pieces, self.last = asking.said(way.worker, events) if events else (b"", [], b"")
        if before:
            self.pieces[0] = before + self.pieces[0]
        self.way = way if events else None
        self.size, self.left, self.seen, self.sent = size, count, 0, 0
        self.done: asyncio.Future[bytes] = self.loop.create_future()
        transport, _ = await self.loop.create_connection(lambda: Client(self), "127.0.0.1", port)
        transport.write(self.request)  # type: ignore[union-attr]
        async with asyncio.timeout(120):
            last = await self.done
        assert b"HTTP/1.1 " not in last or last.startswith(b"HTTP/1.1 200"), last[:30].decode().strip()
        assert self.seen >= len(self.pieces), f"{way.title}: {self.seen} of {len(self.pieces)} events came"
        transport.abort()  # type: ignore[union-attr]
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def gateway(worker: int) -> AsyncIterator[Callable[[str], int]]:
    """A gateway before that server; its port by surface."""
    from rolecast import app
    from rolecast.config import schema

    stop_clocks()
    url = f"http://127.0.0.1:{worker}/v1"
    passes = {"markup": "pass"} if "markup" in schema.Model.__struct_fields__ else {}
    models = {
        "openai": schema.Model(backend="openai", url=url, **passes),
        "heard": schema.Model(backend="openai", url=url),
    }
    listeners = []
    with contextlib.suppress(ImportError):  # older sources have fewer of both
        from rolecast.backends.anthropic import AnthropicRemote  # noqa: F401

        models["anthropic"] = schema.Model(backend="anthropic", url=url, key="k")
    if "pas" in str(schema.Listener.__annotations__["surface"]):
        listeners = [schema.Listener(port=0, name="pas", model="openai", surface="pas")]
    config = schema.Config(
        server=schema.Server(port=0, listeners=listeners), models=models, roles={"standard": ["openai"]}
    )
    made = app.Gateway(config)
    if hasattr(made, "doors"):
        async with app.serving(made):
            yield lambda surface: list(made.doors)[bool(surface)].port
    else:  # as it was before ports followed an edit
        doors = list(app.bind(config, contextlib.ExitStack()))
        async with app.serving(made, doors):
            yield lambda surface: int(doors[0][0].url.rsplit(":", 1)[1])


def stop_clocks() -> None:
    """What the gateway does by the clock and not by the request waits; its books are written by the hundred."""
    for name, module in list(sys.modules.items()):
        for timer, value in STOPPED.items() if name.startswith("rolecast.") else ():
            if hasattr(module, timer):
                setattr(module, timer, value)


async def measure(world: World, work: str, count: int, worker: int, port: Callable[[str], int]) -> float:
    """CPU microseconds of one request or event."""
    work, direct = work.removeprefix("direct:"), work.startswith("direct:")
    kind, _, rest = work.partition(":")
    name, _, size = rest.partition(":")
    way = asking.WAYS[name or asking.PASSED]
    if direct:
        way = dataclasses.replace(way, worker=name or way.worker)
    where = worker if direct else port(way.surface)

    async def once(number: int) -> float:
        events = 0 if kind == "request" else number
        began = time.process_time()
        await world.ask(
            where, way, "heard" if way.heard else way.worker, events=events, size=int(size or 1), count=number
        )
        return time.process_time() - began

    await once(PARTIAL)
    await once(PARTIAL)
    world.border()
    short = await once(PARTIAL)
    world.border()
    long = await once(PARTIAL + count)
    world.border()
    return (long - short) / count * 1e6


async def main(args: argparse.Namespace) -> None:
    world = World(args.borders)
    server = await world.loop.create_server(lambda: Server(world), "127.0.0.1", 0)
    worker = server.sockets[0].getsockname()[1]
    async with gateway(worker) as port:
        world.begin()
        for work in args.work:
            try:
                print(work, f"{await measure(world, work, args.count, worker, port):.2f}", flush=True)
            except (AssertionError, TimeoutError, KeyError, IndexError) as error:
                print(work, "failed:", str(error).partition("\r\n")[0] or type(error).__name__, flush=True)
                for _ in range(BORDERS - world.borders):
                    world.border()
            world.borders = 0
        sys.stdout.flush()
        os._exit(0)  # nothing of the end is measured


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("work", nargs="+")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--borders", default="", metavar="LIBRARY")
    args = parser.parse_args()
    sys.path.insert(0, args.source)
    os.environ["ROLECAST_HOME"] = tempfile.mkdtemp(prefix="rolecast-bench-")
    uvloop.run(main(args))
