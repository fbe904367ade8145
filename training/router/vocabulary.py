"""Which words the router's spelling knows, the commonest first, and which of them it mends to."""

from collections import Counter

from corpus import written

from rolecast.routing.spelling import LONGEST, SHORTEST, WORD, Spelling, known_words

KNOWN = 2
"""In so many texts a word is no slip."""
TARGET = 3
"""In so many it is common enough to be what was meant."""
WRITTEN = 20
"""How much more a hand-written prompt tells about what people ask than one of an exam."""


def spelling(texts: list[str], names: list[str]) -> Spelling:
    """Made of the words of texts; those of `names` (in the vectors' list) are known besides."""
    found: Counter[str] = Counter()
    for text in texts:
        found.update(set(WORD.findall(text.lower())))
    mine: Counter[str] = Counter()
    for row in written():
        mine.update(set(WORD.findall(row["text"].lower())))
    ranked = sorted((w for w, n in found.items() if n >= KNOWN), key=lambda w: (-found[w] - WRITTEN * mine[w], w))
    targets = [w for w in ranked if found[w] >= TARGET]
    known = set(ranked)
    others = [w for w in names if w not in known and SHORTEST <= len(w) <= LONGEST]
    return known_words([*targets, *(w for w in ranked if found[w] < TARGET), *others], len(targets))
