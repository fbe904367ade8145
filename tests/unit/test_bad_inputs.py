"""Inputs that have broken other servers: requests that two parsers read differently, injected headers, planted
secrets, exploding labels."""

import logging
from pathlib import Path

import psutil
import pytest
from gateway import (
    ANSWER,
    CHAT,
    DONE,
    Gate,
    Held,
    Peer,
    Received,
    ScriptedWorker,
    chat,
    config,
    delta,
    on_uvloop,
    raw,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    stream,
    until,
)

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

HEALTH = request(path="/health", method="GET")


# -- smuggling ---------------------------------------------------------------------------------------------

SMUGGLED = request(chat("smuggled"))
CL = b"Content-Length: 5\r\n"
TE = b"Transfer-Encoding: chunked\r\n"
HOST = b"Host: localhost\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"


def post(lines: bytes, body: bytes = b"") -> bytes:
    return b"POST PATH HTTP/1.1\r\n" + lines + b"\r\n" + body


AMBIGUOUS = {
    "length and chunked": post(HOST + CL + TE, HELLO),
    "chunked and length": post(HOST + TE + CL, HELLO),
    "zero length and chunked": post(HOST + b"Content-Length: 0\r\n" + TE, HELLO),
    "two lengths": post(HOST + CL + b"Content-Length: 6\r\n", b"hello!"),
    "the same length twice": post(HOST + CL + CL, b"hello"),
    "a list of lengths": post(HOST + b"Content-Length: 5, 5\r\n", b"hello"),
    "two lengths in one value": post(HOST + b"Content-Length: 5 5\r\n", b"hello"),
    "an empty length": post(HOST + b"Content-Length: \r\n"),
    "a negative length": post(HOST + b"Content-Length: -5\r\n", b"hello"),
    "a length with a plus": post(HOST + b"Content-Length: +5\r\n", b"hello"),
    "a length in hex": post(HOST + b"Content-Length: 0x5\r\n", b"hello"),
    "a length with a point": post(HOST + b"Content-Length: 5.0\r\n", b"hello"),
    "a length with an exponent": post(HOST + b"Content-Length: 1e1\r\n", b"hello"),
    "a length with an underscore": post(HOST + b"Content-Length: 1_0\r\n", b"hello"),
    "a length of other digits": post(HOST + "Content-Length: \u0665\r\n".encode(), b"hello"),
    "a length beyond 64 bits": post(HOST + b"Content-Length: 18446744073709551621\r\n", b"hello"),
    "a length in quotes": post(HOST + b'Content-Length: "5"\r\n', b"hello"),
    "a length in a folded line": post(HOST + b"X: y\r\n Content-Length: 5\r\n", b"hello"),
    "xchunked": post(HOST + b"Transfer-Encoding: xchunked\r\n", HELLO),
    "chunked and identity": post(HOST + b"Transfer-Encoding: chunked, identity\r\n", HELLO),
    "identity and chunked": post(HOST + b"Transfer-Encoding: identity, chunked\r\n", HELLO),
    "identity": post(HOST + b"Transfer-Encoding: identity\r\n" + CL, b"hello"),
    "gzip and chunked": post(HOST + b"Transfer-Encoding: gzip, chunked\r\n", HELLO),
    "chunked twice": post(HOST + TE + TE, HELLO),
    "chunked in quotes": post(HOST + b'Transfer-Encoding: "chunked"\r\n', HELLO),
    "chunked with a tab": post(HOST + b"Transfer-Encoding: chunked\t\r\n", HELLO),
    "chunked with a vertical tab": post(HOST + b"Transfer-Encoding: \x0bchunked\r\n", HELLO),
    "chunked with a parameter": post(HOST + b"Transfer-Encoding: chunked;q=1\r\n", HELLO),
    "a folded coding": post(HOST + b"Transfer-Encoding:\r\n chunked\r\n", HELLO),
    "a coding behind a bare CR": post(HOST + b"X: y\rTransfer-Encoding: chunked\r\n", HELLO),
    "chunked in HTTP/1.0": post(HOST + TE, HELLO).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a space before the colon": post(HOST + b"Content-Length : 5\r\n", b"hello"),
    "a tab before the colon": post(HOST + b"Transfer-Encoding\t: chunked\r\n", HELLO),
    "a space before the name": post(HOST + b" Content-Length: 5\r\n", b"hello"),
    "a header without a name": post(HOST + b": 5\r\n" + CL, b"hello"),
    "a header without a colon": post(HOST + b"Content-Length\r\n", b"hello"),
    "NUL in a name": post(HOST + b"Content-\0Length: 5\r\n", b"hello"),
    "NUL in a value": post(HOST + CL + b"X: a\0b\r\n", b"hello"),
    "a control character in a value": post(HOST + CL + b"X: a\x1bb\r\n", b"hello"),
    "DEL in a value": post(HOST + CL + b"X: a\x7fb\r\n", b"hello"),
    "a non-ASCII name": post(HOST + "Content\u2010Length: 5\r\n".encode(), b"hello"),
    "a bare LF after a header": post(HOST + b"X: y\n" + CL, b"hello"),
    "a bare LF at the end of the head": b"POST PATH HTTP/1.1\r\n" + HOST + CL + b"\nhello",
    "a bare LF after the request line": b"POST PATH HTTP/1.1\n" + HOST + CL + b"\r\nhello",
    "a bare CR after the request line": b"POST PATH HTTP/1.1\r" + HOST + CL + b"\r\nhello",
    "a bare CR in a header": post(HOST + b"X: y\rz\r\n" + CL, b"hello"),
    "an obsolete fold": post(HOST + b"X: y\r\n\tz\r\n" + CL, b"hello"),
    "two hosts": post(HOST + b"Host: evil.example\r\n" + CL, b"hello"),
    "no host": post(CL, b"hello"),
    "two keys": post(HOST + b"Authorization: a\r\nAuthorization: b\r\n" + CL, b"hello"),
    "an absolute target": post(HOST + CL, b"hello").replace(b"PATH", b"http://evil.examplePATH"),
    "an absolute https target": post(HOST + CL, b"hello").replace(b"PATH", b"https://localhostPATH"),
    "an asterisk": post(HOST + CL, b"hello").replace(b"PATH", b"*"),
    "no target": post(HOST + CL, b"hello").replace(b"PATH ", b""),
    "a target without a slash": post(HOST + CL, b"hello").replace(b"PATH", b"v1"),
    "a space in the target": post(HOST + CL, b"hello").replace(b"PATH", b"PATH x"),
    "a control character in the target": post(HOST + CL, b"hello").replace(b"PATH", b"PATH\x01"),
    "a non-ASCII target": post(HOST + CL, b"hello").replace(b"PATH", "PATH\u00e9".encode()),
    "no version": post(HOST + CL, b"hello").replace(b" HTTP/1.1", b""),
    "another version": post(HOST + CL, b"hello").replace(b"HTTP/1.1", b"HTTP/1.10"),
    "another protocol": post(HOST + CL, b"hello").replace(b"HTTP/1.1", b"XTTP/1.1"),
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}

