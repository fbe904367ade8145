"""Imported conversations in both databases: no message twice, pages in order, people found, joined and forgotten."""

import random
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from chat_exports import ANDROID, IPHONE, Ears, discord, discord_message, telegram, telegram_message, write
from databases import OpenStore, database, postgres

from rolecast.avatars import kept as kept_module
from rolecast.avatars.called import fold
from rolecast.avatars.conversation import Chat, Item, Message, Person, Reading, Wanted
from rolecast.avatars.kept import Added, Kept
from rolecast.avatars.sources import Brought, bring
from rolecast.books.sqlite import SQLite
from rolecast.books.store import Query, Store
from rolecast.errors import ExportError, Invalid, PersonNotFound

pytestmark = pytest.mark.anyio
__all__ = ["database", "postgres"]  # fixtures

ALL = Wanted()
UTC_IT_IS = Reading(zone="UTC")
MIRA, JONAS, LEA = Person("a", "Mira Holt", ("Mi",)), Person("b", "Jonas"), Person("c", "Lea")


@pytest.fixture
async def store(database: OpenStore) -> AsyncIterator[Store]:
    opened = database()
    await opened.open()
    yield opened
    await opened.close()


def said(number: int, person: Person, chat: str = "x", *, at: float | None = None, **more: str) -> Message:
    return Message(f"{chat}{number}", chat, person.id, f"text {number}", at, **more)


async def texts(kept: Kept, wanted: Wanted = ALL) -> list[str]:
    return [message.id async for message in kept.messages(wanted)]


async def filled(store: Store, *items: Item) -> Kept:
    kept = Kept(store)
    await kept.add([MIRA, JONAS, LEA, Chat("x", "us"), Chat("y"), *items])
    return kept


# -- import --------------------------------------------------------------------------------------------------------


async def test_the_same_export_again_brings_nothing_and_a_longer_one_only_what_it_has_more(
    store: Store, tmp_path: Path
) -> None:
    path = write(tmp_path / "WhatsApp Chat with Mira Holt.txt", ANDROID)
    first = await bring([path], store, Ears(), UTC_IT_IS)
    assert (first.new, first.changed, first.known, first.chats) == (6, 0, 0, 1)
    assert [(voice.person.name, voice.messages) for voice in first.voices] == [("Mira Holt", 3), ("Jonas", 3)]
    assert first.skipped == {"WhatsApp wrote it": 2, "a medium without words": 1, "it was deleted": 1}
    again = await bring([path], store, Ears(), UTC_IT_IS)
    assert (again.new, again.changed, again.known) == (0, 0, 6)
    longer = write(
        tmp_path / "later" / "WhatsApp Chat with Mira Holt (1).txt", ANDROID + "1/2/24, 8:00\u202fAM - Jonas: and?\n"
    )
    more = await bring([longer], store, Ears(), UTC_IT_IS)
    assert (more.new, more.changed, more.known) == (1, 0, 6)
    assert len(await texts(Kept(store))) == 7


async def test_an_edited_text_takes_the_place_of_the_old_one(store: Store, tmp_path: Path) -> None:
    one = write(tmp_path / "1" / "result.json", telegram(telegram_message(1, "first"), telegram_message(2, "same")))
    two = write(tmp_path / "2" / "result.json", telegram(telegram_message(1, "better"), telegram_message(2, "same")))
    await bring([one], store, Ears())
    brought = await bring([two], store, Ears())
    assert (brought.new, brought.changed, brought.known) == (0, 1, 1)
    assert [message.text async for message in Kept(store).messages(ALL)] == ["better", "same"]


async def test_another_zone_moves_what_is_there_and_doubles_nothing(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "WhatsApp Chat - Holts.txt", IPHONE)
    await bring([path], store, Ears(), UTC_IT_IS)
    brought = await bring([path], store, Ears(), Reading(zone="Asia/Tokyo"))
    assert (brought.new, brought.changed) == (0, 4)
    (chat,) = await Kept(store).chats()
    assert (chat.title, chat.group, chat.zone) == ("Holts", True, "Asia/Tokyo")


