"""What tells how hard a question may be besides its words: its answers to choose from, numbers, sentences, negations.

A pure function of the clipped bytes of a text. Knows no label and no model.
"""

import re
from math import log1p
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_OPTION = re.compile(rb"\n[ \t]*\(?[A-Ha-h][.)] ?")
_TAIL = re.compile(rb"\s*\n\s*(?:Answer|answer):?\s*\Z")
_NUMBER = re.compile(rb"\d[\d,]*(?:\.\d+)?")
_NEGATIONS = (b" not ", b" no ", b"n't ", b" never ", b" except", b" without ", b" least ", b" incorrect", b" false")
_STRESSED = (b"NOT", b"EXCEPT", b"LEAST", b"FALSE")
_COUNTED = (b"?", b",", b'"', b"(", b"%", b"$", b"/", b"=", b"^", b"+", b"*", b"\\")
_FIGURES = frozenset(b"0123456789 $%.,+-/()^*=\\{}")
_DIGIT = re.compile(rb"\d")
_WORD = re.compile(rb"\w+")
_KINDS = bytes(
    65 if 65 <= b < 91 else 48 if 48 <= b < 58 else 46 if b in b"?!" else 32 if b in b"\t\n\r" else b
    for b in range(256)
)
"""Capitals alike, digits alike, ends of sentences alike, blanks alike: what counting needs, in one pass."""
HEAD_BYTES, TAIL_BYTES = 512, 256
"""Of a long question so much is read: reading costs more here than elsewhere."""
_MOST_NUMBERS = 40
_MOST_OPTIONS = 10

FORM = 33 + len(_COUNTED)
"""So many numbers there are."""


class Form(NamedTuple):
    """What is told by the form of a text."""

    numbers: NDArray[np.float32]
    """FORM numbers, each about 0 to 3."""
    choices: bool
    """Whether there are answers to choose from."""


def form(raw: bytes) -> Form:
    """The form of a text, of any bytes."""
    asked, options = parted(raw)
    length = len(asked)
    if length > HEAD_BYTES + TAIL_BYTES:
        asked = asked[:HEAD_BYTES] + b" " + asked[-TAIL_BYTES:]
    counts = [log1p(asked.count(sign)) for sign in _COUNTED]
    numbers = np.array((*_asked(asked, length), *_numbers(asked), *_options(options, asked), *counts), np.float32)
    return Form(numbers, bool(options))


def parted(raw: bytes) -> tuple[bytes, list[bytes]]:
    """The question and its answers to choose from; all of the text and none where there are not at least two."""
    asked, *options = _OPTION.split(raw, _MOST_OPTIONS)
    if len(options) < 2:
        return raw, []
    options[-1] = _TAIL.sub(b"", options[-1])
    return asked, options


def _asked(text: bytes, length: int) -> tuple[float, ...]:
    """How long it is, its sentences, its negations, how it ends."""
    long = log1p(length)
    kinds = text.translate(_KINDS)
    sentences = [len(part) for part in kinds.split(b". ")]
    words = text.count(b" ") + 1
    low = text.lower()
    bare = text.rstrip()
    return (
        long / 4,
        long * long / 40,
        log1p(words) / 3,
        len(text) / words / 8,
        log1p(len(sentences)),
        log1p(max(sentences)) / 4,
        log1p(len(text) / len(sentences)) / 4,
        log1p(sum(low.count(word) for word in _NEGATIONS)),
        float(b"AAA" in kinds and any(word in text for word in _STRESSED)),
        log1p(kinds.count(b"AA")),
        log1p(kinds.count(b" A")),
        float(b"__" in text),
        float(bare.endswith(b"?")),
        float(bare.endswith(b":")),
    )


def _numbers(text: bytes) -> tuple[float, ...]:
    """How many there are, how large, how many with a fraction."""
    if _DIGIT.search(text) is None:
        return (0.0,) * 7
    found = [float(n.replace(b",", b"")[:18]) for n in _NUMBER.findall(text)[:_MOST_NUMBERS]]
    sizes = [log1p(n) for n in found]
    many = log1p(len(found))
    return (
        many,
        many * many / 3,
        max(sizes, default=0.0) / 5,
        sum(sizes) / max(len(sizes), 1) / 4,
        log1p(sum(n != int(n) for n in found)),
        log1p(len(set(found))),
        log1p(sum(n >= 100 for n in found)),
    )


def _options(options: list[bytes], asked: bytes) -> tuple[float, ...]:
    """Answers to choose from: their lengths, whether they are numbers or single words, and what words they share."""
    if not options:
        return (0.0,) * 12
    options = [o.strip() for o in options]
    sizes = [len(o) for o in options]
    n = len(options)
    mean = sum(sizes) / n
    spread = (sum((size - mean) ** 2 for size in sizes) / n) ** 0.5
    words = [set(_WORD.findall(o.lower())) for o in options]
    pairs = [len(a & b) / (len(a | b) or 1) for i, a in enumerate(words) for b in words[:i]]
    told = set(_WORD.findall(asked.lower()))
    return (
        log1p(mean) / 3,
        log1p(max(sizes)) / 3,
        log1p(min(sizes)) / 3,
        log1p(max(sizes) - min(sizes)) / 3,
        log1p(spread) / 3,
        (log1p(mean) - log1p(len(asked))) / 3 + 1,
        sum(_FIGURES.issuperset(o) for o in options) / n,
        sum(b" " not in o for o in options) / n,
        sum(_DIGIT.search(o) is not None for o in options) / n,
        sum(o[:1].isupper() for o in options) / n,
        sum(pairs) / len(pairs),
        sum(len(each & told) / (len(each) or 1) for each in words) / n,
    )
