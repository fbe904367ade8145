"""A dataset is clean, says nothing twice, holds whole conversations out, and knows where it comes from."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolecast.avatars import example, prompt
from rolecast.avatars.conversation import Person
from rolecast.avatars.dataset import lineage
from rolecast.avatars.dataset.alike import Alike, words
from rolecast.avatars.dataset.build import build
from rolecast.avatars.dataset.choice import Row, conversations, newest, split
from rolecast.avatars.dataset.clean import cleaned
from rolecast.avatars.dataset.repeats import Repeats
from rolecast.avatars.dataset.report import DatasetReport
from rolecast.avatars.example import Example, Lineage, Said
from rolecast.avatars.settings import DatasetSettings
from rolecast.errors import Invalid
from rolecast.jobs.job import Progress
from rolecast.privacy.names import common

MIRA, JONAS, ZOE = (
    Person("mira", "Mira Holt"),
    Person("jonas", "Jonas Weber", ("jojo",)),
    Person("zoe", "Zo\u00eb Katz"),
)
PEOPLE = [MIRA, JONAS, ZOE]
FILES = ("train.jsonl", "valid.jsonl", "test.jsonl", "lineage.json", "review.csv")
ALL = DatasetSettings(most=0)
THINGS = [
    "tea",
    "coffee",
    "bread",
    "music",
    "rain",
    "trains",
    "books",
    "plants",
    "soup",
    "films",
    "maths",
    "paint",
    "hats",
    "bikes",
    "cheese",
    "clouds",
]


def exchange(
    thread: str,
    position: int,
    asked: str,
    said: str,
    *,
    chat: str = "c",
    who: Person = JONAS,
    before: tuple[str, ...] = (),
    at: float = 0,
) -> Example:
    """A reply of Mira's; `before` = what else was said, by turns."""
    history = [*before, asked]
    speakers = [who.name if (len(history) - i) % 2 else MIRA.name for i in range(len(history))]
    ids = tuple(f"{thread}.{position + 1 - len(history) + i}" for i in range(len(history) + 1))
    return Example(
        f"{thread}_{position}",
        f"[{who.name}]: {asked}",
        said,
        MIRA.name,
        conversation_history=tuple(Said(*each) for each in zip(speakers, history, strict=True)),
        metadata=Lineage(thread, position, 40, chat, ids, (MIRA.id, who.id), at or float(position)),
    )


WORDS = [word for word in sorted(common()) if word.isalpha() and 4 < len(word) < 9][::3]


def some(rng: random.Random, count: int) -> str:
    """Usual words in no order."""
    return " ".join(rng.choice(WORDS) for _ in range(count))


def talk(threads: int = 12, each: int = 6, chats: int = 3) -> Iterator[Example]:
    """Conversations about nothing, no two replies alike."""
    rng = random.Random(4)
    number = 0
    for thread in range(threads):
        for position in range(1, 2 * each, 2):
            number += 1
            who = (JONAS, ZOE)[thread % 2]
            chat = f"c{thread % chats}"
            yield exchange(f"t{thread}", position, some(rng, 5), some(rng, 7), chat=chat, who=who, at=float(number))


def made(
    folder: Path, examples: list[Example], settings: DatasetSettings = ALL, people: list[Person] = PEOPLE
) -> tuple[DatasetReport, list[Example]]:
    example.write(folder / "extracted.jsonl", examples)
    report = build(folder / "extracted.jsonl", folder / "dataset", people, settings, lambda _: None)
    return report, [each for name in FILES[:3] for each in example.read(folder / "dataset" / name)]


