"""Labels of the user's own, learned from about ten examples each while the configuration is read.

Ridge over the similarity of prompts (shared buckets, nearness of meaning, likeness of what the model's own heads say),
solved once for the few examples; a prompt then costs three small products. The words of a label's name are an example
more. Knows the learned model's view of a text, and no configuration.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rolecast.routing.features import BUCKETS
from rolecast.routing.learned import Floats, Learned, Opinion, Sight

MEANING_PULL = 3.0
"""How much nearness of meaning counts beside shared buckets ..."""
PLAIN_PULL = 6.0
"""... and where heads say nothing."""
HEADS = ("category", "domain")
HEADS_PULL = 2.0
"""How much it counts that these heads say alike."""
NEAR_WORDS = 0.15
"""So much of a prompt's weight in buckets that examples have ..."""
NEAR_MEANING = 0.5
"""... or so near in meaning to one of them, and what the heads say counts in full; of less a share."""
FAR = 0.05
"""Below this share no example is near, and nothing to be sure of."""
STIFFNESS = 0.5
SURE = 0.5
"""The default confidence below which a label is no opinion."""
MOST_EXAMPLES = 2000
"""Of all labels together: beyond it, solving would hold up a reload."""


class Labels:
    """One set of labels and what tells them apart."""

    def __init__(
        self,
        name: str,
        model: Learned,
        examples: Mapping[str, Sequence[str]],
        sure: float = SURE,
        *,
        plain: bool = False,
    ) -> None:
        """Learn the labels. Raises ValueError for fewer than two labels, one without examples, or too many.

        `plain` is for texts that are no prompts, frames of questions say: neither heads nor the label's name count.
        """
        self.name = name
        self.labels = tuple(examples)
        self._sure = sure
        texts = [text for label in self.labels for text in examples[label]]
        _check(name, examples, len(texts))
        names = [] if plain else [label.replace("_", " ").replace("-", " ") for label in self.labels]
        known = len(texts)
        texts += names
        self._meaning_pull, self._heads_pull = (PLAIN_PULL, 0.0) if plain else (MEANING_PULL, HEADS_PULL)
        own = np.arange(len(self.labels))
        truth = np.concatenate((np.repeat(own, [len(examples[label]) for label in self.labels]), own[: len(names)]))
        sights = [model.look(text) for text in texts]
        told = [model.heads[head] for head in HEADS]
        self._columns = np.concatenate([np.arange(h.start, h.start + len(h.labels)) for h in told])
        self._middle: Floats = np.mean([s.scores[self._columns] for s in sights], axis=0)
        targets = np.where(truth[:, None] == np.arange(len(self.labels)), 1.0, -1.0 / (len(self.labels) - 1))
        meaning = np.stack([s.meaning for s in sights]).astype(np.float64)
        said = np.stack([self._said(s) for s in sights]).astype(np.float64)
        likeness = _shared(sights) + self._meaning_pull * meaning @ meaning.T + self._heads_pull * said @ said.T
        solver = np.linalg.inv(likeness + STIFFNESS * np.eye(len(texts)))
        pull = np.asarray(solver @ targets, np.float64)
        # What the solution would say of each example had it not been among the examples; names are no prompts.
        apart = (targets - pull / np.diag(solver)[:, None])[:known]
        self._temperature = _temperature(apart, truth[:known])
        self._meaning = (self._meaning_pull * meaning.T @ pull).astype(np.float32)
        self._heads = (self._heads_pull * said.T @ pull).astype(np.float32)
        self._row_of, self._rows = _rows(sights, pull)
        self._examples: Floats = np.stack([s.meaning for s in sights[:known]])

    def opinion(self, sight: Sight) -> Opinion:
        """Which label a prompt has, and how sure that is."""
        at = self._row_of[sight.about[0]]
        near = self._near(sight, at)
        said = self._said(sight) @ self._heads
        raw = sight.about[1] @ self._rows[at] + sight.meaning @ self._meaning + near * said
        odds = _odds(raw.astype(np.float64)[None], self._temperature)[0]
        order = np.argsort(-odds, kind="stable").tolist()
        best = float(odds[order[0]])
        ranked = {self.labels[i]: float(odds[i]) for i in order}
        sure = best >= self._sure and sight.telling and near >= FAR
        return Opinion(self.name, self.labels[order[0]], best, sure, ranked)

    def _near(self, sight: Sight, at: NDArray[np.int32]) -> float:
        """How near the examples are, 0 to 1, by buckets that one of them has or by meaning."""
        weights = sight.about[1]
        shared = weights[at > 0]
        words = float(shared @ shared) / max(float(weights @ weights), 1e-6)
        meaning = float((self._examples @ sight.meaning).max())
        return min(max(words / NEAR_WORDS, meaning / NEAR_MEANING), 1.0)

    def _said(self, sight: Sight) -> Floats:
        """What the model's own heads say of a text, as far as it differs from what they say of all examples."""
        apart: Floats = sight.scores[self._columns] - self._middle
        return apart / np.float32(max(float(apart @ apart) ** 0.5, 1e-6))


def _check(name: str, examples: Mapping[str, Sequence[str]], count: int) -> None:
    if len(examples) < 2:
        raise ValueError(f"The labels {name!r} are {len(examples)}; it takes at least two to tell apart.")
    for label, texts in examples.items():
        if not texts:
            raise ValueError(f"The label {label!r} of {name!r} has no examples; give it about ten prompts.")
    if count > MOST_EXAMPLES:
        raise ValueError(f"The labels {name!r} have {count} examples; at most {MOST_EXAMPLES} are taken.")


def _shared(sights: Sequence[Sight]) -> NDArray[np.float64]:
    """How much of the buckets each two share."""
    found = np.zeros((len(sights), len(sights)))
    buckets = np.concatenate([s.about[0] for s in sights])
    weights = np.concatenate([s.about[1] for s in sights])
    owners = np.repeat(np.arange(len(sights)), [len(s.about[0]) for s in sights])
    row = np.zeros(BUCKETS, np.float32)
    for i, one in enumerate(sights):
        row[one.about[0]] = one.about[1]
        found[i] += np.bincount(owners, row[buckets] * weights, len(sights))
        row[one.about[0]] = 0
    return found


def _rows(sights: Sequence[Sight], pull: NDArray[np.float64]) -> tuple[NDArray[np.int32], Floats]:
    """For every bucket the row of its weights; row 0 is all zeros, for what no example has."""
    used = np.unique(np.concatenate([s.about[0] for s in sights]))
    row_of = np.zeros(BUCKETS, np.int32)
    row_of[used] = np.arange(1, len(used) + 1)
    rows = np.zeros((len(used) + 1, pull.shape[1]), np.float32)
    for sight, weight in zip(sights, pull, strict=True):
        rows[row_of[sight.about[0]]] += sight.about[1][:, None] * weight.astype(np.float32)
    return row_of, rows


def _odds(raw: NDArray[np.float64], heat: float) -> NDArray[np.float64]:
    made: NDArray[np.float64] = np.exp((raw - raw.max(1, keepdims=True)) / heat)
    made /= made.sum(1, keepdims=True)
    return made


def _temperature(raw: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """The one that makes the right labels likeliest on examples left out, searched on a fixed grid."""
    grid = np.geomspace(0.02, 2, 40)
    own = np.arange(len(truth))
    return float(min(grid, key=lambda heat: -np.log(_odds(raw, heat)[own, truth] + 1e-9).mean()))
