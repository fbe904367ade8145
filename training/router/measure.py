"""The figures that judge a router: APGR and CPT as RouteLLM defines them, AUROC, calibration error, intervals.

Pure functions over arrays. Knows no model and no data set.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def curve(score: ArrayLike, weak: ArrayLike, strong: ArrayLike) -> tuple[Floats, Floats]:
    """Share of requests to the strong model and share of right answers, when the highest scores go to the strong one.

    `weak` and `strong` say of every prompt whether that model answers right. Equal scores are shared out evenly, so
    that the order of a file counts for nothing.
    """
    s, w, g = (np.asarray(x, float) for x in (score, weak, strong))
    order = np.argsort(-s, kind="stable")
    gain = (g - w)[order]
    _, group = np.unique(-s[order], return_inverse=True)
    mean = np.bincount(group, gain) / np.bincount(group)
    right = w.sum() + np.concatenate(([0.0], np.cumsum(mean[group])))
    return np.arange(len(s) + 1) / len(s), right / len(s)


def apgr(score: ArrayLike, weak: ArrayLike, strong: ArrayLike) -> float:
    """Average performance gap recovered over all shares of strong calls: 0 is all weak, 0.5 what chance gives."""
    share, right = curve(score, weak, strong)
    low, high = right[0], right[-1]
    return float((np.trapezoid(right, share) - low) / (high - low))


def cpt(score: ArrayLike, weak: ArrayLike, strong: ArrayLike, part: float) -> float:
    """The least share of calls to the strong model that recovers this part of the gap between the two."""
    share, right = curve(score, weak, strong)
    wanted = right[0] + part * (right[-1] - right[0])
    reached = np.flatnonzero(right >= wanted - 1e-12)
    return float(share[reached[0]])


def auroc(score: ArrayLike, positive: ArrayLike) -> float:
    """The probability that a positive example scores above a negative one; ties count half."""
    s, y = np.asarray(score, float), np.asarray(positive, bool)
    _, inverse, counts = np.unique(s, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n, m = int(y.sum()), int((~y).sum())
    return float((ranks[y].sum() - n * (n + 1) / 2) / (n * m))


def calibration_error(confidence: ArrayLike, right: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error: the gap between confidence and hits in equal-width bins, weighted by their size."""
    c, r = np.asarray(confidence, float), np.asarray(right, float)
    which = np.minimum((c * bins).astype(int), bins - 1)
    gaps = [abs(c[which == b].mean() - r[which == b].mean()) * np.mean(which == b) for b in np.unique(which)]
    return float(np.sum(gaps))


def interval(
    figure: Callable[..., float], *columns: ArrayLike, rounds: int = 400, seed: int = 7
) -> tuple[float, float]:
    """The middle 95 % of a figure over samples drawn with replacement from the rows of `columns`."""
    arrays = [np.asarray(c) for c in columns]
    rng = np.random.default_rng(seed)
    n = len(arrays[0])
    found = []
    for _ in range(rounds):
        rows = rng.integers(0, n, n)
        found.append(figure(*(a[rows] for a in arrays)))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def within(figure: Callable[..., float], *columns: ArrayLike) -> list[float]:
    """`interval` in four digits, for reports."""
    return [round(limit, 4) for limit in interval(figure, *columns)]


def accuracy(right: ArrayLike) -> float:
    """The share of hits."""
    return float(np.mean(np.asarray(right, float)))
