"""Runs the process that makes an avatar, from the command line: shows how far it is, and ends it in its own way.

Knows processes and terminals. What the steps are is `rolecast.avatars`'.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from rolecast.avatars.order import MODULE, ORDER, AvatarOrder, environment
from rolecast.cli import output
from rolecast.errors import Invalid, RolecastError

if TYPE_CHECKING:
    from rich.progress import Task

    from rolecast.avatars.pipeline import Outcome
    from rolecast.jobs.job import Progress

EVERY_S = 10.0
"""Outside of a terminal a step tells so often how far it is."""

WIDE = 110
"""Columns of a terminal where a bar fits beside what a training tells."""
WORTH_TELLING_S = 0.1
"""A step that took less leaves no line on a terminal."""


class MakingFailed(RolecastError):
    """A step came to nothing; the message says why and what to do."""


def make(order: AvatarOrder, label: str, log: Path) -> "Outcome":
    """Carry out the order in a process of its own, with progress on stderr.

    Raises MakingFailed. Ctrl-C or SIGTERM lets the step end at its next checkpoint, a second one ends it at once.
    """
    from rolecast.avatars.pipeline import Outcome
    from rolecast.jobs.notes import Reports

    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    env = os.environ | dict(environment()) | {ORDER: msgspec.json.encode(order).decode()}
    env["ROLECAST_GATEWAY_PID"] = str(os.getpid())
    with _terminated_as_by_a_key(), shown(label) as report, _log_file(log) as errors:
        reports = Reports(report)
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE],
            stdin=subprocess.PIPE,  # it ends when this closes
            stdout=subprocess.PIPE,
            stderr=errors,
            env=env,
            start_new_session=True,  # Ctrl-C is ours to pass on
        )
        assert child.stdout is not None
        try:
            _listen(child, child.stdout, reports.feed, label)
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
            child.stdout.close()
            if child.stdin is not None:
                child.stdin.close()
    if child.returncode == 0 and reports.result is not None:
        return msgspec.json.decode(reports.result, type=Outcome)
    how = f"The process that did it ended with code {child.returncode}; its log is {log}."
    raise MakingFailed(reports.error or how)


def _listen(child: "subprocess.Popen[bytes]", out: "IO[bytes]", feed: Callable[[bytes], None], label: str) -> None:
    """Read what it tells, to its end."""
    asked = 0
    while True:
        try:
            data = os.read(out.fileno(), 65536)
            if not data:
                child.wait()
                return
            feed(data)
        except KeyboardInterrupt:
            asked += 1
            if asked > 1 or child.poll() is not None:
                raise
            output.say(
                f"{output.escape(label)} stops at its next checkpoint; Ctrl-C again ends it at once.", stderr=True
            )
            child.send_signal(signal.SIGTERM)


@contextmanager
def _terminated_as_by_a_key() -> Iterator[None]:
    """SIGTERM is what Ctrl-C is meanwhile, as far as this thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _log_file(path: Path) -> Iterator[IO[bytes]]:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
        yield file


@contextmanager
def shown(label: str) -> "Iterator[Callable[[Progress], None]]":
    """A line that moves on a terminal, a line every ten seconds anywhere else; both on stderr."""
    if not sys.stderr.isatty():
        yield _lines(label)
        return
    from rich.progress import BarColumn, ProgressColumn
    from rich.progress import Progress as Bars
    from rich.table import Column
    from rich.text import Text

    step, began = "", time.monotonic()

    class Line(ProgressColumn):
        """The step, its part, its time, which goes on while one that has counted to its end still works, and its note,
        of which the end is left out where there is no room."""

        def render(self, task: "Task") -> Text:
            part = f" {task.percentage:.0f} %" if task.total else ""
            return Text.assemble(f"{task.description}{part} ", (f"{_took(began)} ", "dim"), task.fields["note"])

    screen = output.console(stderr=True)
    bar = (BarColumn(bar_width=16),) if screen.width >= WIDE else ()
    columns = (*bar, Line(Column(no_wrap=True, overflow="ellipsis")))
    with Bars(*columns, console=screen, transient=True) as bars:
        task = bars.add_task(label, total=None, note="")

        def report(now: "Progress") -> None:
            nonlocal step, began
            if now.step != step:
                if step and time.monotonic() - began >= WORTH_TELLING_S:
                    output.say(f"[green]✓[/] {output.escape(step)} [dim]{_took(began)}[/]", stderr=True)
                step, began = now.step, time.monotonic()
                bars.reset(task, total=now.total or None, description=step, note="")
            bars.update(task, completed=now.done, total=now.total or None, note=now.note)

        yield report


def _took(began: float) -> str:
    return output.duration(time.monotonic() - began)


def _lines(label: str) -> "Callable[[Progress], None]":
    step, told = "", 0.0

    def report(now: "Progress") -> None:
        nonlocal step, told
        if now.step == step and time.monotonic() - told < EVERY_S:
            return
        amount = f" {100 * now.done // now.total} %" if now.total and now.step == step else ""
        step, told = now.step, time.monotonic()
        note = f" ({now.note})" if now.note else ""
        output.say(output.escape(f"{label}: {step}{amount}{note}"), stderr=True)

    return report


def setting(text: str) -> tuple[str, str, object]:
    """`training.rank=8` as section, name and value. Raises Invalid."""
    name, equals, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not equals or not dot or not key:
        raise Invalid(f"--set {text[:80]!r}: write it as SECTION.NAME=VALUE, such as training.rank=8.")
    try:
        return section, key, msgspec.json.decode(value.encode())
    except msgspec.DecodeError:
        return section, key, value
