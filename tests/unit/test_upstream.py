"""The worker's side: framing of its answers, connections kept or lost, and what must not reach the next client."""

import asyncio
import json
from pathlib import Path
from typing import Any

import psutil
import pytest
from gateway import (
    ANSWER,
    DONE,
    SSE_HEAD,
    Gate,
    Peer,
    Received,
    Script,
    ScriptedWorker,
    chat,
    chunk,
    config,
    delta,
    message,
    on_uvloop,
    pair,
    raw,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    turns,
    until,
)

from rolecast.errors import UpstreamTimeout, WorkerDown
from rolecast.fleet.worker import State
from rolecast.net.headmemo import remember
from rolecast.net.pool import Pool
from rolecast.net.probe import fetch
from rolecast.values import Endpoint

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

CHUNKED = SSE_HEAD.replace(b"text/event-stream", b"application/json")


def pool(front: Gate) -> Pool:
    found = front.gateway.fleet.stations.pool("m")
    assert found is not None
    return found


def split(data: bytes, at: int) -> Script:
    return raw(data[:at], data[at:])


@pytest.mark.parametrize("state", list(State))
async def test_only_a_worker_that_serves_is_asked_aside_of_requests(state: State) -> None:
    """One that loads would say so, and who counted tokens before the answer took that for a failure."""
    async with pair() as (front, _):
        pool(front)
        front.gateway.fleet.worker("m").state = state
        serves = front.gateway.fleet.stations.pool("m") is not None
        assert serves is (state in (State.READY, State.REMOTE, State.DRAINING))
        front.gateway.fleet.worker("m").state = State.REMOTE


async def ask(front: Gate, **fields: Any) -> Any:
    return await front.ask(request(chat(**fields)))


# -- framing ---------------------------------------------------------------------------------------------------


async def test_an_answer_may_be_cut_at_every_byte(front: Gate, worker: ScriptedWorker) -> None:
    whole = message(ANSWER, head=b"Date: now\r\nX-Content-Length: 9\r\n")
    async with front.client() as client:
        for at in range(1, len(whole)):
            worker.script.append(split(whole, at))
            await client.send(request(chat()))
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, ANSWER), whole[:at]
    assert len({r.peer for r in worker.requests}) == 1
    assert {(r.prompt_tokens, r.completion_tokens) for r in (await front.rows())[-200:]} == {(5, 2)}


@pytest.mark.parametrize("head", [SSE_HEAD, CHUNKED])
async def test_a_chunked_answer_may_be_cut_at_every_byte(front: Gate, worker: ScriptedWorker, head: bytes) -> None:
    parts = [delta("one"), delta("two"), DONE] if head is SSE_HEAD else [ANSWER[:20], ANSWER[20:]]
    whole = head + b"".join(map(chunk, parts)) + b"0\r\nContent-Type: text/evil\r\nX-Trailer: 1\r\n\r\n"
    async with front.client() as client:
        for at in range(1, len(whole)):
            worker.script.append(split(whole, at))
            await client.send(request(chat(stream=head is SSE_HEAD)))
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, b"".join(parts)), whole[:at]
            assert answer.header("content-type") in ("text/event-stream", "application/json")
            assert answer.header("x-trailer") is None
    assert len({r.peer for r in worker.requests}) == 1, "a clean end of message did not keep the connection"


async def test_trailers_of_one_answer_are_no_headers_of_the_next(front: Gate, worker: ScriptedWorker) -> None:
    trailers = b"0\r\nContent-Type: text/evil\r\nRetry-After: 9\r\nX: y\r\n\r\n"
    async with front.client() as client:
        for pieces in ([CHUNKED + chunk(ANSWER) + trailers], [CHUNKED + chunk(ANSWER), trailers]):
            worker.script.append(raw(*pieces))
            worker.script.append(raw(CHUNKED, chunk(ANSWER), b"0\r\n\r\n"))
            for _ in range(2):
                await client.send(request(chat()))
                answer = await client.answer()
                assert answer.body == ANSWER
                assert answer.header("content-type") == "application/json"
                assert answer.header("retry-after") is None
    assert len({r.peer for r in worker.requests}) == 1


