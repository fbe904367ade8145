"""Damaged requests by the thousand over real sockets: nothing crashes, hangs, leaks or gets through to a stranger.

Each connection carries a marker of its own in every request body; the worker answers with the marker it finds.
`ROLECAST_FUZZ_REQUESTS` sets how many requests are sent (the default is a quick run), `ROLECAST_FUZZ_SEED` which,
and `ROLECAST_FUZZ_FIRST` the connection to begin with: a failure prints what is needed to see it again.
"""

import asyncio
import itertools
import json
import logging
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from gateway import (
    CHAT,
    DONE,
    SSE_HEAD,
    USAGE,
    Gate,
    Peer,
    Received,
    ScriptedWorker,
    chat,
    chunk,
    delta,
    message,
    pair,
    request,
    turns,
    until,
)

from rolecast.config.schema import Bytes, Limits
from rolecast.server.wire import WireProtocol

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(3600)]

REQUESTS = int(os.environ.get("ROLECAST_FUZZ_REQUESTS", "3000"))
SEED = int(os.environ.get("ROLECAST_FUZZ_SEED", "1"))
FIRST = int(os.environ.get("ROLECAST_FUZZ_FIRST", "0"))
CONNECTIONS = 8
HANG_S = 30.0
OLLAMA = "/api/chat"
KEY = "Authorization: Bearer sesame\r\n"
MARKER = re.compile(rb"mk-[0-9a-f]{16}")
REFUSALS = {400, 401, 403, 404, 405, 408, 413, 415, 422, 431}


@pytest.fixture
def anyio_backend() -> Any:
    return "asyncio", {"use_uvloop": True}


# -- what is sent ----------------------------------------------------------------------------------------------


