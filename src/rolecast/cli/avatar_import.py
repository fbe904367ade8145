"""Commands of `avatar` for conversations: bring them in, and see who said how much. Each is a row in `avatar`."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rolecast.cli import output
from rolecast.cli.avatar_options import Neo4j
from rolecast.cli.options import ConfigFile, Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rolecast.config.schema import Config


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
    brought = bring(wanted, settings.of_gateway(config).config, date_order, zone)
    if as_json:
        output.print_json(brought)
        return
    show_brought(brought)


def bring(files: "Sequence[Path]", config: "Config", date_order: str, zone: str) -> Any:
    from rolecast import books
    from rolecast.avatars import sources
    from rolecast.avatars.sources import Options
    from rolecast.cli.avatar_making import shown
    from rolecast.jobs.job import Progress

    async def work(report: Any) -> Any:
        store = books.store_of(config)
        await store.open()
        try:
            told = _Importing(lambda done, total: report(Progress("import", done, total)))
            return await sources.bring(files, store, told, Options(date_order=date_order, zone=zone))
        finally:
            await store.close()

    with shown("conversations") as report:
        return asyncio.run(work(report))


class _Importing:
    """Hears of a reading."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress

    def progress(self, done: int, total: int) -> None:
        self._progress(done, total)

    def skipped(self, where: str, why: str) -> None:
        """`bring` counts and tells them."""


def show_brought(brought: Any) -> None:
    for each in brought.files:
        left = f", {each.known} known before" if each.known else ""
        name = output.escape(Path(each.path).name)
        output.say(f"[green]✓[/] {name} [dim]({output.escape(each.title)})[/]: {each.new} new messages{left}")
        for told in each.skipped[:5]:
            output.say(f"  [dim]left out: {output.escape(told)}[/]")
        if len(each.skipped) > 5:
            output.say(f"  [dim]and {len(each.skipped) - 5} more; --json tells all[/]")
    output.say("`rolecast avatar people` lists who said how much.")


def example_files() -> list[Path]:
    from importlib.resources import files

    return sorted(
        Path(str(each)) for each in files("rolecast.data").joinpath("avatars").iterdir() if each.name.endswith(".txt")
    )


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


async def _speakers(config: "Config", neo4j: str | None) -> Any:
    from rolecast.avatars.pipeline import conversations_of

    found = await conversations_of(neo4j or "", "neo4j", config.storage.url)
    try:
        return await found.speakers()
    finally:
        await found.close()
