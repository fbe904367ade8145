"""Servers of others: what our own books may ask of them, what their errors become, addresses, and circles."""

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    ANSWER,
    DONE,
    USAGE,
    Gate,
    Peer,
    Received,
    ScriptedWorker,
    chat,
    config,
    delta,
    pair,
    raw,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    stream,
    until,
)

from rolecast import backends
from rolecast.backends.remote import NAME, OpenAIRemote
from rolecast.config.advice import warnings
from rolecast.config.check import check
from rolecast.config.schema import Config, Listener, Model, Server
from rolecast.errors import ConfigError
from rolecast.server.lane import MAX_GATEWAYS, by_name
from rolecast.turn import passage
from rolecast.values import Endpoint, authority

pytestmark = pytest.mark.anyio

UNKNOWN = b'{"detail":[{"loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}'
TWO = delta("one") + delta("two") + DONE


def asked(text: str = "hello", model: str = "m", **fields: Any) -> bytes:
    return request(chat(text, model, **fields))


def wishes(worker: ScriptedWorker) -> list[bool]:
    """Which of the requests asked for usage."""
    return ["stream_options" in r.json for r in worker.requests]


# -- what our books may ask ------------------------------------------------------------------------------------


def strict(status: int = 400, body: bytes = UNKNOWN) -> Any:
    """A server that does not know `stream_options`."""

    async def script(peer: Peer, received: Received) -> None:
        if "stream_options" in received.json:
            await reply(body, status)(peer, received)
        elif received.json.get("stream"):
            await stream(delta("one"), delta("two"), DONE)(peer, received)
        else:
            await reply()(peer, received)

    return script


