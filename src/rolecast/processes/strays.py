"""Processes that a gateway left behind when it died, or a child of it: found by a mark in their environment, and ended.

Children end with their gateway, and what they started with them, see `lifeline` and `watchdog`; this is for what that
did not reach: a process that hung, or left its session, on a system without a parent-death signal. Knows no model. A
process of somebody else has no mark, one of a gateway that lives has the mark of that gateway, and what cannot be told
for certain is left alone.
"""

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

MARK = "ROLECAST_GATEWAY"
"""The variable by which a child names its gateway: pid, start of that process, and where its pid counts."""
CHILD_MARK = "ROLECAST_CHILD"
"""The variable by which what a child started names that child: a text that no other has."""
ASKED_S = 1.0
"""What is left behind has this long to end when it is asked to."""
KILLED_S = 5.0
PROC = Path("/proc")


def mark() -> dict[str, str]:
    """The variable for a child of this process; empty where this process cannot be told from others."""
    began = _began(os.getpid())
    return {MARK: f"{os.getpid()} {began} {_place()}"} if began else {}


def sweep() -> list[int]:
    """End what gateways of this user that died left behind; the pids. Blocks for milliseconds, or for what it ends."""
    ours = _ourselves()
    return _end([p for p in _of_ours(MARK, is_left) if p.pid not in ours])


def sweep_after(child_mark: str) -> list[int]:
    """End what that child, which has ended, left behind; the pids. Blocks as `sweep` does."""
    return _end(list(_of_ours(CHILD_MARK, lambda value: value == child_mark)))


def child_mark() -> str:
    """One for another child."""
    return uuid.uuid4().hex


def _end(found: list[psutil.Process]) -> list[int]:
    for process in found:
        with contextlib.suppress(psutil.Error):  # psutil refuses when the pid belongs to a newer process
            process.terminate()
    _, alive = psutil.wait_procs(found, timeout=ASKED_S)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=KILLED_S)
    return [process.pid for process in found]


def is_left(value: str) -> bool:
    """Whether the gateway of that mark is gone for certain: its pid counts here, and nobody has it who began then."""
    pid, _, rest = value.partition(" ")
    began, _, place = rest.partition(" ")
    if not (pid.isascii() and pid.isdigit() and began) or place != _place():
        return False
    if not psutil.pid_exists(int(pid)):
        return True
    now = _began(int(pid))
    return bool(now) and now != began


def _of_ours(variable: str, is_meant: Callable[[str], bool]) -> Iterator[psutil.Process]:
    """Processes of this user that have that variable with such a value."""
    user = os.getuid()
    for process in psutil.process_iter():
        try:
            if process.uids().real == user and (value := process.environ().get(variable)) and is_meant(value):
                yield process
        except (psutil.Error, OSError):
            continue  # it ended just now, or may not be looked into


def _ourselves() -> set[int]:
    """This process and those that it came from: a gateway may have been started by a worker of another one."""
    try:
        return {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    except psutil.Error:
        return {os.getpid(), os.getppid()}


def _began(pid: int) -> str:
    """A text that is the same for the same process, and another one for a later process of that pid; empty = unknown.

    On Linux in ticks since the start of the system, which no change of the clock moves.
    """
    try:
        if (PROC / "self/stat").exists():
            return (PROC / f"{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
        return f"{psutil.Process(pid).create_time():.3f}"
    except (OSError, IndexError, psutil.Error):
        return ""


def _place() -> str:
    """Where pids count: a container has its own. On another system they are one count."""
    try:
        return str((PROC / "self/ns/pid").readlink())
    except OSError:
        return "here"
