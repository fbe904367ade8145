"""What the learned router sees of a prompt: hashed pieces of words, words, places and shape, in plain numpy.

A pure function of the text, the same for training and for serving. Knows no label and no model. Of a long text only
the head and the tail are read: there stands what is asked, and a decision costs the same for any length.
"""

from math import log1p
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rolecast.routing.skeleton import BUCKETS as BONES
from rolecast.routing.skeleton import skeleton

HEAD_BYTES = 512
TAIL_BYTES = 512

PIECE_BYTES = 256
"""Of the head and of the tail so much is cut into pieces; words are read further in. Pieces are what costs time."""

PIECE_LENGTHS = range(2, 6)
"""Bytes of a piece."""
PIECES = 1 << 16
"""Buckets of pieces."""
WORDS = 1 << 15
"""Buckets of words and pairs of words."""
EDGES = 1 << 13
"""Buckets of the first and the last words, by side: an instruction stands before or after what was pasted."""
EDGE_WORDS = 10
BLOCKS = (PIECES, WORDS, EDGES, BONES)
BUCKETS = sum(BLOCKS)

Indices = NDArray[np.int32]
Floats = NDArray[np.float32]

_P = 0x9E3779B97F4A7C15 | 1
_LIMIT = HEAD_BYTES + TAIL_BYTES + 64


def _powers(of: int) -> NDArray[np.uint64]:
    """By exponent, in 64 bits."""
    found = np.full(_LIMIT, of, np.uint64)
    found[0] = 1
    return found.cumprod()


_POWERS, _INVERSES = _powers(_P), _powers(pow(_P, -1, 1 << 64))
_MIX = np.uint64(0xD6E8FEB86659FD93)
_PAIR = np.uint64(0xC2B2AE3D27D4EB4F)
_SALT_FIRST = np.uint64(0xA0761D6478BD642F)
_SALT_LAST = np.uint64(0xE7037ED1A0B428DB)
_SHORT_PRIME = np.uint32(0x9E3779B1)
_FIFTEEN, _SIXTEEN, _THIRTY_TWO = np.uint32(15), np.uint32(16), np.uint64(32)
_SHORT_MIX = [np.uint32(0x85EBCA6B + 0x3C6EF372 * n & 0xFFFFFFFF | 1) for n in range(6)]

_SPACE, _WORD, _OTHER = 0, 1, 2
_CLASS = np.full(256, _OTHER, np.uint8)
_CLASS[[9, 10, 11, 12, 13, 32, 0]] = _SPACE
_CLASS[128:] = _WORD
for _span in (range(48, 58), range(65, 91), range(97, 123)):
    _CLASS[list(_span)] = _WORD
_CLASS[ord("_")] = _WORD

_FOLD = np.arange(256, dtype=np.uint8)
_FOLD[[0, 9, 10, 11, 12, 13]] = 32
_FOLD[65:91] += 32
_FOLD[48:58] = ord("0")

_FOLDED = _FOLD.tobytes()
_IS_WORD = (_CLASS == _WORD).tobytes()

SIGNS = b"?!.,:;()[]{}<>=+-*/\\$`\"'#|@_%&"
"""Each has a column of the shape: its share of the text."""
SHAPE = 12 + len(SIGNS)
"""Numbers that say how a text looks."""

_TOLD = np.zeros((256, 6 + len(SIGNS)), np.float32)
"""Which bytes a text's shape counts together: one product of matrices counts them all."""
for _column, _bytes in enumerate(
    ([10], range(48, 58), range(65, 91), range(128, 256), np.flatnonzero(_CLASS == _OTHER))
):
    _TOLD[list(_bytes), _column] = 1
_TOLD[63, 5] = 1
_TOLD[np.frombuffer(SIGNS, np.uint8), 6 + np.arange(len(SIGNS))] = 1

_LOGS = (1 + np.log(np.maximum(np.arange(4 * _LIMIT + 1), 1))).astype(np.float32)
"""Of every count that there can be, 1 + its logarithm."""


class Seen(NamedTuple):
    """What is seen of one text."""

    buckets: Indices
    """The buckets that it falls into, ascending, each once."""
    weights: Floats
    """For each of them, 1 + log of how often it occurs."""
    words: NDArray[np.uint64]
    """The hashes of its words in order."""
    shape: Floats
    """SHAPE numbers, each about 0 to 1."""


def clip(text: str) -> tuple[bytes, int]:
    """The head and the tail of a text as UTF-8, and the bytes of the whole; what is between them is never encoded."""
    if len(text) <= HEAD_BYTES + TAIL_BYTES:
        raw = text.encode("utf-8", "replace")
        if len(raw) <= HEAD_BYTES + TAIL_BYTES:
            return raw, len(raw)
    head = text[:HEAD_BYTES].encode("utf-8", "replace")[:HEAD_BYTES]
    tail = text[-TAIL_BYTES:].encode("utf-8", "replace")[-TAIL_BYTES:]
    return head + b" \n " + tail, max(len(text), HEAD_BYTES + TAIL_BYTES)


