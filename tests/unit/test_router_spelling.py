"""Slips of the keyboard are mended before a prompt is looked at, and nothing else is."""

import random
import sys
from pathlib import Path

import pytest

from rolecast.routing.learned import Learned
from rolecast.routing.spelling import SPAN, Spelling, known_words, one_slip

ROUTER = Path(__file__).parents[2] / "training" / "router"


@pytest.fixture(scope="module")
def few() -> Spelling:
    return known_words(["translate", "story", "write", "stop", "letter", "about", "poem", "rare"], 7)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("wrtie a stry", "write a story"),
        ("translaate the leter", "translate the letter"),
        ("TRANSLTE this", "TRANSLATE this"),
        ("Writw aboutt", "Write about"),
        ("ranslate", "translate"),
        ("translaaye", "translate"),
        ("tranlsaate it", "translate it"),
    ],
)
def test_one_lost_doubled_wrong_or_swapped_letter_is_mended_and_the_case_is_kept(
    few: Spelling, typed: str, meant: str
) -> None:
    assert few.mended(typed) == meant


@pytest.mark.parametrize(
    "text",
    ["", "write a story", "xqzw", "po", "rara", "p0em 1x", "zstoryz", "\ud800\0", "s" * 50],
    ids=["empty", "right", "far", "short", "no target", "digits", "two slips", "no text", "too long"],
)
def test_what_is_no_slip_of_a_common_word_is_left_as_it_is(few: Spelling, text: str) -> None:
    assert few.mended(text) is text


def test_of_two_words_that_may_be_meant_it_is_the_commoner(few: Spelling) -> None:
    assert few.mended("stor") == "story"
    assert known_words(["storm", "story"], 2).mended("stor") == "storm"


def test_a_neighbouring_key_or_a_double_is_likelier_than_any_other_wrong_letter() -> None:
    assert known_words(["west", "rest"], 2).mended("eest") == "west"
    assert known_words(["cat", "cut"], 2).mended("cyt") == "cut"
    assert known_words(["cart", "cat"], 2).mended("caat") == "cat"


def test_two_slips_of_which_none_is_a_double_are_left() -> None:
    assert known_words(["translate"], 1).mended("trnslte") == "trnslte"


def test_a_long_text_is_left_as_it_is(few: Spelling) -> None:
    middle = " wrtie" * SPAN
    assert few.mended(f"wrtie {middle} stry") == f"wrtie {middle} stry"
    assert few.mended("x" * (2 * SPAN - 10) + " stry") == "x" * (2 * SPAN - 10) + " story"


def test_a_slip_undone_is_a_slip() -> None:
    words = ["translate", "on", "aab", "letter"]
    for word in words:
        slips = {word[:i] + word[i + 1 :] for i in range(len(word))}
        slips |= {word[:i] + c + word[i:] for i in range(len(word) + 1) for c in "xe"}
        slips |= {word[:i] + word[i + 1 : i + 2] + word[i : i + 1] + word[i + 2 :] for i in range(len(word) - 1)}
        assert all(one_slip(slip, word) and one_slip(word, slip) for slip in slips)
    assert not one_slip("lettre", "lttr")
    assert not one_slip("abcd", "badc")


def test_the_shipped_words_mend_most_of_what_careless_typing_breaks() -> None:
    sys.path.insert(0, str(ROUTER))
    from noise import damage

    spelling = Learned.load().spelling
    text = "please translate this letter and write a short story about the weather for children"
    rng = random.Random(5)
    total = mended = 0
    for _ in range(50):
        noisy = damage(text, 0.1, rng).split()
        for right, typed in zip(text.split(), noisy, strict=False):
            if typed != right and len(right) > 4:
                total += 1
                mended += spelling.mended(typed) == right
    assert total > 100
    assert mended / total > 0.6


def test_plain_text_passes_unchanged() -> None:
    spelling = Learned.load().spelling
    text = "Could you explain why the sky is blue, and write a short poem about it for my daughter?"
    assert spelling.mended(text) is text
