"""What became of conversations, in numbers; no text of them is in it."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from rolecast.errors import UNREADABLE

FILE = "report.json"
FEW = 100
"""Replies below which little can be learnt."""


class Left(msgspec.Struct, frozen=True):
    """Examples that are not learnt from, by the reason."""

    others: int = 0
    """Replies of somebody else."""
    nothing: int = 0
    """Nothing was typed: media, notices, commands, what was pasted."""
    unanswered: int = 0
    """Nobody had said anything before."""
    private: int = 0
    """Nothing is left of them when what is private is taken out."""
    same: int = 0
    """The same reply to the same message."""
    alike: int = 0
    """Nearly the same reply was said before."""
    short: int = 0
    """A short reply that has its share already."""
    repeated: int = 0
    """With what may be a secret, for it recurs."""
    over: int = 0
    """More than are wanted."""


WORDS = {
    "others": "of somebody else",
    "nothing": "with nothing that was typed: media, notices, commands, pasted texts",
    "unanswered": "to nobody",
    "private": "with nothing but what is private",
    "same": "said before in the same words",
    "alike": "said before in nearly the same words",
    "short": "as short as others that have their share",
    "repeated": "with what recurs as a secret does",
    "over": "more than are wanted",
}
"""Of each reason, how it is told to people, after a number."""


class DatasetReport(msgspec.Struct, frozen=True):
    """What a dataset is made of."""

    person: str
    read: int
    train: int
    valid: int
    test: int
    left: Left
    replaced: dict[str, int]
    """How much of each kind was replaced, in messages that differ."""
    people: int
    """Who have a pseudonym."""
    chats: int
    conversations: int
    scrubbed: bool
    notes: tuple[str, ...] = ()
    """What a person should know before training."""
    seconds: float = 0.0

    @property
    def kept(self) -> int:
        """All examples of it."""
        return self.train + self.valid + self.test


def notes(kept: int, conversations: int, *, scrubbed: bool, held_out: int) -> tuple[str, ...]:
    """What to know before training, each with what to do about it."""
    found: list[str] = []
    if kept < FEW:
        found.append(f"Only {kept} replies to learn from; bring more conversations, or take a longer time of them.")
    if not scrubbed:
        found.append("Nothing private was taken out; no avatar of it passes the gate. Build it with `scrub` for that.")
    if not held_out:
        found.append("There is too little to hold anything out, so nothing can be judged; bring more conversations.")
    elif conversations < 3:
        found.append("It is one conversation, cut into pieces: held-out replies are close to those learnt from.")
    return tuple(found)


WHY: dict[str, str] = {
    "others": "of somebody else",
    "nothing": "nothing was typed",
    "unanswered": "nobody had said anything before",
    "private": "nothing is left without what is private",
    "same": "said before to the same message",
    "alike": "nearly alike",
    "short": "short ones that have their share",
    "repeated": "with what may be a secret, for it recurs",
    "over": "more than are wanted",
}
"""The reasons for people."""


def sentences(report: DatasetReport) -> Iterator[str]:
    """What became of the replies, for people, and what they should know before training."""
    yield f"{report.train} to learn from, {report.valid} and {report.test} held out."
    counts = {why: count for name, why in WHY.items() if (count := getattr(report.left, name))}
    if counts:
        yield f"{sum(counts.values())} left out: {_listed(counts)}."
    if report.replaced:
        yield f"{sum(report.replaced.values())} replaced: {_listed(report.replaced)}."
    yield from report.notes


def _listed(counts: Mapping[str, int]) -> str:
    return "; ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda each: -each[1]))


def read(folder: Path) -> DatasetReport | None:
    """What a folder's dataset is made of; None where that is not told."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=DatasetReport)
    except (OSError, *UNREADABLE):
        return None


def write(folder: Path, report: DatasetReport) -> None:
    """The last file of a dataset: with it, the dataset is whole."""
    part = folder / (FILE + ".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    part.replace(folder / FILE)