@pytest.mark.parametrize("kind", [b"application/json", b"text/event-stream"])
async def test_an_answer_without_a_length_ends_with_its_connection(
    front: Gate, worker: ScriptedWorker, kind: bytes
) -> None:
    body = ANSWER if kind == b"application/json" else delta("a") + DONE
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n\r\n" % kind
    for version in (b"1.1", b"1.0"):
        for pieces in ([head + body], [head, body], [head, body[:9], body[9:]]):
            worker.script.append(raw(*(p.replace(b"HTTP/1.1", b"HTTP/" + version) for p in pieces), close=True))
            answer = await ask(front, stream=kind != b"application/json")
            assert (answer.status, answer.body) == (200, body)
    assert len({r.peer for r in worker.requests}) == 6
    assert [r.outcome for r in await front.rows()][-6:] == ["ok"] * 6


async def test_an_answer_of_nothing_is_none_however_it_is_framed(front: Gate, worker: ScriptedWorker) -> None:
    for script in (
        raw(SSE_HEAD + b"0\r\n\r\n"),
        raw(SSE_HEAD, b"0\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", close=True),
        reply(b"", kind=b"text/event-stream"),
        reply(b"", kind=b"text/event-stream"),
        reply(b""),
    ):
        worker.script.append(script)
        answer = await ask(front, stream=True)
        assert (answer.status, answer.error["code"]) == (502, "upstream_error")


async def test_a_stream_with_a_length_is_framed_anew(front: Gate, worker: ScriptedWorker) -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'
    async with front.client() as client:
        for text in ("a", "longer than before", "b"):
            for at in (0, 30, 150):
                body = delta(text) + usage + DONE
                worker.script.append(split(message(body, kind=b"text/event-stream"), at))
                await client.send(request(chat(stream=True)))
                assert (await client.answer()).body == delta(text) + DONE


async def test_interim_answers_are_skipped(front: Gate, worker: ScriptedWorker) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Type: text/evil\r\n\r\n"
    go_on = b"HTTP/1.1 100 Continue\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
    final = message(ANSWER)
    async with front.client() as client:
        for pieces in ([hints + final], [hints, final], [go_on, hints, final], [go_on + final]):
            for _ in range(2):
                worker.script.append(raw(*pieces))
                await client.send(request(chat()))
                answer = await client.answer()
                assert (answer.status, answer.body) == (200, ANSWER)
                assert answer.header("content-type") == "application/json"
                assert answer.header("link") is None
    assert len({r.peer for r in worker.requests}) == 1


async def test_the_head_of_an_interim_answer_is_not_remembered(front: Gate, worker: ScriptedWorker) -> None:
    go_on = b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n"
    worker.script.extend([raw(go_on + message(b"")), raw(go_on, message(ANSWER))])
    assert (await ask(front)).status == 502
    assert (await ask(front)).body == ANSWER


@pytest.mark.parametrize("status", [204, 205, 301, 304])
async def test_an_answer_without_content_is_an_error_of_the_worker(
    front: Gate, worker: ScriptedWorker, status: int
) -> None:
    end = b"Content-Length: 0\r\n\r\n" if status not in (204, 304) else b"\r\n"
    worker.script.append(raw(b"HTTP/1.1 %d X\r\n%b" % (status, end)))
    answer = await ask(front)
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert str(status) in answer.error["message"]
    assert (await ask(front)).status == 200


INVALID = {
    "no HTTP at all": b"hello\r\n\r\n",
    "another protocol": b"SSH-2.0-x\r\n",
    "a status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "a bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
    "NUL in a header": b"HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 2\r\n\r\n{}",
    "a folded header": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    "a bad chunk": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"Content-Length: 2\r\n\r\n{}",
    "a head without an end": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhello",
    "endless interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 5000,
}


