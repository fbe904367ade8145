"""Footprints that were learnt: the numbers that are made of what was seen, floors after deaths, and that they last."""

import asyncio
import math
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path

import pytest
from databases import OpenStore, database, postgres
from hypothesis import given
from hypothesis import strategies as st

from rolecast import backends
from rolecast.books import footprints
from rolecast.books.footprints import FLOOR_S, FORGOTTEN_S, KEPT, MANY, Floor, Known, Peak, raised, standing, upper
from rolecast.books.sqlite import SQLite
from rolecast.books.store import Store, StoreError, change
from rolecast.config.model import Model
from rolecast.fleet.learnt import BELIEVED, Learnt
from rolecast.fleet.likeness import identity, key, quantization_in, this_machine
from rolecast.footprint import Estimate, Footprint
from rolecast.telemetry.gpus import Gpu

pytestmark = pytest.mark.anyio
__all__ = ["database", "postgres"]  # fixtures

MIB = 1 << 20
GUESS = Estimate(parts=(("weights", 100 * MIB),), loaded=Footprint(100 * MIB), most=Footprint(200 * MIB))
RAM = Footprint(1)
sizes = st.integers(0, 1 << 45)
taken = st.builds(Footprint, sizes, st.lists(sizes, max_size=3).map(tuple))


