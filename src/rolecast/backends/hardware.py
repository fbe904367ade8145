"""What this process may use of the machine: processors and memory, as affinity and control groups allow.

Knows Linux's control groups (both versions) and what psutil says; does not know GPUs, which only an engine sees.
"""

import functools
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

CGROUPS = Path("/sys/fs/cgroup")


class Hardware(msgspec.Struct, frozen=True):
    """`cores` are physical ones, at least 1; `memory_bytes` is what exists, not what is free."""

    cores: int
    memory_bytes: int


@functools.cache
def hardware() -> Hardware:
    """What there is, looked at once."""
    import psutil

    physical = psutil.cpu_count(logical=False) or 1
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else physical
    groups = list(_groups()) if sys.platform == "linux" else []
    quota = min((q for group in groups if (q := cpu_quota(group))), default=math.inf)
    memory = min([psutil.virtual_memory().total, *(m for group in groups if (m := memory_limit(group)))])
    return Hardware(cores=max(1, min(physical, allowed, math.ceil(min(quota, physical)))), memory_bytes=memory)


def cpu_quota(group: Path) -> float | None:
    """Processors that this control group may use at a time; None = all."""
    whole = _words(group / "cpu.max") or [
        *_words(group / "cpu.cfs_quota_us"),
        *_words(group / "cpu.cfs_period_us"),
    ]
    if len(whole) != 2 or not all(word.isdigit() for word in whole) or int(whole[1]) == 0:
        return None  # `max` and -1 mean no limit
    return int(whole[0]) / int(whole[1])


def memory_limit(group: Path) -> int | None:
    """Bytes that this control group may use; None = all."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        if (words := _words(group / name)) and words[0].isdigit():
            return int(words[0])
    return None


def _groups() -> Iterator[Path]:
    """The control groups of this process and all above them: the narrowest limit counts."""
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, own = rest.partition(":")
        for root in (CGROUPS / controllers, CGROUPS):  # in a container the own path may not be there
            folder = root / own.lstrip("/")
            yield from (each for each in (folder, *folder.parents) if each.is_relative_to(root) and each.is_dir())


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