def see(text: str) -> Seen:
    """What the router sees of a text; of any text, also an empty one or one that is no Unicode."""
    raw, length = clip(text)
    if not raw.isascii():
        raw = raw.decode("utf-8", "ignore").casefold().encode("utf-8", "replace")[: _LIMIT - 8]
    low = raw.translate(_FOLDED)
    folded = _folded(low)
    words = _words(raw, np.frombuffer(low, np.uint8))
    bones = skeleton(text)
    many, sides = len(words), min(len(words), EDGE_WORDS)
    pairs = max(many - 1, 0)
    cut = sum(max(len(folded) - n + 1, 0) for n in PIECE_LENGTHS)
    hashes = np.empty(many + pairs + 2 * sides + min(pairs, 1), np.uint64)
    flesh = cut + len(hashes)
    where = np.empty(flesh + len(bones), np.int32)
    _into_pieces(folded, where[:cut].view(np.uint32))
    hashes[:many] = words
    two = hashes[many : many + pairs]
    np.multiply(words[:-1], _PAIR, out=two)
    two += words[1:]
    edges = hashes[many + pairs :]
    np.bitwise_xor(words[:EDGE_WORDS], _SALT_FIRST, out=edges[:sides])
    np.bitwise_xor(words[-EDGE_WORDS:], _SALT_LAST, out=edges[sides : 2 * sides])
    np.bitwise_xor(two[:1], _SALT_FIRST, out=edges[2 * sides :])
    _into_buckets(hashes, where[cut:flesh], many + pairs)
    np.add(bones, np.int32(PIECES + WORDS + EDGES), out=where[flesh:])
    buckets, counts = _counted(where)
    return Seen(buckets, _LOGS.take(counts), words, _shape(raw, low, length, many))


def word_hash(word: str) -> int:
    """The hash under which a word of its own is seen: that of `Seen.words`."""
    return int(see(word).words[0])


def _folded(low: bytes) -> NDArray[np.uint32]:
    """The bytes that are cut into pieces, between single spaces."""
    while b"  " in low:
        low = low.replace(b"  ", b" ")
    low = b" %b " % low
    if len(low) > 2 * PIECE_BYTES:
        low = low[:PIECE_BYTES] + low[-PIECE_BYTES:]
    return np.frombuffer(low, np.uint8).astype(np.uint32)


def _into_pieces(data: NDArray[np.uint32], found: NDArray[np.uint32]) -> None:
    """The buckets of all pieces: each length is one step on from the one before."""
    rolling, parts, at = data, [], 0
    for n in PIECE_LENGTHS:
        if len(data) < n:
            break
        part = found[at : at + len(data) - n + 1]
        np.multiply(rolling[:-1], _SHORT_PRIME, out=part)
        part += data[n - 1 :]
        parts.append((n, at))
        rolling, at = part, at + len(part)
    mixed = found >> _FIFTEEN
    mixed ^= found
    for n, at in parts:
        part = mixed[at : at + len(data) - n + 1]
        part *= _SHORT_MIX[n]
    np.right_shift(mixed, _SIXTEEN, out=found)


def _words(raw: bytes, low: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The hash of each word: a difference of two prefix sums, shifted back to where every word begins alike."""
    within = np.frombuffer(b"\0%b\0" % raw.translate(_IS_WORD), np.bool_)
    (edges,) = (within[1:] != within[:-1]).nonzero()
    sums = np.empty(len(raw) + 1, np.uint64)
    sums[0] = 0
    letters = low + np.uint8(1)  # so that each one counts; UTF-8 has no byte 255
    (letters * _POWERS[: len(raw)]).cumsum(out=sums[1:])
    told = sums.take(edges)
    words: NDArray[np.uint64] = told[1::2] - told[::2]
    words *= _INVERSES.take(edges[::2])
    return words


def _into_buckets(hashes: NDArray[np.uint64], found: Indices, edges: int) -> None:
    """The buckets of words and pairs, and of the edges behind them. Takes the hashes as its scratch."""
    hashes ^= hashes >> _THIRTY_TWO
    hashes *= _MIX
    np.right_shift(hashes[:edges], np.uint64(64 - 15), out=found[:edges], casting="unsafe")
    np.right_shift(hashes[edges:], np.uint64(64 - 13), out=found[edges:], casting="unsafe")
    found += np.int32(PIECES)
    found[edges:] += np.int32(WORDS)


def _counted(where: Indices) -> tuple[Indices, NDArray[np.intp]]:
    """Each bucket once, ascending, with how often it occurs. Sorts in place."""
    where.sort()
    new = np.empty(len(where) + 1, np.bool_)
    new[0] = new[-1] = True
    np.not_equal(where[1:], where[:-1], out=new[1:-1])
    (bounds,) = new.nonzero()
    first = bounds[:-1]
    return where.take(first), bounds[1:] - first


def _shape(raw: bytes, low: bytes, length: int, words: int) -> Floats:
    found = np.empty(SHAPE, np.float32)
    seen = max(len(raw), 1)
    told = np.bincount(np.frombuffer(raw, np.uint8), minlength=256).astype(np.float32) @ _TOLD
    lines, digits, upper, high, other, asked = told[:6].tolist()
    numbers = 0
    if digits:
        digit = np.frombuffer(b" %b" % low, np.uint8) == 48
        numbers = int(np.count_nonzero(digit[1:] > digit[:-1]))
    found[:12] = (
        log1p(length) / 10,
        log1p(words) / 7,
        min(length / max(words, 1) / 12, 2),
        log1p(lines) / 5,
        digits / seen * 4,
        log1p(numbers) / 4,
        upper / seen * 4,
        high / seen,
        other / seen * 3,
        min(length / 400, 3),
        min(words / (lines + 1) / 40, 2),
        min(asked, 4) / 4,
    )
    np.minimum(told[6:] * (20 / seen), 2, out=found[12:])
    return found