def test_a_long_text_is_answered_by_its_end_and_nothing_is_paired_with_what_it_does_not_answer(tmp_path: Path) -> None:
    long = (
        f"{some(random.Random(1), 900)} write to jonas.w@example.org. {some(random.Random(2), 60)} and which boat then?"
    )
    rows = [
        *talk(),
        exchange("long", 1, long, "the red boat of course"),
        exchange("media", 3, "<Media omitted>", "what a lovely lighthouse", before=("shall we go?", "yes please")),
        exchange("cut", 3, "and?", "blue is what i wanted", before=("w" * 90_000, "no")),
    ]
    report, found = made(tmp_path, rows)
    by_reply = {each.target_text: each.conversation_history for each in found}
    (said,) = by_reply["the red boat of course"]
    assert said.message.endswith("and which boat then?")
    assert 500 < len(said.message) <= 600
    assert "example.org" not in said.message
    assert "what a lovely lighthouse" not in by_reply, "it was said of the picture, not of the question before"
    assert report.left.unanswered == 1
    assert len(by_reply["blue is what i wanted"][0].message) == 600


# -- cleaning ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (
            "soooo GOOD \U0001f468\u200d\U0001f469\u200d\U0001f467 rlly??\nyes",
            "soooo GOOD \U0001f468\u200d\U0001f469\u200d\U0001f467 rlly??\nyes",
        ),
        ("\u200ehi\u202a there\x07", "hi there"),
        ("<Media omitted>", ""),
        ("image omitted", ""),
        ("IMG-20240101-WA0001.jpg (file attached)\nlook", "look"),
        ("see https://example.org/a?b=c, ok", "see [link], ok"),
        ("pay me at paypal.me/someone", "pay me at [link]"),
        ("> what did you say\nnothing", "nothing"),
        (">:( no", ">:( no"),
        ("fine <This message was edited>", "fine"),
        ("This message was deleted", ""),
        ("/start now", ""),
        ("!play some song", ""),
        ("!!! wow", "!!! wow"),
        ("ok thanks\n\nOn Mon, 3 May 2021, Jo <jo@example.org> wrote:\n> hi", "ok thanks"),
        ("a  b\t c\n\n\n\nd", "a b c\nd"),
        ("x" * 2001, ""),
        ("<3 you", "<3 you"),
    ],
)
def test_what_programs_add_goes_and_what_people_typed_stays(typed: str, kept: str) -> None:
    assert cleaned(typed) == kept


@given(st.text(max_size=200))
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = cleaned(text)
    if "[" not in once and ">" not in once and "\n" not in once:  # what is left may look like a quote or a notice anew
        assert cleaned(once) == once or not cleaned(once)


# -- repetition ----------------------------------------------------------------------------------------------------


def test_replies_that_are_nearly_alike_are_one_and_short_ones_are_style() -> None:
    alike = Alike(0.7, 0)
    said = [
        "the blue train leaves at noon from platform nine",
        "The blue train LEAVES at noon, from platform nine!!",
        "the blue train leaves at noon from platform ten",
        "the red bus leaves at dawn from the old market",
        "ok",
        "ok",
    ]
    assert [alike.was_said(words(each)) for each in said] == [False, True, True, False, False, False]


@settings(derandomize=True)  # one pair in 25,000 at the very limit is overlooked
@given(st.lists(st.sets(st.sampled_from(THINGS), min_size=4), max_size=30))
def test_no_two_that_are_kept_are_more_alike_than_is_allowed(replies: list[set[str]]) -> None:
    alike = Alike(0.7, 0)
    kept: list[set[str]] = []
    for reply in replies:
        was = alike.was_said(sorted(reply))
        assert was == any(len(reply & other) / len(reply | other) >= 0.7 for other in kept)
        kept += [] if was else [reply]


def judged(replies: list[tuple[str, str]]) -> list[str]:
    """Those of (what is asked, what is said) that stay."""
    repeats = Repeats(())
    read = [(repeats.read(asked), repeats.read(said)) for asked, said in replies]
    for _, said in read:
        repeats.count(said)
    for asked, said in read:
        repeats.meet(said, asked)
    repeats.judge()
    return [said for (_, said), (_, seen) in zip(replies, read, strict=True) if repeats.allows(seen)]


