"""What is private is found as people read it, wherever it stands in a long text or a list, and holds up nobody."""

import json
import random
import threading
import time
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.privacy.finder import LONGEST, PIECE, Finder
from rolecast.privacy.folded import Folded
from rolecast.privacy.spans import KINDS, Span
from rolecast.privacy.tokens import Tokens
from rolecast.privacy.veil import Veil

NAME = "Zoë Ångström"
ALL = Finder(KINDS, [NAME])
FULL = str.maketrans({chr(c): chr(c + 0xFEE0) for c in range(0x21, 0x7F)})
BOLD = str.maketrans({chr(0x61 + i): chr(0x1D41A + i) for i in range(26)})


def found(text: str) -> list[str]:
    return [text[span.start : span.end] for span in ALL.find(text)]


@pytest.mark.parametrize(
    "said",
    [
        unicodedata.normalize("NFD", NAME),
        "Zo\u200bë Ång\u00adström",
        "ann@exam\u200bple.org",
        "ann\u200d@example.org",
        "ann@example.org".translate(FULL),
        "ann%40example.org",
        "ann\\u0040example.org",
        "ann&#64;example.org",
        "ann&#x40;example.org",
        "ann&commat;example.org",
        "4111\u200b1111\u200b1111\u200b1111",
        "4111%201111%201111%201111",
        "4111 1111 1111 1111".translate(FULL),
        "sk-proj-\u200babcDEF0123456789abcDEF",
        "ann@example.org".translate(BOLD),
    ],
)
@pytest.mark.parametrize("frame", ["{}", "Write to {} today", "Zeile zwei, für {}, bitte"])
def test_a_value_is_found_as_it_is_read(said: str, frame: str) -> None:
    assert found(frame.format(said)) == [said]


@given(
    st.text(st.sampled_from("aé%4@0\\u&#6;\u200b\u0301\uff21 x1"), max_size=60), st.integers(0, 60), st.integers(0, 60)
)
def test_places_lead_back_to_the_text(text: str, start: int, end: int) -> None:
    folded = Folded(text)
    size = len(folded.text)
    if not folded:
        assert folded.text == text
        return
    start, end = min(start, size), min(end, size)
    if start < end:
        span = folded.written(Span(start, end, "names"))
        assert 0 <= span.start < span.end <= len(text)
        assert Folded(text[span.start : span.end]).text[:1] in (folded.text[start], "")


def test_a_long_text_is_searched_in_pieces_as_if_it_were_one() -> None:
    rng = random.Random(7)
    block = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBg\n" * 1300 + "-----END PRIVATE KEY-----"
    values = ["ann@example.org", "4111 1111 1111 1111", NAME, "ghp_abcdefghijklmnopqrst0123", block]
    text, places = "", []
    for number in range(40):
        value = values[number % len(values)]
        edge = (len(text) // PIECE + 1) * PIECE
        text += "words " * ((edge - len(text) - rng.randrange(len(value) + 20)) // 6 - 2)
        text += rng.choice(["(", " ", "\n"])
        places.append((len(text), len(text) + len(value)))
        text += value + " "
    assert len(text) > 10 * (PIECE + LONGEST)
    assert [(s.start, s.end) for s in ALL.find(text)] == places


@pytest.mark.parametrize("piece", ["sk-", "GB82 WEST 1234 5698 7654 32 ", "4111 1111 1111 1111 ", "ann@example.org;"])
def test_what_stands_close_to_close_is_covered_across_pieces(piece: str) -> None:
    text = (piece * PIECE)[: 2 * PIECE + 2 * LONGEST + 5]
    spans = ALL.find(text)
    assert spans[0].start == 0
    assert all(after.start - before.end <= 2 for before, after in pairwise(spans))


VALUES = {
    "cards": ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005"],
    "ibans": ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000"],
    "phones": ["+49 170 1234567", "0170 1234567", "(415) 555-2671", "+1 415 555 2671", "030 123456-78"],
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("between", [" ", ", ", "\n", " / ", " and "])
@pytest.mark.parametrize("before", ["", "12 34 56 78 90 12 34 56 78 90 ", "ID99 is "])
def test_none_of_a_list_is_passed_over(kind: str, between: str, before: str) -> None:
    values = VALUES[kind]
    for first in values:
        for second in values:
            text = before + between.join((first, second, first))
            spans = ALL.find(text)
            left = "".join(c for i, c in enumerate(text) if not any(s.start <= i < s.end for s in spans))
            assert not any(c.isdigit() for c in left.removeprefix(before)), (text, left)


def test_a_long_search_lets_others_work_meanwhile() -> None:
    text = "1" * 4_000_000
    gaps, over = [0.0], threading.Event()

    def look() -> None:
        last = time.perf_counter()
        while not over.wait(0.0005):
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    began = time.perf_counter()
    watching = threading.Thread(target=look)
    watching.start()
    ALL.find(text)
    over.set()
    watching.join()
    assert len(gaps) > 10
    assert max(gaps) < (time.perf_counter() - began) / 8


@pytest.mark.parametrize("gap", ["  ", "\t", ".", "/", "_", "|", "\n", "\r\n"])
def test_a_card_is_found_whatever_stands_between_its_groups(gap: str) -> None:
    said = gap.join(["4111", "1111", "1111", "1111"])
    assert found(f"It is {said} now") == [said]
    assert not found(f"It is {said[:-1]}2 now")


def veiled(value: object) -> tuple[bytes, int]:
    veil = Veil(ALL, Tokens(b"s" * 32))
    return veil.cover(json.dumps(value).encode()), veil.unread


@pytest.mark.parametrize(
    "value",
    [
        {"rows": [*range(20), "ann@example.org"]},
        {"cards": [4111111111111111] * 5},
        {"a": [4111111111111111.0, -4111111111111111, 4.111111111111111e15, 1e300]},
        {"content": "data: ;base64, is what they call it, says ann@example.org"},
        {"content": "data:image/png;base64,AAAA and ann@example.org"},
    ],
)
def test_what_only_begins_as_a_medium_is_searched(value: object) -> None:
    sent, unread = veiled(value)
    assert b"ann@" not in sent
    assert b"4111" not in sent
    assert not unread


def test_tokens_and_pictures_are_none_of_these() -> None:
    value = {"input": [100_257, 5, 17, 999_999], "url": "data:image/png;charset=x;base64,AAAA\nBBBB"}
    assert veiled(value) == (json.dumps(value).encode(), 2)
