"""Conversations become examples: one person's replies, with what was said before them, in order and each once."""

import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.avatars import example
from rolecast.avatars.conversation import Message, Person, Speaker, Wanted
from rolecast.avatars.documented.sequences import examples_of, sequences_of
from rolecast.avatars.extraction import BLANK, FIRST, HELD, OWN, Extracted, extract, wanted_of
from rolecast.avatars.finding import the_one
from rolecast.avatars.gaps import LEAST, MOST, USUAL, Gaps
from rolecast.avatars.settings import Extraction
from rolecast.avatars.threads import LETTERS, MESSAGES, WINDOW, Threads
from rolecast.errors import Invalid, PersonNotFound

pytestmark = pytest.mark.anyio

HOSTILE = "Robert\"}) DETACH DELETE n // ' ]: {x} $p"
PEOPLE = (Person("j", "John Doe", ("Johnny",)), Person("a", "Ann"), Person("b", "Bo"), Person("x", HOSTILE))


class Told:
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, int]] = []

    def progress(self, done: int, total: int) -> None:
        self.heard.append((done, total))

    def skipped(self, where: str, why: str) -> None:
        raise AssertionError(f"{where}: {why}")


class InMemory:
    """Conversations in a list, as any database would give them."""

    def __init__(self, messages: Sequence[Message], people: Sequence[Person] = PEOPLE) -> None:
        self._messages = messages
        self._people = people

    async def speakers(self) -> list[Speaker]:
        return [Speaker(each, sum(one.person == each.id for one in self._messages)) for each in self._people]

    async def find(self, name: str) -> Person:
        return the_one(name, self._people)

    async def messages(self, wanted: Wanted) -> AsyncIterator[Message]:
        for each in self._messages:
            yield each

    async def people(self, wanted: Wanted) -> list[Person]:
        return list(self._people)

    async def close(self) -> None:
        pass


def said(number: int, person: str, text: str = "", at: float | None = None, **more: str) -> Message:
    """A message of a chat, ten seconds after the one before."""
    return Message(
        f"m{number}", more.pop("chat", "c"), person, text or f"text {number}", number * 10 if at is None else at, **more
    )  # type: ignore[arg-type]


async def extracted(
    messages: Sequence[Message],
    path: Path,
    person: str = "john doe",
    people: Sequence[Person] = PEOPLE,
    **settings: object,
) -> tuple[Extracted, list[example.Example]]:
    chosen = msgspec.convert(settings, Extraction)
    found = await extract(InMemory(messages, people), wanted_of(person, chosen), chosen, path / "e.jsonl", Told())
    return found, list(example.read(path / "e.jsonl"))


async def test_only_the_persons_replies_are_targets_in_order_and_each_once(tmp_path: Path) -> None:
    messages = [said(n, "ajb"[n % 3]) for n in range(30)]
    found, examples = await extracted(messages, tmp_path)
    assert [each.target_text for each in examples] == [f"text {n}" for n in range(1, 30, 3)]
    assert {each.speaker_name for each in examples} == {"John Doe"}
    assert examples[0].input_text == "[Ann]: text 0"
    assert [each.message for each in examples[1].conversation_history] == ["text 0", "text 1", "text 2", "text 3"]
    assert [each.speaker for each in examples[1].conversation_history] == ["Ann", "John Doe", "Bo", "Ann"]
    assert examples[1].metadata.message_ids == ("m0", "m1", "m2", "m3", "m4")
    assert examples[1].metadata.people == ("a", "j", "b")
    assert [each.metadata.position for each in examples] == list(range(1, 30, 3))
    assert {each.metadata.total_length for each in examples} == {30}
    assert [each.example_id for each in examples][:2] == [f"{examples[0].metadata.sequence_id}_{n}" for n in (1, 4)]
    assert (found.examples, found.messages, found.own, found.chats, found.threads) == (10, 30, 10, 1, 1)
    assert (found.first, found.last) == (0, 290)


async def test_the_context_slides(tmp_path: Path) -> None:
    _, examples = await extracted([said(n, "aj"[n % 2]) for n in range(20)], tmp_path, context=3)
    assert [len(each.conversation_history) for each in examples] == [1, 3, 3, 3, 3, 3, 3, 3, 3, 3]
    assert examples[-1].conversation_history[-1].message == "text 18"


