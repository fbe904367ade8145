"""`route --backtest`: replays requests of the past by one or two configurations.

Knows where they are read from and how the result is shown; how a replay is judged is `turn/backtest.py`'s.
"""

import codecs
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rolecast.cli import output
from rolecast.cli.route import percent
from rolecast.cli.settings import Chosen, choose
from rolecast.cli.unstarted import Unstarted
from rolecast.cli.unstarted import run as run_in_loop
from rolecast.config import labels
from rolecast.errors import UNREADABLE, RolecastError, counted
from rolecast.turn.backtest import Agreement, Case, Report, Result, Tally

if TYPE_CHECKING:
    from rolecast.decision import Seen

LEDGER = "ledger"
LABELS = ("category", "role", "tier", "domain", "model")
_RIGHT = ("weak_right", "strong_right")
_NAMES = {"was_model": "the model as then", "was_role": "the role as then"}


def run(source: str, other: Path | None, *, as_json: bool) -> None:
    """Replay and print."""
    sides = [_present()]
    if other is not None:
        sides.append(choose(other))

    async def work() -> list[Report]:
        return await (_of_ledger(sides) if source == LEDGER else _of_file(Path(source), sides))

    with output.waiting(f"Replaying {source}"):
        reports = run_in_loop(work)
    if not reports[0].requests:
        where = "The ledger holds no request that named nobody" if source == LEDGER else f"{source} holds no request"
        output.fail(f"{where}, so there is nothing to replay.")
    if as_json:
        output.print_json({"backtest": source, "configurations": reports})
    else:
        _show(source, reports)


def _present() -> Chosen:
    """The configuration of the gateway that runs here, else the one that it would start with."""
    from rolecast import statefile

    state = statefile.running()
    return choose(Path(state.config) if state is not None and state.config else None)


async def _begun(sides: Sequence[Chosen]) -> list[Unstarted]:
    found = [Unstarted(chosen) for chosen in sides]
    for each in found:
        await each.learn()
    return found


# -- from a file ---------------------------------------------------------------------------------------------


async def _of_file(path: Path, sides: Sequence[Chosen]) -> list[Report]:
    begun = await _begun(sides)
    tallies = [Tally(each.name, {}) for each in begun]
    known = {"role": {name for side in sides for name in side.config.roles}.union(labels.ROLES, labels.TIERS)}
    known |= {"tier": set(labels.TIERS), "domain": set(labels.DOMAINS), "category": set(labels.CATEGORIES)}
    known |= {"model": {name for side in sides for name in side.config.models}}
    told: set[str] = set()
    for body, case in _lines(path):
        for of, label in case.labels.items():
            if label not in known[of] and label not in told and not labels.category(label):
                told.add(label)
                output.warn(f"{path}: there is no {of} '{label}', so every request that has it counts as a wrong one.")
        for each, tally in zip(begun, tallies, strict=True):
            try:
                routed = await each.of(body)
            except RolecastError as error:
                tally.fail(error.code or error.type)
                continue
            result = Result(
                routed.model,
                routed.role,
                routed.task,
                routed.tier,
                routed.domain,
                routed.source,
                -1.0 if routed.weak_fails is None else routed.weak_fails,
            )
            long = case if case.prompt_tokens else msgspec.structs.replace(case, prompt_tokens=routed.tokens)
            tally.add(long, result, each.plans.card(routed.model))
    return [tally.report() for tally in tallies]


