"""Which GPUs there are and how much memory they have: NVIDIA's by its driver, AMD's by sysfs, Apple's by sysctl.

Their numbers are those by which engines know them. Those that engines may not see are left out. Blocks for
milliseconds: not for an event loop. Knows no model and no worker.
"""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from rolecast.telemetry.nvidia import Nvidia

ROOT = Path("/")
DRIVERS = ("dev/nvidiactl", "dev/dxg")
"""Without one of these there is no NVIDIA driver, and it is not looked for. The second is that of Windows' Linux."""
AMD = "0x1002"
APPLE_SHARE = 0.75
"""Part of its memory that macOS lets the GPU use, unless `iogpu.wired_limit_mb` says otherwise."""
SYSCTL_S = 5


class Gpu(msgspec.Struct, frozen=True):
    """One of them. Sizes in bytes."""

    name: str
    total: int
    """What it has; if it shares the machine's memory, what of that it may use, 0 = all."""
    free: int
    uuid: str = ""
    processes: tuple[tuple[int, int], ...] | None = None
    """Who holds how much of it, by process; None = it does not tell."""
    shares_ram: bool = False
    """Whether it has no memory of its own."""


Cards = Callable[[], Sequence[Gpu]]
"""Tells what GPUs there are, just now."""
Sysctl = Callable[[str], str]
"""What macOS says of a name; '' = nothing."""


def cards(root: Path = ROOT, environment: Mapping[str, str] | None = None) -> list[Gpu]:
    """Those that engines can use, as they count them: NVIDIA's if there are any, else AMD's, else Apple's."""
    ours = os.environ if environment is None else environment
    if any((root / driver).exists() for driver in DRIVERS) and (found := _nvidia()):
        return visible(found, ours.get("CUDA_VISIBLE_DEVICES"))
    if found := list(amd(root)):
        return visible(found, ours.get("HIP_VISIBLE_DEVICES", ours.get("ROCR_VISIBLE_DEVICES")))
    return apple(sysctl) if sys.platform == "darwin" and os.uname().machine == "arm64" else []


def visible(found: Sequence[Gpu], setting: str | None) -> list[Gpu]:
    """Those that such a variable leaves, in its order: numbers or beginnings of UUIDs; it ends at what means nobody."""
    if setting is None:
        return list(found)
    chosen: list[Gpu] = []
    for word in map(str.strip, setting.split(",")):
        if word.isdigit():
            named = list(found[int(word) : int(word) + 1])
        else:
            named = [gpu for gpu in found if word and gpu.uuid.startswith(word)]
        if len(named) != 1 or named[0] in chosen:
            break
        chosen += named
    return chosen


def amd(root: Path = ROOT) -> Iterator[Gpu]:
    """AMD's, as their driver tells them."""
    folders = (root / "sys/class/drm").glob("card*")
    numbered = sorted((int(f.name[4:]), f / "device") for f in folders if re.fullmatch(r"card\d+", f.name))
    for _, device in numbered:
        total, used = _number(device / "mem_info_vram_total"), _number(device / "mem_info_vram_used")
        if _text(device / "vendor") == AMD and total:
            name = _text(device / "product_name") or f"AMD GPU {_text(device / 'device')}".rstrip()
            yield Gpu(name, total, max(0, total - used), uuid=_text(device / "unique_id"))


def apple(ask: Sysctl) -> list[Gpu]:
    """Apple's own: one GPU, which has the machine's memory."""
    size, limit = ask("hw.memsize"), ask("iogpu.wired_limit_mb")
    total = int(limit) << 20 if limit.isdigit() else 0
    total = total or int(APPLE_SHARE * int(size) if size.isdigit() else 0)
    return [Gpu(ask("machdep.cpu.brand_string") or "Apple GPU", total, total, shares_ram=True)]


def sysctl(name: str) -> str:
    """What macOS says of that name; '' = nothing."""
    argv = ["/usr/sbin/sysctl", "-n", name]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=SYSCTL_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _nvidia() -> Sequence[Gpu]:
    try:
        return _driver().cards()
    except OSError:
        return ()


@functools.cache
def _driver() -> "Nvidia":
    from rolecast.telemetry.nvidia import Nvidia

    return Nvidia()


def _number(path: Path) -> int:
    text = _text(path)
    return int(text) if text.isdigit() else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
