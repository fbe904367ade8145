"""The child process of a job: `python -P -m rolecast.jobs.worker KIND`, its order as JSON in the variable `ORDER`.

Not on the command line, which every user of the machine can read. Ends with the gateway, runs when nobody else needs
the processor, and cleans up when it is asked to end.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, NoReturn

import msgspec

from rolecast.errors import RolecastError
from rolecast.jobs.job import Progress, Report
from rolecast.jobs.notes import Note
from rolecast.processes.lifeline import end_with_gateway

ORDER = "ROLECAST_JOB"
NICE = 10
EVERY_S = 0.1
"""Progress is reported so often, and at once when a step begins or has come another hundredth further."""


class Weights(msgspec.Struct, frozen=True):
    """What a pull is to bring, and into which folder."""

    source: str
    sha256: str
    folder: str


def _pull(order: bytes, report: Report) -> str:
    from rolecast import sources

    wanted = msgspec.json.decode(order, type=Weights)
    source = sources.parse(wanted.source, wanted.sha256)
    return str(sources.pull(source, Path(wanted.folder), lambda p: report(Progress(p.step, p.done, p.total))))


WORK: Mapping[str, Callable[[bytes, Report], str]] = {"pull": _pull}
"""What each kind of job does in its process: its order in, the result out. Raises RolecastError."""


class Reporter:
    """Writes reports for the gateway, fewer than it is given."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._told = Progress()
        self.last = Progress()
        self._next_at = 0.0

    def progress(self, now: Progress) -> None:
        self.last = now
        began = now.step != self._told.step
        if began:
            log_line(f"{now.step} ({now.whole})" if now.total else now.step)
        further = now.total > 0 and (now.done - self._told.done) * 100 >= now.total
        if began or further or time.monotonic() >= self._next_at:
            self._told, self._next_at = now, time.monotonic() + EVERY_S
            self.write(Note(progress=now))

    def write(self, note: Note) -> None:
        self._out.write(msgspec.json.encode(note) + b"\n")
        self._out.flush()


def main(kind: str) -> int:
    """Do the work of that kind; the exit code."""
    end_with_gateway()
    signal.signal(signal.SIGTERM, _leave)
    os.nice(NICE)
    reporter = Reporter(own_output())
    try:
        result = WORK[kind](os.environ.pop(ORDER).encode(), reporter.progress)
        reporter.write(Note(progress=reporter.last, result=result))
    except RolecastError as error:
        log_line(error.message)
        reporter.write(Note(error=error.message))
        return 1
    except Exception as error:
        traceback.print_exc()
        reporter.write(Note(error=f"Something went wrong that should not: {type(error).__name__}; its log says more."))
        return 1
    return 0


def log_line(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def own_output() -> BinaryIO:
    """The pipe to the gateway for us alone; what others print to standard output goes into the log."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return out


def _leave(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
