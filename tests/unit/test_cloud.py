"""Servers in the cloud that fail in every way: who answers instead, who is asked again, who is left alone, and when."""

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cloud_server import MESSAGE, QUICK, SECRET, Sky, cloud, clouds, fails, overloaded, sky
from gateway import (
    ANSWER,
    DONE,
    SSE_HEAD,
    Answer,
    Held,
    Peer,
    Received,
    ScriptedWorker,
    chat,
    chunk,
    delta,
    event,
    raw,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    stream,
    until,
)
from msgspec.structs import replace

from rolecast.config.check import check
from rolecast.config.edit import edit_to
from rolecast.config.retries import Retries
from rolecast.config.schema import Listener, Model, Price, Seconds
from rolecast.turn.again import asks_for

pytestmark = pytest.mark.anyio

ANTHROPIC = {"backend": "anthropic"}
SAY = {"messages": [{"role": "user", "content": "hello"}]}


def asked(model: str = "standard", *, head: str = "", **fields: Any) -> bytes:
    return request(chat("hello", model, **fields), head=head)


async def silence(peer: Peer, _: Received) -> None:
    """Nothing, until the gateway leaves."""
    await peer.gone.wait()


def counts(workers: list[ScriptedWorker]) -> list[int]:
    return [len(worker.requests) for worker in workers]


def answered_by(answer: Answer) -> str | None:
    assert answer.status == 200, answer
    return answer.header("x-rolecast-model")


# -- who answers instead ---------------------------------------------------------------------------------------


async def test_the_order_of_the_role_is_the_order_of_the_fall_back() -> None:
    async with sky({}, {}, local=True, retries=replace(QUICK, failures=100)) as (there, workers):
        for status in (408, 429, 500, 502, 503, 504, 529):
            for streamed in (False, True):
                workers[0].usual = workers[1].usual = fails(status)
                answer = await there.gate.ask(asked(stream=streamed))
                assert answered_by(answer) == "here"
                wishes = 2 if streamed and status == 500 else 1  # it may have been our wish for usage that failed
                assert counts(workers) == [wishes, wishes]
                workers[0].requests.clear()
                workers[1].requests.clear()
                there.breaker.circuits.clear()
        assert {(row.outcome, row.attempts) for row in await there.gate.rows()} == {("ok", 3)}


async def test_a_provider_that_fails_under_a_stream_is_not_asked_twice() -> None:
    async with sky({"provider": "openai"}, {}) as (there, workers):
        workers[0].usual = fails(500)
        assert answered_by(await there.gate.ask(asked(stream=True))) == "b"
        assert counts(workers) == [1, 1]


async def test_a_cloud_takes_over_from_a_model_here_and_the_other_way_round() -> None:
    async with ScriptedWorker().listening() as near, ScriptedWorker().listening() as far:
        with short_folder() as folder:
            models = {"near": remote(near.url), "far": cloud(far)}
            made = replace(clouds(models), roles={"standard": ["near", "far"], "other": ["far", "near"]})
            async with running_gateway(made, Path(folder)) as gate:
                near.usual, far.usual = fails(500), reply()
                assert answered_by(await gate.ask(asked())) == "far"
                near.usual, far.usual = reply(), fails(500)
                assert answered_by(await gate.ask(asked("other"))) == "near"
                assert counts([near, far]) == [2, 2]


async def test_anthropics_wire_falls_back_to_openais_and_its_words_are_the_clients() -> None:
    async with sky(ANTHROPIC, {}) as (there, workers):
        workers[0].usual = overloaded()
        assert answered_by(await there.gate.ask(asked())) == "b"
        workers[0].usual = reply(MESSAGE)
        there.passed_s += 60
        answer = await there.gate.ask(asked("a"))
        assert answer.json["choices"][0]["message"]["content"] == "hi"
        assert workers[0].requests[-1].header("x-api-key") == [SECRET]
        assert workers[1].requests[-1].header("authorization") == [f"Bearer {SECRET}"]


