"""What the commands print: tables for people, JSON for programs, one sentence for a failure.

Knows colours, widths and units. Knows nothing of gateways, models or configurations.
"""

import os
import sys
from collections.abc import Sequence
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
    "loading": "yellow",
    "draining": "yellow",
    "stopping": "yellow",
    "warn": "yellow",
    "failed": "red",
    "fail": "red",
    "absent": "red",
    "cold": "dim",
}


def console(*, stderr: bool = False) -> "Console":
    """A console on the present stdout or stderr; a pipe gets whole lines, never a cut table."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    wide = not stream.isatty() and "COLUMNS" not in os.environ
    return Console(file=stream, width=10_000 if wide else None, highlight=False, emoji=False)


def say(text: str = "", *, stderr: bool = False) -> None:
    """Print one line; `[bold]`-style marks are honoured, so escape text that is not ours."""
    console(stderr=stderr).print(text, soft_wrap=True)


def escape(text: object) -> str:
    """Text that is not ours, made safe for `say`."""
    from rich.markup import escape as rich_escape

    return rich_escape(str(text))


def raw(text: str) -> None:
    """Write bytes for a program: no markup, no wrapping, one newline at the end."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Print a value (or already encoded JSON bytes) as indented JSON."""
    import msgspec

    encoded = value if isinstance(value, bytes) else msgspec.json.encode(value)
    raw(msgspec.json.format(encoded, indent=2).decode())


def fail(message: str, *, code: int = 1) -> NoReturn:
    """End the command with one plain sentence on stderr."""
    warn_line("Error", "red", message)
    raise typer.Exit(code)


def warn(message: str) -> None:
    """One sentence about something that works but deserves a look."""
    warn_line("Warning", "yellow", message)


def warn_line(label: str, style: str, message: str) -> None:
    """`Label: message` on stderr, the label in colour."""
    console(stderr=True).print(f"[bold {style}]{label}:[/] {escape(message)}", soft_wrap=True)


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


def state(name: str, note: str = "") -> "Text":
    """A state in its colour, with an optional dim note behind it."""
    from rich.text import Text

    text = Text(name or "-", STATE_STYLES.get(name, "" if name else "dim"))
    if note:
        text.append(f" {note}", "dim")
    return text


def plain(value: object) -> "Text":
    """A cell whose text is not ours: no markup is read from it; empty shows as a dash."""
    from rich.text import Text

    text = "" if value is None else str(value)
    return Text(text) if text else Text("-", "dim")


def size(count: float | None) -> str:
    """Bytes for people, in decimal units: 92.9 MB."""
    if count is None:
        return ""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


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


UNNAMED = "configuration"
"""What ConfigError calls a configuration whose problem is not in a file: a port, a folder."""


class Commands(TyperGroup):
    """The command group that turns every expected failure into one sentence and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an unexpected exception still shows its traceback, it is a bug."""
        from rolecast.client import LLMClientError
        from rolecast.errors import ConfigError, RolecastError

        try:
            return super().invoke(ctx)
        except ConfigError as error:
            print_problems(error.source, error.problems)
            raise typer.Exit(1) from error
        except (RolecastError, LLMClientError) as error:
            fail(error.message)
        except BrokenPipeError:
            # The reader (`| head`) has gone: point stdout at nothing so that the exit flush is silent.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except OSError as error:
            fail(explain_os_error(error))


def print_problems(source: str, problems: Sequence[str]) -> None:
    """Everything that is wrong with one file, each problem on its line of stderr."""
    if source == UNNAMED and len(problems) == 1:
        warn_line("Error", "red", problems[0])
        return
    count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
    warn_line("Error", "red", f"{source} has {count}:")
    for problem in problems:
        console(stderr=True).print(f"  {escape(problem)}", soft_wrap=True)
    say("[dim]Correct the file, then run `rolecast check` on it.[/]", stderr=True)


def explain_os_error(error: OSError) -> str:
    """An operating system error as a sentence with the path it is about."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}." if error.filename else f"{reason}."
