"""`usage`: what was used in a stretch of time, as a table, a plot, JSON or CSV.

Asks the gateway that runs, else reads the database itself. Sums up nothing: that is `books/usage.py`'s.
"""

import csv
import io
import sys
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rolecast.cli import output
from rolecast.cli.options import ConfigFile, Json, Key, Url

if TYPE_CHECKING:
    from rich.table import Table

    from rolecast.books.usage import Bucket, Report, Sums
    from rolecast.cli.bars import Bar

By = Literal["model", "provider", "key", "run", "task", "hour", "day", "listener"]
HEADS = {"key": "Key", "run": "Run", "task": "Task", "hour": "Hour (UTC)", "day": "Day (UTC)", "listener": "Port"}
NONE = {"key": "no key", "run": "no run", "task": "no task"}
STEPS_S = {"hour": 3600, "day": 86_400}
FINEST_S = 2 * 86_400
"""A plot of less has a bar for each hour, one of more for each day."""
MOST_BARS = 400
PIPED_WIDTH = 80
RECEIPT = Decimal("0.000001")
COLUMNS = (
    "requests",
    "errors",
    "cancelled",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "local_requests",
    "local_tokens",
    "cost_usd",
    "avoided_usd",
    "fallbacks",
    "fallbacks_to_cloud",
    "energy_joules",
    "measured_joules",
)
FORMULA = (
    *("=", "+", "-", "@", "\t", "\r", "\n"),
    *("\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}"),
    *("\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}"),
)
"""What a cell may begin with that a spreadsheet computes instead of showing it."""


def usage(
    since: Annotated[
        str, typer.Option("--since", metavar="7d|DATE", help="From when: 90m, 24h, 7d, 2026-11-01, 2026-11-01T08:30Z.")
    ] = "7d",
    until: Annotated[
        str, typer.Option("--until", metavar="DATE", help="Until when, the same; without it now.", show_default=False)
    ] = "",
    by: Annotated[By | None, typer.Option("--by", help="One row for each; without it all in all.")] = None,
    as_json: Json = False,
    to_csv: Annotated[
        str, typer.Option("--csv", metavar="FILE|-", help="Write CSV into a file; - prints it.", show_default=False)
    ] = "",
    plot: Annotated[bool, typer.Option("--plot", help="Draw the tokens, and how long answers took.")] = False,
    config: ConfigFile = None,
    url: Url = "",
    key: Key = "",
) -> None:
    """Show what was used: requests, tokens, money paid and avoided, energy, times, errors. Sums are exact.

    Asks the gateway that runs; where none does, the database is read.
    """
    if (as_json and (to_csv or plot)) or (to_csv and plot):
        output.fail("Choose one of --json, --csv and --plot.", code=2)
    if plot and by is None:
        by = _finest(since, until)
    found = _found(since, until, by, config, url, key)
    if as_json:
        from rolecast.server.asgi import JSON

        output.print_json(JSON.encode(found))
    elif to_csv:
        _export(found, to_csv)
    elif plot:
        _draw(found)
    else:
        _show(found)


# -- asking --------------------------------------------------------------------------------------------------


def _finest(since: str, until: str) -> By:
    import time

    from rolecast.books.spans import window

    asked = window(since, until, time.time())
    return "hour" if asked.until - asked.since <= FINEST_S else "day"


def _found(since: str, until: str, by: By | None, config: Path | None, url: str, key: str) -> "Report":
    import msgspec

    from rolecast import statefile
    from rolecast.books.usage import Report
    from rolecast.cli.gateway import connect

    if not url and (config is not None or statefile.running() is None):
        return _read(since, until, by, config)
    params = {"since": since, "until": until, "by": by or ""}
    with connect(url, key) as gateway:
        answer = gateway.fetch("GET", "/admin/usage", params={name: said for name, said in params.items() if said})
    return msgspec.json.decode(answer, type=Report)