async def test_anthropics_wire_is_asked_again_broken_off_and_left_alone_alike() -> None:
    async with ScriptedWorker().listening() as other, sky(ANTHROPIC) as (there, workers):
        workers[0].script.extend([overloaded(), raw(b"", close=True)])
        workers[0].usual = reply(MESSAGE)
        assert answered_by(await there.gate.ask(asked())) == "a"
        assert counts(workers) == [3]
        begun = [
            b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","usage":{"input_tokens":5}}}\n\n',
            (
                b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
                b'"content_block":{"type":"text","text":""}}\n\n'
            ),
            (
                b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
                b'"delta":{"type":"text_delta","text":"half"}}\n\n'
            ),
        ]
        workers[0].usual = raw(SSE_HEAD, *map(chunk, begun), close=True)
        answer = await there.gate.ask(asked(stream=True))
        assert answer.body.count(b"half") == 1
        assert b'"error"' in answer.body
        assert counts(workers) == [4]
        workers[0].usual = reply(b"", 307, head=f"Location: {other.url}/messages\r\n".encode())
        assert (await there.gate.ask(asked())).status == 502
        workers[0].usual = fails(429, head=b"retry-after: 30\r\n")
        assert (await there.gate.ask(asked())).header("retry-after") == "30"
        answer = await there.gate.ask(request({"model": "a", "max_tokens": 9, **SAY}, path="/v1/messages"))
        assert (answer.status, answer.json["error"]["type"]) == (429, "rate_limit_error")
        assert counts(workers) == [6]
        assert not other.peers


async def test_a_server_that_says_nothing_for_its_timeout_is_left_for_the_next() -> None:
    async with sky({"timeout": Seconds(0.05)}, {}) as (there, workers):
        workers[0].usual = silence
        assert answered_by(await there.gate.ask(asked())) == "b"
        assert there.breaker.why("a") == "upstream_timeout"


async def test_half_a_stream_ends_with_an_error_event_and_is_never_gone_on_with() -> None:
    async with sky({}, {}) as (there, workers):
        workers[0].usual = raw(SSE_HEAD, chunk(delta("half")), close=True)
        answer = await there.gate.ask(asked(stream=True))
        assert answer.body.count(b"half") == 1
        assert b'"error"' in answer.body
        assert answer.body.rstrip().endswith(b"data: [DONE]")
        assert counts(workers) == [1, 0]
        assert there.breaker.why("a") == "worker_lost"


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_error_within_an_answer_counts_as_a_failure_once(streamed: bool) -> None:
    async with sky({}, {}) as (there, workers):
        broken = event({"error": {"message": "out of memory", "type": "server_error"}})
        if streamed:
            workers[0].usual = stream(delta("half"), broken)
        else:
            workers[0].usual = reply(b'{"error":{"message":"out of memory"}}')
        answer = await there.gate.ask(asked(stream=streamed))
        assert counts(workers) == ([1, 0] if streamed else [1, 1])
        assert (b"out of memory" in answer.body) is streamed
        assert there.breaker.circuits["a"].failures == 1


async def test_nothing_reaches_the_host_that_a_redirect_names(caplog: pytest.LogCaptureFixture) -> None:
    async with ScriptedWorker().listening() as other, sky({}) as (there, workers):
        for status in (301, 302, 303, 307, 308):
            where = f"Location: {other.url}/chat/completions?key={SECRET}\r\n".encode()
            workers[0].usual = reply(b"", status, head=where)
            answer = await there.gate.ask(asked())
            assert (answer.status, answer.error["code"]) == (502, "upstream_error")
            assert "not followed" in answer.error["message"]
            assert SECRET not in answer.body.decode()
        assert counts(workers) == [5]
        assert not other.peers
        assert SECRET not in caplog.text


# -- who is asked again ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [fails(500), fails(529), raw(b"", close=True), raw(b"nonsense\r\n\r\n")])
async def test_the_only_server_is_asked_again_after_a_wait(fault: Any) -> None:
    async with sky({}) as (there, workers):
        workers[0].script.extend([fault, fault])
        assert answered_by(await there.gate.ask(asked())) == "a"
        assert counts(workers) == [3]
        (row,) = await there.gate.rows()
        assert (row.outcome, row.attempts) == ("ok", 3)


async def test_the_last_error_is_told_when_all_attempts_are_used_up() -> None:
    async with sky({}, retries=replace(QUICK, attempts=2)) as (there, workers):
        workers[0].usual = fails(500, text="still broken")
        answer = await there.gate.ask(asked())
        assert answer.status == 502
        assert "still broken" in answer.error["message"]
        assert counts(workers) == [2]


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422, 501])
async def test_what_another_attempt_would_not_change_is_told_at_once(status: int) -> None:
    async with sky({}) as (there, workers):
        workers[0].usual = fails(status)
        assert (await there.gate.ask(asked())).status >= 400
        assert counts(workers) == [1]