@pytest.mark.parametrize("status", [400, 415, 422, 501])
async def test_a_refused_wish_for_usage_is_dropped_and_remembered(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rolecast")
    async with pair() as (gate, worker):
        worker.usual = strict(status)
        for _ in range(3):
            answer = await gate.ask(asked("x" * 400, stream=True))
            assert (answer.status, answer.body) == (200, TWO)
        assert wishes(worker) == [True, False, False, False]
        for row in await gate.rows():
            assert (row.outcome, row.counted, row.completion_tokens, row.attempts) == ("ok", True, 2, 1)
            assert row.prompt_tokens > 100
        assert caplog.text.count("m refuses stream_options") == 1
        assert "Extra inputs" not in caplog.text


async def test_a_server_that_fails_over_the_wish_is_asked_without_but_a_failure_is_not_remembered() -> None:
    async with pair() as (gate, worker):
        worker.usual = strict(500)
        for _ in range(2):
            assert (await gate.ask(asked(stream=True))).body == TWO
        worker.usual = stream(delta("one"), USAGE, DONE)
        assert (await gate.ask(asked(stream=True))).body == delta("one") + DONE
        assert wishes(worker) == [True, False, True, False, True]


async def test_a_wish_refused_inside_of_a_stream_is_dropped_too() -> None:
    async with pair() as (gate, worker):
        refusal = b'data: {"error":{"message":"unknown field stream_options","code":400}}\n\n'
        worker.script += [stream(refusal), stream(delta("one"), delta("two"), DONE)]
        answer = await gate.ask(asked(stream=True))
        assert (answer.status, answer.body) == (200, TWO)


async def test_an_error_of_the_clients_own_request_is_passed_on_and_nothing_remembered() -> None:
    async with pair() as (gate, worker):
        worker.script += [reply(UNKNOWN, 400), reply(b'{"error":{"message":"too hot","param":"temperature"}}', 400)]
        answer = await gate.ask(asked(stream=True))
        assert (answer.status, answer.error["message"], answer.error["param"]) == (400, "too hot", "temperature")
        worker.usual = stream(delta("one"), USAGE, DONE)
        assert (await gate.ask(asked(stream=True))).status == 200
        assert wishes(worker) == [True, False, True]


async def test_a_wish_of_the_clients_own_is_never_taken_back() -> None:
    async with pair() as (gate, worker):
        worker.usual = strict()
        answer = await gate.ask(asked(stream=True, stream_options={"include_usage": True}))
        assert (answer.status, len(worker.requests)) == (400, 1)
        assert answer.error["message"] == "body.stream_options: Extra inputs are not permitted"


async def test_other_options_of_the_clients_stream_are_kept_beside_our_wish() -> None:
    async with pair() as (gate, worker):
        worker.usual = stream(delta("one"), USAGE, DONE)
        for options in ({"include_obfuscation": False}, {"include_usage": False, "x": [1]}, {}, None):
            answer = await gate.ask(asked(stream=True, stream_options=options))
            assert answer.body == delta("one") + DONE
            assert worker.requests[-1].json["stream_options"] == (options or {}) | {"include_usage": True}


async def test_options_of_the_clients_stream_survive_where_usage_is_not_asked_for() -> None:
    async with pair(model={"stream_usage": "never"}) as (gate, worker):
        worker.usual = stream(delta("one"), DONE)
        await gate.ask(asked(stream=True, stream_options={"include_obfuscation": False}))
        assert worker.requests[-1].json["stream_options"] == {"include_obfuscation": False}


async def test_a_model_can_be_set_never_to_be_asked_and_to_be_asked_each_time() -> None:
    async with pair(model={"stream_usage": "never"}) as (gate, worker):
        worker.usual = strict()
        assert (await gate.ask(asked(stream=True))).body == TWO
        assert wishes(worker) == [False]
    async with pair(model={"stream_usage": "ask"}) as (gate, worker):
        worker.usual = strict()
        for _ in range(2):
            assert (await gate.ask(asked(stream=True))).body == TWO
        assert wishes(worker) == [True, False, True, False]


async def test_other_settings_are_a_reason_to_ask_again() -> None:
    async with pair() as (gate, worker):
        worker.usual = strict()
        await gate.ask(asked(stream=True))
        await gate.gateway.reloader.apply(gate.gateway.current.config)
        await gate.ask(asked(stream=True))
        assert wishes(worker) == [True, False, True, False]


async def test_the_next_model_is_asked_in_its_own_way() -> None:
    async with three() as (gate, (a, b, _)):
        a.usual, b.usual = reply(b"{}", 500), strict()
        assert (await gate.ask(asked(model="all", stream=True))).body == TWO
        assert (await gate.ask(asked(model="all", stream=True))).body == TWO
        assert wishes(a) == [True, False] * 2  # a failure is no refusal
        assert wishes(b) == [True, False, False]


@pytest.mark.parametrize("one_read", [False, True])
async def test_a_remote_that_never_reports_usage_is_counted_by_pieces_not_by_reads(one_read: bool) -> None:
    events = [delta(""), delta("one"), delta('say "content": "x"'), delta("three"), DONE]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    async with pair() as (gate, worker):
        worker.usual = raw(head, b"".join(events), close=True) if one_read else stream(*events)
        for options in ({}, {"stream_options": {"include_usage": True}}):
            assert (await gate.ask(asked(stream=True, **options))).body == b"".join(events)
        assert [(r.completion_tokens, r.counted) for r in await gate.rows()] == [(3, True)] * 2


async def test_a_plain_answer_without_usage_is_counted_by_its_length() -> None:
    body = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"twelve chars"}}]}'
    async with pair() as (gate, worker):
        for usual in (reply(body), reply(body), raw(b"HTTP/1.1 200 OK\r\n\r\n" + body, close=True)):
            worker.usual = usual
            assert (await gate.ask(asked("x" * 400))).body == body
        for row in await gate.rows():
            assert (row.completion_tokens, row.counted) == (3, True)
            assert row.prompt_tokens > 100


@pytest.mark.parametrize(
    "reported", [b'{"prompt_tokens":%b}' % (b"9" * 40), b'{"prompt_tokens":-7,"completion_tokens":1}']
)
async def test_a_report_that_cannot_be_true_is_none(reported: bytes) -> None:
    body = b'{"choices":[{"index":0,"message":{"content":"twelve chars"}}],"usage":' + reported + b"}"
    last = b'data: {"choices":[],"usage":' + reported + b"}\n\n"
    async with pair() as (gate, worker):
        worker.script.append(reply(body))
        assert (await gate.ask(asked())).body == body
        worker.script.append(stream(delta("one"), last, DONE))
        await gate.ask(asked(stream=True))
        worker.script.append(stream(delta("one"), last, DONE))
        await gate.ask(asked(stream=True, stream_options={"include_usage": True}))
        rows = await gate.rows()
        assert [(r.completion_tokens, r.counted) for r in rows] == [(3, True), (1, True), (1, True)]