def _read(since: str, until: str, by: By | None, config: Path | None) -> "Report":
    """The same from the database, without a gateway."""
    import asyncio
    import time

    from rolecast import books
    from rolecast.books import spans
    from rolecast.books import usage as sums
    from rolecast.cli.settings import choose

    window = spans.window(since, until, time.time())
    chosen = choose(config).config

    async def work() -> "Report":
        store = books.store_of(chosen)
        await store.open()
        try:
            return await sums.report(store, window, sums.compared(chosen), by)
        finally:
            await store.close()

    return asyncio.run(work())


# -- a table -------------------------------------------------------------------------------------------------


def _show(found: "Report") -> None:
    rows = _table(found)
    if not found.total.requests:
        output.say(f"No request ended {_span(found)}.")
        return
    output.say(f"[dim]Requests that ended {_span(found)}:[/]")
    output.show(rows)
    if found.left_out:
        output.say(f"[dim]{found.left_out} more are left out here; the total has them.[/]")
    notes = []
    if found.total.avoided_usd is not None:
        notes.append(f"Avoided: what {found.compared_with} would have cost for what was answered on this machine.")
    if found.total.energy_joules is not None and found.total.measured_joules != found.total.energy_joules:
        notes.append("Energy marked ~ is estimated by the `watts` of models, as far as it was not measured.")
    for note in notes:
        output.say(f"[dim]{output.escape(note)}[/]")


def _table(found: "Report") -> "Table":
    numbers = ["Requests", "In", "Out", "Cached", "Cost"]
    several = [found.total, *found.groups]
    avoided = found.total.avoided_usd is not None
    energy = found.total.energy_joules is not None
    numbers += ["Avoided"] * avoided + ["Energy"] * energy + ["p50", "p95", "Errors", "Fall-backs"]
    head = HEADS.get(found.by or "", (found.by or "").capitalize())
    rows = output.table(head, *numbers, right=numbers)
    for each in [*several[1:], several[0]]:
        last = each is found.total
        cells = [f"{each.requests:,}", f"{each.prompt_tokens:,}", f"{each.completion_tokens:,}"]
        cells += [f"{each.cached_tokens:,}", money(each.cost_usd)]
        cells += [money(each.avoided_usd)] * avoided + [joules(each.energy_joules, each.measured_joules)] * energy
        cells += [millis(each.total_ms.p50), millis(each.total_ms.p95), f"{each.errors:,}", _fallbacks(each)]
        name = "All" if last else _named(each) or NONE.get(found.by or "", "")
        rows.add_row(*map(output.plain, (name, *cells)), style="bold" if last else None, end_section=last)
    return rows


def _named(each: "Sums") -> str:
    return f"{each.called} ({each.group})" if each.called else each.group


def _fallbacks(each: "Sums") -> str:
    cloud = f" ({each.fallbacks_to_cloud:,} to a provider)" if each.fallbacks_to_cloud else ""
    return f"{each.fallbacks:,}{cloud}"


def _span(found: "Report") -> str:
    return f"from {moment(found.since)} to {moment(found.until)}"


# -- a plot --------------------------------------------------------------------------------------------------


def _draw(found: "Report") -> None:
    import shutil

    from rolecast.cli.bars import drawn

    if not found.total.requests:
        output.say(f"No request ended {_span(found)}.")
        return
    unicode = output.is_utf8(sys.stdout)
    solid, light = ("█", "░") if unicode else ("#", "=")
    width = shutil.get_terminal_size((PIPED_WIDTH, 24)).columns
    there, elsewhere = found.total.local_tokens, found.total.tokens - found.total.local_tokens
    output.raw(f"Tokens {_span(found)}: {solid} {there:,} on this machine, {light} {elsewhere:,} elsewhere")
    for line in drawn(_bars(found), width, unicode=unicode):
        output.raw(line)
    if found.histogram:
        times = found.total.total_ms
        ranks = ", ".join(f"p{n} {millis(getattr(times, f'p{n}'))}" for n in (50, 90, 95, 99))
        output.raw(f"\nComplete answers by how long they took: {ranks}")
        for line in drawn(_latencies(found.histogram), width, unicode=unicode):
            output.raw(line)