class Clock:
    """A clock that is set by hand, in seconds since 1970."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
async def store(database: OpenStore) -> AsyncIterator[Store]:
    ready = database()
    await ready.open()
    yield ready
    await ready.close()


class Idle:
    """A store for what is never written."""

    async def read(self, query: str, **values: object) -> list[tuple[object, ...]]:
        return []

    async def transact(self, work: object) -> None:
        raise StoreError("it is not there")


def learnt(clock: Clock | None = None) -> Learnt:
    return Learnt(Idle(), clock or Clock())  # type: ignore[arg-type]


# -- the upper quantile ---------------------------------------------------------------------------------------


@given(st.lists(taken, min_size=1, max_size=KEPT))
def test_the_upper_footprint_is_one_that_was_seen_or_less_and_covers_nine_of_ten_in_every_place(
    peaks: list[Footprint],
) -> None:
    found = upper(peaks)
    assert all(found == upper(order) for order in (peaks[::-1], sorted(peaks, key=lambda each: each.ram)))
    places = [(found.ram, [peak.ram for peak in peaks])]
    for number, size in enumerate(found.gpus):
        places.append((size, [peak.gpus[number] if number < len(peak.gpus) else 0 for peak in peaks]))
    for size, seen in places:
        assert size <= max(seen)
        assert sum(each <= size for each in seen) >= math.ceil(0.9 * len(seen))


@given(st.lists(taken, min_size=1, max_size=MANY - 1))
def test_of_few_lives_the_highest_counts(peaks: list[Footprint]) -> None:
    most = peaks[0]
    for peak in peaks:
        most = most.or_more(peak)
    assert upper(peaks) == most


def test_one_leak_among_many_lives_does_not_count_for_ever() -> None:
    usual = [Footprint(100)] * (MANY - 1)
    assert upper([*usual[1:], Footprint(5000)]) == Footprint(5000)
    assert upper([*usual, Footprint(5000)]) == Footprint(105)


def test_nothing_was_seen_is_nothing() -> None:
    assert upper([]) == Footprint()


# -- floors ---------------------------------------------------------------------------------------------------


@given(st.integers(0, 1 << 34), st.integers(1 << 34, 1 << 40))
def test_a_floor_that_is_met_each_time_leaves_any_machine_within_a_few_deaths(had: int, machine: int) -> None:
    floor: Floor | None = None
    deaths = 0
    while floor is None or floor.least.ram <= machine:
        before = floor.least if floor else Footprint(had)
        floor = raised(floor, before, RAM, 1.0)
        assert floor.least.ram > before.ram
        deaths += 1
    assert deaths <= 20
    assert floor.deaths == deaths


def test_only_the_place_that_was_short_is_raised() -> None:
    had = Footprint(1000 * MIB, (2000 * MIB, 0))
    assert raised(None, had, Footprint(0, (1,)), 1.0).least == Footprint(0, (2500 * MIB, 0))
    assert raised(None, had, RAM, 1.0).least == Footprint(1250 * MIB, (0, 0))


def test_a_floor_is_forgotten_with_time_and_when_all_lives_that_are_known_came_after_it() -> None:
    floor = Floor(1000.0, Footprint(7))
    young = tuple(Peak(1001.0 + n, Footprint(1)) for n in range(KEPT))
    assert standing(Known((), floor), 1000.0 + FLOOR_S) == Footprint(7)
    assert standing(Known((), floor), 1001.0 + FLOOR_S) == Footprint()
    assert standing(Known(young[1:], floor), 1100.0) == Footprint(7)
    assert standing(Known((Peak(999.0, Footprint(1)), *young[1:]), floor), 1100.0) == Footprint(7)
    assert standing(Known(young, floor), 1100.0) == Footprint()


# -- what is expected -----------------------------------------------------------------------------------------


def test_the_estimate_holds_until_enough_was_seen_and_more_than_it_is_believed_at_once() -> None:
    known = learnt()
    assert known.expected("a", None) == Footprint()
    assert known.expected("a", GUESS) == GUESS.most
    for lives in range(1, BELIEVED + 1):
        known.begins("a").seen(Footprint(150 * MIB))
        expected = GUESS.most if lives < BELIEVED else Footprint(150 * MIB)
        assert known.expected("a", GUESS) == expected
    known.begins("a").seen(Footprint(900 * MIB))
    assert known.expected("a", GUESS) == Footprint(900 * MIB)
    assert known.expected("another", GUESS) == GUESS.most


def test_on_a_gpu_that_does_not_tell_who_holds_it_the_estimate_stays() -> None:
    known = learnt()
    on_card = Estimate(parts=(), loaded=Footprint(), most=Footprint(200 * MIB, (0, 900 * MIB, 500 * MIB)))
    for _ in range(BELIEVED):
        known.begins("a").seen(Footprint(50 * MIB, (0, 0, 400 * MIB)))
    assert known.expected("a", on_card) == Footprint(50 * MIB, (0, 900 * MIB, 400 * MIB))


def test_a_life_that_grows_is_one_life_and_tells_its_most() -> None:
    known = learnt()
    life = known.begins("a")
    for size in (100, 300, 200):
        life.seen(Footprint(size * MIB, (size,)))
    assert known.expected("a", None) == Footprint(300 * MIB, (300,))
    assert len(known._known["a"].peaks) == 1


def test_a_death_raises_the_floor_once_and_the_next_one_again() -> None:
    known = learnt()
    life = known.begins("a")
    first = life.died_for_memory(GUESS.most, RAM)
    assert first == Footprint(264 * MIB)  # at least 64 MiB more
    assert life.died_for_memory(GUESS.most, RAM) is None
    assert known.expected("a", GUESS) == first
    second = known.begins("a").died_for_memory(first, RAM)
    assert second == Footprint(396 * MIB)
    for _ in range(BELIEVED):
        known.begins("a").seen(Footprint(10 * MIB))
    assert known.expected("a", GUESS) == second


def test_what_a_worker_had_when_it_died_counts_even_if_less_was_promised() -> None:
    known = learnt()
    life = known.begins("a")
    life.seen(Footprint(1000 * MIB))
    assert life.died_for_memory(Footprint(10 * MIB), RAM) == Footprint(1250 * MIB)


def test_what_one_request_made_a_worker_take_is_not_kept_for_the_model() -> None:
    known = learnt()
    life = known.begins("a", GUESS.most)
    life.seen(Footprint(100 * MIB))
    life.seen(Footprint(23 << 30))
    assert known.expected("a", None) == Footprint(100 * MIB)
    assert life.died_for_memory(GUESS.most, RAM) == Footprint(264 * MIB)
    known.begins("b", GUESS.most).seen(Footprint(2 << 30))
    assert known.expected("b", GUESS) == Footprint(2 << 30), "an estimate may be far off"


def test_lives_follow_each_other_also_when_the_clock_is_put_back() -> None:
    clock = Clock()
    known = learnt(clock)
    for _ in range(KEPT):
        known.begins("a").seen(Footprint(900 * MIB))
    clock.now = 1e8
    for _ in range(KEPT):
        known.begins("a").seen(Footprint(100 * MIB))
    assert known.expected("a", None) == Footprint(100 * MIB)


# -- that they last -------------------------------------------------------------------------------------------


async def test_another_gateway_remembers_what_was_seen_and_the_floor(store: Store) -> None:
    clock = Clock()
    one = Learnt(store, clock)
    await one.open()
    for number in range(BELIEVED):
        one.begins("a").seen(Footprint(1 << 40, (5 * MIB, number)))
    one.begins("b").died_for_memory(Footprint(MIB), RAM)
    await one.close()
    other = Learnt(store, clock)
    await other.open()
    assert other.expected("a", GUESS) == Footprint(1 << 40, (5 * MIB, BELIEVED - 1))
    assert other.expected("b", None) == Footprint(65 * MIB)
    assert other.begins("b").died_for_memory(Footprint(65 * MIB), RAM) == Footprint(129 * MIB)
    await other.close()


async def test_no_more_lives_are_kept_than_are_looked_at(store: Store) -> None:
    known = Learnt(store, Clock())
    await known.open()
    for number in range(3 * KEPT):
        known.begins("a").seen(Footprint((1 + number) * MIB))
        known.begins("b").seen(Footprint(MIB))
        await known._write()
    await known.close()
    rows = await store.read("SELECT key, count(*), min(ram) FROM footprints GROUP BY key ORDER BY key")
    assert rows == [("a", KEPT, (2 * KEPT + 1) * MIB), ("b", KEPT, MIB)]


async def test_what_nobody_has_run_for_long_is_forgotten(store: Store) -> None:
    old, new = Peak(1.0, Footprint(1)), Peak(FORGOTTEN_S + 10.0, Footprint(2))
    floor = Known((), Floor(1.0, Footprint(3)))
    await footprints.write(store, [("old", old), ("new", new)], {"old": floor, "new": Known()})
    assert set(await footprints.recall(store, 10.0)) == {"old", "new"}
    await footprints.forget(store, FORGOTTEN_S + 5.0)
    assert set(await footprints.recall(store, 10.0)) == {"new"}


async def test_what_could_not_be_written_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolecast.fleet.learnt.RETRY_S", 0.0)
    store = SQLite(tmp_path / "store.db")
    await store.open()
    tries = 0
    written = asyncio.Event()
    write = footprints.write

    async def failing(*args: object) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise StoreError("not now")
        await write(*args)  # type: ignore[arg-type]
        written.set()

    monkeypatch.setattr(footprints, "write", failing)
    known = Learnt(store)
    await known.open()
    known.begins("a").seen(Footprint(5 * MIB))
    async with asyncio.timeout(10):
        await written.wait()
    assert (await footprints.recall(store, 0.0))["a"].peaks[0].took == Footprint(5 * MIB)
    await known.close()
    await store.close()


async def test_without_its_database_it_still_learns(caplog: pytest.LogCaptureFixture) -> None:
    class Gone(Idle):
        async def read(self, query: str, **values: object) -> list[tuple[object, ...]]:
            raise StoreError("it is gone")

    known = Learnt(Gone())  # type: ignore[arg-type]
    await known.open()
    known.begins("a").seen(Footprint(5 * MIB))
    assert known.expected("a", None) == Footprint(5 * MIB)
    await known.close()
    assert "it is gone" in caplog.text


async def test_what_somebody_else_wrote_into_the_table_does_no_harm(store: Store) -> None:
    await change(store, footprints.PUT, key="a", began=5.0, ram=7, gpus="{broken")
    assert (await footprints.recall(store, 10.0))["a"].peaks == (Peak(5.0, Footprint(7)),)


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from rolecast.books import footprints
from rolecast.books.sqlite import SQLite
from rolecast.fleet.learnt import Learnt
from rolecast.footprint import Footprint

async def main():
    store = SQLite(Path(sys.argv[1]))
    await store.open()
    known = Learnt(store)
    await known.open()
    known.begins("a").seen(Footprint(123 << 20))
    known.begins("a").died_for_memory(Footprint(200 << 20), Footprint(1))
    while not (found := await footprints.recall(store, 0.0)) or found["a"].floor is None:
        await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_what_was_written_outlives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", KILLED, str(path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    store = SQLite(path)
    await store.open()
    known = Learnt(store)
    await known.open()
    assert known.expected("a", None) == Footprint(264 << 20)
    await known.close()
    await store.close()


# -- keys -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"context": 8192},
        {"parallel": 2},
        {"cache_type_k": "q8_0"},
        {"gpu_layers": 3},
        {"prompt_cache": 0},
        {"adapters": ["a.gguf"]},
        {"backend": "command", "command": "serve {port}"},
        {"environment": {"A": "b"}},
        {"quantization": "Q8_0"},
    ],
)
def test_a_setting_that_memory_depends_on_makes_another_key(change: dict[str, object]) -> None:
    one = Model(source="file:/m/a.gguf", parallel=1)
    other = Model(**{"source": one.source, "parallel": 1, **change})  # type: ignore[arg-type]
    assert key(one, "e 1", "a.gguf 5", "here") != key(other, "e 1", "a.gguf 5", "here")


def test_a_key_is_the_same_for_what_takes_the_same_and_shows_no_secret() -> None:
    one = Model(source="file:/m/a.gguf", description="x", timeout=5, idle_timeout=9, environment={"TOKEN": "sesame"})  # type: ignore[arg-type]
    other = Model(source="file:/n/a.gguf", environment={"TOKEN": "sesame"})
    keys = {key(each, "llama 1", "a-Q4_K_M.gguf 5", "here") for each in (one, other)}
    assert len(keys) == 1
    (text,) = keys
    assert text.startswith("llamacpp llama 1 | here | a-Q4_K_M.gguf 5 | Q4_K_M | 4096x1 | kv auto/auto | ")
    assert "sesame" not in text
    assert key(one, "llama 2", "a-Q4_K_M.gguf 5", "here") != text
    assert key(one, "llama 1", "a-Q4_K_M.gguf 6", "here") != text
    assert key(one, "llama 1", "a-Q4_K_M.gguf 5", "there") != text


def test_a_key_can_be_kept_whatever_a_file_is_called() -> None:
    odd = key(Model(source="file:x"), "e", "a\0\ud800\n" + "é" * 500, "here")
    assert odd.isprintable()
    assert odd.isascii()
    assert odd != key(Model(source="file:x"), "e", "a\0\ud800\n" + "é" * 501, "here")


def test_an_engine_is_known_by_its_version_and_a_program_by_its_file(tmp_path: Path) -> None:
    llamacpp = backends.get("llamacpp")
    assert llamacpp.engine(Model()) == f"xllamacpp {version('xllamacpp')}"
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    first = llamacpp.engine(Model(binary=str(program)))
    program.write_text("#!/bin/sh\n# another\n")
    assert first.startswith("llama-server 10 ")
    assert llamacpp.engine(Model(binary=str(program))) != first
    assert llamacpp.engine(Model(binary=str(tmp_path / "gone"))) == ""
    assert backends.get("command").engine(Model(command=[str(program), "{port}"])).startswith("llama-server 20 ")
    assert backends.get("openai").engine(Model()) == backends.get("fake").engine(Model()) == ""


def test_weights_are_known_by_name_and_size_of_all_parts(tmp_path: Path) -> None:
    for number, size in ((1, 10), (2, 20)):
        (tmp_path / f"m-0000{number}-of-00002.gguf").write_bytes(b"x" * size)
    assert identity(tmp_path / "m-00001-of-00002.gguf") == "m-00001-of-00002.gguf 30"
    assert identity(tmp_path) == f"{tmp_path.name} 30"
    assert identity(tmp_path / "gone.gguf") == "gone.gguf"
    assert identity(None) == ""


def test_a_machine_is_known_by_its_gpus() -> None:
    assert this_machine([Gpu("B", 1, 1), Gpu("A", 1, 1), Gpu("B", 1, 1)]).endswith(", 1 A, 2 B")
    assert this_machine([]) == f"{sys.platform} {os.uname().machine}"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf 5", "Q4_1"),
        ("x-iq4_xs.gguf", "IQ4_XS"),
        ("m-bf16.gguf", "BF16"),
        ("mxfp4-moe.gguf", "MXFP4"),
        ("qwen3-4b.gguf", ""),
        ("", ""),
    ],
)
def test_a_name_tells_its_quantisation(name: str, found: str) -> None:
    assert quantization_in(name) == found