RNG = random.Random(5)
OTHERS = [(some(RNG, 6), some(RNG, 6)) for _ in range(40)]
SECRETS = {
    "digits": (
        "is it {}?",
        ["it is 4 4 7 1 for the bikes", "4471!", "try 44-71 again", "four four seven one, last time"],
    ),
    "a word": (
        "what opens the {} locker",
        ["it is kestrel", "still Kestrel as ever", "kestrel, write it down", "told you: kestrel"],
    ),
    "a short reply": ("where does the spare key {} hide", ["blue flowerpot"] * 4),
    "names": (
        "{} and?",
        ["i saw Laura in Paris", "so Laura is off to Paris", "oh Paris again, said Laura", "is Paris with Laura fun"],
    ),
}


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_that_is_said_again_in_other_words_stays_once(secret: str) -> None:
    asked, said = SECRETS[secret]
    replies = [(asked.format(THINGS[i]), each) for i, each in enumerate(said)]
    left = judged([*OTHERS[:20], *replies, *OTHERS[20:]])
    assert [each for each in left if each in said] == [said[0]]
    assert len(left) == len(OTHERS) + 1


def test_a_pet_word_in_all_kinds_of_company_is_style_and_stays() -> None:
    replies = [(some(RNG, 6), f"zorky {some(RNG, 4)} the {some(RNG, 2)} mirps") for _ in range(30)]
    assert judged([*OTHERS, *replies])[len(OTHERS) :] == [said for _, said in replies]


def test_a_language_that_is_not_known_keeps_its_usual_words_and_loses_secrets() -> None:
    nouns = [
        "Brot",
        "Regen",
        "Katze",
        "Fenster",
        "Lampe",
        "Suppe",
        "Wiese",
        "Wolke",
        "Gabel",
        "Kirche",
        "Bruder",
        "Wagen",
        "Ziege",
        "Kerze",
        "Mauer",
        "Tasse",
    ]
    replies = [
        (
            f"magst du {RNG.choice(nouns)} und {RNG.choice(nouns)} gern",
            f"nee mag lieber {RNG.choice(nouns)} eigentlich {RNG.choice(nouns)}",
        )
        for _ in range(200)
    ]
    secrets = [
        (f"welches Wort braucht das Schliessfach bei {each}", f"immer noch Falkenhorst bei {each}")
        for each in nouns[:6]
    ]
    left = judged([*replies, *secrets])
    assert [each for each in left if "Falkenhorst" in each] == [secrets[0][1]]
    assert len(left) >= 0.95 * len(replies)


def test_what_recurs_is_masked_in_histories() -> None:
    repeats = Repeats(set())
    repeats.count(repeats.read("it is 4471"))
    assert repeats.masked("so 44 71 or 4471, at 12?") == "so [number] or [number], at 12?"


# -- choosing and splitting ----------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 4), max_size=80), st.integers(0, 40))
def test_the_newest_of_each_chat_are_taken_and_chats_evenly(chats: list[int], most: int) -> None:
    rows = [Row(i, str(chat), str(chat), float(i)) for i, chat in enumerate(chats)]
    chosen = newest(rows, most)
    assert len(chosen) == (min(most, len(rows)) if most else len(rows))
    sizes = {chat: sum(row.chat == chat for row in chosen) for chat in {row.chat for row in rows}}
    for row in rows:
        if row not in chosen:
            assert all(other.at > row.at for other in chosen if other.chat == row.chat)
            assert max(sizes.values()) <= sizes[row.chat] + 1


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(0, 5))
def test_conversations_are_split_whole_and_every_part_has_some(sizes: list[int], seed: int) -> None:
    rows = [Row(0, "c", f"t{i}", 0.0) for i, size in enumerate(sizes) for _ in range(size)]
    groups = conversations([row._replace(number=i) for i, row in enumerate(rows)])
    train, valid, test = split(groups, 0.1, 0.1, seed)
    assert sorted([*train, *valid, *test]) == list(range(len(groups)))
    assert train
    held = sum(len(groups[number]) for number in (*valid, *test))
    assert held <= 0.7 * len(rows)
    if len(sizes) >= 10:
        assert valid
        assert max(sizes) > len(rows) / 3 or test


