"""What the commands print: tables for people, JSON for programs, one sentence for a failure.

Knows colours, widths, units, and how text that is not ours is kept from steering a terminal. Knows nothing of
gateways, models or configurations.
"""

import codecs
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

WRAP_WIDTH = 12
"""Columns a wrapping column keeps however narrow the terminal is."""

STATE_STYLES = {
    "ready": "green",
    "remote": "green",
    "ok": "green",
    "done": "green",
    "queued": "yellow",
    "running": "yellow",
    "loading": "yellow",
    "draining": "yellow",
    "stopping": "yellow",
    "waits for memory": "yellow",
    "warn": "yellow",
    "failed": "red",
    "fail": "red",
    "absent": "red",
    "interrupted": "red",
    "cold": "dim",
    "asleep": "dim",
    "cancelled": "dim",
}


STEERING = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")
"""What moves a cursor, sets a title, turns text around, or cannot be written at all."""

PLAINER = str.maketrans({"●": "*", "•": "*", "✓": "+", "✗": "x", "→": "->", "│": "|", "▌": "|", "·": "-", "─": "-"})
"""Our own marks where the terminal's character set lacks them."""


_BARE_PIP = re.compile(r"(?<!-m )\bpip install 'rolecast\[")


def visible(text: str) -> str:
    r"""Text that is not ours, with every character that could steer a terminal spelled out: `\x1b`, `\u202e`."""
    return STEERING.sub(lambda found: _spelled(found[0]), text.replace("\r\n", "\n"))


def _spelled(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x20 else f"\\u{code:04x}"


def runnable(text: str) -> str:
    """A sentence whose `pip install 'rolecast[...]'` is the command for this installation, whatever `pip` is here.

    The sentences themselves do not say it: clients of the gateway read them, too, and not on this machine.
    """
    return _BARE_PIP.sub(lambda found: f"{shlex.quote(sys.executable)} -m {found[0]}", text)


def prepare() -> None:
    """Make stdout and stderr take every character, also where the locale is not UTF-8."""
    codecs.register_error("rolecast.plainer", _plainer)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="rolecast.plainer")


