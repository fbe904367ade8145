"""Workers that answer health checks and nothing else, and requests that are only slow."""

import http.client
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from live_gateway import Answer, LiveGateway, has_ended, until

from rolecast.turn.ailing import FAILURES

SERVER = Path(__file__).parent.parent / "unit" / "hanging_server.py"
MODELS = ("together", "alone", "busy", "left", "mixed", "ailing", "spoilt", "asked")
MODEL = "  NAME: {backend: command, parallel: 4, timeout: 700ms, command: [PYTHON, SERVER, '{port}', FOLDER/NAME]}\n"
CONFIG = "server: {port: 0}\nroles: {standard: [together]}\nmodels:\n" + "".join(
    MODEL.replace("NAME", name) for name in MODELS
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    folder = tmp_path_factory.mktemp("stuck")
    for name in MODELS:
        (folder / name).mkdir()
    config = CONFIG.replace("PYTHON", sys.executable).replace("SERVER", str(SERVER)).replace("FOLDER", str(folder))
    with LiveGateway(folder, config) as running:
        yield running


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def pid_in(answer: Answer) -> int:
    """Which process gave that answer."""
    assert answer.status == 200, answer.body
    return int(answer.json["choices"][0]["message"]["content"].removeprefix("pid "))


def stick(gateway: LiveGateway, model: str, how: str = "hang") -> None:
    """From its next request on the worker is stuck."""
    (gateway.folder / model / how).touch()


def test_a_worker_that_answers_health_checks_and_nothing_else_is_replaced_and_who_waited_is_answered(
    gateway: LiveGateway, threads: ThreadPoolExecutor
) -> None:
    stuck = pid_in(gateway.chat("together", "hello"))
    stick(gateway, "together")
    asking = [threads.submit(gateway.chat, "together", f"hello {n}") for n in range(6)]  # two wait for a slot
    (pid,) = {pid_in(each.result()) for each in asking}
    assert pid != stuck
    until(lambda: has_ended(stuck), "the stuck process ended")
    now = gateway.model("together")
    assert (now["state"], now["restarts"], now["active"], now["waiting"]) == ("ready", 1, 0, 0)
    assert "worker of together is stuck and is started again: it sent nobody anything for 0.7 s" in gateway.log()


def test_a_request_that_is_stuck_alone_on_a_worker_that_served_nobody_is_told_and_the_worker_replaced(
    gateway: LiveGateway,
) -> None:
    stick(gateway, "alone")
    answer = gateway.chat("alone", "hello")
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
    assert gateway.chat("alone", "hello").status == 200
    assert gateway.model("alone")["restarts"] == 1


def test_a_slow_request_is_told_and_does_not_end_the_worker_that_serves_others(
    gateway: LiveGateway, threads: ThreadPoolExecutor
) -> None:
    slow = threads.submit(gateway.chat, "mixed", "slow")
    pids = set()
    while not slow.done():
        pids.add(pid_in(gateway.chat("mixed", "hello")))
    assert (slow.result().status, slow.result().error["code"]) == (504, "upstream_timeout")
    pids.add(pid_in(gateway.chat("mixed", "hello")))
    assert len(pids) == 1
    assert gateway.model("mixed")["restarts"] == 0


def test_a_silent_worker_that_computes_is_doubted_once_and_replaced_when_it_stays_silent(gateway: LiveGateway) -> None:
    working = pid_in(gateway.chat("busy", "hello"))
    stick(gateway, "busy", "spin")
    first = gateway.chat("busy", "hello")  # might be a long prompt
    assert (first.status, first.error["code"]) == (504, "upstream_timeout")
    assert gateway.model("busy")["restarts"] == 0
    assert pid_in(gateway.chat("busy", "hello")) != working
    assert gateway.model("busy")["restarts"] == 1


def test_clients_that_leave_before_the_timeout_do_not_hide_a_stuck_worker(gateway: LiveGateway) -> None:
    def leave_early() -> bool:
        """Ask, and go away when nothing came for a moment; whether an answer came."""
        address = gateway.url.removeprefix("http://").split(":")
        body = b'{"model":"left","messages":[{"role":"user","content":"hello"}]}'
        with closing(http.client.HTTPConnection(address[0], int(address[1]), timeout=0.2)) as client:
            client.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
            with suppress(TimeoutError), closing(client.getresponse()) as response:
                return response.status == 200
        return False

    working = pid_in(gateway.chat("left", "hello"))
    stick(gateway, "left")
    until(lambda: leave_early() and gateway.model("left")["restarts"] == 1, "it was replaced")
    assert gateway.model("left")["pid"] != working


def test_a_worker_that_is_well_by_its_own_word_and_fails_every_request_is_replaced(gateway: LiveGateway) -> None:
    working = pid_in(gateway.chat("ailing", "hello"))
    stick(gateway, "ailing", "fail")
    failed = [gateway.chat("ailing", "hello") for _ in range(FAILURES)]
    assert {each.status for each in failed} == {502}
    assert pid_in(gateway.chat("ailing", "hello")) != working
    assert "worker of ailing is not well and is started again: it answered 5 requests in a row with" in gateway.log()


def test_a_worker_that_fails_from_its_first_request_on_is_replaced_once(gateway: LiveGateway) -> None:
    stick(gateway, "spoilt", "fail")
    failed = [gateway.chat("spoilt", "hello") for _ in range(FAILURES)]
    assert {each.status for each in failed} == {502}
    assert gateway.chat("spoilt", "hello").status == 200


def test_who_asks_for_the_impossible_costs_one_load_and_none_where_others_are_answered(gateway: LiveGateway) -> None:
    first = pid_in(gateway.chat("asked", "hello"))
    for _ in range(2 * FAILURES):
        gateway.chat("asked", "impossible")
        assert pid_in(gateway.chat("asked", "hello")) == first
    for _ in range(4 * FAILURES):
        gateway.chat("asked", "impossible")
    assert gateway.log().count("worker of asked is not well") == 1
    assert pid_in(gateway.chat("asked", "hello")) != first