async def test_one_that_failed_is_asked_again_where_those_behind_it_rest() -> None:
    async with sky({}, {}) as (there, workers):
        there.breaker.failed("b", "busy", 100.0, "status 429")
        workers[0].script.append(fails(500))
        assert answered_by(await there.gate.ask(asked())) == "a"
        assert counts(workers) == [2, 0]


async def test_waits_are_drawn_up_to_a_bound_that_doubles_and_ends() -> None:
    drawn: list[float] = []
    patient = Retries(attempts=6, first_wait=Seconds(0.01), longest_wait=Seconds(0.04), failures=100)
    async with sky({}, retries=patient) as (there, workers):
        again = there.gate.gateway.dispatch.again
        plain = again.next_wait

        def noted(*given: Any) -> Any:
            found = plain(*given)
            if found is not None and len(given) == 3:
                drawn.append(round(found[1], 4))
            return found

        again._draw = lambda: 1.0
        again.next_wait = noted  # type: ignore[method-assign]
        workers[0].usual = fails(500)
        await there.gate.ask(asked())
        assert drawn == [0.01, 0.02, 0.04, 0.04, 0.04]
        assert counts(workers) == [6]


async def test_a_short_retry_after_is_waited_out_and_a_long_one_is_told() -> None:
    async with sky({}) as (there, workers):
        workers[0].script.append(fails(429, head=b"retry-after-ms: 20\r\n"))
        assert answered_by(await there.gate.ask(asked())) == "a"
        assert counts(workers) == [2]
        workers[0].usual = fails(429, head=b"Retry-After: 60\r\n")
        answer = await there.gate.ask(asked())
        assert (answer.status, answer.header("retry-after")) == (429, "60")
        assert counts(workers) == [3]
        answer = await there.gate.ask(asked())  # and now nobody is asked at all
        assert (answer.status, answer.error["code"]) == (429, "resting")
        assert 50 <= int(answer.header("retry-after") or "0") <= 60
        assert counts(workers) == [3]
        there.passed_s += 61
        workers[0].usual = reply()
        assert answered_by(await there.gate.ask(asked())) == "a"


async def test_a_date_as_retry_after_counts_too() -> None:
    async with sky({}) as (there, workers):
        later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True).encode()
        workers[0].usual = fails(503, head=b"Retry-After: %b\r\n" % later)
        await there.gate.ask(asked())
        assert 90 < there.breaker.wait_of("a") <= 100


# -- who is left alone -----------------------------------------------------------------------------------------


async def failed_often(there: Sky, worker: ScriptedWorker) -> None:
    """Five failures in a row: its circuit is open."""
    worker.usual = fails(500)
    while there.breaker.state("a") == "closed":
        await there.gate.ask(asked("a"))
    worker.requests.clear()


async def test_a_server_that_fails_often_is_passed_by_at_once_and_everybody_is_told() -> None:
    async with sky({}, {}) as (there, workers):
        await failed_often(there, workers[0])
        assert there.told() == [("breaker_opened", "a")]
        answer = await there.gate.ask(asked())
        assert answered_by(answer) == "b"
        assert answer.header("x-rolecast-route") == "fallback; a rests"
        assert counts(workers) == [0, 1]
        health = (await there.gate.ask(request(path="/health", method="GET"), method="GET")).json
        assert health["status"] == "degraded"
        assert health["failing"] == ["a"]
        assert "a is left alone for" in health["problems"][0]
        metrics = (await there.gate.ask(request(path="/metrics", method="GET"), method="GET")).body
        assert b'rolecast_circuit_open{model="a"} 1.0' in metrics
        assert there.gate.gateway.plans.card("a").wait_s > 1
        assert there.gate.gateway.plans.card("b").wait_s == 0


async def test_without_another_one_the_client_learns_when_to_come_again() -> None:
    async with sky({}) as (there, workers):
        await failed_often(there, workers[0])
        answer = await there.gate.ask(asked())
        assert (answer.status, answer.error["code"]) == (503, "resting")
        assert "status 500" in answer.error["message"]
        assert 1 <= int(answer.header("retry-after") or "0") <= 5
        assert counts(workers) == [0]


