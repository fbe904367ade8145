"""Conversations on disk between two starts of a worker, with an engine that does as it is told."""

import asyncio
import os
import stat
from array import array
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from rolecast.backends import Backend
from rolecast.backends.slots import Slot
from rolecast.config.memory import Memory
from rolecast.config.schema import Model
from rolecast.errors import WorkerDown
from rolecast.fleet import returning, shelf
from rolecast.fleet.carried import BLOCK, LEAST
from rolecast.fleet.carry import Carry
from rolecast.fleet.returning import MISSES, SHORT, Returning
from rolecast.fleet.station import Station
from rolecast.fleet.worker import Worker
from rolecast.net.pool import Pool

pytestmark = pytest.mark.anyio
POOL = cast(Pool, object())
CHAT = b"/chat/completions"
FIRST = list(range(LEAST + BLOCK))
SECOND = list(range(1000, 1000 + LEAST + BLOCK))


class Engine:
    """One start of an engine: what its slots hold, and what it was asked."""

    identity = "0123456789abcdef"
    token_bytes = 4.0
    least_share = 0.0
    spawns = True

    def __init__(self, folder: Path, *held: Sequence[int]) -> None:
        self.folder = folder
        self.held = {number: list(tokens) for number, tokens in enumerate(held)}
        self.busy: set[int] = set()
        self.used = {number: number if tokens else -1 for number, tokens in self.held.items()}
        self.beside: list[list[int]] = []
        self.restored: list[str] = []
        self.hangs = asyncio.Event()
        self.hangs.set()
        self.dies = self.refuses = False
        self.room = 1 << 30
        """Bytes that the disk takes of a file."""

    recalls = True

    def slot_files(self, model: Model, weights: Path | None) -> "Engine":
        return self

    async def slots(self, pool: Pool) -> list[Slot]:
        return [Slot(number, number in self.busy, len(held), self.used[number]) for number, held in self.held.items()]

    async def save(self, pool: Pool, slot: int, name: str) -> int:
        data = array("i", self.held[slot]).tobytes()
        (self.folder / name).write_bytes(data[: self.room])
        await self.hangs.wait()
        return len(data)

    async def restore(self, pool: Pool, slot: int, name: str) -> bool:
        await self.hangs.wait()
        if self.dies:
            raise WorkerDown("It went away.")
        if self.refuses:
            return False
        self.held[slot] = list(self.read(self.folder / name))
        self.restored.append(name)
        return True

    async def recall(self, pool: Pool, tokens: Sequence[int]) -> int | None:
        await self.hangs.wait()
        assert list(tokens) in self.beside
        self.held = {number: [] for number in self.held}
        self.held[0] = list(tokens)
        return 0

    async def tokens(self, pool: Pool, path: bytes, body: bytes) -> Sequence[int] | None:
        return cast("list[int]", msgspec.json.decode(body))

    def read(self, file: Path) -> Sequence[int]:
        return array("i", file.read_bytes())

    def station(self, model: Model | None = None) -> Station:
        model = model or Model()
        station = Station("m", model, cast(Backend, self), Worker("m", model, 1))
        station.pool = POOL
        return station


def asks(tokens: Sequence[int]) -> bytes:
    return msgspec.json.encode(list(tokens)).ljust(SHORT)


async def opened(folder: Path, size: str | int = "1GiB") -> Carry:
    carry = Carry(folder, Memory(conversations=size), lambda model: None)
    await carry.open()
    return carry


async def run(carry: Carry, engine: Engine, *asked: Sequence[int], ends: bool = True) -> Station:
    """One start of a worker: these requests come one after the other, then it ends."""
    station = engine.station()
    carry.begins(station)
    carry.loaded(station)
    for tokens in asked:
        await ask(station, tokens)
    if ends:
        await end(carry, station)
    return station


