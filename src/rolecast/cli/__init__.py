"""The command line: `commands` has a row per command, and every command lives in the file of its subject.

Nothing of it is imported before it is asked for: a gateway takes what it prints from here, and no command.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rolecast.cli.commands import COMMANDS as COMMANDS
    from rolecast.cli.commands import app as app


def main() -> None:
    """Entry point of the `rolecast` command."""
    from rolecast.cli import output
    from rolecast.cli.commands import app

    output.prepare()
    app(prog_name="rolecast")


def __getattr__(name: str) -> Any:
    if name not in ("app", "COMMANDS"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rolecast.cli import commands

    return getattr(commands, name)
