"""Mends slips of the keyboard before a prompt is looked at, so that a typo does not change what it is taken for.

A word that the router does not know becomes the commonest known word one slip away: a letter lost, doubled, wrong, or
swapped with the next. Found by deletions, as SymSpell does: two words one slip apart share a form with a letter less.
Pure; the lists of words come with the model file. Only what the router sees is mended, never the request.
"""

import re
from collections.abc import Collection, Mapping
from itertools import chain
from typing import Any, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

SHORTEST: Final = 3
LONGEST: Final = 20
"""Letters of a word that is mended; shorter ones are one slip from too many others."""
MOST: Final = 16
"""So many unknown words at either end are tried, the first: what is full of them is code or another language."""
LONG: Final = 7
"""Letters of a word that is also mended where one of its letters is doubled and another slip is in it."""
SPAN: Final = 400
"""Characters at either end that are mended: there stands what is asked."""
TARGETS: Final = 1 << 16
"""Numbers of words that fit the file's list of owners."""

WORD = re.compile(r"[^\W\d_]{3,}")
"""What is taken for a word."""
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEAR = {
    key: "".join(row[max(0, at - 1) : at + 2] for row in _ROWS[max(0, line - 1) : line + 2])
    for line, keys in enumerate(_ROWS)
    for at, key in enumerate(keys)
}
"""The keys beside a key, and itself."""


class Spelling:
    """The words that are known, the commonest first, and the forms under which those to mend to are found."""

    def __init__(self, words: list[str], keys: NDArray[np.uint32], owners: NDArray[np.uint16]) -> None:
        self._words = words
        self._known = frozenset(words)
        self._keys = keys
        self._owners = owners

    @classmethod
    def read(cls, parts: Mapping[str, NDArray[Any]]) -> "Spelling":
        """Out of the model file."""
        words = parts["spelling_words"].tobytes().decode().split("\n")
        return cls(words, parts["spelling_keys"], parts["spelling_owners"])

    def parts(self) -> dict[str, NDArray[Any]]:
        """What `read` reads."""
        words = np.frombuffer("\n".join(self._words).encode(), np.uint8)
        return {"spelling_words": words, "spelling_keys": self._keys, "spelling_owners": self._owners}

    def mended(self, text: str) -> str:
        """The text with its slips mended; the same object if there is none, or if it is so long that few words decide
        nothing."""
        return self._mended(text) if len(text) <= 2 * SPAN else text

    def mends(self, unknown: list[str]) -> dict[str, str]:
        """As `fixes`, and of long words whose one slip is a doubled letter a second one as well."""
        found = self.fixes(unknown)
        once = {
            word[:i] + word[i + 1 :]: word
            for word in unknown
            if len(word) >= LONG and word not in found
            for i in range(1, len(word))
            if word[i] == word[i - 1]
        }
        if once:
            for single, right in self.fixes(list(once)).items():
                found.setdefault(once[single], right)
        return found

    def strange(self, text: str) -> bool:
        """Whether a text begins with words of Latin letters and none of them is known: any label would be a guess."""
        latin = False
        for found in WORD.finditer(text[:SPAN].lower()):
            if found[0] in self._known or not (latin := found[0].isascii()):
                return False
        return latin

    def _mended(self, text: str) -> str:
        words = WORD.findall(text.lower())
        if self._known.issuperset(words):
            return text
        fixes = self.mends([w for w in dict.fromkeys(words) if w not in self._known and len(w) <= LONGEST][:MOST])
        if not fixes:
            return text
        parts: list[str] = []
        done = 0
        for start, end in _places(text, fixes):
            parts += text[done:start], _cased(word := text[start:end], fixes[word.lower()])
            done = end
        return "".join(parts) + text[done:]

    def fixes(self, unknown: list[str]) -> dict[str, str]:
        """Of each word that can be mended, in lower case: what it should be."""
        forms = [_keys(word) for word in unknown]
        whose = [word for word, of_one in zip(unknown, forms, strict=True) for _ in of_one]
        keys = np.array(list(chain.from_iterable(forms)), np.uint32)
        low = self._keys.searchsorted(keys)
        (there,) = (self._keys.take(low, mode="clip") == keys).nonzero()
        first, behind = low[there].tolist(), self._keys.searchsorted(keys[there], side="right").tolist()
        best: dict[str, tuple[int, str]] = {}
        for i, start, end in zip(there.tolist(), first, behind, strict=True):
            word = whose[i]
            for owner in self._owners[start:end].tolist():
                right = self._words[owner]
                # People seldom miss the first letter.
                rank = owner if right[0] == word[0] else owner * 8 + 64
                if (word in best and rank >= best[word][0]) or not one_slip(word, right):
                    continue
                if not likely(word, right):
                    rank = rank * 4 + 32
                if word not in best or rank < best[word][0]:
                    best[word] = rank, right
        return {word: right for word, (_, right) in best.items()}