async def test_exactly_one_request_tries_a_server_again_and_the_others_go_elsewhere_until_it_answers() -> None:
    async with sky({}, {}) as (there, workers):
        await failed_often(there, workers[0])
        there.passed_s += 6
        let_go = asyncio.Event()

        async def hesitant(peer: Peer, received: Received) -> None:
            await let_go.wait()
            await reply()(peer, received)

        workers[0].usual = hesitant
        assert there.breaker.state("a") == "half_open"
        probe = asyncio.ensure_future(there.gate.ask(asked()))
        await until(lambda: workers[0].requests)
        answers = await asyncio.gather(*(there.gate.ask(asked()) for _ in range(8)))
        assert {answered_by(each) for each in answers} == {"b"}
        assert counts(workers) == [1, 8]
        let_go.set()
        assert answered_by(await probe) == "a"
        assert there.told() == [("breaker_opened", "a"), ("breaker_closed", "a")]
        assert answered_by(await there.gate.ask(asked())) == "a"


async def test_the_first_byte_of_a_probe_tells_enough() -> None:
    async with sky({}, {}) as (there, workers):
        await failed_often(there, workers[0])
        there.passed_s += 6
        held = Held(delta("one"))
        workers[0].usual = held
        probe = asyncio.ensure_future(there.gate.ask(asked(stream=True)))
        await held.began.wait()
        workers[0].usual = reply()
        (exchange,) = there.gate.gateway.dispatch.active
        await until(lambda: exchange.first)
        assert answered_by(await there.gate.ask(asked())) == "a"
        held.let_go.set()
        assert answered_by(await probe) == "a"


async def test_who_has_nobody_else_waits_for_the_probe() -> None:
    async with sky({}) as (there, workers):
        await failed_often(there, workers[0])
        there.passed_s += 6
        workers[0].usual = reply()
        answers = await asyncio.gather(*(there.gate.ask(asked()) for _ in range(8)))
        assert {answered_by(each) for each in answers} == {"a"}


async def test_a_probe_that_fails_makes_the_rest_longer_and_one_whose_client_leaves_makes_room_for_the_next() -> None:
    async with sky({}, {}) as (there, workers):
        await failed_often(there, workers[0])
        first_s = there.breaker.wait_of("a")
        there.passed_s += 6
        assert answered_by(await there.gate.ask(asked())) == "b"
        assert counts(workers) == [1, 1]
        assert there.breaker.wait_of("a") > 1.5 * first_s
        there.passed_s += 11
        workers[0].usual = silence
        async with there.gate.client() as client:
            await client.send(asked())
            await until(lambda: len(workers[0].requests) == 2)
            assert there.breaker.wait_of("a") > 0
            client.abort()
            await until(lambda: not there.gate.gateway.dispatch.active)
        assert there.breaker.wait_of("a") == 0
        workers[0].usual = reply()
        assert answered_by(await there.gate.ask(asked())) == "a"
        assert there.breaker.state("a") == "closed"


async def test_a_mistake_of_the_client_is_no_failure_of_the_server() -> None:
    async with sky({}) as (there, workers):
        workers[0].usual = fails(400)
        for _ in range(8):
            assert (await there.gate.ask(asked())).status == 400
        assert not there.breaker.circuits


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, ""), (402, ""), (403, "permission_error"), (429, "insufficient_quota"), (400, "invalid_api_key")],
)
async def test_a_key_that_is_not_accepted_is_told_once_and_the_server_left_alone_for_long(
    status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with sky({}, {}) as (there, workers):
        workers[0].usual = fails(status, text=f"bad key {SECRET}", code=code)
        for _ in range(3):
            assert answered_by(await there.gate.ask(asked())) == "b"
        assert counts(workers) == [1, 3]
        assert there.breaker.wait_of("a") > 500
        answer = await there.gate.ask(asked("a"))
        assert (answer.status, answer.error["code"]) == (503, "resting")
        assert "does not accept our key" in answer.error["message"]
        lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING and "our key" in r.getMessage()]
        assert len(lines) == 1
        assert SECRET not in caplog.text + answer.body.decode()


@pytest.mark.parametrize(
    "words",
    [
        "API key not valid. Please pass a valid API key.",  # Gemini
        "Incorrect API key provided: ab***cd.",  # xAI
        "Your credit balance is too low to access the Anthropic API.",
    ],
)
async def test_a_key_that_is_not_accepted_in_words_alone_is_no_mistake_of_the_client(words: str) -> None:
    async with sky({}, {}) as (there, workers):
        workers[0].usual = fails(400, text=words)
        for _ in range(2):
            assert answered_by(await there.gate.ask(asked())) == "b"
        assert counts(workers) == [1, 2]
        assert there.breaker.wait_of("a") > 500


