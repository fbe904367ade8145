"""One line of the benchmark: a figure, how sure it is, what it should reach and what others reach."""

import json
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Figure:
    """A measured figure. `low` and `high` are the middle 95 % of a bootstrap; `bar` is what was asked for."""

    group: str
    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    bar: float | None = None
    at_most: bool = False
    """Whether the figure must not exceed its bar, instead of reaching it."""
    baseline: str = ""
    unit: str = ""

    @property
    def passes(self) -> bool | None:
        """Whether the figure reaches its bar; None without one."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    def line(self) -> str:
        """For people."""
        digits = 3 if abs(self.value) < 100 else 0
        limits = f" [{self.low:.{digits}f}, {self.high:.{digits}f}]" if self.low is not None else ""
        wanted = ""
        if self.bar is not None:
            wanted = f"{'<=' if self.at_most else '>='} {self.bar:g} {'pass' if self.passes else 'FAIL'}"
        size = f"n {self.n}" if self.n is not None else ""
        value = f"{self.value:.{digits}f}{limits}"
        return f"{self.name:<46} {value:<24} {self.unit:<4} {size:<8} {wanted:<14} {self.baseline}".rstrip()


def share(hits: float, n: int, rounds: int = 2000, seed: int = 7) -> tuple[float, float]:
    """The middle 95 % of a share of hits under the bootstrap: to draw n rows with replacement is a binomial draw."""
    drawn = np.random.default_rng(seed).binomial(n, hits, rounds) / n
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def as_json(figures: list[Figure]) -> str:
    """For programs: a list of objects with the fields of `Figure` and `passes`."""
    return json.dumps([{**asdict(f), "passes": f.passes} for f in figures], indent=1)
