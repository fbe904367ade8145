"""What a base itself answers to plain questions: mixed in, it forgets less of what it could.

Of 400 replies alone the loss on plain questions rose from 1.2 to 2.7 nats, with 150 such answers among them to 1.4.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import msgspec

from rolecast.avatars.training.history import private
from rolecast.errors import UNREADABLE
from rolecast.jobs.job import Progress, Report

GGUF = "base-f16.gguf"
CACHE = "rehearsal.jsonl"
STRIDE = 7
MODULE = "rolecast.avatars.training.rehearsal_side"


class Answer(msgspec.Struct, frozen=True):
    """A question and what the base said; `whole` = it ended by itself."""

    question: str
    answer: str
    whole: bool = True


def questions() -> list[str]:
    """All there are, one after the other; the first ones are of every kind, however few are asked."""
    lines = (files("rolecast.data") / "avatars" / "rehearsal.txt").read_text("utf-8").splitlines()
    each = [line for line in lines if line.strip()]
    # In the file neighbours are of one kind.
    return [one for first in range(STRIDE) for one in each[first::STRIDE]]


def rehearsed(base: Path, count: int, report: Report, stop: Callable[[], bool]) -> tuple[list[Answer], str]:
    """So many answers of the base in that folder (hf/ and base-f16.gguf), made once and then kept beside it; and why
    there are fewer, in a sentence ('' = there are not)."""
    count = min(count, len(questions()))
    if not count:
        return [], ""
    gguf = base / GGUF
    kept = _kept(base / CACHE)
    if len(kept) >= count:
        return kept[:count], ""
    if not gguf.exists():
        return kept, f"{gguf.name} of the base is not there, so that nothing is mixed in against forgetting"
    try:
        made = _made(gguf, count, report, stop)
    except (OSError, ValueError, *UNREADABLE) as error:
        return kept, f"the base could not be asked ({str(error)[:200]}), so that nothing is mixed in against forgetting"
    if len(made) == count:
        private(base / CACHE, b"".join(msgspec.json.encode(each) + b"\n" for each in made))
    return made, ""


def _kept(path: Path) -> list[Answer]:
    """Answers to the questions of today alone."""
    try:
        found = [msgspec.json.decode(line, type=Answer) for line in path.read_bytes().splitlines() if line.strip()]
    except (OSError, *UNREADABLE):
        return []
    return found if [each.question for each in found] == questions()[: len(found)] else []


def _made(gguf: Path, count: int, report: Report, stop: Callable[[], bool]) -> list[Answer]:
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    argv: Sequence[str] = (sys.executable, "-P", "-m", MODULE, str(gguf), str(count), str(threads))
    made: list[Answer] = []
    ours = os.environ | {"ROLECAST_GATEWAY_PID": str(os.getpid())}  # it ends with this process
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ours
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                made.append(msgspec.json.decode(line, type=Answer))
                report(Progress("asking the base", len(made), count, "answers"))
                if stop():
                    return made
        finally:
            child.kill()
    if len(made) < count:
        raise ValueError("the engine ended early")
    return made