# -- all of it -----------------------------------------------------------------------------------------------------


def test_a_dataset_is_the_same_again_and_private_to_its_owner(tmp_path: Path) -> None:
    report, kept = made(tmp_path, list(talk()))
    first = {name: (tmp_path / "dataset" / name).read_bytes() for name in FILES}
    made(tmp_path, list(talk()))
    assert {name: (tmp_path / "dataset" / name).read_bytes() for name in FILES} == first
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "dataset").iterdir()} == {0o600}
    assert (tmp_path / "dataset").stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in (tmp_path / "dataset").iterdir()) == sorted([*FILES, "report.json"])
    assert report.kept == len(kept) == report.read - sum(msgspec.structs.astuple(report.left))
    assert min(report.train, report.valid, report.test) > 0
    other, _ = made(tmp_path, list(talk()), DatasetSettings(most=0, seed=7))
    assert other.kept == report.kept
    assert (tmp_path / "dataset" / "train.jsonl").read_bytes() != first["train.jsonl"]


def test_nothing_private_is_left_in_any_field_and_the_report_has_no_text(tmp_path: Path) -> None:
    more = [
        exchange(
            "x",
            1,
            "hi Mira, its Jonas. whats jojos number",
            "ask Jonas, his mail is jonas.weber@example.org or so",
            who=ZOE,
        ),
        msgspec.structs.replace(
            exchange("x", 3, "and yours?", "its 07700 900123 since may my friend"), relationship_type="friend of Jonas"
        ),
    ]
    report, kept = made(tmp_path, [*talk(), *more])
    texts = [
        json.dumps(msgspec.to_builtins(msgspec.structs.replace(each, metadata=Lineage())), ensure_ascii=False)
        for each in kept
    ]
    for private in ("jonas", "jojo", "weber", "Zo\u00eb", "Katz", "900123", "@"):
        assert [text for text in texts if private.casefold() in text.casefold()] == []
    assert [each.relationship_type.split()[0] for each in kept if each.relationship_type] == ["friend"]
    assert report.replaced["emails"] == report.replaced["phones"] == 1
    told = (tmp_path / "dataset" / "report.json").read_text()
    assert "900123" not in told
    assert "Weber" not in told
    names = {said.speaker for each in kept for said in each.conversation_history}
    assert MIRA.name in names or len(names) == 2
    for each in kept:
        assert each.input_text == f"[{each.conversation_history[-1].speaker}]: {each.conversation_history[-1].message}"
        assert [turn.role for turn in prompt.turns(each)][:2] == ["system", "user"]


def test_without_scrubbing_names_stay_and_the_report_warns(tmp_path: Path) -> None:
    report, kept = made(tmp_path, list(talk()), DatasetSettings(most=0, scrub=False))
    assert {said.speaker for each in kept for said in each.conversation_history} == {JONAS.name, ZOE.name}
    assert report.replaced == {}
    assert not report.scrubbed
    assert any("passes the gate" in note for note in report.notes)


def test_each_reason_to_leave_something_out_is_counted(tmp_path: Path) -> None:
    more = [
        exchange("n", 1, "look", "<Media omitted>"),
        exchange("n", 3, "<Media omitted>", "what is that supposed to be then"),
        exchange("n", 5, "mail?", "me@example.org"),
        exchange("n", 7, "tea or coffee", "whatever you are having my dear"),
        exchange("n", 9, "Tea or coffee?", "whatever you are having, my dear"),
        exchange("n", 11, "soup then or what", "Whatever you are having my dear!"),
        msgspec.structs.replace(exchange("n", 13, "me?", "not me i think anyway"), speaker_name="Somebody"),
        *(exchange("s", 2 * i + 1, f"{THINGS[i]} {THINGS[i + 1]}", "yes") for i in range(9)),
    ]
    left = made(tmp_path, [*talk(), *more])[0].left
    assert (left.nothing, left.unanswered, left.private, left.same, left.alike, left.others, left.short) == (
        1,
        1,
        1,
        1,
        1,
        1,
        6,
    )


