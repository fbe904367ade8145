"""Fits heads over one space of features and judges each by cross-validation, calibration included.

Linear support vectors for labels, ridge for the gain of the stronger model. Everything is seeded and runs on one
thread. Knows no file format.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matrix import Floats, counts, look, rarity, shapes, weighted
from noise import careless, damage
from numpy.typing import NDArray
from scipy import optimize, sparse
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC
from vocabulary import spelling

from rolecast.routing.features import SHAPE, Seen, word_hash

FOLDS = 5
SEED = 11
DAMAGED = (0.1,)
"""Of a further copy of a text to learn from: the share of its letters that is damaged."""
SHAPE_PULL = 0.7
"""How strongly the shape of a text counts beside its words."""


class Words(NamedTuple):
    """Vectors of whole words, by ascending hash."""

    hashes: NDArray[np.uint64]
    vectors: NDArray[np.int8]
    names: list[str]
    """The words, in no order that the other two know."""

    @classmethod
    def load(cls, path: object) -> "Words":
        with np.load(path, allow_pickle=False) as file:  # type: ignore[arg-type]
            names, vectors = file["words"].tobytes().decode().split("\n"), file["vectors"]
        hashes = np.array([word_hash(w) for w in names], np.uint64)
        hashes, first = np.unique(hashes, return_index=True)
        return cls(hashes, vectors[first], names)

    def mean(self, seen: list[Seen]) -> Floats:
        """As `Learned.meaning`, for many."""
        found = np.zeros((len(seen), self.vectors.shape[1]), np.float32)
        for i, one in enumerate(seen):
            at = np.searchsorted(self.hashes, one.words)
            at[at == len(self.hashes)] = 0
            found[i] = self.vectors[at[self.hashes[at] == one.words]].sum(0, dtype=np.int32)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)


class Space:
    """Turns texts into rows: sparse buckets, then the meaning, then the shape."""

    def __init__(self, texts: list[str], words: Words) -> None:
        self.words = words
        self.spelling = spelling(texts, words.names)
        self.idf = rarity(counts(look(self.mended(texts)))).astype(np.float16).astype(np.float32)

    def mended(self, texts: list[str]) -> list[str]:
        """The texts as they are looked at."""
        return [self.spelling.mended(t) for t in texts]

    def rows(self, texts: list[str]) -> sparse.csr_matrix:
        seen = look(self.mended(texts))
        dense = np.hstack((self.words.mean(seen), shapes(seen) * SHAPE_PULL))
        return sparse.hstack([weighted(counts(seen), self.idf), sparse.csr_matrix(dense)]).tocsr().astype(np.float32)


class Fitted(NamedTuple):
    """The columns of one head: scores are `rows @ weights + bias`."""

    labels: list[str]
    weights: Floats
    bias: Floats
    temperature: float

    def scores(self, rows: sparse.csr_matrix) -> NDArray[np.float64]:
        return np.asarray(rows @ self.weights + self.bias, np.float64)


class Judged(NamedTuple):
    """What cross-validation said: one row per example, from the fold that had not seen it."""

    scores: NDArray[np.float64]
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    """Calibrated on the other half of the examples than the one they belong to."""


def fit(rows: sparse.csr_matrix, truth: NDArray[np.int64], labels: list[str], strength: float) -> Fitted:
    """One column per label (one in all where there are two), each against all others."""
    machine = LinearSVC(C=strength, tol=2e-2, class_weight="balanced", random_state=SEED, max_iter=400)
    machine.fit(rows, truth)
    return Fitted(labels, machine.coef_.T.astype(np.float32), machine.intercept_.astype(np.float32), 1.0)


def cross_validate(
    rows: sparse.csr_matrix,
    more: "Copies",
    truth: NDArray[np.int64],
    labels: list[str],
    strength: float,
    also: Callable[[Fitted, NDArray[np.int64]], None] | None = None,
) -> Judged:
    """Score every row by a model of the other folds, which also learns from the damaged copies of its own rows.

    `also` is called with the model of each fold and the rows that it has not seen.
    """
    scores = np.zeros((len(truth), len(labels) if len(labels) > 2 else 1))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(truth, truth):
        model = fit(*both(rows, more, truth, train), labels, strength)
        scores[test] = model.scores(rows[test])
        if also:
            also(model, test)
    half = np.random.default_rng(SEED).random(len(truth)) < 0.5
    odds = np.zeros((len(truth), len(labels)))
    for mine, other in ((half, ~half), (~half, half)):
        odds[mine] = probabilities(scores[mine], temperature(scores[other], truth[other]))
    return Judged(scores, truth, odds)


class Copies(NamedTuple):
    """Damaged copies of rows, to learn from besides."""

    rows: sparse.csr_matrix
    of: NDArray[np.int64]
    """Which row each is a copy of."""


def both(
    rows: sparse.csr_matrix, more: Copies, truth: NDArray[np.int64], which: NDArray[np.int64]
) -> tuple[sparse.csr_matrix, NDArray[np.int64]]:
    """The rows to learn from and their damaged copies."""
    kept = np.flatnonzero(np.isin(more.of, which))
    return sparse.vstack([rows[which], more.rows[kept]]).tocsr(), np.concatenate((truth[which], truth[more.of[kept]]))


def probabilities(scores: NDArray[np.float64], heat: float) -> NDArray[np.float64]:
    """Of every label; a single column is the second of two labels against the first."""
    raw = np.hstack((np.zeros_like(scores), scores)) if scores.shape[1] == 1 else scores
    odds = np.exp((raw - raw.max(1, keepdims=True)) / heat)
    return odds / odds.sum(1, keepdims=True)


def temperature(scores: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """The one that makes the right labels likeliest."""

    def surprise(log_heat: float) -> float:
        odds = probabilities(scores, float(np.exp(log_heat)))
        return -float(np.log(odds[np.arange(len(truth)), truth] + 1e-9).mean())

    return float(np.exp(optimize.minimize_scalar(surprise, bounds=(-4, 2), method="bounded").x))


def damaged(texts: list[str]) -> list[str]:
    """Copies of every text, the same in every run: all carelessly typed, then all damaged."""
    rng = random.Random(SEED)
    return [careless(t, rng) for t in texts] + [damage(t, share, rng) for share in DAMAGED for t in texts]


def unscaled(weights: Floats) -> Floats:
    """The weights for shapes as the gateway sees them, which knows no SHAPE_PULL."""
    made = weights.copy()
    made[-SHAPE:] *= SHAPE_PULL
    return made
