"""What a dead gateway left behind is ended by the next one, and nothing else is."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest

from rolecast.processes import strays

STAYS = [sys.executable, "-c", "import time; time.sleep(1000)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(1000)",
]
GATEWAY = """
import os, subprocess, sys, time
from rolecast.processes import strays
for argv in ({stays!r}, {deaf!r}):
    child = subprocess.Popen(argv, env=os.environ | strays.mark(), start_new_session=True, stdout=subprocess.PIPE)
    print(child.pid, flush=True)
time.sleep(1000)
"""


def marked(value: str | None) -> subprocess.Popen[bytes]:
    env = {name: text for name, text in os.environ.items() if name != strays.MARK}
    return subprocess.Popen(STAYS, env=env if value is None else env | {strays.MARK: value})


@pytest.fixture
def started() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_what_a_dead_gateway_left_is_ended_also_when_it_hears_no_signal(started: ExitStack) -> None:
    code = GATEWAY.format(stays=STAYS, deaf=DEAF)
    gateway = started.enter_context(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True))
    started.callback(gateway.kill)
    assert gateway.stdout is not None
    left = [psutil.Process(int(gateway.stdout.readline())) for _ in range(2)]
    for process in left:
        started.callback(lambda p=process: p.is_running() and p.kill())
    pids = {process.pid for process in left}
    assert not pids & set(strays.sweep())  # it lives
    gateway.kill()
    gateway.wait()
    strays.sweep()  # or any other gateway of this user that starts meanwhile
    _, alive = psutil.wait_procs(left, timeout=5)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


def test_processes_of_others_and_what_cannot_be_told_stay(started: ExitStack) -> None:
    own = strays.mark()[strays.MARK]
    _, began, place = own.split(" ")
    gone = str(_unused())
    others = [
        None,  # no mark
        own,  # of a gateway that lives
        f"{gone} {began} pid:[1]",  # of a container, whose pids are others
        f"{gone} {began}",
        f"{gone}",
        f"x{gone} {began} {place}",
        "",
    ]
    running = [started.enter_context(marked(value)) for value in others]
    for each in running:
        started.callback(each.kill)
    strays.sweep()
    assert [each.poll() for each in running] == [None] * len(running)


def test_a_pid_that_another_process_has_by_now_is_no_living_gateway() -> None:
    pid, began, place = strays.mark()[strays.MARK].split(" ")
    assert not strays.is_left(f"{pid} {began} {place}")
    assert strays.is_left(f"{pid} {int(began) - 1 if began.isdigit() else 1} {place}")


def test_a_gateway_that_a_left_worker_started_does_not_end_itself() -> None:
    """Its own environment has the mark of the dead one."""
    _, began, place = strays.mark()[strays.MARK].split(" ")
    code = "from rolecast.processes import strays; strays.sweep(); print(1)"
    env = os.environ | {strays.MARK: f"{_unused()} {began} {place}"}
    for _ in range(5):  # a gateway of another test that starts just now ends it, and is right
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=20)
        if done.returncode >= 0:
            break
    assert (done.returncode, done.stdout) == (0, "1\n")


def _unused() -> int:
    pid = 4_000_000
    while psutil.pid_exists(pid):
        pid -= 1
    return pid
