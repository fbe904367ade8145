"""Chooses the next token: repetition penalty, temperature, top-k, top-p, in that order, as Hugging Face defines them.

Pure: logits in, a distribution or a token out. numpy alone, so that it is the same on every engine.
"""

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import msgspec

from rolecast.errors import Invalid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Sampling(msgspec.Struct, frozen=True):
    """How tokens are chosen. Raises Invalid for values that mean nothing."""

    temperature: float = 0.7
    """0 = always the likeliest token (after the penalty)."""
    top_k: int = 40
    """So many of the likeliest; 0 = all."""
    top_p: float = 0.95
    """Of those, the fewest likeliest whose probabilities sum up to this; 1 = all."""
    repetition_penalty: float = 1.1
    """Logits of tokens that were there before are divided by it when positive, multiplied when negative (Keskar et
    al., CTRL); 1 = none."""
    seed: int | None = None
    """The same seed gives the same text; None = another one each time."""

    def __post_init__(self) -> None:
        for name, holds, allowed in (
            ("temperature", math.isfinite(self.temperature) and self.temperature >= 0, "0 or more"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            (
                "repetition_penalty",
                math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0,
                "above 0 (1 = none)",
            ),
        ):
            if not holds:
                raise Invalid(f"{name} is {getattr(self, name)!r}; use {allowed}.", param=name)


def distribution(
    logits: "NDArray[Any]", seen: Collection[int], how: Sampling
) -> "tuple[NDArray[np.int64], NDArray[np.float64]]":
    """The tokens that may come next, likeliest first (of equals, the lower number), and their probabilities.

    `logits` is (vocabulary,) and is not changed; `seen` are the tokens of prompt and reply so far. Raises Invalid for
    logits among which there is nothing to choose: a model that went astray.
    """
    import numpy as np

    values = penalised(logits, seen, how.repetition_penalty)
    best = int(values.argmax())
    if not np.isfinite(values[best]):
        raise Invalid("The model gives no numbers: its training went astray; train it again with a lower rate.")
    if how.temperature == 0:
        return np.array([best]), np.ones(1)
    tokens = _likeliest(values, how.top_k)
    shifted = values[tokens] - values[best]
    # a temperature near 0 makes infinities of differences, and of no difference none
    with np.errstate(over="ignore"):
        weights = np.exp(np.where(shifted == 0, 0.0, shifted / how.temperature))
    chances = weights / weights.sum()
    if how.top_p < 1:
        kept = int(np.searchsorted(chances.cumsum(), how.top_p, side="left")) + 1
        tokens, chances = tokens[:kept], chances[:kept]
        chances = chances / chances.sum()
    return tokens, chances


def penalised(logits: "NDArray[Any]", seen: Collection[int], penalty: float) -> "NDArray[np.float64]":
    """A copy of the logits in which each token seen, however often, is less likely."""
    import numpy as np

    values = logits.astype(np.float64)
    if penalty != 1 and seen:
        at = np.fromiter(set(seen), np.int64)
        values[at] = np.where(values[at] > 0, values[at] / penalty, values[at] * penalty)
    return values


def choose(logits: "NDArray[Any]", seen: Collection[int], how: Sampling, chance: "np.random.Generator") -> int:
    """The next token."""
    tokens, chances = distribution(logits, seen, how)
    if len(tokens) == 1:
        return int(tokens[0])
    at = int(chances.cumsum().searchsorted(chance.random(), side="right"))
    return int(tokens[min(at, len(tokens) - 1)])


def _likeliest(values: "NDArray[np.float64]", count: int) -> "NDArray[np.int64]":
    """The numbers of the greatest values, greatest first; 0 = of all."""
    import numpy as np

    if not 0 < count < len(values):
        return np.argsort(-values, kind="stable")
    # a partition is many times quicker than a sort; those equal to the last of them are chosen by number
    least = np.partition(values, len(values) - count)[len(values) - count]
    around = np.flatnonzero(values >= least)
    return around[np.argsort(-values[around], kind="stable")][:count]