CHUNKS = {
    "a chunk size beyond 64 bits": b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    "a chunk size that wraps around": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "a negative chunk size": b"-5\r\nhello\r\n0\r\n\r\n",
    "a chunk size with a plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "a chunk size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk size with an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "a chunk size in other digits": "\u0665\r\nhello\r\n0\r\n\r\n".encode(),
    "junk in the chunk size": b"5x\r\nhello\r\n0\r\n\r\n",
    "a space before the chunk size": b" 5\r\nhello\r\n0\r\n\r\n",
    "a space behind the chunk size": b"5 \r\nhello\r\n0\r\n\r\n",
    "no chunk size": b"\r\nhello\r\n0\r\n\r\n",
    "no CRLF after the chunk": b"5\r\nhello0\r\n\r\n",
    "a longer chunk than told": b"5\r\nhello!\r\n0\r\n\r\n",
    "a bare LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "a bare LF after the chunk": b"5\r\nhello\n0\r\n\r\n",
    "a bare CR after the size": b"5\rhello\r\n0\r\n\r\n",
    "a bare LF in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "NUL in an extension": b"5;a=\0\r\nhello\r\n0\r\n\r\n",
    "a bare LF after a trailer": b"5\r\nhello\r\n0\r\nX: y\n\r\n",
    "a folded trailer": b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n",
}
AMBIGUOUS |= {name: post(HOST + TE, body) for name, body in CHUNKS.items()}


@pytest.mark.parametrize("path", [CHAT, "/admin/load"])
@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_what_two_parsers_could_read_in_two_ways_ends_the_connection(
    front: Gate, worker: ScriptedWorker, name: str, path: str
) -> None:
    data = AMBIGUOUS[name].replace(b"PATH", path.encode())
    for before in (b"", HEALTH, request(chat("before"))):
        async with front.client() as client:
            await client.send(before + data + SMUGGLED, SMUGGLED)
            if before:
                assert (await client.answer()).status == 200
            answer = await client.answer()
            assert answer.status == 400, answer.body
            assert answer.error["type"] == "invalid_request_error"
            assert answer.header("connection") == "close"
            assert await client.is_closed(), "something more was answered"
    assert {r.json["messages"][0]["content"] for r in worker.requests} <= {"before"}