async def test_several_files_at_once_are_told_as_one_and_a_wrong_one_stops_before_anything_is_read(
    store: Store, tmp_path: Path
) -> None:
    chat = write(tmp_path / "WhatsApp Chat - Holts.txt", IPHONE)
    channel = write(tmp_path / "c.json", discord(*(discord_message(n, f"m{n}") for n in range(1, 5000))))
    with pytest.raises(ExportError):
        await bring([chat, tmp_path / "none"], store, Ears())
    assert await texts(Kept(store)) == []
    ears = Ears()
    brought = await bring([chat, channel], store, ears, UTC_IT_IS)
    assert brought.messages == brought.new == 4 + 4999
    total = ears.steps[-1][1]
    assert ears.steps == sorted(ears.steps)
    assert ears.steps[-1] == (total, total) == (ears.steps[0][1],) * 2
    assert all(where.startswith(("WhatsApp Chat - Holts.txt, ", "c.json, ")) for where, _ in ears.left)


async def test_messages_of_one_moment_and_without_any_keep_the_order_of_their_export(
    store: Store, tmp_path: Path
) -> None:
    lines = "".join(f'{{"speaker": "P{n % 2}", "message": "m{n}"}}\n' for n in range(3000))
    await bring([write(tmp_path / "talk.jsonl", lines)], store, Ears())
    assert [each.text async for each in Kept(store).messages(Wanted(most=0))] == [f"m{n}" for n in range(3000)]
    kept = Kept(store)
    assert [each.text async for each in kept.messages(Wanted(most=5))] == [f"m{n}" for n in range(2995, 3000)]
    assert {each.at async for each in kept.messages(ALL)} == {None}
    assert await texts(kept, Wanted(since=0)) == [], "nobody knows whether they were then"


# -- what is asked for ---------------------------------------------------------------------------------------------


async def test_messages_come_chat_by_chat_in_order_and_only_of_chats_that_the_person_is_in(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_module, "PAGE", 2)
    kept = await filled(
        store,
        said(1, JONAS, "y", at=5),
        *(said(n, MIRA if n % 2 else JONAS, at=float(n)) for n in (3, 1, 2, 5, 4)),
        said(1, LEA, "z", at=1),
        said(2, JONAS, "z", at=9),
    )
    assert await texts(kept) == ["x1", "x2", "x3", "x4", "x5", "y1", "z1", "z2"]
    assert await texts(kept, Wanted("mira  HOLT")) == ["x1", "x2", "x3", "x4", "x5"]
    assert await texts(kept, Wanted("Lea")) == ["z1", "z2"]
    assert await texts(kept, Wanted("Mi", most=2)) == ["x4", "x5"]
    assert await texts(kept, Wanted(most=3)) == ["x5", "y1", "z2"]
    assert await texts(kept, Wanted("Jonas", since=2, until=5)) == ["x2", "x3", "x4"]
    assert await texts(kept, Wanted("Jonas", since=2, until=5, most=1)) == ["x4"]
    assert await texts(kept, Wanted("Lea", since=2)) == [], "she said nothing since"
    people = await kept.people(Wanted("Mi"))
    assert [person.id for person in people] == ["a", "b"]


async def test_everything_of_a_message_comes_back(store: Store) -> None:
    whole = Message("m", "x", "a", "héllo 🎉\nsecond", 5.25, "l", "open", "glad", "sister", ("one", "zwei"))
    kept = await filled(store, whole, said(2, MIRA, at=-3.5))
    assert [each async for each in kept.messages(ALL)] == [said(2, MIRA, at=-3.5), whole]


async def test_who_said_how_much(store: Store) -> None:
    moods = {"emotion": "glad", "personality": "open"}
    kept = await filled(store, said(1, MIRA, at=5, **moods), said(2, MIRA, "y"), said(3, MIRA, at=9), said(4, JONAS))
    mira, jonas = await kept.speakers()
    assert (mira.person, mira.messages, mira.chats, mira.first, mira.last) == (MIRA, 3, 2, 5, 9)
    assert (mira.personalities, mira.emotions) == (("open",), ("glad",))
    assert (jonas.person, jonas.messages, jonas.first, jonas.last) == (JONAS, 1, None, None)


# -- people --------------------------------------------------------------------------------------------------------


