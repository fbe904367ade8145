"""Texts as rows of numbers: the sparse buckets of `features`, weighted, and the dense part beside them.

The same arithmetic as `rolecast.routing.learned` does for one text; a test holds the two together.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from rolecast.routing.features import BLOCKS, BUCKETS, SHAPE, Seen, see

Floats = NDArray[np.float32]


def counts(seen: list[Seen]) -> sparse.csr_matrix:
    """The raw weights of texts, (texts, BUCKETS)."""
    ends = np.cumsum([0, *(len(s.buckets) for s in seen)])
    buckets = np.concatenate([s.buckets for s in seen])
    weights = np.concatenate([s.weights for s in seen])
    return sparse.csr_matrix((weights, buckets, ends), shape=(len(seen), BUCKETS), dtype=np.float32)


def rarity(raw: sparse.csr_matrix) -> Floats:
    """How much a bucket tells: the smoothed inverse of how many texts fall into it; 0 where none or one does."""
    seen = np.bincount(raw.indices, minlength=BUCKETS)
    found = np.log((1 + raw.shape[0]) / (1 + seen)) + 1
    found[seen < 2] = 0
    return found.astype(np.float32)


def weighted(raw: sparse.csr_matrix, idf: Floats) -> sparse.csr_matrix:
    """The weights times their rarity, each block of a row of length 1."""
    made = raw.multiply(idf[None, :]).tocsr().astype(np.float32)
    made.eliminate_zeros()
    rows = np.repeat(np.arange(made.shape[0]), np.diff(made.indptr))
    block = np.searchsorted(np.cumsum(BLOCKS), made.indices, side="right")
    squares = np.zeros((made.shape[0], len(BLOCKS)), np.float64)
    np.add.at(squares, (rows, block), made.data.astype(np.float64) ** 2)
    made.data /= np.sqrt(squares)[rows, block].astype(np.float32)
    return made


def shapes(seen: list[Seen]) -> Floats:
    """The shapes of texts, (texts, SHAPE)."""
    return np.stack([s.shape for s in seen]) if seen else np.zeros((0, SHAPE), np.float32)


def look(texts: list[str]) -> list[Seen]:
    """What is seen of each text."""
    return [see(t) for t in texts]
