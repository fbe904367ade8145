"""What makes a decision fast changes nothing of it: each short way gives what the plain one would give."""

import re
from collections import Counter
from itertools import pairwise
from zlib import crc32

import numpy as np
import pytest

from rolecast.routing import code, features, tokens
from rolecast.routing.features import EDGE_WORDS, PIECES, WORDS, see
from rolecast.routing.learned import Learned
from rolecast.routing.lexicon import Lexicon
from rolecast.routing.skeleton import skeleton
from rolecast.routing.spelling import Spelling, _keys, _places, shorter

TEXTS = [
    "",
    "a",
    " \n ",
    "Hi",
    "Write   a\n\nPOEM about 2024, please!",
    "x = foo(12, 3.5);\nfor i in range(10): print(i)",
    "tabs\tand\x0bodd\x0cblanks \x00 too",
    "Straße, İstanbul, naïve 日本語 और 😀",
    "if only we had time for this, import duties would fall. from my class, with love",
    "the quick brown fox " * 200,
]
MASK = (1 << 64) - 1


def piece_bucket(piece: bytes) -> int:
    rolling = piece[0]
    for byte in piece[1:]:
        rolling = (rolling * 0x9E3779B1 + byte) & 0xFFFFFFFF
    mix = (0x85EBCA6B + 0x3C6EF372 * len(piece)) & 0xFFFFFFFF | 1
    return ((rolling ^ rolling >> 15) * mix & 0xFFFFFFFF) >> 16


def word_number(word: bytes) -> int:
    return sum((byte + 1) * pow(0x9E3779B97F4A7C15, i, 1 << 64) for i, byte in enumerate(word)) & MASK


def bucket(number: int, bits: int) -> int:
    return ((number ^ number >> 32) * 0xD6E8FEB86659FD93 & MASK) >> 64 - bits


def plainly(text: str) -> Counter[int]:
    """The buckets of a short text of ASCII, by the letter of the description."""
    low = re.sub(rb"[0-9]", b"0", text.encode().lower())
    folded = b" " + re.sub(rb"[\0\t-\r ]+", b" ", low) + b" "
    words = [word_number(word) for word in re.findall(rb"[a-z0_]+", low)]
    pairs = [a * 0xC2B2AE3D27D4EB4F + b & MASK for a, b in pairwise(words)]
    first, last = 0xA0761D6478BD642F, 0xE7037ED1A0B428DB
    edges = [w ^ first for w in words[:EDGE_WORDS]] + [w ^ last for w in words[-EDGE_WORDS:]]
    edges += [pair ^ first for pair in pairs[:1]]
    found = Counter(piece_bucket(folded[i : i + n]) for n in range(2, 6) for i in range(len(folded) - n + 1))
    found.update(PIECES + bucket(number, 15) for number in words + pairs)
    found.update(PIECES + WORDS + bucket(number, 13) for number in edges)
    found.update((skeleton(text) + features.EDGES + PIECES + WORDS).tolist())
    return found


@pytest.mark.parametrize("text", [t for t in TEXTS if t.isascii() and len(t) < 500], ids=str.__len__)
def test_buckets_and_their_counts_are_those_of_a_plain_count(text: str) -> None:
    expected = sorted(plainly(text).items())
    seen = see(text)
    assert seen.buckets.tolist() == [which for which, _ in expected]
    np.testing.assert_allclose(seen.weights, [1 + np.log(count) for _, count in expected], rtol=1e-6)


def test_a_word_is_found_also_where_others_have_its_place_in_the_table() -> None:
    rng = np.random.default_rng(1)
    hashes = np.unique(rng.integers(1, 1 << 63, 30_000).astype(np.uint64))
    lexicon = Lexicon(hashes, np.zeros((len(hashes), 2), np.int8))
    asked = np.concatenate((hashes, hashes[:5], np.array([0, 7, MASK], np.uint64)))
    assert sorted(lexicon.known(asked).tolist()) == sorted([*range(len(hashes)), *range(5)])
    assert len(lexicon.known(np.array([], np.uint64))) == 0
    assert lexicon.meaning(np.array([7], np.uint64)).tolist() == [0, 0]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_an_opinion_is_the_same_with_and_without_what_is_less_likely(text: str) -> None:
    sight = Learned.load().look(text)
    for head in sight.model.heads:
        whole, said = sight.opinion(head), sight.said(head)
        assert (whole.label, whole.confidence, whole.sure) == (said.label, said.confidence, said.sure)
        assert whole.probabilities[said.label] == max(whole.probabilities.values()) == said.confidence


@pytest.mark.parametrize("pattern", [p for group in code._WORDS.values() for p in group] + [p for _, p in code._SIGNS])
def test_code_is_found_where_a_search_from_left_to_right_finds_it(pattern: str) -> None:
    plain = re.compile(pattern.removeprefix("^"), re.MULTILINE)
    look = code._compiled(pattern)
    assert look.begins == pattern.startswith("^")
    for text in [*TEXTS, *(f"{t}\n  {look.literal}{t} {look.literal} x" for t in TEXTS)]:
        found = [m.start() for m in plain.finditer(text)]
        starts = [at for at in found if not look.begins or not text[text.rfind("\n", 0, at) + 1 : at].strip()]
        assert code._occurs(look, text) is bool(starts)


@pytest.mark.parametrize(
    ("pattern", "literal"), [(r"my ?[$]", "my"), (r"\+=\s", "+="), (r"\w\(", ""), (r"ab+c", "a"), (r"a{2}", "")]
)
def test_only_what_must_stand_there_is_what_a_pattern_begins_with(pattern: str, literal: str) -> None:
    assert code._literal(pattern) == literal


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_words_are_counted_as_they_are_split(text: str) -> None:
    raw = text.encode()
    assert tokens._words(raw) == len(raw.split())


@pytest.mark.parametrize("word", ["letter", "aaa", "naïveté", "xyz", "größe", "bookkeeper"])
def test_forms_have_the_keys_of_their_letters(word: str) -> None:
    assert _keys(word) == [crc32(form.encode()) for form in shorter(word)]


@pytest.mark.parametrize("text", ["Teh end of teh tehran, not-teh teh2 _teh TEH", "Teh ïs teh", "teh", "xteh tehx"])
def test_a_word_is_mended_where_it_stands_alone_and_not_within_others(text: str) -> None:
    plain = [m.span() for m in re.finditer(r"[^\W\d_]{3,}", text) if m[0].lower() == "teh"]
    assert _places(text, ["teh"]) == plain


def test_a_text_is_strange_only_where_no_word_is_known_and_all_are_of_plain_letters() -> None:
    spelling = Spelling(["known"], np.array([], np.uint32), np.array([], np.uint16))
    assert spelling.strange("zzxq qqqw")
    assert not spelling.strange("zzxq known")
    assert not spelling.strange("zzxq größe")
    assert not spelling.strange("1 2 ?")
