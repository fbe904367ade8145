"""What a dataset was made of: which messages are in which example, and who wrote or is mentioned in them.

It answers two questions: what must be withdrawn and made again when somebody wants to be forgotten, and what never saw
them.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from rolecast.avatars import example
from rolecast.errors import UNREADABLE, Invalid

FILE = "lineage.json"
PARTS = ("train.jsonl", "valid.jsonl", "test.jsonl")


class Origins(msgspec.Struct, frozen=True):
    """Of one dataset. All ids are those of the source."""

    person: str
    """Whose replies are learnt."""
    examples: dict[str, tuple[str, ...]]
    """The messages of each example, by its id."""
    wrote: dict[str, list[str]]
    """The examples with messages of somebody, by their id."""
    mentioned: dict[str, list[str]]
    """The examples in which somebody is named, by their id; a pseudonym stands there."""


class Seen(msgspec.Struct, frozen=True):
    """What a dataset has of somebody: ids of examples."""

    wrote: tuple[str, ...] = ()
    mentioned: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.wrote or self.mentioned)


def write(folder: Path, origins: Origins) -> None:
    """Keep it beside the dataset, for its owner alone."""
    part = folder / (FILE + ".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(origins))
    part.replace(folder / FILE)


def read(folder: Path) -> Origins:
    """The lineage of a dataset. Raises Invalid for a folder without one."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Origins)
    except OSError as error:
        raise Invalid(f"{folder} has no {FILE}; build the dataset again.") from error
    except UNREADABLE as error:
        raise Invalid(f"{folder / FILE} is damaged; build the dataset again.") from error


def seen(folder: Path, person: str) -> Seen:
    """What a dataset has of somebody, by their id.

    The lineage is held against the files themselves: an example that it does not know proves nothing, and raises
    Invalid. Planted ones have no messages and are nobody's.
    """
    origins = read(folder)
    for name in PARTS:
        if not (folder / name).exists():
            continue
        for each in example.read(folder / name):
            if each.metadata.message_ids and origins.examples.get(each.example_id) != each.metadata.message_ids:
                raise Invalid(f"{folder / name} has examples that {FILE} does not know; build the dataset again.")
            if person in each.metadata.people and each.example_id not in origins.wrote.get(person, ()):
                raise Invalid(f"{folder / FILE} does not fit {name}; build the dataset again.")
    return Seen(tuple(origins.wrote.get(person, ())), tuple(origins.mentioned.get(person, ())))


def unseen(folders: Iterable[Path], person: str) -> list[Path]:
    """Those datasets that have nothing of somebody: neither written by them nor naming them. Raises as `seen` does."""
    return [folder for folder in folders if not seen(folder, person)]