def _bars(found: "Report") -> list["Bar"]:
    """One for each group; of hours and days also where nothing was used."""
    from rolecast.cli.bars import Bar

    groups = found.groups
    if found.by in STEPS_S and groups:
        groups = _filled(groups, STEPS_S[found.by])
    return [
        Bar(
            " ".join(output.visible(_named(each) or NONE.get(found.by or "", "-")).split()),
            each.tokens,
            each.tokens - each.local_tokens,
            f"{each.tokens:,}",
        )
        for each in groups
    ]


def _filled(groups: Sequence["Sums"], step: int) -> list["Sums"]:
    from datetime import datetime, timedelta

    from rolecast.books.usage import Sums

    form = "%Y-%m-%dT%H:%MZ"
    by_name = {each.group: each for each in groups}
    at, last = (datetime.strptime(each.group, form) for each in (groups[0], groups[-1]))  # noqa: DTZ007  # all are UTC
    at = max(at, last - timedelta(seconds=step * (MOST_BARS - 1)))
    names = []
    while at <= last:
        names.append(at.strftime(form))
        at += timedelta(seconds=step)
    return [by_name.get(name) or Sums(group=name) for name in names]


def _latencies(histogram: Sequence["Bucket"]) -> list["Bar"]:
    from rolecast.cli.bars import Bar

    bounds = [each.most_ms for each in histogram if each.most_ms is not None]
    longer = f"> {millis(bounds[-1])}" if bounds else "any"
    return [
        Bar(longer if each.most_ms is None else f"<= {millis(each.most_ms)}", each.count, 0, f"{each.count:,}")
        for each in histogram
    ]


# -- a file --------------------------------------------------------------------------------------------------


def _export(found: "Report", to: str) -> None:
    text = csv_of(found)
    if to == "-":
        output.write(text)
        return
    path = Path(to)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
    count = len(found.groups) if found.by else 1
    output.say(f"Wrote {count} row{'' if count == 1 else 's'} into {output.escape(path)}.", stderr=True)


def csv_of(found: "Report") -> str:
    """One row per group, or the one total; amounts with all their digits. No spreadsheet computes a text in it."""
    file = io.StringIO()
    rows = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)  # all texts: a cell may hold what separates others
    spreads = [f"{name}_p{rank}" for name in ("first_ms", "total_ms") for rank in (50, 90, 95, 99)]
    rows.writerow([found.by or "total", *COLUMNS, *spreads])
    for each in found.groups if found.by else [found.total]:
        times = [getattr(spread, f"p{n}") for spread in (each.first_ms, each.total_ms) for n in (50, 90, 95, 99)]
        rows.writerow([inert(each.group), *(_digits(getattr(each, name)) for name in COLUMNS), *map(_digits, times)])
    return file.getvalue()


def inert(text: str) -> str:
    """The text, with an apostrophe before it where a spreadsheet would take it for a formula."""
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) else text


class _Plain(Decimal):
    """Written without an exponent."""

    def __str__(self) -> str:
        return format(self, "f")


def _digits(value: object) -> object:
    return "" if value is None else _Plain(value) if isinstance(value, Decimal) else value


# -- words ---------------------------------------------------------------------------------------------------


def money(amount: Decimal | None) -> str:
    """Dollars for people: to the cent where that is all, else with six decimals, halves up."""
    if amount is None:
        return ""
    if amount and amount < RECEIPT:
        return "<$0.000001"
    shown = f"{amount.quantize(RECEIPT, ROUND_HALF_UP):,f}".rstrip("0")
    whole, _, part = shown.partition(".")
    return f"${whole}.{part:<02}"


def joules(amount: Decimal | None, measured: Decimal | None) -> str:
    """Energy for people; `~` = some of it is estimated."""
    if amount is None:
        return ""
    sign = "" if measured == amount else "~"
    if amount >= 3600:
        return f"{sign}{amount / 3600:,.1f} Wh"
    return f"{sign}{amount:,.1f} J"


def millis(time_ms: float | None) -> str:
    """A time for people: 0.8 ms, 120 ms, 2.5 s."""
    if time_ms is None:
        return ""
    if time_ms >= 1000:
        return f"{time_ms / 1000:.1f} s"
    return f"{time_ms:.0f} ms" if time_ms >= 10 else f"{time_ms:.1f} ms"


def moment(at: float) -> str:
    """When, in UTC, to the minute."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
