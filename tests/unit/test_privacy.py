"""What is private is found, replaced by tokens and restored, in any pieces and in linear time."""

import json
import random
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import NAMES, Planted, harmless, named, structured

from rolecast.privacy.finder import Finder
from rolecast.privacy.names import Names
from rolecast.privacy.restoring import Restorer
from rolecast.privacy.spans import KINDS, Span, merged
from rolecast.privacy.tokens import ANY, Tokens
from rolecast.privacy.veil import Unreadable, Veil

ALL = Finder([kind for kind in KINDS if kind != "ips"], NAMES)
TOKENS = Tokens(b"a secret of a test")


def veil() -> Veil:
    return Veil(ALL, TOKENS)


def hidden(item: Planted) -> bool:
    """Whether nothing of the value stays in the text."""
    text, at = item.text, 0
    kept = []
    for span in ALL.find(text):
        kept.append(text[at : span.start])
        at = span.end
    return item.value not in "\0".join((*kept, text[at:])) and any(
        text[span.start : span.end] in item.value or item.value in text[span.start : span.end]
        for span in ALL.find(text)
    )


def test_97_of_100_things_with_a_form_are_found_of_each_kind() -> None:
    found, all_of = Counter[str](), Counter[str]()
    missed = []
    for item in structured(7, 500):
        all_of[item.kind] += 1
        found[item.kind] += hidden(item)
        missed += [] if hidden(item) else [item]
    assert {kind: found[kind] / count >= 0.97 for kind, count in all_of.items()} == dict.fromkeys(all_of, True), missed


def test_92_of_100_names_are_found() -> None:
    items = list(named(11, 500))
    missed = [item for item in items if not hidden(item)]
    assert len(missed) <= 0.08 * len(items), missed[:20]


def test_what_only_looks_private_stays() -> None:
    items = list(harmless(3, 500))
    wrong = [(item.text, ALL.find(item.text)) for item in items if ALL.find(item.text)]
    assert len(wrong) <= 0.01 * len(items), wrong[:5]


@pytest.mark.parametrize("word", ["Waiter", "Martini", "Copper", "Horse", "Pray", "Anne", "Ann", "Manner"])
def test_common_words_are_no_names_with_a_slip(word: str) -> None:
    names = Names(["Walter", "Martin", "Cooper", "Horst", "Priya", "Anna", "Tanner"])
    assert list(names.find(f"{word} is here. The {word} went.")) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Will you come?", []),
        ("Then Will came.", ["Will"]),
        ("Will's dog", ["Will"]),
        ("Dear Will, hi", ["Will"]),
        ("they will", []),
    ],
)
def test_a_name_that_is_a_word_counts_where_it_stands_as_a_name(text: str, found: list[str]) -> None:
    assert [text[s.start : s.end] for s in Names(["Will"]).find(text)] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("password: hunter2", "hunter2"),
        ("my PIN is 4821.", "4821"),
        ('"client_secret": "aB3$xyz9"', "aB3$xyz9"),
        ("postgres://app:s3cr3t!@db/x", "s3cr3t!"),
        ("Authorization: Bearer abcDEF0123456789xyz", "abcDEF0123456789xyz"),
        ("ann [at] example [dot] org", "ann [at] example [dot] org"),
        ("tel:+493012345678", "+493012345678"),
        ("ring 5550 1234 please", "5550 1234"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\n-----END PRIVATE KEY-----", None),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAA", None),
    ],
)
def test_what_stands_around_a_thing_tells_what_it_is(text: str, found: str | None) -> None:
    assert [text[s.start : s.end] for s in ALL.find(text)] == [found or text]


def test_addresses_of_machines_are_found_where_they_are_asked_for() -> None:
    text = "10.1.2.3, 2001:db8::1 and 127.0.0.1, version 1.2.3.4 at 12:34:56"
    assert [text[s.start : s.end] for s in Finder(["ips"]).find(text)] == ["10.1.2.3", "2001:db8::1"]


def test_of_things_that_overlap_no_end_stays() -> None:
    assert merged([Span(2, 9, "phones"), Span(5, 12, "keys"), Span(12, 14, "names")]) == [
        Span(2, 12, "keys"),
        Span(12, 14, "names"),
    ]


HOSTILE = ["a", "@", "1", "+1", "eyJaaaaaaaa.", "token=", "sk-"]
WORSE = [
    "a@",
    "1 ",
    "Anna ",
    "DE12 ",
    "://a:",
    "[at]",
    "Annx Mullr ",
    "password is ",
    "x" * 50 + "@",
    "[EMAIL_",
    "4111 ",
]


@pytest.mark.parametrize(
    ("piece", "size"),
    [(each, 1_000_000) for each in HOSTILE] + [(each, 50_000) for each in (*WORSE, "-----BEGIN PRIVATE KEY-----")],
)
def test_a_long_hostile_line_is_searched(piece: str, size: int) -> None:
    """Whatever is repeated, it ends: work that grew with the square of the length would take hours."""
    text = (piece * size)[:size]
    assert len(ALL.find(text)) <= size
    restorer = Restorer({"EMAIL_4f2a91": "x"})
    assert restorer.feed(text) + restorer.end() == text


# -- tokens ------------------------------------------------------------------------------------------------------


