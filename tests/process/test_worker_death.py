"""A worker that dies under load: who notices, who does not, and how it comes back."""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from kill_storm import KillStorm
from live_gateway import LiveGateway, Stream, has_ended, until, words

SCRIPT = """
replies:
  - {match: "^long", reply: "%s", token_delay: 0.02}
  - {match: "^brief", reply: "one two three four", token_delay: 0.02}
  - {match: "^poison", die_after: 0}
  - {match: "^cut", reply: "one two three four", die_after: 2}
  - {match: "^patient", reply: "here", delay: 1.0}
"""
CONFIG = """
server: {port: 0}
models:
  tiny: {backend: fake, parallel: 4, pinned: true, script: SCRIPT}
  single: {backend: fake, script: SCRIPT}
  alone: {backend: fake, parallel: 4, script: SCRIPT}
  steady: {backend: fake}
roles: {standard: [tiny]}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    folder = tmp_path_factory.mktemp("death")
    (folder / "script.yaml").write_text(SCRIPT % " ".join(["word"] * 3000))
    with LiveGateway(folder, CONFIG.replace("SCRIPT", str(folder / "script.yaml"))) as running:
        until(lambda: running.model("tiny")["state"] == "ready")
        yield running


def read_stream(gateway: LiveGateway, text: str) -> str:
    with gateway.stream("tiny", text) as stream:
        return words(stream.rest())


def ends_with_an_error(stream: Stream) -> bool:
    """Whether what is left of a stream is text, then one error event, then a clean end."""
    *text, error, done = stream.rest()
    assert done == "[DONE]"
    assert all("choices" in json.loads(event) for event in text)
    return json.loads(error)["error"]["code"] == "worker_lost"


def test_killing_a_worker_ends_running_streams_with_an_error_and_nobody_else_notices(gateway: LiveGateway) -> None:
    before = gateway.model("tiny")
    with ExitStack() as stack:
        streams = [stack.enter_context(gateway.stream("tiny", "long")) for _ in range(4)]
        for stream in streams:
            assert stream.event() is not None
        threads = stack.enter_context(ThreadPoolExecutor(12))
        waiting = [threads.submit(gateway.chat, "tiny", f"hello {i}") for i in range(6)]
        streamed = [threads.submit(read_stream, gateway, f"hello {i}") for i in range(6, 12)]
        until(lambda: gateway.model("tiny")["waiting"] == 12, "12 requests wait")

        os.kill(before["pid"], signal.SIGKILL)

        assert [ends_with_an_error(stream) for stream in streams] == [True] * 4
        for i, answer in enumerate(w.result() for w in waiting):
            assert (answer.status, answer.json["choices"][0]["message"]["content"]) == (200, f"fake: hello {i}")
        assert [s.result() for s in streamed] == [f"fake: hello {i}" for i in range(6, 12)]
    now = gateway.model("tiny")
    assert now["restarts"] == before["restarts"] + 1
    assert (now["state"], now["active"], now["waiting"]) == ("ready", 0, 0)
    assert now["pid"] != before["pid"]
    assert has_ended(before["pid"])
    outcomes = until(lambda: (rows := gateway.rows("outcome, error, stream"))[15:] and rows)
    assert outcomes.count(("error", "worker_lost", 1)) == 4
    assert outcomes.count(("ok", "", 1)) == outcomes.count(("ok", "", 0)) == 6


def test_a_worker_that_dies_in_the_middle_of_an_answer_cuts_the_stream_with_an_error(gateway: LiveGateway) -> None:
    with gateway.stream("tiny", "cut") as stream:
        events = stream.rest()
    assert words(events[:-2]) == "one two"
    assert json.loads(events[-2])["error"]["type"] == "server_error"
    assert events[-1] == "[DONE]"


def test_a_request_that_kills_every_worker_is_given_up_and_the_model_comes_back(gateway: LiveGateway) -> None:
    answer = gateway.chat("tiny", "poison")
    assert answer.status == 503
    assert answer.error["code"] in ("worker_lost", "worker_down")
    assert until(lambda: (ok := gateway.chat("tiny", "hello")).status == 200 and ok).json["model"] == "tiny"


@pytest.mark.parametrize("model", ["tiny", "single"])
def test_a_worker_that_is_killed_again_and_again_under_six_clients_costs_only_streams_that_had_begun(
    gateway: LiveGateway, model: str
) -> None:
    with KillStorm(gateway, model, "brief") as storm:
        for _ in range(6):
            enough = storm.counts()["answered"] + 2
            until(lambda: storm.counts()["answered"] >= enough or storm.wrong(), "it serves again")  # noqa: B023
            storm.kill()
    assert storm.wrong() == []
    assert gateway.chat(model, "hello").status == 200
    assert gateway.model(model)["state"] == "ready"


def test_a_request_that_kills_every_worker_is_found_among_others_and_they_are_answered(gateway: LiveGateway) -> None:
    with KillStorm(gateway, "tiny", "brief") as storm:
        until(lambda: storm.counts()["answered"] >= 6)
        answer = gateway.chat("tiny", "poison")
    assert storm.wrong() == []
    assert (answer.status, answer.error["code"]) == (503, "worker_lost")
    assert "which may be the cause" in answer.error["message"]


def test_a_lone_request_whose_fresh_workers_are_killed_from_outside_is_answered(gateway: LiveGateway) -> None:
    """Each time nothing but it was there, and the worker had answered nobody: as if it were the cause."""
    pids: set[int] = set()
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(gateway.chat, "alone", "patient")
        for _ in range(4):
            now = until(lambda: (m := gateway.model("alone"))["active"] and m["pid"] not in pids and m)
            pids.add(now["pid"])
            os.kill(now["pid"], signal.SIGKILL)
        answer = asking.result()
    assert (answer.status, answer.json["choices"][0]["message"]["content"]) == (200, "here")
    assert gateway.model("alone")["restarts"] == 4


def test_other_models_do_not_notice_a_dead_worker(gateway: LiveGateway, tmp_path: Path) -> None:
    assert gateway.chat("steady", "hello").status == 200
    pid = gateway.model("steady")["pid"]
    gateway.chat("tiny", "poison")
    assert gateway.chat("steady", "again").status == 200
    assert gateway.model("steady")["pid"] == pid
