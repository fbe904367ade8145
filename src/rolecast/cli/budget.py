"""`budget`: what a run, or the holder of a key, may spend. Knows how to ask the gateway and how to show the answer."""

from typing import Annotated, Literal
from urllib.parse import urlencode

import typer

from rolecast.cli import output
from rolecast.cli.options import Json, Key, Url

ACTIONS = ("list", "set", "remove")


def budget(
    action: Annotated[str, typer.Argument(metavar="[list|set|remove]", help="What to do.")] = "list",
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Of the run, or with --for-key the id of a key of server.keys."),
    ] = None,
    amount: Annotated[str | None, typer.Argument(metavar="[DOLLARS]", help="With set: how much.")] = None,
    window: Annotated[
        Literal["total", "day", "month"], typer.Option("--per", help="Once, or each day or month of UTC.")
    ] = "total",
    for_key: Annotated[
        bool,
        typer.Option(
            "--for-key", help="NAME is the id of a key of server.keys, not a run; others: `keys change --budget`."
        ),
    ] = False,
    as_json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Show what runs and keys may spend, and have spent; set or remove a budget."""
    from rolecast.cli.gateway import connect

    if action not in ACTIONS:
        output.fail(f"{action!r} is nothing that can be done with a budget; use {', '.join(ACTIONS)}.", code=2)
    if action != "list" and not name:
        output.fail(f"Name the run: `rolecast budget {action} NAME`; `rolecast budget` lists them.", code=2)
    if action == "set" and not amount:
        output.fail(f"Say how much, in dollars: `rolecast budget set {name} 2.50 --per day`.", code=2)
    if action == "set" and not _is_amount(amount or ""):
        output.fail(f"{amount!r} is no amount of dollars; write it as 2.50.", code=2)
    scope = "key" if for_key else "run"
    with connect(url, key) as gateway:
        if action == "list":
            _list(gateway.fetch("GET", "/admin/budgets"), as_json=as_json)
        elif action == "set":
            given = {"scope": scope, "name": name, "amount_usd": amount, "window": window}
            _set(gateway.fetch("POST", "/admin/budgets", json=given), as_json=as_json)
        else:
            query = urlencode({"scope": scope, "name": name})
            _removed(gateway.fetch("DELETE", f"/admin/budgets?{query}"), as_json=as_json)


def _is_amount(text: str) -> bool:
    from decimal import Decimal, InvalidOperation

    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False


def _list(said: bytes, *, as_json: bool) -> None:
    import time

    import msgspec

    from rolecast.pages.budgets import Listed

    if as_json:
        output.print_json(said)
        return
    found = msgspec.json.decode(said, type=Listed)
    if not found.budgets:
        output.say("There are no budgets. `rolecast budget set RUN 2.50 --per day` sets one.")
        return
    rows = output.table(
        "Of", "Name", "Dollars", "Spent", "Left", "Used", "Level", "Renews", right=("Dollars", "Spent", "Left", "Used")
    )
    for each in found.budgets:
        renews = "never" if each.renews_at is None else f"in {output.duration(max(each.renews_at - time.time(), 0))}"
        named = f"{each.called} ({each.name})" if each.called else each.name
        amounts = (f"{amount:f}" for amount in (each.amount_usd, each.spent_usd, each.remaining_usd))
        rows.add_row(*map(output.plain, (each.scope, named, *amounts, f"{each.percent_used:f} %", each.level, renews)))
    output.show(rows)


def _set(said: bytes, *, as_json: bool) -> None:
    import msgspec

    from rolecast.pages.budgets import Stands

    if as_json:
        output.print_json(said)
        return
    found = msgspec.json.decode(said, type=Stands)
    span = {"total": "", "day": " a day", "month": " a month"}[found.window]
    text = f"The {found.scope} [bold]{output.escape(found.name)}[/] may spend {found.amount_usd:f} dollars{span}"
    output.say(f"{text}; it has spent {found.spent_usd:f}.")


def _removed(said: bytes, *, as_json: bool) -> None:
    import msgspec

    if as_json:
        output.print_json(said)
    else:
        output.say(f"The budget of {output.escape(msgspec.json.decode(said)['name'])} is removed.")
