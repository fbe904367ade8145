# ruff: noqa: RUF001  # marks of other languages are meant
"""Chooses sentences of a text that stand for it: by the words that it uses most, and by what the model picks.

Luhn's method (1958): a sentence is as good as its words are frequent in the text, without those that stand everywhere.
Pure.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from math import log, sqrt

import msgspec

from rolecast.tasks import words

SHORTEST, LONGEST = 5, 60
"""Words of a sentence that may stand by itself."""
ENDS = ".!?…。！？\"'”’»)"
"""Headings end in no such mark."""
EVERYWHERE = 0.2
"""Words of so many of the sentences say nothing of one."""
MANY = 10
"""With fewer sentences no word is left out for that."""
PLAIN = 3
"""Words of so few letters say nothing either."""
FOCUS, OPENING = 1.0, 1.2
"""A word that was asked for is worth so much of the best sentence; the first sentence counts so many times."""
ALIKE = 0.6
"""Two sentences that share so many of their words say the same."""
CANDIDATES = 3
"""So many times as many words as are wanted, the model chooses from."""
_WORD = re.compile(r"[^\W\d_]+")
_NUMBER = re.compile(r"\d+")


class Sentence(msgspec.Struct, frozen=True, gc=False):
    """One of a text."""

    text: str
    place: int
    words: int
    score: float = 0.0


def ranked(text: str, focus: Sequence[str] = ()) -> list[Sentence]:
    """All sentences that may stand by themselves, the best first."""
    found = [Sentence(each, place, words.count(each)) for place, each in enumerate(words.sentences(text))]
    kept = [each for each in found if SHORTEST <= each.words <= LONGEST and each.text[-1] in ENDS]
    kept = kept or found
    bags = [_bag(each.text) for each in kept]
    frequency = Counter(word for bag in bags for word in bag)
    most = EVERYWHERE * len(kept) if len(kept) >= MANY else len(kept)
    weights = {word: log(1 + number) for word, number in frequency.items() if number <= most}
    scores = [sum(weights.get(word, 0.0) for word in bag) / sqrt(4 + len(bag)) for bag in bags]
    best = max(scores, default=0.0) or 1.0
    wanted = {word for each in focus for word in _bag(each)}
    scored = [
        msgspec.structs.replace(
            each, score=score * (OPENING if each.place == 0 else 1.0) + FOCUS * best * len(bag & wanted)
        )
        for each, bag, score in zip(kept, bags, scores, strict=True)
    ]
    return sorted(scored, key=lambda each: (-each.score, each.place))


def candidates(ranking: Sequence[Sentence], wanted: int) -> list[Sentence]:
    """The best of them for the model to choose from, in the order of the text, none of which say the same."""
    found: list[Sentence] = []
    bags: list[set[str]] = []
    total = 0
    for each in ranking:
        bag = _bag(each.text)
        if any(len(bag & other) > ALIKE * min(len(bag), len(other)) for other in bags if other):
            continue
        found.append(each)
        bags.append(bag)
        total += each.words
        if total >= CANDIDATES * wanted:
            break
    return sorted(found, key=lambda each: each.place)


def picked(said: str, offered: Sequence[Sentence]) -> list[Sentence]:
    """The sentences whose numbers, from 1, an answer names, each once, in its order."""
    numbers = dict.fromkeys(int(each) for each in _NUMBER.findall(said[:2000]) if len(each) < 5)
    return [offered[number - 1] for number in numbers if 0 < number <= len(offered)]


def filled(order: Iterable[Sentence], wanted: int, most: int) -> list[Sentence]:
    """Of these, first come first served, as many as are wanted and never more words than `most`, but one at least.

    They come in the order of the text.
    """
    order = list(dict.fromkeys(order))
    found: list[Sentence] = []
    total = 0
    for each in order:
        if total + each.words <= most:
            found.append(each)
            total += each.words
        if total >= wanted:
            break
    if not found:
        found = sorted(order, key=lambda each: each.words)[:1]
    return sorted(found, key=lambda each: each.place)


def _bag(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.lower()) if len(word) > PLAIN or not word.isascii()}
