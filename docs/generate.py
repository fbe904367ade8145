"""Writes docs/reference/cli.md from the commands themselves, so that the page cannot drift from `--help`.

python docs/generate.py           write the page
python docs/generate.py --check   exit with 1 when the page is not what would be written
"""

import sys
from pathlib import Path
from typing import Any

from typer.main import get_command

from rolecast.cli import COMMANDS, app

PAGE = Path(__file__).parent / "reference" / "cli.md"
HEAD = """# Command line

<!-- Written by docs/generate.py from the commands; edit the commands instead. -->

`rolecast --help` lists the commands and `rolecast COMMAND --help` explains one. A failure is one sentence
on stderr with the next step, and exit code 1; a wrong option is exit code 2. With `--json` stdout holds
JSON alone.
"""


def page() -> str:
    """The whole page."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    parts = [HEAD]
    for panel, rows in COMMANDS.items():
        parts.append(f"## {panel}\n")
        parts += [section(name, commands[name]) for name, _ in rows]
    return "\n".join(parts)


def section(name: str, command: Any) -> str:
    """One command: how it is written, what it does, its arguments and options."""
    shown = [one for one in command.params if one.name != "help" and not getattr(one, "hidden", False)]
    arguments = [one for one in shown if one.param_type_name == "argument"]
    options = [one for one in shown if one.param_type_name == "option"]
    usage = " ".join([f"rolecast {name}", *(["[OPTIONS]"] if options else []), *map(argument_usage, arguments)])
    lines = [f"### rolecast {name}", "", f"```sh\n{usage}\n```", "", command.help.strip(), ""]
    if shown:
        lines += ["| Argument or option | Meaning |", "|---|---|"]
        lines += [f"| {spelling(one)} | {meaning(one)} |" for one in (*arguments, *options)]
        lines.append("")
    return "\n".join(lines)


def argument_usage(argument: Any) -> str:
    """`FILE`, or `[FILE]` when it may be left out."""
    name = label(argument)
    return name if argument.required else f"[{name}]"


def label(argument: Any) -> str:
    """The name of an argument in capitals, with dots when it may be repeated."""
    name = argument.metavar or argument.name.upper()
    return name if argument.nargs == 1 or name.endswith("...") else f"{name}..."


def spelling(one: Any) -> str:
    """How an argument or option is written."""
    if one.param_type_name == "argument":
        return f"`{cell(label(one))}`"
    value = "" if one.is_flag else f" {one.name.upper()}"
    return (
        ", ".join(f"`{name}`" for name in one.opts[:-1]) + (", " if one.opts[1:] else "") + f"`{one.opts[-1]}{value}`"
    )


def meaning(one: Any) -> str:
    """Its help, its default and its environment variable."""
    text = one.help or ""
    if one.default not in (None, "", False) and not callable(one.default):
        text += f" Default: `{one.default}`."
    if getattr(one, "envvar", None):
        text += f" Environment: `{one.envvar}`."
    return cell(text)


def cell(text: str) -> str:
    """Text that stays inside its table cell."""
    return text.replace("|", "\\|")


def main() -> None:
    """Write the page, or check it."""
    text = page()
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
            sys.exit(f"{PAGE} is out of date; run: python docs/generate.py")
        return
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
