"""What of a processor matters to an engine: its vector and matrix units, by the names that people know."""

import platform
import sys
from pathlib import Path

ROOT = Path("/")
UNITS = (
    ("AVX2", {"avx2"}),
    ("AVX-512", {"avx512f"}),
    ("AVX-VNNI", {"avx_vnni", "avx512_vnni"}),
    ("AMX", {"amx_tile"}),
    ("bf16", {"avx512_bf16", "amx_bf16", "bf16", "hw.optional.arm.FEAT_BF16"}),
    ("dot products", {"asimddp", "hw.optional.arm.FEAT_DotProd"}),
    ("i8mm", {"i8mm", "hw.optional.arm.FEAT_I8MM"}),
    ("SVE", {"sve"}),
)
"""Name, and the flags of Linux or macOS of which any one says that it is there."""


def features(root: Path = ROOT) -> tuple[str, ...]:
    """The units that this processor has; none where nothing can be known."""
    flags = _flags(root)
    return tuple(name for name, words in UNITS if words & flags)


def is_x86() -> bool:
    """Whether it is of Intel's family."""
    return platform.machine().lower() in ("x86_64", "amd64", "i686")


def _flags(root: Path) -> set[str]:
    try:
        lines = (root / "proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return _of_macos() if sys.platform == "darwin" else set()
    found: set[str] = set()
    for line in lines:
        name, _, words = line.partition(":")
        if name.strip() in ("flags", "Features"):
            found |= set(words.split())
            break  # they are alike
    return found


def _of_macos() -> set[str]:
    from rolecast.telemetry.gpus import sysctl

    names = (word for _, words in UNITS for word in words if word.startswith("hw."))
    ours = {name for name in names if sysctl(name) == "1"}
    intels = f"{sysctl('machdep.cpu.features')} {sysctl('machdep.cpu.leaf7_features')}"
    return ours | set(intels.lower().split())