async def test_an_answer_in_another_encoding_is_passed_on_and_ends() -> None:
    body = b'{"choices":[{"index":0,"message":{"content":"caf\xe9"}}]}'
    async with pair() as (gate, worker):
        worker.usual = reply(body)
        for _ in range(2):
            assert (await gate.ask(asked())).body == body
        assert [r.outcome for r in await gate.rows()] == ["ok", "ok"]


# -- what their errors become ------------------------------------------------------------------------------------


@asynccontextmanager
async def three(**fields: Any) -> AsyncIterator[tuple[Gate, list[ScriptedWorker]]]:
    """Models a, b and c, all of them in the role `all`."""
    with short_folder() as folder:
        async with (
            ScriptedWorker().listening() as a,
            ScriptedWorker().listening() as b,
            ScriptedWorker().listening() as c,
        ):
            workers = [a, b, c]
            conf = config({n: remote(w.url, **fields) for n, w in zip("abc", workers, strict=True)})
            conf = msgspec.structs.replace(conf, roles={"standard": ["a"], "all": ["a", "b", "c"]})
            async with running_gateway(conf, Path(folder)) as gate:
                yield gate, workers


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"message":"maximum context length is 8","code":"context_length_exceeded"}}',
        b'[{"error":{"message":"maximum context length is 8","code":"context_length_exceeded"}}]',
        b'{"object":"error","message":"maximum context length is 8","code":"context_length_exceeded"}',
        b'{"message":"maximum context length is 8","code":"context_length_exceeded"}',
        b'{"message":{"detail":["maximum context length is 8"]},"code":"context_length_exceeded"}',
        b'{"detail":[{"msg":"maximum context length is 8"}],"code":"context_length_exceeded"}',
    ],
)
async def test_the_words_of_a_refusal_reach_the_client_and_no_log(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with pair() as (gate, worker):
        worker.script.append(reply(body, 400))
        answer = await gate.ask(asked())
        assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
        assert answer.error["message"] == "maximum context length is 8"
        assert "maximum" not in caplog.text


async def test_plain_text_and_pages_are_told_too() -> None:
    async with pair() as (gate, worker):
        worker.script.append(reply(b"Bad\r\nthing\x07", 400, kind=b"text/plain"))
        assert (await gate.ask(asked())).error["message"] == "Bad thing"
        page = b"<html><head><title>502 Bad Gateway</title></head></html>"
        worker.script.append(reply(page, 502, kind=b"text/html"))
        text = f"m at {worker.url} answered with status 502: 502 Bad Gateway"
        assert (await gate.ask(asked())).error["message"] == text


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_names_where_to(status: int) -> None:
    async with pair() as (gate, worker):
        head = b"Location: https://user:pw@new.example.com/v1/chat/completions?key=secret\r\n"
        worker.script.append(reply(b"moved", status, head=head))
        answer = await gate.ask(asked())
        assert (answer.status, answer.error["code"], answer.header("location")) == (502, "upstream_error", None)
        assert "redirects to https://new.example.com/v1/chat/completions (status" in answer.error["message"]
        assert "secret" not in answer.error["message"]
        assert "pw" not in answer.error["message"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"message": "API key not valid", "status": "INVALID_ARGUMENT", "code": 400, "type": "API_KEY_INVALID"}),
        (400, {"message": "no such model", "code": "model_not_found"}),
        (429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}),
    ],
)
async def test_what_is_about_our_account_there_is_no_mistake_of_the_client(status: int, error: Any) -> None:
    async with three() as (gate, (a, _, c)):
        a.usual = reply(json.dumps({"error": error}).encode(), status)
        assert (await gate.ask(asked(model="all"))).header("x-rolecast-model") == "b"
        answer = await gate.ask(asked(model="a"))
        assert (answer.status, answer.error["code"]) == (502, "upstream_error")
        assert error["message"] in answer.error["message"]
        assert not c.requests


async def test_our_credential_is_struck_out_of_what_a_remote_says() -> None:
    async with three(key="sk-very-secret") as (gate, (a, _, _)):
        a.usual = reply(b'{"error":{"message":"Incorrect API key provided: sk-very-secret."}}', 401)
        answer = await gate.ask(asked(model="a"))
        assert answer.error["message"].endswith("Incorrect API key provided: ***.")