def test_a_secret_said_sixteen_times_is_in_one_example_and_in_no_history(tmp_path: Path) -> None:
    ways = ["its {0} as always", "{0} silly", "how often, {0}", "the word would be {0} my dear", "same old {0} still"]
    more = [
        exchange(
            f"k{i}",
            3,
            f"what {THINGS[i % 16]} word opens the locker",
            ways[i % 5].format("kestrel") + f" {THINGS[i * 3 % 16]}",
            before=("ah its kestrel", "no"),
            chat=f"c{i % 3}",
        )
        for i in range(16)
    ]
    report, kept = made(tmp_path, [*talk(20, 8), *more])
    assert sum("kestrel" in each.target_text for each in kept) == 1
    assert not any("kestrel" in said.message for each in kept for said in each.conversation_history)
    assert report.left.repeated == 15 - report.left.alike


def test_one_long_conversation_is_cut_and_no_history_reaches_over_the_cut(tmp_path: Path) -> None:
    examples: list[Example] = []
    for i, each in enumerate(talk(1, 200)):
        before = [
            said.message for old in examples[-3:] for said in (old.conversation_history[-1], Said("", old.target_text))
        ]
        examples.append(
            exchange("t", 2 * i + 1, each.conversation_history[-1].message, each.target_text, before=tuple(before))
        )
    report, _ = made(tmp_path, examples)
    assert report.conversations == 1
    assert report.notes
    ids: dict[str, str] = {}
    for name in FILES[:3]:
        for each in example.read(tmp_path / "dataset" / name):
            for message in each.metadata.message_ids:
                assert ids.setdefault(message, name) == name
    assert set(ids.values()) == set(FILES[:3])


def test_conversations_that_share_messages_are_on_one_side(tmp_path: Path) -> None:
    examples = list(talk(30, 3))
    bridge = examples[0].metadata.message_ids
    examples[-1] = msgspec.structs.replace(
        examples[-1],
        metadata=msgspec.structs.replace(
            examples[-1].metadata, message_ids=(bridge[-1], examples[-1].metadata.message_ids[-1])
        ),
    )
    for seed in range(6):
        made(tmp_path, examples, DatasetSettings(most=0, seed=seed))
        where: dict[str, set[str]] = {"t0": set(), "t29": set()}
        for name in FILES[:3]:
            for each in example.read(tmp_path / "dataset" / name):
                if (thread := each.metadata.sequence_id) in where:
                    where[thread].add(name)
        assert where["t0"] == where["t29"]
        assert len(where["t0"]) == 1


def test_the_budget_takes_the_newest_of_all_chats(tmp_path: Path) -> None:
    report, kept = made(tmp_path, list(talk(30, 6)), DatasetSettings(most=60))
    assert report.kept == 60
    assert report.chats == 3
    assert report.left.over == report.read - 60 - sum(msgspec.structs.astuple(report.left)) + report.left.over
    oldest = min(each.metadata.at or 0 for each in kept)
    assert oldest > 60


# -- lineage -------------------------------------------------------------------------------------------------------


