"""The look at the machine and all workers that admission goes by."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from rolecast.config.memory import Memory
from rolecast.fleet.scales import Scales
from rolecast.footprint import Footprint
from rolecast.processes import process
from rolecast.processes.process import Child
from rolecast.processes.running import Running
from rolecast.telemetry.gpus import Gpu
from rolecast.values import Launch

pytestmark = pytest.mark.anyio
GIB = 1 << 30
MEMINFO = "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n"
HOLDER = "import sys; held = bytearray(b'x' * (50 << 20)); print('ready', flush=True); sys.stdin.read()"


@pytest.fixture
async def child(tmp_path: Path) -> AsyncIterator[Child]:
    launch = Launch(argv=(sys.executable, "-c", HOLDER), own_watch=True)
    running = await process.spawn(launch, name="holder", log=tmp_path / "log")
    async with asyncio.timeout(15):
        async for _ in running.follow(10):
            break
    yield running
    await running.stop(0)


def machine(root: Path) -> Path:
    (root / "proc").mkdir()
    (root / "proc/meminfo").write_text(MEMINFO)
    (root / "proc/vmstat").write_text("oom_kill 1\n")
    return root


class Told:
    """Whom the scales ask and tell."""

    def __init__(self, *workers: tuple[str, Running]) -> None:
        self.workers = list(workers)
        self.peaks: dict[str, Footprint] = {}

    def seen(self, key: str, peak: Footprint) -> None:
        self.peaks[key] = peak


def scales(told: Told, root: Path, cards: Sequence[Gpu] = ()) -> Scales[str]:
    return Scales(lambda: told.workers, told.seen, lambda: cards, root)


@pytest.mark.skipif(sys.platform != "linux", reason="private memory is told by Linux alone")
async def test_a_look_tells_peaks_and_a_budget_that_counts_ours_as_ours(child: Child, tmp_path: Path) -> None:
    told = Told(("m", child))
    looked = scales(told, machine(tmp_path))
    assert looked.budget(Memory(), Footprint()) == Footprint()
    look = await looked.look()
    assert look is looked.newest
    assert told.peaks["m"].ram > 50 << 20
    assert look.left == 0.5
    allowed = looked.budget(Memory(), Footprint())
    assert allowed.ram == 4 * GIB + look.weights["m"].private.ram - GIB
    assert look.weights["m"].private.ram > 50 << 20


async def test_on_a_gpu_that_tells_nothing_what_was_admitted_is_ours(tmp_path: Path) -> None:
    looked = scales(Told(), machine(tmp_path), [Gpu("x", 8 * GIB, 2 * GIB)])
    await looked.look()
    settings = Memory(gpu_budget="100%")
    assert looked.budget(settings, Footprint()).gpus == (2 * GIB,)
    assert looked.budget(settings, Footprint(0, (4 * GIB,))).gpus == (6 * GIB,)


async def test_who_asks_while_somebody_looks_gets_a_look_that_began_after(tmp_path: Path) -> None:
    told = Told()
    looked = scales(told, machine(tmp_path))
    first = asyncio.create_task(looked.look())
    await asyncio.sleep(0)
    (tmp_path / "proc/meminfo").write_text(MEMINFO.replace("4194304", "2097152"))
    second, third = await asyncio.gather(looked.look(), looked.look())
    await first
    assert second.reading.available.ram == third.reading.available.ram == 2 * GIB


async def test_a_look_that_fails_is_told_to_who_asked_and_the_next_one_is_made(tmp_path: Path) -> None:
    faults = [RuntimeError("the driver went away")]

    def cards() -> Sequence[Gpu]:
        if faults:
            raise faults.pop()
        return ()

    told = Told()
    looked = Scales(lambda: told.workers, told.seen, cards, machine(tmp_path))
    with pytest.raises(RuntimeError, match="went away"):
        await looked.look()
    assert (await looked.look()).left == 0.5


async def test_a_driver_that_hangs_keeps_nobody_waiting_and_what_it_told_last_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, asked = threading.Event(), []
    goes_on.set()

    def cards() -> Sequence[Gpu]:
        asked.append("")
        goes_on.wait()
        return [Gpu("x", 8 * GIB, len(asked) * GIB)]

    monkeypatch.setattr("rolecast.telemetry.patient.WITHIN_S", 0.05)
    told = Told()
    looked = Scales(lambda: told.workers, told.seen, cards, machine(tmp_path))
    assert (await looked.look()).reading.available.gpus == (GIB,)
    goes_on.clear()
    for _ in range(3):
        assert (await looked.look()).reading.available.gpus == (GIB,)
    assert len(asked) == 2  # nobody asks it again while it hangs
    goes_on.set()
    async with asyncio.timeout(5):
        while (await looked.look()).reading.available.gpus == (GIB,):
            pass


async def test_a_worker_that_the_kernel_killed_for_memory_is_told_from_one_that_somebody_killed(
    child: Child, tmp_path: Path
) -> None:
    looked = scales(Told(("m", child)), machine(tmp_path))
    await looked.look()
    child.kill()
    code = await child.wait()
    assert await looked.short_of(code, child) == ""
    (tmp_path / "proc/vmstat").write_text("oom_kill 2\n")
    assert await looked.short_of(code, child) == "ram"