class Session:
    """The requests of one connection, before and after they were damaged. Follows from seed and number alone."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.rng = rng = random.Random(f"{SEED}:{number}")
        self.marker = b"mk-%016x" % rng.getrandbits(64)
        self.plain = rng.random() < 0.15
        self.kinds = [rng.choice(KINDS) for _ in range(rng.choice((1, 1, 2, 3, 4, 6)))]
        if self.plain:
            self.kinds = [k for k in self.kinds if k is not leaving] or [hot]
        # The same head again and again is what clients send, and what the gateway recognises.
        heads = _headers(rng) if rng.random() < 0.5 else None
        self.requests = [kind(rng, self.marker.decode(), heads or _headers(rng)) for kind in self.kinds]
        data = b"".join(self.requests)
        if not self.plain:
            for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
                data = rng.choice(DAMAGE)(rng, data)
        self.data = data
        self.paced = rng.random() < 0.4
        """Each request waits for the answer to the one before it, as far as the damage lets tell them apart."""
        self.cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 0, 1, 2, 8))))
        if self.paced:
            ends = itertools.accumulate(len(r) for r in self.requests)
            self.cuts = [end for end in ends if end < len(data) and rng.random() < 0.7]
        self.leaves_early = not self.plain and rng.random() < 0.03
        self.waits_out = rng.random() < 0.3

    @property
    def pieces(self) -> list[bytes]:
        edges = [0, *self.cuts, len(self.data)]
        return [p for a, b in itertools.pairwise(edges) if (p := self.data[a:b])]


def _fields(rng: random.Random, marker: str) -> dict[str, Any]:
    fields = chat(f"{marker} {'x' * rng.choice((0, 0, 10, 500, 5000))}")
    fields["stream"] = rng.random() < 0.4
    if rng.random() < 0.2:
        fields["stream_options"] = {"include_usage": rng.random() < 0.5}
    if rng.random() < 0.1:
        fields["extra_body"] = {"top_k": 5}
    return fields


def _headers(rng: random.Random) -> str:
    lines = ["Accept: */*", "User-Agent: fuzz", "X-Content-Length: 3", f"X-Trace-Id: t{rng.randrange(99)}"]
    lines += ["Connection: keep-alive", "Origin: http://localhost:3000", "X-Request-Id: r", "X: Content-Length: 4"]
    return "".join(f"{line}\r\n" for line in rng.sample(lines, rng.randrange(4))) + KEY


def hot(rng: random.Random, marker: str, head: str) -> bytes:
    return request(_fields(rng, marker), head=head)


def hot_in_chunks(rng: random.Random, marker: str, head: str) -> bytes:
    body = json.dumps(_fields(rng, marker)).encode()
    step = rng.choice((7, 50, 1000))
    pieces = [chunk(body[i : i + step]) for i in range(0, len(body), step)]
    trailers = rng.choice((b"", b"X-Trailer: 1\r\n", b"Host: evil.example\r\n"))
    start = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\n{head}Transfer-Encoding: chunked\r\n\r\n"
    return start.encode() + b"".join(pieces) + b"0\r\n" + trailers + b"\r\n"


def hot_completion(rng: random.Random, marker: str, head: str) -> bytes:
    return request({"model": "m", "prompt": marker}, path="/v1/completions?a=b", head=head)


def expecting(rng: random.Random, marker: str, head: str) -> bytes:
    return request(_fields(rng, marker), head=head + "Expect: 100-continue\r\n")


def upgrading(rng: random.Random, marker: str, head: str) -> bytes:
    head = head.replace("Connection: keep-alive\r\n", "") + "Connection: Upgrade\r\nUpgrade: h2c\r\n"
    return request(_fields(rng, marker), head=head)


def spelt_otherwise(rng: random.Random, marker: str, head: str) -> bytes:
    return request(_fields(rng, marker), path=rng.choice(("/v1/chat/%63ompletions", "/api//chat/")), head=head)


def converted(rng: random.Random, marker: str, head: str) -> bytes:
    return request(_fields(rng, marker), path=OLLAMA, head=head)


def page(rng: random.Random, marker: str, head: str) -> bytes:
    path = rng.choice(("/health", "/v1/models", "/admin/requests?limit=1", f"/nothing/{marker}", CHAT, OLLAMA))
    return request(path=path, method=rng.choice(("GET", "GET", "HEAD", "OPTIONS")), head=head)


def admin(rng: random.Random, marker: str, head: str) -> bytes:
    return request({"model": "m"}, path="/admin/load", head=head)


def wrong(rng: random.Random, marker: str, head: str) -> bytes:
    return request(rng.choice((b"{", b"[]", b"{}", b'{"model":"nobody","messages":[{"role":"user"}]}')), head=head)


def leaving(rng: random.Random, marker: str, head: str) -> bytes:
    version, line = rng.choice((("1.1", "Connection: close\r\n"), ("1.0", ""), ("1.0", "Connection: keep-alive\r\n")))
    return request(_fields(rng, marker), version=version, head=KEY + line)


KINDS = [hot, hot, hot, hot, hot_in_chunks, hot_in_chunks, hot_completion, expecting, upgrading, spelt_otherwise]
KINDS += [converted, converted, page, page, admin, wrong, leaving]
OK = {hot, hot_in_chunks, hot_completion, expecting, upgrading, spelt_otherwise, converted, admin}


# -- how it is damaged -----------------------------------------------------------------------------------------

TOKENS = [
    *(bytes([n]) for n in (0, 9, 10, 11, 13, 27, 32, 34, 44, 47, 48, 58, 59, 63, 127, 128, 255)),
    b"\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b"\r\n ",
    b"0\r\n\r\n",
    b"0",
    b"5\r\n",
    b"-1",
    b"ffffffffffffffff",
    b"Content-Length: 5\r\n",
    b"\r\nContent-Length: 0\r\n",
    b"content-length: 99999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Host: evil.example\r\n",
    b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\n",
    b"POST /api/chat HTTP/1.1\r\n",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"\xef\xbb\xbf",
    b"[" * 5000,
    b"x" * 9000,
    b"X: y\r\n" * 60,
]


def flip(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def replace(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.choice(TOKENS) + data[at + 1 :]


def insert(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(TOKENS) + data[at:]


def cut_out(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 1, 2, 4, 50)) :] or b"G"


def repeat(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    part = data[at : at + rng.choice((1, 2, 20, 300))]
    return data[:at] + part + data[at:]


def truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(1, len(data) + 1)]


def splice(rng: random.Random, data: bytes) -> bytes:
    a, b = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
    return data[:b] + data[a:]


def garbage(rng: random.Random, data: bytes) -> bytes:
    return data + rng.randbytes(rng.choice((1, 5, 100)))


def line(rng: random.Random, data: bytes) -> bytes:
    """Repeat, drop, swap or move a line break of some lines."""
    lines = data.split(b"\r\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            lines.insert(other, lines[at])
        case 1:
            del lines[at]
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            lines[at] = lines[at] + rng.choice((b"\n", b"\r", b" ", b"\t", b"\r\n\t")) + lines[other]
    return b"\r\n".join(lines) or b"G"


def number(rng: random.Random, data: bytes) -> bytes:
    """Change one number: a length, a chunk's size, a version."""
    found = list(re.finditer(rb"(?<=: )\d+(?=\r)|(?<=\n)[0-9a-f]+(?=\r)|(?<=/1\.)\d", data))
    if not found:
        return data + b"1"
    spot = rng.choice(found)
    text = spot[0].decode()
    value = int(text, 16)
    changes = [value + 1, value - 1, value + rng.randrange(2000), value // 2, 0, 2**31, 2**64 + value, -value]
    new = rng.choice(
        [str(c) for c in changes] + [f"0{text}", f"+{text}", f"0x{text}", f" {text}", f"{text} ", f"{text},{text}"]
    )
    return data[: spot.start()] + new.encode() + data[spot.end() :]


DAMAGE: list[Callable[[random.Random, bytes], bytes]] = [
    *(flip, flip, replace, insert, insert, cut_out, repeat, truncate, splice, garbage),
    *(line, line, line, number, number, number),
]


# -- who answers -----------------------------------------------------------------------------------------------


class Echo:
    """A worker that answers with the marker it finds, in a form that follows from the request."""

    def __init__(self) -> None:
        self.answered = 0
        self.owners: dict[bytes, bytes] = {}
        """What each open connection sent, by its marker."""
        self.problems: list[str] = []

    async def __call__(self, peer: Peer, received: Received) -> None:
        self.answered += 1
        body = received.body
        markers = set(MARKER.findall(body))
        fields = json.loads(body)
        if not isinstance(fields, dict):
            self.problems.append(f"no object reached the worker: {body[:200]!r}")
        ours = markers & set(self.owners)
        if len(ours) > 1:
            self.problems.append(f"requests of two connections were mixed: {body[:200]!r}")
        marker = min(markers, default=b"mk-none")
        if fields.get("stream"):
            events = [delta(marker.decode()), delta("two"), USAGE, DONE]
            await peer.send_split(SSE_HEAD + chunk(events[0]), b"".join(map(chunk, events[1:])) + b"0\r\n\r\n")
        elif len(body) % 4 == 0:
            whole = message(_answer(marker, b""), head=b"X: %b\r\n" % marker)
            await peer.send_split(whole[:50], whole[50:])
        else:
            await peer.send(message(_answer(marker, b',"usage":{"prompt_tokens":1}')))


def _answer(marker: bytes, more: bytes) -> bytes:
    told = b'{"message":{"role":"assistant","content":"%b"}}' % marker
    return b'{"marker":"%b","choices":[%b]%b}' % (marker, told, more)


# -- who asks ----------------------------------------------------------------------------------------------------


class Wire(asyncio.Protocol):
    """The client's end: collects everything that comes."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.ended = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


class Fuzz:
    """Runs sessions against one gateway and judges what comes back."""

    def __init__(self, front: Gate, echo: Echo) -> None:
        self.front = front
        self.echo = echo
        self.sent = 0
        self.statuses: Counter[int] = Counter()

    async def run(self, session: Session) -> None:
        try:
            async with asyncio.timeout(HANG_S):
                got = await self._talk(session)
            self._judge(session, got)
        except TimeoutError:
            pytest.fail(f"hangs: {_again(session)}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{_again(session)}") from error
        finally:
            self.echo.owners.pop(session.marker, None)
        assert not self.echo.problems, f"{self.echo.problems}\n{_again(session)}"

    async def _talk(self, session: Session) -> bytes:
        self.echo.owners[session.marker] = session.data
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(Wire, "127.0.0.1", self.front.port())
        try:
            return await self._exchange(session, wire)
        finally:
            wire.transport.abort()

    async def _exchange(self, session: Session, wire: Wire) -> bytes:
        loop = asyncio.get_running_loop()
        name = wire.transport.get_extra_info("sockname")
        sent = 0
        for piece in session.pieces:
            if sent and session.paced:
                protocol = await self._end_of(name)
                if protocol is not None:
                    await self._settled(protocol, sent, wire)
            elif sent:
                await turns(2)
            if wire.ended.is_set():
                break
            wire.transport.write(piece)
            sent += len(piece)
        self.sent += len(session.requests)
        if session.leaves_early:
            wire.transport.abort()
            await wire.ended.wait()
            return b""
        protocol = await self._end_of(name)
        if protocol is not None:
            await self._settled(protocol, sent, wire)
            if session.waits_out and protocol.phase and not protocol.transport.is_closing():
                protocol.sweep(loop.time() + 1000)  # a request that is not complete is given up
                await self._settled(protocol, sent, wire)
        if not wire.ended.is_set():
            wire.transport.write_eof()
        await wire.ended.wait()
        return bytes(wire.got)

    async def _end_of(self, name: tuple[str, int]) -> Any:
        """The gateway's end of a connection; None when it has gone already."""
        for _ in range(1000):
            for protocol in self.front.connections["front door"]:
                if protocol.client == name:
                    return protocol
            await asyncio.sleep(0)
        return None

    async def _settled(self, protocol: Any, sent: int, wire: Wire) -> None:
        """Until everything sent was read and everything read was answered as far as it can be."""
        while not wire.ended.is_set() and protocol.parser is not None:
            running = protocol.running
            idle = (running is None or running.response_complete or waits_for_input(running)) and not protocol.pipeline
            if idle and (protocol.seen >= sent or protocol.input_closed):
                return
            await asyncio.sleep(0)

    def _judge(self, session: Session, got: bytes) -> None:
        strangers = set(MARKER.findall(got)) & set(self.echo.owners) - {session.marker}
        assert not strangers, f"the answer of another connection came: {strangers}"
        answers = parse(got, session)
        self.statuses.update(status for status, _ in answers)
        for status, body in answers:
            assert status in (200, 204, 307) or status in REFUSALS, f"status {status}: {body[:300]!r}"
            if status in REFUSALS and body:
                error = json.loads(body)
                assert set(error) == ({"error"} if isinstance(error["error"], str) else {"error", "detail"}), body
        if session.plain:
            assert len(answers) == len(session.requests), f"{len(answers)} answers"
            for kind, (status, body) in zip(session.kinds, answers, strict=True):
                if kind in OK:
                    assert status == 200, (status, body)
                if kind in OK and kind is not admin:
                    assert MARKER.findall(body) == [session.marker] * body.count(b"mk-"), body
                    assert session.marker in body


def waits_for_input(cycle: Any) -> bool:
    """Whether a request is let in but its body is not complete."""
    return not cycle.complete if hasattr(cycle, "complete") else cycle.more_body


def parse(data: bytes, session: Session) -> list[tuple[int, bytes]]:
    """The answers in a byte stream, read strictly; a last one may be cut off by our own leaving."""
    answers: list[tuple[int, bytes]] = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, f"half a head: {head!r}"
        first, *lines = head.split(b"\r\n")
        assert re.fullmatch(rb"HTTP/1\.1 \d{3} [A-Za-z' -]*", first), first
        status = int(first[9:12])
        headers = {}
        for text in lines:
            name, colon, value = text.partition(b": ")
            assert colon, lines
            assert name not in headers, lines
            headers[name] = value
        if status == 100:
            assert not headers
            continue
        body, data = _body(status, headers, data, session)
        answers.append((status, body))
        if headers.get(b"connection") == b"close":
            assert not data, f"something came after the end: {data[:200]!r}"
    return answers


def _body(status: int, headers: dict[bytes, bytes], data: bytes, session: Session) -> tuple[bytes, bytes]:
    if status in (204, 304):
        return b"", data
    if headers.get(b"transfer-encoding") == b"chunked":
        body = b""
        while True:
            size, end, data = data.partition(b"\r\n")
            if not end:  # we left while the stream ran
                return body, b""
            length = int(size, 16)
            piece, data = data[:length], data[length:]
            assert data.startswith(b"\r\n")
            data = data[2:]
            if not length:
                return body, data
            body += piece
    if b"content-length" in headers:
        length = int(headers[b"content-length"])
        if b"HEAD" in session.data and (not data or data.startswith(b"HTTP/1.1 ")):
            return b"", data
        assert len(data) >= length, "a short body"
        return data[:length], data[length:]
    assert headers.get(b"connection") == b"close", headers
    return data, b""


def _again(session: Session) -> str:
    again = f"ROLECAST_FUZZ_SEED={SEED} ROLECAST_FUZZ_FIRST={session.number} ROLECAST_FUZZ_REQUESTS=1"
    return f"see it again with {again}\nsent in pieces: {session.pieces!r}"[:20_000]


# -- the test ------------------------------------------------------------------------------------------------------


async def test_damaged_requests_do_no_harm(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    count_input(monkeypatch)
    limits = Limits(body=Bytes(100_000), head=Bytes(8000), headers=50)
    async with pair(limits=limits, keys=["sesame"]) as (front, worker):
        echo = Echo()
        worker.usual, worker.keep = echo, False
        fuzz = Fuzz(front, echo)
        began = time.perf_counter()
        first_rss = await _run_all(fuzz)
        took = time.perf_counter() - began
        await until(lambda: not front.connections["front door"] and not front.gateway.dispatch.active, "all is over")
        grown = psutil.Process().memory_info().rss - first_rss
        with capfd.disabled():
            print(f"\nseed {SEED}: {fuzz.sent} requests in {took:.1f} s ({fuzz.sent / took:.0f}/s)")
            print(f"{echo.answered} reached the worker; memory grew by {grown / 2**20:.1f} MiB")
            print(f"answers by status: {dict(sorted(fuzz.statuses.items()))}")
        await _still_well(front, worker)
        assert grown < 32 * 2**20
        assert not worker.bad, f"malformed requests reached the worker: {worker.bad[:3]}"
        assert fuzz.statuses[200] > fuzz.sent / 10, "the fuzz hardly ever hits"
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []


def count_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the gateway's connections counts the bytes that it has read."""
    original = WireProtocol.data_received

    def data_received(self: Any, data: bytes) -> None:
        original(self, data)
        self.seen += len(data)

    monkeypatch.setattr(WireProtocol, "seen", 0, raising=False)
    monkeypatch.setattr(WireProtocol, "data_received", data_received)


async def _run_all(fuzz: Fuzz) -> int:
    """Several connections at a time until enough was sent; the memory in use after the first tenth."""
    numbers = iter(range(FIRST, 10**9))
    rss = 0

    async def client() -> None:
        nonlocal rss
        for number in numbers:
            if fuzz.sent >= REQUESTS:
                return
            await fuzz.run(Session(number))
            if not rss and fuzz.sent >= REQUESTS // 10:
                rss = psutil.Process().memory_info().rss

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(client())
    return rss


async def _still_well(front: Gate, worker: ScriptedWorker) -> None:
    assert front.gateway.fleet.worker("m").active == 0
    async with front.client() as client:
        for _ in range(3):
            await client.send(request(chat("mk-0000000000000000"), head=KEY))
            assert (await client.answer()).json["marker"] == "mk-0000000000000000"
            await client.send(request(path="/health", method="GET"))
            assert (await client.answer()).json["status"] == "healthy"
