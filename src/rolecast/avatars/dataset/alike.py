"""Finds replies that were said before: the same, or nearly.

A model learns by heart what it reads four times; once it does not (measured; docs/avatars.md). So of replies that are
nearly alike the first stays. Short ones, `ok` and `lol`, are style, and stay up to a share of all.
"""

import re
from array import array

from rolecast.privacy.names import plain

LEAST_WORDS = 4
"""Different words of a reply that is compared; shorter ones are style."""
PERMUTATIONS, BANDS = 72, 24
"""Of MinHash: a pair of Jaccard 0.7 is a candidate with probability 1 - (1 - 0.7^3)^24 = 0.99996 (Broder 1997)."""
_WORD = re.compile(r"\w+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]")


def words(text: str) -> list[str]:
    """Its different words without case and accents, in order of letters; pairs of signs where no blanks part words."""
    found: set[str] = set()
    for word in _WORD.findall(plain(text)):
        if _UNSPACED.search(word):
            found.update(word[i : i + 2] for i in range(max(1, len(word) - 1)))
        else:
            found.add(word)
    return sorted(found)


def said(text: str) -> str:
    """What of it counts where two short replies are compared: neither case nor points nor letters held down."""
    return re.sub(r"(\w)\1{2,}", r"\1\1", " ".join(_WORD.findall(plain(text)))) or text.strip()


class Alike:
    """The replies so far. `similar` = the Jaccard index of two sets of words from which on they are one; 0 = never."""

    def __init__(self, similar: float, seed: int) -> None:
        from rensa import RMinHash, RMinHashLSH

        self._similar = similar
        self._seed = seed
        self._min_hash = RMinHash
        self._near = RMinHashLSH(max(similar, 0.05), PERMUTATIONS, BANDS)
        self._ids: dict[str, int] = {}
        """Words by numbers: a reply is kept as a few of them."""
        self._kept: list[array[int]] = []

    def was_said(self, found: list[str]) -> bool:
        """Whether a reply with these words, or nearly, was said; it is remembered otherwise."""
        if not self._similar or len(found) < LEAST_WORDS:
            return False
        sketch = self._min_hash(PERMUTATIONS, self._seed)
        sketch.update(found)
        mine = array("I", sorted(self._ids.setdefault(word, len(self._ids)) for word in found))
        mine_too = set(mine)
        for number in self._near.query(sketch):
            other = self._kept[number]
            both = sum(1 for word in other if word in mine_too)
            if both / (len(mine) + len(other) - both) >= self._similar:
                return True
        self._near.insert(len(self._kept), sketch)
        self._kept.append(mine)
        return False
