"""The skeleton of a request stays the same whatever it is about."""

import pytest

from rolecast.routing.skeleton import BUCKETS, HEAD, TAIL, skeleton


def shared(one: str, other: str) -> float:
    a, b = set(skeleton(one).tolist()), set(skeleton(other).tolist())
    return len(a & b) / len(a | b)


def test_requests_of_one_kind_share_their_skeleton_and_others_do_not() -> None:
    wish = "should i sell the old boat or keep it?"
    assert shared(wish, "should i marry my cousin or keep it?") > 0.5
    assert shared(wish, "who sold the old boat and where was it kept") < 0.15


def test_what_fills_a_gap_does_not_count_nor_how_many_words_it_is() -> None:
    one, other = skeleton("what is the capital gain"), skeleton("what is the xylophone")
    assert set(one[:5].tolist()) == set(other[:5].tolist())


def test_the_first_words_of_a_later_sentence_are_seen_as_such() -> None:
    plain, later = skeleton("Kittens nap. Summarise kittens"), skeleton("Bread. Summarise kittens")
    assert set(plain.tolist()) & set(later.tolist())


@pytest.mark.parametrize("text", ["", " ", "?", "\0", "\ud800", "\n" * 3000, "a." * 3000, "9" * 5000, "你好" * 900])
def test_any_text_has_a_skeleton_in_bounds(text: str) -> None:
    found = skeleton(text)
    assert ((found >= 0) & (found < BUCKETS)).all()
    assert len(found) <= 7 * (HEAD + TAIL + 4)


def test_what_was_pasted_between_is_not_read() -> None:
    head, tail = "x" * HEAD, "y" * TAIL
    assert skeleton(f"{head} should i {tail}").tolist() == skeleton(f"{head} who was {tail}").tolist()