def test_the_same_value_has_the_same_token_and_another_secret_another_one() -> None:
    one, again = TOKENS.of("emails", "a@b.org", {}), TOKENS.of("emails", "a@b.org", {})
    assert one == again
    assert re.fullmatch(r"EMAIL_[0-9a-f]{6}", one)
    assert Tokens(b"other").of("emails", "a@b.org", {}) != one


def test_two_values_never_share_a_token_of_one_request() -> None:
    taken = {TOKENS.of("emails", "a@b.org", {}): "somebody@else.org"}
    longer = TOKENS.of("emails", "a@b.org", taken)
    assert longer not in taken
    assert ANY.fullmatch(f"[{longer}]")


@pytest.mark.parametrize(
    "written",
    ["[EMAIL_4f2a91]", "EMAIL_4f2a91", "[email_4F2A91]", r"\[EMAIL\_4f2a91\]", "%5BEMAIL_4f2a91%5D", "[EMAIL-4f2a91]"],
)
def test_tokens_are_restored_as_models_write_them(written: str) -> None:
    restorer = Restorer({"EMAIL_4f2a91": "a@b.org"})
    text = f"to {written}, now"
    assert "".join(map(restorer.feed, text)) + restorer.end() == "to a@b.org, now"


def test_what_is_no_token_of_this_request_stays() -> None:
    restorer = Restorer({"EMAIL_4f2a91": "a@b.org"})
    text = "[EMAIL_000000] XEMAIL_4f2a91 EMAIL_4f2a91x [EMAIL] an email"
    assert restorer.feed(text) + restorer.end() == text


def test_values_in_json_are_escaped() -> None:
    restorer = Restorer({"KEY_4f2a91": 'a"b\\c\nd'}, escaped=True)
    text = restorer.feed('{"x": "[KEY_4f2a91]"}') + restorer.end()
    assert json.loads(text) == {"x": 'a"b\\c\nd'}


# -- bodies ------------------------------------------------------------------------------------------------------

ITEMS = [*structured(21, 60), *named(22, 20)]
plain = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(plain, st.sampled_from(ITEMS).map(lambda item: f" {item.text} ")), max_size=6), st.randoms())
def test_any_text_with_planted_things_comes_back_as_it_was(texts: list[str], rng: random.Random) -> None:
    body = {"messages": [{"role": "user", "content": text} for text in texts], "model": "m"}
    cover = veil()
    covered = json.loads(cover.cover(json.dumps(body).encode()))
    for sent, text in zip(covered["messages"], texts, strict=True):
        assert not any(value in sent["content"] for value in cover.values.values() if len(value) > 8)
        restorer, answer, at = Restorer(cover.values), "", 0
        while at < len(sent["content"]):
            size = rng.randint(1, 9)
            answer += restorer.feed(sent["content"][at : at + size])
            at += size
        assert answer + restorer.end() == text


@pytest.mark.parametrize(
    "value",
    [
        {"messages": [{"role": "tool", "content": '{"to": "ann\\u0040example.org"}'}]},
        {"tool_calls": [{"function": {"name": "mail", "arguments": '{"to":"ann@example.org","n":4111111111111111}'}}]},
        {"messages": [{"content": [{"type": "tool_use", "input": {"ann@example.org": 4111111111111111}}]}]},
        {"tools": [{"description": "for ann@example.org", "parameters": {"enum": ["ann@example.org"]}}]},
        {"prompt": "ann@example.org", "suffix": "4111 1111 1111 1111"},
        {"user": "ann@example.org", "stop": ["ann@example.org"], "metadata": {"x": "ann@example.org"}},
    ],
)
def test_every_place_of_a_body_is_searched(value: dict[str, Any]) -> None:
    sent = veil().cover(json.dumps(value).encode())
    assert not any(each in sent for each in (b"ann@", b"ann\\u0040", b"4111111111111111", b"4111 1111"))
    json.loads(sent)


def test_a_field_that_is_named_twice_cannot_hide_anything() -> None:
    sent = veil().cover(b'{"content":"ann@example.org","content":"hello"}')
    assert sent == b'{"content":"hello"}'


def test_what_only_its_surroundings_gave_away_is_found_elsewhere_too() -> None:
    sent = veil().cover(json.dumps({"a": "password: hunter2", "b": "I said (hunter2)."}).encode())
    assert b"hunter2" not in sent


def test_pictures_and_numbers_of_tokens_stay_and_are_counted() -> None:
    picture = "A" * 100 + "4111111111111111" * 9
    body = {"x": {"image_url": {"url": f"data:image/png;base64,{picture}"}}, "data": picture, "prompt": [1, 2, 3, 4]}
    cover = veil()
    text = json.dumps(body).encode()
    assert cover.cover(text) == text
    assert cover.unread == 3


def test_what_cannot_be_read_is_told() -> None:
    for body in (b"{", b"[" * 100_000, b'{"x":' * 500 + b"1" + b"}" * 500):
        with pytest.raises(Unreadable):
            veil().cover(body)


def test_a_name_of_a_tool_stays_one() -> None:
    sent = json.loads(veil().cover(b'{"tools":[{"name":"Bartholomew"}]}'))
    assert re.fullmatch(r"NAME_[0-9a-f]{6}", sent["tools"][0]["name"])
