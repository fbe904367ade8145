"""The fast lane on the wire: framing, order, limits and time, seen from both ends of the gateway."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import psutil
import pytest
from gateway import (
    ANSWER,
    CHAT,
    DONE,
    SSE_HEAD,
    Gate,
    Held,
    Peer,
    Received,
    Script,
    ScriptedWorker,
    chat,
    chunk,
    delta,
    message,
    on_uvloop,
    pair,
    raw,
    reply,
    request,
    stream,
    turns,
    until,
)

from rolecast.config.schema import Limits, Listener, Seconds

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

HEALTH = request(path="/health", method="GET")
JSON = b"Content-Type: application/json\r\n"
OLLAMA = "/api/chat"
HOT = pytest.mark.parametrize("path", [CHAT, OLLAMA])
CHUNKED = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    async with pair(listeners=[Listener(port=0, name="solo", model="m")]) as both:
        yield both


async def test_many_requests_use_one_connection(front: Gate, worker: ScriptedWorker) -> None:
    async with front.client() as client:
        for number in range(20):
            await client.send(request(chat(f"number {number}")))
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, ANSWER)
            assert worker.requests[-1].json["messages"][0]["content"] == f"number {number}"
        assert len({r.peer for r in worker.requests}) == 1
        for _ in range(3):
            await client.send(HEALTH, request(chat()))
            assert (await client.answer()).json["status"] == "healthy"
            assert (await client.answer()).status == 200


async def test_pipelined_requests_of_both_lanes_are_answered_in_order_although_the_first_is_slow(
    front: Gate, worker: ScriptedWorker
) -> None:
    slow = Held(delta("one"))
    worker.script.append(slow)
    bodies = [b'{"number":%d}' % n for n in range(4)]
    worker.script.extend(reply(body) for body in bodies)
    hot = [request(chat(f"{n}")) for n in range(4)]
    async with front.client() as client:
        data = request(chat("slow", stream=True)) + HEALTH + hot[0] + hot[1]
        data += request(b"{", path="/v1/embeddings") + HEALTH + hot[2] + request(path="/none", method="GET") + hot[3]
        await client.send(data)
        await slow.began.wait()
        await turns()
        assert len(worker.requests) == 1, "a pipelined request overtook the first"
        slow.let_go.set()
        assert (await client.answer()).body == delta("one") + DONE
        assert (await client.answer()).json["status"] == "healthy"
        assert (await client.answer()).body == bodies[0]
        assert (await client.answer()).body == bodies[1]
        assert (await client.answer()).error["code"] == "bad_json"
        assert (await client.answer()).json["status"] == "healthy"
        assert (await client.answer()).body == bodies[2]
        assert (await client.answer()).status == 404
        assert (await client.answer()).body == bodies[3]


async def test_a_thousand_pipelined_requests_that_fail_at_once_are_all_answered(
    front: Gate, worker: ScriptedWorker
) -> None:
    slow = Held(delta("one"))
    worker.script.append(slow)
    async with front.client() as client:
        await client.send(request(chat("slow", stream=True)) + request(b"x") * 1000)
        await slow.began.wait()
        slow.let_go.set()
        assert (await client.answer()).status == 200
        for _ in range(1000):
            assert (await client.answer()).status == 400
        await client.send(request(chat()))
        assert (await client.answer()).status == 200


async def test_a_request_may_be_cut_at_every_byte(front: Gate, worker: ScriptedWorker) -> None:
    data = request(chat("cut"), head="X-Content-Length: 7\r\n")
    async with front.client() as client:
        for at in range(1, len(data)):
            await client.send(data[:at], data[at:])
            assert (await client.answer()).status == 200, data[:at]
    assert {r.body for r in worker.requests} == {json.dumps(chat("cut")).encode()}
    assert len(worker.requests) == len(data) - 1


async def test_a_chunked_body_may_be_cut_at_every_byte_and_carry_extensions_and_trailers(
    front: Gate, worker: ScriptedWorker
) -> None:
    body = json.dumps(chat("cut")).encode()
    data = CHUNKED + b"\r\n" + chunk(body[:7]) + b'a;name="va;l";x\r\n' + body[7:17] + b"\r\n" + chunk(body[17:])
    data += b"000\r\nX-Trailer: 1\r\nHost: evil.example\r\nAuthorization: Bearer x\r\n\r\n"
    async with front.client() as client:
        for at in range(1, len(data)):
            await client.send(data[:at], data[at:])
            assert (await client.answer()).status == 200, data[:at]
    assert {r.body for r in worker.requests} == {body}


async def test_trailers_do_not_change_what_was_judged(front: Gate) -> None:
    head = CHUNKED.replace(CHAT.encode(), b"/admin/load") + b"Content-Type: text/plain\r\n\r\n"
    trailers = b"0\r\nContent-Type: application/json\r\nHost: evil.example\r\nOrigin: http://evil.example\r\n\r\n"
    answer = await front.ask(head + chunk(b'{"model":"m"}') + trailers)
    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")


async def test_a_body_may_arrive_long_after_its_head(front: Gate, worker: ScriptedWorker) -> None:
    data = request(chat("x" * 100_000))
    head, body = data.split(b"\r\n\r\n", 1)
    async with front.client() as client:
        await client.send(head + b"\r\n\r\n")
        await turns(20)
        await client.send(*(body[i : i + 9000] for i in range(0, len(body), 9000)))
        assert (await client.answer()).status == 200
    assert worker.requests[-1].body == body


# -- Expect ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [CHAT, "/admin/load"])
async def test_a_client_that_asks_first_is_told_to_go_on(front: Gate, path: str) -> None:
    head, body = request(chat(), path=path, head="Expect: 100-Continue\r\n").split(b"\r\n\r\n", 1)
    async with front.client() as client:
        await client.send(head + b"\r\n\r\n")
        assert (await client.answer()).status == 100
        await client.send(body)
        assert (await client.answer()).status == 200


async def test_a_client_that_asks_first_waits_for_its_turn(front: Gate, worker: ScriptedWorker) -> None:
    slow = Held(delta("one"))
    worker.script.append(slow)
    head, body = request(chat(), head="Expect: 100-continue\r\n").split(b"\r\n\r\n", 1)
    async with front.client() as client:
        await client.send(request(chat(stream=True)) + head + b"\r\n\r\n")
        await slow.began.wait()
        slow.let_go.set()
        assert (await client.answer()).body == delta("one") + DONE
        assert (await client.answer()).status == 100
        await client.send(body)
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("path", [CHAT, "/admin/load"])
async def test_a_body_that_is_too_large_is_refused_before_it_is_sent(front: Gate, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
    async with front.client() as client:
        await client.send(head.encode())
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (413, "request_too_large")
        assert answer.header("connection") == "close"
        assert await client.is_closed()


async def test_a_wrong_key_is_refused_before_the_body_is_sent() -> None:
    async with pair(keys=["k"]) as (front, worker), front.client() as client:
        head, _ = request(chat(), head="Expect: 100-continue\r\nAuthorization: Bearer no\r\n").split(b"\r\n\r\n")
        await client.send(head + b"\r\n\r\n")
        assert (await client.answer()).status == 401
        assert await client.is_closed()
        assert not worker.requests


# -- methods, versions, targets ----------------------------------------------------------------------------


@HOT
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "PROPFIND"])
async def test_a_hot_path_takes_post_only(front: Gate, worker: ScriptedWorker, method: str, path: str) -> None:
    async with front.client() as client:
        await client.send(request(method=method, path=path) + HEALTH)
        answer = await client.answer(method)
        assert (answer.status, answer.header("allow")) == (405, "POST")
        assert method == "HEAD" or f"{method} is not possible at {path}" in answer.body.decode()
        assert (await client.answer()).status == 200
    assert not worker.requests


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/chat/completions", {"POST"}),
        ("GET", "/v1/embeddings/", {"POST"}),
        ("GET", "/api//chat/", {"POST"}),
        ("POST", "/health", {"GET", "HEAD"}),
        ("POST", "/v1/models", {"GET", "HEAD"}),
        ("DELETE", "/v1/models/m", {"GET", "HEAD"}),
        ("GET", "/admin/load", {"POST"}),
        ("PUT", "//admin/status", {"GET", "HEAD"}),
        ("POST", "/ui/app.js", {"GET", "HEAD"}),
    ],
)
async def test_a_refused_method_is_told_which_ones_are_taken(
    front: Gate, method: str, path: str, allowed: set[str]
) -> None:
    answer = await front.ask(request({} if method != "GET" else None, method=method, path=path))
    assert answer.status == 405
    assert set((answer.header("allow") or "").split(", ")) == allowed
    message = answer.json["error"] if path.startswith("/api/") else answer.error["message"]
    assert f"use {' or '.join(sorted(allowed))}." in message


@HOT
async def test_options_on_a_hot_path_is_a_preflight(front: Gate, path: str) -> None:
    answer = await front.ask(request(method="OPTIONS", path=path, head="Origin: http://localhost:3000\r\n"))
    assert answer.status == 204
    assert answer.header("access-control-allow-origin") == "http://localhost:3000"


@pytest.mark.parametrize("start", ["FOO / HTTP/1.1", "post /health HTTP/1.1", "CONNECT localhost:80 HTTP/1.1", "GET"])
async def test_what_is_no_known_method_ends_the_connection(front: Gate, start: str) -> None:
    async with front.client() as client:
        await client.send(f"{start}\r\nHost: localhost\r\n\r\n".encode() + HEALTH)
        assert (await client.answer()).status == 400
        assert await client.is_closed()


@pytest.mark.parametrize("version", ["0.9", "1.2", "2.0", "3.0", "9.9", "1", "1.1.1"])
async def test_other_versions_of_http_are_refused(front: Gate, worker: ScriptedWorker, version: str) -> None:
    answer = await front.ask(request(chat(), version=version))
    assert answer.status == 400
    assert not worker.requests


async def test_a_query_string_does_not_hide_a_hot_path(front: Gate, worker: ScriptedWorker) -> None:
    for path in (f"{CHAT}?api-version=1", f"{OLLAMA}?", "/chat/completions?a=b?c#d"):
        assert (await front.ask(request(chat(), path=path))).status == 200
    assert [r.line for r in worker.requests] == [f"POST {CHAT} HTTP/1.1"] * 3


async def test_a_hot_path_in_another_spelling_is_answered_alike(front: Gate, worker: ScriptedWorker) -> None:
    worker.script.append(stream(delta("a"), delta("b"), DONE))
    answer = await front.ask(request(chat(stream=True), path="/v1/chat/%63ompletions"))
    assert answer.body == delta("a") + delta("b") + DONE
    assert (await front.ask(request(chat(), path=f"{CHAT}#x"))).body == ANSWER
    assert (await front.ask(request(b"{", path="/v1/chat/%63ompletions"))).error["code"] == "bad_json"
    assert "not valid JSON" in (await front.ask(request(b"{", path="/api/%63hat"))).json["error"]


SPELLINGS = [
    "/v1//chat/completions",
    "//v1/chat/completions",
    "/v1/chat/completions/",
    "/v1/chat/completions//",
    "///v1///chat///completions///",
    "/v1/chat/completions/?api-version=1",
    "/v1//chat/completions#x",
    "//chat/completions",
    "/v1/%2Fchat/completions",
]
OLLAMAS_SPELLINGS = [
    "/api//chat",
    "//api/chat",
    "/api/chat/",
    "/api/chat//",
    "///api///chat///",
    "/api/chat/?api-version=1",
    "/api//chat#x",
    "/api/%2Fchat",
    "/%61pi/chat",
]


@pytest.mark.parametrize("path", [*SPELLINGS, *OLLAMAS_SPELLINGS])
async def test_slashes_too_many_change_nothing(front: Gate, worker: ScriptedWorker, path: str) -> None:
    async with front.client() as client:
        for _ in range(2):  # the second time from memory
            await client.send(request(chat(stream=False), path=path))
            answer = await client.answer()
            assert answer.status == 200
            if path in SPELLINGS:
                assert answer.body == ANSWER
            else:
                assert answer.json["message"] == {"role": "assistant", "content": "hi"}
    assert [r.line for r in worker.requests] == [f"POST {CHAT} HTTP/1.1"] * 2


@pytest.mark.parametrize(
    ("path", "same"),
    [
        ("/health/", "/health"),
        ("//health", "/health"),
        ("/v1/models/", "/v1/models"),
        ("/v1//models", "/v1/models"),
        ("/v1/models/m/", "/v1/models/m"),
        ("/ui/", "/ui"),
        ("/ui//app.js", "/ui/app.js"),
        ("/admin//requests/?limit=1", "/admin/requests?limit=1"),
        ("/metrics/", "/metrics"),
        ("//", "/"),
    ],
)
async def test_the_same_rule_holds_for_every_path(front: Gate, path: str, same: str) -> None:
    plain = await front.ask(request(method="GET", path=same), method="GET")
    sloppy = await front.ask(request(method="GET", path=path), method="GET")
    assert (sloppy.status, sloppy.header("content-type")) == (plain.status, plain.header("content-type"))
    assert sloppy.status == 200


async def test_a_path_with_v1_twice_is_told_so(front: Gate) -> None:
    answer = await front.ask(request(chat(), path="/v1/v1/chat/completions"))
    assert answer.status == 404
    assert "twice" in answer.error["message"]


async def test_an_http_1_0_client_gets_a_stream_that_ends_with_the_connection(
    front: Gate, worker: ScriptedWorker
) -> None:
    worker.script.append(stream(delta("a"), DONE))
    async with front.client() as client:
        await client.send(request(chat(stream=True), version="1.0", head="Connection: keep-alive\r\n"))
        answer = await client.answer()
        assert (answer.status, answer.body, answer.chunked) == (200, delta("a") + DONE, False)
        assert answer.header("connection") == "close"
        assert await client.is_closed()


async def test_an_http_1_0_client_gets_its_plain_answer_and_no_interim_one(front: Gate) -> None:
    async with front.client() as client:
        await client.send(request(chat(), version="1.0", head="Expect: 100-continue\r\n"))
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, ANSWER)
        assert await client.is_closed()


@pytest.mark.parametrize(
    "data",
    [
        request(chat(), head="Connection: close\r\n"),
        request(b"{", head="Connection: close\r\n"),
        request(chat(), version="1.0", head="Connection: keep-alive\r\n"),
        request(b"{", version="1.0", head="Connection: keep-alive\r\n"),
        request(b"{", version="1.0"),
    ],
)
async def test_nothing_behind_a_request_that_closes_is_served(front: Gate, worker: ScriptedWorker, data: bytes) -> None:
    async with front.client() as client:
        await client.send(data + request(chat("behind")), HEALTH)
        assert (await client.answer()).header("connection") == "close"
        assert await client.is_closed()
    assert all(b"behind" not in r.body for r in worker.requests)


async def test_a_wish_to_upgrade_is_ignored_and_what_follows_is_served(front: Gate, worker: ScriptedWorker) -> None:
    head = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    async with front.client() as client:
        upgrades = request(path="/health", method="GET", head=head) + request(chat("one"), head=head)
        data = upgrades * 2 + request(chat("two"))
        for cut in range(1, len(data), 7):
            await client.send(data[:cut], data[cut:])
            for _ in range(5):
                assert (await client.answer()).status == 200
            assert await contents(worker) == ["one", "one", "two"]
            worker.requests.clear()


async def test_the_body_of_a_request_that_wishes_to_upgrade_is_never_taken_for_a_request(
    front: Gate, worker: ScriptedWorker
) -> None:
    head = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    smuggled = request(chat("smuggled"))
    for path in (CHAT, "/admin/load", "/none"):
        data = request(b" " + smuggled, path=path, head=head)
        at = data.index(smuggled)
        async with front.client() as client:
            await client.send(data[:at], data[at:])
            assert (await client.answer()).status in (400, 404)
            await client.send(HEALTH)
            assert (await client.answer()).json["status"] == "healthy"
    for line in ("Transfer-Encoding: chunked\r\n", ""):
        method = "POST" if line else "CONNECT"
        async with front.client() as client:
            await client.send(request(path="/", method=method, head=head + line) + b"5\r\nhello\r\n0\r\n\r\n")
            assert (await client.answer()).error["code"] == "bad_http"
            assert await client.is_closed()
    assert not worker.requests


async def test_a_client_that_closes_its_side_has_left(front: Gate, worker: ScriptedWorker) -> None:
    slow = Held(delta("one"))
    worker.script.append(slow)
    async with front.client() as client:
        await client.send(request(chat(stream=True)))
        await slow.began.wait()
        client.writer.write_eof()
        assert slow.peer is not None
        await slow.peer.gone.wait()
    assert (await front.rows())[-1].outcome == "cancelled"


# -- limits ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def tight() -> AsyncIterator[Gate]:
    limits = Limits(body=msgspec.convert(2000, int), head=4000, headers=20, connections=3)  # type: ignore[arg-type]
    async with pair(limits=limits) as (gate, _):
        yield gate


@pytest.mark.parametrize("path", [CHAT, "/admin/load", "/none"])
@pytest.mark.parametrize("pieces", [1, 50])
async def test_a_chunked_body_that_grows_too_large_is_refused(tight: Gate, path: str, pieces: int) -> None:
    data = b"x" * 3000
    step = len(data) // pieces
    chunks = [chunk(data[i : i + step]) for i in range(0, len(data), step)]
    async with tight.client() as client:
        head = CHUNKED.replace(CHAT.encode(), path.encode()) + b"Content-Type: application/json\r\n\r\n"
        await client.send(head, *chunks)
        answer = await client.answer()
        if path == "/none":  # answered before its body came: then the connection just ends
            assert answer.status == 404
        else:
            assert (answer.status, answer.error["code"]) == (413, "request_too_large")
        assert await client.is_closed()


async def test_a_body_of_exactly_the_limit_is_taken(tight: Gate) -> None:
    assert (await tight.ask(request(b" " * 1999 + b"{"))).status == 400
    assert (await tight.ask(request(b" " * 2000 + b"{"))).status == 413


@pytest.mark.parametrize(
    "data",
    [
        request(path="/health", method="GET", head=f"X-Big: {'x' * 4000}\r\n"),
        request(chat(), head="".join(f"X-{n}: {'x' * 200}\r\n" for n in range(19))),
        request(chat(), head="".join(f"X-{n}: y\r\n" for n in range(30))),
        request(path="/health", method="GET", head="".join(f"X-{n}: y\r\n" for n in range(30))),
        request(path="/" + "x" * 4000, method="GET"),
        request(chat(), path=f"{CHAT}?{'x' * 4000}"),
    ],
)
async def test_a_head_that_is_too_large_is_refused(tight: Gate, data: bytes) -> None:
    for cut in (len(data), 3000, 100):
        async with tight.client() as client:
            await client.send(data[:cut], data[cut:])
            answer = await client.answer()
            assert (answer.status, answer.error["code"]) == (431, "headers_too_large")
            assert await client.is_closed()


@pytest.mark.parametrize(
    "start", [b"GET /", request(chat())[:30] + b"X: ", CHUNKED + b"\r\n0\r\nX: ", CHUNKED + b"\r\n5;"]
)
async def test_64_megabytes_of_head_trailer_or_chunk_extension_are_refused_in_flat_memory(
    front: Gate, start: bytes
) -> None:
    before = psutil.Process().memory_info().rss
    async with front.client() as client:
        piece = b"x" * 2**18
        client.writer.write(start)
        for _ in range(256):
            client.writer.write(piece)
            try:
                await client.writer.drain()
            except ConnectionError:
                break
        client.reader.feed_eof()
    assert psutil.Process().memory_info().rss - before < 24 * 2**20


async def test_a_connection_too_many_is_told_so(tight: Gate) -> None:
    async with tight.client() as a, tight.client() as b, tight.client() as c:
        for client in (a, b, c):
            await client.send(HEALTH)
            assert (await client.answer()).status == 200
        async with tight.client() as d:
            answer = await d.answer()
            assert (answer.status, answer.error["code"]) == (503, "too_many_connections")
            assert await d.is_closed()
    await until(lambda: not tight.connections["front door"])
    assert (await tight.ask(HEALTH)).status == 200


async def test_a_compressed_body_is_refused(front: Gate, worker: ScriptedWorker) -> None:
    for path in (CHAT, "/admin/load"):
        answer = await front.ask(request(chat(), path=path, head="Content-Encoding: gzip\r\n"))
        assert (answer.status, answer.error["code"]) == (415, "bad_encoding")
    assert (await front.ask(request(chat(), head="Content-Encoding: identity\r\n"))).status == 200
    assert len(worker.requests) == 1


# -- time --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [b"P", request(chat())[:60], request(chat())[:-5], CHUNKED + JSON + b"\r\n5\r\nhel"])
@pytest.mark.parametrize("path", [CHAT, "/admin/load"])
async def test_a_request_that_arrives_too_slowly_is_given_up(front: Gate, start: bytes, path: str) -> None:
    async with front.client() as client:
        await client.send(start.replace(CHAT.encode(), path.encode()))
        await until(lambda: front.protocol().phase)
        front.pass_time(10)
        assert not front.protocol().input_closed
        front.pass_time(61)
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        assert await client.is_closed()


async def test_an_idle_connection_is_closed(front: Gate) -> None:
    async with front.client() as client:
        await client.send(HEALTH)
        await client.answer()
        front.pass_time(70)
        assert not front.protocol().transport.is_closing()
        front.pass_time(80)
        assert await client.is_closed()


async def test_a_slow_answer_is_no_idle_connection(front: Gate, worker: ScriptedWorker) -> None:
    slow = Held(delta("one"))
    worker.script.append(slow)
    async with front.client() as client:
        await client.send(request(chat(stream=True)))
        await slow.began.wait()
        front.pass_time(10_000)
        slow.let_go.set()
        assert (await client.answer()).body == delta("one") + DONE


async def test_time_does_not_run_for_a_pipelined_body_that_nobody_reads_yet(
    front: Gate, worker: ScriptedWorker
) -> None:
    slow = Held(delta("one"))
    worker.script.append(slow)
    second = request(chat("two"))
    async with front.client() as client:
        await client.send(request(chat(stream=True)) + second[:-10], second[-10:])
        await slow.began.wait()
        front.pass_time(10_000)
        slow.let_go.set()
        assert (await client.answer()).body == delta("one") + DONE
        assert (await client.answer()).body == ANSWER


async def test_a_request_answered_before_its_body_is_not_answered_twice(front: Gate) -> None:
    head = CHUNKED.replace(CHAT.encode(), b"/none") + b"\r\n"
    for end in (b"zz\r\n", b""):
        async with front.client() as client:
            await client.send(head)
            assert (await client.answer()).status == 404
            await client.send(end)
            front.pass_time(1000)
            assert await client.is_closed()


async def test_a_bad_body_behind_a_running_answer_waits_for_its_turn(front: Gate, worker: ScriptedWorker) -> None:
    slow = Held(delta("one"))
    worker.script.append(slow)
    bad = CHUNKED.replace(CHAT.encode(), b"/admin/load") + b"\r\nzz\r\n"
    async with front.client() as client:
        await client.send(request(chat(stream=True)) + bad)
        await slow.began.wait()
        slow.let_go.set()
        assert (await client.answer()).body == delta("one") + DONE
        assert (await client.answer()).error["code"] == "bad_http"
        assert await client.is_closed()


# -- clients that leave or read slowly -----------------------------------------------------------------------


HOWEVER_SPELLED = pytest.mark.parametrize("path", [CHAT, "/v1/chat/%63ompletions"])


@HOWEVER_SPELLED
async def test_when_the_client_leaves_the_worker_is_told_at_once_and_the_books_say_so(
    front: Gate, worker: ScriptedWorker, path: str
) -> None:
    slow = Held(delta("one"), delta("two"), delta("three"))
    worker.script.append(slow)
    async with front.client() as client:
        await client.send(request(chat("x" * 400, stream=True), path=path))
        await slow.began.wait()
        await client.head()
        client.abort()
        assert slow.peer is not None
        await asyncio.wait_for(slow.peer.gone.wait(), 10)
    row = (await front.rows())[-1]
    assert (row.outcome, row.error, row.counted) == ("cancelled", "cancelled", True)
    assert row.prompt_tokens > 100
    assert row.completion_tokens == 3
    assert not front.gateway.dispatch.active
    assert front.gateway.fleet.worker("m").active == 0


async def test_a_client_that_leaves_before_the_answer_frees_its_slot() -> None:
    async with pair(model={"parallel": 1}) as (front, worker):

        async def never(peer: Peer, _: Received) -> None:
            await peer.gone.wait()

        worker.script.append(never)
        async with front.client() as first, front.client() as second, front.client() as third:
            await first.send(request(chat("one")))
            await until(lambda: worker.requests)
            await second.send(request(chat("two")))
            await third.send(request(chat("three")))
            await until(lambda: len(front.gateway.fleet.worker("m").waiting) == 2)
            second.abort()
            first.abort()
            assert (await third.answer()).status == 200
        assert [r.json["messages"][0]["content"] for r in worker.requests] == ["one", "three"]
        outcomes = [(r.outcome, r.attempts) for r in await front.rows()]
        assert sorted(outcomes) == [("cancelled", 0), ("cancelled", 1), ("ok", 1)]


def flood(total: int) -> Script:
    """A stream of so many bytes, as fast as they are taken."""

    async def script(peer: Peer, _: Received) -> None:
        await peer.send(SSE_HEAD)
        event = chunk(delta("x" * 16_000))
        for _ in range(total // len(event)):
            await peer.send(event)
            await asyncio.sleep(0)
            if peer.gone.is_set():
                return
        await peer.send(chunk(DONE) + b"0\r\n\r\n")

    return script


@HOWEVER_SPELLED
async def test_a_slow_reader_pauses_the_worker_and_still_gets_everything(
    front: Gate, worker: ScriptedWorker, path: str
) -> None:
    worker.script.append(flood(40 * 2**20))
    before = psutil.Process().memory_info().rss
    async with front.client() as client:
        await client.send(request(chat(stream=True, stream_options={"include_usage": True}), path=path))
        peer = (await until(lambda: worker.requests))[-1].peer
        before_it = peer.sent
        (exchange,) = front.gateway.dispatch.active
        await until(
            lambda: (
                front.protocol().stalled_since and exchange.carrier.connection and exchange.carrier.connection.paused
            )
        )
        sent = peer.sent
        await turns(50)
        assert peer.sent - sent < 2**20
        assert sent - before_it < 20 * 2**20, "the worker was not paused"
        front.pass_time(100)
        total = len(b"".join([c async for c in client_chunks(client)]))
    assert total > 39 * 2**20
    assert psutil.Process().memory_info().rss - before < 120 * 2**20
    assert (await front.rows())[-1].outcome == "ok"


async def client_chunks(client: Any) -> AsyncIterator[bytes]:
    await client.head()
    async for piece in client.chunks():
        yield piece


@HOWEVER_SPELLED
async def test_a_reader_that_stalls_is_cut_off_and_the_worker_freed(
    front: Gate, worker: ScriptedWorker, path: str
) -> None:
    worker.script.append(flood(2**40))
    async with front.client() as client:
        await client.send(request(chat(stream=True), path=path))
        peer = (await until(lambda: worker.requests))[-1].peer
        await until(lambda: front.protocol().stalled_since and not peer.writable.is_set())
        front.pass_time(119)
        await turns()
        assert not peer.gone.is_set()
        front.pass_time(121)
        await peer.gone.wait()
    row = (await front.rows())[-1]
    assert (row.outcome, row.counted) == ("cancelled", True)


async def test_a_slow_reader_is_not_blamed_on_the_worker() -> None:
    async with pair() as (front, worker), front.client() as client:
        worker.script.append(flood(20 * 2**20))
        await client.send(request(chat(stream=True)))
        await until(lambda: front.protocol().stalled_since)
        exchange = next(iter(front.gateway.dispatch.active))
        patient = exchange.plan.model
        # Only while the client stalls: before and after it, a busy machine is slower than that.
        exchange.plan.model = msgspec.structs.replace(patient, timeout=Seconds(0.000001))
        began = exchange.carrier.last_activity
        await until(lambda: exchange.carrier.last_activity > began)  # the watch came by
        exchange.plan.model = patient
        total = b"".join([c async for c in client_chunks(client)])
        assert total.endswith(DONE)
        assert b'"error"' not in total


@pytest.mark.parametrize("at_once", [True, False])
async def test_requests_of_a_client_that_does_not_read_are_not_started(
    front: Gate, worker: ScriptedWorker, at_once: bool
) -> None:
    big = message(b'{"x":"' + b"x" * 900_000 + b'"}')
    worker.usual = raw(big)
    async with front.client() as client:
        if at_once:
            await client.send(request(chat()) * 50)
        for sent in range(0 if at_once else 50):
            await client.send(request(chat()))
            await until(lambda n=sent: len(worker.requests) > n or front.protocol().stalled_since)  # type: ignore[misc]
            await turns(20)
        await until(lambda: front.protocol().stalled_since)
        await turns(50)
        started = len(worker.requests)
        assert started < 30, "answers pile up for a client that does not take them"
        for _ in range(50):
            assert len((await client.answer()).body) > 900_000
    assert len(worker.requests) == 50


async def test_a_client_that_never_takes_the_rest_of_its_answer_is_cut_off(front: Gate, worker: ScriptedWorker) -> None:
    async with front.client() as client:
        await client.send(request(chat()))
        assert (await client.answer()).status == 200
        client.writer.transport.pause_reading()
        for transport, option in ((client.writer.transport, "SO_RCVBUF"), (front.protocol().transport, "SO_SNDBUF")):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, getattr(socket, option), 4096)
        worker.script.append(reply(b'{"x":"' + b"x" * 250_000 + b'"}'))
        await client.send(request(chat()))
        await until(lambda: front.protocol().transport.get_write_buffer_size() > 100_000)
        assert not front.protocol().stalled_since
        front.pass_time(80)  # idle: the connection is closed, but what is left of the answer does not go away
        assert front.protocol().transport.is_closing()
        front.pass_time(119)
        await turns()
        assert front.connections["front door"]
        front.pass_time(121)
        await until(lambda: not front.connections["front door"])


# -- heads that are recognised ---------------------------------------------------------------------------------


async def contents(worker: ScriptedWorker) -> list[str]:
    return [r.json["messages"][0]["content"] for r in worker.requests]


async def test_a_head_is_recognised_with_another_length_only(front: Gate, worker: ScriptedWorker) -> None:
    async with front.client() as client:
        for text in ("a", "a" * 10, "a" * 100, "a" * 1000, "a" * 100_000, "b"):
            await client.send(request(chat(text)))
            assert (await client.answer()).body == ANSWER
        assert front.protocol().memo is not None
    assert await contents(worker) == ["a", "a" * 10, "a" * 100, "a" * 1000, "a" * 100_000, "b"]


LENGTHS = ["Content-Length", "content-length", "CONTENT-LENGTH", "Content-length"]


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("other", ["X-Content-Length: 5\r\n", "", "X: Content-Length: 5\r\n", "Z:\r\n"])
async def test_no_spelling_of_the_length_confuses_the_memory_of_heads(
    front: Gate, worker: ScriptedWorker, name: str, other: str
) -> None:
    async with front.client() as client:
        for digits in ("{}", "0{}", "0000{}", "{}", "000000000000{}"):
            body = json.dumps(chat(f"\r\n{name}: 5\r\n\r\n{digits}")).encode()
            length = digits.format(len(body))
            head = f"POST {CHAT} HTTP/1.1\r\n{other}{name}: {length}\r\n{other}Host: localhost\r\n\r\n"
            for _ in range(2):
                await client.send(head.encode() + body)
                assert (await client.answer()).body == ANSWER
                assert worker.requests[-1].body == body


async def test_a_body_that_looks_like_a_head_stays_a_body(front: Gate, worker: ScriptedWorker) -> None:
    evil = f"x\r\nContent-Length: 5\r\n\r\nPOST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}"
    async with front.client() as client:
        for text in ("a", evil, evil * 2, "b"):
            body = json.dumps(chat(), ensure_ascii=False).replace("hello", text.replace("\r\n", "\\r\\n")).encode()
            # White space around a JSON text may hold real line breaks.
            body = b"\r\n\r\n" + body + b"\r\n\r\n"
            await client.send(request(body))
            assert (await client.answer()).body == ANSWER
            assert worker.requests[-1].body == body


async def test_a_head_cut_within_its_length_is_not_taken_for_a_whole_one() -> None:
    async with pair(keys=["secret"]) as (front, worker):
        body = json.dumps(chat()).encode()
        first = f"POST {CHAT} HTTP/1.1\r\nContent-Length: {len(body)}".encode()
        rest = b"\r\nHost: localhost\r\nAuthorization: Bearer secret\r\n\r\n" + body
        async with front.client() as client:
            await client.send(first[:-1], first[-1:] + rest)
            assert (await client.answer()).status == 200
            await client.send(first + b"\r\n\r\n" + body)
            assert (await client.answer()).status == 400
        async with front.client() as client:
            await client.send(first + rest)
            assert (await client.answer()).status == 200
            await client.send(first + b"\r\nHost: localhost\r\n\r\n" + body)
            assert (await client.answer()).status == 401
        assert len(worker.requests) == 2


async def test_each_connection_and_each_port_judges_for_itself() -> None:
    async with pair(keys=["secret"], listeners=[Listener(port=0, name="solo", model="m")]) as (front, worker):
        good = request(chat(model="nobody"), head="Authorization: Bearer secret\r\n")
        async with front.client("solo") as solo, front.client() as main:
            for _ in range(3):
                await solo.send(good)
                assert (await solo.answer()).header("x-rolecast-route") == "listener; port of m"
                await main.send(good)
                assert (await main.answer()).error["code"] == "model_not_found"
                await main.send(request(chat(), head="Authorization: Bearer secret\r\n"))
                assert (await main.answer()).header("x-rolecast-route") == "explicit; asked for model m"
            await solo.send(request(chat(), head="Authorization: Bearer other!\r\n"))
            assert (await solo.answer()).status == 401
        rows = await front.rows()
        assert {(r.listener, r.route) for r in rows} == {
            ("solo", "listener; port of m"),
            ("front door", "explicit; asked for model m"),
        }
        assert len(worker.requests) == 6


async def test_a_recognised_head_does_not_overtake_a_running_answer(front: Gate, worker: ScriptedWorker) -> None:
    async with front.client() as client:
        await client.send(request(chat("first")))
        await client.answer()
        slow = Held(delta("one"))
        worker.script.append(slow)
        await client.send(request(chat("slow", stream=True)))
        await slow.began.wait()
        await client.send(request(chat("third")), request(chat("fourth")))
        await turns()
        assert len(worker.requests) == 2
        slow.let_go.set()
        assert (await client.answer()).body == delta("one") + DONE
        assert (await client.answer()).body == ANSWER
        assert (await client.answer()).body == ANSWER
    assert await contents(worker) == ["first", "slow", "third", "fourth"]


async def test_a_recognised_head_is_still_held_to_the_body_limit(tight: Gate) -> None:
    async with tight.client() as client:
        await client.send(request(chat()))
        assert (await client.answer()).status == 200
        await client.send(request(chat("x" * 1500)))
        assert (await client.answer()).status == 200
        await client.send(request(chat("x" * 3000)))
        assert (await client.answer()).status == 413
        assert await client.is_closed()


async def test_more_than_one_request_in_a_segment_is_more_than_one_request(front: Gate, worker: ScriptedWorker) -> None:
    async with front.client() as client:
        await client.send(request(chat("1")))
        await client.answer()
        await client.send(request(chat("2")) + request(chat("3")))
        await client.send(request(chat("4")) + request(chat("5"))[:50], request(chat("5"))[50:])
        await client.send(b"\r\n" + request(chat("6")))
        for _ in range(5):
            assert (await client.answer()).body == ANSWER
    assert await contents(worker) == list("123456")
