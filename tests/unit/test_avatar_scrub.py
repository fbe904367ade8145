"""What is private in chats is found and replaced, people by any of their names; and a person has the last word."""

import csv
import json
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rolecast.avatars.conversation import Person
from rolecast.avatars.dataset.free import KINDS, private
from rolecast.avatars.dataset.mentions import Mentions
from rolecast.avatars.dataset.pseudonyms import NAMES, pseudonyms
from rolecast.avatars.dataset.review import FIELDS, Review
from rolecast.avatars.dataset.scrub import WORDS, Scrubber, styled
from rolecast.errors import Invalid
from rolecast.privacy.names import COMMON, common

CORPORA = Path(__file__).parent / "private"
PEOPLE = [
    Person("mira", "Mira Holt"),
    Person("zoe", "Zo\u00eb \u00c5ngstr\u00f6m", ("zozo", "zo_ang88")),
    Person("will", "Will Grant"),
    Person("ob", "Sean O'Brien"),
    Person("hana", "\u4f50\u85e4\u82b1\u5b50"),
    Person("chris", "Christopher Papadakis"),
]


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CORPORA / f"{name}.jsonl").read_text("utf-8").splitlines()]


def found(text: str, mentions: Mentions | None = None) -> list[str]:
    spans = mentions.find(text) if mentions is not None else private(text)
    return [text[span.start : span.end] for span in spans]


def recall(name: str) -> float:
    """The share of things of a corpus of which no letter and no digit stays."""
    hits, known = Counter[bool](), dict[str, Mentions]()
    for row in rows(name):
        text, people = row["text"], row.get("people") or []
        if people and (key := json.dumps(people)) not in known:
            known[key] = Mentions(Person(each["id"], each["name"], tuple(each["names"])) for each in people)
        spans = known[json.dumps(people)].find(text) if people else private(text)
        covered = {at for span in spans for at in range(span[0], span[1])}
        for start, end, _ in row["spans"]:
            hits[all(at in covered for at in range(start, end) if text[at].isalnum())] += 1
    return hits[True] / hits.total()


def test_97_of_100_things_of_a_known_form_are_found() -> None:
    assert recall("planted") >= 0.97


def test_60_of_100_secrets_in_free_words_are_found() -> None:
    assert recall("hard") >= 0.60


def test_at_most_1_of_100_harmless_messages_is_touched() -> None:
    texts = [row["text"] for row in rows("innocent") if not row["spans"]]
    assert [text for text in texts if private(text)][: len(texts) // 100 + 1] == []


def test_92_of_100_mentions_of_people_are_found() -> None:
    assert recall("names") >= 0.92


def test_no_common_word_is_taken_for_a_name() -> None:
    for row in rows("names"):
        if not row["spans"]:
            people = [Person(each["id"], each["name"], tuple(each["names"])) for each in row["people"]]
            assert found(row["text"], Mentions(people)) == [], row["text"]


@pytest.mark.parametrize(
    "text",
    [
        "I'll be there at six. It is late",
        "we met at school. Me and you",
        "See you at noon. In case",
        "at five. At home",
    ],
)
def test_the_next_sentence_is_no_end_of_an_address(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("bob at example . com", "bob at example . com"),
        ("i changed it to Winter2025!", "Winter2025!"),
        ("my pin is still 4821 lol", "4821"),
        ("4471 opens the garage", "4471"),
        ("wifi password is bananabread", "bananabread"),
        ("just type letmein99 as the password", "letmein99"),
        ("use Tr0ub4dor&3 to log in", "Tr0ub4dor&3"),
        ("the key is 9f86d081884c7d659a2f", "9f86d081884c7d659a2f"),
        ("mothers maiden name is Kowalski", "Kowalski"),
        ("im at 42 maple street", "42 maple street"),
        ("komm zur Lindenstra\u00dfe 12, 10115 Berlin", "Lindenstra\u00dfe 12, 10115 Berlin"),
        ("12 rue de la Paix, 75002 Paris", "12 rue de la Paix, 75002 Paris"),
        ("calle Mayor 23, 28013 Madrid", "calle Mayor 23, 28013 Madrid"),
        ("via Garibaldi 5, Roma", "via Garibaldi 5, Roma"),
        ("my birthday is on march 3rd 1990", "march 3rd 1990"),
        ("3rd of May is my birthday", "3rd of May"),
        ("email me at bob dot smith at example dot co dot uk", "bob dot smith at example dot co dot uk"),
        ("card 4242.4242.4242.4242", "4242.4242.4242.4242"),
        ("my insta is sunny_mira92", "sunny_mira92"),
        ("reg AB12 CDE", "AB12 CDE"),
        ("passport number C01X00T47", "C01X00T47"),
        ("51.5074, -0.1278", "51.5074, -0.1278"),
        ("call me on oh seven seven zero zero nine zero one two", "oh seven seven zero zero nine zero one two"),
    ],
)
def test_secrets_in_sentences_are_found_whole(text: str, secret: str) -> None:
    start = text.index(secret)
    assert any(span.start <= start and span.end >= start + len(secret) for span in private(text)), found(text)