async def test_a_name_is_found_without_case_accents_and_spaces(store: Store) -> None:
    kept = await filled(store)
    for name in ("Mira Holt", "mira_holt", "mira holt", " MIRA   HOLT ", "Míra Hólt", "mi", "a"):
        assert await kept.find(name) == MIRA


async def test_nobody_of_a_name_is_told_with_who_may_be_meant(store: Store) -> None:
    with pytest.raises(PersonNotFound, match="No conversations are here yet"):
        await Kept(store).find("Mira")
    kept = await filled(store, said(1, MIRA))
    with pytest.raises(PersonNotFound, match="Did you mean Mi or Mira Holt"):
        await kept.find("Mira")
    with pytest.raises(PersonNotFound, match="who wrote most there: Mira Holt"):
        await kept.find("Xaver \0 \ud800 '); DROP TABLE avatar_people; --")
    with pytest.raises(PersonNotFound):
        await texts(kept, Wanted("Xaver"))
    assert await kept.find("Jonas") == JONAS


async def test_two_people_of_one_name_are_told_apart_or_joined(store: Store) -> None:
    other = Person("t:a", "mira holt", ("Mimi",))
    kept = await filled(store, other, said(1, MIRA), said(2, other, "y"))
    with pytest.raises(Invalid, match=r"2 people: a \(Mira Holt\), t:a \(mira holt\)"):
        await kept.find("Mira Holt")
    assert await kept.alias("a", "t:a") == Person("a", "Mira Holt", ("Mi", "Mimi", "mira holt"))
    assert (await kept.find("Mimi")).id == "a"
    assert {each.person async for each in kept.messages(Wanted("t:a"))} == {"a"}
    assert [(each.person.id, each.messages, each.chats) for each in await kept.speakers()] == [("a", 2, 2)]
    await kept.apart("t:a")
    assert await kept.find("t:a") == Person("t:a", "mira holt", ("Mimi",))
    assert await texts(kept, Wanted("t:a")) == ["y2"]


async def test_a_new_name_is_one_more_for_the_same_person(store: Store) -> None:
    kept = await filled(store)
    await kept.alias("Mira Holt", "  Schwester ")
    assert await kept.find("schwester") == Person("a", "Mira Holt", ("Mi", "Schwester"))
    await kept.add([Person("a", "a"), Person("a", "Mira H.")])
    assert await kept.find("mira holt") == Person("a", "Mira H.", ("Mi", "Mira Holt", "Schwester"))


async def test_a_forgotten_person_is_gone_and_no_import_brings_them_back(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "WhatsApp Chat with Mira Holt.txt", ANDROID)
    await bring([path], store, Ears(), UTC_IT_IS)
    kept = Kept(store)
    gone = await kept.forget("jonas")
    assert (gone.person.id, gone.ids, len(gone.messages)) == ("whatsapp:Jonas", ("whatsapp:Jonas",), 3)
    assert {each.person async for each in kept.messages(ALL)} == {"whatsapp:Mira Holt"}
    with pytest.raises(PersonNotFound):
        await kept.find("Jonas")
    brought = await bring([path], store, Ears(), UTC_IT_IS)
    assert (brought.new, brought.known, brought.skipped["its author was forgotten"]) == (0, 3, 3)
    assert await _words(store) == {"whatsapp:Mira Holt", "Mira Holt"}, "nothing says who it was"
    back = await bring([path], store, Ears(), Reading(zone="UTC", forgotten=True))
    assert (back.new, back.known) == (3, 3)
    assert (await bring([path], store, Ears(), UTC_IT_IS)).known == 6


async def _words(store: Store) -> set[str]:
    rows = await store.read(Query("SELECT id, name FROM avatar_people"))
    return {each for row in rows for each in row}


async def test_forgetting_is_of_all_that_were_joined_and_of_chats_that_are_empty_then(store: Store) -> None:
    other = Person("t:a", "Mimi")
    kept = await filled(store, other, said(1, MIRA), said(2, other, "y"), said(3, JONAS))
    await kept.alias("a", "Mimi")
    gone = await kept.forget("Mimi")
    assert (gone.ids, gone.messages) == (("a", "t:a"), ("x1", "y2"))
    assert [chat.id for chat in await kept.chats()] == ["x"]
    assert await kept.add([said(9, other, "y")]) == Added(refused=1)


