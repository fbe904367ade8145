"""`sessions`: the conversations that the gateway keeps for a key; `personas`: who may speak in them.

Knows how to ask the gateway and how to show the answer.
"""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

import typer

from rolecast.cli import output
from rolecast.cli.options import Json, Key, Url

ACTIONS = ("list", "show", "export", "clear", "delete")
PERSONA_ACTIONS = ("list", "show", "set", "delete")
SHOWN = 20
"""So many of the newest turns are shown."""


def sessions(
    action: Annotated[str, typer.Argument(metavar="[list|show|export|clear|delete]", help="What to do.")] = "list",
    name: Annotated[str | None, typer.Argument(metavar="[ID]", help="Id of the session.")] = None,
    form: Annotated[
        Literal["json", "markdown", "jsonl"], typer.Option("--format", help="Of an export.", show_default=True)
    ] = "markdown",
    after: Annotated[
        int,
        typer.Option("--after", metavar="TURN", min=0, help="With clear: delete only the turns behind this number."),
    ] = 0,
    as_json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """List the conversations that the gateway keeps for your key; show, export, clear or delete one."""
    from rolecast.cli.gateway import connect

    _check(action, ACTIONS, name, "session", "sessions")
    with connect(url, key) as gateway:
        path = f"/sessions/{quote(name or '', safe='')}"
        if action == "list":
            _list(gateway.fetch("GET", "/sessions"), as_json=as_json)
        elif action == "show":
            _show(gateway.fetch("GET", f"{path}?limit=1000"), as_json=as_json)
        elif action == "export":
            output.raw(gateway.fetch("GET", f"{path}/export?format={'json' if as_json else form}").decode())
        else:
            way = ("POST", f"{path}/clear?after={after}") if action == "clear" else ("DELETE", path)
            _told(gateway.fetch(*way), as_json=as_json)


def personas(
    action: Annotated[str, typer.Argument(metavar="[list|show|set|delete]", help="What to do.")] = "list",
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Name of the persona.")] = None,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="With set: a text file; - reads standard input.")
    ] = None,
    as_json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """List who may speak in tasks with a persona; show, set or delete one."""
    from rolecast.cli.gateway import connect

    _check(action, PERSONA_ACTIONS, name, "persona", "personas")
    text = _text(file) if action == "set" else ""
    with connect(url, key) as gateway:
        path = f"/personas/{quote(name or '', safe='')}"
        if action == "list":
            _list_personas(gateway.fetch("GET", "/personas"), as_json=as_json)
        elif action == "show":
            _show_persona(gateway.fetch("GET", path), as_json=as_json)
        elif action == "set":
            _set(gateway.fetch("PUT", path, json={"text": text}), as_json=as_json)
        else:
            _told(gateway.fetch("DELETE", path), as_json=as_json)


def _check(action: str, actions: tuple[str, ...], name: str | None, what: str, command: str) -> None:
    if action not in actions:
        output.fail(f"{action!r} is nothing that can be done with a {what}; use {', '.join(actions)}.", code=2)
    if action != "list" and not name:
        output.fail(f"Name the {what}: `rolecast {command} {action} NAME`; `rolecast {command}` lists them.", code=2)


def _list(said: bytes, *, as_json: bool) -> None:
    import time

    import msgspec

    from rolecast.pages.sessions import Listed

    if as_json:
        output.print_json(said)
        return
    found = msgspec.json.decode(said, type=Listed)
    if not found.sessions:
        output.say("There are no sessions. A request begins one by `session_id` in its body.")
        return
    rows = output.table("Session", "Last used", wrap=("Session",))
    for name in found.sessions:
        rows.add_row(output.plain(name), output.plain(f"{output.duration(time.time() - found.last_used[name])} ago"))
    output.show(rows)


def _show(said: bytes, *, as_json: bool) -> None:
    import msgspec

    from rolecast.pages.sessions import Shown

    if as_json:
        output.print_json(said)
        return
    found = msgspec.json.decode(said, type=Shown)
    turns = f"{found.turns} turn{'' if found.turns == 1 else 's'}"
    output.say(f"[bold]{output.escape(found.session_id)}[/]: {turns}, {found.tokens} tokens")
    for what, text in (("Persona", found.persona), ("System", found.system), ("Summary", found.summary)):
        if text:
            output.say(f"[dim]{what}:[/] {output.escape(text)}")
    if (more := len(found.history) - SHOWN) > 0:
        output.say(f"[dim]{more} older turns are left out; `rolecast sessions export` has them all.[/]")
    for turn in found.history[-SHOWN:]:
        output.say(f"\n[dim]{turn.number}[/] [bold]User:[/] {output.escape(turn.asked)}")
        output.say(f"[bold]{output.escape(turn.model or 'Assistant')}:[/] {output.escape(turn.answer)}")


def _list_personas(said: bytes, *, as_json: bool) -> None:
    import msgspec

    from rolecast.pages.personas import Listed

    if as_json:
        output.print_json(said)
        return
    found = msgspec.json.decode(said, type=Listed)
    if not found.personas:
        output.say("There are no personas. `rolecast personas set NAME FILE` writes one.")
        return
    rows = output.table("Persona", "From", "Usual", "Text", "Remark", wrap=("Text", "Remark"))
    for each in found.personas:
        text = " ".join(each.text.split())
        short = text if len(text) <= 60 else f"{text[:57]}..."
        usual = "yes" if each.name == found.usual else ""
        rows.add_row(*map(output.plain, (each.name, each.source, usual, short, each.problem or each.warning)))
    output.show(rows)


def _show_persona(said: bytes, *, as_json: bool) -> None:
    import msgspec

    from rolecast.tasks.persona import Persona

    if as_json:
        output.print_json(said)
        return
    found = msgspec.json.decode(said, type=Persona)
    if found.problem:
        output.warn(f"{found.name} cannot be used: it {found.problem}.")
    output.raw(f"{found.text}\n")


def _set(said: bytes, *, as_json: bool) -> None:
    import msgspec

    from rolecast.tasks.persona import Persona

    if as_json:
        output.print_json(said)
        return
    found = msgspec.json.decode(said, type=Persona)
    output.say(f"The persona [bold]{output.escape(found.name)}[/] is {output.escape(found.source)} now.")
    if found.warning:
        output.warn(f"It {found.warning}.")


def _told(said: bytes, *, as_json: bool) -> None:
    import msgspec

    if as_json:
        output.print_json(said)
    else:
        output.say(output.escape(msgspec.json.decode(said)["message"]))


def _text(file: Path | None) -> str:
    """What a file says. Ends the command when that cannot be read."""
    import sys

    if file is None:
        output.fail("Name the file with the text: `rolecast personas set NAME FILE`; - reads standard input.", code=2)
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        output.fail(f"{file} cannot be read: {why}.")