async def ask(station: Station, tokens: Sequence[int]) -> None:
    body = asks(tokens)
    assert station.keeps is not None
    if station.keeps.asked(CHAT, body):
        await station.keeps.bring(POOL, CHAT, body)


async def end(carry: Carry, station: Station) -> None:
    async with carry.parting(station):
        pass
    await carry.close()


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.kv"))


async def test_a_conversation_comes_back_to_the_next_worker_also_of_the_next_gateway(tmp_path):
    await run(await opened(tmp_path), Engine(tmp_path, FIRST))
    again = Engine(tmp_path, [])
    await run(await opened(tmp_path), again, [*FIRST, 1, 2, 3], ends=False)
    assert again.held[0] == FIRST


async def test_what_was_read_by_nobody_is_not_brought_back(tmp_path):
    await run(await opened(tmp_path), Engine(tmp_path, FIRST))
    again = Engine(tmp_path, [])
    await run(await opened(tmp_path), again, SECOND, ends=False)
    assert again.restored == []


async def test_of_a_short_conversation_nothing_is_written(tmp_path):
    await run(await opened(tmp_path), Engine(tmp_path, FIRST[: LEAST - 1]))
    assert kept(tmp_path) == []


async def test_an_engine_that_is_stuck_holds_nobody_up_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(returning, "SAVE_S", 0.01)
    engine = Engine(tmp_path, FIRST)
    engine.hangs.clear()
    await run(await opened(tmp_path), engine)
    assert [each.name for each in tmp_path.iterdir()] == [shelf.INDEX]


async def test_a_worker_that_is_stuck_is_asked_without_its_conversation(tmp_path, monkeypatch):
    await run(await opened(tmp_path), Engine(tmp_path, FIRST))
    monkeypatch.setattr(returning, "BRING_S", 0.01)
    engine = Engine(tmp_path, [])
    engine.hangs.clear()
    await run(await opened(tmp_path), engine, FIRST, ends=False)
    assert len(kept(tmp_path)) == 1  # which is nobody's fault


async def test_a_file_for_which_the_disk_had_no_room_is_removed(tmp_path):
    engine = Engine(tmp_path, FIRST)
    engine.room = len(FIRST) * 4 - 4
    await run(await opened(tmp_path), engine)
    assert [each.name for each in tmp_path.iterdir()] == [shelf.INDEX]


async def test_busy_slots_are_left_alone(tmp_path):
    engine = Engine(tmp_path, FIRST, SECOND)
    engine.busy.add(0)
    await run(await opened(tmp_path), engine)
    (file,) = kept(tmp_path)
    assert list(engine.read(file)) == SECOND


async def test_one_that_did_not_end_after_all_is_saved_again_when_it_does(tmp_path):
    carry, engine = await opened(tmp_path), Engine(tmp_path, FIRST)
    station = await run(carry, engine)
    carry.stays(station)
    engine.held[0] = SECOND
    await end(carry, station)
    assert SECOND in [list(engine.read(file)) for file in kept(tmp_path)]


async def test_one_that_sleeps_is_asked_nothing_when_it_ends(tmp_path):
    carry, engine = await opened(tmp_path), Engine(tmp_path, FIRST)
    station = await run(carry, engine, ends=False)
    carry.slept(station)
    await end(carry, station)
    assert kept(tmp_path) == []