async def test_what_one_person_says_in_one_go_is_one_turn(tmp_path: Path) -> None:
    messages = [
        *(said(0, "a", at=0), said(1, "a", "still me", at=20)),
        *(said(2, "j", "one", at=40), said(3, "j", "two", at=100), said(4, "j", "much later", at=600)),
        said(5, "a", at=700),
    ]
    found, examples = await extracted(messages, tmp_path)
    assert [each.target_text for each in examples] == ["one\ntwo"]
    assert examples[0].input_text == "[Ann]: text 0\nstill me"
    assert examples[0].metadata.message_ids == ("m0", "m1", "m2", "m3")
    assert found.left_out == {OWN: 1}


async def test_a_long_silence_begins_something_new(tmp_path: Path) -> None:
    messages = [said(0, "a", at=0), said(1, "j", at=10_000), said(2, "a", at=10_010), said(3, "j", at=10_020)]
    found, examples = await extracted(messages, tmp_path)
    assert [each.target_text for each in examples] == ["text 3"]
    assert [each.message for each in examples[0].conversation_history] == ["text 1", "text 2"]
    assert (found.threads, found.left_out) == (2, {FIRST: 1})


async def test_a_reply_goes_before_times(tmp_path: Path) -> None:
    """What it answers is before it, whatever was said meanwhile and however long it took."""
    messages = [
        *(said(0, "a", "shall we eat?"), said(1, "b", "no class on thursday"), said(2, "b", "really")),
        said(3, "j", "yes, at eight", at=200_000, reply_to="m0"),
        said(4, "a", "fine", at=200_010),
    ]
    _, examples = await extracted(messages, tmp_path)
    assert [each.message for each in examples[0].conversation_history] == ["shall we eat?"]


async def test_branches_do_not_mix(tmp_path: Path) -> None:
    """Two conversations from one message on, told by turns."""
    messages = [
        said(0, "a"),
        *(said(1, "j", reply_to="m0"), said(2, "b", reply_to="m0")),
        *(said(3, "a", reply_to="m1"), said(4, "j", reply_to="m2")),
        said(5, "j", reply_to="m3"),
    ]
    _, examples = await extracted(messages, tmp_path)
    histories = {each.target_text: [one.message for one in each.conversation_history] for each in examples}
    assert histories == {
        "text 1": ["text 0"],
        "text 4": ["text 0", "text 2"],
        "text 5": ["text 0", "text 1", "text 3"],
    }


async def test_chats_do_not_mix_and_no_message_counts_twice(tmp_path: Path) -> None:
    messages = [said(0, "a"), said(1, "j", chat="d"), said(2, "a", chat="d"), said(3, "j", chat="d")]
    _, examples = await extracted([*messages, messages[-1]], tmp_path)
    assert [each.metadata.message_ids for each in examples] == [("m1", "m2", "m3")]


async def test_conditions_are_those_of_the_reply_and_can_be_left_out(tmp_path: Path) -> None:
    messages = [
        said(0, "a", emotion="sad"),
        said(1, "j", emotion="happy", personality="warm", relationship="sister"),
    ]
    _, [one] = await extracted(messages, tmp_path)
    assert (one.emotional_state, one.personality_type, one.relationship_type) == ("happy", "warm", "sister")
    assert one.conversation_history[0].emotional_state == "sad"
    assert one.metadata.at == 10
    _, [plain] = await extracted(messages, tmp_path, metadata=False)
    assert (plain.emotional_state, plain.personality_type, plain.relationship_type, plain.metadata.at) == (
        "",
        "",
        "",
        None,
    )
    assert plain.conversation_history[0].emotional_state == ""
    assert plain.metadata.message_ids == one.metadata.message_ids


async def test_without_times_a_chat_is_one_conversation(tmp_path: Path) -> None:
    messages = [msgspec.structs.replace(said(n, "aj"[n % 2]), at=None) for n in range(6)]
    found, examples = await extracted(messages, tmp_path)
    assert (len(examples), found.threads, found.first) == (3, 1, None)


async def test_messages_without_text_are_not_there(tmp_path: Path) -> None:
    found, examples = await extracted([said(0, "a"), said(1, "a", " \n"), said(2, "j")], tmp_path)
    assert (len(examples), found.left_out) == (1, {BLANK: 1})


async def test_names_are_harmless_and_never_alike(tmp_path: Path) -> None:
    people = [Person("j", "Jo\nhn"), Person("o", "Jo hn"), Person("x", HOSTILE)]
    _, examples = await extracted([said(0, "o"), said(1, "x"), said(2, "z"), said(3, "j")], tmp_path, "j", people)
    assert [each.speaker for each in examples[0].conversation_history] == ["Jo hn (2)", HOSTILE, "z"]
    assert examples[0].speaker_name == "Jo hn"


