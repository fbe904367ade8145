"""How much memory there is and how much of it is to be had just now: the machine's, and that of each GPU.

The narrowest of the machine and its control groups counts. Blocks for a moment, with GPUs for milliseconds: not for
an event loop. Knows no worker: who holds what of it is `fleet.weighing`'s.
"""

from pathlib import Path

import msgspec

from rolecast.footprint import Footprint
from rolecast.telemetry import cgroups, patient
from rolecast.telemetry.gpus import Cards, Gpu

ROOT = Path("/")


class Reading(msgspec.Struct, frozen=True):
    """What there is at one moment. A GPU without memory of its own has none in the footprints."""

    total: Footprint
    available: Footprint
    """What could be had at once, without anybody being swapped out: pages of files are given up when asked for."""
    cards: tuple[Gpu, ...] = ()

    @property
    def used(self) -> Footprint:
        """What somebody holds, whoever it is."""
        return self.total - self.available


def read(root: Path = ROOT, cards: Cards = patient.cards) -> Reading:
    """What there is now."""
    total, available = ram(root)
    found = tuple(cards())
    own = [gpu if not gpu.shares_ram else Gpu(gpu.name, 0, 0) for gpu in found]
    return Reading(
        total=Footprint(total, tuple(gpu.total for gpu in own)),
        available=Footprint(available, tuple(gpu.free for gpu in own)),
        cards=found,
    )


def ram(root: Path = ROOT) -> tuple[int, int]:
    """The machine's memory in bytes, all of it and what is available, as this process may use it."""
    whole, available = _machine(root)
    groups = [found for group in cgroups.groups(root, "memory") if (found := cgroups.memory(group)) is not None]
    total = min([whole, *(group.limit for group in groups)])
    left = min([available, *(group.limit - group.used for group in groups)])
    return total, min(total, max(0, left))


def _machine(root: Path) -> tuple[int, int]:
    sizes = _sizes(root / "proc/meminfo")
    if "MemTotal" in sizes:
        guess = sizes.get("MemFree", 0) + sizes.get("Cached", 0)  # a kernel older than 3.14
        return sizes["MemTotal"], sizes.get("MemAvailable", guess) + _kept_by_zfs(root)
    import psutil

    memory = psutil.virtual_memory()
    return memory.total, memory.available


def _kept_by_zfs(root: Path) -> int:
    """Bytes of files that ZFS keeps and gives up when asked for: its cache is no page cache, so the kernel counts it as
    used."""
    words = [line.split() for line in _lines(root / "proc/spl/kstat/zfs/arcstats")]
    said = {each[0]: int(each[2]) for each in words if len(each) == 3 and each[2].isdigit()}
    return max(0, said.get("size", 0) - said.get("c_min", 0))


def _sizes(path: Path) -> dict[str, int]:
    """Lines as `MemTotal:  1024 kB`, in bytes."""
    words = [line.replace(":", " ").split() for line in _lines(path)]
    return {each[0]: int(each[1]) << 10 for each in words if len(each) == 3 and each[1].isdigit()}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
