"""How much memory workers hold and how long they computed, with all they started. Blocks: call it in a thread.

On Linux /proc answers in microseconds; a walk over all processes, as elsewhere, takes ten milliseconds and more.
"""

import contextlib
import os
from pathlib import Path

import msgspec
import psutil

PROC = Path("/proc")


class Tree(msgspec.Struct, frozen=True):
    """A process with all that it started; sizes in bytes."""

    pids: frozenset[int] = frozenset()
    rss: int = 0
    """What is in memory; pages that several have count for each of them."""
    private: int = 0
    """What of that is no file's, so that the kernel cannot drop it. Elsewhere than on Linux the same as `rss`."""
    peak: int = 0
    """The most that each of them ever had in memory (VmHWM), together. Elsewhere than on Linux the same as `rss`."""


def tree(pid: int) -> Tree:
    """What a process and its descendants hold; nothing when it has ended."""
    if not _tells_children(pid):
        rss = _slowly(pid)
        return Tree(frozenset((pid,)) if rss else frozenset(), rss, rss, rss)
    pids = frozenset(_tree(pid, set()))
    each = [_status(one) for one in pids]
    rss = sum(one.get("VmRSS", 0) for one in each)
    return Tree(
        pids=pids,
        rss=rss,
        private=sum(one.get("RssAnon", one.get("VmRSS", 0)) + one.get("RssShmem", 0) for one in each),
        peak=max(rss, sum(one.get("VmHWM", 0) for one in each)),
    )


def tree_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants, in bytes; 0 when it has ended."""
    if _tells_children(pid):
        return sum(_bytes(each) for each in _tree(pid, set()))
    return _slowly(pid)


def tree_cpu_s(pid: int) -> float | None:
    """Processor seconds of a process and its descendants that live; None when it has ended."""
    try:
        leader = psutil.Process(pid)
        processes = [leader, *leader.children(recursive=True)]
    except psutil.Error:
        return None
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _tells_children(pid: int) -> bool:
    return (PROC / str(pid) / "task" / str(pid) / "children").exists()


def _tree(pid: int, seen: set[int]) -> set[int]:
    seen.add(pid)
    for task in (PROC / str(pid) / "task").glob("*/children"):
        try:
            children = {int(child) for child in task.read_bytes().split()}
        except OSError:
            continue
        for child in children - seen:
            _tree(child, seen)
    return seen


def _bytes(pid: int) -> int:
    try:
        return int((PROC / str(pid) / "statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _status(pid: int) -> dict[str, int]:
    """The sizes in its status, in bytes; none when it has ended."""
    try:
        lines = (PROC / str(pid) / "status").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    words = [line.split() for line in lines if line.startswith(("VmHWM:", "VmRSS:", "RssAnon:", "RssShmem:"))]
    return {name.rstrip(":"): int(size) << 10 for name, size, _ in words}


def _slowly(pid: int) -> int:
    total = 0
    try:
        leader = psutil.Process(pid)
        processes = [leader, *leader.children(recursive=True)]
    except psutil.Error:
        return 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            pass
    return total
