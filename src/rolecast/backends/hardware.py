"""What this process may use of the machine: processors and memory, as affinity and control groups allow.

Knows what psutil says; what is free just now is `telemetry.memory`'s, and so are GPUs.
"""

import functools
import math
import os
import sys

import msgspec

from rolecast.telemetry import cgroups


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
    groups = cgroups.groups() if sys.platform == "linux" else []
    quota = min((q for group in groups if (q := cgroups.cpu_quota(group))), default=math.inf)
    memory = min([psutil.virtual_memory().total, *(m for group in groups if (m := cgroups.memory_limit(group)))])
    return Hardware(cores=max(1, min(physical, allowed, math.ceil(min(quota, physical)))), memory_bytes=memory)
