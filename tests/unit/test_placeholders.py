"""What a translation must not touch is taken out and put back, whatever the text; pieces joined are the text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.backends.ctranslate2_text import runs, sentences
from rolecast.tasks.translation.placeholders import BRACKETS, TAGS, Form, Restorer, mask, plain
from rolecast.tasks.translation.text import pieces, shape

SIGNS = "ab zé.。 !?\n\r\t`~#->*|{}%$s()d<>/x1234[]&;@:\\n\u2028"
TEXTS = st.text(alphabet=st.sampled_from(SIGNS), max_size=300)
FORMS = st.sampled_from([TAGS, BRACKETS])


@given(TEXTS, FORMS)
def test_a_text_comes_back_to_the_character(text: str, form: Form) -> None:
    masked = mask(text, form)
    assert masked.whole(masked.text)
    assert masked.restored(masked.text) == text
    segments = masked.segments()
    assert "".join(segments) == masked.text
    assert [each for each in segments if masked.is_mark(each)] == masked.marks


@given(TEXTS, FORMS, st.lists(st.integers(1, 9), min_size=1))
def test_in_pieces_the_same_comes_back_and_no_part_of_a_mark(text: str, form: Form, sizes: list[int]) -> None:
    masked = mask(text, form)
    restorer, at, told = Restorer(masked), 0, ""
    while at < len(masked.text):
        size = sizes[at % len(sizes)]
        told += restorer.take(masked.text[at : at + size])
        assert text.startswith(told)
        at += size
    assert told + restorer.end() == text


@given(TEXTS, FORMS, st.integers(0, 50))
def test_a_lost_and_a_doubled_mark_are_noticed(text: str, form: Form, pick: int) -> None:
    masked = mask(text, form)
    if not masked.kept:
        return
    mark = masked.marks[pick % len(masked.marks)]
    assert not masked.whole(masked.text.replace(mark, "", 1))
    assert not masked.whole(masked.text + mark)


@given(TEXTS, st.integers(1, 60))
def test_pieces_joined_are_the_text_and_none_is_too_long(text: str, most: int) -> None:
    found = pieces(text, most, len)
    assert "".join(each.text for each in found) == text
    assert all(len(each.text) <= most and each.text.strip() == each.text for each in found if not each.kept)


@given(TEXTS)
def test_sentences_joined_are_the_text(text: str) -> None:
    assert "".join(each for each, _ in sentences(text)) == text


@given(st.lists(st.sampled_from(["\u2581a", "b", "c"])), st.integers(2, 7))
def test_runs_joined_are_the_tokens(tokens: list[str], most: int) -> None:
    found = runs(tokens, most)
    assert [each for run in found for each in run] == tokens
    assert all(len(run) <= most for run in found)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Hi {name}!", ["{name}"]),
        ("%s of %(x)d, %1$s and %-5.2f", ["%s", "%(x)d", "%1$s", "%-5.2f"]),
        ("50% discount, 100%, 5 % down", []),
        ("You have %count% items, %1 of %2", ["%count%", "%1", "%2"]),
        ("Hello :name, note: it is 10:30 :)", [":name"]),
        ("<0>Click</0> here, <%= x %> or $(x)", ["<0>", "</0>", "<%= x %>", "$(x)"]),
        ("{n, plural, one {# item} other {# items}} left", ["{n, plural, one {", "} other {", "}}"]),
        (
            "{g, select, male {He} other {They}} liked {n} and {m}",
            ["{g, select, male {", "} other {", "}}", "{n}", "{m}"],
        ),
        ("100%% sure", ["%%"]),
        ("${x} and {{ y }} and {% if z %} and $HOME, for $5", ["${x}", "{{ y }}", "{% if z %}", "$HOME"]),
        ('<b class="x">bold</b><br/><!-- note -->', ['<b class="x">', "</b>", "<br/>", "<!-- note -->"]),
        ("3 < 4 and 5 > 2", []),
        ("run `make all` now", ["`make all`"]),
        ("see https://x.org/a?b=1&c=2. Or (www.y.de/z).", ["https://x.org/a?b=1&c=2", "www.y.de/z"]),
        ("mail a.b+c@x-y.co.uk.", ["a.b+c@x-y.co.uk"]),
        ("[docs](guide/start.md#top) here", ["(guide/start.md#top)"]),
        ("Tom &amp; Jerry &#39; &c", ["&amp;", "&#39;"]),
        ("one\\ntwo", ["\\n"]),
    ],
)
def test_what_is_kept_is_what_no_translator_would_touch(text: str, kept: list[str]) -> None:
    assert list(mask(text, TAGS).kept) == kept
    for each in kept:
        assert each not in plain(text)


def test_marks_that_stand_in_the_text_are_kept_themselves() -> None:
    assert list(mask("a <x1/> b", TAGS).kept) == ["<x1/>"]
    masked = mask("as [1] says {x}", BRACKETS)
    assert (masked.text, masked.kept) == ("as [1] says [2]", ("[1]", "{x}"))


def test_marks_are_known_as_small_models_write_them() -> None:
    masked = mask("hi {a} {b}", TAGS)
    assert masked.whole("ola < X1 /> <x2>")
    assert masked.restored("ola < X1 /> <x2>") == "ola {a} {b}"


def test_code_stays_one_piece_with_its_blank_lines() -> None:
    text = "Hello.\n\n```py\nx = 1\n\n# done\n```\nBye.\n~~~\nopen"
    kept = [each.text for each in pieces(text, 100, len) if each.kept]
    assert "```py\nx = 1\n\n# done\n```\n" in kept
    assert "~~~\nopen" in kept


def test_the_shape_is_lines_and_marks() -> None:
    assert shape("# a\n\n- b\n2) c\n> d\n| e |") == shape("# x\n\n* y\n1. z\n> w\n| v |")
    assert shape("a\nb") != shape("a b")
    assert shape("- a") != shape("a")


def test_sentences_end_where_people_see_them_end() -> None:
    found = [each for each, is_one in sentences("Dr. Who met Mr. Smith. He left! 3.5 m?\n- item one. Two.") if is_one]
    assert found == ["Dr. Who met Mr. Smith.", "He left!", "3.5 m?", "item one.", "Two."]


@pytest.mark.parametrize(
    "sign", ["`", "a", "<!--", "{", "http://", "%0", " ", "%(", "[1", "a@", "\\n", "``a", ". ", "$"]
)
def test_no_text_takes_long(sign: str) -> None:
    text = "%" + sign * (200_000 // len(sign))
    start = time.process_time()
    for form in (TAGS, BRACKETS):
        mask(text, form)
    pieces(text, 400, lambda each: len(each) / 4)
    assert time.process_time() - start < 5