GOOGLES = {
    "code": 429,
    "message": "You exceeded your current quota.",
    "status": "RESOURCE_EXHAUSTED",
    "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "39.837906927s"}],
}


@pytest.mark.parametrize(
    ("said", "wait_s"),
    [
        ([{"error": GOOGLES}], 39.8),
        (
            {"error": {"message": "Rate limit reached for gpt-4o. Limit 30000, Used 29999. Please try again in 20s."}},
            20,
        ),
        ({"error": {"message": "Rate limit reached. Please try again in 1m20.5s. Visit us."}}, 80.5),
        ({"error": {"message": "Rate limit reached. Please try again in 1h2m."}}, 3720),
    ],
)
async def test_a_wait_that_is_told_in_the_body_alone_is_heeded_and_told(said: Any, wait_s: float) -> None:
    async with sky({}, {}) as (there, workers):
        workers[0].usual = reply(json.dumps(said).encode(), 429)
        assert answered_by(await there.gate.ask(asked())) == "b"
        assert there.breaker.wait_of("a") == pytest.approx(min(wait_s, 300), abs=1)
        there.breaker.circuits.clear()
        answer = await there.gate.ask(asked("a"))
        assert (answer.status, answer.header("retry-after")) == (429, str(round(wait_s)))
        assert counts(workers) == [2, 1]


async def test_a_wait_of_moments_in_the_body_is_waited_out() -> None:
    async with sky({}) as (there, workers):
        workers[0].script.append(fails(429, text="Please try again in 60ms."))
        workers[0].usual = reply()
        assert answered_by(await there.gate.ask(asked())) == "a"
        assert counts(workers) == [2]


async def test_a_403_about_the_request_opens_nothing() -> None:
    async with sky({}, {}) as (there, workers):
        workers[0].usual = fails(403, text="flagged by moderation")
        assert answered_by(await there.gate.ask(asked())) == "b"
        assert there.breaker.state("a") == "closed"


async def test_an_edit_of_a_model_lets_it_be_asked_at_once_and_another_edit_does_not() -> None:
    async with sky({}, {}) as (there, workers):
        await failed_often(there, workers[0])
        again, config = there.gate.gateway.dispatch.again, there.gate.gateway.current.config
        (await again.prepare(edit_to(replace(config, retries=Retries()), {}))).commit()
        assert there.breaker.state("a") == "open"
        mended = {**config.models, "a": replace(config.models["a"], description="mended")}
        (await again.prepare(edit_to(replace(config, models=mended), {}))).commit()
        assert there.breaker.state("a") == "closed"


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        (b"retry-after: 7\r\n", 7.0),
        (b"content-type: a/b\r\nretry-after: 1.5\r\n", 1.5),
        (b"retry-after: 9\r\nretry-after-ms: 250\r\n", 0.25),
        (b"retry-after: Wed, 21 Oct 2015 07:28:00 GMT\r\n", 0.0),
        (b"retry-after: Wed, 99 Foo 2015 07:28:00 GMT\r\n", 0.0),
        (b"retry-after: Mon, 01 Jan 99999 00:00:00 GMT\r\n", 0.0),
        (b"retry-after: -5\r\n", 0.0),
        (b"retry-after: soon\r\n", 0.0),
        (b"x-retry-after: 7\r\n", 0.0),
        (b"", 0.0),
    ],
)
def test_retry_after_in_all_its_spellings(lines: bytes, seconds: float) -> None:
    class Told:
        carrier = type("Carrier", (), {"lines": lines})

    assert asks_for(Told()) == seconds  # type: ignore[arg-type]


# -- deadlines -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x-rolecast-deadline: 0.15", "x-rolecast-deadline: 150ms", "X-Request-Timeout: 0.15"])
async def test_at_its_deadline_a_request_ends_and_so_does_the_work_for_it(name: str) -> None:
    async with sky({}) as (there, workers):
        workers[0].usual = silence
        answer = await there.gate.ask(asked(head=f"{name}\r\n"))
        assert (answer.status, answer.error["code"]) == (504, "deadline_exceeded")
        assert "0.15 s" in answer.error["message"]
        await workers[0].peers[0].gone.wait()
        assert not there.gate.gateway.dispatch.active
        assert not there.gate.gateway.dispatch.deadlines._alarms
        (row,) = await there.gate.rows()
        assert row.error == "deadline_exceeded"


