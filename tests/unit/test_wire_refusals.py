"""What a client is told whose request never becomes one: in the words of its path, if that is known, and in the usual
ones if it is not."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from gateway import (
    CHAT,
    DONE,
    Answer,
    Gate,
    Held,
    ScriptedWorker,
    chat,
    chunk,
    delta,
    on_uvloop,
    pair,
    request,
    until,
)

from rolecast.config.schema import Bytes, Limits

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

OLLAMA = "/api/chat"
KEY = "Authorization: Bearer sesame\r\n"
OK = {CHAT: chat(), OLLAMA: chat(stream=False)}
HOT = pytest.mark.parametrize("path", [CHAT, OLLAMA])
SPELT = pytest.mark.parametrize(
    ("path", "spelling"),
    [
        *((path, spelling) for path in (CHAT, OLLAMA) for spelling in (path, f"/{path}/", f"{path}?a=b", f"{path}#x")),
        (CHAT, "/v1/chat%2fcompletions"),
        (CHAT, "/chat/completions"),
        (OLLAMA, "/%61pi/chat"),
    ],
)


@pytest.fixture(scope="module")
async def both() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    limits = Limits(body=Bytes(2000), head=4000, headers=20, connections=3)
    async with pair(limits=limits, keys=["sesame"]) as (gate, worker):
        yield gate, worker


@pytest.fixture
async def gate(both: tuple[Gate, ScriptedWorker]) -> AsyncIterator[Gate]:
    gate, worker = both
    worker.reset()
    await until(lambda: not gate.connections["front door"])
    yield gate
    assert not worker.requests, "a refused request reached the worker"


def told(answer: Answer, path: str) -> str:
    """The text of an error in the shape of that path; any other shape fails."""
    assert answer.header("content-type") == "application/json"
    if path != OLLAMA:
        return str(answer.error["message"])
    assert list(answer.json) == ["error"], answer.body
    assert isinstance(answer.json["error"], str)
    return str(answer.json["error"])


def head(*lines: str, key: str = KEY, host: str = "Host: localhost\r\n") -> str:
    return host + key + "".join(f"{line}\r\n" for line in lines) + "\r\n"


REFUSED_HEADS = [
    (401, "An API key is needed", head(key="")),
    (401, "not valid", head(key="Authorization: Bearer wrong\r\n")),
    (403, "server.allowed_hosts", head(host="Host: evil.example\r\n")),
    (400, "malformed", head(host="Host: a b\r\n")),
    (403, "server.allowed_origins", head("Origin: http://evil.example")),
    (400, "Host header is missing", head(host="")),
    (400, "host is given more than once", head("Host: localhost")),
    (400, "content-type is given more than once", head("Content-Type: a", "Content-Type: b")),
    (400, "Transfer-Encoding", head("Transfer-Encoding: chunked, chunked")),
    (400, "not valid HTTP/1.1", head("Content-Length: 1", "Transfer-Encoding: chunked")),
    (400, "not valid HTTP/1.1", head("Content-Length: x")),
    (400, "not valid HTTP/1.1", head("A line without a colon")),
    (400, "upgraded", head("Connection: Upgrade", "Upgrade: h2c", "Transfer-Encoding: chunked")),
    (415, "Compressed", head("Content-Encoding: gzip", "Content-Length: 3")),
    (431, "server.limits.head", head(f"X: {'x' * 5000}")),
    (431, "more than 20 header lines", head(*(f"X-{n}: y" for n in range(30)))),
    (413, "server.limits.body", head("Content-Length: 3000")),
]


@pytest.mark.parametrize(("status", "text", "lines"), REFUSED_HEADS)
@pytest.mark.parametrize("method", ["POST", "GET"])
@HOT
async def test_a_refused_head_is_told_in_the_words_of_its_path(
    gate: Gate, path: str, method: str, status: int, text: str, lines: str
) -> None:
    answer = await gate.ask(f"{method} {path} HTTP/1.1\r\n{lines}".encode())
    assert answer.status == status
    assert text in told(answer, path)


@SPELT
async def test_a_refusal_knows_its_path_in_every_spelling(gate: Gate, path: str, spelling: str) -> None:
    for status, text, lines in REFUSED_HEADS:
        answer = await gate.ask(f"POST {spelling} HTTP/1.1\r\n{lines}".encode())
        assert answer.status == status, lines
        assert text in told(answer, path)


@HOT
@pytest.mark.parametrize("version", ["2.0", "1.2", "0.9"])
async def test_another_version_of_http_is_refused_in_the_words_of_its_path(gate: Gate, path: str, version: str) -> None:
    answer = await gate.ask(request(chat(), path=path, version=version))
    assert answer.status == 400
    assert "HTTP/1.1" in told(answer, path)


@HOT
async def test_a_request_that_went_in_circles_is_told_so_in_the_words_of_its_path(gate: Gate, path: str) -> None:
    way = "Via: " + ", ".join(f"1.1 rolecast-{n}" for n in range(8)) + "\r\n"
    answer = await gate.ask(request(chat(), path=path, head=KEY + way))
    assert answer.status == 508
    assert "8 gateways" in told(answer, path)


@HOT
@pytest.mark.parametrize(
    ("status", "text", "body"),
    [
        (400, "not valid HTTP/1.1", b"zz\r\n"),
        (413, "server.limits.body", chunk(b"x" * 3000)),
        (431, "server.limits.head", b"1;" + b"x" * 5000),
    ],
)
async def test_a_body_that_cannot_be_read_is_told_in_the_words_of_its_path(
    gate: Gate, path: str, status: int, text: str, body: bytes
) -> None:
    start = f"POST {path} HTTP/1.1\r\n{head('Transfer-Encoding: chunked')}".encode()
    async with gate.client() as client:
        await client.send(start, body)
        answer = await client.answer()
        assert answer.status == status
        assert text in told(answer, path)
        assert await client.is_closed()


@HOT
@pytest.mark.parametrize(
    ("lines", "what"), [("Host: localhost\r\nX", "head"), (head("Content-Length: 9") + "{", "body")]
)
async def test_who_is_too_slow_is_told_in_the_words_of_the_path(gate: Gate, path: str, lines: str, what: str) -> None:
    async with gate.client() as client:
        await client.send(f"POST {path} HTTP/1.1\r\n{lines}".encode())
        await until(lambda: gate.protocol().phase)
        gate.pass_time(100)
        answer = await client.answer()
        assert answer.status == 408
        assert what in told(answer, path)
        assert await client.is_closed()


@SPELT
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "PROPFIND"])
async def test_another_method_is_refused_in_the_words_of_the_path(
    gate: Gate, path: str, spelling: str, method: str
) -> None:
    async with gate.client() as client:
        for body in (None, b"{}"):
            await client.send(request(body, method=method, path=spelling, head=KEY))
            answer = await client.answer()
            assert (answer.status, answer.header("allow")) == (405, "POST")
            assert f"{method} is not possible" in told(answer, path)
            assert "use POST" in told(answer, path)
            assert path == OLLAMA or answer.error["code"] == "method_not_allowed"


@SPELT
async def test_head_is_refused_without_a_body(gate: Gate, path: str, spelling: str) -> None:
    async with gate.client() as client:
        for _ in range(2):
            await client.send(request(method="HEAD", path=spelling, head=KEY))
            answer = await client.answer("HEAD")
            assert (answer.status, answer.header("allow")) == (405, "POST")


@HOT
async def test_a_page_that_may_ask_can_read_every_refusal(gate: Gate, path: str) -> None:
    origin = "http://localhost:3000"
    line = f"Origin: {origin}\r\n"
    for data in (
        request(method="GET", path=path, head=KEY + line),
        request(chat(), path=path, head=line),
        request(chat(), path=path, head=KEY + line + "Content-Encoding: gzip\r\n"),
        request(b"x" * 3000, path=path, head=KEY + line),
    ):
        answer = await gate.ask(data)
        assert answer.status in (401, 405, 413, 415)
        assert answer.header("access-control-allow-origin") == origin


# -- where the path is not known -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"FOO /api/chat HTTP/1.1\r\n\r\n",
        b"POST",
        b"POST /api/ch\x01at HTTP/1.1\r\n\r\n",
        b"\r\n\r\n\x00",
        f"POST http://localhost{OLLAMA} HTTP/1.1\r\n{head()}".encode(),
        f"POST {OLLAMA}s HTTP/1.1\r\n{head(host='')}".encode(),
        f"GET /health HTTP/1.1\r\n{head('Host: localhost')}".encode(),
    ],
)
@pytest.mark.parametrize("apart", [True, False])
async def test_what_names_no_hot_path_is_refused_in_the_usual_words(
    both: tuple[Gate, ScriptedWorker], data: bytes, apart: bool
) -> None:
    gate, worker = both
    worker.reset()
    before = request(OK[OLLAMA], path=OLLAMA, head=KEY)
    async with gate.client() as client:
        if apart:
            await client.send(before)
            assert (await client.answer()).json["message"]["content"] == "hi"
            await client.send(data)
        else:
            await client.send(before + data)
            assert (await client.answer()).json["message"]["content"] == "hi"
        if data == b"POST":
            await until(lambda: gate.protocol().phase)
            gate.pass_time(100)
        answer = await client.answer()
        assert answer.status in (400, 408)
        assert answer.error["code"] in ("bad_http", "bad_host", "bad_target", "request_timeout")
        assert await client.is_closed()


async def test_a_connection_too_many_is_told_in_the_usual_words(gate: Gate) -> None:
    async with gate.client() as a, gate.client() as b, gate.client() as c:
        for client in (a, b, c):
            await client.send(request(path="/health", method="GET"))
            assert (await client.answer()).status == 200
        async with gate.client() as d:
            await d.send(request(path=OLLAMA, method="GET"))
            assert (await d.answer()).error["code"] == "too_many_connections"


@pytest.mark.parametrize(("first", "second"), [(CHAT, OLLAMA), (OLLAMA, CHAT)])
@pytest.mark.parametrize("bad", ["Host: localhost\r\n", "Content-Encoding: gzip\r\n", "Content-Length: 3000\r\n"])
async def test_a_refusal_behind_a_running_answer_of_another_dialect_keeps_its_words(
    both: tuple[Gate, ScriptedWorker], first: str, second: str, bad: str
) -> None:
    gate, worker = both
    worker.reset()
    slow = Held(delta("one"))
    worker.script.append(slow)
    async with gate.client() as client:
        running: dict[str, Any] = chat(stream=True)
        await client.send(request(running, path=first, head=KEY) + request(path=second, head=KEY + bad))
        await slow.began.wait()
        slow.let_go.set()
        answer = await client.answer()
        assert answer.status == 200
        assert (delta("one") + DONE == answer.body) == (first == CHAT)
        refused = await client.answer()
        assert refused.status in (400, 413, 415)
        assert told(refused, second)
        assert await client.is_closed()
    assert len(worker.requests) == 1


@pytest.mark.parametrize("path", ["/api/push", "/v1/responses/compact", "/nowhere", "/api/tags", "/admin/status"])
@pytest.mark.parametrize("line", ["Connection: close\r\n", ""])
async def test_a_page_that_answers_before_the_body_is_read_is_heard(path: str, line: str) -> None:
    body = b"x" * 4_000_000  # more than fits between the two: most is still to come when the answer is made
    async with pair(keys=["sesame"]) as (gate, _):
        assert (await gate.ask(request(body, path=path, head=line))).status == 401
        assert (await gate.ask(request(body, path=path, head=line + KEY))).status in (400, 404, 405)
