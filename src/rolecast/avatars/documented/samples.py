"""Answers without a model: of messages that the person once wrote, the one that fits best. Pure."""

import math
import random
import re
from collections.abc import Collection, Iterator, Sequence

_WORD = re.compile(r"\w+")
FEW = 5
"""Of so many that fit best one is chosen, when something is left to chance."""


def choose(samples: Sequence[str], message: str, said: Collection[str], temperature: float, seed: int | None) -> str:
    """A sample that shares rare words with the message, and was not just said if there is another.

    At a temperature of 0 always the best one (of equals, the first); above, one of the best five, the better ones more
    often. The same seed and conversation choose the same.
    """
    fresh = [each for each in samples if each not in said] or list(samples)
    common: dict[str, int] = {}
    words = [set(_words(each)) for each in fresh]
    for each in words:
        for word in each:
            common[word] = common.get(word, 0) + 1
    asked = set(_words(message))

    def fits(at: int) -> float:
        return sum(1 / common[word] for word in words[at] & asked) / math.sqrt(1 + len(words[at]))

    ranked = sorted(range(len(fresh)), key=lambda at: (-fits(at), at))
    if temperature == 0:
        return fresh[ranked[0]]
    chance = random.Random(None if seed is None else f"{seed} {len(said)} {message}")  # noqa: S311
    best = [at for at in ranked[:FEW] if fits(at) > 0]
    if not best:
        return fresh[chance.choice(ranked)]
    highest = fits(best[0])
    return fresh[chance.choices(best, [(fits(at) / highest) ** (1 / temperature) for at in best])[0]]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def shortened(text: str, most: int) -> Iterator[str]:
    """At most so many words, one by one, with the spaces between them."""
    for number, found in enumerate(re.finditer(r"\s*\S+", text)):
        if number >= most:
            return
        yield found[0]
