"""Commands of `avatar` for what is released: talk with it, list it, go back, forget. Each is a row in `avatar`."""

import asyncio
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from rolecast.cli import output
from rolecast.cli.avatar_options import Person
from rolecast.cli.options import ConfigFile, Json, Key, Url

if TYPE_CHECKING:
    from rolecast.avatars.places import Place
    from rolecast.avatars.serving.forgetting import Forgotten


def chat(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The avatar, or the person.")],
    url: Url = "",
    key: Key = "",
) -> None:
    """Talk with an avatar of the running gateway."""
    from rolecast.avatars.places import PREFIX, slug
    from rolecast.cli import settings, talk
    from rolecast.errors import NotFound

    plain, at, number = name.removeprefix(PREFIX).partition("@")
    model = PREFIX + slug(plain) + at + number
    if url:
        _refuse_unknown(model, url, key)
    elif (why := _silent(_place(plain), number)) and model not in settings.of_gateway().config.variants:
        raise NotFound(why)
    talk.chat(model=model, url=url, key=key)


def _unready(place: "Place", what: str, step: str) -> str:
    """That it is not so far, with what is to be done: what is made just now, is waited for."""
    from rolecast.avatars import files

    try:
        with files.making(place.folder):
            pass
    except BlockingIOError:
        return f"{what}: it is being made just now."
    except OSError:
        pass
    needed = {"release": place.evaluation / "report.json", "evaluate": place.training / "training.json"}[step]
    command = f"{step} {place.name}" if needed.exists() else f"full --person {place.name}"
    return f"{what}: `rolecast avatar {command}` does it."


def _silent(place: "Place", number: str) -> str:
    """Why nothing of this machine answers as that avatar, with the next step; '' where it does."""
    from rolecast.avatars.serving import card, forgotten, versions

    if not place.card.exists():
        if place.work.is_dir():
            return _unready(place, f"{place.name} is not released yet", "release")
        return f"{place.name} is no avatar here; `rolecast avatar list` shows them."
    known = card.card(place)
    there = versions.usable(place, known)
    if number:
        kept = ", ".join(map(str, there)) or "none"
        return "" if number in map(str, there) else f"{place.name} has no version {number} that answers, but: {kept}."
    if known.current in there:
        return ""
    if known.person and forgotten.among(place.folder.parent, [known.person], 0):
        return f"{place.name} is withdrawn, for its person was forgotten; `rolecast avatar list` shows the others."
    what = "has lost the version that answered" if known.current else "is withdrawn"
    again = f"`rolecast avatar full --fresh --person {shlex.quote(known.title)} --name {place.name}`"
    return f"{place.name} {what}; {again} makes it again."


def _refuse_unknown(model: str, url: str, key: str) -> None:
    """Raises NotFound for what the gateway at that address does not offer."""
    from rolecast.cli.gateway import connect
    from rolecast.errors import NotFound

    with connect(url, key) as gateway, gateway.client() as client:
        there = [each.id for each in client.models() if each.id.startswith("avatar/")]
    if model not in there:
        raise NotFound(f"{model} answers nobody at {url}; avatars there: {', '.join(there) or 'none'}.")


def list_(as_json: Json = False) -> None:
    """List the avatars of this machine, their versions, and whether they answer."""
    from rolecast.avatars.serving import card
    from rolecast.avatars.serving import versions as kept
    from rolecast.avatars.whose import people_of
    from rolecast.errors import Conflict

    begun = [(place, people_of(place).name, card.judged(place)) for place in card.begun()]
    found = []
    for place in card.released():
        try:
            found.append((card.card(place), [*kept.verdicts(place).values()]))
        except Conflict as error:  # it hides no other
            output.warn(error.message)
    if as_json:
        output.print_json(
            {
                "avatars": [{"avatar": each, "versions": versions} for each, versions in found],
                "unreleased": [
                    {"name": place.name, "title": title, "judged": judged} for place, title, judged in begun
                ],
            }
        )
        return
    if not found and not begun:
        output.say("There is no avatar. `rolecast avatar full --example` makes one of made-up conversations.")
        return
    rows = output.table("Avatar", "Person", "Answers", "Versions", "Gate", "Share", wrap=("Person", "Gate"))
    for each, versions in found:
        marks = [f"{one.number}{' (withdrawn)' if one.number in each.withdrawn else ''}" for one in versions]
        answering = next((one for one in versions if one.number == each.current), None)
        gate = "" if answering is None else "passed" if answering.passed else "released by force"
        share = f"version {each.canary} gets {100 * each.share:g} %" if each.canary else ""
        answers = f"version {each.current}" if each.current else "no"
        rows.add_row(*map(output.plain, (f"avatar/{each.name}", each.title, answers, ", ".join(marks), gate, share)))
    for place, title, judged in begun:
        says = "not judged yet" if judged is None else "passed, not released" if judged else "refused"
        rows.add_row(*map(output.plain, (f"avatar/{place.name}", title, "no", "", says, "")))
    output.show(rows)
    if any(judged is False for *_, judged in begun):
        output.say("`rolecast avatar report NAME` tells why the gate refused one.")


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The avatar.")],
    version: Annotated[
        int, typer.Option("--version", help="To this one; without it the one before.", show_default=False)
    ] = 0,
) -> None:
    """Let an earlier version answer again, at once."""
    from rolecast.avatars.serving import versions

    card = versions.rollback(_place(name), version)
    output.say(f"avatar/{card.name} answers with version {card.current} again.")


