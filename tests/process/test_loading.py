"""Models come when they are asked for, leave when nobody asks, and a broken one harms only itself."""

import re
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from live_gateway import LiveGateway, has_ended, until

SERVER = Path(__file__).parent.parent / "unit" / "foreign_server.py"
START = f"""#!/bin/sh
# start.sh PORT: a worker that loads until there is a file `go` beside it.
until [ -e "$(dirname "$0")/go" ]; do sleep 0.05; done
exec "{sys.executable}" "{SERVER}" --port "$1"
"""
CONFIG = """
server: {port: 0}
models:
  gated: {backend: command, parallel: 32, command: [START, "{port}"]}
  pinned: {backend: fake, pinned: true, idle_timeout: 100ms}
  patient: {backend: fake, idle_timeout: 1h}
  brief: {backend: fake, parallel: 32, idle_timeout: 300ms}
  slow: {backend: fake, idle_timeout: 1h, script: SLOW}
  lone: {backend: fake, idle_timeout: 1h, script: SLOW, parallel: 1}
  broken: {backend: fake, script: BROKEN}
  absent: {source: "hf:owner/repo/absent.gguf"}
  off: {backend: fake, enabled: false}
roles: {standard: [pinned]}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    folder = tmp_path_factory.mktemp("loading")
    (folder / "slow.yaml").write_text('replies: [{reply: "%s", token_delay: 0.05}]' % ("word " * 2000))
    (folder / "broken.yaml").write_text("replies: [{match: '('}]")
    (folder / "start.sh").write_text(START)
    (folder / "start.sh").chmod(0o755)
    config = CONFIG.replace("SLOW", str(folder / "slow.yaml")).replace("BROKEN", str(folder / "broken.yaml"))
    config = config.replace("START", str(folder / "start.sh"))
    with LiveGateway(folder, config) as running:
        until(lambda: running.model("pinned")["state"] == "ready")
        yield running


def test_many_first_requests_start_one_process(gateway: LiveGateway) -> None:
    assert gateway.model("gated")["state"] == "cold"
    with ThreadPoolExecutor(20) as threads:
        asked = [threads.submit(gateway.chat, "gated", "hello") for _ in range(20)]
        until(lambda: gateway.model("gated")["waiting"] == 20, "all of them wait for it")
        (gateway.folder / "go").touch()
        answers = [each.result() for each in asked]
    assert [a.status for a in answers] == [200] * 20
    assert gateway.log().count("loaded gated in") == 1
    loads = [a for a in answers if "load;dur=" in a.headers["server-timing"]]
    assert len(loads) == 20
    assert all(0 < float(a.headers["server-timing"].split("load;dur=")[1].split(",")[0]) < 60_000 for a in loads)


def test_an_idle_model_leaves_and_comes_back_and_a_pinned_one_stays(gateway: LiveGateway) -> None:
    pinned = gateway.model("pinned")
    assert gateway.chat("patient", "hello").status == 200  # its hour must not hide the end of somebody else's
    assert gateway.chat("brief", "hello").status == 200
    pid = gateway.model("brief")["pid"]
    until(lambda: gateway.model("brief")["state"] == "cold", "the idle model was unloaded")
    assert not pid or has_ended(pid)
    assert gateway.chat("brief", "hello").status == 200
    assert {k: gateway.model("pinned")[k] for k in ("pid", "state")} == {"pid": pinned["pid"], "state": "ready"}
    assert gateway.model("patient")["state"] == "ready"


def test_the_log_says_why_a_model_was_unloaded(gateway: LiveGateway) -> None:
    for model in ("patient", "brief"):
        assert gateway.chat(model, "hello").status == 200
    pid = gateway.model("patient")["pid"]
    gateway.post("/admin/unload", {"model": "patient"})
    until(lambda: f"unloaded patient (pid {pid}): asked to" in gateway.log())
    until(lambda: re.search(r"unloaded brief \(pid \d+\): idle for 0\.3 s", gateway.log()))


def test_a_model_at_work_is_not_idle(gateway: LiveGateway) -> None:
    with gateway.stream("slow", "go on") as stream:
        assert stream.event()
        assert gateway.chat("brief", "hello").status == 200
        until(lambda: gateway.model("brief")["state"] == "cold")  # its 300 ms passed for both
        assert gateway.model("slow")["active"] == 1
        assert stream.event()


def test_tokens_are_counted_as_soon_as_a_model_is_there_beside_a_long_answer(gateway: LiveGateway) -> None:
    with gateway.stream("lone", "go on") as stream:
        said = {"model": "lone", "messages": [{"role": "user", "content": "how many words are these"}]}
        counted = gateway.post("/v1/messages/count_tokens", said)
        assert (counted.status, counted.json["input_tokens"] > 0) == (200, True)
        assert stream.event()
        until(lambda: gateway.model("lone")["active"] == 1, "the only slot is the stream's")


def test_unload_and_load_are_done_when_they_answer(gateway: LiveGateway) -> None:
    assert gateway.post("/admin/load", {"model": "patient"}).json == {"model": "patient", "state": "ready"}
    pid = gateway.model("patient")["pid"]
    assert gateway.post("/admin/unload", {"model": "patient"}).json == {"model": "patient", "state": "cold"}
    assert has_ended(pid)
    assert gateway.post("/admin/unload", {"model": "patient"}).json["state"] == "cold"
    assert gateway.post("/admin/load", {"model": "patient"}).json["state"] == "ready"
    assert gateway.model("patient")["restarts"] == 0


def test_unload_stays_unloaded_even_for_a_pinned_model_until_somebody_asks(gateway: LiveGateway) -> None:
    assert gateway.post("/admin/unload", {"model": "pinned"}).json["state"] == "cold"
    assert gateway.chat("brief", "hello").status == 200
    until(lambda: gateway.model("brief")["state"] == "cold")  # time for a wrong restart
    assert gateway.model("pinned")["state"] == "cold"
    assert gateway.chat("pinned", "hello").status == 200


def test_unload_ends_running_streams_with_an_error_and_serves_who_waits_anew(gateway: LiveGateway) -> None:
    with gateway.stream("slow", "go on") as stream, ThreadPoolExecutor(1) as threads:
        assert stream.event()
        waiting = threads.submit(gateway.chat, "slow", "hello", max_tokens=1)
        until(lambda: gateway.model("slow")["waiting"] == 1)
        assert gateway.post("/admin/unload", {"model": "slow"}).status == 200
        *_, error, done = stream.rest()
        assert '"code":"worker_lost"' in error
        assert done == "[DONE]"
        assert waiting.result().status == 200
    assert gateway.model("slow")["restarts"] == 0


def test_unload_while_it_loads_leaves_no_process(gateway: LiveGateway) -> None:
    gateway.post("/admin/unload", {"model": "patient"})
    with ThreadPoolExecutor(1) as threads:
        loading = threads.submit(gateway.post, "/admin/load", {"model": "patient"})
        until(lambda: gateway.model("patient")["state"] == "loading")
        assert gateway.post("/admin/unload", {"model": "patient"}).status == 200
        assert (loading.result().status, loading.result().error["code"]) == (409, "load_called_off")
    assert gateway.model("patient")["state"] == "cold"
    names = [" ".join(p.cmdline()) for p in gateway.processes()[1:]]
    assert not any('"id":"patient"' in name for name in names)


def test_a_model_that_cannot_start_says_why_and_is_not_tried_for_ever(gateway: LiveGateway) -> None:
    first = gateway.chat("broken", "hello")
    assert (first.status, first.error["code"]) == (503, "load_failed")
    assert "broken could not be started: its worker ended with code 1" in first.error["message"]
    assert "cannot load the script" in first.error["message"]  # the worker's own words
    assert "rolecast logs broken" in first.error["message"]
    for _ in range(2):
        last = gateway.chat("broken", "hello")
    assert "Failed 3 times in a row; next try in" in last.error["message"]
    spawned = gateway.log().count("worker of broken ended")
    refused = [gateway.chat("broken", "hello") for _ in range(5)]
    assert {r.status for r in refused} == {503}
    assert all(int(r.headers["retry-after"]) >= 1 for r in refused)
    assert gateway.log().count("worker of broken ended") == spawned == 3
    assert gateway.post("/admin/load", {"model": "broken"}).status == 503  # who asks for the model itself gets a try
    assert gateway.log().count("worker of broken ended") == 4
    assert gateway.chat("pinned", "hello").status == 200
    assert gateway.get("/health").json["status"] == "degraded"
    assert gateway.get("/health").json["failing"] == ["broken"]


def test_absent_weights_are_named_with_the_command_that_brings_them(gateway: LiveGateway) -> None:
    answer = gateway.chat("absent", "hello")
    assert (answer.status, answer.error["code"]) == (503, "load_failed")
    assert "rolecast pull absent" in answer.error["message"]


def test_a_disabled_model_is_refused_by_name_and_not_listed(gateway: LiveGateway) -> None:
    answer = gateway.chat("off", "hello")
    assert (answer.status, answer.error["code"]) == (503, "model_disabled")
    assert "off" not in [m["id"] for m in gateway.get("/v1/models").json["data"]]


def test_a_pinned_model_that_is_killed_while_nobody_asks_comes_back(gateway: LiveGateway) -> None:
    before = gateway.model("pinned")
    psutil.Process(before["pid"]).send_signal(signal.SIGKILL)
    until(lambda: gateway.model("pinned")["restarts"] == before["restarts"] + 1)
    until(lambda: gateway.model("pinned")["state"] == "ready")
    assert gateway.chat("pinned", "hello").status == 200