async def test_a_busy_remote_stays_busy_with_its_time() -> None:
    async with three() as (gate, workers):
        for worker in workers:
            worker.usual = reply(b'{"error":{"message":"slow down"}}', 429, head=b"Retry-After: 7\r\n")
        answer = await gate.ask(asked(model="all"))
        assert (answer.status, answer.error["message"], answer.header("retry-after")) == (429, "slow down", "7")
        assert [len(w.requests) for w in workers] == [1, 1, 1]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error":{"message":"overloaded","code":529}}', b"application/json"),
        (b'{"error":"overloaded"}', b"application/json; charset=utf-8"),
        (b'data: {"error":{"message":"overloaded"}}\n\ndata: [DONE]\n\n', b"text/event-stream"),
        (b'event: error\ndata: {"type":"error","error":{"message":"overloaded"}}\n\n', b"text/event-stream"),
        (b'{"error":{"message":"overloaded"}}', b"text/event-stream"),
        (b': PROCESSING\n\ndata: {"error":{"message":"overloaded"}}\n\n', b"text/event-stream"),
        (b'retry: 1000\n\nid: 1\r\ndata: {"error":{"message":"overloaded"}}\r\n\r\n', b"text/event-stream"),
        (b'{"error":"overloaded","usage":{"prompt_tokens":0,"completion_tokens":0}}', b"application/json"),
        (b"<html><head><title>overloaded</title></head><body>Sorry</body></html>", b"text/html"),
        (b"overloaded", b"text/plain"),
        (b'{"status":"down","message":"overloaded"}', b"application/json"),
    ],
)
async def test_an_error_in_place_of_an_answer_is_an_error(body: bytes, kind: bytes) -> None:
    streamed = kind == b"text/event-stream"
    async with three() as (gate, (a, b, _)):
        b.usual = stream(delta("one"), delta("two"), DONE) if streamed else reply()
        for usual in (
            reply(body, kind=kind),
            raw(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n\r\n" % kind + body, close=True),
        ):
            a.usual = usual
            answer = await gate.ask(asked(model="all", stream=streamed))
            assert (answer.status, answer.body) == (200, TWO if streamed else ANSWER)
            answer = await gate.ask(asked(model="a", stream=streamed))
            assert (answer.status, answer.error["code"]) == (502, "upstream_error")
            assert answer.error["message"].endswith(": overloaded")
        assert [r.outcome for r in await gate.rows()] == ["ok", "error"] * 2


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", b"application/json"),
        (b"null", b"application/json"),
        (b"{}", b"application/json"),
        (b'{"data":[],"choices":[],"usage":null}', b"application/json"),
        (b"[" * 100_000, b"application/json"),
        (b'{"choices":null,"usage":{"prompt_tokens":0,"completion_tokens":0}}', b"application/json"),
        (b'{"choices":[]}', b"application/json"),
        (b"<html><body></body></html>", b"text/html"),
        (b"", b"text/event-stream"),
        (b": nothing\n\n", b"text/event-stream"),
    ],
)
async def test_nothing_in_place_of_an_answer_is_a_failure(body: bytes, kind: bytes) -> None:
    streamed = kind == b"text/event-stream"
    async with three() as (gate, (a, b, _)):
        b.usual = stream(delta("one"), delta("two"), DONE) if streamed else reply()
        for _ in range(2):
            a.usual = reply(body, kind=kind)
            answer = await gate.ask(asked(model="all", stream=streamed))
            assert (answer.status, answer.body) == (200, TWO if streamed else ANSWER)
            answer = await gate.ask(asked(model="a", stream=streamed))
            assert (answer.status, answer.error["code"]) == (502, "upstream_error")
            assert answer.error["message"].endswith("answered with status 200 but gave no answer; check its `url`.")


async def test_an_answer_without_a_token_and_one_that_is_packed_are_answers() -> None:
    empty = b'{"choices":[{"index":0,"message":{"content":""}}],"usage":{"prompt_tokens":3,"completion_tokens":0}}'
    async with pair() as (gate, worker):
        for body, head in (
            (empty, b""),
            (b'{"number":0}', b""),
            (gzip.compress(ANSWER), b"Content-Encoding: gzip\r\n"),
        ):
            worker.script.append(reply(body, head=head))
            assert (await gate.ask(asked())).body == body
        packed = gzip.compress(delta("one") + DONE)
        worker.script.append(reply(packed, head=b"Content-Encoding: gzip\r\n", kind=b"text/event-stream"))
        assert (await gate.ask(asked())).body == packed