async def test_somebody_who_answers_nobody_is_told_so_and_the_file_stays(tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_text("before")
    with pytest.raises(Invalid, match="answers nobody in these 2 messages, 1 of them their own"):
        await extracted([said(0, "j"), said(1, "a")], tmp_path)
    with pytest.raises(Invalid, match="There is no message of a chat with John Doe in that span"):
        await extracted([], tmp_path)
    with pytest.raises(PersonNotFound, match="did you mean John Doe"):
        await extracted([said(0, "j")], tmp_path, "jhon doe")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("e.jsonl", "before")]


async def test_the_file_is_private_and_progress_is_told(tmp_path: Path) -> None:
    told = Told()
    chosen = Extraction()
    messages = [said(n, "aj"[n % 2]) for n in range(2500)]
    path = tmp_path / "new" / "e.jsonl"
    await extract(InMemory(messages), wanted_of("Johnny", chosen), chosen, path, told)
    assert path.stat().st_mode & 0o777 == 0o600
    assert told.heard == [(1000, 0), (2000, 0), (2500, 2500)]


async def test_a_long_conversation_is_whole_and_tells_its_length_while_it_is_held(tmp_path: Path) -> None:
    count = 2 * HELD + 2000
    _, examples = await extracted([said(n, "aj"[n % 2]) for n in range(count)], tmp_path)
    assert [each.metadata.position for each in examples] == list(range(1, count, 2))
    assert examples[-1].metadata.total_length == count
    assert all(each.metadata.total_length > each.metadata.position for each in examples)


def test_a_reply_to_what_is_gone_answers_nothing_that_is_here() -> None:
    threads = Threads(gap=100, join=0)
    turns = [turn for n in range(WINDOW + 10) for turn in threads.add(said(n, "ab"[n % 2]))]
    turns += threads.add(said(WINDOW + 10, "a", reply_to="m0"))
    [last] = threads.end()
    assert (last.before, turns[-1].before) == (None, turns[-2])
    assert len(turns[-1].history(10**9)) < WINDOW


def test_a_turn_has_bounds() -> None:
    threads = Threads(gap=1000, join=1000)
    turns = [turn for n in range(MESSAGES + 1) for turn in threads.add(said(n, "a"))]
    turns += threads.add(said(99, "a", "x" * (LETTERS + 1), at=600))
    turns += threads.end()
    assert [len(each.ids) for each in turns] == [MESSAGES, 1, 1]
    assert turns[-1].text == "x" * LETTERS


@given(st.lists(st.tuples(st.sampled_from("abj"), st.integers(0, 4000), st.integers(-3, 30)), max_size=60))
def test_every_message_is_in_one_turn_and_what_is_before_it_was_said_before(
    plan: list[tuple[str, int, int]],
) -> None:
    at = 0
    messages = []
    for number, (person, pause, back) in enumerate(plan):
        at += pause
        reply = f"m{number - back}" if back > 0 else ""
        messages.append(said(number, person, at=at, reply_to=reply))
    threads = Threads(gap=1800, join=60)
    turns = [turn for each in messages for turn in threads.add(each)]
    turns += threads.end()
    assert [one for turn in turns for one in turn.ids] == [each.id for each in messages]
    order = {one: number for number, turn in enumerate(turns) for one in turn.ids}
    for turn in turns:
        path = [order[before.ids[0]] for before in turn.history(100)]
        assert path == sorted(path)
        assert all(each < order[turn.ids[0]] for each in path)
        assert all(before.thread is turn.thread for before in turn.history(100))


# -- pauses -----------------------------------------------------------------------------------------------------------


def pauses(*hills: tuple[float, float, int]) -> Gaps:
    chance = random.Random(7)
    gaps = Gaps()
    for middle, spread, count in hills:
        for _ in range(count):
            gaps.add(chance.lognormvariate(0, spread) * middle)
    return gaps


def test_the_limit_lies_in_the_valley_between_answers_and_days() -> None:
    quick = pauses((20, 1.0, 900), (30_000, 0.5, 60)).limit()
    assert 600 <= quick <= 8000
    slow = pauses((600, 0.8, 900), (80_000, 0.4, 90)).limit()
    assert 5000 <= slow <= 40_000


def test_without_a_valley_the_limit_is_an_hour() -> None:
    assert Gaps().limit() == USUAL
    assert pauses((20, 1.0, 40)).limit() == USUAL
    assert pauses((20, 1.0, 900)).limit() == USUAL
    assert pauses((3600, 1.5, 2000)).limit() == USUAL