@pytest.mark.parametrize("name", INVALID)
async def test_an_invalid_answer_is_tried_again_and_then_an_error(
    front: Gate, worker: ScriptedWorker, name: str
) -> None:
    worker.script.extend([raw(INVALID[name])] * 3)
    answer = await ask(front)
    assert (answer.status, answer.error["code"]) == (503, "bad_upstream")
    assert len(worker.requests) == 3
    await asyncio.gather(*(r.peer.gone.wait() for r in worker.requests))
    worker.script.append(raw(INVALID[name]))
    assert (await ask(front)).body == ANSWER


# -- answers nobody asked for --------------------------------------------------------------------------------

EVIL = message(b'{"evil":true}')


@pytest.mark.parametrize(
    "extra", [EVIL, EVIL[:30], EVIL * 3, b"garbage", b"\r\n\r\n" + EVIL, b"HTTP/1.1 100 X\r\n\r\n"]
)
@pytest.mark.parametrize("first", [message(ANSWER), CHUNKED + chunk(ANSWER) + b"0\r\n\r\n"])
async def test_a_second_answer_reaches_nobody(front: Gate, worker: ScriptedWorker, first: bytes, extra: bytes) -> None:
    for script in (raw(first + extra), raw(first, extra), raw(first[:-3], first[-3:] + extra[:-1], extra[-1:])):
        for _ in range(2):
            worker.requests.clear()
            worker.script.append(script)
            async with front.client() as client:
                await client.send(request(chat("first")))
                assert (await client.answer()).body == ANSWER
                await turns(12)
                for number in range(3):
                    await client.send(request(chat(f"after {number}")))
                    assert (await client.answer()).body == ANSWER
            first_peer, *others = (r.peer for r in worker.requests)
            assert first_peer not in others


async def test_line_breaks_behind_an_answer_do_no_harm(front: Gate, worker: ScriptedWorker) -> None:
    for _ in range(3):
        worker.script.append(raw(CHUNKED + chunk(ANSWER) + b"0\r\n\r\n\r\n"))
        assert (await ask(front)).body == ANSWER


async def test_bytes_on_an_idle_connection_close_it(front: Gate, worker: ScriptedWorker) -> None:
    assert (await ask(front)).status == 200
    peer = worker.requests[-1].peer
    await peer.send(EVIL)
    await peer.gone.wait()
    assert (await ask(front)).body == ANSWER
    assert worker.requests[-1].peer is not peer


# -- heads that are recognised ---------------------------------------------------------------------------------


async def test_a_head_of_the_worker_is_recognised_with_another_length_only(front: Gate, worker: ScriptedWorker) -> None:
    bodies = [json.dumps({"choices": [{"text": "x" * n}]}).encode() for n in (1, 10, 100, 1000, 10_000, 3)]
    for digits in (b"%d", b"0%d", b"000000000000%d"):
        for body in bodies:
            whole = message(body).replace(b"Length: %d" % len(body), b"Length: " + digits % len(body))
            worker.script.append(raw(whole))
            assert (await ask(front)).body == body
    assert pool(front).memo is not None


async def test_a_body_that_looks_like_a_head_stays_a_body(front: Gate, worker: ScriptedWorker) -> None:
    for head in (b"", b"X-Content-Length: 3\r\n"):
        for text in (
            b'{"a":1}',
            b'"\r\nContent-Length: 5\r\n\r\n"',
            b'"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"',
        ):
            body = delta("a") + text
            for _ in range(2):
                worker.script.append(reply(body, head=head, kind=b"text/event-stream"))
                assert (await ask(front)).body == body