async def test_waiting_for_a_slot_ends_at_the_deadline() -> None:
    async with sky({"parallel": 1}) as (there, workers):
        held = Held(delta("one"))
        workers[0].usual = held
        first = asyncio.ensure_future(there.gate.ask(asked(stream=True)))
        await held.began.wait()
        answer = await there.gate.ask(asked(head="x-rolecast-deadline: 0.1\r\n"))
        assert (answer.status, answer.error["code"]) == (504, "deadline_exceeded")
        worker = there.gate.gateway.fleet.worker("a")
        assert not worker.waiting
        held.let_go.set()
        assert (await first).status == 200
        assert counts(workers) == [1]
        assert worker.active == 0


async def test_no_further_attempt_is_made_that_would_begin_after_the_deadline() -> None:
    slow = Retries(first_wait=Seconds(5), longest_wait=Seconds(8))
    async with sky({}, retries=slow) as (there, workers):
        there.gate.gateway.dispatch.again._draw = lambda: 1.0
        workers[0].usual = fails(500)
        answer = await there.gate.ask(asked(head="x-rolecast-deadline: 1\r\n"))
        assert answer.status == 502
        assert counts(workers) == [1]


async def test_a_model_that_is_known_to_be_too_slow_is_passed_by() -> None:
    async with sky({}, {}) as (there, workers):
        there.gate.gateway.paces.of("a").request_s = 30.0
        answer = await there.gate.ask(asked(head="x-rolecast-deadline: 3\r\n"))
        assert answered_by(answer) == "b"
        assert answer.header("x-rolecast-route") == "fallback; a would be too late"
        there.gate.gateway.paces.of("b").request_s = 30.0
        assert (
            answered_by(await there.gate.ask(asked(head="x-rolecast-deadline: 3\r\n"))) == "a"
        )  # nobody is known to do
        assert counts(workers) == [1, 1]


async def test_no_model_is_loaded_for_a_request_that_will_be_over_before() -> None:
    async with sky({}, local=True) as (there, workers):
        there.gate.gateway.paces.of("here").load_s = 60.0
        workers[0].usual = fails(500)
        answer = await there.gate.ask(asked(head="x-rolecast-deadline: 5\r\n"))
        assert (answer.status, answer.error["code"]) == (504, "deadline_exceeded")
        assert str(there.gate.gateway.fleet.worker("here").state) == "cold"


async def test_an_answer_made_of_several_ends_at_its_deadline_with_all_its_parts() -> None:
    async with sky(ANTHROPIC) as (there, workers):
        workers[0].usual = silence
        answer = await there.gate.ask(asked(n=3, head="x-rolecast-deadline: 0.2\r\n"))
        assert (answer.status, answer.error["code"]) == (504, "deadline_exceeded")
        assert counts(workers) == [3]
        for peer in workers[0].peers:
            await peer.gone.wait()
        assert not there.gate.gateway.dispatch.active
        assert there.gate.gateway.fleet.worker("a").active == 0


async def test_a_stream_that_has_begun_goes_on_after_its_deadline() -> None:
    async with sky({}) as (there, workers):
        held = Held(delta("one"))
        workers[0].usual = held
        answer = asyncio.ensure_future(there.gate.ask(asked(stream=True, head="x-rolecast-deadline: 0.1\r\n")))
        await held.began.wait()
        await until(lambda: not there.gate.gateway.dispatch.deadlines._alarms)
        held.let_go.set()
        assert (await answer).body.endswith(DONE)


async def test_an_answer_in_time_leaves_no_alarm_behind() -> None:
    async with sky({}, local=True) as (there, _):
        for model in ("a", "here"):
            assert (await there.gate.ask(asked(model, head="x-rolecast-deadline: 20\r\n"))).status == 200
        assert not there.gate.gateway.dispatch.deadlines._alarms


@pytest.mark.parametrize("value", ["soon", "-1", "0", "1e9", "nan", "inf", "1 day", "5;6"])
async def test_a_deadline_that_is_none_is_refused_and_the_other_systems_header_is_left_alone(value: str) -> None:
    async with sky({}) as (there, _):
        answer = await there.gate.ask(asked(head=f"x-rolecast-deadline: {value}\r\n"))
        assert (answer.status, answer.error["param"]) == (400, "x-rolecast-deadline")
        assert (await there.gate.ask(asked(head=f"x-request-timeout: {value}\r\n"))).status == 200


