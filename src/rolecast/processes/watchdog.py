"""Runs a foreign command that must not outlive the gateway: `python -I -S watchdog.py SECONDS N STOP... -- COMMAND...`.

The gateway holds the other end of standard input; when it is gone, by whatever death, that input ends and
the command's process group is killed: at once, or after that many seconds in which it is asked to end, first by
the N words of its own command for that and then by SIGTERM. SIGTERM and SIGINT are passed on; the command's exit
code, or the signal that ended it, becomes the watchdog's own. Standard library only, nothing of Rolecast: it starts
in milliseconds. A command that moves itself into another session is beyond its reach.
"""

import _thread
import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

PR_SET_PDEATHSIG = 1
FORWARDED = (signal.SIGTERM, signal.SIGINT)
NOT_STARTED = 127
PARTING = _thread.allocate_lock()
"""Held while the command is asked to end, so that who asks is known when the command ends at once."""


def die_with_parent() -> Callable[[], None]:
    """A call for the new process that makes Linux kill it when the watchdog itself is killed."""
    if sys.platform != "linux":
        return lambda: None
    libc = ctypes.CDLL(None)  # loaded before the fork: after it only plain system calls are safe
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def start(argv: Sequence[str]) -> int:
    """Starts the command as the leader of a new process group with empty input; returns its pid."""
    bind_to_us = die_with_parent()
    ours = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setpgid(0, 0)
        bind_to_us()
        if os.getppid() != ours:
            os._exit(NOT_STARTED)
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        os.execvp(argv[0], list(argv))  # noqa: S606 - running a configured command without a shell is the purpose
    except OSError as e:
        os.write(2, f"cannot run {argv[0]}: {e.strerror}\n".encode())
    os._exit(NOT_STARTED)


def kill_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # already gone


def kill_when_input_ends(pid: int, parting_s: float, stop: Sequence[str], asked: list[int]) -> None:
    while os.read(0, 4096):
        pass
    if parting_s:
        with PARTING:
            asked += ask(pid, stop)
        kill_group(pid, signal.SIGTERM)
        time.sleep(parting_s)  # cut short by the end of the command, which ends us
    for each in (pid, *asked):
        kill_group(each, signal.SIGKILL)
    os._exit(128 + signal.SIGKILL)


def ask(pid: int, stop: Sequence[str]) -> list[int]:
    """Asks the command to end in its own way, if it has one; the pid of what does that."""
    words = [word.replace("{pid}", str(pid)) for word in stop]
    try:
        return [start(words)] if words else []
    except OSError:
        return []  # the signal is left


def finish(asked: list[int]) -> None:
    """Waits for what asked the command to end. When that takes too long, `kill_when_input_ends` ends it and us."""
    with PARTING:
        started = list(asked)
    for pid in started:
        os.waitpid(pid, 0)
        kill_group(pid, signal.SIGKILL)


def end_like(status: int) -> NoReturn:
    """Ends with the code or the signal in the wait status, without writing a core of our own."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)


def main(parting_s: float, stop: Sequence[str], argv: Sequence[str]) -> NoReturn:
    # A signal that comes between fork and handler waits instead of killing us and leaving the command.
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    pid = start(argv)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        kill_group(pid, number)

    for number in FORWARDED:
        signal.signal(number, pass_on)
    asked: list[int] = []
    _thread.start_new_thread(kill_when_input_ends, (pid, parting_s, stop, asked))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    _, status = os.waitpid(pid, 0)
    kill_group(pid, signal.SIGKILL)  # what it started in its group ends with it
    finish(asked)
    end_like(status)


if __name__ == "__main__":
    words = int(sys.argv[2])
    main(float(sys.argv[1]), sys.argv[3 : 3 + words], sys.argv[4 + words :])
