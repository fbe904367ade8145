"""Forgets a person: what was trained on that person's messages answers no more, at once.

By lineage: each version says from whose messages it has learnt. One that does not say may have learnt from anybody, and
is withdrawn, too. What a person asks next is who never saw the messages, and how that is known: it is told for each.
"""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from rolecast.avatars.places import Place
from rolecast.avatars.serving import card, versions
from rolecast.avatars.serving.card import Lineage
from rolecast.errors import Conflict, NotFound


class Saw(msgspec.Struct, frozen=True):
    """A version that has learnt from the person, or may have."""

    avatar: str
    version: int
    examples: int | None
    """With a message of the person; None = its lineage is not there, so nobody knows."""


class NeverSaw(msgspec.Struct, frozen=True):
    """A version that has not, and what shows it."""

    avatar: str
    version: int
    examples: int
    """All that it has learnt from, none with a message of the person."""
    people: int
    """Whose messages are in them."""
    lineage_sha256: str
    """Of the file that lists them."""


class Forgotten(msgspec.Struct, frozen=True):
    """What was done."""

    person: str
    withdrawn: list[Saw]
    retrain: list[str]
    """Avatars that lost a version and may be trained again without the person: all but the person's own."""
    ended: list[str]
    """Avatars of the person, or with no version left: they answer no more."""
    never_saw: list[NeverSaw]


def forget(person: str, *, names: Sequence[str] = (), root: Path | None = None, erase: bool = True) -> Forgotten:
    """Withdraw whatever has learnt from that person: the id among the conversations, or the name of an avatar's person.

    With `erase`, weights and working files of what was withdrawn are deleted. Raises NotFound where no version knows
    anybody of that id or name, with nothing changed.
    """
    places = list(card.released(root))
    wanted = {person, *names}
    folded = {each.casefold() for each in wanted}
    own = set()
    for place in places:
        try:
            known = card.card(place)
        except Conflict:
            continue
        if folded & {known.title.casefold(), known.person.casefold(), known.name.casefold()} - {""}:
            own.add(place.name)
            wanted.add(known.person or person)
    seen, clean = _sorted_out(places, wanted, own)
    if not own and not any(each.examples for each in seen):
        text = f"No avatar has learnt from anybody with the id or name {person[:100]!r}."
        raise NotFound(text, param="person")
    left: dict[str, int] = {}
    for place in places:
        gone = [each.version for each in seen if each.avatar == place.name]
        if gone:
            left[place.name] = versions.withdraw(place, gone, erase=erase).current
            if erase:
                shutil.rmtree(place.work, ignore_errors=True)
    ended = sorted(name for name, current in left.items() if name in own or not current)
    return Forgotten(person, seen, sorted(left.keys() - own), ended, clean)


def _sorted_out(places: Sequence[Place], wanted: set[str], own: set[str]) -> tuple[list[Saw], list[NeverSaw]]:
    seen, clean = [], []
    for place in places:
        for number in card.numbers(place):
            path = place.version(number) / "lineage.json"
            try:
                lineage = card.read(path, Lineage)
            except (NotFound, Conflict):
                seen.append(Saw(place.name, number, None))
                continue
            count = max((lineage.people.get(each, 0) for each in wanted), default=0)
            if count or place.name in own:
                seen.append(Saw(place.name, number, count))
            else:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                clean.append(NeverSaw(place.name, number, lineage.examples, len(lineage.people), digest))
    return seen, clean
