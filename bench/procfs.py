"""What a process tree has used so far, read from /proc (Linux). Knows nothing of gateways or load."""

import os
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """The process and its descendants."""
    found = [pid]
    for p in found:
        try:
            for task in os.listdir(f"/proc/{p}/task"):
                found += map(int, Path(f"/proc/{p}/task/{task}/children").read_text().split())
        except OSError:
            pass
    return found


def cpu_s(pid: int, *, alone: bool = False) -> float:
    """User and system seconds of the tree, or of the process `alone`."""
    ticks = 0
    for p in [pid] if alone else tree(pid):
        try:
            fields = Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return ticks * TICK_S


def memory_mb(pid: int) -> dict[str, float]:
    """`rss` and `pss` of the tree; in `pss` a page that n processes share counts 1/n to each."""
    kib = {"Rss:": 0, "Pss:": 0}
    for p in tree(pid):
        try:
            for line in Path(f"/proc/{p}/smaps_rollup").read_text().splitlines():
                name, *rest = line.split()
                if name in kib:
                    kib[name] += int(rest[0])
        except OSError:
            pass
    return {"rss": round(kib["Rss:"] / 1024, 1), "pss": round(kib["Pss:"] / 1024, 1)}


def handles(pid: int) -> dict[str, int]:
    """Open file descriptors and threads of the tree."""
    fds = threads = 0
    for p in tree(pid):
        try:
            fds += len(os.listdir(f"/proc/{p}/fd"))
            threads += len(os.listdir(f"/proc/{p}/task"))
        except OSError:
            pass
    return {"fds": fds, "threads": threads}


def busy_s() -> float:
    """CPU seconds the whole machine has spent on work that is not niced."""
    with open("/proc/stat") as f:
        user, _nice, system, _idle, _wait, irq, softirq = map(int, f.readline().split()[1:8])
    return (user + system + irq + softirq) * TICK_S


def machine() -> dict[str, str | int]:
    """Cores, CPU, memory and kernel: enough to judge the numbers, nothing that names the machine."""
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if "model name" in line), "?")
    total_kib = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemTotal"))
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu,
        "memory_gib": round(total_kib / 1024**2),
        "kernel": f"{os.uname().sysname} {os.uname().release}",
    }