def _plainer(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(PLAINER)
    return "".join(c if c.isascii() else f"\\u{ord(c):04x}" for c in text), error.end


def console(*, stderr: bool = False) -> "Console":
    """A console on the present stdout or stderr; a pipe gets whole lines, never a cut table."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    wide = not stream.isatty() and "COLUMNS" not in os.environ
    return Console(file=stream, width=10_000 if wide else None, highlight=False, emoji=False)


def say(text: str = "", *, stderr: bool = False, whole: bool = False) -> None:
    """Print one line; `[bold]`-style marks are honoured, so escape text that is not ours.

    A terminal gets it broken between words, or `whole`, which is for what will be copied. A pipe gets it whole.
    """
    screen = console(stderr=stderr)
    screen.print(text, soft_wrap=whole or not screen.is_terminal)


def beside(head: str, text: str) -> None:
    """Print one line as `say`; on a terminal that is too narrow the text goes on below its own beginning."""
    screen = console()
    if not screen.is_terminal:
        say(f"{head} {text}")
        return
    from rich.table import Table

    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_column(no_wrap=True)
    line.add_column(overflow="fold")
    line.add_row(head, text)
    screen.print(line)


def escape(text: object) -> str:
    """Text that is not ours, made safe for `say`: neither our marks nor the terminal's are read from it."""
    from rich.markup import escape as rich_escape

    return rich_escape(visible(str(text)))


def raw(text: str) -> None:
    """Write text as it is: no markup, no wrapping, one newline at the end; on a terminal it steers nothing."""
    write(text if text.endswith("\n") else text + "\n")


def write(text: str) -> None:
    """Write a piece of text that is not ours: as it is into a pipe, made visible on a terminal."""
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


@contextmanager
def waiting(what: str) -> Iterator[Callable[[str], None]]:
    """Say on stderr what is waited for: a spinner with the seconds on a terminal, one line anywhere else.

    Gives what changes the words of the spinner.
    """
    if not sys.stderr.isatty():
        say(f"{escape(what)} ...", stderr=True)
        yield lambda words: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    screen = console(stderr=True)
    columns = (SpinnerColumn("dots" if is_utf8(sys.stderr) else "line"), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=screen, transient=True) as bars:
        task = bars.add_task(escape(what), total=None)
        yield lambda words: bars.update(task, description=escape(words))


def is_utf8(stream: Any) -> bool:
    """Whether that stream takes every character."""
    return str(getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


def print_json(value: Any) -> None:
    """Print a value (or already encoded JSON bytes) as indented JSON."""
    import msgspec

    encoded = value if isinstance(value, bytes) else msgspec.json.encode(value)
    text = msgspec.json.format(encoded, indent=2).decode()
    if not is_utf8(sys.stdout):
        text = json.dumps(json.loads(text), indent=2)  # the same value in ASCII
    raw(text)


def fail(message: str, *, code: int = 1) -> NoReturn:
    """End the command with one plain sentence on stderr."""
    warn_line("Error", "red", message)
    raise typer.Exit(code)


def warn(message: str) -> None:
    """One sentence about something that works but deserves a look."""
    warn_line("Warning", "yellow", message)


def warn_line(label: str, style: str, message: str) -> None:
    """`Label: message` on stderr, the label in colour."""
    say(f"[bold {style}]{label}:[/] {escape(runnable(message))}", stderr=True)


def table(*columns: str, right: Sequence[str] = (), wrap: Sequence[str] = ()) -> "Table":
    """A borderless table; columns in `right` are numbers, those in `wrap` may break over lines."""
    from rich.table import Table

    result = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold dim")
    for name in columns:
        result.add_column(
            name,
            justify="right" if name in right else "left",
            no_wrap=name not in wrap,
            min_width=WRAP_WIDTH if name in wrap else None,
            overflow="fold" if name in wrap else "ellipsis",
        )
    return result


def show(rows: "Table") -> None:
    """Print a table; where the screen is too narrow for it, its rows one below the other, so that nothing is cut."""
    screen = console()
    if _needed(rows) <= screen.width:
        screen.print(rows)
    else:
        _stack(rows, screen)


def _needed(rows: "Table") -> int:
    """Columns below which a cell would be cut; those that may wrap need only a few."""
    needed = 0
    for column in rows.columns:
        longest = max(len(_as_text(cell)) for cell in (column.header, *column.cells))
        needed += 2 + (longest if column.no_wrap else min(longest, WRAP_WIDTH))
    return needed - 2


def _stack(rows: "Table", screen: "Console") -> None:
    from rich.text import Text

    names = [_as_text(column.header).plain for column in rows.columns]
    room = max(map(len, names)) + 2
    for cells in zip(*(column.cells for column in rows.columns), strict=True):
        for name, cell in zip(names, map(_as_text, cells), strict=True):
            if cell.plain not in ("-", ""):
                screen.print(Text.assemble((f"{name:<{room}}", "bold dim"), cell, overflow="fold"))
        screen.print()


def _as_text(cell: object) -> "Text":
    from rich.text import Text

    return cell if isinstance(cell, Text) else Text.from_markup(str(cell))


def state(name: str) -> "Text":
    """A state in its colour."""
    from rich.text import Text

    return Text(visible(name) or "-", STATE_STYLES.get(name, "" if name else "dim"))


def plain(value: object) -> "Text":
    """A cell whose text is not ours: no markup is read from it; empty shows as a dash."""
    from rich.text import Text

    text = "" if value is None else visible(str(value))
    return Text(text) if text else Text("-", "dim")


def size(count: float | None) -> str:
    """Bytes for people, in decimal units: 92.9 MB."""
    from rolecast.values import size_text

    return "" if count is None else size_text(count)


def duration(seconds: float | None) -> str:
    """Seconds for people: 0.4 s, 12 s, 3m 12s, 2h 5m, 4d 1h."""
    if seconds is None:
        return ""
    whole = max(0, int(seconds))
    if whole < 10:
        return f"{max(0.0, seconds):.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60}m"
    return f"{whole // 86400}d {whole % 86400 // 3600}h"


INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
UNNAMED = "configuration"
"""What ConfigError calls a configuration whose problem is not in a file: a port, a folder."""


ELSEWHERE = {
    "serve": "`rolecast up` starts the gateway",
    "start": "`rolecast up` starts the gateway, and `rolecast load MODEL` a model",
    "run": "`rolecast up` starts the gateway, and `rolecast chat --model MODEL` talks to a model",
    "list": "`rolecast models` lists models",
    "ls": "`rolecast models` lists models",
    "show": "`rolecast models` lists models, and `rolecast status` what they do",
    "stop": "`rolecast down` ends the gateway, and `rolecast unload MODEL` a model",
    "restart": "`rolecast down`, then `rolecast up`; an edited configuration needs only `rolecast reload`",
    "version": "`rolecast --version` shows it",
}
"""Commands of other programs of this kind, with what does it here."""


class Commands(TyperGroup):
    """The command group that turns every expected failure into one sentence and exit code 1."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; one that is called otherwise here is told by its name."""
        if args and args[0] in ELSEWHERE and self.get_command(ctx, args[0]) is None:
            fail(f"There is no command {args[0]!r} here: {ELSEWHERE[args[0]]}.", code=2)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an unexpected exception still shows its traceback, it is a bug."""
        with failures():
            return super().invoke(ctx)


@contextmanager
def failures() -> Iterator[None]:
    """Turns every expected failure of the block into one sentence, and into the exit with its code (typer.Exit)."""
    from rolecast.client import LLMClientError
    from rolecast.errors import ConfigError, RolecastError

    try:
        yield
    except ConfigError as error:
        print_problems(error.source, error.problems)
        raise typer.Exit(1) from error
    except (RolecastError, LLMClientError) as error:
        fail(error.message)
    except BrokenPipeError:
        # The reader (`| head`) has gone: point stdout at nothing so that the exit flush is silent.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except KeyboardInterrupt:
        say(stderr=True)
        raise typer.Exit(INTERRUPTED) from None
    except OSError as error:
        fail(explain_os_error(error))


OUTSIDE = ("--", "ROLECAST_")
"""How a problem begins that is in an option or a variable, so that no file needs to be corrected."""


def print_problems(source: str, problems: Sequence[str], then: str = "run `rolecast check` on it") -> None:
    """Everything that is wrong with a configuration, each problem on its line of stderr, and what to do `then`."""
    from rolecast.errors import counted

    if all(problem.startswith(OUTSIDE) for problem in problems) or (source == UNNAMED and len(problems) == 1):
        for problem in problems:
            warn_line("Error", "red", problem)
        return
    warn_line("Error", "red", f"{source} has {counted(len(problems), 'problem')}:")
    for problem in problems:
        say(f"  {escape(runnable(problem))}", stderr=True)
    if source != UNNAMED and Path(source).is_file():
        say(f"[dim]Correct the file, then {then}.[/]", stderr=True)


def explain_os_error(error: OSError) -> str:
    """An operating system error as a sentence with the path it is about."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}." if error.filename else f"{reason}."
