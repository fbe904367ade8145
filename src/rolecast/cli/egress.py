"""`egress`: what left this machine, and whether the record of it is whole. Reads the database, not the gateway."""

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from rolecast.cli import output
from rolecast.cli.options import ConfigFile, Json

if TYPE_CHECKING:
    from rolecast.egress.chain import Entry, Fault

ACTIONS = ("list", "verify")
BROKEN = 1
SHOWN = 50
_AGO = re.compile(r"(\d{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_HEAD = re.compile(r"(?:(\d{1,18}):)?([0-9a-f]{64})")


def egress(
    action: Annotated[str, typer.Argument(metavar="[list|verify]", help="What to do.")] = "list",
    since: Annotated[
        str, typer.Option("--since", metavar="WHEN", help="With list: 30m, 12h, 7d, or a date such as 2026-03-01.")
    ] = "",
    head: Annotated[
        list[str] | None,
        typer.Option(
            "--head",
            metavar="HASH",
            help="With verify: the newest that an earlier verify told; without it a cut end does not show.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="With list: at most so many.")] = SHOWN,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """List what left this machine, or verify that the record of it was not changed."""
    if action not in ACTIONS:
        output.fail(f"There is no `rolecast egress {action}`; use {' or '.join(ACTIONS)}.", code=2)
    if action == "list":
        _list(_read(config, limit, _moment(since)), as_json=as_json)
    else:
        _verify(_read(config, 0, 0), head or [], as_json=as_json)


def _read(config: "ConfigFile", most: int, since_us: int) -> "list[Entry]":
    """Those entries, the newest first; all in their order without `most`. Ends the command without a database."""
    import asyncio

    from rolecast import books
    from rolecast.cli import settings
    from rolecast.egress import ledger

    store = books.store_of(settings.of_gateway(config).config)

    async def read() -> "list[Entry]":
        await store.open()
        try:
            return await (ledger.newest(store, most, since_us) if most else ledger.everything(store))
        finally:
            await store.close()

    return asyncio.run(read())


def _moment(since: str) -> int:
    """In microseconds since 1970. Ends the command for what is no time."""
    if not since:
        return 0
    if (ago := _AGO.fullmatch(since)) is not None:
        return int((time.time() - int(ago[1]) * _SECONDS[ago[2]]) * 1_000_000)
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        output.fail(f"--since {since}: write 30m, 12h, 7d, or a date such as 2026-03-01.", code=2)
    return int(moment.astimezone(UTC).timestamp() * 1_000_000)


def _list(entries: "list[Entry]", *, as_json: bool) -> None:
    if as_json:
        output.print_json({"entries": entries})
        return
    if not entries:
        output.say("Nothing has left this machine.")
        return
    rows = output.table("When", "What", "Model", "Provider", "To", "Bytes", "Replaced", "Key", right=("Bytes",))
    for each in entries:
        when = datetime.fromtimestamp(each.at_us / 1_000_000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        replaced = each.replaced.strip("{}").replace('"', "").replace(",", ", ")
        where = f"{each.host}{each.path}"
        cells = (when, each.kind, each.model, each.provider, where, str(each.bytes), replaced, each.key)
        rows.add_row(*map(output.plain, cells))
    output.show(rows)


def _verify(entries: "list[Entry]", noted: list[str], *, as_json: bool) -> None:
    from rolecast.egress import chain

    faults, count = chain.check(entries)
    newest = {each.place: each for each in entries}
    faults += _lacking(entries, noted)
    if as_json:
        heads = [{"place": e.place, "seq": e.seq, "hash": e.hash} for e in newest.values()]
        output.print_json({"entries": count, "faults": faults, "heads": heads})
    else:
        _tell(faults, count, newest, noted=bool(noted))
    if faults:
        raise typer.Exit(BROKEN)


def _lacking(entries: "list[Entry]", noted: list[str]) -> "list[Fault]":
    """Hashes that were noted and are not there any more. Ends the command for what is no hash."""
    from rolecast.egress.chain import Fault

    there = {each.hash: each for each in entries}
    found = []
    for text in noted:
        m = _HEAD.fullmatch(text.strip().lower())
        if m is None:
            output.fail(f"--head {text[:80]}: write the hash that `rolecast egress verify` told.", code=2)
        entry = there.get(m[2])
        if entry is None or (m[1] and int(m[1]) != entry.seq):
            found.append(Fault("", int(m[1] or 0), f"the entry {m[2][:16]}... that was noted is not there any more"))
    return found


def _tell(faults: "list[Fault]", count: int, newest: "Mapping[str, Entry]", *, noted: bool) -> None:
    for fault in faults:
        where = f"{fault.place}: entry {fault.seq} " if fault.place else ""
        output.say(f"[red]Broken:[/] {output.escape(where + fault.why)}")
    if faults:
        return
    if not count:
        output.say("There are no entries, so there is nothing to verify.")
        return
    entries, chains = ("entry", "entries")[count > 1], ("chain", "chains")[len(newest) > 1]
    output.say(f"{count} {entries} in {len(newest)} {chains}; none was changed, removed or moved.")
    for each in newest.values():
        output.say(f"  {output.escape(each.place)}: the newest is {each.seq}:{each.hash}")
    if newest and not noted:
        output.say(
            "To learn later whether the newest were cut off, note that hash: `rolecast egress verify --head HASH`."
        )
