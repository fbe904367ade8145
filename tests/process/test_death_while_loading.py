"""Workers that end before they have loaded: who waits for them is answered, or told why."""

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from live_gateway import LiveGateway, until

SERVER = Path(__file__).parent.parent / "unit" / "foreign_server.py"
START = """#!/bin/sh
# start.sh PORT NAME: counts its starts, and does what the file of that name says.
cd "$(dirname "$0")"
echo >> "$2.starts"
case $(cat "$2" 2> /dev/null) in
  crash) echo "ggml.c:1: GGML_ASSERT(all is well) failed"; ulimit -c 0; kill -ABRT $$;;
  once) rm "$2"; ulimit -c 0; kill -SEGV $$;;
  fail) echo "no such file"; exit 1;;
esac
exec "PYTHON" "SERVER" --port "$1" --says "$2" --loading "$(cat "$2.slow" 2> /dev/null || echo 0)"
"""
NAMES = ("once", "crash", "fail", "killed")
CONFIG = (
    "server: {port: 0}\nroles: {standard: [well], either: [crash, well]}\nmodels:\n  well: {backend: fake}\n"
    + "".join(f"  {name}: {{backend: command, command: [FOLDER/start.sh, '{{port}}', {name}]}}\n" for name in NAMES)
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    folder = tmp_path_factory.mktemp("loading-death")
    script = folder / "start.sh"
    script.write_text(START.replace("PYTHON", sys.executable).replace("SERVER", str(SERVER)))
    script.chmod(0o755)
    with LiveGateway(folder, CONFIG.replace("FOLDER", str(folder))) as running:
        yield running


def will(gateway: LiveGateway, name: str, what: str) -> None:
    """What the next start of that model does."""
    (gateway.folder / name).write_text(what)


def starts(gateway: LiveGateway, name: str) -> int:
    return len((gateway.folder / f"{name}.starts").read_text().splitlines())


def test_a_crash_while_loading_is_tried_once_more_before_anybody_is_told(gateway: LiveGateway) -> None:
    will(gateway, "once", "once")
    assert gateway.chat("once", "hello").status == 200
    assert starts(gateway, "once") == 2
    assert "once is tried once more: its worker was killed by signal 11 (SIGSEGV)." in gateway.log()


def test_a_model_that_always_crashes_is_told_with_its_last_words_and_the_next_of_the_role_answers(
    gateway: LiveGateway,
) -> None:
    will(gateway, "crash", "crash")
    answer = gateway.chat("either", "hello")
    assert (answer.status, answer.headers["x-rolecast-model"]) == (200, "well")
    assert starts(gateway, "crash") == 2
    refused = gateway.chat("crash", "hello")
    assert (refused.status, refused.error["code"]) == (503, "load_failed")
    assert "SIGABRT); its last words: ggml.c:1: GGML_ASSERT(all is well) failed." in refused.error["message"]


def test_a_model_that_does_not_start_is_refused_at_once_after_three_tries_and_tried_again_later(
    gateway: LiveGateway,
) -> None:
    will(gateway, "fail", "fail")
    refused = until(
        lambda: (answer := gateway.chat("fail", "hello")) and "3 times in a row" in answer.error["message"] and answer
    )
    assert (
        "fail could not be started: its worker ended with code 1; its last words: no such file."
        in (refused.error["message"])
    )
    tried = starts(gateway, "fail")
    again = gateway.chat("fail", "hello")
    assert (again.status, again.error["code"], starts(gateway, "fail")) == (503, "load_failed", tried)
    assert int(again.headers["retry-after"]) >= 1
    (gateway.folder / "fail").unlink()
    until(lambda: gateway.chat("fail", "hello").status == 200, "it is tried again without a word from anybody")


def test_a_worker_that_is_killed_again_and_again_while_it_loads_costs_nobody_anything(gateway: LiveGateway) -> None:
    slow = gateway.folder / "killed.slow"
    slow.write_text("100000")  # it says that it loads, for as long as we want
    with ThreadPoolExecutor(3) as threads:
        asking = [threads.submit(gateway.chat, "killed", "hello") for _ in range(3)]
        pids: set[int] = set()
        for _ in range(3):
            now = until(lambda: (m := gateway.model("killed"))["pid"] not in pids | {None} and m)
            assert now["state"] == "loading"
            pids.add(now["pid"])
            if len(pids) == 3:
                slow.unlink()
            with suppress(ProcessLookupError):
                os.kill(now["pid"], signal.SIGKILL)
        assert [each.result().status for each in asking] == [200] * 3
