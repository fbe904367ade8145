"""The examples that are learnt and those that are held out, from a dataset's folder or a single file."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from rolecast.avatars import example
from rolecast.avatars.example import Example
from rolecast.errors import Invalid

HELD_OUT = 0.1
"""Share of the conversations of a single file that is held out."""
LEARNT_OF = "dataset.digest"
"""Beside a training: the digest of the examples that it learns from."""


class Split(msgspec.Struct, frozen=True):
    """Both parts. `valid` may be empty: then nothing says when to end."""

    train: tuple[Example, ...]
    valid: tuple[Example, ...]

    @property
    def digest(self) -> str:
        """What tells whether two trainings are of the same examples."""
        found = hashlib.sha256()
        for part in (self.train, self.valid):
            for each in part:
                found.update(msgspec.json.encode(each))
            found.update(b"\0")
        return found.hexdigest()[:32]


def load(dataset: Path, seed: int) -> Split:
    """A folder with train.jsonl and, if it likes, valid.jsonl; or a file, which is split by conversation.

    Raises Invalid with the line that is no example, and when nothing is there to learn from.
    """
    if dataset.is_dir():
        train = tuple(example.read(dataset / "train.jsonl"))
        valid = dataset / "valid.jsonl"
        split = Split(train, tuple(example.read(valid)) if valid.exists() else ())
    elif dataset.exists():
        split = _split(tuple(example.read(dataset)), seed)
    else:
        raise Invalid(f"{dataset} is not there; make a dataset first (`rolecast avatar dataset`).")
    if not split.train:
        raise Invalid(f"{dataset} holds no example to learn from; does the person's name fit the conversations?")
    return split


def is_learnt_of(training: Path, dataset: Path) -> bool:
    """Whether all that lies in the folder of a training learnt of that dataset, as it is now; False = nobody knows."""
    try:
        return (training / LEARNT_OF).read_text() == load(dataset, 0).digest
    except (OSError, Invalid, UnicodeDecodeError):
        return False


def _split(examples: Sequence[Example], seed: int) -> Split:
    """Whole conversations by the digest of their name: none is in both parts, and the same ones each time."""
    held = {each: _part(f"{seed} {_conversation(each)}") < HELD_OUT for each in examples}
    train = tuple(each for each in examples if not held[each])
    valid = tuple(each for each in examples if held[each])
    return Split(train, valid) if train else Split(tuple(examples), ())


def _conversation(each: Example) -> str:
    return each.metadata.sequence_id or each.example_id.rsplit("_", 1)[0]


def _part(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