@pytest.mark.parametrize(
    "text",
    [
        "see you at 5 minutes down the road",
        "the password is wrong again",
        "my code is broken on line 4821",
        "i ran 10 km in 52:30 at 18:30 tomorrow",
        "iPhone15 costs 4500 euros in 2024",
        "the gate opens at 1830, room for 200 people",
        "he changed it to blue and looked at yahoo",
        "the key is to stay calm",
        "version 3.11.2 is out, 1080p or 4k?",
    ],
)
def test_what_only_looks_like_a_secret_stays(text: str) -> None:
    assert found(text) == []


@given(st.text(max_size=300))
@example("1 " * 150)
@example("at dot " * 40)
@settings(max_examples=60, deadline=None)
def test_whatever_is_searched_spans_are_in_order_and_apart_and_of_a_known_kind(text: str) -> None:
    last = 0
    for span in private(text):
        assert last <= span.start < span.end <= len(text)
        assert span.kind in KINDS
        last = span.end


def test_every_kind_has_a_word_that_stands_for_it() -> None:
    assert set(WORDS) == set(KINDS)


# -- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "person"),
    [
        ("is zoe there?", "zoe", "zoe"),
        (unicodedata.normalize("NFD", "is Zo\u00eb there?"), unicodedata.normalize("NFD", "Zo\u00eb"), "zoe"),
        ("ZOEEEE come", "ZOEEEE", "zoe"),
        ("Zoe's bike, zozo!", "Zoe", "zoe"),
        ("write to @zo_ang88", "@zo_ang88", "zoe"),
        ("ask Will", "Will", "will"),
        ("Will is late", "Will", "will"),
        ("will grant it be? Will Grant it is", "Will Grant", "will"),
        ("SEAN O'BRIEN again", "SEAN O'BRIEN", "ob"),
        ("that obrien guy", "obrien", "ob"),
        ("Chirstopher said so", "Chirstopher", "chris"),
        ("cristopher said so", "cristopher", "chris"),
        ("\u660e\u65e5\u82b1\u5b50\u3055\u3093\u3068", "\u82b1\u5b50", "hana"),
    ],
)
def test_people_are_found_as_chats_spell_them(text: str, name: str, person: str) -> None:
    assert (name, person) in [(text[each.start : each.end], each.person) for each in Mentions(PEOPLE).find(text)]


@pytest.mark.parametrize(
    "text", ["will you come?", "i will grant you that", "Will this do?", "at the zoo", "no mire here"]
)
def test_words_that_are_names_are_words_where_they_stand_so(text: str) -> None:
    assert found(text, Mentions(PEOPLE)) == []


def test_no_usual_word_is_a_slip_of_a_name() -> None:
    mentions = Mentions(PEOPLE)
    names = {"mira", "holt", "zoe", "will", "sean", "grant", "angstrom", "brien", "christopher", "papadakis", "obrien"}
    wrong = [word for word in sorted(common() - names - COMMON) if found(word, mentions)]
    assert [word for word in wrong if word.rstrip("s") not in names] == []


