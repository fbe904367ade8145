"""How long a pause in a chat is before something new begins, learnt from its own pauses. Pure.

Pauses within a conversation are seconds or minutes, those between two are hours: over the logarithm of time they make
two hills. The limit is the lowest point of the valley between them. Where there is no valley it is an hour.
"""

from math import log2

USUAL = 3600.0
"""Seconds, where nothing can be learnt."""
LEAST, MOST = 600.0, 43_200.0
"""Seconds between which a limit is looked for: ten minutes is no new conversation, a night is one."""
ENOUGH = 50
"""Pauses, below which nothing is learnt."""
_FEW = 5
"""Pauses on either side, below which there is no hill."""
_DEPTH = 0.6
"""A valley is at most this share of the lower hill beside it."""
_STEPS = 2
"""Parts of a doubling of time."""
_BINS = 25 * _STEPS + 1
_KERNEL = (1, 4, 6, 4, 1)


class Gaps:
    """The pauses of one chat, as a histogram of fixed size over log2 of seconds."""

    def __init__(self) -> None:
        self._counts = [0] * _BINS

    def add(self, seconds: float) -> None:
        """One pause; what is no time (a clock that was set back) is none."""
        self._counts[min(int(log2(max(seconds, 1.0)) * _STEPS), _BINS - 1)] += 1

    def limit(self) -> float:
        """Seconds; a longer pause begins something new."""
        if sum(self._counts) < ENOUGH:
            return USUAL
        smooth = _smoothed(_smoothed([float(each) for each in self._counts]))
        depths: dict[int, float] = {}
        for at in range(int(log2(LEAST) * _STEPS), int(log2(MOST) * _STEPS) + 1):
            if min(sum(self._counts[:at]), sum(self._counts[at + 1 :])) >= _FEW:
                depths[at] = smooth[at] / min(max(smooth[:at]), max(smooth[at + 1 :]))
        lowest = min(depths.values(), default=1.0)
        if lowest > _DEPTH:
            return USUAL
        floor = [at for at, depth in depths.items() if depth <= lowest + 0.01]
        middle = (floor[0] + floor[-1] + 1) / 2
        return float(min(max(2 ** (middle / _STEPS), LEAST), MOST))


def _smoothed(values: list[float]) -> list[float]:
    """Weighed with the neighbours; those beyond the ends count as nothing."""
    reach = len(_KERNEL) // 2
    padded = [0.0] * reach + values + [0.0] * reach
    return [
        sum(weight * padded[at + step] for step, weight in enumerate(_KERNEL)) / sum(_KERNEL)
        for at in range(len(values))
    ]
