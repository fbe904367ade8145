"""A small HTTP/1.1 client for engine.py and soak.py: one connection, one answer, the times of its events.

Standard library only, so that both ends of a comparison are asked by exactly the same code.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field

from loadgen import KEY

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Broken(Exception):
    """The answer is not well-formed HTTP, or ended early."""


@dataclass
class Answer:
    """What came back. `events` are the arrival times in seconds of the `data:` lines, [DONE] included."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    events: list[float] = field(default_factory=list)
    usage: dict | None = None
    done: bool = False

    @property
    def reusable(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"


async def connect(address: str) -> Connection:
    """Open `unix:/path` or `host:port`."""
    if address.startswith("unix:"):
        path = "/" + address.removeprefix("unix:").lstrip("/")
        return await asyncio.open_unix_connection(path, limit=1 << 20)
    host, _, port = address.removeprefix("http://").rstrip("/").rpartition(":")
    return await asyncio.open_connection(host, int(port), limit=1 << 20)


def request(method: str, path: str, body: bytes = b"", key: str = KEY) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key}"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def read_head(reader: asyncio.StreamReader) -> Answer:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as e:
        raise Broken(f"the connection ended after {len(e.partial)} bytes of a header") from None
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return Answer(int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs})


async def chunks(reader: asyncio.StreamReader):
    """The chunks of a chunked body."""
    while True:
        size = int((await reader.readline()).split(b";")[0] or b"x", 16)
        data = await reader.readexactly(size + 2)
        if not size:
            return
        yield data[:-2]


async def read_answer(reader: asyncio.StreamReader, stop_after: int = 0) -> Answer:
    """Read one answer; with `stop_after`, return after that many events and leave the rest unread."""
    answer = await read_head(reader)
    try:
        if "content-length" in answer.headers:
            answer.body = await reader.readexactly(int(answer.headers["content-length"]))
        elif "chunked" in answer.headers.get("transfer-encoding", ""):
            await read_stream(reader, answer, stop_after)
        else:
            answer.body = await reader.read()
    except (asyncio.IncompleteReadError, ValueError) as e:
        raise Broken(f"the body ended early: {e!r}"[:120]) from None
    return answer


async def read_stream(reader: asyncio.StreamReader, answer: Answer, stop_after: int) -> None:
    rest = b""
    async for chunk in chunks(reader):
        now = time.perf_counter()
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            answer.events.append(now)
            data = line[5:].strip()
            if data == b"[DONE]":
                answer.done = True
            elif b'"usage"' in data:
                answer.usage = json.loads(data).get("usage") or answer.usage
        if stop_after and len(answer.events) >= stop_after:
            return


async def ask(address: str, method: str, path: str, body: object = None) -> Answer:
    """One request on a connection of its own."""
    reader, writer = await connect(address)
    try:
        writer.write(request(method, path, json.dumps(body).encode() if body is not None else b""))
        return await read_answer(reader)
    finally:
        writer.close()
