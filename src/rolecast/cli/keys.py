"""`keys`: makes, lists, changes and revokes the keys that clients show.

Works on the database of this machine's gateway, whether that runs or not; with --url, through the gateway there. Knows
how keys are asked for and shown; what they are is `rolecast.access`'s.
"""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rolecast.cli import output, settings
from rolecast.cli.options import ConfigFile, Json, Url
from rolecast.cli.options import Key as OwnKey

if TYPE_CHECKING:
    from rolecast.access.keys import Shown
    from rolecast.access.table import KeyTable
    from rolecast.config.schema import Config

ACTIONS = ("list", "create", "show", "change", "revoke")
NONE = ("none", "never", "all", "0")
"""What takes a bound away."""
OPTIONS = {
    "requests_per_minute": "--rpm",
    "tokens_per_minute": "--tpm",
    "requests_per_day": "--rpd",
    "scopes": "--scope",
    "models": "--model",
}
"""Options that are not called as their fields."""


def keys(
    action: Annotated[str, typer.Argument(metavar="[list|create|show|change|revoke]", help="What to do.")] = "list",
    key_id: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="Id or name of the key; with create its name.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What you call it.", show_default=False)] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            help="admin, use, local-only, raw, urgent or background; may be given several times.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="A name that it may ask for, with * for any part; may be given several times.",
            show_default=False,
        ),
    ] = None,
    rpm: Annotated[
        int | None, typer.Option("--rpm", help="Requests a minute; 0 = no limit.", show_default=False)
    ] = None,
    tpm: Annotated[int | None, typer.Option("--tpm", help="Tokens a minute; 0 = no limit.", show_default=False)] = None,
    rpd: Annotated[int | None, typer.Option("--rpd", help="Requests a day; 0 = no limit.", show_default=False)] = None,
    parallel: Annotated[
        int | None, typer.Option("--parallel", help="Requests at the same time; 0 = no limit.", show_default=False)
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="USD/TIME", help="As 5/month, 0.50/day, 20/total.", show_default=False),
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="As 30d, 12h or 2027-01-31.", show_default=False)
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="With revoke: leave nothing of it in the list.")] = False,
    config: ConfigFile = None,
    as_json: Json = False,
    url: Url = "",
    key: OwnKey = "",
) -> None:
    """List the keys that clients show; create, show, change or revoke one. Its secret is printed once."""
    if action not in ACTIONS:
        output.fail(f"{action!r} is nothing that can be done with a key; use {', '.join(ACTIONS)}.", code=2)
    if action in ("show", "change", "revoke") and not key_id:
        output.fail(f"Name the key: `rolecast keys {action} KEY`; `rolecast keys` lists them.", code=2)
    if action == "create" and key_id:
        name = name or key_id
    rates = {"requests_per_minute": rpm, "tokens_per_minute": tpm, "requests_per_day": rpd, "parallel": parallel}
    wanted: dict[str, Any] = {"name": name, "scopes": scope, "models": model, **rates}
    wanted = {field: value for field, value in wanted.items() if value is not None and value != []}
    for field, text in (("budget", budget), ("expires", expires)):
        if text is not None:
            wanted[field] = None if text in NONE else text
    if wanted and action not in ("create", "change"):
        given = ", ".join(OPTIONS.get(field, f"--{field}") for field in wanted)
        output.fail(f"{given}: only `keys create` and `keys change` take this.", code=2)
    if action == "change" and not wanted:
        output.fail("Say what is to be different, such as `rolecast keys change KEY --rpm 60`.", code=2)
    if url:
        said = _there(action, key_id or "", wanted, url, key, forget=forget)
    else:
        said = _here(action, key_id or "", wanted, settings.of_gateway(config).config, forget=forget)
    if as_json:
        output.print_json(said)
        return
    _show(action, said, forget=forget)
    _tell_of_admins(action, url, settings.of_gateway(config).config)


# -- where it is done ----------------------------------------------------------------------------------------


def _there(action: str, key_id: str, wanted: dict[str, Any], url: str, key: str, *, forget: bool) -> bytes:
    """Through a gateway."""
    from urllib.parse import quote

    from rolecast.cli.gateway import connect

    path = f"/admin/keys/{quote(key_id, safe='')}"
    with connect(url, key) as gateway:
        if action == "list":
            return gateway.fetch("GET", "/admin/keys")
        if action == "create":
            return gateway.fetch("POST", "/admin/keys", json=wanted)
        if action == "show":
            return gateway.fetch("GET", path)
        if action == "change":
            return gateway.fetch("POST", path, json=wanted)
        return gateway.fetch("DELETE", f"{path}?forget={'true' if forget else 'false'}")


