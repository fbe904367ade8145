"""`avatar`: makes personal models from conversations, judges them, and lets them answer.

A group of commands, one per step, and `full` for all of them. Knows how the steps are asked for and shown; what they do
is `rolecast.avatars`', and each long one runs in a process of its own (`avatar_making`).
"""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rolecast import statefile
from rolecast.cli import avatar_import, avatar_released, output
from rolecast.cli.avatar_options import (
    Base,
    Engine,
    Epochs,
    Fresh,
    Method,
    Name,
    Neo4j,
    Person,
    Seed,
    Set,
    SettingsFile,
)
from rolecast.cli.options import ConfigFile, Json

if TYPE_CHECKING:
    from rolecast.avatars.order import AvatarOrder, Step
    from rolecast.avatars.pipeline import Outcome
    from rolecast.avatars.places import Place
    from rolecast.avatars.settings import AvatarSettings
    from rolecast.cli.settings import Chosen
    from rolecast.config.schema import Config, Model

app = typer.Typer(
    name="avatar",
    help="Make personal models from conversations: import, train, judge, release, talk.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("import")(avatar_import.import_)
app.command()(avatar_import.people)

EXAMPLE = "Mira Sandoval"
"""Whom the bundled conversations are used for, unless another of them is named."""


@app.command()
def extract(
    person: Person,
    name: Name = "",
    changes: Set = None,
    settings_file: SettingsFile = None,
    neo4j: Neo4j = None,
    to: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Also write it there.", show_default=False)
    ] = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Extract a person's replies with what was said before, as JSON lines."""
    from rolecast.avatars.places import Place

    order, chosen = _order(person, name, ("extract",), config, settings_file, changes, neo4j=neo4j, fresh=True)
    outcome = _make(order, chosen)
    path = Place(order.name).extracted
    if to is not None:
        # It holds all as it was said: a new file is its owner's alone.
        with os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(path.read_bytes())
        path = to
    _done(outcome, f"They are in {path}.", as_json=as_json)


@app.command()
def dataset(
    person: Person,
    name: Name = "",
    changes: Set = None,
    settings_file: SettingsFile = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Make what is learnt from: cleaned, scrubbed of what is private, without repetition, split."""
    from rolecast.avatars.places import Place

    order, chosen = _order(person, name, ("dataset",), config, settings_file, changes, fresh=True)
    outcome = _make(order, chosen)
    folder = Place(order.name).dataset
    text = f"Look through {folder / 'review.csv'} before you train: what was taken out, line by line."
    _done(outcome, text, as_json=as_json)


@app.command()
def train(
    person: Person,
    name: Name = "",
    method: Method = None,
    engine: Engine = None,
    epochs: Epochs = None,
    base: Base = None,
    seed: Seed = None,
    changes: Set = None,
    settings_file: SettingsFile = None,
    fresh: Fresh = False,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Train. Ctrl-C stops at the next checkpoint; the same command goes on from there."""
    from rolecast.avatars.places import Place

    given = {"method": method, "engine": engine, "epochs": epochs, "base": base, "seed": seed}
    order, chosen = _order(person, name, ("train",), config, settings_file, changes, training=given, fresh=fresh)
    outcome = _make(order, chosen)
    _done(
        outcome, f"It is trained; {Place(order.name).training} has the history and a plot of the loss.", as_json=as_json
    )


@app.command()
def evaluate(
    person: Person,
    name: Name = "",
    changes: Set = None,
    fresh: Fresh = False,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Judge what was trained: style, what it forgot, what it gives away. Writes a page with plots."""
    order, chosen = _order(person, name, ("evaluate",), config, None, changes, fresh=fresh)
    _judged(_make(order, chosen), as_json=as_json)


@app.command()
def release(
    person: Person,
    name: Name = "",
    force: Annotated[bool, typer.Option("--force", help="Although the gate says no.")] = False,
    share: Annotated[
        float | None,
        typer.Option("--share", help="Part of the conversations that it answers at first.", show_default=False),
    ] = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Let it answer as `avatar/NAME`, if it passed the gate; `rollback` takes that back within a second."""
    order, chosen = _order(person, name, ("release",), config, None, None, force=force, share=share or 0, fresh=True)
    outcome = _make(order, chosen)
    _released(outcome, as_json=as_json)


@app.command()
def full(
    person: Annotated[
        str, typer.Option("--person", metavar="PERSON", help="Whose replies are learnt.", show_default=False)
    ] = "",
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE...]", help="Exported chats to bring first.")
    ] = None,
    example: Annotated[bool, typer.Option("--example", help="Bring the bundled conversations first.")] = False,
    name: Name = "",
    method: Method = None,
    engine: Engine = None,
    epochs: Epochs = None,
    base: Base = None,
    seed: Seed = None,
    changes: Set = None,
    settings_file: SettingsFile = None,
    neo4j: Neo4j = None,
    force: Annotated[bool, typer.Option("--force", help="Release it although the gate says no.")] = False,
    fresh: Fresh = False,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """All steps, from conversations to an answer: import, extract, dataset, train, evaluate, release, ask.

    What is done already is not done again, so it goes on where it was stopped.
    """
    from msgspec.structs import replace

    from rolecast.avatars.order import STEPS
    from rolecast.cli import settings

    if not person and not example:
        output.fail("Say whose avatar it is: --person NAME; `rolecast avatar people` lists who is there.", code=2)
    _require_packages()
    person = person or EXAMPLE
    given = {"method": method, "engine": engine, "epochs": epochs, "base": base, "seed": seed}
    if wanted := [*(files or []), *(avatar_import.example_files() if example else [])]:
        brought, left_out = avatar_import.bring(wanted, settings.of_gateway(config).config)
        if not as_json:
            avatar_import.show_brought(brought, left_out)
    order, chosen = _order(
        person, name, STEPS, config, settings_file, changes, training=given, neo4j=neo4j, force=force, fresh=fresh
    )
    judged = _make(replace(order, steps=STEPS[:-1]), chosen)
    if not as_json:
        for each in judged.told:
            output.say(output.escape(each))
    if not judged.passed and not force:
        _judged(judged, as_json=as_json)
        return
    released = replace(_make(replace(order, steps=STEPS[-1:]), chosen), steps=STEPS, told=judged.told)
    if as_json:
        output.print_json({"outcome": released, "answer": _ask(order.name, chosen)})
        return
    _released(released, as_json=False)
    question, said = _ask(order.name, chosen)
    output.say(f"\n[dim]you:[/] {output.escape(question)}")
    output.say(f"[bold]{output.escape(person)}:[/] {output.escape(said)}")


for _name, _command in (
    ("chat", avatar_released.chat),
    ("list", avatar_released.list_),
    ("report", avatar_released.report),
    ("share", avatar_released.share),
    ("rollback", avatar_released.rollback),
    ("forget", avatar_released.forget),
):
    app.command(_name)(_command)


def _require_packages() -> None:
    """Before anything is brought and read: what is missing would end it minutes later."""
    from importlib.util import find_spec

    if missing := [name for name in ("rapidfuzz", "torch") if find_spec(name) is None]:
        how = "run `pip install 'rolecast[avatars]'`, or `make avatars` in a checkout"
        output.fail(f"Avatars are made with packages that are not here ({', '.join(missing)}): {how}.")


# -- what they share --------------------------------------------------------------------------------------------


def _order(
    person: str,
    name: str,
    steps: "tuple[Step, ...]",
    config: Path | None,
    settings_file: Path | None,
    changes: list[str] | None,
    *,
    training: dict[str, Any] | None = None,
    neo4j: str | None = None,
    force: bool = False,
    share: float = 0,
    fresh: bool = False,
) -> "tuple[AvatarOrder, Chosen]":
    """What is to be done, with what earlier steps of this avatar were told; and the configuration."""
    from rolecast.avatars import asked
    from rolecast.avatars.order import AvatarOrder
    from rolecast.avatars.places import PREFIX, Place, slug
    from rolecast.avatars.whose import asked_before
    from rolecast.cli import settings
    from rolecast.cli.avatar_making import setting

    chosen = settings.of_gateway(config)
    person = person.removeprefix(PREFIX)
    place = Place(name or slug(person))
    person = asked_before(place, person)
    over: dict[str, dict[str, Any]] = {}
    for section, key, value in map(setting, changes or []):
        over.setdefault(section, {})[key] = value
    given = {key: value for key, value in (training or {}).items() if value is not None}
    if given:
        over.setdefault("training", {}).update(given)
    if neo4j is not None:  # "" = what was imported, whatever was said before
        over.setdefault("extraction", {})["neo4j"] = neo4j
    wanted = asked.settings(place, settings_file, over)
    over_base = {"train", "evaluate", "release"} & {*steps} and wanted.training.method != "scratch"
    label, model = asked.base_model(wanted.training.base, chosen.config) if over_base else ("", None)
    _needs_conversations(place, person, steps, wanted, chosen.config)
    base = label if model is None else _brought(label, model, chosen.config)
    order = AvatarOrder(
        place.name,
        person,
        steps,
        wanted,
        database=chosen.config.storage.url,
        base=base,
        share=share,
        keep=chosen.config.avatars.keep,
        force=force,
        resume=not fresh,
    )
    return order, chosen


def _needs_conversations(
    place: "Place", person: str, steps: "tuple[Step, ...]", wanted: "AvatarSettings", config: "Config"
) -> None:
    """Before anything is downloaded: the person is there, or was extracted before. Raises RolecastError."""
    from rolecast.avatars.whose import command
    from rolecast.errors import Invalid

    if "extract" not in steps:
        if not place.extracted.is_file():
            raise Invalid(f"{place.name} needs the step before: `{command('extract', person, place.name)}`.")
    elif not wanted.extraction.neo4j:  # that one is asked by who extracts
        asyncio.run(avatar_import.known(config, person))


def _brought(label: str, model: "Model", config: "Config") -> str:
    """The weights of that model, brought if they are not here."""
    from rolecast.cli import weights

    found = weights.find(config, model)
    if found is None:
        from rolecast.sources import parse

        found = weights.fetch(label, parse(model.source, model.sha256), weights.store(config))
    return str(found)


def _make(order: "AvatarOrder", chosen: "Chosen") -> "Outcome":
    from rolecast.cli.avatar_making import make
    from rolecast.config import paths

    return make(order, order.person, paths.home() / "logs" / "avatars" / f"{order.name}.log")


def _done(outcome: "Outcome", text: str, *, as_json: bool) -> None:
    if as_json:
        output.print_json(outcome)
        return
    for each in outcome.told:
        output.say(output.escape(each))
    output.say(f"[green]✓[/] {output.escape(text)}")


def _judged(outcome: "Outcome", *, as_json: bool) -> None:
    if as_json:
        output.print_json(outcome)
    elif outcome.passed:
        output.say(f"[green]✓[/] It passes the gate. The report: {output.escape(outcome.report)}")
    else:
        output.say("[bold red]✗[/] It does not pass the gate:")
        for reason in outcome.reasons:
            output.say(f"  {output.escape(reason)}")
        output.say(f"The report, with plots: {output.escape(outcome.report)}")
        output.say("Nothing is released. After a change the same command does what has to be done again.")
    if not outcome.passed:
        raise typer.Exit(1)


def _released(outcome: "Outcome", *, as_json: bool) -> None:
    if as_json:
        output.print_json(outcome)
        return
    if not outcome.passed:
        output.warn("It did not pass the gate: " + " ".join(outcome.reasons))
    if outcome.already:
        output.say(f"[green]✓[/] avatar/{outcome.name} is version {outcome.version} already; nothing has changed.")
    else:
        output.say(f"[green]✓[/] avatar/{outcome.name} answers with version {outcome.version}.")
    output.say(f"The report: {output.escape(outcome.report)}")
    once = "" if statefile.running() else ", once `rolecast up` runs"
    output.say(f"`rolecast avatar chat {outcome.name}` talks with it{once}.")


def _ask(name: str, chosen: "Chosen") -> tuple[str, str]:
    """A question of the held-out conversations and the avatar's answer, through /v1/chat/completions."""
    from rolecast.avatars import asked
    from rolecast.avatars.places import PREFIX, Place
    from rolecast.cli.avatar_answer import answer

    turns = asked.held_out(Place(name))
    body = {"model": PREFIX + name, "messages": turns, "max_tokens": 60}
    with output.waiting("asking it"):
        return turns[-1]["content"], asyncio.run(answer(body, chosen.config))
