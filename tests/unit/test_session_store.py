"""What is kept of sessions, on every database: whole turns in order, bounds, and what happens without a database."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from databases import OpenStore, database, postgres
from gateway import Gate, ScriptedWorker, on_uvloop, running_gateway, short_folder
from test_sessions import CHAT, GENERATE, OLLAMA, body_of, cast, echo, get, pairs, say, told

from rolecast.books import sessions as books
from rolecast.books.sessions import New
from rolecast.books.store import Store, StoreError
from rolecast.config.tasks import Sessions
from rolecast.config.units import Seconds

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop
__all__ = ["database", "postgres"]  # fixtures


@pytest.fixture
async def store(database: OpenStore) -> AsyncIterator[Store]:
    ready = database()
    await ready.open()
    yield ready
    await ready.close()


def new(text: str, name: str = "s", key: str = "k", at: float = 1.0) -> New:
    return New(key, name, at, text, f"re: {text}", "m", 5)


async def texts(store: Store, name: str = "s", key: str = "k", after: int = 0) -> list[str]:
    return [turn.asked for turn in await books.newest(store, key, name, after)]


async def test_turns_come_back_in_order_for_their_key_alone(store: Store) -> None:
    assert await books.keep(store, [new("a"), new("b"), new("x", key="other"), new("c")], 10) == [1, 2, 1, 3]
    assert await texts(store) == ["a", "b", "c"]
    assert await texts(store, after=1) == ["b", "c"]
    assert await texts(store, key="other") == ["x"]
    assert await texts(store, name="other") == []
    assert (await books.counts(store, "k", "s")).turns == 3
    assert [turn.asked for turn in await books.page(store, "k", "s", 1, 1)] == ["b"]
    await books.counted(store, "k", "s", 2, 77, "tiny")
    assert [(t.tokens, t.counted) for t in await books.newest(store, "k", "s", 0)] == [(5, ""), (77, "tiny"), (5, "")]


@pytest.mark.parametrize("text", ["", "a\0b", "\ud83d half a pair", "\u202e\U0001f600", "'; DROP TABLE sessions"])
async def test_any_text_is_kept_as_it_was_said(store: Store, text: str) -> None:
    await books.keep(store, [new(text, name=text)], 10)
    (turn,) = await books.newest(store, "k", text, 0)
    assert (turn.asked, turn.answer) == (text, f"re: {text}")
    assert [name for _, name, _ in await books.known(store)] == [text]


async def test_a_session_keeps_so_many_turns_and_their_numbers_only_grow(store: Store) -> None:
    for number in range(1, 8):
        assert await books.keep(store, [new(str(number))], 3) == [number]
    assert await texts(store) == ["5", "6", "7"]
    assert await books.clear(store, "k", "s")
    assert await texts(store) == []
    await books.summarize(store, "k", "s", "of what was cleared meanwhile", 7)
    head = await books.head(store, "k", "s")
    assert head is not None
    assert head.summary == ""
    assert await books.keep(store, [new("8")], 3) == [8]
    assert await texts(store, after=head.summarized) == ["8"]


async def test_a_summary_takes_the_place_of_turns_and_an_older_one_does_not_come_back(store: Store) -> None:
    await books.keep(store, [new(str(number)) for number in range(5)], 10)
    await books.summarize(store, "k", "s", "of three", 3)
    await books.summarize(store, "k", "s", "of two", 2)
    head = await books.head(store, "k", "s")
    assert head is not None
    assert (head.summary, head.summarized, head.last) == ("of three", 3, 5)
    assert await texts(store, after=head.summarized) == ["3", "4"]


async def test_a_summary_of_turns_that_were_taken_back_is_gone_and_does_not_come_back(store: Store) -> None:
    turns = [books.New("", "s", float(n), f"q{n}", f"a{n}", "m", 1) for n in range(1, 6)]
    numbers = await books.keep(store, turns, 100)
    await books.summarize(store, "", "s", "of three", numbers[2])
    assert await books.clear(store, "", "s", numbers[3])  # behind what the summary is of
    head = await books.head(store, "", "s")
    assert head is not None
    assert (head.summary, head.summarized) == ("of three", numbers[2])
    assert await books.clear(store, "", "s", numbers[1])
    await books.summarize(store, "", "s", "late", numbers[3])  # that was under way meanwhile
    head = await books.head(store, "", "s")
    assert head is not None
    assert (head.summary, head.summarized) == ("", 0)
    assert [turn.asked for turn in await books.newest(store, "", "s", 0)] == ["q1", "q2"]
    assert not await books.clear(store, "", "nobody", 1)


async def test_what_is_forgotten_is_deleted_from_all_tables(store: Store) -> None:
    await books.begin(store, "k", "s", 1.0, "p", "be kind")
    assert not await books.begin(store, "k", "s", 1.0, "", "")
    await books.keep(store, [new("a"), new("b", name="t")], 10)
    assert await books.forget(store, "k", "s")
    assert not await books.forget(store, "k", "s")
    assert [name for _, name, _ in await books.known(store)] == ["t"]
    assert await store.read("SELECT count(*) FROM session_turns") == [(1,)]


async def test_ten_thousand_sessions_are_pruned_at_once(store: Store) -> None:
    count = 10_000
    heads = [("k", str(i).encode(), 1.0, float(i), "", b"", b"", 0, 1, 0) for i in range(count)]
    turns = [("k", str(i).encode(), 1, float(i), b"a", b"b", 2, "m", 1, "", 0) for i in range(count)]
    await store.insert([("sessions", heads), ("session_turns", turns)])
    began = time.monotonic()
    gone = await books.prune(store, 5000.0, 1000)
    assert time.monotonic() - began < 5
    assert len(gone) == 9000
    assert [used for _, _, used in await books.known(store)] == [float(i) for i in range(9000, count)]
    assert await store.read("SELECT count(*) FROM session_turns") == [(1000,)]


# -- the gateway ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def worker() -> AsyncIterator[ScriptedWorker]:
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as made:
            made.usual = echo
            yield made


async def test_a_restart_keeps_sessions_and_too_old_ones_go(worker: ScriptedWorker, tmp_path: Path) -> None:
    async with running_gateway(cast(worker), tmp_path) as gate:
        await say(gate, CHAT, "one", "s")
        await say(gate, CHAT, "old", "o")
        await gate.gateway.store.read("SELECT 1")
        await books.change(gate.gateway.store, "UPDATE sessions SET used = 5 WHERE id = :id", id=b"o")
    async with running_gateway(cast(worker), tmp_path) as gate:
        assert (await get(gate, "/sessions")).json["sessions"] == ["s"]
        assert (await get(gate, "/sessions/o")).status == 404
        await say(gate, CHAT, "two", "", "X-Session-Id: s\r\n")
        assert told(worker) == [*pairs("one"), ("user", "two")]


async def test_of_one_key_the_sessions_used_least_lately_go_first(worker: ScriptedWorker, tmp_path: Path) -> None:
    async with running_gateway(cast(worker, sessions=Sessions(most=3, keep=Seconds(0))), tmp_path) as gate:
        for name in ("a", "b", "c", "a", "d", "e"):
            await say(gate, CHAT, name, name)
        await asyncio.sleep(0.1)
        assert (await get(gate, "/sessions")).json["sessions"] == ["e", "d", "a"]
        rows = await gate.gateway.store.read("SELECT id FROM sessions")
        assert {bytes(name) for (name,) in rows} <= {b"a", b"d", b"e", b"c"}


async def test_a_full_disk_costs_no_answer_is_named_once_and_loses_no_turn(
    worker: ScriptedWorker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rolecast.sessions")
    async with running_gateway(cast(worker, model={"context": 1_000_000}), tmp_path) as gate:
        await say(gate, CHAT, "0" * 9000, "s")
        store: Any = gate.gateway.store
        await _with_writer(store, "PRAGMA max_page_count=1")
        for number in range(1, 4):
            await say(gate, CHAT, f"{number}" * 9000, "s")
        assert len(told(worker)) == 7
        await _with_writer(store, "PRAGMA max_page_count=1000000")
        await say(gate, CHAT, "last", "s")
        async with asyncio.timeout(60):  # after a try that took long it is a while until the next one
            while (await get(gate, "/sessions/s")).json["turns"] != 5:
                await asyncio.sleep(0.05)
    said = [record.getMessage() for record in caplog.records if record.name == "rolecast.sessions"]
    assert [text.partition(":")[0] for text in said] == [
        "turns of sessions wait for the database",
        "turns of sessions are kept again",
    ]
    assert "000" not in " ".join(said)


async def _with_writer(store: Any, pragma: str) -> None:
    """On the connection that writes, whose thread that need not be."""
    await asyncio.to_thread(lambda: store._writer.execute(pragma).fetchall())


async def test_a_database_that_cannot_be_written_holds_up_no_answer_for_long(
    worker: ScriptedWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_gateway(cast(worker), tmp_path) as gate:
        held = asyncio.Event()

        async def slow(*_: Any) -> list[int]:
            await held.wait()
            raise StoreError("The database cannot be used just now: it is away.")

        monkeypatch.setattr(books, "keep", slow)
        began = time.monotonic()
        await say(gate, CHAT, "one", "s", stream=True)
        assert 0.5 < time.monotonic() - began < 4
        held.set()
        await say(gate, CHAT, "two", "s")
        assert told(worker) == [*pairs("one"), ("user", "two")]
        monkeypatch.undo()
    assert await _kept(tmp_path, worker) == ["one", "two"]


async def _kept(folder: Path, worker: ScriptedWorker) -> list[str]:
    async with running_gateway(cast(worker), folder) as gate:
        return [turn["asked"] for turn in (await get(gate, "/sessions/s")).json["history"]]


# -- never mixed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
async def test_ten_sessions_of_two_keys_at_once_never_mix_also_over_a_restart(
    worker: ScriptedWorker, tmp_path: Path, seed: int
) -> None:
    """Every request must see all turns of its own session before it, in order, and nothing else."""
    chance = random.Random(seed)
    keys = ("one", "two")
    plan = {(key, f"s{i}"): [f"{key}-s{i}-{turn}" for turn in range(6)] for key in keys for i in range(5)}
    made = cast(worker, server={"keys": list(keys)}, sessions=Sessions(budget=1.0), model={"context": 100_000})

    async def talk(gate: Gate, place: tuple[str, str], said: list[str], todo: list[str]) -> None:
        key, name = place
        for text in todo:
            await asyncio.sleep(chance.random() * 0.004)
            path = chance.choice((CHAT, OLLAMA, GENERATE, "/v1/messages", "/v1/responses"))
            head = f"Authorization: Bearer {key}\r\n"
            answer = await gate.ask(request_of(path, text, name, stream=chance.random() < 0.5, head=head))
            assert answer.status == 200, answer.body
            assert f"re: {text}"[:3].encode() in answer.body
            said.append(text)

    said: dict[tuple[str, str], list[str]] = {place: [] for place in plan}
    for half in (slice(0, 3), slice(3, 6)):
        async with running_gateway(made, tmp_path) as gate:
            await asyncio.gather(*(talk(gate, place, said[place], plan[place][half]) for place in plan))
    seen = {}
    for received in worker.requests:
        messages = [(each["role"], each["content"]) for each in received.json["messages"]]
        last = messages[-1][1]
        key, name, number = last.split("-")
        assert messages == [*pairs(*plan[key, name][: int(number)]), ("user", last)]
        seen[last] = True
    assert set(seen) == {text for texts_of in plan.values() for text in texts_of}


def request_of(path: str, text: str, name: str, *, stream: bool, head: str) -> bytes:
    from gateway import request

    return request(body_of(path, text, name, stream=stream), path=path, head=head)
