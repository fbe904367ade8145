"""The learning rate of each step, and when to end early. Pure."""

import math
from typing import Literal

DEFAULT = {"lora": 1e-3, "scratch": 5e-4}
EPOCHS = {"lora": 2.0, "scratch": 3.0}
FLOOR = 0.0
"""Part of the highest rate that is left at the end."""


def rate(step: int, steps: int, highest: float, warmup: int, kind: Literal["cosine", "linear", "constant"]) -> float:
    """The rate of a step (the first is 0) of `steps`: up to `highest` in a line over `warmup` steps, then down by half
    a cosine (Loshchilov and Hutter, SGDR) or a line. No step has rate 0. A warm-up is at most half of all steps."""
    warmup = min(warmup, steps // 2)
    if step < warmup:
        return highest * (step + 1) / (warmup + 1)
    if kind == "constant":
        return highest
    along = (step - warmup) / max(1, steps - warmup)  # below 1: the last step still learns
    falls = (1 + math.cos(math.pi * along)) / 2 if kind == "cosine" else 1 - along
    return highest * (FLOOR + (1 - FLOOR) * falls)


class Patience:
    """Counts checks of the held-out loss without a better one."""

    def __init__(self, checks: int, best: float = math.inf, waited: int = 0) -> None:
        self.checks = checks
        self.best = best
        self.waited = waited

    def better(self, loss: float) -> bool:
        """Whether that is the best so far. A loss that is no number is not."""
        if loss < self.best:
            self.best, self.waited = loss, 0
            return True
        self.waited += 1
        return False

    @property
    def over(self) -> bool:
        """Whether it is time to end."""
        return self.checks > 0 and self.waited >= self.checks