async def test_the_same_in_a_second_segment_or_byte_by_byte_ends_alike(front: Gate, worker: ScriptedWorker) -> None:
    for name in ("length and chunked", "a bare LF after a header", "no CRLF after the chunk", "an obsolete fold"):
        data = AMBIGUOUS[name].replace(b"PATH", CHAT.encode())
        for pieces in ([data[:at], data[at:] + SMUGGLED] for at in range(1, len(data), 5)):
            async with front.client() as client:
                await client.send(*pieces)
                assert (await client.answer()).status == 400
                assert await client.is_closed()
    assert not worker.requests


async def test_harmless_variants_are_served(front: Gate, worker: ScriptedWorker) -> None:
    body = b'{"model":"m","messages":[{"role":"user"}]}'
    for head in (
        b"Content-Length: %d\r\n",
        b"content-length:%d\r\n",
        b"CONTENT-LENGTH:\t %d\r\n",
        b"Content-Length: %d \r\n",
        b"Content-Length: 000%d\r\n",
        b"Content-Length: %d\r\nX:\r\nY: \r\nZ: \xe9\tq\r\n",
    ):
        assert (await front.ask(post(HOST + head % len(body), body).replace(b"PATH", CHAT.encode()))).status == 200
    for head in (b"transfer-encoding: chunked\r\n", b"Transfer-Encoding: CHUNKED\r\n"):
        data = post(HOST + head, b"0%X;x\r\n%b\r\n00\r\n\r\n" % (len(body), body))
        assert (await front.ask(data.replace(b"PATH", CHAT.encode()))).status == 200
    assert {r.body for r in worker.requests} == {body}


# -- injected headers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x-trace-id", "x-span-id", "x-session-id", "traceparent", "x-request-id"])
@pytest.mark.parametrize("value", [b"a b", b"a\tb", b"\xe9", b"x" * 201, b"", b'a"\xff'])
async def test_only_plain_trace_ids_are_passed_on(front: Gate, worker: ScriptedWorker, name: str, value: bytes) -> None:
    line = name.encode() + b": " + value + b"\r\n"
    data = request(chat()).replace(HOST, HOST + line)
    answer = await front.ask(data)
    assert answer.status == 200
    assert answer.header(name) is None or name == "x-request-id"
    assert worker.requests[-1].header(name) == []


async def test_plain_trace_ids_reach_the_worker_the_client_and_the_books(front: Gate, worker: ScriptedWorker) -> None:
    for number in range(3):
        head = f"X-Trace-Id: t{number}\r\nX-Session-Id: s{number}\r\nTraceparent: 00-aa-bb-01\r\n"
        answer = await front.ask(request(chat(), head=head))
        assert (answer.header("x-trace-id"), answer.header("x-session-id")) == (f"t{number}", f"s{number}")
        assert answer.header("traceparent") is None
        received = worker.requests[-1]
        assert [received.header(n) for n in ("x-trace-id", "x-session-id", "traceparent")] == [
            [f"t{number}"],
            [f"s{number}"],
            ["00-aa-bb-01"],
        ]
    await front.ask(request(chat(), head="X-Request-Id: mine\r\nX-Trace-Id: t\r\n"))
    assert [r.client_id for r in await front.rows()][-4:] == ["t0", "t1", "t2", "mine"]


async def test_nothing_else_of_the_client_reaches_the_worker(front: Gate, worker: ScriptedWorker) -> None:
    head = "Cookie: a=b\r\nX-Api-Key: k\r\nAuthorization: Bearer k\r\nX-Forwarded-For: 1.2.3.4\r\n"
    head += "Accept-Encoding: gzip\r\n"
    await front.ask(
        request(chat(), head=head + "TE: trailers\r\nProxy-Authorization: x\r\nX-Rolecast-Model: other\r\n")
    )
    names = {n.lower() for n, _ in worker.requests[-1].headers}
    assert names == {"host", "accept-encoding", "content-type", "content-length", "via"}
    assert worker.requests[-1].header("accept-encoding") == ["identity"]


