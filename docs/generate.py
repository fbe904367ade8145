"""Writes the reference pages that the code itself can tell, so that they cannot drift from it:
docs/reference/cli.md from the commands, configuration.md from the schema, source.md from the module docstrings,
tasks.md from the rows of the tasks.

python docs/generate.py           write the pages
python docs/generate.py --check   exit with 1 when a page is not what would be written
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from rolecast.cli import COMMANDS, app
from rolecast.config import json_schema
from rolecast.config.task_rows import built_in
from rolecast.config.tasks import Option

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
UNITS = {"10m": "duration", "32MiB": "size"}
"""Quantities with units, by the example that the schema gives for them."""
WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
    "object": "table",
    "array": "list",
}
CLI_HEAD = """# Command line

<!-- Written by docs/generate.py from the commands; edit the commands instead. -->

`rolecast --help` lists the commands and `rolecast COMMAND --help` explains one. A failure is one sentence
on stderr with the next step, and exit code 1; a wrong option is exit code 2, Ctrl-C 130. `up --detach` ends with 3
when the gateway is up and a pinned model could not be loaded. With `--json` stdout holds JSON alone.

`rolecast --install-completion` lets Tab complete commands, options, and the names of models, roles and presets.

What a model or another server says is shown on a terminal with its control characters spelled out (`\\x1b`), so that
no answer moves the cursor or sets a title. In a pipe it is as it came.
"""
CONFIGURATION_HEAD = """# Configuration

<!-- Written by docs/generate.py from src/rolecast/config/{schema,routing,tasks}.py; edit the docstrings there. -->