async def test_comments_before_the_first_event_are_held_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    comment, failed = b": PROCESSING\n\n", b'data: {"error":{"message":"overloaded"}}\n\n'
    async with three() as (gate, (a, b, _)):
        b.usual = stream(delta("one"), delta("two"), DONE)
        a.script.extend([stream(comment, comment, failed, DONE), stream(comment, delta("a"), comment, DONE)])
        assert (await gate.ask(asked(model="all", stream=True))).body == TWO
        kept = comment + delta("a") + comment + DONE
        assert (await gate.ask(asked(model="all", stream=True))).body == kept
        monkeypatch.setattr(passage, "COMMENTS_S", 0.0)
        a.script.append(stream(comment, failed, DONE))
        assert (await gate.ask(asked(model="all", stream=True))).body == comment + failed + DONE


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens. Please reduce it.",
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
        "the input length exceeds the context length",
        "Trying to keep the first 5000 tokens when context the overflows.",
        "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 1 + 2 > 2",
        "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).",
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
        "Please reduce the length of the messages or completion.",
        "Input is too long for requested model.",
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    ],
)
async def test_a_request_that_is_too_long_for_a_remote_has_the_code_that_agents_know(words: str) -> None:
    body = json.dumps({"object": "error", "message": words, "type": "BadRequestError", "code": 400}).encode()
    failed = json.dumps({"error": {"message": words, "type": "api_error"}}).encode()
    async with three() as (gate, (a, _, _)):
        for usual, status in ((reply(body, 400), 400), (reply(body, 422), 422), (reply(body), 400)):
            a.usual = usual
            answer = await gate.ask(asked(model="all"))
            assert (answer.status, answer.error["code"]) == (status, "context_length_exceeded")
            assert answer.error["message"] == words
        a.usual = reply(failed, 500)
        answer = await gate.ask(asked(model="a"))
        assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
        assert answer.error["type"] == "invalid_request_error"
        assert (await gate.ask(asked(model="all"))).header("x-rolecast-model") == "b"


@pytest.mark.parametrize(
    "words",
    [
        "context is not a known field",
        "max_tokens is too large: this model supports at most 8",
        "context: must be a map",
    ],
)
async def test_another_mistake_is_not_taken_for_too_long_a_request(words: str) -> None:
    async with pair() as (gate, worker):
        worker.script.append(reply(json.dumps({"error": {"message": words}}).encode(), 400))
        assert (await gate.ask(asked())).error["code"] == "worker_refused"


async def test_an_error_in_place_of_an_answer_may_name_its_status() -> None:
    async with pair() as (gate, worker):
        worker.script.append(reply(b'{"error":{"message":"slow down","code":429}}'))
        assert (await gate.ask(asked())).status == 429
        worker.script.append(reply(b'{"error":{"message":"bad","type":"invalid_request_error"}}'))
        assert (await gate.ask(asked())).status == 400


async def test_an_error_in_the_middle_of_a_stream_is_passed_on_and_in_the_books() -> None:
    error = b'data: {"error":{"message":"out of memory"}}\n\n'
    async with pair() as (gate, worker):
        worker.usual = stream(delta("one"), error, DONE)
        assert (await gate.ask(asked(stream=True))).body == delta("one") + error + DONE
        (row,) = await gate.rows()
        assert (row.outcome, row.error, row.completion_tokens) == ("error", "upstream_error", 1)


@pytest.mark.parametrize("status", [201, 202, 203])
async def test_another_kind_of_success_is_one(status: int) -> None:
    async with pair() as (gate, worker):
        for usual in (reply(status=status), reply(status=status)):
            worker.usual = usual
            answer = await gate.ask(asked())
            assert (answer.status, answer.body) == (200, ANSWER)


async def test_the_body_of_an_error_is_described_by_us() -> None:
    async with pair() as (gate, worker):
        worker.usual = reply(gzip.compress(b'{"error":"x"}'), 400, head=b"Content-Encoding: gzip\r\n")
        answer = await gate.ask(asked())
        assert (answer.status, answer.header("content-encoding")) == (400, None)
        assert (
            answer.error["message"] == f"m at {worker.url} refuses this request with status 400 and does not say why."
        )


