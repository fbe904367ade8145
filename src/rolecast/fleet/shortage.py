"""Whether a worker ended because there was not enough memory, and of which kind. Pure.

Three witnesses: the kernel, which counts whom it kills for that; how much was left when somebody killed the worker; and
the last words of the engine.
"""

import re
import signal
from collections.abc import Sequence
from typing import Literal

from rolecast.footprint import Footprint
from rolecast.telemetry.gpus import Gpu

Place = Literal["ram", "gpu", ""]
LAST_LINES = 40
"""So many of a worker's last lines are read."""
SCARCE_SHARE = 0.05
"""Memory is short when less than this part of it is available."""
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""Exit codes of what was killed: by itself, or below a shell or a container."""

_GPU = re.compile(
    r"(?i)\b(?:cuda|rocm|hip|musa|sycl)\b.{0,80}out of memory|out of memory.{0,40}\b(?:cuda|rocm|hip|device)\b"
    r"|(?:cuda|hip|musa)Malloc\w* failed|(?:cuda|hip)ErrorOutOfMemory|OutOfDeviceMemory|Out of HBM"
    r"|(?:failed|unable) to allocate .{0,40}\b(?:CUDA|ROCm|HIP|Vulkan|Metal|MTL|SYCL|MUSA|CANN|OpenCL)\d*\b"
    r"|ggml_(?:backend_)?(?:cuda|hip|vk|metal|sycl|musa)\w*: (?:error: )?failed to allocate"
    r"|kIOGPUCommandBufferCallbackErrorOutOfMemory|\[METAL\].{0,80}insufficient memory|\[metal::malloc\]"
    r"|MPS backend out of memory|torch\.(?:cuda\.)?OutOfMemoryError"
    r"|no available memory for the cache blocks|less than desired GPU memory utilization"
)
_RAM = re.compile(
    r"(?i)\bstd::bad_alloc\b|\bMemoryError\b|cannot allocate memory|insufficient memory|\bout of memory\b"
    r"|\bnot enough memory\b|(?:failed|unable) to allocate|DefaultCPUAllocator|\bbad allocation\b|failed to mmap"
)
_HARMLESS = re.compile(r"(?i)mlock|retry|falling back|fallback")
"""Lines that tell of something that the engine went on without."""


def short_of(code: int | None, last_lines: Sequence[str], kills: tuple[int, int], left: float = 1.0) -> Place:
    """What a worker lacked that ended with this code; '' = memory was not the reason, as far as is known.

    `kills` is how often the kernel had killed for want of memory (`cgroups.kills`) a moment before its end and after
    it; `left` the part of the memory that was available then.
    """
    if code in (0, None):
        return ""
    if code in KILLED:
        return "ram" if kills[1] > kills[0] or left < SCARCE_SHARE else ""
    told = [line for line in last_lines[-LAST_LINES:] if not _HARMLESS.search(line)]
    if any(_GPU.search(line) for line in told):
        return "gpu"
    return "ram" if any(_RAM.search(line) for line in told) else ""


def was_memory(code: int | None, last_lines: Sequence[str], kills: tuple[int, int], left: float = 1.0) -> bool:
    """Whether it was for want of memory at all."""
    return short_of(code, last_lines, kills, left) != ""


def lacked(place: Place, had: Footprint, cards: Sequence[Gpu]) -> Footprint:
    """The places that were short, as nonzero numbers: of GPUs those that the worker was on, else the first one."""
    if place == "gpu" and not all(card.shares_ram for card in cards):
        on = tuple(int(size > 0) for size in had.gpus)
        return Footprint(0, on if any(on) else (1,))
    return Footprint(int(place != ""))
