"""Commands of `avatar` for conversations: bring them in, and see who said how much. Each is a row in `avatar`."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rolecast.cli import output
from rolecast.cli.avatar_options import Neo4j
from rolecast.cli.options import ConfigFile, Json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rolecast.avatars.conversation import Speaker
    from rolecast.avatars.sources.bringing import Brought
    from rolecast.config.schema import Config


MOST_TOLD = 1000
"""So many places that were left out are told with --json."""


def import_(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE...", help="Exported chats: files, folders or archives.")
    ] = None,
    example: Annotated[bool, typer.Option("--example", help="The bundled conversations of a made-up house.")] = False,
    date_order: Annotated[
        str, typer.Option("--date-order", help="dmy or mdy, where a WhatsApp export does not tell.", show_default=False)
    ] = "",
    zone: Annotated[
        str,
        typer.Option(
            "--zone", metavar="ZONE", help="Of exports without one, such as Europe/Berlin.", show_default=False
        ),
    ] = "",
    me: Annotated[
        str, typer.Option("--me", metavar="NAME", help="Who you are in exports that only say me.", show_default=False)
    ] = "",
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Bring exported chats in: WhatsApp, Telegram, Discord, Slack, iMessage, mail, ChatGPT, Claude, JSON lines.

    What is here already is known again, so the same or a longer export may be brought any time.
    """
    from rolecast.cli import settings

    wanted = [*(files or []), *(example_files() if example else [])]
    if not wanted:
        output.fail("Name the files to bring, or take the bundled conversations with --example.", code=2)
    brought, left_out = bring(wanted, settings.of_gateway(config).config, date_order, zone, me)
    if as_json:
        output.print_json({"brought": brought, "left_out": left_out})
        return
    show_brought(brought, left_out)


def bring(
    files: "Sequence[Path]", config: "Config", date_order: str = "", zone: str = "", me: str = ""
) -> "tuple[Brought, list[str]]":
    import msgspec

    from rolecast import books
    from rolecast.avatars.conversation import Reading
    from rolecast.avatars.sources.bringing import bring as bring_in
    from rolecast.cli.avatar_making import shown
    from rolecast.errors import Invalid
    from rolecast.jobs.job import Progress

    try:
        how = msgspec.convert({"date_order": date_order, "zone": zone, "me": me}, Reading)
    except msgspec.ValidationError as error:
        raise Invalid(f"--date-order is dmy, mdy or ymd, not {date_order[:20]!r}.") from error
    told = _Importing()

    async def work() -> "Brought":
        store = books.store_of(config)
        await store.open()
        try:
            return await bring_in(files, store, told, how)
        finally:
            await store.close()

    with shown("conversations") as report:
        told.report = lambda done, total: report(Progress("import", done, total))
        return asyncio.run(work()), told.left_out


class _Importing:
    """Hears of a reading; `report` is told how far it is."""

    def __init__(self) -> None:
        self.report: Callable[[int, int], None] = lambda done, total: None
        self.left_out: list[str] = []
        """Where, and why; the first of them."""

    def progress(self, done: int, total: int) -> None:
        self.report(done, total)

    def skipped(self, where: str, why: str) -> None:
        if len(self.left_out) < MOST_TOLD:
            self.left_out.append(f"{where}: {why}")


def show_brought(brought: "Brought", left_out: "Sequence[str]") -> None:
    """Tell what came of it."""
    from rolecast.errors import counted

    also = f", {brought.known} known before" if brought.known else ""
    also += f", {brought.changed} changed" if brought.changed else ""
    output.say(f"[green]✓[/] {counted(brought.new, 'new message')}{also}, in {counted(brought.chats, 'chat')}.")
    for reason, count in brought.skipped.items():
        output.say(f"  [dim]{count} left out: {output.escape(reason)}[/]")
    for each in left_out[:3] if len(left_out) > 3 else left_out:
        output.say(f"  [dim]{output.escape(each)}[/]")
    output.say("`rolecast avatar people` lists who said how much.")


def example_files() -> list[Path]:
    from importlib.resources import files

    return sorted(Path(str(each)) for each in (files("rolecast.data") / "avatars" / "house").iterdir())


def people(neo4j: Neo4j = None, config: ConfigFile = None, as_json: Json = False) -> None:
    """List who said how much in the conversations that were brought."""
    from rolecast.cli import settings

    speakers = asyncio.run(_speakers(settings.of_gateway(config).config, neo4j))
    if as_json:
        output.print_json({"speakers": speakers})
        return
    if not speakers:
        output.say("No conversation is here; `rolecast avatar import FILE` brings some, --example made-up ones.")
        return
    from datetime import UTC, datetime

    rows = output.table("Person", "Messages", "Chats", "First", "Last", right=("Messages", "Chats"))
    for each in speakers:
        days = [
            datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d") if at is not None else ""
            for at in (each.first, each.last)
        ]
        rows.add_row(output.plain(each.person.name), str(each.messages), str(each.chats), *map(output.plain, days))
    output.show(rows)


async def known(config: "Config", person: str) -> None:
    """That somebody of that name or id is in the conversations that were brought. Raises RolecastError."""
    from rolecast.avatars.conversations import conversations_of
    from rolecast.avatars.settings import Extraction

    async with conversations_of(Extraction(), config.storage.url) as found:
        await found.find(person)


async def _speakers(config: "Config", neo4j: str | None) -> "list[Speaker]":
    from rolecast.avatars.conversations import conversations_of
    from rolecast.avatars.settings import Extraction

    async with conversations_of(Extraction(neo4j=neo4j or ""), config.storage.url) as found:
        return await found.speakers()
