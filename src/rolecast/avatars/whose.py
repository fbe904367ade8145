"""Whose avatar it is: who was extracted, by which of their names a step may ask, and what is typed for a step."""

import shlex
from collections.abc import Iterator

import msgspec

from rolecast.avatars.called import is_called
from rolecast.avatars.conversation import Person
from rolecast.avatars.places import Place, slug
from rolecast.errors import UNREADABLE, Invalid, counted

PEOPLE = "people.json"


class People(msgspec.Struct):
    """Whose replies were extracted, and who else is in those conversations."""

    person: Person | None = None
    people: list[Person] = []
    asked: str = ""
    """How the person was called when they were extracted."""
    examples: int = 0
    chats: int = 0
    at: float = 0.0
    """When the conversations were read: who is forgotten later is in them nevertheless."""

    @property
    def name(self) -> str:
        return self.person.name if self.person else ""

    @property
    def id(self) -> str:
        return self.person.id if self.person else ""


def people_of(place: Place) -> People:
    """Whose replies were extracted for that avatar; nobody's where none were."""
    path = place.work / PEOPLE
    try:
        return msgspec.json.decode(path.read_bytes(), type=People) if path.is_file() else People()
    except UNREADABLE:
        return People()


def asked_before(place: Place, person: str) -> str:
    """The person in the words of the extraction, so that a step is done for them whichever of their names is said:
    the id, the name in any case, or the avatar's."""
    known = people_of(place)
    names = (known.id, known.name, known.asked, place.name)
    return known.asked if known.asked and is_called(person, names) else person


def command(step: str, person: str, name: str) -> str:
    """What is typed for a step of that avatar: its name alone, where that says whose it is."""
    try:
        alone = slug(person) == name
    except Invalid:
        alone = False
    return f"rolecast avatar {step} {name if alone else f'{shlex.quote(person)} --name {name}'}"


def sentences(place: Place, steps: tuple[str, ...]) -> tuple[str, ...]:
    """What is to be known of the steps that were asked for."""
    return tuple(_sentences(place, steps))


def _sentences(place: Place, steps: tuple[str, ...]) -> Iterator[str]:
    from rolecast.avatars.dataset import report

    known = people_of(place)
    if "extract" in steps and known.examples:
        yield f"Replies of {known.name or known.asked}: {known.examples}, in {counted(known.chats, 'chat')}."
    if "dataset" in steps and (made := report.read(place.dataset)) is not None:
        yield from report.sentences(made)