async def test_a_worker_that_never_answered_is_not_asked_to_save(tmp_path):
    carry, engine = await opened(tmp_path), Engine(tmp_path, FIRST)
    station = engine.station()
    carry.begins(station)
    await end(carry, station)
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-4], lambda data: data[:40] + b"?" + data[41:], lambda data: b""]
)
async def test_a_damaged_file_never_reaches_an_engine(tmp_path, damage):
    await run(await opened(tmp_path), Engine(tmp_path, FIRST))
    carry = await opened(tmp_path)
    (file,) = kept(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    engine = Engine(tmp_path, [])
    await run(carry, engine, FIRST, ends=False)
    assert engine.restored == []
    assert kept(tmp_path) == []


async def test_a_file_of_which_an_engine_dies_is_not_given_to_the_next_one(tmp_path):
    await run(await opened(tmp_path), Engine(tmp_path, FIRST))
    dying = Engine(tmp_path, [])
    dying.dies = True
    carry = await opened(tmp_path)
    await run(carry, dying, FIRST, ends=False)
    assert kept(tmp_path) == []
    again = Engine(tmp_path, [])
    await run(carry, again, FIRST, ends=False)
    assert again.restored == []


async def test_a_file_that_an_engine_refuses_is_a_miss_and_gone(tmp_path):
    await run(await opened(tmp_path), Engine(tmp_path, FIRST))
    engine = Engine(tmp_path, [])
    engine.refuses = True
    await run(await opened(tmp_path), engine, FIRST, ends=False)
    assert kept(tmp_path) == []


async def test_a_client_that_leaves_meanwhile_loses_no_conversation(tmp_path):
    await run(await opened(tmp_path), Engine(tmp_path, FIRST))
    engine = Engine(tmp_path, [])
    station = await run(await opened(tmp_path), engine, ends=False)
    engine.hangs.clear()
    asking = asyncio.ensure_future(ask(station, FIRST))
    await asyncio.wait({asking}, timeout=0.05)
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    assert len(kept(tmp_path)) == 1


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"version":0,"saved":[]}', b'{"version":1,"saved":[{"file":1}]}', b"\xff"]
)
async def test_a_damaged_list_is_an_empty_one(tmp_path, text):
    await run(await opened(tmp_path), Engine(tmp_path, FIRST))
    (tmp_path / shelf.INDEX).write_bytes(text)
    engine = Engine(tmp_path, [])
    await run(await opened(tmp_path), engine, FIRST, ends=False)
    assert engine.restored == []
    assert kept(tmp_path) == []


async def test_what_is_left_of_a_killed_gateway_is_swept_and_nothing_that_is_not_ours(tmp_path):
    ours = tmp_path / f"{Engine.identity}-{'0' * 16}.part"
    theirs = tmp_path / "notes.txt"
    for file in (ours, theirs):
        file.write_text("x")
    await opened(tmp_path)
    assert not ours.exists()
    assert theirs.exists()


async def test_a_list_that_names_a_file_elsewhere_opens_none(tmp_path):
    folder = tmp_path / "kept"
    await run(await opened(folder), Engine(folder, FIRST))
    (file,) = kept(folder)
    outside = tmp_path / "outside"
    file.rename(outside)
    index = (folder / shelf.INDEX).read_bytes()
    (folder / shelf.INDEX).write_bytes(index.replace(file.name.encode(), b"../outside"))
    assert shelf.opened(folder) == []
    (folder / shelf.INDEX).write_bytes(index)
    file.symlink_to(outside)
    assert shelf.opened(folder) == []
    assert outside.exists()


async def test_only_their_owner_can_read_them_and_their_names_say_nothing(tmp_path):
    folder = tmp_path / "kept"
    await run(await opened(folder), Engine(folder, FIRST))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert set(file.stem) <= set("0123456789abcdef-") or file.name == shelf.INDEX


@pytest.mark.parametrize("edited", [False, True])
async def test_none_erases_what_was_kept(tmp_path, edited):
    folder = tmp_path / "kept"
    carry = await opened(folder)
    await run(carry, Engine(folder, FIRST))
    assert kept(folder)
    if edited:
        carry.configure(Memory(conversations=0))
        await carry.close()
    else:
        carry = await opened(folder, 0)
    assert not folder.exists()
    station = Engine(folder, FIRST).station()
    carry.begins(station)
    assert station.keeps is None


async def test_a_conversation_larger_than_all_that_is_allowed_is_not_written(tmp_path):
    await run(await opened(tmp_path, len(FIRST) * 4 - 1), Engine(tmp_path, FIRST))
    assert kept(tmp_path) == []


