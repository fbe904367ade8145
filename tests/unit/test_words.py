"""Words are counted and answers cut where a reader would."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolecast.tasks import words

TEXTS = st.lists(
    st.sampled_from(["a", "bb ", "c. ", "d, ", "\n", "- ", "\n\n", "e.g. ", "日", "。", " ", "? ", "x", '"', "3.1"]),
    max_size=120,
).map("".join)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 0),
        ("- one\n- two three", 3),
        ("don't stop: 3.14 and 1,000 well-known", 6),
        ("日本語です", 5),
        ("Das heißt: z.B. hier.", 4),
        ("… — ** !!", 0),
        ("สวัสดีครับ", 2),
        ("привет, мир", 2),
    ],
)
def test_words_are_counted_as_word_processors_do(text: str, number: int) -> None:
    assert words.count(text) == number


def test_sentences_end_where_they_do_and_not_at_abbreviations() -> None:
    text = 'Dr. Smith came at 3.15 p.m. "Hi there!" he said.\nHe went\non. Why?\n\n- one\n- two\n\n何ですか。はい。'
    assert list(words.sentences(text)) == [
        'Dr. Smith came at 3.15 p.m.', '"Hi there!"', "he said.", "He went on.", "Why?", "- one", "- two",
        "何ですか。", "はい。",
    ]  # fmt: skip


@given(text=TEXTS, least=st.integers(0, 30), span=st.integers(1, 30))
@settings(max_examples=400, deadline=None)
def test_a_cut_text_has_few_enough_words_and_not_too_few(text: str, least: int, span: int) -> None:
    most = least + span
    cut = words.cut(text, least, most)
    assert min(least, words.count(text)) <= words.count(cut) <= most
    assert text.startswith(cut.removesuffix(f" {words.ELLIPSIS}"))


@given(text=TEXTS, least=st.integers(0, 30), span=st.integers(1, 30), sizes=st.lists(st.integers(1, 9), min_size=1))
@settings(max_examples=400, deadline=None)
def test_a_text_that_comes_in_pieces_ends_as_one(text: str, least: int, span: int, sizes: list[int]) -> None:
    live, told, place, turn = words.LiveCut(least, least + span), "", 0, 0
    while place < len(text):
        size = sizes[turn % len(sizes)]
        told += live.take(text[place : place + size])
        place, turn = place + size, turn + 1
    told += live.rest()
    assert told == live.sent
    assert min(least, words.count(text)) <= words.count(told) <= least + span
    if words.count(text) <= least + span and not live.full:
        assert told == text


def test_a_cut_keeps_whole_sentences_else_clauses_else_words() -> None:
    assert words.cut("One two. Three four five. Six seven.", 2, 6) == "One two. Three four five."
    assert words.cut("One two, three four five six seven.", 2, 5) == "One two …"
    assert words.cut("one two three four five six", 3, 4) == "one two three four …"
    assert words.cut("- one two\n- three four\n- five", 3, 4) == "- one two\n- three four"


def test_what_comes_in_pieces_goes_on_at_once_until_there_are_nearly_enough_words() -> None:
    live = words.LiveCut(4, 6)
    assert live.take("one two ") == "one two "
    assert live.take("three") == "three"
    assert live.take(" four. Five") == " four."
    assert live.take(" six") == ""
    assert live.take(". Seven") == " Five six."
    assert live.full
    assert live.sent == "one two three four. Five six."
