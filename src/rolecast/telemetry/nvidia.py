"""NVIDIA's cards, as the driver's own library tells them: their memory, and which process holds how much of it.

The library comes with every driver, so nothing needs to be installed for this. Knows the few functions of NVML that
tell of memory; their layouts are those of its reference manual (https://docs.nvidia.com/deploy/nvml-api).
"""

import ctypes
import re
from pathlib import Path
from typing import Any

from rolecast.telemetry.gpus import Gpu

LIBRARY = "libnvidia-ml.so.1"
FIRST_NAMESPACE = "pid:[4026531836]"
"""Linux's name of the first of all namespaces of processes. The driver numbers processes as it does."""
OK, NOT_SUPPORTED, INSUFFICIENT_SIZE = 0, 3, 7
NOT_AVAILABLE = 2**64 - 1
NAME_BYTES = 96
SHARING = re.compile(r"\b(?:GB10|Thor|Orin|Xavier|Tegra)\b")
"""Names of those without memory of their own, of which some drivers tell the machine's as if it were theirs."""
MORE = 8
"""So many processes may come between the question how many there are and the question which."""


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_uint64), ("free", ctypes.c_uint64), ("used", ctypes.c_uint64))


class _Process(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_uint64),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


class Nvidia:
    """The driver, asked once whether it is there. Raises OSError when it is not."""

    def __init__(self, library: str = LIBRARY, root: Path = Path("/")) -> None:
        self._nvml: Any = ctypes.CDLL(library)
        self._same_pids = _namespace(root) in ("", FIRST_NAMESPACE)
        if code := self._call("nvmlInit_v2"):
            raise OSError(f"{library} cannot be used (NVML's code {code})")

    def cards(self) -> list[Gpu]:
        """All of them in the order of the bus, as CUDA_DEVICE_ORDER=PCI_BUS_ID has them. Raises OSError."""
        count = ctypes.c_uint()
        if code := self._call("nvmlDeviceGetCount_v2", ctypes.byref(count)):
            raise OSError(f"NVIDIA's driver does not tell its cards (NVML's code {code})")
        return [card for index in range(count.value) if (card := self._card(index)) is not None]

    def _card(self, index: int) -> Gpu | None:
        device, memory = ctypes.c_void_p(), _Memory()
        if self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(device)):
            return None  # not ours, or fallen off the bus
        code = self._call("nvmlDeviceGetMemoryInfo", device, ctypes.byref(memory))
        if code not in (OK, NOT_SUPPORTED):
            return None
        name = self._text("nvmlDeviceGetName", device)
        shares = code == NOT_SUPPORTED or bool(SHARING.search(name))
        return Gpu(
            name=name,
            uuid=self._text("nvmlDeviceGetUUID", device),
            total=0 if shares else memory.total,
            free=0 if shares else memory.free,
            processes=self._processes(device),
            shares_ram=shares,
        )

    def _processes(self, device: ctypes.c_void_p) -> tuple[tuple[int, int], ...] | None:
        """Bytes by process; None = it does not tell, or in numbers that mean nothing to us."""
        if not self._same_pids:
            return None
        held: dict[int, int] = {}
        for kind in ("Compute", "Graphics"):
            found = self._listed(f"nvmlDeviceGet{kind}RunningProcesses_v3", device)
            if found is None or NOT_AVAILABLE in found.values():
                return None
            held |= found  # one that does both is in both lists with all it holds
        return tuple(sorted(held.items()))

    def _listed(self, function: str, device: ctypes.c_void_p) -> dict[int, int] | None:
        count = ctypes.c_uint(0)
        code = self._call(function, device, ctypes.byref(count), None)
        if code == OK:
            return {}
        if code != INSUFFICIENT_SIZE:
            return None
        count = ctypes.c_uint(count.value + MORE)
        room = (_Process * count.value)()
        if self._call(function, device, ctypes.byref(count), room):
            return None
        return {each.pid: each.used for each in room[: count.value]}

    def _text(self, function: str, device: ctypes.c_void_p) -> str:
        room = ctypes.create_string_buffer(NAME_BYTES)
        return "" if self._call(function, device, room, NAME_BYTES) else room.value.decode(errors="replace")

    def _call(self, function: str, *arguments: Any) -> int:
        try:
            return int(getattr(self._nvml, function)(*arguments))
        except AttributeError:  # an old driver
            return NOT_SUPPORTED


def _namespace(root: Path) -> str:
    try:
        return str((root / "proc/self/ns/pid").readlink())
    except OSError:
        return ""
