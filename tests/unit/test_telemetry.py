"""Counters, histograms and logs, as Prometheus and people read them."""

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from rolecast.errors import BudgetSpent, Busy, NotFound
from rolecast.telemetry.logs import LogRing, configure_logging
from rolecast.telemetry.metrics import BUCKETS_MS, ModelStats, Place, Telemetry
from rolecast.telemetry.requests import RequestLog
from rolecast.values import Usage


def samples(telemetry: Telemetry) -> dict[tuple[str, ...], float]:
    text = telemetry.exposition().decode()
    return {
        (s.name, *(value for _, value in sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def test_what_models_did_is_exposed_by_model() -> None:
    telemetry = Telemetry(["a", 'odd"name\\'])
    telemetry.models["a"].count("ok", Usage(10, 3, 4), 12.0, 40.0)
    telemetry.models["a"].count("error", Usage(), 0.0, 3.0)
    telemetry.models['odd"name\\'].count("ok", Usage(1, 1), 1.0, 1.0)
    for _ in range(2):
        telemetry.refuse(NotFound("nothing"), Place("front door", "GET", "/nothing"))
    telemetry.gauges = lambda: [("active_requests", "a", 2.0), ("worker_up", "a", 1.0)]
    found = samples(telemetry)
    assert found["rolecast_requests_total", "a", "ok"] == found["rolecast_requests_total", "a", "error"] == 1
    assert found["rolecast_tokens_total", "prompt", "a"] == 10
    assert found["rolecast_tokens_total", "completion", "a"] == 3
    assert found["rolecast_tokens_total", "cached", "a"] == 4
    assert found["rolecast_requests_total", 'odd"name\\', "ok"] == 1
    assert found["rolecast_refused_total", "404"] == 2
    assert found["rolecast_active_requests", "a"] == 2
    assert found["rolecast_worker_up", "a"] == 1
    assert found["rolecast_request_seconds_count", "a"] == 2
    assert found["rolecast_request_seconds_sum", "a"] == pytest.approx(0.043)
    assert found["rolecast_first_byte_seconds_count", "a"] == 1  # the failed one never had a first byte
    assert found["rolecast_start_time_seconds",] == pytest.approx(telemetry.started_at)


def test_what_was_done_for_tasks_is_exposed_by_task_and_only_for_those_of_the_configuration() -> None:
    telemetry = Telemetry(["a"], ["mine"])
    telemetry.did("translation", "ok", Usage(10, 3, 4), 12.0, 40.0)
    telemetry.did("mine", "error", Usage(), 0.0, 3.0)
    for number in range(100):
        telemetry.did(f"made up {number}", "ok", Usage(1, 1), 1.0, 1.0)
    found = samples(telemetry)
    assert found["rolecast_task_requests_total", "ok", "translation"] == 1
    assert found["rolecast_task_requests_total", "error", "mine"] == 1
    assert found["rolecast_task_tokens_total", "completion", "translation"] == 3
    assert found["rolecast_task_request_seconds_sum", "translation"] == pytest.approx(0.04)
    assert found["rolecast_task_first_byte_seconds_count", "mine"] == 0
    labels = {key[-1] for key in found if key[0].startswith("rolecast_task_")}
    assert labels == {"translation", "mine"}  # nobody has asked for the others


def test_memory_is_exposed_by_model() -> None:
    text = Telemetry(["a"]).exposition({"a": 5_000_000}).decode()
    assert 'rolecast_worker_memory_bytes{model="a"} 5e+06' in text


def test_money_fall_backs_and_energy_are_exposed_by_model_and_provider() -> None:
    telemetry = Telemetry(["gpt", "tiny"])
    telemetry.models["gpt"].charge("openai", 1_500_000_000_000, fell=True)
    telemetry.models["gpt"].charge("openai", 250_000_000_000, fell=False)
    telemetry.models["tiny"].charge("local", 0, fell=True)
    telemetry.took("tiny", 1.5, measured=True)
    telemetry.took("tiny", 2.0, measured=True)
    telemetry.took("tiny", 4.0, measured=False)
    telemetry.refuse(BudgetSpent("Nothing is left."), Place("front door", "POST", "/v1/chat/completions"))
    telemetry.refuse(Busy("Later."), Place("front door", "POST", "/v1/chat/completions"))
    lines = telemetry.exposition().decode().splitlines()
    assert 'rolecast_cost_dollars_total{model="gpt",provider="openai"} 1.75' in lines
    assert 'rolecast_fallbacks_total{model="gpt",provider="openai"} 1.0' in lines
    assert 'rolecast_fallbacks_total{model="tiny",provider="local"} 1.0' in lines
    assert 'rolecast_energy_joules_total{model="tiny",source="measured"} 3.5' in lines
    assert 'rolecast_energy_joules_total{model="tiny",source="estimated"} 4.0' in lines
    assert "rolecast_budget_refusals_total 1.0" in lines
    assert not any(line.startswith('rolecast_cost_dollars_total{model="tiny"') for line in lines)


def test_an_empty_gateway_has_an_exposition() -> None:
    assert ("rolecast_start_time_seconds",) in samples(Telemetry([]))


@given(times=st.lists(st.floats(0.001, 1e6), max_size=30))
def test_histograms_are_cumulative_and_complete(times: list[float]) -> None:
    telemetry = Telemetry(["m"])
    for ms in times:
        telemetry.models["m"].count("ok", Usage(), ms, ms)
    found = samples(telemetry)
    for bound in BUCKETS_MS:
        expected = sum(ms <= bound for ms in times)
        assert found["rolecast_request_seconds_bucket", str(bound / 1000), "m"] == expected
    assert found["rolecast_request_seconds_bucket", "+Inf", "m"] == len(times)
    assert found["rolecast_request_seconds_sum", "m"] == pytest.approx(sum(times) / 1000)


def test_outcomes_are_counted_apart() -> None:
    stats = ModelStats()
    for outcome in ("ok", "ok", "cancelled"):
        stats.count(outcome, Usage(2, 1), 1.0, 2.0)
    assert (stats.requests, stats.outcomes) == (3, {"ok": 2, "cancelled": 1})
    assert (stats.prompt_tokens, stats.completion_tokens) == (6, 3)


# -- logs ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def _own_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("rolecast", "uvicorn.access", "uvicorn.error")}
    access = logging.getLogger("uvicorn.access")
    filters, spreads = access.filters[:], access.propagate
    access.propagate = logging.getLogger("uvicorn").propagate = True  # another test's server may have turned it off
    yield
    access.filters[:], access.propagate = filters, spreads
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


@pytest.mark.usefixtures("_own_logging")
def test_logs_are_lines_of_json_when_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    ring = LogRing()
    configure_logging("info", "json", ring)
    logging.getLogger("rolecast.x").warning("hello %s", "wörld")
    logging.getLogger("rolecast.x").debug("too quiet")
    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger("rolecast.x").exception("it\nbroke")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["level"], first["logger"], first["event"]) == ("warning", "rolecast.x", "hello wörld")
    assert second["event"] == "it\nbroke"
    assert "ValueError: bad" in second["exception"]
    assert [json.loads(line)["level"] for line in ring.tail(9)] == ["warning", "error"]


@pytest.mark.usefixtures("_own_logging")
def test_a_line_of_json_is_bounded_and_moves_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json", LogRing())
    text = "a\x1b[31m\x9bb\x85c\u2028d\u202ee\n" + "x" * 100_000
    try:
        raise ValueError("y" * 100_000 + "the end")
    except ValueError:
        logging.getLogger("rolecast.x").exception("%s", text, extra={"fields": {"model": "m\x9b"}})
    (line,) = capsys.readouterr().err.split("\n")[:-1]
    assert len(line) < 16_000
    assert not [c for c in line if not c.isprintable()]
    read = json.loads(line)
    assert read["event"].startswith("a\x1b[31m\x9bb\x85c\u2028d\u202ee\nxxx")  # only the spelling has changed
    assert read["model"] == "m\x9b"
    assert read["exception"].endswith("the end")


@pytest.mark.usefixtures("_own_logging")
def test_the_line_of_a_page_has_no_query(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json", LogRing())
    access = logging.getLogger("uvicorn.access")
    access.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:5", "GET", "/health?prompt=secret", "1.1", 200)
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == '127.0.0.1:5 - "GET /health HTTP/1.1" 200'


@pytest.mark.usefixtures("_own_logging")
def test_a_request_is_told_in_one_line_for_people_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "text", LogRing())
    names = {"listener": "front door", "kind": "chat", "model": "m", "worker": "m", "role": "", "task": "translation"}
    times = {"queue_ms": 0.0, "load_ms": 0.0, "first_ms": 3.0, "total_ms": 40.4}
    RequestLog().answered(
        "req_1",
        **names,
        stream=False,
        status=502,
        outcome="error",
        error="worker_down",
        usage=Usage(10, 3),
        **times,
        attempts=1,
        key="",
        client_id="",
    )
    line = capsys.readouterr().err.rstrip()
    expected = "req_1 chat translation by m: error worker_down 502, 40 ms, 10+3 tokens"
    assert line.endswith(f"WARNING rolecast.requests: {expected}")


@pytest.mark.usefixtures("_own_logging")
def test_logs_are_text_for_people_and_the_newest_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    ring = LogRing(lines=3)
    configure_logging("debug", "text", ring)
    for number in range(5):
        logging.getLogger("rolecast.x").info("line %d", number)
    assert capsys.readouterr().err.splitlines()[-1].endswith("INFO    rolecast.x: line 4")
    assert [line[-6:] for line in ring.tail(9)] == ["line 2", "line 3", "line 4"]
    assert ring.tail(0) == []


@pytest.mark.usefixtures("_own_logging")
def test_libraries_tell_only_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug", "text", LogRing())
    for name in ("markdown_it.rules_block", "mcp.client", "httpx2", "asyncio", "rolecast.x"):
        logging.getLogger(name).debug("step of %s", name)
        logging.getLogger(name).warning("trouble of %s", name)
    told = capsys.readouterr().err
    assert [line.split(": ")[1][:4] for line in told.splitlines()] == ["trou"] * 4 + ["step", "trou"]


@pytest.mark.anyio
@pytest.mark.usefixtures("_own_logging")
async def test_a_follower_gets_old_lines_then_new_ones_until_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    ring = LogRing()
    configure_logging("info", "text", ring)
    log = logging.getLogger("rolecast.x")
    log.info("old")
    lines = ring.follow(10)
    assert (await anext(lines)).endswith("old")
    following = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0)
    await asyncio.to_thread(log.info, "new, from a thread")
    assert (await following).endswith("new, from a thread")
    ring.end_following()
    assert [line async for line in lines] == []
