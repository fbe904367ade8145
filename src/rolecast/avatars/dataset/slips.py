"""Which part of a name a word is, as people type: with a slip, an ending of their language, a letter held down."""

import re
from collections.abc import Sequence
from functools import lru_cache

from rapidfuzz.distance import DamerauLevenshtein

from rolecast.avatars.dataset.known import Known, umlauts
from rolecast.avatars.dataset.words import NAME_WORDS, NEVER_SMALL, NO_NAMES
from rolecast.privacy.names import common, plain

LEAST, LEAST_FOR_TWO = 4, 8
"""Letters of a name that may have a slip; that may have two."""
MOST_WORD = 40
_HELD = re.compile(r"(.)\1{2,}")
_ENDS = "s a u y i e om em ou owi ovi ie in nin ka chen lein ito ita"
ENDS = frozenset(_ENDS.split())
"""What languages put behind a name: `Annas`, `Jonasem`, `Tomkowi`."""
_INSTEAD = "i e u y o ej ou \u0443 \u0435 \u044b \u043e\u0439 \u0438"
INSTEAD = frozenset(_INSTEAD.split())
"""What they put in place of its last letter: `Anny`, `\u0410\u043d\u043d\u0435`."""
VOWELS = "aeo\u0430\u043e\u044f"


def apart(said: str, part: str, most: int) -> int:
    """Letters lost, doubled, wrong or swapped between two words (Damerau 1964); more than `most` is `most` + 1."""
    return int(DamerauLevenshtein.distance(said, part, score_cutoff=most))


class Slips:
    """Looks words up among the parts of names. A word of English is no slip of one; nor is one a slip of `rose`."""

    def __init__(self, known: Known) -> None:
        self._parts = known.parts
        self._by_letter: dict[str, list[str]] = {}
        for part in self._parts:
            if len(part) >= LEAST and part not in NEVER_SMALL and part not in NAME_WORDS:
                self._by_letter.setdefault(part[0], []).append(part)
        self.meant = lru_cache(maxsize=100_000)(self._meant)
        """The part of a name that a word is, exactly or nearly; '' = none."""

    def _meant(self, said: str) -> str:
        if len(said) > MOST_WORD:
            return ""
        folded = plain(said)
        forms = [folded, plain(umlauts(said))]
        if _HELD.search(folded):
            forms += [_HELD.sub(r"\1", folded), _HELD.sub(r"\1\1", folded)]
            folded = forms[2]
        exact = next((form for form in forms if form in self._parts), "")
        if exact or len(folded) < LEAST or folded in NO_NAMES or folded in common():
            return exact
        near = self._by_letter.get(folded[0], ())
        capital = said[0].isupper() or not said.isascii()
        return _inflected(folded, near, capital=capital) or _nearest(folded, near, capital=capital)


def _inflected(folded: str, near: Sequence[str], *, capital: bool) -> str:
    """The name that it is with an ending; in place of its last letter only behind a capital one."""
    for part in near:
        if folded.startswith(part) and folded[len(part) :] in ENDS:
            return part
        ends = capital and len(part) >= LEAST and part[-1] in VOWELS and folded.startswith(part[:-1])
        if ends and folded[len(part) - 1 :] in INSTEAD:
            return part
    return ""


def _nearest(folded: str, near: Sequence[str], *, capital: bool) -> str:
    """The name that it is with a slip; of a short one without a capital only where two letters are swapped."""
    best, least = "", LEAST_FOR_TWO
    for part in near:
        most = 2 if min(len(part), len(folded)) >= LEAST_FOR_TWO else 1
        if abs(len(part) - len(folded)) > most:
            continue
        if len(part) == LEAST and not capital and sorted(folded) != sorted(part):
            continue
        far = apart(folded, part, most)
        if far <= most and far < least:
            best, least = part, far
    return best
