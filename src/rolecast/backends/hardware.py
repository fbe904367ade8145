"""What this process may use of the machine: processors and memory, as affinity and control groups allow.

Knows what psutil says; what is free just now is `telemetry.memory`'s, and so are GPUs.
"""

import functools
import math
import os
import re
import sys
from pathlib import Path
from typing import Literal

import msgspec

from rolecast.telemetry import cgroups

LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
VIRTIO = Path("/sys/bus/virtio/devices")
BALLOON, REPORTING = "0x0005", 5
"""The device by which a virtual machine gives memory back, and the bit of its features for doing so unasked."""
GLIBC = (2, 35)
"""The first that asks for large pages when it is told to."""


class Hardware(msgspec.Struct, frozen=True):
    """`cores` are physical ones, at least 1; `memory_bytes` is what exists, not what is free."""

    cores: int
    memory_bytes: int
    large_pages: Literal["never", "asked", "always"] = "never"
    """Whether memory comes in pages of 2 MiB: to whom asks for them, which our C library can, or to everybody. In a
    virtual machine whose host takes back what is free it is better not to ask: large pages are what it takes."""


@functools.cache
def hardware() -> Hardware:
    """What there is, looked at once."""
    import psutil

    physical = psutil.cpu_count(logical=False) or 1
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else physical
    groups = cgroups.groups() if sys.platform == "linux" else []
    quota = min((q for group in groups if (q := cgroups.cpu_quota(group))), default=math.inf)
    memory = min([psutil.virtual_memory().total, *(m for group in groups if (m := cgroups.memory_limit(group)))])
    return Hardware(
        cores=max(1, min(physical, allowed, math.ceil(min(quota, physical)))),
        memory_bytes=memory,
        large_pages=large_pages(LARGE_PAGES, _libc(), gives_back=gives_back(VIRTIO)),
    )


def large_pages(setting: Path, libc: str, *, gives_back: bool) -> Literal["never", "asked", "always"]:
    """What the system's setting means for a C library of that name and version (`glibc 2.36`)."""
    try:
        said = re.search(r"\[(\w+)\]", setting.read_text())
    except OSError:
        return "never"
    version = re.fullmatch(r"glibc (\d+)\.(\d+).*", libc)
    if said is None or said[1] not in ("madvise", "always"):
        return "never"
    if said[1] == "always":
        return "always"
    can = version is not None and (int(version[1]), int(version[2])) >= GLIBC
    return "asked" if can and not gives_back else "never"


def gives_back(devices: Path) -> bool:
    """Whether the host of this virtual machine takes back what is free, so that it has to be fetched anew each time."""
    for device in devices.glob("*/device"):
        try:
            if device.read_text().strip() == BALLOON:
                return (device.parent / "features").read_text()[REPORTING : REPORTING + 1] == "1"
        except OSError:
            continue
    return False


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):  # another library, or another system
        return ""