One YAML file, `rolecast.yaml`. It is looked for in this order: `--config FILE`, the variable `ROLECAST_CONFIG`,
`./rolecast.yaml`, `~/.config/rolecast/rolecast.yaml` (or the same under `XDG_CONFIG_HOME`). Without any file the
preset `default` runs; `models`, `doctor`, `tasks`, `pull` and `rm` then mean the configuration of the gateway that runs
here. `rolecast init` writes a commented file to start from and `rolecast check` names every
problem with its file and line; an unknown key is an error. A running gateway takes an edit over by itself, or refuses
it as a whole; what needs a restart is in [running](../guides/running.md#editing-the-configuration).

- **Durations** are seconds, or text such as `500ms`, `90s`, `10m`, `2h`, `1d`.
- **Sizes** are bytes, or text such as `64KiB`, `32MiB`, `4GB`.
- **Every setting has a variable**, which wins over the file: `ROLECAST_`, then the path in capitals with `__`
  between its parts. `ROLECAST_SERVER__PORT=9000` is `server.port: 9000`, and in names of models every character
  but letters and digits becomes `_`: `ROLECAST_MODELS__QWEN2_5_7B__PARALLEL=2`. Values are read as YAML.
- **Editors** complete and explain settings with the JSON Schema that `rolecast check --schema` prints. Save it with
  `rolecast check --schema > rolecast.schema.json`, and name it in the first line of `rolecast.yaml`. For the YAML
  language server, which VS Code, Neovim, Helix and others use, that line is
  `# yaml-language-server: $schema=rolecast.schema.json`.

Variables that are no settings: `ROLECAST_HOME` (data folder: weights, ledger, logs; without it
`~/.local/share/rolecast`), `ROLECAST_CONFIG`, and for clients and commands `ROLECAST_URL` and `ROLECAST_API_KEY`.
"""


SOURCE_HEAD = """# Source tree

<!-- Written by docs/generate.py from the module docstrings; edit those instead. -->

What each file knows, in its own words; the rest of each docstring says what the file deliberately does not know.
How the files work together is in [design](../design.md). Imports go down only, which `make check` enforces.
"""


TASKS_HEAD = """# Options of tasks

<!-- Written by docs/generate.py from src/rolecast/data/tasks; edit those rows instead. -->

What each task may be told besides its prompt, beside it or in `extra_params`. How tasks work: [tasks](../tasks.md).
"""


def source_page() -> str:
    """The first sentence of every module, by folder."""
    package = ROOT / "src" / "rolecast"
    rows: dict[str, list[str]] = {}
    for path in sorted(package.rglob("*.py")):
        if text := ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))):
            about = re.split(r"(?<=\.)\s", " ".join(text.split("\n\n")[0].split()), maxsplit=1)[0]
            folder = path.parent.relative_to(package.parent).as_posix()
            rows.setdefault(folder, []).append(f"| `{path.name}` | {cell(about)} |")
    parts = [SOURCE_HEAD]
    for folder, lines in rows.items():
        parts += [f"## {folder}/\n", "| File | What it is |\n|---|---|", *lines, ""]
    return "\n".join(parts)


def configuration_page() -> str:
    """All settings, a table for each section."""
    return "\n".join([CONFIGURATION_HEAD, *tables("", json_schema())])


def tables(path: str, section: dict[str, Any]) -> Iterator[str]:
    """The settings of a section, then the sections inside it."""
    lines = [f"## {path or 'The whole file'}", "", section["description"], ""]
    lines += ["| Setting | Value | Default | Meaning |", "|---|---|---|---|"]
    inner = []
    for name, rules in section["properties"].items():
        where, held = inside(f"{path}.{name}" if path else name, rules)
        words = value(rules)
        if "properties" in held:
            inner.append((where, held))
            words = f"[{where}](#{re.sub(r'[^a-z_]', '', where.lower())})"
        about = rules.get("description") or held.get("description", "")
        standard = "needed" if name in section.get("required", []) else default(rules)
        lines.append(f"| `{name}` | {cell(words)} | {standard} | {cell(' '.join(about.split()))} |")
    yield "\n".join([*lines, ""])
    for where, held in inner:
        yield from tables(where, held)


def inside(path: str, rules: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What a list or a table of entries is made of, and how its place is written."""
    if "items" in rules:
        return f"{path}[]", rules["items"]
    entries = rules.get("additionalProperties")
    return (f"{path}.NAME", entries) if isinstance(entries, dict) else (path, rules)


def value(rules: dict[str, Any]) -> str:
    """Which values a setting takes, in a few words."""
    if "enum" in rules:
        return ", ".join(f"`{one}`" for one in rules["enum"])
    if "anyOf" in rules:
        return " or ".join(value(one) for one in rules["anyOf"] if one.get("type") != "null")
    if "examples" in rules:
        return UNITS[rules["examples"][0]]
    if "items" in rules:
        return f"list of {value(rules['items'])}"
    if isinstance(rules.get("additionalProperties"), dict) and rules["additionalProperties"]:
        return f"table of {value(rules['additionalProperties'])}"
    kind = rules.get("type", "object")
    bounds = [f"{word} {rules[key]}" for word, key in (("from", "minimum"), ("to", "maximum")) if key in rules]
    return " ".join([WORDS[kind if isinstance(kind, str) else kind[0]], *bounds])


def default(rules: dict[str, Any]) -> str:
    """The default with its unit; '' when there is none or it is empty."""
    given = rules.get("default", "")
    if given == "":
        return ""
    if isinstance(given, list):
        return ", ".join(f"`{one}`" for one in given)
    unit = UNITS.get(rules.get("examples", [""])[0])
    if unit == "duration":
        return f"`{given:g}s`"
    if unit == "size":
        return f"`{given >> 20}MiB`" if given >= 1 << 20 else f"`{given >> 10}KiB`"
    return f"`{str(given).lower() if isinstance(given, bool) else given}`"


def cli_page() -> str:
    """All commands."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    parts = [CLI_HEAD]
    for panel, rows in COMMANDS.items():
        parts.append(f"## {panel}\n")
        for name, _ in rows:
            parts.append(section(name, commands[name]))
            for inner, command in getattr(commands[name], "commands", {}).items():  # of a group
                parts.append(section(f"{name} {inner}", command))
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


def tasks_page() -> str:
    """All tasks with their options."""
    parts = [TASKS_HEAD]
    for name, task in built_in().items():
        numbers = ("temperature", "top_p", "max_tokens", "repetition_penalty")
        settings = ", ".join(f"`{key}` {number:g}" for key in numbers if (number := getattr(task, key)) is not None)
        parts += [f"## {name}", "", task.description, "", f"Settings: {settings or 'those of the model'}.", ""]
        if task.options:
            parts += ["| Option | Value | Default | Meaning |", "|---|---|---|---|"]
            parts += [option_row(*each) for each in task.options.items()]
            parts.append("")
    return "\n".join(parts)


def option_row(name: str, option: Option) -> str:
    """One option: its names, what it may be, what holds without it, what it means."""
    words = ", ".join(f"`{word}`" for word in option.values)
    kinds = {"text": "text", "texts": "text, or a list", "flag": "`true` or `false`", "number": "number"}
    values = words + (", or a text" if option.open else "") if words else kinds.get(option.kind or "text", "text")
    also = f"; also {', '.join(f'`{word}`' for word in option.also)}" if option.also else ""
    standard = "" if option.default in (None, "") else f"`{str(option.default).lower()}`"
    return f"| `{name}`{also} | {cell(values)} | {standard} | {cell(' '.join(option.description.split()))} |"


PAGES = {
    "cli.md": cli_page,
    "configuration.md": configuration_page,
    "source.md": source_page,
    "tasks.md": tasks_page,
}


def main() -> None:
    """Write the pages, or check them."""
    for name, page in PAGES.items():
        path, text = FOLDER / name, page()
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path} is out of date; run: python docs/generate.py")


if __name__ == "__main__":
    main()