async def test_nothing_but_the_length_may_differ(front: Gate, worker: ScriptedWorker) -> None:
    error = b'{"error":{"message":"full","type":"x","code":"c"}}'
    for _ in range(2):
        worker.script.append(reply(ANSWER))
        assert (await ask(front)).header("content-type") == "application/json"
        worker.script.append(reply(ANSWER, kind=b"application/jsoN"))
        assert (await ask(front)).header("content-type") == "application/jsoN"
        worker.script.append(reply(ANSWER, head=b"OpenAI-Version: 2\r\n"))
        assert (await ask(front)).header("openai-version") == "2"
        worker.script.append(reply(error, 400))
        assert (await ask(front)).error["message"] == "full"
        worker.script.append(reply(ANSWER, head=b"Connection: close\r\n"))
        assert (await ask(front)).body == ANSWER


async def test_a_worker_that_closes_after_each_answer_is_believed(front: Gate, worker: ScriptedWorker) -> None:
    for _ in range(4):
        worker.script.append(reply(head=b"Connection: close\r\n"))
        assert (await ask(front)).body == ANSWER
    assert len({r.peer for r in worker.requests}) == 4
    await asyncio.gather(*(r.peer.gone.wait() for r in worker.requests))


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (b"P /x HTTP/1.1\r\nContent-Length: 55", b"55"),
        (b"P /x HTTP/1.1\r\nContent-Length: 5\r\n", b"55"),
        (b"P /x HTTP/1.1\r\nContent-Length: 5\r\n\r", b"5"),
        (b"P /x HTTP/1.1\r\nContent-Length: 5 \r\n\r\n", b"5 "),
        (b"P /x HTTP/1.1\r\nContent-Length: 5 \r\n\r\n", b"5"),
        (b"P /x HTTP/1.1\r\nContent-Length:5\r\n\r\n", b"5"),
        (b"P /x HTTP/1.1\r\ncONTENT-length: 5\r\n\r\n", b"5"),
        (b"P /x HTTP/1.1\r\nX-Content-Length: 5\r\n\r\n", b"5"),
        (b"P /x HTTP/1.1\r\nX: Content-Length: 5\r\n\r\n", b"5"),
        (b"P /x HTTP/1.1\r\nX: y\r\n\r\nContent-Length: 5\r\n\r\n", b"5"),
        (b"P /x HTTP/1.1\r\nX: y\r\n\r\n\r\nContent-Length: 5\r\n\r\n", b"5"),
        (b"\r\n\r\nP /x HTTP/1.1\r\nContent-Length: 5\r\n\r\n", b"5"),
        (b"P /x HTTP/1.1\r\nContent-Length: 05\r\n\r\n", b"5"),
        (b"P /x HTTP/1.1\r\nContent-Length: 5\r\n\r\n", b""),
        (b"P /x HTTP/1.1\r\nX: " + b"y" * 5000 + b"\r\nContent-Length: 5\r\n\r\n", b"5"),
        (b"", b"0"),
    ],
)
def test_a_head_that_is_not_plainly_there_is_not_remembered(data: bytes, length: bytes) -> None:
    assert remember(data, length, object()) is None