@given(st.lists(st.floats(allow_nan=False, min_value=-1e12, max_value=1e12), max_size=200))
def test_a_limit_is_always_sane(seconds: list[float]) -> None:
    gaps = Gaps()
    for each in seconds:
        gaps.add(each)
    assert LEAST <= gaps.limit() <= MOST


async def test_the_limit_is_learnt_from_each_chat(tmp_path: Path) -> None:
    """Somebody who answers after half an hour, three days a week."""
    messages = []
    at = 0.0
    for day in range(40):
        for turn in range(6):
            messages.append(said(len(messages), "aj"[turn % 2], at=at))
            at += 4200 + 60 * ((day * 7 + turn) % 11)
        at += 150_000
    found, examples = await extracted(messages, tmp_path)
    assert (found.threads, len(examples)) == (40, 120)


# -- what is wanted ---------------------------------------------------------------------------------------------------


def test_dates_are_inclusive_and_have_the_zone_of_the_person() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    found = wanted_of("x", Extraction(since="2024-03-30", until="2024-03-31"), berlin)
    assert found.since == datetime(2024, 3, 29, 23, tzinfo=UTC).timestamp()
    assert found.until == datetime(2024, 3, 31, 22, tzinfo=UTC).timestamp()  # that day has 23 hours
    exact = wanted_of("x", Extraction(since="2024-03-30T10:00:00+05:30", until="2024-03-30T10:00Z", most=3), berlin)
    assert exact.since == datetime(2024, 3, 30, 4, 30, tzinfo=UTC).timestamp()
    assert exact.until == datetime(2024, 3, 30, 10, tzinfo=timezone(timedelta(0))).timestamp()
    assert exact.most == 3
    assert wanted_of("x", Extraction()) == Wanted("x")


@pytest.mark.parametrize(
    ("since", "until", "told"),
    [
        ("yesterday", "", "is no date and no time"),
        ("2024-02-30", "", "is no date and no time"),
        ("", "9999-12-31", "is no date and no time"),
        ("2024-02-02", "2024-02-01", "Nothing lies between"),
    ],
)
def test_what_is_no_span_is_told(since: str, until: str, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        wanted_of("x", Extraction(since=since, until=until))


def test_a_person_is_found_by_id_name_or_nickname_without_case_and_accents() -> None:
    people = [Person("1", "José  Núñez", ("Pepe",)), Person("2", "Jose Nunez"), Person("3", "Ann"), Person("Ann", "4")]
    assert the_one("3", people).id == "3"
    assert the_one("Ann", people).id == "Ann"
    assert the_one("Jose Nunez", people).id == "2"
    assert the_one("PEPE", people).id == "1"
    with pytest.raises(Invalid, match=r"several people: José  Núñez \(1\), Jose Nunez \(2\)\. Name one by the id"):
        the_one("jose nunez", people)
    with pytest.raises(PersonNotFound, match="there are José"):
        the_one("", people)
    with pytest.raises(PersonNotFound, match="There is nobody in the conversations yet"):
        the_one("Ann", [])


# -- sequences --------------------------------------------------------------------------------------------------------


async def test_sequences_hold_each_message_once_and_branches_keep_what_they_answer() -> None:
    messages = [
        *(said(0, "a"), said(1, "j", reply_to="m0"), said(2, "b", reply_to="m0"), said(3, "a", reply_to="m1")),
        *(said(4, "a", chat="d"), said(5, "b", chat="d")),
    ]
    found = await sequences_of(InMemory(messages), Wanted("John Doe"), Extraction(), least=2, most=20, limit=None)
    assert [[node.node_id for node in each.nodes] for each in found] == [["m0", "m1", "m3"]]
    every = await sequences_of(InMemory(messages), Wanted(), Extraction(), least=2, most=2, limit=None)
    assert [[node.node_id for node in each.nodes] for each in every] == [
        ["m0", "m1"],
        ["m0", "m2"],
        ["m1", "m3"],
        ["m4", "m5"],
    ]
    examples = examples_of(every, 3, True, None)
    assert sorted(each.target_text for each in examples) == ["text 1", "text 2", "text 3", "text 5"]
    assert examples[0].to_dict()["input_text"] == "[Ann]: text 0"
    assert [each.input_text for each in examples_of(every, 3, False, "John Doe")] == ["text 0"]


async def test_lengths_that_no_sequence_has_are_refused() -> None:
    with pytest.raises(Invalid, match="2 messages or more"):
        await sequences_of(InMemory([]), Wanted(), Extraction(), least=3, most=2, limit=None)
