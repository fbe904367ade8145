"""Which examples are learnt together: examples of about one length, in an order that a seed fixes. Pure but for numpy.

Padding short messages to the longest of all would cost twenty times the work; in buckets of like length it costs a few
hundredths, and which examples meet still differs from epoch to epoch.
"""

import hashlib
import math
import random
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from rolecast.avatars.training.engine import Batch

BUCKET = 16
"""Batches whose examples are sorted by length together."""
MULTIPLE = 8
"""Lengths are padded to a multiple of it: fewer shapes."""


class Tokens(msgspec.Struct, frozen=True):
    """A chat in tokens, of one reply or several."""

    ids: tuple[int, ...]
    replies: tuple[tuple[int, int], ...]
    """From and to, of what is learnt; all else is only read. The first token is never learnt: nothing is before it."""

    @property
    def learnt(self) -> int:
        return sum(end - max(1, start) for start, end in self.replies)

    def all_learnt(self) -> "Tokens":
        """The same, with every token learnt."""
        return Tokens(self.ids, ((1, len(self.ids)),))


def order(lengths: Sequence[int], batch: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of an epoch, as indexes; every example exactly once."""
    chance = random.Random(f"{seed} {epoch}")  # noqa: S311 - it is to be foreseen
    mixed = list(range(len(lengths)))
    chance.shuffle(mixed)
    found: list[list[int]] = []
    for first in range(0, len(mixed), batch * BUCKET):
        some = sorted(mixed[first : first + batch * BUCKET], key=lambda each: lengths[each])
        found += [some[each : each + batch] for each in range(0, len(some), batch)]
    chance.shuffle(found)
    return found


def rows(examples: Sequence[Tokens], batch: int) -> int:
    """How many chats hold about `batch` replies."""
    return max(1, round(batch * len(examples) / max(1, sum(len(each.replies) for each in examples))))


def steps(batches: int, accumulation: int, epochs: float) -> int:
    """Steps of a training: an epoch ends with a step, even of fewer batches."""
    each = math.ceil(batches / accumulation)
    return max(1, math.ceil(round(epochs * each, 6)))


def together(examples: Sequence[Tokens], pad: int) -> Batch:
    """A batch of examples, padded on the right."""
    longest = -(-max(len(each.ids) for each in examples) // MULTIPLE) * MULTIPLE
    tokens = np.full((len(examples), longest), pad, dtype=np.int64)
    learnt = np.zeros((len(examples), longest), dtype=np.bool_)
    for row, each in enumerate(examples):
        tokens[row, : len(each.ids)] = each.ids
        for start, end in each.replies:
            learnt[row, max(1, start) : end] = True
    return Batch(tokens, learnt)


def digest(examples: Iterable[Tokens]) -> str:
    """What tells whether two trainings have the same data."""
    found = hashlib.sha256()
    for each in examples:
        ends = [at for reply in each.replies for at in reply]
        found.update(np.asarray([len(ends), *ends, len(each.ids), *each.ids], dtype=np.int64).tobytes())
    return found.hexdigest()[:32]