def _lines(path: Path) -> Iterator[tuple[bytes, Case]]:
    """The request and what is known of it, line by line. Ends the command at one that is no request."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                fields = msgspec.json.decode(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line)
                yield _request({"prompt": fields} if isinstance(fields, str) else fields)
            except (*UNREADABLE, ValueError) as error:
                output.fail(
                    f'{path}, line {number}: {error}. Each line is JSON such as {{"prompt":"...","role":"coding"}}.'
                )


def _request(fields: Any) -> tuple[bytes, Case]:
    """Raises ValueError for what cannot be meant."""
    if not isinstance(fields, dict):
        raise ValueError("it is neither an object nor a text")
    given = {of: fields.pop(of) for of in LABELS if of in fields}
    if wrong := next((of for of, label in given.items() if not isinstance(label, str)), ""):
        raise ValueError(f"`{wrong}` must be a text")
    given = {of: label for of, label in given.items() if label not in ("", "auto")}
    chances = [fields.pop(of, None) for of in _RIGHT]
    for of, chance in zip(_RIGHT, chances, strict=True):
        if chance is not None and not (isinstance(chance, int | float) and 0 <= chance <= 1):
            raise ValueError(f"`{of}` must be true, false or a number from 0 to 1")
    if "text" in fields and "prompt" not in fields:
        fields["prompt"] = fields.pop("text")
    if not {"prompt", "messages", "input"} & set(fields):
        raise ValueError("there is no `prompt`, `messages` or `input`")
    weak, strong = (None if chance is None else float(chance) for chance in chances)
    return msgspec.json.encode(fields), Case(given, weak_right=weak, strong_right=strong)


# -- from the ledger -----------------------------------------------------------------------------------------


async def _of_ledger(sides: Sequence[Chosen]) -> list[Report]:
    from rolecast.books import decisions

    begun = await _begun(sides)
    store = begun[0].store
    if (path := getattr(store, "path", None)) is not None and not path.exists():
        output.fail(f"There is no ledger yet at {path}; it is made by the first `rolecast up`.")
    await store.open()
    try:
        speeds = await decisions.speeds(store)
        tallies = [Tally(each.name, speeds) for each in begun]
        async for then in _past(store):
            for each, tally in zip(begun, tallies, strict=True):
                _again(each, tally, then)
        return [tally.report() for tally in tallies]
    finally:
        await store.close()


async def _past(store: Any) -> AsyncIterator[tuple["Seen", Case]]:
    from rolecast.books import decisions

    async for then in decisions.past(store):
        case = Case(
            then.labels,
            was_model=then.model,
            was_role=then.role,
            prompt_tokens=then.prompt_tokens,
            answer_tokens=then.completion_tokens,
            rating=then.rating,
        )
        yield then.seen, case


def _again(side: Unstarted, tally: Tally, then: tuple["Seen", Case]) -> None:
    seen, case = then
    try:
        choice = side.plans.again(seen)
    except RolecastError as error:
        tally.fail(error.code or error.type)
        return
    source = "llm" if choice.consult else choice.source
    result = Result(choice.model, choice.role, choice.task, choice.tier, choice.domain, source, seen.fails)
    tally.add(case, result, side.plans.card(choice.model))


# -- for people ----------------------------------------------------------------------------------------------


def _show(source: str, reports: Sequence[Report]) -> None:
    if source == LEDGER:
        output.say(
            "[dim]Rules that look for words, or metadata of your own, cannot fit: the ledger holds neither.[/]",
            stderr=True,
        )
    names = [each.configuration for each in reports]
    if len(set(names)) < len(names):
        names = [f"{name} ({i})" for i, name in enumerate(names, 1)]
    rows = output.table("", *names, right=names, wrap=("",))
    for name, cells in _figures(reports):
        rows.add_row(output.plain(name), *map(output.plain, cells))
    output.show(rows)
    for name, report in zip(names, reports, strict=True):
        if report.matrix:
            _show_matrix(name, report)


def _figures(reports: Sequence[Report]) -> Iterator[tuple[str, list[str]]]:
    yield "Requests", [str(each.requests) for each in reports]
    yield from _counts("Nobody answers", [each.errors for each in reports])
    compared = dict.fromkeys(of for each in reports for of in each.agreement)
    for of in compared:
        yield f"Right: {_NAMES.get(of, of)}", [_share(each.agreement.get(of)) for each in reports]
    yield from _counts("Role", [each.roles for each in reports])
    yield from _counts("Model", [each.models for each in reports])
    yield from _counts("Decided by", [each.sources for each in reports])
    figures = (
        ("To weak models", [percent(each.weak_share) for each in reports]),
        ("Answered rightly", [percent(each.quality) for each in reports]),
        ("  if the weak model answered all", [percent(each.all_weak) for each in reports]),
        ("  if the strong one did", [percent(each.all_strong) for each in reports]),
        ("  of the gap between them", [percent(each.recovered) for each in reports]),
        ("Weak models right, as estimated", [percent(each.weak_estimate) for each in reports]),
        ("Right by the models' quality, as estimated", [percent(each.right_estimate) for each in reports]),
        ("Rating of those that stay", [percent(each.rating_kept) for each in reports]),
        ("Rating of those that move", [percent(each.rating_changed) for each in reports]),
        ("Seconds, as estimated", ["" if each.seconds is None else f"{each.seconds:,.0f}" for each in reports]),
        ("  where speeds are known", [f"{each.timed} of {each.requests}" if each.timed else "" for each in reports]),
        ("Cents, as estimated", [f"{each.cents:,.2f}" if each.cents else "" for each in reports]),
    )
    yield from ((name, cells) for name, cells in figures if any(cells))


def _counts(what: str, counts: Sequence[dict[str, int]]) -> Iterator[tuple[str, list[str]]]:
    for name in dict.fromkeys(name for each in counts for name in each):
        yield f"{what}: {name or '-'}", [str(each.get(name, 0)) for each in counts]


def _share(found: Agreement | None) -> str:
    if found is None:
        return ""
    return f"{percent(found.share)} of {found.of} [{100 * found.low:.0f}, {100 * found.high:.0f}]"


def _show_matrix(name: str, report: Report) -> None:
    now = list(dict.fromkeys(role for row in report.matrix.values() for role in row))
    output.say(f"\n[bold]{output.escape(name)}[/]: by the role that was right, {counted(len(now), 'role')} chosen")
    rows = output.table("", *(role or "-" for role in now), right=[role or "-" for role in now])
    for role, row in report.matrix.items():
        rows.add_row(output.plain(role), *(output.plain(str(row.get(each, 0))) for each in now))
    output.show(rows)
