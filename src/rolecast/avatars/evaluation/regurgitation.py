"""What is said word for word as it stands in what was trained on: runs of tokens that are in both. Pure."""

from collections.abc import Iterable, Sequence

from rolecast.avatars.evaluation import statistics
from rolecast.avatars.evaluation.figures import Regurgitation

RUN = 8
"""Tokens in a row that are a copy."""


class Heard:
    """All runs of what was trained on. Tokens are integers; texts do not run into each other."""

    def __init__(self, texts: Iterable[Sequence[int]], run: int = RUN) -> None:
        self._run = run
        self._runs = {each for text in texts for each in _runs(text, run)}

    def copies(self, text: Sequence[int]) -> int:
        """Tokens of the longest stretch of a text whose every run of eight was heard; 0 = there is none.

        For a stretch longer than a run its pieces may come from several texts, so that it is an upper bound.
        """
        longest = current = 0
        for each in _runs(text, self._run):
            current = current + 1 if each in self._runs else 0
            longest = max(longest, current)
        return longest + self._run - 1 if longest else 0


def _runs(text: Sequence[int], run: int) -> Iterable[tuple[int, ...]]:
    return (tuple(text[start : start + run]) for start in range(len(text) - run + 1))


def measure(heard: Heard, generated: Sequence[Sequence[int]], human: Sequence[Sequence[int]]) -> Regurgitation:
    """Shares of copies among generations and among the person's held-out replies."""
    lengths = [heard.copies(each) for each in generated]
    ours = [float(each > 0) for each in lengths]
    theirs = [float(heard.copies(each) > 0) for each in human]
    return Regurgitation(
        generated=statistics.mean(ours),
        human=statistics.mean(theirs),
        interval=statistics.of_difference(ours, theirs),
        generations=len(ours),
        replies=len(theirs),
        longest=max(lengths, default=0),
    )