@pytest.mark.parametrize(
    "data",
    [
        b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: 5\r\nC: d\r\n\r\nhell",
        b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: 5\r\nC: d\r\n\r\nhello!",
        b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: -5\r\nC: d\r\n\r\nhello",
        b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: +5\r\nC: d\r\n\r\nhello",
        b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: 5 \r\nC: d\r\n\r\nhello",
        b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: \r\nC: d\r\n\r\n",
        b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: 0000000005\r\nC: d\r\n\r\nhello",
        b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: 5\rC: d\r\n\r\nhello",
        b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: 5\nC: d\r\n\r\nhello",
        b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: 5\r\nC: e\r\n\r\nhello",
        b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: 5\r\nC: d\r\nE: f\r\n\r\nhello",
        b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: 5\r\n\r\nhello",
        b"P /x HTTP/1.1\r\nA: B\r\nContent-Length: 5\r\nC: d\r\n\r\nhello",
        b"P /y HTTP/1.1\r\nA: b\r\nContent-Length: 5\r\nC: d\r\n\r\nhello",
        "P /x HTTP/1.1\r\nA: b\r\nContent-Length: \u0665\r\nC: d\r\n\r\nhello".encode(),
        b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: 5\r\nC: d\r\n\r",
        b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: 5",
        b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: ",
        b"P /x HTTP/1.1\r\nA: b",
        b"",
    ],
)
def test_a_memo_matches_no_other_head_and_no_other_length(data: bytes) -> None:
    memo = remember(b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: 7\r\nC: d\r\n\r\n", b"7", object())
    assert memo is not None
    assert memo.body(data) is None
    assert memo.body(b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: 5\r\nC: d\r\n\r\nhello") == b"hello"
    assert memo.body(b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: 000000005\r\nC: d\r\n\r\nhello") == b"hello"
    assert memo.body(b"P /x HTTP/1.1\r\nA: b\r\nContent-Length: 0\r\nC: d\r\n\r\n") == b""


# -- headers -----------------------------------------------------------------------------------------------


async def test_only_chosen_headers_of_a_worker_go_on(front: Gate, worker: ScriptedWorker) -> None:
    head = (
        b"Set-Cookie: a=b\r\nAccess-Control-Allow-Origin: *\r\nServer: x\r\nDate: then\r\nKeep-Alive: timeout=9\r\n"
        b"X-Request-Id: theirs\r\nServer-Timing: x;dur=1\r\nX-Rolecast-Model: fake\r\nLocation: /x\r\nVia: y\r\n"
        b"Content-Security-Policy: z\r\nX-RateLimit-Remaining-Tokens: 7\r\nRetry-After: 3\r\nOpenAI-Version: v\r\n"
    )
    for body, kind in ((ANSWER, b"application/json"), (delta("a") + DONE, b"text/event-stream")):
        worker.script.append(reply(body, head=head, kind=kind))
        answer = await ask(front, stream=kind != b"application/json")
        names = {n for n, _ in answer.headers}
        assert names - {"cache-control", "content-length", "transfer-encoding"} == {
            "date",
            "content-type",
            "x-ratelimit-remaining-tokens",
            "retry-after",
            "openai-version",
            "x-request-id",
            "x-rolecast-model",
            "x-rolecast-role",
            "x-rolecast-route",
            "server-timing",
        }
        assert answer.header("x-rolecast-model") == "m"
        assert (answer.header("x-request-id") or "").startswith("req_")
        assert answer.header("date") != "then"


async def test_the_coding_of_an_answer_is_told(front: Gate, worker: ScriptedWorker) -> None:
    worker.script.append(reply(b"\x1f\x8bzipped", head=b"Content-Encoding: gzip\r\n"))
    answer = await ask(front)
    assert (answer.body, answer.header("content-encoding")) == (b"\x1f\x8bzipped", "gzip")


# -- connections that are lost -------------------------------------------------------------------------------


async def hang_up(peer: Peer, _: Received) -> None:
    peer.transport.abort()


async def test_a_kept_connection_that_closes_before_the_first_byte_is_replaced_once(
    front: Gate, worker: ScriptedWorker
) -> None:
    assert (await ask(front)).status == 200
    worker.script.append(hang_up)
    assert (await ask(front)).body == ANSWER
    assert len(worker.requests) == 3
    row = (await front.rows())[-1]
    assert (row.outcome, row.attempts) == ("ok", 1)


async def test_a_worker_that_always_hangs_up_is_given_up(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = hang_up
    answer = await ask(front)
    assert (answer.status, answer.error["code"]) == (503, "worker_lost")
    row = (await front.rows())[-1]
    assert (row.outcome, row.error, row.attempts) == ("error", "worker_lost", 3)


async def test_half_a_plain_answer_is_tried_again(front: Gate, worker: ScriptedWorker) -> None:
    whole = message(b'{"half":1}', head=b"Retry-After: 9\r\n")
    for pieces in ([whole[:-2]], [whole[:20]], [whole[:50], whole[50:-1]], [CHUNKED + chunk(b"{")]):
        worker.script.append(raw(*pieces, close=True))
        answer = await front.ask(request(chat(), head="X-Trace-Id: t\r\nOrigin: http://localhost\r\n"))
        assert (answer.status, answer.body) == (200, ANSWER)
        assert answer.header("retry-after") is None
        assert answer.header("x-trace-id") == "t"
        assert answer.header("access-control-allow-origin") == "http://localhost"
        assert (await front.rows())[-1].attempts == 2


async def test_half_a_stream_that_nobody_saw_is_tried_again_from_its_start(front: Gate, worker: ScriptedWorker) -> None:
    worker.script.append(raw(SSE_HEAD, chunk(b'data: {"half'), close=True))
    worker.script.append(raw(SSE_HEAD, chunk(delta("whole")), chunk(DONE) + b"0\r\n\r\n"))
    assert (await ask(front, stream=True)).body == delta("whole") + DONE
    assert (await front.rows())[-1].attempts == 2


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_stream_that_breaks_off_ends_with_an_error_event(
    front: Gate, worker: ScriptedWorker, wanted: bool
) -> None:
    options = {"stream_options": {"include_usage": wanted}}
    for cut in (b"", b'data: {"half'):
        worker.script.append(raw(SSE_HEAD, chunk(delta("one")), chunk(delta("two") + cut), close=True))
        answer = await ask(front, stream=True, **options)
        assert answer.status == 200
        assert answer.body.startswith(delta("one") + delta("two"))
        events = answer.body.split(b"\n\n")
        assert events[-2:] == [b"data: [DONE]", b""]
        assert json.loads(events[-3].removeprefix(b"data: "))["error"]["code"] == "worker_lost"
    row = (await front.rows())[-1]
    assert (row.outcome, row.error, row.counted, row.status) == ("error", "worker_lost", True, 503)
    assert row.completion_tokens >= 1


async def test_a_large_plain_answer_that_breaks_off_is_cut(front: Gate, worker: ScriptedWorker) -> None:
    whole = message(b'{"x":"' + b"x" * 3_000_000 + b'"}')
    for framed in (whole, CHUNKED + chunk(whole)):
        worker.script.append(raw(framed[:2_000_000], close=True))
        async with front.client() as client:
            await client.send(request(chat()))
            status, headers = await client.head()
            assert status == 200
            rest = await client.rest()
            assert len(rest) < 2_100_000
            assert not rest.endswith(b"0\r\n\r\n")
        assert (await front.rows())[-1].error == "worker_lost"
    assert headers


async def test_a_large_plain_answer_arrives_whole_with_its_usage(front: Gate, worker: ScriptedWorker) -> None:
    body = b'{"x":"%b","usage":{"prompt_tokens":8,"completion_tokens":9}}' % (b"x" * 5_000_000)
    for script in (
        reply(body),
        raw(CHUNKED + b"".join(chunk(body[i : i + 65_000]) for i in range(0, len(body), 65_000)) + b"0\r\n\r\n"),
    ):
        worker.script.append(script)
        assert (await ask(front)).body == body
        row = (await front.rows())[-1]
        assert (row.prompt_tokens, row.completion_tokens, row.counted) == (8, 9, False)


async def test_an_error_of_many_megabytes_does_not_fill_the_memory(front: Gate, worker: ScriptedWorker) -> None:
    before = grown = psutil.Process().memory_info().rss

    async def long(peer: Peer, _: Received) -> None:
        nonlocal grown
        await peer.send(b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1000):
            await peer.send(chunk(b"x" * 100_000))
        await turns()
        grown = psutil.Process().memory_info().rss
        await peer.send(b"0\r\n\r\n")

    worker.script.append(long)
    answer = await ask(front)
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert grown - before < 40 * 2**20


async def test_a_worker_that_answers_before_it_read_the_request_is_heard(front: Gate, worker: ScriptedWorker) -> None:
    early = message(b'{"error":{"message":"too long","type":"x","code":"c"}}', 413, head=b"Connection: close\r\n")
    worker.script.append(raw(early, close=True))
    answer = await front.ask(request(chat("x" * 3_000_000)))
    assert (answer.status, answer.error["message"]) == (413, "too long")


async def test_a_silent_worker_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async def silent(peer: Peer, _: Received) -> None:
        await peer.gone.wait()

    from rolecast.config.schema import Seconds

    async with pair(model={"timeout": Seconds(0.000001)}) as (front, worker):
        worker.script.append(silent)
        answer = await ask(front)
        assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
        await worker.requests[-1].peer.gone.wait()
        row = (await front.rows())[-1]
        assert (row.outcome, row.status) == ("error", 504)


async def test_a_model_whose_server_is_not_there_says_so() -> None:
    with short_folder() as folder:
        conf = config({"m": remote(f"unix:{folder}/none.sock")})
        async with running_gateway(conf, Path(folder)) as front:
            answer = await ask(front)
            assert (answer.status, answer.error["code"]) == (503, "unreachable")


# -- the pool ----------------------------------------------------------------------------------------------


async def test_no_more_connections_are_opened_than_requests_run_at_once(front: Gate, worker: ScriptedWorker) -> None:
    answers = await asyncio.gather(*(ask(front) for _ in range(30)))
    assert {a.status for a in answers} == {200}
    most = len({r.peer for r in worker.requests})
    for _ in range(20):
        await ask(front)
    assert len({r.peer for r in worker.requests}) == most
    assert most <= 31


async def test_what_a_worker_says_of_its_patience_is_heeded() -> None:
    async with pair() as (front, worker):
        for _ in range(6):
            worker.script.append(reply(head=b"Keep-Alive: timeout=5, max=3\r\n"))
            assert (await ask(front)).status == 200
        assert [r.peer.requests for r in worker.requests] == [2] * 6
        assert pool(front).idle_s == 4.0


async def test_idle_connections_are_retired() -> None:
    async with pair() as (front, worker):
        await ask(front)
        (connection,) = pool(front)._idle
        pool(front).retire_idle()
        assert connection.usable
        connection.idle_since -= 60
        pool(front).retire_idle()
        await worker.requests[-1].peer.gone.wait()
        assert (await ask(front)).status == 200
        (connection,) = pool(front)._idle
        connection.idle_since -= 60  # nobody retired it: it is not used all the same
        assert (await ask(front)).status == 200
        assert len({r.peer for r in worker.requests}) == 3


# -- small exchanges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (message(b"fine"), None),
        (message(b"x" * 5000), WorkerDown),
        (message(b"x" * 500)[:-1], UpstreamTimeout),
        (b"nonsense\r\n\r\n", WorkerDown),
        (b"", UpstreamTimeout),
    ],
)
async def test_a_small_exchange_ends_in_time_and_size(answer: bytes, error: type[Exception] | None) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            writer.write(answer)
        writer.close()

    with short_folder() as folder:
        server = await asyncio.start_unix_server(handle, f"{folder}/s")
        pool = Pool(Endpoint(uds=f"{folder}/s"))
        try:
            if error is None:
                for _ in range(3):
                    assert (await fetch(pool, "GET", "/health")).body == b"fine"
                assert len(pool.open) == 1
            else:
                with pytest.raises(error):
                    await fetch(pool, "GET", "/health", timeout_s=0.05, limit=1000)
            pool.close()
            await until(lambda: not pool.open)
        finally:
            server.close()
            await server.wait_closed()
            await turns()
