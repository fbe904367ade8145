#!/usr/bin/env python3
"""A relay that does nothing: bytes in, the same bytes out, one connection to the upstream for each of a client.

It parses, checks, routes, counts and records nothing, so no gateway on this event loop can cost less. The
difference to it is what Rolecast's own work costs.
"""

import argparse
import asyncio

import uvloop


class Upstream(asyncio.Protocol):
    """The upstream's end: what it says goes to the client."""

    def __init__(self, client: asyncio.Transport) -> None:
        self.client = client

    def data_received(self, data: bytes) -> None:
        self.client.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.client.close()


class Client(asyncio.Protocol):
    """The client's end; what comes before the upstream is connected waits."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.upstream: asyncio.Transport | None = None
        self.early = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.connecting = asyncio.get_running_loop().create_task(self.connect())

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        self.upstream, _ = await loop.create_connection(lambda: Upstream(self.transport), "127.0.0.1", self.port)
        self.upstream.write(self.early)

    def data_received(self, data: bytes) -> None:
        if self.upstream is None:
            self.early += data
        else:
            self.upstream.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.connecting.cancel()
        if self.upstream is not None:
            self.upstream.close()


async def serve(pairs: list[tuple[int, int]]) -> None:
    loop = asyncio.get_running_loop()
    for port, upstream in pairs:
        await loop.create_server(lambda upstream=upstream: Client(upstream), "127.0.0.1", port, backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("pairs", nargs="+", help="LISTEN:UPSTREAM, both ports")
    given = [tuple(map(int, pair.split(":"))) for pair in p.parse_args().pairs]
    uvloop.run(serve(given))
