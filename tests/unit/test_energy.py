"""The energy of requests: counters of a machine that is made of files, and how it is divided among who was busy."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from gateway import Gate, Held, ScriptedWorker, chat, delta, pair, reply, request
from hypothesis import given
from hypothesis import strategies as st

from rolecast.books import usage
from rolecast.config.edit import edit_to
from rolecast.config.spending import Money
from rolecast.telemetry.energy import Nvml, Rapl, meters, shares, total
from rolecast.turn import energy
from rolecast.turn.energy import divided

pytestmark = pytest.mark.anyio

NOWHERE = Path("/nonexistent")


# -- counters ------------------------------------------------------------------------------------------------


def zone(folder: Path, directory: str, name: str, microjoules: int | str, most: int = 262_143_328_850) -> Path:
    path = folder / directory
    path.mkdir(parents=True)
    for file, value in (("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", most)):
        (path / file).write_text(f"{value}\n")
    return path


def test_every_processor_package_is_read_once_and_nothing_that_is_part_of_one(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1000)
    zone(tmp_path, "intel-rapl:0:0", "core", 400)
    zone(tmp_path, "intel-rapl:0:1", "dram", 500)
    zone(tmp_path, "intel-rapl:1", "package-1", 20_000)
    zone(tmp_path, "intel-rapl:2", "psys", 900_000)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 1000)
    (tmp_path / "intel-rapl").mkdir()
    found = meters(tmp_path, NOWHERE)
    assert [meter.name for meter in found] == ["intel-rapl:0 (package-0)", "intel-rapl:1 (package-1)"]
    assert total(found) == 21_000


def test_a_counter_that_begins_anew_goes_on(tmp_path: Path) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0", 900, most=999)
    meter = Rapl(path)
    seen = []
    for now in (950, 20, 30, 999, 0, 10):
        (path / "energy_uj").write_text(f"{now}\n")
        seen.append(meter.read())
    assert seen == [950, 1020, 1030, 1999, 2000, 2010]


def test_counters_that_may_not_be_read_or_hold_no_number_are_left_out(tmp_path: Path) -> None:
    locked = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    (locked / "energy_uj").unlink()
    (locked / "energy_uj").mkdir()  # for root every mode can be read
    zone(tmp_path, "intel-rapl:1", "package-1", "soon")
    zone(tmp_path, "intel-rapl:2", "package-2", 7)
    assert [meter.name for meter in meters(tmp_path, NOWHERE)] == ["intel-rapl:2 (package-2)"]
    assert meters(NOWHERE, NOWHERE) == []


def test_a_counter_that_goes_away_says_so(tmp_path: Path) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    meter = Rapl(path)
    (path / "energy_uj").write_text("")
    with pytest.raises(OSError, match="no number"):
        meter.read()
    (path / "energy_uj").unlink()
    with pytest.raises(OSError, match="energy_uj"):
        meter.read()


class Refused(Exception):
    """NVML's own error."""


def library(**functions: Any) -> SimpleNamespace:
    def refuse(card: Any) -> int:
        raise Refused("not supported")

    known = {"nvmlDeviceGetTotalEnergyConsumption": refuse, "nvmlDeviceGetPowerUsage": refuse}
    return SimpleNamespace(NVMLError=Refused, nvmlDeviceGetHandleByIndex=lambda n: n, **{**known, **functions})


def test_a_card_tells_its_energy_in_millijoules() -> None:
    assert Nvml(library(nvmlDeviceGetTotalEnergyConsumption=lambda _: 1234), 0).read() == 1_234_000


def test_of_a_card_without_a_counter_power_is_summed_up_over_time() -> None:
    now = iter([100.0, 100.5, 102.5])
    watts = iter([0, 60_000, 250_000])  # in milliwatts; the first is only tried
    card = Nvml(library(nvmlDeviceGetPowerUsage=lambda _: next(watts)), 1, lambda: next(now))
    assert card.read() == 30_000_000
    assert card.read() == 530_000_000
    with pytest.raises(Refused):
        Nvml(library(), 0)


