"""Commands of `avatar` for what is released: talk with it, list it, go back, forget. Each is a row in `avatar`."""

import asyncio
from typing import Annotated

import typer

from rolecast.cli import output
from rolecast.cli.avatar_options import Person
from rolecast.cli.options import ConfigFile, Json, Key, Url


def chat(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The avatar, or the person.")],
    url: Url = "",
    key: Key = "",
) -> None:
    """Talk with an avatar of the running gateway."""
    from rolecast.avatars.places import PREFIX, slug
    from rolecast.cli import talk

    talk.chat(model=name if name.startswith(PREFIX) else PREFIX + slug(name), url=url, key=key)


def list_(as_json: Json = False) -> None:
    """List the avatars of this machine, their versions, and whether they answer."""
    from rolecast.avatars.serving.card import cards

    found = cards()
    if as_json:
        output.print_json({"avatars": found})
        return
    if not found:
        output.say("There is no avatar. `rolecast avatar full --example` makes one of made-up conversations.")
        return
    rows = output.table("Avatar", "Person", "Answers", "Versions", "Share", right=("Share",), wrap=("Person",))
    for each in found:
        versions = ", ".join(str(v.number) + (" (withdrawn)" if v.withdrawn else "") for v in each.versions)
        answers = f"version {each.current}" if each.current else "no"
        share = f"{each.canary} gets {100 * each.share:g} %" if each.canary else ""
        rows.add_row(*map(output.plain, (f"avatar/{each.name}", each.person, answers, versions, share)))
    output.show(rows)


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The avatar.")],
    version: Annotated[
        int | None, typer.Option("--version", help="To this one; without it the one before.", show_default=False)
    ] = None,
) -> None:
    """Let an earlier version answer again, at once."""
    from rolecast.avatars.places import Place, slug
    from rolecast.avatars.serving import versions

    card = versions.rollback(Place(slug(name.removeprefix("avatar/"))), version)
    output.say(f"avatar/{card.name} answers with version {card.current} again.")


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
    from rolecast.avatars.serving import forgetting
    from rolecast.cli import settings

    chosen = settings.of_gateway(config).config
    if not yes and not as_json:
        typer.confirm(f"Delete what {person} said, and withdraw every avatar that learnt of it?", abort=True)
    told = asyncio.run(forgetting.forget(person, chosen.storage.url, keep_messages=keep_messages))
    if as_json:
        output.print_json(told)
        return
    for line in told.lines():
        output.say(output.escape(line))
