"""The words that the learned router knows, by their hashes, and what a text of them means. Pure; numpy."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_BITS = 17
_SPREAD = np.uint64(0x9FB21C651E98DF25)
_DOWN = np.uint64(64 - _BITS)


class Lexicon:
    """Vectors by words. A word is found at its place in a table, and if another has that, in a short sorted list."""

    def __init__(self, hashes: NDArray[np.uint64], vectors: NDArray[np.int8]) -> None:
        """Of 1 to 32767 words, each with another hash."""
        self._hashes = hashes
        self._vectors = vectors
        own = np.arange(len(hashes), dtype=np.int16)
        places = _places(hashes)
        self._at = np.zeros(1 << _BITS, np.int16)
        self._at[places] = own
        rest = own[self._at.take(places) != own]
        rest = rest[np.argsort(hashes[rest])] if len(rest) else own[:1]  # one that is in the table is never asked for
        self._rest = hashes[rest]
        self._rest_at = rest
        self.width = vectors.shape[1]

    def known(self, words: NDArray[np.uint64]) -> NDArray[np.int16]:
        """The rows of those words that are known, in no order; a word that occurs twice is there twice."""
        at = self._at.take(_places(words))
        here = self._hashes.take(at) == words
        missed = words[~here]
        behind = self._rest.searchsorted(missed)
        also = self._rest_at.take(behind, mode="clip")[self._rest.take(behind, mode="clip") == missed]
        return np.concatenate((at[here], also))

    def meaning(self, words: NDArray[np.uint64]) -> Floats:
        """The mean of the known words' vectors, of length 1; rare words weigh more, which is in the vectors."""
        if not len(words):
            return np.zeros(self.width, np.float32)
        vectors = self._vectors.take(self.known(words), axis=0)
        # Sums of whole numbers, so the order of the words changes nothing.
        total: Floats = np.ones(len(vectors), np.float32) @ vectors.astype(np.float32)
        length = float(total @ total)
        if length > 0:
            total /= np.float32(length**0.5)
        return total


def _places(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (words * _SPREAD >> _DOWN).view(np.int64)