async def test_the_one_that_was_used_last_stays_when_there_is_no_room_for_all(tmp_path):
    engine = Engine(tmp_path, FIRST, SECOND)
    await run(await opened(tmp_path, len(FIRST) * 4 + 1), engine)
    (file,) = kept(tmp_path)
    assert list(engine.read(file)) == SECOND


async def test_what_left_the_slot_for_another_prompt_is_kept_too(tmp_path):
    engine = Engine(tmp_path, SECOND)
    engine.beside = [FIRST]
    await run(await opened(tmp_path), engine, FIRST, SECOND)
    assert sorted(next(iter(engine.read(file))) for file in kept(tmp_path)) == [FIRST[0], SECOND[0]]


async def test_to_bring_one_back_loses_nothing_of_the_one_that_has_the_slot(tmp_path):
    carry = await opened(tmp_path)
    await run(carry, Engine(tmp_path, FIRST))
    engine = Engine(tmp_path, SECOND)
    await run(carry, engine, FIRST, ends=False)
    assert engine.held[0] == FIRST
    assert sorted(next(iter(engine.read(file))) for file in kept(tmp_path)) == [FIRST[0], SECOND[0]]


async def test_the_one_that_gave_way_is_brought_back_when_it_goes_on(tmp_path):
    carry = await opened(tmp_path)
    await run(carry, Engine(tmp_path, FIRST))
    engine = Engine(tmp_path, [])
    station = await run(carry, engine, SECOND, ends=False)
    engine.held, engine.used = {0: SECOND}, {0: 1}  # it has read it
    await ask(station, FIRST)
    assert engine.held[0] == FIRST
    engine.used = {0: 2}
    await ask(station, SECOND)
    assert engine.held[0] == SECOND


async def test_a_slot_that_was_never_used_is_taken_first_and_none_twice(tmp_path):
    carry = await opened(tmp_path)
    await run(carry, Engine(tmp_path, FIRST, SECOND))
    third = list(range(5000, 5000 + LEAST))
    engine = Engine(tmp_path, third, [], [])
    await run(carry, engine, FIRST, SECOND, ends=False)
    assert engine.held == {0: third, 1: SECOND, 2: FIRST}


async def test_after_many_requests_that_go_on_with_nothing_nobody_looks_any_more(tmp_path):
    carry = await opened(tmp_path)
    await run(carry, Engine(tmp_path, FIRST))
    station = await run(carry, Engine(tmp_path, []), *[SECOND] * MISSES, ends=False)
    assert station.keeps is not None
    assert not station.keeps.asked(CHAT, asks(FIRST))


async def test_where_nothing_is_kept_no_request_is_looked_up(tmp_path):
    station = await run(await opened(tmp_path), Engine(tmp_path, []), ends=False)
    assert isinstance(station.keeps, Returning)
    assert not station.keeps.asked(CHAT, asks(FIRST))


async def test_a_model_that_cannot_be_kept_is_passed_by(tmp_path, monkeypatch):
    def none(*_: Any) -> None:
        return None

    monkeypatch.setattr(Engine, "slot_files", none)
    carry = await opened(tmp_path)
    station = Engine(tmp_path, FIRST).station()
    carry.begins(station)
    await carry.close()
    await asyncio.sleep(0)
    assert station.keeps is None


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
async def test_a_folder_that_cannot_be_written_keeps_nothing_and_stops_nothing(tmp_path):
    tmp_path.chmod(0o500)
    await run(await opened(tmp_path / "kept"), Engine(tmp_path, []))


async def test_a_folder_that_is_a_file_keeps_nothing_and_stops_nothing(tmp_path):
    (tmp_path / "kept").write_text("mine")
    carry = await opened(tmp_path / "kept")
    assert not carry.on
    assert (tmp_path / "kept").read_text() == "mine"