# -- what leaves -----------------------------------------------------------------------------------------------


async def test_each_cloud_gets_its_own_key_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with sky({"key": "sk-of-a-1234567"}, {"key": "sk-of-b-1234567"}) as (there, workers):
        workers[0].usual = fails(500, text="sk-of-a-1234567 is what you sent")
        answer = await there.gate.ask(asked(head="Authorization: Bearer sk-of-the-client\r\n"))
        assert answered_by(answer) == "b"
        assert workers[0].requests[0].header("authorization") == ["Bearer sk-of-a-1234567"]
        assert workers[1].requests[0].header("authorization") == ["Bearer sk-of-b-1234567"]
        assert "sk-of-" not in caplog.text


async def test_a_stream_of_a_cloud_passes_and_its_tokens_are_in_the_books() -> None:
    async with sky({}) as (there, workers):
        workers[0].usual = stream(delta("one"), delta("two"), DONE)
        answer = await there.gate.ask(asked(stream=True))
        assert answer.body.endswith(DONE)
        assert json.loads(ANSWER)["usage"]["completion_tokens"] == 2
        assert there.gate.gateway.plans.breaker.circuits == {}


# -- ports of adapters -----------------------------------------------------------------------------------------


def page(path: str) -> bytes:
    return request(path=path, method="GET")


async def test_an_adapter_is_a_cloud_model_with_a_door_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUD_KEY", SECRET)
    door = Listener(port=0, name="openai_adapter", model="a", surface="adapter")
    told = {"provider": "openai", "key": "env:CLOUD_KEY", "price": Price(input=15.0, output=60.0)}
    async with sky(told, listeners=[door]) as (there, workers):
        gate, port = there.gate, there.gate.port("openai_adapter")
        fresh = await gate.ask(page("/health"), "openai_adapter", "GET")
        assert fresh.body.startswith(b'{"status":"healthy","service":"openai_adapter",')
        assert fresh.json["last_request_ms"] is None
        for path in ("/chat/completions", "/v1/chat/completions"):
            answer = await gate.ask(request(chat("hello", "any name"), path=path), "openai_adapter")
            assert answer.json["choices"]
        assert {received.json["model"] for received in workers[0].requests} == {"big-1"}
        health = (await gate.ask(page("/health"), "openai_adapter", "GET")).json
        assert set(health) == {
            *("status", "service", "port", "provider", "model", "api_key_present", "uptime_seconds", "last_request_ms")
        }
        assert (health["port"], health["provider"], health["model"]) == (port, "openai", "big-1")
        assert health["api_key_present"] is True
        assert health["last_request_ms"] >= 0
        info = (await gate.ask(page("/info"), "openai_adapter", "GET")).json
        assert info["price"] == {"input": "0.15", "cached": None, "written": None, "output": "0.6"}
        assert info["model"]["name"] == "big-1"
        root = (await gate.ask(page("/"), "openai_adapter", "GET")).json
        assert (root["service"], root["port"], root["status"]) == ("openai_adapter", port, "healthy")
        assert SECRET not in str([health, info, root])
        await failed_often(there, workers[0])
        health = (await gate.ask(page("/health"), "openai_adapter", "GET")).json
        assert health["status"] == "degraded"
        assert "status 500" in health["reason"]


async def test_an_adapter_without_its_key_says_so(tmp_path: Path) -> None:
    door = Listener(port=0, name="x", model="a", surface="adapter")
    for key in ("env:NOT_SET_ANYWHERE", f"file:{tmp_path}/nothing"):
        async with sky({"key": key}, listeners=[door]) as (there, _):
            health = (await there.gate.ask(page("/health"), "x", "GET")).json
            assert (health["status"], health["api_key_present"]) == ("unhealthy", False)
            assert str(tmp_path) not in health["reason"]


def test_an_adapter_needs_a_model() -> None:
    made = clouds({"a": Model(backend="fake")}, listeners=[Listener(port=0, name="x", surface="adapter")])
    assert [text for trail, text in check(made) if trail == ("server", "listeners", 0)] == [
        "'model' is missing; an adapter is the door of one model"
    ]
