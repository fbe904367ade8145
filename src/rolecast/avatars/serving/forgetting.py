"""Forgets a person: what was trained on that person's messages answers no more, at once.

By lineage: each version says from whose messages it has learnt. One that does not say may have learnt from anybody, and
is withdrawn, too. What is being made just now is not released any more (`forgotten`). What a person asks next is who
never saw the messages, and how that is known: it is told for each.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from rolecast.avatars import example, files, places
from rolecast.avatars.evaluation import wordless
from rolecast.avatars.places import Place
from rolecast.avatars.serving import card, forgotten, versions
from rolecast.avatars.serving.card import Lineage
from rolecast.avatars.training import data
from rolecast.errors import Conflict, Invalid, NotFound


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
    unfinished: list[str] = []
    """Other avatars whose working files have messages of the person: what is made of those is not released."""


def forget(person: str, *, names: Sequence[str] = (), root: Path | None = None, erase: bool = True) -> Forgotten:
    """Withdraw whatever has learnt from that person: the id among the conversations, or the name of an avatar's person.

    With `erase`, weights and working files of what was withdrawn, or was being made, are deleted. Raises NotFound where
    nothing has learnt from anybody of that id or name; then no avatar is changed.
    """
    folder = root or places.root()
    wanted = {person, *names}
    own = _own(folder, wanted)
    forgotten.note(folder, wanted)
    every = list(_places(folder))
    for place in every:
        with card.changing(place):
            pass  # a release that began before that note is over now, and seen below
    released = list(card.released(folder))
    seen, clean = _sorted_out(released, wanted, own)
    shown = [each for each in clean if wanted & {*(_lineage(folder, each).judged_by or ())}]
    unfinished = [place for place in every if _in_work(place, wanted)]
    if not own and not unfinished and not shown and not any(each.examples for each in seen):
        text = f"No avatar has learnt from anybody with the id or name {person[:100]!r}."
        raise NotFound(text, param="person")
    gone = {place: [each.version for each in seen if each.avatar == place.name] for place in released}
    left = {place.name: versions.withdraw(place, lost, forgotten=True).current for place, lost in gone.items() if lost}
    if erase:
        for place, lost in gone.items():
            versions.erase(place, lost)
        _unsay(folder, clean, wanted)
        learnt = [place for place in every if place.name in left or place in unfinished]
        _erase_all([place.work for place in learnt], [place for place in every if place not in learnt])
    ended = sorted(name for name, current in left.items() if name in own or not current)
    making = sorted(place.name for place in unfinished if place.name not in left)
    return Forgotten(person, seen, sorted(left.keys() - own), ended, clean, making)


def _own(folder: Path, wanted: set[str]) -> set[str]:
    """The avatars of the person, whose ids are added to those wanted."""
    folded = {each.casefold() for each in wanted}
    own = set()
    for place in card.released(folder):
        with contextlib.suppress(Conflict):
            known = card.card(place)
            if folded & {known.title.casefold(), known.person.casefold(), known.name.casefold()} - {""}:
                own.add(place.name)
                wanted.update([known.person] if known.person else [])
    return own


def _places(folder: Path) -> Iterator[Place]:
    """All avatars, released or not."""
    for each in sorted(folder.iterdir()):
        with contextlib.suppress(Invalid):
            if each.is_dir() and not each.is_symlink():
                yield Place(each.name, folder)


def _in_work(place: Place, wanted: set[str]) -> bool:
    """Whether its working files have a message of one of them, or cannot be read."""
    for path in (place.extracted, *(place.dataset / name for name in ("train.jsonl", "valid.jsonl", "test.jsonl"))):
        try:
            if path.exists() and any(not wanted.isdisjoint(each.metadata.people) for each in example.read(path)):
                return True
        except (Invalid, OSError):
            return True
    return False


def _erase_all(own: Sequence[Path], stale: Sequence[Place]) -> None:
    """Delete working files, also those on another disk that a link leads to, and trainings of datasets that are there
    no more: nobody knows who was in those. What is being trained now says by itself, later, what it is of.

    Raises Conflict for all that stays, when all else is gone.
    """
    stays = [each for each in own if not _erased(each)]
    for place in stale:
        if not place.training.exists() or data.is_learnt_of(place.training, place.dataset):
            continue
        try:
            with files.making(place.folder):
                stays += [each for each in (place.training, place.export, place.evaluation) if not _erased(each)]
        except BlockingIOError:
            pass
        except OSError:
            stays.append(place.training)
    if stays:
        named = ", ".join(map(str, stays))
        raise Conflict(f"All of it is withdrawn, but this cannot be deleted; delete it yourself: {named}.")


def _erased(folder: Path) -> bool:
    try:
        files.erase(folder)
    except OSError:
        return False
    return True


def _lineage(folder: Path, version: NeverSaw) -> Lineage:
    return card.read(Place(version.avatar, folder).version(version.version) / "lineage.json", Lineage)


def _unsay(folder: Path, clean: Sequence[NeverSaw], wanted: set[str]) -> None:
    """Take what was said out of reports that show what they were judged by, which they have not learnt from."""
    for each in clean:
        by = _lineage(folder, each).judged_by
        if by is None or wanted & {*by}:
            wordless.make(Place(each.avatar, folder).version(each.version))


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
