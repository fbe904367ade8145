"""The process in which a gateway lives: `rolecast up` becomes this one once all is checked and brought.

What reads the command line takes 10 MB that a gateway would carry for ever, so it is left behind. Run as
`python -m rolecast.cli.foreground`, with the words that `words` makes.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rolecast.cli import output

if TYPE_CHECKING:
    from rolecast.cli.settings import Chosen
    from rolecast.foreground import Running

MODULE = "rolecast.cli.foreground"


def words(config: Path | None, preset: str | None) -> list[str]:
    """The command that runs this configuration; options of the command line are in the environment by now."""
    from rolecast.cli import settings

    which = ["preset", preset] if preset else ["config", str(config)] if config else ["found", ""]
    return [sys.executable, "-P", "-m", MODULE, ",".join(settings.given()), *which]


def become(config: Path | None, preset: str | None) -> NoReturn:
    """Run it in place of this process, with its number, its terminal and its folder."""
    sys.stdout.flush()
    sys.stderr.flush()
    command = words(config, preset)
    os.execv(command[0], command)  # noqa: S606  # ourselves


def main(argv: Sequence[str]) -> int:
    """Serve until Ctrl-C or `rolecast down`; the exit code."""
    import typer

    from rolecast.cli import settings

    output.prepare()
    given, kind, name = argv
    settings.take(given.split(","))
    try:
        with output.failures():
            return _serve(settings.choose(Path(name) if kind == "config" else None, name if kind == "preset" else None))
    except typer.Exit as end:
        return int(end.exit_code)


def _serve(chosen: "Chosen") -> int:
    """Serve in this terminal."""
    from rolecast import foreground
    from rolecast.cli.up import print_ready

    def ready(running: "Running") -> None:
        print_ready(chosen, running.listeners, dict(running.models), keyed=running.keyed)
        if sys.stdout.isatty():
            output.say("[dim]Ctrl-C stops it.[/]")

    return foreground.run(chosen.config, config_path=chosen.path, on_ready=ready)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