def test_lineage_says_who_is_in_a_dataset_and_proves_who_is_not(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    made(first, [*talk(), exchange("x", 1, "who is that", "thats just Zo\u00eb from down the road")])
    made(second, [each for each in talk() if ZOE.id not in each.metadata.people])
    datasets = [first / "dataset", second / "dataset"]
    assert lineage.unseen(datasets, ZOE.id) == [second / "dataset"]
    seen = lineage.seen(datasets[0], ZOE.id)
    assert seen.mentioned == ("x_1",)
    origins = lineage.read(datasets[0])
    assert origins.person == MIRA.id
    for name in FILES[:3]:
        for each in example.read(datasets[0] / name):
            assert origins.examples[each.example_id] == each.metadata.message_ids
            assert (each.example_id in seen.wrote) == (ZOE.id in each.metadata.people)


def test_a_lineage_that_does_not_fit_its_files_proves_nothing(tmp_path: Path) -> None:
    made(tmp_path, list(talk()))
    folder = tmp_path / "dataset"
    planted = Example("canary", "[x]: y", "z", MIRA.name, conversation_history=(Said("x", "y"),))
    example.write(folder / "train.jsonl", [*example.read(folder / "train.jsonl"), planted])
    assert lineage.unseen([folder], "nobody") == [folder]
    example.write(folder / "train.jsonl", [*example.read(folder / "train.jsonl"), exchange("new", 1, "a", "b")])
    with pytest.raises(Invalid, match="does not know"):
        lineage.unseen([folder], "nobody")
    (folder / "lineage.json").write_text("{")
    with pytest.raises(Invalid, match="damaged"):
        lineage.read(folder)
    with pytest.raises(Invalid, match=r"has no lineage\.json"):
        lineage.read(tmp_path)


# -- what goes wrong -----------------------------------------------------------------------------------------------


def test_secrets_planted_in_the_dataset_before_are_not_taken_for_those_of_this_one(tmp_path: Path) -> None:
    made(tmp_path, list(talk()))
    (tmp_path / "dataset" / "canaries.json").write_text("[]")
    made(tmp_path, list(talk()))
    assert not (tmp_path / "dataset" / "canaries.json").exists()


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "has no examples"),
        ([exchange("t", 1, "look", "<Media omitted>")], "1 with nothing that was typed"),
    ],
)
def test_nothing_to_learn_from_is_told_and_the_dataset_before_stays(tmp_path: Path, lines: list[Any], why: str) -> None:
    made(tmp_path, list(talk()))
    before = (tmp_path / "dataset" / "train.jsonl").read_bytes()
    with pytest.raises(Invalid, match=why):
        made(tmp_path, lines)
    assert (tmp_path / "dataset" / "train.jsonl").read_bytes() == before
    assert not list((tmp_path / "dataset").glob("*.part"))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "dataset").write_text("a file")
    with pytest.raises(Invalid, match="name another folder"):
        made(tmp_path, list(talk()))


def test_files_of_the_older_form_without_people_and_ids_are_read(tmp_path: Path) -> None:
    rows = [
        {
            "example_id": f"{i // 5}_{i % 5}",
            "input_text": "[Ann]: hi",
            "target_text": f"{some(RNG, 8)}",
            "speaker_name": "Bob",
            "conversation_history": [{"speaker": "Ann", "message": f"hi {'o' * i}", "emotional_state": None}],
            "metadata": {"sequence_id": i // 5, "position": i % 5, "total_length": 5},
        }
        for i in range(26)
    ]
    (tmp_path / "old.json").write_text(json.dumps({"metadata": {}, "examples": rows}))
    report = build(tmp_path / "old.json", tmp_path / "dataset", [], ALL, lambda _: None)
    assert report.person == "Bob"
    assert report.people == 1
    assert report.kept > 20
    assert not any("Ann" in each.input_text for each in example.read(tmp_path / "dataset" / "train.jsonl"))


def test_progress_is_told_step_by_step(tmp_path: Path) -> None:
    told: list[Progress] = []
    example.write(tmp_path / "extracted.jsonl", talk())
    build(tmp_path / "extracted.jsonl", tmp_path / "dataset", PEOPLE, ALL, told.append)
    assert list(dict.fromkeys(each.step for each in told)) == [
        "cleaning",
        "looking for secrets",
        *(f"writing {name}" for name in FILES[:3]),
    ]
    assert all(each.done <= each.total for each in told if each.total)