async def test_whether_anything_changed_is_told_by_its_state(store: Store) -> None:
    kept = await filled(store, said(1, MIRA), said(2, JONAS))
    states = [await kept.state()]
    changes = (
        lambda: kept.add([said(3, MIRA)]),
        lambda: kept.add([msgspec.structs.replace(said(3, MIRA), text="edited")]),
        lambda: kept.alias("Mira Holt", "M."),
        lambda: kept.forget("b"),
    )
    for change in changes:
        await change()
        assert await kept.state() == await kept.state()
        states.append(await kept.state())
    assert len(set(map(tuple, states))) == len(states)
    await kept.add([said(1, MIRA)])
    assert await kept.state() == states[-1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("José MÜLLER", "jose muller"),
        ("Straße", "STRASSE"),
        ("ﬁ", "FI"),
        ("Ἀθηνᾶ", "αθηνα"),
        ("木村 さん", "木村\u3000さん"),
    ],
)
def test_names_are_folded_alike(one: str, other: str) -> None:
    assert fold(one) == fold(other)


def test_what_came_of_an_import_can_be_written_for_programs() -> None:
    assert Brought(1, 2, 3, {"a": 1}, 1, ()).messages == 6


async def test_a_wipe_leaves_what_is_kept_and_nothing_of_what_was_forgotten_in_the_files(tmp_path: Path) -> None:
    older = SQLite(tmp_path / "store.db")
    await older.open()
    # As a file that was written for long, by a SQLite that overwrites nothing: rows in the order of no page.
    await older._in_writer(lambda: older._writer.execute("PRAGMA secure_delete=OFF"))
    kept = await filled(older)
    people = (MIRA, JONAS, LEA)
    every = [(random.Random(n).random(), n, people[n % 3]) for n in range(3000)]
    told = [Message(f"{key}", "x", who.id, f"{who.name} said {n} {'so ' * (n % 90)}", n) for key, n, who in every]
    for start in range(0, len(told), 500):
        await kept.add(told[start : start + 500])
    await kept.add([msgspec.structs.replace(each, text=f"{each.text} edited") for each in told[::7]])
    assert await kept.forget("Lea")
    await older.close()
    assert b"Lea said" in b"".join(each.read_bytes() for each in tmp_path.iterdir()), "else this would show nothing"
    store = SQLite(older.path)
    await store.open()
    kept = Kept(store)
    before = [each async for each in kept.messages(ALL) if each.person == "a"]
    assert await store._in_writer(lambda: store._writer.execute("PRAGMA secure_delete").fetchone()) == (1,)
    assert len((await kept.forget("Jonas")).messages) == 1000
    await kept.wipe()
    assert [each async for each in kept.messages(ALL)] == before
    for _ in range(2):
        there = b"".join(each.read_bytes() for each in tmp_path.iterdir())
        assert b"Mira Holt said" in there
        assert b"Jonas said" not in there
        assert b"Lea said" not in there
        await store.close()


async def test_a_wipe_changes_nothing_in_either_database(store: Store) -> None:
    kept = await filled(store, said(1, MIRA), said(2, JONAS, tags=("a",)), said(3, LEA, "y", at=5.5))
    before = [each async for each in kept.messages(ALL)], await kept.chats(), await kept.people(ALL)
    for _ in range(2):
        await kept.wipe()
    assert ([each async for each in kept.messages(ALL)], await kept.chats(), await kept.people(ALL)) == before
    assert (await kept.add([said(1, MIRA), said(9, MIRA)])) == Added(new=1, known=1)


async def test_who_reads_just_now_does_not_make_a_wipe_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolecast.books.sqlite.CHECKPOINT_MS", 1)
    store = SQLite(tmp_path / "store.db")
    await store.open()
    kept = await filled(store, said(1, MIRA))
    reading = sqlite3.connect(store.path, isolation_level=None)
    reading.execute("BEGIN")
    reading.execute("SELECT * FROM avatar_messages").fetchone()
    await kept.forget("Mira Holt")
    await kept.wipe()
    reading.close()
    await kept.wipe()
    assert b"text 1" not in b"".join(each.read_bytes() for each in tmp_path.iterdir())
    await store.close()
