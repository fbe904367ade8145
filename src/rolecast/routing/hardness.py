"""How hard a prompt is, beyond its words: the part of the difficulty heads that is not linear in what is seen.

Each head has two columns: one for questions with answers to choose from, one for all others. To the scores of the
words come those of a vector of meaning, shape and form: linear, and for the former by nearness to points (Nystroem's
approximation of Gaussian kernel ridge, Williams and Seeger 2001). Knows no label and reads no file.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rolecast.routing.features import SHAPE
from rolecast.routing.form import FORM

Floats = NDArray[np.float32]

FARTHEST = 4.0
"""Standard deviations: what is odder than that counts no more."""
MEANING_PULL = 3.0
SHAPE_PULL = 0.7
PARTS = ("hard_mean", "hard_scale", "hard_linear", "hard_points", "hard_pull")
"""Its arrays in the model's file, beside the number `hard_width`."""


class Hardness:
    """Scores of the columns for difficulty from the dense part of a sight."""

    def __init__(self, parts: Mapping[str, NDArray[Any]]) -> None:
        """Raises KeyError for a part that is missing and ValueError for one of a wrong size."""
        self._mean, self._scale, self._linear, points, self._pull = (parts[name].astype(np.float32) for name in PARTS)
        self._points = np.ascontiguousarray(points.T)
        self._lengths = (points * points).sum(1)
        self._width = float(parts["hard_width"])
        wide = len(self._linear)
        if (
            len(self._mean) != SHAPE + FORM
            or len(self._scale) != SHAPE + FORM
            or points.shape[1] != wide
            or self._pull.shape != (len(points), self._linear.shape[1])
        ):
            raise ValueError("The router's file does not fit the features of this version; train it again.")

    def scores(self, meaning: Floats, shape: Floats, form: Floats, choices: bool) -> Floats:
        """Of every column; the points count only for a question with answers to choose from."""
        place = vector(meaning, np.concatenate((shape, form)), self._mean, self._scale)
        found: Floats = place @ self._linear
        if choices:
            found += near(place @ self._points, place @ place, self._lengths, self._width) @ self._pull
        return found


def vector(meaning: Floats, rest: Floats, mean: Floats, scale: Floats) -> Floats:
    """The place of texts among others: meaning, then shape and form in standard deviations. Works on rows too."""
    standard = np.clip((rest - mean) * scale, -FARTHEST, FARTHEST)
    standard[..., :SHAPE] *= SHAPE_PULL
    return np.concatenate((meaning * MEANING_PULL, standard), axis=-1)


def near(products: Floats, length: Any, lengths: Floats, width: float) -> Floats:
    """How near places are to points, 1 to 0: exp(-distance^2 / width), from their products and squared lengths."""
    made: Floats = np.exp((products * 2 - length - lengths) / width)
    return made