def test_a_card_that_is_lost_says_so() -> None:
    answers = iter([1])

    def lose(card: Any) -> int:
        try:
            return next(answers)
        except StopIteration:
            raise Refused("the card fell off the bus") from None

    card = Nvml(library(nvmlDeviceGetTotalEnergyConsumption=lose), 0)
    with pytest.raises(OSError, match="fell off"):
        card.read()


# -- dividing ------------------------------------------------------------------------------------------------

SPANS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40), st.integers(0, 40)), max_size=12)


def test_whoever_is_busy_at_the_same_time_takes_an_equal_part() -> None:
    assert shares([(1, 0, 4), (2, 2, 4), (3, 6, 7), (4, 9, 9), (5, 9, 8)]) == {1: 3.0, 2: 1.0, 3: 1.0}
    assert shares([]) == {}


@given(SPANS)
def test_all_parts_come_to_the_time_in_which_anybody_was_busy(spans: list[tuple[int, int, int]]) -> None:
    found = shares(spans)
    ticks = [sum(since <= tick < until for _, since, until in spans) for tick in range(40)]
    assert sum(found.values()) == pytest.approx(sum(count > 0 for count in ticks))
    for number in {number for number, _, _ in spans}:
        own = [sum(since <= tick < until for n, since, until in spans if n == number) for tick in range(40)]
        expected = sum(mine / count for mine, count in zip(own, ticks, strict=True) if count)
        assert found.get(number, 0.0) == pytest.approx(expected)


@given(SPANS, st.integers(0, 10**12))
def test_no_more_is_divided_than_was_measured(spans: list[tuple[int, int, int]], taken: int) -> None:
    found = divided([(n, since, until, "m", 5.0) for n, since, until in spans], 10, 30, taken)
    assert all(part >= 0 for part in found.values())
    assert sum(found.values()) <= taken * (1 + 1e-9)


def test_without_a_counter_the_watts_of_a_model_are_shared_by_those_that_it_answers() -> None:
    spans = [(1, 0.0, 4.0, "big", 100.0), (2, 2.0, 4.0, "big", 100.0), (3, 0.0, 4.0, "small", 10.0)]
    spans += [(4, 0.0, 4.0, "unknown", 0.0)]
    assert divided(spans, 0.0, 4.0, None) == {1: 300e6, 2: 100e6, 3: 40e6}
    assert divided(spans, 5.0, 5.0, 7) == {}


# -- in a gateway --------------------------------------------------------------------------------------------


class Counter:
    """A machine that has taken so many microjoules."""

    name = "a counter"

    def __init__(self) -> None:
        self.microjoules = 5_000
        self.reads = 0
        self.broken = False

    def read(self) -> int:
        self.reads += 1
        if self.broken:
            raise OSError("gone")
        return self.microjoules


@contextlib.asynccontextmanager
async def measured(
    monkeypatch: pytest.MonkeyPatch, *counters: Counter, watts: float = 0.0
) -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    """A gateway on a machine with these counters, that has found them."""
    monkeypatch.setattr(energy, "meters", lambda: list(counters))
    async with pair(model={"watts": watts}) as (gate, worker):
        books, dispatch = gate.gateway.energy, gate.gateway.dispatch
        while (counters or watts) and dispatch.enter != books.enter:
            await asyncio.sleep(0)
        yield gate, worker


async def rows(gate: Gate) -> list[tuple[int, int, int]]:
    """What is booked when all that is known is written."""
    await gate.gateway.energy.close()
    return [tuple(map(int, row)) for row in await gate.gateway.store.read("SELECT * FROM energy ORDER BY id")]


async def both(gate: Gate, held: Held) -> None:
    """Two chats side by side."""
    asked = [asyncio.create_task(gate.ask(request(chat(stream=True)))) for _ in range(2)]
    while held.count < 2:
        await held.began.wait()
        held.began.clear()
    held.let_go.set()
    assert [answer.status for answer in await asyncio.gather(*asked)] == [200, 200]


