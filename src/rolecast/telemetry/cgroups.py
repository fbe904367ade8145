"""What Linux's control groups allow this process, and what they have seen: limits, use, and kills for want of memory.

Knows both versions of them and no machine: all paths are below a root, which tests make up.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

ROOT = Path("/")
DROPPED = (
    ("inactive_file", "active_file", "slab_reclaimable"),
    ("total_inactive_file", "total_active_file"),
)
"""Lines of `memory.stat`, in version 2 and in version 1, that count what the kernel drops when memory is needed."""


class Memory(msgspec.Struct, frozen=True):
    """Of one group, in bytes: what it may use, and what of that it uses and would not give up when asked to."""

    limit: int
    used: int


def groups(root: Path = ROOT, controller: str = "") -> list[Path]:
    """The control groups of this process and all above them: the narrowest limit counts. Version 1 has other ones for
    each `controller`; '' = all of them."""
    return list(dict.fromkeys(_groups(root / "sys/fs/cgroup", _text(root / "proc/self/cgroup"), controller)))


def _groups(top: Path, memberships: str, controller: str) -> Iterator[Path]:
    for line in memberships.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, own = rest.partition(":")
        if controller and controllers and controller not in controllers.split(","):
            continue
        for hierarchy in (top / controllers, top):  # in a container the own path may not be there
            folder = hierarchy / own.lstrip("/")
            yield from (e for e in (folder, *folder.parents) if e.is_relative_to(hierarchy) and e.is_dir())


def cpu_quota(group: Path) -> float | None:
    """Processors that this group may use at a time; None = all."""
    whole = _words(group / "cpu.max") or [
        *_words(group / "cpu.cfs_quota_us"),
        *_words(group / "cpu.cfs_period_us"),
    ]
    if len(whole) != 2 or not all(word.isdigit() for word in whole) or int(whole[1]) == 0:
        return None  # `max` and -1 mean no limit
    return int(whole[0]) / int(whole[1])


def memory_limit(group: Path) -> int | None:
    """Bytes that this group may use; None = all. Above `memory.high` it is slowed down until it hardly runs."""
    names = ("memory.max", "memory.high", "memory.limit_in_bytes")
    found = (_words(group / name) for name in names)
    return min((int(words[0]) for words in found if words and words[0].isdigit()), default=None)


def memory(group: Path) -> Memory | None:
    """What this group may use and uses; None = it has no limit, or does not tell."""
    limit = memory_limit(group)
    used = _words(group / "memory.current") or _words(group / "memory.usage_in_bytes")
    if limit is None or not used or not used[0].isdigit():
        return None
    return Memory(limit, max(0, int(used[0]) - _dropped(group)))


def _dropped(group: Path) -> int:
    counts = _table(group / "memory.stat")
    for names in reversed(DROPPED):  # version 1 also has the lines of version 2, for the group without those below it
        if any(name in counts for name in names):
            return sum(counts.get(name, 0) for name in names)
    return 0


def kills(root: Path = ROOT) -> int:
    """How often the kernel has killed for want of memory: in a group of ours, or anywhere where it tells that, too.

    Only differences mean anything.
    """
    seen = (
        _table(group / name) for group in groups(root, "memory") for name in ("memory.events", "memory.oom_control")
    )
    return _table(root / "proc/vmstat").get("oom_kill", 0) + sum(table.get("oom_kill", 0) for table in seen)


def tells_kills(root: Path = ROOT) -> bool:
    """Whether the kernel counts them anywhere that we may read."""
    files = [root / "proc/vmstat", *(group / "memory.events" for group in groups(root))]
    return any("oom_kill" in _table(file) for file in files)


def _table(path: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    found: dict[str, int] = {}
    for line in _text(path).splitlines():
        name, _, number = line.partition(" ")
        with contextlib.suppress(ValueError):
            found[name] = int(number)
    return found


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