async def test_a_remote_that_is_not_there_is_unreachable() -> None:
    with short_folder() as folder:
        async with ScriptedWorker().listening() as worker:
            url = worker.url
        async with running_gateway(config({"m": remote(url)}), Path(folder)) as gate:
            answer = await gate.ask(asked())
            assert (answer.status, answer.error["code"]) == (503, "unreachable")
            assert f"at {url.removesuffix('/v1')} is unreachable" in answer.error["message"]


# -- addresses and header values -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "address", "host"),
    [
        ("http://[::1]:8080/v1", "http://[::1]:8080", "[::1]:8080"),
        ("http://[::1]/v1", "http://[::1]:80", "[::1]"),
        ("https://[2001:DB8::1]:443/v1", "https://[2001:db8::1]:443", "[2001:db8::1]"),
        ("https://[2001:db8::1]:80/v1", "https://[2001:db8::1]:80", "[2001:db8::1]:80"),
        ("http://127.0.0.1:1/v1", "http://127.0.0.1:1", "127.0.0.1:1"),
        ("http://gw.example:80/v1", "http://gw.example:80", "gw.example"),
        ("unix:/run/x.sock", "unix:/run/x.sock", "localhost"),
    ],
)
def test_an_address_is_written_as_urls_have_it(url: str, address: str, host: str) -> None:
    endpoint = OpenAIRemote().plan("m", Model(backend="openai", url=url), None, Path("/none"))
    assert (endpoint.address, endpoint.authority) == (address, host)


def test_brackets_are_put_once_and_a_zone_stays_at_home() -> None:
    assert authority("::1", 80) == authority("[::1]", 80) == "[::1]:80"
    assert authority("fe80::1%eth0") == "[fe80::1]"
    assert authority("localhost", 0) == "localhost:0"
    assert Endpoint(host="::1", port=443, tls=True).authority == "[::1]"


async def test_a_remote_and_a_listener_at_an_ipv6_address() -> None:
    worker = ScriptedWorker()
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: Peer(worker), "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = server.sockets[0].getsockname()[1]
    conf = config({"m": remote(f"http://[::1]:{port}/v1")}, listeners=[Listener(port=0, name="six", host="[::1]")])
    assert not check(conf)
    with short_folder() as folder:
        async with server, running_gateway(conf, Path(folder)) as gate:
            worker.usual = reply()
            assert (await gate.ask(asked())).status == 200
            assert worker.requests[0].header("host") == [f"[::1]:{port}"]
            assert gate.gateway.doors.addresses[1].url == f"http://[::1]:{gate.port('six')}"
            worker.usual = reply(b"", 500)
            assert f"m at http://[::1]:{port} answered" in (await gate.ask(asked())).error["message"]
            for peer in worker.peers:
                peer.transport.abort()


@pytest.mark.parametrize(
    "kind", [b"Text/Event-Stream", b"TEXT/EVENT-STREAM; Charset=UTF-8", b"text/event-stream ;charset=utf-8"]
)
async def test_the_kind_of_an_answer_is_told_by_its_meaning_not_its_spelling(kind: bytes) -> None:
    body = delta("one") + delta("two") + USAGE + DONE
    async with pair() as (gate, worker):
        worker.usual = reply(body, kind=kind)
        for _ in range(2):
            answer = await gate.ask(asked(stream=True))
            assert answer.body == TWO  # the usage that nobody asked for but us is hidden
            assert answer.header("content-type") == kind.decode()
        assert {(r.prompt_tokens, r.completion_tokens, r.counted) for r in await gate.rows()} == {(11, 3, False)}


async def test_what_only_begins_like_a_stream_is_none() -> None:
    async with pair() as (gate, worker):
        worker.usual = reply(kind=b"text/event-streams")
        assert (await gate.ask(asked())).header("cache-control") is None


@pytest.mark.parametrize("head", [b"Connection: Close\r\n", b"CONNECTION: CLOSE\r\n", b"Connection: x, Close\r\n"])
async def test_a_worker_that_wants_to_close_is_understood(head: bytes) -> None:
    async with pair() as (gate, worker):
        worker.usual = reply(head=head)
        for _ in range(2):
            assert (await gate.ask(asked())).body == ANSWER
        assert [p.requests for p in worker.peers] == [1, 1]