def _here(action: str, key_id: str, wanted: dict[str, Any], config: "Config", *, forget: bool) -> bytes:
    """In the database."""
    import asyncio

    from rolecast import books
    from rolecast.access.table import KeyTable

    async def work() -> bytes:
        store = books.store_of(config)
        await store.open()
        try:
            return await _done(KeyTable(store), action, key_id, wanted, forget=forget)
        finally:
            await store.close()

    return asyncio.run(work())


async def _done(table: "KeyTable", action: str, key_id: str, said: dict[str, Any], *, forget: bool) -> bytes:
    """What a gateway would answer."""
    import msgspec

    from rolecast.access.keys import shown
    from rolecast.access.wanted import NEW, edited, wanted_of
    from rolecast.pages.keys import Listed, Made

    now = time.time()
    wanted = wanted_of(msgspec.json.encode(said))
    if action == "list":
        return msgspec.json.encode(Listed([shown(key, now) for key in await table.all()]))
    if action == "create":
        made = await table.create(edited(NEW, wanted, now))
        return msgspec.json.encode(Made(shown(made.key, now), made.secret))
    found = await table.get(key_id)
    if action == "change":
        found = await table.change(found.id, lambda key: edited(key, wanted, now))
    elif action == "revoke":
        found = await (table.forget(found.id) if forget else table.revoke(found.id))
    return msgspec.json.encode(shown(found, now))


def _tell_of_admins(action: str, url: str, config: "Config") -> None:
    """Say it where no key that opens something may manage the gateway; each of server.keys may."""
    import msgspec

    from rolecast.pages.keys import Listed

    if action != "create" or url:  # who asked a gateway for a key is an admin there
        return
    found = msgspec.json.decode(_here("list", "", {}, config, forget=False), type=Listed).keys
    if config.server.keys or any(key.state == "live" and "admin" in key.scopes for key in found):
        return
    output.say(
        "[dim]From the first key on every request needs one, and none of yours may manage the gateway yet; "
        "`rolecast keys create --scope admin` makes one that may.[/]",
        stderr=True,
    )


# -- what is shown -------------------------------------------------------------------------------------------


def _show(action: str, said: bytes, *, forget: bool) -> None:
    import msgspec

    from rolecast.access.keys import Shown
    from rolecast.pages.keys import Listed, Made

    if action == "list":
        _list(msgspec.json.decode(said, type=Listed).keys)
        return
    if action == "create":
        made = msgspec.json.decode(said, type=Made)
        output.say(f"[green]✓[/] {_line(made.key)}", stderr=True)
        output.say("[dim]Its secret, which is shown this once:[/]", stderr=True)
        output.raw(made.secret)
        return
    key = msgspec.json.decode(said, type=Shown)
    if action == "show":
        _list([key])
    elif action == "change":
        output.say(f"[green]✓[/] {_line(key)} [dim]A running gateway holds to it within two seconds.[/]")
    else:
        what = "is revoked and forgotten" if forget else "is revoked"
        output.say(f"[green]✓[/] The key {_called(key)} {what}: within two seconds it opens nothing any more.")


def _called(key: "Shown") -> str:
    return output.escape(f"{key.name} ({key.id})" if key.name else key.id)


def _line(key: "Shown") -> str:
    """What it may do, as a sentence."""
    told = [*key.scopes, f"models {', '.join(key.models)}" if key.models else "all models", *_limits(key)]
    return f"The key [bold]{_called(key)}[/]: {output.escape(', '.join(told))}."


def _limits(key: "Shown") -> list[str]:
    rates = (
        (key.requests_per_minute, "requests a minute"),
        (key.tokens_per_minute, "tokens a minute"),
        (key.requests_per_day, "requests a day"),
        (key.parallel, "at a time"),
    )
    told = [f"{rate} {what}" for rate, what in rates if rate]
    return [*told, f"${key.budget}"] if key.budget else told


def _list(found: "list[Shown]") -> None:
    if not found:
        output.say("There are no keys in the database. `rolecast keys create --name laptop` makes one.")
        return
    now = time.time()
    rows = output.table(
        "Key", "Name", "State", "Scopes", "Models", "Limits", "Expires", "Used", wrap=("Models", "Limits")
    )
    for key in found:
        expires = "" if key.expires_at is None else _from_now(key.expires_at - now)
        used = "" if key.used_at is None else f"{output.duration(now - key.used_at)} ago"
        cells = (key.id, key.name, key.state, " ".join(key.scopes), ", ".join(key.models) or "all")
        rows.add_row(*map(output.plain, (*cells, ", ".join(_limits(key)), expires, used)))
    output.show(rows)


def _from_now(seconds: float) -> str:
    return f"in {output.duration(seconds)}" if seconds > 0 else f"{output.duration(-seconds)} ago"