# -- what stands for them ------------------------------------------------------------------------------------------


def test_pseudonyms_follow_from_id_and_seed_are_nobodys_name_and_never_shared() -> None:
    ids = [f"p{i}" for i in range(len(NAMES) * 2)]
    given_ = pseudonyms(ids, {"robin"}, 1)
    assert given_ == pseudonyms(reversed(ids), {"robin"}, 1)
    assert given_ != pseudonyms(ids, {"robin"}, 2)
    assert len(set(given_.values())) == len(ids)
    assert "Robin" not in given_.values()
    assert {each.casefold() for each in NAMES}.isdisjoint(COMMON - {"robin"})


def test_a_name_keeps_the_case_in_which_it_was_written() -> None:
    assert [styled("Robin", said) for said in ("zo\u00eb", "ZO\u00cb", "Zo\u00eb", "@zo")] == [
        "robin",
        "ROBIN",
        "Robin",
        "@robin",
    ]


def scrubber(folder: Path) -> tuple[Scrubber, Review]:
    review = Review(folder / "review.csv")
    return Scrubber(PEOPLE, "mira", 0, review), review


def test_one_person_has_one_name_everywhere_and_the_avatar_keeps_its_own(tmp_path: Path) -> None:
    scrub, _ = scrubber(tmp_path)
    name = scrub.names["zoe"]
    text = scrub.scrub("zoe and Zo\u00eb \u00c5ngstr\u00f6m and mira: 07700 900123").text
    assert text == f"{name.lower()} and {name} and mira: [phone]"
    assert scrub.label("Zo\u00eb \u00c5ngstr\u00f6m") == name
    assert scrub.label("Mira Holt") == "Mira Holt"
    assert scrub.scrub("ask zozo").people == ("zoe",)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "review.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def save(folder: Path, lines: list[dict[str, str]]) -> None:
    with (folder / "review.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, delimiter=";")  # as spreadsheets of some countries do
        writer.writeheader()
        writer.writerows(lines)


def test_people_see_each_replacement_keep_what_they_want_and_add_what_was_missed(tmp_path: Path) -> None:
    scrub, review = scrubber(tmp_path)
    scrub.scrub("call 07700 900123, the cottage by the mill")
    review.write()
    (line,) = table(tmp_path)
    assert (line["keep"], line["kind"], line["found"], line["replacement"]) == (
        "no",
        "phones",
        "07700 900123",
        "[phone]",
    )
    assert line["after"] == "call [phone], the cottage by the mill"
    assert (tmp_path / "review.csv").stat().st_mode & 0o777 == 0o600
    blank = dict.fromkeys(FIELDS, "")
    save(tmp_path, [{**line, "keep": "Yes"}, {**blank, "found": "cottage by the mill", "replacement": "house"}])
    for _ in range(2):  # and what was said stays for the next time
        scrub, review = scrubber(tmp_path)
        assert scrub.scrub("call 07700 900123, the Cottage by the mill").text == "call 07700 900123, the house"
        review.write()


def test_no_cell_of_the_review_is_computed_and_none_is_changed_by_that(tmp_path: Path) -> None:
    scrub, review = scrubber(tmp_path)
    scrub.scrub("=HYPERLINK(1) +447700900123")
    review.write()
    (line,) = table(tmp_path)
    assert line["before"].startswith("'=")
    save(tmp_path, [{**line, "keep": "yes"}])
    scrub, _ = scrubber(tmp_path)
    assert scrub.scrub("at +447700900123").text == "at +447700900123"


def test_a_review_that_is_none_is_told_and_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "review.csv").write_text("what,ever\n1,2\n")
    with pytest.raises(Invalid, match="no columns keep"):
        Review(tmp_path / "review.csv")
    (tmp_path / "review.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Invalid, match="save it as CSV"):
        Review(tmp_path / "review.csv")
