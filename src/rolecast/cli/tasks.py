"""`tasks`: the kinds of work that a configuration knows, and one of them with its options and its prompt."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rolecast.cli import output
from rolecast.cli.options import ConfigFile, Json

if TYPE_CHECKING:
    from rolecast.tasks.table import ToldTask

KINDS = {"text": "a text", "texts": "texts", "word": "a word", "flag": "true, false", "number": "a number"}
Name = Annotated[
    str,
    typer.Argument(
        metavar="TASK", help="Show this one with its options, its prompt and who answers.", show_default=False
    ),
]


def tasks(name: Name = "", config: ConfigFile = None, as_json: Json = False) -> None:
    """List the tasks: their paths, their options and who answers; or show one of them."""
    from rolecast.cli import settings
    from rolecast.tasks.table import find, listed

    chosen = settings.here(config)
    if name:
        one = find(chosen.config, name)
        output.print_json(one) if as_json else _show(one)
        return
    found = listed(chosen.config)
    if as_json:
        output.print_json({"tasks": found})
        return
    rows = output.table("Task", "Model", "Path", "Options", wrap=("Options",))
    for each in found:
        options = output.plain(", ".join(each.options))
        rows.add_row(output.plain(each.name), output.plain(each.model), output.plain(each.path), options)
    output.show(rows)
    output.say(f"\n[dim]See one with[/] rolecast tasks {output.escape(found[0].name)}")


def _show(task: "ToldTask") -> None:
    """One task, for a person."""
    output.say(f"[bold]{output.escape(task.name)}[/]: {output.escape(task.description or task.title)}")
    facts = {
        "Model": task.model or "nobody answers it here",
        "Asked as": f"category {task.name} at POST /generate" + (f", or POST {task.path}" if task.path else ""),
        "Settings": ", ".join(f"{key} {value:g}" for key, value in task.settings.items()),
        "Persona": "speaks" if task.persona else "",
        "Session": "goes on from what was said" if task.history else "",
        "Checked": "by code; the reply's metadata says what was found" if task.checked else "",
        "Prompt": task.system,
        "Ends in": task.ends,
    }
    rows = output.table("", "", wrap=("",))
    rows.show_header = False
    for label, text in facts.items():
        if text:
            rows.add_row(output.plain(label), output.plain(text))
    output.say()
    output.show(rows)
    if not task.options:
        return
    output.say()
    options = output.table("Option", "Default", "Values", "", wrap=("Values", ""))
    for option_name, option in task.options.items():
        values = ", ".join(option.values) or KINDS[option.kind]
        more = ", or another text" if option.open and option.values else ""
        named = ", ".join([option_name, *option.also])
        options.add_row(
            output.plain(named),
            output.plain(_plain(option.default)),
            output.plain(values + more),
            output.plain(option.description),
        )
    output.show(options)


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
