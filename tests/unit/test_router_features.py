"""What the learned router sees of a text: always, of anything, and the same every time."""

import numpy as np
import pytest

from rolecast.routing.features import BUCKETS, HEAD_BYTES, SHAPE, TAIL_BYTES, clip, see, word_hash

ODD = [
    "",
    " ",
    "\0\0",
    "a",
    "ß",
    "\ud800 lone surrogate",
    "İstanbul'da ne yapar",
    "日本語のテキスト" * 900,
    "x" * 1_000_000,
    "\n" * 5000,
    "word " * 20_000,
    "😀" * 3000,
    "ﬃ" * 3000,
]


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_any_text_gives_a_finite_sight_of_bounded_size(text: str) -> None:
    seen = see(text)
    assert seen.shape.shape == (SHAPE,)
    assert np.isfinite(seen.shape).all()
    assert seen.buckets.shape == seen.weights.shape
    assert len(seen.buckets) < 5 * (HEAD_BYTES + TAIL_BYTES)
    assert (np.diff(seen.buckets) > 0).all()
    assert seen.buckets.min(initial=0) >= 0
    assert seen.buckets.max(initial=0) < BUCKETS
    assert (seen.weights >= 1).all()


def test_a_word_has_one_hash_wherever_it_stands() -> None:
    assert word_hash("glucose") == see("is glucose sweet?").words[1] == see("Well,\n(GLUCOSE)!").words[1]
    assert word_hash("glucose") != word_hash("glucos")


def test_words_of_the_same_letters_in_another_order_differ() -> None:
    assert word_hash("listen") != word_hash("silent")


def test_case_and_runs_of_blanks_change_no_bucket() -> None:
    assert see("Write   a \t POEM").buckets.tolist() == see("write a poem").buckets.tolist()


def test_of_a_long_text_the_head_and_the_tail_are_seen_and_nothing_between() -> None:
    def long(middle: str) -> str:
        return "summarise this: " + "lorem " * 400 + middle + "ipsum " * 400 + "in one sentence"

    one, other = see(long("a")), see(long("b"))
    assert one.buckets.tolist() == other.buckets.tolist()
    assert one.words[0] == word_hash("summarise")
    assert one.words[-1] == word_hash("sentence")


def test_a_long_text_is_cut_before_it_is_encoded() -> None:
    raw, length = clip("é" * 10_000_000)
    assert len(raw) <= HEAD_BYTES + TAIL_BYTES + 3
    assert length == 10_000_000