async def test_names_in_the_configuration_cannot_inject_headers() -> None:
    evil = "m\r\nX-Evil: 1\r\n\r\nHTTP/1.1 200 OK"
    with short_folder() as folder:
        async with ScriptedWorker().listening() as worker:
            conf = config({evil: remote(worker.url, remote_model=evil), "\u00e9\u4e2d": remote(worker.url)})
            async with running_gateway(conf, Path(folder)) as front, front.client() as client:
                for name in (evil, "\u00e9\u4e2d", ""):
                    await client.send(request(chat(model=name)))
                    answer = await client.answer()
                    assert answer.status == 200
                    assert answer.header("x-evil") is None
                    assert (answer.header("x-rolecast-model") or "").isascii()
                await client.send(request(path="/v1/models", method="GET"))
                assert evil in {m["id"] for m in (await client.answer()).json["data"]}
                await client.send(request(path="/metrics", method="GET"))
                assert b"\nX-Evil" not in (await client.answer()).body
            assert not worker.bad


# -- secrets -----------------------------------------------------------------------------------------------

SECRET = "xylophone-7141"


async def test_a_prompt_is_in_no_log_metric_ledger_or_error(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)

    async def dies(peer: Peer, _: Received) -> None:
        peer.transport.abort()

    echo = b'{"error":{"message":"no","code":"%b","type":"x"}}' % (b"prompt was: " + SECRET.encode())
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            conf = config({"m": remote(worker.url), "gone": remote(f"unix:{folder}/none.sock")})
            async with running_gateway(conf, Path(folder)) as front:
                worker.script.extend(
                    [
                        reply(),
                        stream(delta(SECRET), DONE),
                        raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + delta(SECRET), close=True),
                        reply(echo, 500),
                        reply(echo, 503),
                        dies,
                        dies,
                        dies,
                        raw(SECRET.encode() + b"\r\n\r\n"),
                    ]
                )
                answers = []
                for data in (
                    request(chat(SECRET)),
                    request(chat(SECRET, stream=True)),
                    request(chat(SECRET, stream=True)),
                    request(chat(SECRET)),
                    request(chat(SECRET)),
                    request(chat(SECRET)),
                    request(chat(SECRET)),
                    request(chat(SECRET, model="gone")),
                    request(chat(SECRET, temperature="hot")),
                    request(chat(SECRET, stream_options=SECRET)),
                    request(chat(SECRET) | {"messages": [{"role": 5, "content": SECRET}]}),
                    request(f'{{"messages":"{SECRET}"'.encode()),
                    request(f'{{"prompt":"{SECRET}","max_tokens":-9}}'.encode(), path="/v1/completions"),
                    request(f'"{SECRET}"'.encode()),
                    request(
                        f'{{"model":"m","messages":[{{"role":"user","content":"{SECRET}\xff"}}]}}'.encode("latin-1")
                    ),
                    request(chat(SECRET), head="Content-Encoding: gzip\r\n"),
                    request(chat(SECRET), path="/v1/none"),
                ):
                    answer = await front.ask(data)
                    if answer.status >= 400:
                        answers.append(answer.body)
                async with front.client() as client:
                    slow = Held(delta(SECRET))
                    worker.script.append(slow)
                    await client.send(request(chat(SECRET, stream=True)))
                    await slow.began.wait()
                    client.abort()
                await until(lambda: not front.gateway.dispatch.active)
                metrics = (await front.ask(request(path="/metrics", method="GET"))).body
                status = (await front.ask(request(path="/admin/status", method="GET"))).body
                ledger = (await front.ask(request(path="/admin/requests", method="GET"))).body
                rows = await front.rows()
            files = b"".join(p.read_bytes() for p in Path(folder).rglob("*") if p.is_file())
    assert len(rows) >= 9
    assert len(answers) >= 10
    out = capfd.readouterr()
    places = {
        "log": caplog.text,
        "metrics": metrics,
        "status": status,
        "ledger": ledger,
        "files": files,
        "error": b"".join(answers[2:]),  # the first two are the worker's own words to its own client
        "output": out.out + out.err,
    }
    for place, text in places.items():
        data = text if isinstance(text, bytes) else text.encode()
        assert SECRET.encode() not in data, place


