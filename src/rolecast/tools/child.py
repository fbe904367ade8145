"""The process that holds the connections to servers of MCP, for the gateway alone (`processes/helper.py`).

A server that sends too much, or never ends, costs this process and no other. It learns the servers from the gateway,
with what is secret, over its unix socket: never by its arguments or its environment, which others can read.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
import uvicorn
from starlette.types import Receive, Scope, Send

from rolecast.processes.lifeline import end_with_gateway
from rolecast.telemetry.quiet import log_quietly
from rolecast.tools.connection import Connection
from rolecast.tools.wire import Call, Offer, Offered, Result, Setup, Told, Wanted

MOST_OFFERED = 128
"""Models are offered so many tools at once; what is beyond that is left out."""
UNKNOWN = 409
"""The gateway means other servers than those that are known here."""


class Toolkit:
    """All servers."""

    def __init__(self) -> None:
        self._digest = ""
        self._servers: dict[str, Connection] = {}
        self._setting = asyncio.Lock()

    async def setup(self, setup: Setup) -> None:
        """From now on these are the servers; what did not change stays connected."""
        async with self._setting:
            if setup.digest == self._digest:
                return
            before, self._servers = self._servers, {}
            for server in setup.servers:
                old = before.get(server.name)
                same = old is not None and old.server == server
                self._servers[server.name] = before.pop(server.name) if same else Connection(server)
            self._digest = setup.digest
            for gone in before.values():
                asyncio.ensure_future(gone.close())  # noqa: RUF006  # kept by its connection's own task

    def knows(self, digest: str) -> bool:
        """Whether both mean the same servers."""
        return bool(digest) and digest == self._digest

    async def offer(self, wanted: Wanted) -> Offer:
        """The tools of those servers, connected side by side."""
        there = [self._servers[name] for name in wanted.servers if name in self._servers]
        found = await asyncio.gather(*(each.offered() for each in there))
        tools: list[Offered] = [tool for tools in found for tool in tools]
        missing = [(each.server.name, each.missing) for each in there if each.missing]
        if len(tools) > MOST_OFFERED:
            text = f"{len(tools)} tools are allowed, and {MOST_OFFERED} are offered at once"
            missing.append((tools[MOST_OFFERED].server, text))
        return Offer(tuple(tools[:MOST_OFFERED]), tuple(missing))

    async def call(self, call: Call) -> Result:
        """Run a tool."""
        connection = self._servers.get(call.server)
        if connection is None:
            return Result("The tool's server is not there any more.", True, "refused")
        arguments = msgspec.json.decode(call.arguments)
        return await connection.call(call.tool, arguments, call.timeout_s, call.most_chars)

    async def look(self, wanted: Wanted) -> Told:
        """How those servers are, after a try to connect."""
        there = [self._servers[name] for name in wanted.servers if name in self._servers]
        return Told(tuple(await asyncio.gather(*(each.look() for each in there))))

    async def close(self) -> None:
        """End all connections."""
        await asyncio.gather(*(each.close() for each in self._servers.values()), return_exceptions=True)


class App:
    """The toolkit as a small web application. Who hangs up ends what it asked for."""

    def __init__(self, toolkit: Toolkit) -> None:
        self._toolkit = toolkit
        self._does: dict[str, tuple[type[Any], Callable[[Any], Awaitable[Any]]]] = {
            "/offer": (Wanted, toolkit.offer),
            "/call": (Call, toolkit.call),
            "/look": (Wanted, toolkit.look),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self._toolkit.close()
            await send({"type": "lifespan.shutdown.complete"})
            return
        path, body = scope["path"], await _body(receive)
        if path == "/health":
            await _answer(send, 200, {})
        elif path == "/setup":
            await self._toolkit.setup(msgspec.json.decode(body, type=Setup))
            await _answer(send, 200, {})
        elif path not in self._does:
            await _answer(send, 404, {})
        else:
            kind, do = self._does[path]
            asked = msgspec.json.decode(body, type=kind)
            if not self._toolkit.knows(asked.digest):
                await _answer(send, UNKNOWN, {})
                return
            await _while_there(do(asked), receive, send)


async def _while_there(work: Awaitable[Any], receive: Receive, send: Send) -> None:
    """Do something and answer with it, unless who asked hangs up: then it is cancelled."""
    doing = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(receive())
    try:
        await asyncio.wait({doing, gone}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            await _answer(send, 200, doing.result())
    finally:
        gone.cancel()
        doing.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await doing


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return b"".join(parts)


async def _answer(send: Send, status: int, value: Any) -> None:
    data = msgspec.json.encode(value)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


def main() -> None:
    """Run as a program: the path of the socket is its argument."""
    end_with_gateway()
    log_quietly()
    uvicorn.run(
        App(Toolkit()),
        uds=sys.argv[1],
        log_config=None,
        access_log=False,
        http="httptools",
        ws="none",
        lifespan="on",
        timeout_keep_alive=3600,
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