class Twice(Held):
    """Counts who came."""

    count = 0

    async def __call__(self, *peer: Any) -> None:
        self.count += 1
        await super().__call__(*peer)


async def test_what_is_measured_while_requests_run_is_divided_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter()
    async with measured(monkeypatch, counter) as (gate, worker):
        held = worker.usual = Twice(delta("a"))
        asked = asyncio.create_task(both(gate, held))
        while not counter.reads:  # the look at the start
            await asyncio.sleep(0)
        counter.microjoules += 9_000_000
        await asked
        found = await rows(gate)
        assert len(found) == 2
        assert 0 < sum(microjoules for _, microjoules, _ in found) <= 9_000_000
        assert {measured for _, _, measured in found} == {1}
        assert [row[0] for row in found] == [int(row.id[4:], 16) for row in await gate.rows()]
        report = await usage.report(gate.gateway.store, usage.Window(0, 1e11), usage.Compared("x", None))
        assert report.total.energy_joules == report.total.measured_joules
        assert int((report.total.energy_joules or 0) * 1_000_000) == sum(microjoules for _, microjoules, _ in found)
        exposed = gate.gateway.telemetry.exposition().decode()
        assert 'rolecast_energy_joules_total{model="m",source="measured"}' in exposed


async def test_without_a_counter_it_is_estimated_by_watts_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with measured(monkeypatch, watts=40.0) as (gate, worker):
        held = worker.usual = Twice(delta("a"))
        await both(gate, held)
        found = await rows(gate)
        assert len(found) == 2
        assert {measured for _, _, measured in found} == {0}
        longest_s = max(row.total_ms for row in await gate.rows()) / 1000
        assert 0 < sum(microjoules for _, microjoules, _ in found) <= 40e6 * 2 * longest_s


async def test_counters_are_read_while_requests_run_and_never_else(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter()
    async with measured(monkeypatch, counter) as (gate, _):
        assert counter.reads == 0
        await gate.ask(request(chat()))
        assert [number for number, *_ in await rows(gate)] == [int(row.id[4:], 16) for row in await gate.rows()]
        assert gate.gateway.energy._running is None
        assert counter.reads == 2


async def test_where_nothing_is_known_a_request_costs_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async with measured(monkeypatch) as (gate, _):
        await gate.ask(request(chat()))
        dispatch = gate.gateway.dispatch
        assert (dispatch.settle, dispatch.let_go) == (dispatch.accounts.settle, dispatch.accounts.let_go)
        assert dispatch.enter == dispatch.active.add
        assert await rows(gate) == []


async def test_an_edit_begins_and_ends_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    async with measured(monkeypatch, watts=40.0) as (gate, _):
        gateway = gate.gateway
        off = msgspec.structs.replace(gateway.current.config, money=Money(energy=False))
        (await gateway.energy.prepare(edit_to(off, {}))).commit()
        assert gateway.dispatch.enter == gateway.dispatch.active.add
        (await gateway.energy.prepare(edit_to(gateway.current.config, {}))).commit()
        assert gateway.dispatch.enter == gateway.energy.enter


async def test_a_counter_that_breaks_ends_no_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    counter = Counter()
    counter.broken = True
    async with measured(monkeypatch, counter) as (gate, worker):
        worker.usual = reply()
        assert (await gate.ask(request(chat()))).status == 200
        assert await rows(gate) == []
    assert "energy is not measured any more: gone" in caplog.text


async def test_several_answers_to_one_request_are_booked_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with measured(monkeypatch, watts=40.0) as (gate, worker):
        worker.usual = reply()
        answer = await gate.ask(request(chat(n=3)))
        assert answer.status == 200
        assert [number for number, *_ in await rows(gate)] == [int(row.id[4:], 16) for row in await gate.rows()]