def _places(text: str, words: Collection[str]) -> list[tuple[int, int]]:
    """Where these words stand, from the first to the last."""
    if not text.isascii():  # its lower case may be longer
        return [found.span() for found in WORD.finditer(text) if found[0].lower() in words]
    found, low = [], f" {text.lower()} "
    for word in words:
        at = low.find(word)
        while at >= 0:
            end = at + len(word)
            if not (low[at - 1].isalpha() or low[end].isalpha()):
                found.append((at - 1, end - 1))
            at = low.find(word, end)
    return sorted(found)


def _cased(word: str, right: str) -> str:
    return right.upper() if word.isupper() else right.capitalize() if word[0].isupper() else right


def _keys(word: str) -> list[int]:
    """Those of the word and of all that is `shorter`."""
    raw = word.encode()
    if len(raw) > len(word):
        return [crc32(form.encode()) for form in shorter(word)]
    found, before, last = [crc32(raw)], 0, -1
    for at, letter in enumerate(raw):
        if letter != last:
            found.append(crc32(raw[at + 1 :], before))
        before, last = crc32(raw[at : at + 1], before), letter
    return found


def shorter(word: str) -> list[str]:
    """The word, and it without each of its letters."""
    # Of two equal letters in a row it does not matter which is gone.
    gone = (i for i in range(len(word)) if not i or word[i] != word[i - 1])
    return [word, *(word[:i] + word[i + 1 :] for i in gone)]


def one_slip(word: str, right: str) -> bool:
    """Whether one letter lost, added or replaced, or two neighbours swapped, makes the one of the other."""
    if abs(len(word) - len(right)) > 1:
        return False
    start = 0
    for a, b in zip(word, right, strict=False):
        if a != b:
            break
        start += 1
    one, other = word[start:], right[start:]
    return (
        one[1:] == other
        or one == other[1:]
        or one[1:] == other[1:]
        or (one[:2] == other[1::-1] and len(other) > 1 and one[2:] == other[2:])
    )


def likely(word: str, right: str) -> bool:
    """Whether a slip is one that fingers make: no wrong letter but of a neighbouring key, none added but a double."""
    if len(word) < len(right):
        return True
    at = next((i for i, (a, b) in enumerate(zip(word, right, strict=False)) if a != b), len(right))
    if len(word) > len(right):
        return at > 0 and word[at] == word[at - 1]
    return at == len(right) or word[at + 1 :] != right[at + 1 :] or word[at] in _NEAR.get(right[at], "")


def known_words(words: list[str], targets: int) -> Spelling:
    """Knows words, the commonest first, and mends to the first `targets` of them. Used in training."""
    found = sorted(
        {
            (crc32(form.encode()), owner)
            for owner, word in enumerate(words[: min(targets, TARGETS)])
            if SHORTEST <= len(word) <= LONGEST
            for form in shorter(word)
        }
    )
    keys, owners = zip(*found, strict=True)
    return Spelling(words, np.array(keys, np.uint32), np.array(owners, np.uint16))
