"""Intervals by the bootstrap: what was measured is drawn again, with replacement, 2,000 times. Seeded."""

from collections.abc import Sequence
from typing import Any

from rolecast.avatars.evaluation.figures import Interval

ROUNDS = 2000


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def of_mean(values: Sequence[float], seed: int = 0) -> Interval:
    """Of the mean of values; of one value or none it is that value."""
    return of_difference(values, (), seed)


def of_difference(one: Sequence[float], other: Sequence[float], seed: int = 0) -> Interval:
    """Of the difference of two means that were measured apart from each other (Efron's percentiles)."""
    import numpy as np

    chance = np.random.default_rng(seed)

    def drawn(values: Sequence[float]) -> Any:
        if not values:
            return np.zeros(ROUNDS)
        each = np.asarray(values, dtype=np.float64)
        return each[chance.integers(0, len(each), (ROUNDS, len(each)))].mean(axis=1)

    low, high = np.percentile(drawn(one) - drawn(other), [2.5, 97.5])
    return Interval(float(low), float(high))