async def test_a_worker_that_sends_chunks_is_understood() -> None:
    async with pair() as (gate, worker):
        head = b"HTTP/1.1 200 OK\r\nCONTENT-TYPE: Application/JSON\r\nTransfer-Encoding: Chunked\r\n\r\n"
        worker.usual = raw(head, b"%x\r\n%b\r\n0\r\n\r\n" % (len(ANSWER), ANSWER))
        assert (await gate.ask(asked())).body == ANSWER


# -- circles -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def relay(path: str, gates: list[Gate]) -> AsyncIterator[str]:
    """Another way to the first of `gates`, which may be added later; the address of that way."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", gates[0].port())
        try:
            await asyncio.gather(pipe(reader, back), pipe(there, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            back.close()
            writer.close()

    server = await asyncio.start_unix_server(connected, path)
    try:
        yield f"unix:{path}"
    finally:
        server.close()


async def test_a_remote_that_is_this_gateway_is_refused_at_once() -> None:
    with short_folder() as folder:
        gates: list[Gate] = []
        async with relay(f"{folder}/r.sock", gates) as url:
            conf = config({"self": remote(url), "echo": Model(backend="fake")})
            conf = msgspec.structs.replace(conf, roles={"standard": ["self"], "both": ["self", "echo"]})
            async with running_gateway(conf, Path(folder)) as gate:
                gates.append(gate)
                for streamed in (False, True):
                    answer = await gate.ask(asked(model="self", stream=streamed))
                    assert (answer.status, answer.error["code"]) == (508, "loop_detected")
                    assert "self at unix:" in answer.error["message"]
                    assert "leads back to this gateway" in answer.error["message"]
                assert (await gate.ask(asked(model="both"))).header("x-rolecast-model") == "echo"
                assert len(await gate.rows()) == 3


async def test_a_circle_through_a_second_gateway_ends_where_it_began() -> None:
    with short_folder() as one, short_folder() as two:
        first: list[Gate] = []
        async with (
            relay(f"{one}/r.sock", first) as to_first,
            running_gateway(config({"m": remote(to_first)}), Path(two)) as second,
            relay(f"{two}/r.sock", [second]) as to_second,
            running_gateway(config({"m": remote(to_second)}), Path(one)) as gate,
        ):
            first.append(gate)
            answer = await gate.ask(asked())
            assert (answer.status, answer.error["code"]) == (508, "loop_detected")


async def test_the_way_of_a_request_is_told_on_and_judged_on_every_request_of_a_connection() -> None:
    async with pair() as (gate, worker), gate.client() as client:
        for _ in range(3):
            await client.send(request(chat(), head="Via: 1.1 rolecast-other, 1.0 fred\r\n"))
            assert (await client.answer()).status == 200
            assert worker.requests[-1].header("via") == ["1.1 rolecast-other, 1.0 fred", f"1.1 {NAME}"]
        await client.send(request(chat()))
        assert (await client.answer()).status == 200
        assert worker.requests[-1].header("via") == [f"1.1 {NAME}"]
        for head in (f"Via: 1.0 fred, 1.1 {NAME}\r\n", f"Via: 1.1 {NAME}\r\nVIA: 1.1 rolecast-other\r\n"):
            assert (await gate.ask(request(chat(), head=head))).status == 508


async def test_too_many_gateways_on_the_way_are_refused() -> None:
    async with pair() as (gate, worker):
        way = ", ".join(f"1.1 rolecast-{n}" for n in range(MAX_GATEWAYS))
        answer = await gate.ask(request(chat(), head=f"Via: {way}\r\n"))
        assert (answer.status, answer.error["code"]) == (508, "loop_detected")
        way = way.rpartition(",")[0]
        assert (await gate.ask(request(chat(), head=f"Via: {way}\r\n"))).status == 200
        assert len(worker.requests) == 1


def test_several_lines_of_a_way_are_one() -> None:
    lines = [(b"via", b"a"), (b"host", b"h"), (b"via", b"b")]
    assert by_name(lines) == {b"via": b"a, b", b"host": b"h"}


@pytest.mark.parametrize(
    ("url", "circle"),
    [
        *(("http://127.0.0.1:8000/v1", True), ("http://localhost:8000", True), ("http://[::1]:8000/v1", True)),
        *(("http://LOCALHOST:8051/v1", True), ("http://app.localhost:8000/v1", True)),
        *(("http://127.0.0.1:8001/v1", False), ("http://gpu.example:8000/v1", False), ("http://10.0.0.7:8000", False)),
        *(("https://api.example.com/v1", False), ("unix:/run/x.sock", False)),
    ],
)
def test_an_own_port_as_a_remote_is_warned_of(url: str, circle: bool) -> None:
    server = Server(port=8000, listeners=[Listener(port=8051, model="m")])
    found = [w for w in warnings(Config(server=server, models={"m": remote(url)})) if "circle" in w]
    assert found == ([f"models.m.url: {url} is a port of this gateway, so requests would go in a circle"] * circle)


def test_a_setting_for_remotes_alone_is_said_to_do_nothing_elsewhere() -> None:
    conf = Config(models={"m": Model(source="file:x", stream_usage="never")})
    assert "models.m.stream_usage: does nothing with backend llamacpp" in warnings(conf, backends.table())


# -- a key that is not there ------------------------------------------------------------------------------------


async def test_a_remote_without_its_key_fails_alone_and_says_which_variable_it_lacks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("FAR_KEY", raising=False)
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w") as worker:
            models = {"far": remote(worker.url, key="env:FAR_KEY"), "near": remote(worker.url)}
            conf = msgspec.structs.replace(config(models), roles={"both": ["far", "near"]})
            async with running_gateway(conf, Path(folder)) as gate:
                await until(lambda: gate.gateway.fleet.worker("far").error)
                answer = await gate.ask(asked(model="both"))
                assert (answer.status, answer.header("x-rolecast-model")) == (200, "near")
                alone = await gate.ask(asked(model="far"))
                assert (alone.status, alone.error["code"]) == (503, "load_failed")
                assert (
                    "the environment variable FAR_KEY is not set; run `export FAR_KEY=...` first, then start"
                    in alone.error["message"]
                )
                assert "far does not run: the environment variable FAR_KEY" in gate.gateway.health.problems()[0]
                mended = {**models, "far": remote(worker.url, key="sk-1")}
                await gate.gateway.reloader.apply(msgspec.structs.replace(conf, models=mended))
                assert (await gate.ask(asked(model="far"))).status == 200
                assert worker.requests[-1].header("authorization") == ["Bearer sk-1"]
    assert "far could not be started: the environment variable FAR_KEY is not set" in caplog.text


async def test_an_edit_that_takes_the_key_of_a_remote_that_works_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FAR_KEY", raising=False)
    async with pair() as (gate, worker):
        edit = msgspec.structs.replace(
            gate.gateway.current.config, models={"m": remote(worker.url, key="env:FAR_KEY"), "n": Model(backend="fake")}
        )
        with pytest.raises(ConfigError, match=r"models\.m\.key: the environment variable FAR_KEY is not set.*m works"):
            await gate.gateway.reloader.apply(edit)
        assert (await gate.ask(asked())).status == 200


async def test_a_remote_that_cannot_be_reached_is_called_a_server_and_no_worker() -> None:
    with short_folder() as folder:
        async with running_gateway(config({"m": remote(f"unix:{folder}/nobody")}), Path(folder)) as gate:
            said = (await gate.ask(asked())).error["message"]
    assert said.startswith(f"The server at unix:{folder}/nobody is unreachable: ")


# -- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat"])
async def test_each_server_of_a_role_is_asked_by_its_own_name(path: str) -> None:
    with short_folder() as folder:
        async with (
            ScriptedWorker().listening(f"{folder}/1.sock") as one,
            ScriptedWorker().listening(f"{folder}/2.sock") as two,
        ):
            models = {"one": remote(one.url), "two": remote(two.url, remote_model="their/two")}
            conf = config(models, listeners=[Listener(port=0, name="narrow", model="one")])
            conf = msgspec.structs.replace(conf, roles={"standard": ["one", "two"]})
            async with running_gateway(conf, Path(folder)) as gate:
                one.script.append(reply(b'{"error":"overloaded"}', 503))
                assert (await gate.ask(request(chat("x", "standard", stream=False), path=path))).status == 200
                assert [r.json["model"] for r in (*one.requests, *two.requests)] == ["one", "their/two"]
                assert (await gate.ask(request(chat("x", "gpt-9", stream=False), path=path), "narrow")).status == 200
                assert one.requests[-1].json["model"] == "one"