def share(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The avatar.")],
    part: Annotated[float, typer.Argument(metavar="SHARE", help="0.1 = every tenth conversation; 0 = none, 1 = all.")],
    version: Annotated[
        int, typer.Option("--version", help="Which one answers them; without it the newest.", show_default=False)
    ] = 0,
) -> None:
    """Let another version answer a part of the conversations."""
    from rolecast.avatars.serving import versions

    if part >= 1:
        card = versions.promote(_place(name), version)
        output.say(f"avatar/{card.name} answers with version {card.current}.")
        return
    card = versions.share(_place(name), part, version)
    other = f"version {card.canary} answers {100 * card.share:g} % of the conversations" if card.canary else "no other"
    output.say(f"avatar/{card.name} answers with version {card.current}; {other}.")


def report(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The avatar.")],
    as_json: Json = False,
) -> None:
    """Tell how an avatar was judged: its verdict and figures, and where the page with the plots is."""
    import json

    from rolecast.avatars.serving import card
    from rolecast.errors import NotFound

    place = _place(name)
    withdrawn = _withdrawn(place)
    path = place.evaluation / "report.json"
    if not path.is_file():
        reports = [place.version(number) / "report.json" for number in card.numbers(place)]
        path = next((each for each in reversed(reports) if each.is_file()), path)
    if not path.is_file():
        raise NotFound(withdrawn or _unready(place, f"{place.name} was not judged yet", "evaluate"))
    if as_json:
        output.raw(path.read_text(encoding="utf-8"))
        return
    if withdrawn:
        output.say(f"[red]✗[/] {output.escape(withdrawn)}")
    said = json.loads(path.read_bytes())
    for each in said.get("checks", []):
        mark = "[green]✓[/]" if each.get("passed") else "[red]✗[/]"
        output.say(f"{mark} {output.escape(each.get('name', ''))}: {output.escape(each.get('says', ''))}")
    if (page := path.with_suffix(".html")).is_file():
        output.say(f"The page: {output.escape(page)}")


def _withdrawn(place: "Place") -> str:
    """That the newest version is withdrawn, and why; '' where it is not."""
    from rolecast.avatars.serving import card
    from rolecast.errors import Conflict, NotFound

    try:
        known = card.card(place)
    except (NotFound, Conflict):
        return ""
    newest = max(card.numbers(place), default=0)
    if newest not in known.withdrawn:
        return ""
    why = f", because {card.FORGOTTEN}" if newest in known.forgotten else ""
    answers = f"; version {known.current} answers" if known.current else ""
    return f"Version {newest} of avatar/{place.name} is withdrawn{why}{answers}."


def forget(
    person: Person,
    keep_messages: Annotated[
        bool, typer.Option("--keep-messages", help="Withdraw what was learnt, but keep the person's messages.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Forget a person: delete the messages, withdraw at once what was trained on them, list what to train again."""
    from rolecast.avatars.serving import card
    from rolecast.cli import settings

    chosen = settings.of_gateway(config).config
    if not yes and not as_json:
        typer.confirm(f"Delete what {person} said, and withdraw every avatar that learnt of it?", abort=True)
    deleted, told = asyncio.run(_forget(person, chosen.storage.url, keep_messages=keep_messages))
    if as_json:
        output.print_json({"messages": deleted, "avatars": told})
        return
    output.say(f"[green]✓[/] {deleted} messages of {output.escape(person)} are deleted.")
    titles = {place.name: card.card(place).title for place in card.released()}
    if told is None:
        output.say("No avatar has learnt from them.")
        return
    for saw in told.withdrawn:
        amount = "its lineage is not there" if saw.examples is None else f"{saw.examples} examples"
        output.say(f"[green]✓[/] avatar/{output.escape(saw.avatar)} version {saw.version} is withdrawn ({amount}).")
    for again in told.retrain:
        typed = output.escape(shlex.quote(titles.get(again, again)))
        output.say(f"Again without them: `rolecast avatar full --fresh --person {typed} --name {again}`.")
    for making in told.unfinished:
        output.say(f"[green]✓[/] What was made so far of {output.escape(making)} is deleted, and never released.")
    for clean in told.never_saw:
        proof = f"{clean.examples} examples of {clean.people} people, lineage {clean.lineage_sha256[:12]}"
        output.say(f"[dim]avatar/{output.escape(clean.avatar)} version {clean.version} never saw them: {proof}[/]")


async def _forget(person: str, database: str, *, keep_messages: bool) -> "tuple[int, Forgotten | None]":
    """How many messages are gone, and what became of avatars; None = no avatar knew them."""
    from rolecast import books
    from rolecast.avatars.forget import forget as forget_everywhere
    from rolecast.config.schema import Config, Storage

    store = books.store_of(Config(storage=Storage(url=database)))
    await store.open()
    try:
        return await forget_everywhere(person, store, keep_messages=keep_messages)
    finally:
        await store.close()


def _place(name: str) -> "Place":
    from rolecast.avatars.places import PREFIX, Place, slug

    return Place(slug(name.removeprefix(PREFIX)))
