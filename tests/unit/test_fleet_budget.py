"""How much all workers may take together, and what each of them holds."""

import asyncio
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.fleet.budget import GIB, MIB, budget, held
from rolecast.fleet.weighing import weigh
from rolecast.footprint import Footprint
from rolecast.processes import process, resident
from rolecast.telemetry.gpus import Gpu
from rolecast.telemetry.memory import Reading
from rolecast.values import Launch

NOTHING = Footprint()
sizes = st.integers(0, 1 << 42)
settings = st.sampled_from(["auto", "80%", "100%", "0.5%", "12GB", 4 * GIB, "3 GiB"])


def reading(total: int, available: int, *gpus: tuple[int, int]) -> Reading:
    cards = tuple(Gpu("x", size, free, processes=()) for size, free in gpus)
    return Reading(Footprint(total, tuple(g[0] for g in gpus)), Footprint(available, tuple(g[1] for g in gpus)), cards)


@pytest.mark.parametrize(
    ("total", "auto"),
    [(1 * GIB, 768 * MIB), (2 * GIB, int(1.5 * GIB)), (4 * GIB, 3 * GIB), (8 * GIB, 7 * GIB), (64 * GIB, 57.6 * GIB)],
)
def test_auto_is_all_but_a_reserve(total: int, auto: float) -> None:
    assert budget("auto", "auto", reading(total, total), NOTHING).ram == pytest.approx(auto, abs=1)


@pytest.mark.parametrize(
    ("setting", "most"), [("80%", 8 * GIB), ("50 %", 5 * GIB), ("2GiB", 2 * GIB), (GIB, GIB), ("999GB", 10 * GIB)]
)
def test_a_share_and_a_size_mean_what_they_say(setting: str | int, most: int) -> None:
    assert budget(setting, "auto", reading(10 * GIB, 10 * GIB), NOTHING).ram == most


def test_what_others_hold_is_taken_off_and_what_is_ours_is_not() -> None:
    now = reading(16 * GIB, 6 * GIB)  # 10 are used
    assert budget("auto", "auto", now, NOTHING).ram == pytest.approx(4.4 * GIB, abs=1)
    assert budget("auto", "auto", now, Footprint(10 * GIB)).ram == pytest.approx(14.4 * GIB, abs=1)
    assert budget("12GiB", "auto", now, Footprint(4 * GIB)).ram == 10 * GIB


def test_each_gpu_has_a_budget_of_its_own() -> None:
    now = reading(16 * GIB, 16 * GIB, (24 * GIB, 4 * GIB), (8 * GIB, 8 * GIB))
    assert budget("auto", "auto", now, Footprint(0, (16 * GIB,))).gpus == (
        20 * GIB - int(0.05 * 24 * GIB),
        8 * GIB - int(0.05 * 8 * GIB),
    )
    assert budget("auto", "50%", now, Footprint(0, (16 * GIB,))).gpus == (12 * GIB, 4 * GIB)
    assert budget("10%", "auto", now, NOTHING).ram == int(1.6 * GIB)


def test_a_gpu_that_has_the_machines_memory_may_not_use_all_of_it() -> None:
    shared = Gpu("Apple M4", 12 * GIB, 12 * GIB, shares_ram=True)
    now = Reading(Footprint(16 * GIB, (0,)), Footprint(16 * GIB, (0,)), (shared,))
    assert budget("auto", "auto", now, NOTHING) == Footprint(12 * GIB, (0,))
    assert budget("90%", "auto", now, NOTHING).ram == int(14.4 * GIB)


@given(settings, settings, sizes, sizes, sizes, sizes, sizes)
def test_a_budget_is_never_more_than_what_is_to_be_had_with_ours_and_falls_with_what_others_take(
    ram: str | int, cards: str | int, total: int, used: int, mine: int, card: int, more: int
) -> None:
    used, mine, card_used = min(used, total), min(mine, used, total), min(used, card)
    before = budget(ram, cards, reading(total, total - used, (card, card - card_used)), Footprint(mine, (0,)))
    assert 0 <= before.ram <= total - used + mine
    assert 0 <= before.gpus[0] <= card - card_used
    after = budget(ram, cards, reading(total, max(0, total - used - more), (card, 0)), Footprint(mine, (0,)))
    assert after.within(before) or after == before
    assert after.ram <= before.ram
    assert after.gpus == (0,)


@given(settings, sizes, sizes, sizes)
def test_what_a_worker_of_ours_takes_changes_no_budget(ram: str | int, total: int, others: int, ours: int) -> None:
    others = min(others, total)
    ours = min(ours, total - others)
    idle = budget(ram, "auto", reading(total, total - others), NOTHING)
    busy = budget(ram, "auto", reading(total, total - others - ours), Footprint(ours))
    assert idle == busy


def test_on_a_gpu_that_does_not_tell_its_processes_ours_are_what_they_were_admitted_with() -> None:
    cards = (Gpu("a", 10, 4), Gpu("b", 10, 4, processes=((1, 5),)), Gpu("c", 10, 9))
    now = Reading(Footprint(100, (10, 10, 10)), Footprint(50, (4, 4, 9)), cards)
    measured, admitted = Footprint(7, (0, 5)), Footprint(70, (4, 9, 9, 9))
    assert held(now, measured, admitted) == Footprint(7, (4, 5, 1))


# -- weighing -------------------------------------------------------------------------------------------------

HOLDER = """
import mmap, os, sys
child = os.fork()
private = bytearray(os.urandom(1) * (30 << 20))
if child:
    file = open(sys.argv[1], "rb")
    pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    sum(pages[at] for at in range(0, len(pages), 4096))
    gone = bytearray(b"x" * (50 << 20))
    del gone
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the rest tells resident memory alone")
@pytest.mark.anyio
async def test_a_worker_is_weighed_with_its_children_and_files_and_peaks_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"w" * (40 << 20))
    argv = (sys.executable, "-c", HOLDER, str(tmp_path / "weights"))
    child = await process.spawn(Launch(argv=argv, own_watch=True), name="holder", log=tmp_path / "log")
    try:
        seen = 0
        async with asyncio.timeout(15):
            async for text in child.follow(10):
                seen += text == "ready"
                if seen == 2:
                    break
        tree = resident.tree(child.pid)
        assert len(tree.pids) == 2
        cards = [Gpu("x", 9, 9, processes=((child.pid, 5), (1, 7))), Gpu("y", 9, 9)]
        (weight,) = weigh([("m", child)], cards).values()
        (bare,) = weigh([("m", child)], []).values()
        shared = Gpu("GB10", 0, 0, processes=((child.pid, 1 << 40),), shares_ram=True)
        (unified,) = weigh([("m", child)], [shared]).values()
    finally:
        await child.stop(0)
    assert weight.private.ram < 100 << 20
    assert weight.now.ram - weight.private.ram > 40 << 20
    assert bare.peak.ram - bare.now.ram > 40 << 20
    assert weight.peak.ram == weight.now.ram  # on a GPU what it has given back does not count
    assert {weight.now.gpus, weight.private.gpus, weight.peak.gpus} == {(5, 0)}
    assert unified.now == Footprint(weight.now.ram + (1 << 40))  # its pages are the machine's, and in nobody's status
    assert weigh([("m", child)], []) == {}
    assert resident.tree(child.pid) == resident.Tree()