async def test_keys_are_in_no_log_status_or_ledger(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("REMOTE_KEY", "remote-key-9231")
    with short_folder() as folder:
        async with ScriptedWorker().listening() as worker:
            conf = config({"m": remote(worker.url, key="env:REMOTE_KEY")}, keys=["own-key-5523"])
            async with running_gateway(conf, Path(folder)) as front:
                head = "Authorization: Bearer own-key-5523\r\n"
                worker.script.append(reply(b"no", 401))
                data = [
                    request(chat(), head=head),
                    request(chat(), head=head),
                    request(chat(), head=head + "Authorization: Bearer own-key-5523\r\n"),
                    request(chat(), head="Authorization: Bearer wrong-key-1\r\n"),
                    *(
                        request(path=p, method="GET", head=head)
                        for p in ("/admin/status", "/metrics", "/admin/requests")
                    ),
                ]
                texts = [(await front.ask(d)).body for d in data]
                rows = await front.rows()
            assert worker.requests[0].header("authorization") == ["Bearer remote-key-9231"]
            files = b"".join(p.read_bytes() for p in Path(folder).rglob("*") if p.is_file())
    text = b"".join([*texts, caplog.text.encode(), files])
    for secret in (b"own-key-5523", b"remote-key-9231", b"wrong-key-1"):
        assert secret not in text
    assert {len(r.key) for r in rows} == {8}


# -- labels ------------------------------------------------------------------------------------------------


async def test_ten_thousand_names_that_do_not_exist_leave_no_trace(front: Gate, worker: ScriptedWorker) -> None:
    before = (await front.ask(request(path="/metrics", method="GET"))).body.count(b"\n")
    rows = len(await front.rows())
    async with front.client() as client:
        for batch in range(100):
            await client.send(b"".join(request(chat(model=f"name-{batch}-{n}")) for n in range(100)))
            for _ in range(100):
                assert (await client.answer()).status == 404
            if batch == 10:
                memory = psutil.Process().memory_info().rss
    assert psutil.Process().memory_info().rss - memory < 8 * 2**20
    assert len(front.gateway.plans.made) < 5
    assert (await front.ask(request(path="/metrics", method="GET"))).body.count(b"\n") <= before + 2
    assert len(await front.rows()) == rows
    assert not worker.requests


async def test_ten_thousand_heads_and_paths_leave_no_trace(front: Gate, worker: ScriptedWorker) -> None:
    before = (await front.ask(request(path="/metrics", method="GET"))).body.count(b"\n")
    async with front.client() as client:
        for n in range(1000):
            await client.send(request(path=f"/nothing/{n}", method="GET"))
            assert (await client.answer()).status == 404
            await client.send(request(b"{}", head=f"X-Session-Id: {n}\r\nX-Label-{n}: {n}\r\n"))
            assert (await client.answer()).status == 422
    assert (await front.ask(request(path="/metrics", method="GET"))).body.count(b"\n") <= before + 2


# -- requests that name places -------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b'{"model":"\xff"}', b"[" * 100_000, b'{"x":' * 100_000, b'{"model":"\\ud800"}', b""])
@pytest.mark.parametrize("path", ["/admin/load", "/admin/unload", "/v1/chat/completions", "/v1/embeddings"])
async def test_a_body_that_cannot_be_decoded_is_the_clients_mistake(front: Gate, path: str, body: bytes) -> None:
    answer = await front.ask(request(body, path=path))
    assert (answer.status, answer.error["code"]) == (400, "bad_json")


async def test_an_address_in_a_request_is_never_called(front: Gate, worker: ScriptedWorker) -> None:
    async with ScriptedWorker().listening() as other:
        fields = {"api_base": other.url, "base_url": other.url, "url": other.url, "backend": "fake"}
        answer = await front.ask(request(chat(**fields, extra_body=fields, image_url=other.url)))
        assert (answer.status, answer.body) == (200, ANSWER)
        assert not other.requests
    assert len(worker.requests) == 1


async def test_a_redirect_of_a_remote_is_not_followed_and_its_key_not_sent_on() -> None:
    with short_folder() as folder:
        async with ScriptedWorker().listening() as worker, ScriptedWorker().listening() as other:
            conf = config({"m": remote(worker.url, key="k-123")})
            async with running_gateway(conf, Path(folder)) as front:
                for status in (301, 302, 303, 307, 308):
                    head = f"Location: {other.url}/chat/completions\r\n".encode()
                    worker.script.append(reply(b"", status, head=head))
                    answer = await front.ask(request(chat()))
                    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
                    assert answer.header("location") is None
            assert not other.requests


async def test_text_of_a_model_cannot_end_the_stream(front: Gate, worker: ScriptedWorker) -> None:
    evil = delta("\n\ndata: [DONE]\n\nevent: x\n\n")
    worker.script.append(stream(evil, DONE))
    answer = await front.ask(request(chat(stream=True)))
    assert answer.body == evil + DONE
