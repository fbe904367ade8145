"""What the documented classes and programs tell a person: how far they are, on stderr, and text that is not ours."""

import contextlib
import logging
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from types import FrameType

from rolecast.jobs.job import Progress, Report

EVERY_S = 10.0
"""Outside of a terminal a step tells so often how far it is."""
_STEERING = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")
_told: set[str] = set()
log = logging.getLogger("slm")


def say(text: str = "", end: str = "\n") -> None:
    """A line on stdout; nothing in it can steer a terminal."""
    sys.stdout.write(visible(text) + end)
    sys.stdout.flush()


def visible(text: str) -> str:
    r"""Text with every character that could move a cursor or set a title spelled out: `\x1b`."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def once(text: str) -> None:
    """A warning that a process gives one time only."""
    if text not in _told:
        _told.add(text)
        log.warning(text)


@contextlib.contextmanager
def shown(label: str) -> Iterator[Report]:
    """A line that moves on a terminal, a line every ten seconds anywhere else; both on stderr."""
    if not sys.stderr.isatty():
        yield _lines(label)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(escape(label), total=None, note="")
        step = ""

        def report(now: Progress) -> None:
            nonlocal step
            if now.step != step:
                step = now.step
                bars.reset(task, total=now.total or None, description=escape(visible(f"{label}: {step}")))
            bars.update(task, completed=now.done, total=now.total or None, note=escape(visible(now.note)))

        yield report


def _lines(label: str) -> Report:
    step, told = "", 0.0

    def report(now: Progress) -> None:
        nonlocal step, told
        if now.step == step and time.monotonic() - told < EVERY_S:
            return
        amount = f" {100 * now.done // now.total} %" if now.total and now.step == step else ""
        step, told = now.step, time.monotonic()
        note = f" ({now.note})" if now.note else ""
        sys.stderr.write(visible(f"{label}: {step}{amount}{note}") + "\n")

    return report


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Neither bars nor warnings of other libraries beside our own words, while a model is loaded."""
    from transformers.utils import logging as theirs

    theirs.set_verbosity_error()  # type: ignore[no-untyped-call]
    theirs.disable_progress_bar()  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextlib.contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: what goes on meanwhile ends in its own way. A second one ends it at once.

    Only the main thread hears of Ctrl-C; in any other this is never true.
    """
    asked = False

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        del number, frame
        if asked:
            raise KeyboardInterrupt
        asked = True
        sys.stderr.write("It stops at its next checkpoint; Ctrl-C again ends it at once.\n")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, hear)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.default_int_handler)
