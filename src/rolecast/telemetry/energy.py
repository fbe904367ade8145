"""How much energy the machine takes, where it can tell: readers of its counters, and who is it divided among.

Linux tells by RAPL (what its processors take, `/sys/class/powercap`) and NVIDIA's driver by NVML (what its cards take).
macOS tells root alone (`powermetrics`), so nothing is read there. Knows no request and no model.
"""

import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

log = logging.getLogger("rolecast.energy")

POWERCAP = Path("/sys/class/powercap")
NVIDIA = Path("/dev/nvidiactl")
"""Without it there is no NVIDIA driver, and its library is not even looked for."""


class Meter(Protocol):
    """One thing whose energy is known."""

    name: str

    def read(self) -> int:
        """Microjoules since some moment in the past; never less than before. Takes up to milliseconds.

        Raises OSError when it does not tell any more.
        """
        ...


class Rapl:
    """One processor package: a counter of microjoules that begins anew at its end, after minutes under full load."""

    def __init__(self, zone: Path) -> None:
        self.name = f"{zone.name} ({(zone / 'name').read_text().strip()})"
        self._counter = zone / "energy_uj"
        self._range = int((zone / "max_energy_range_uj").read_text()) + 1
        self._last = self._now()
        self._wrapped = 0

    def read(self) -> int:
        """As `Meter`: right as long as it is read more often than the counter begins anew."""
        now = self._now()
        if now < self._last:
            self._wrapped += self._range
        self._last = now
        return self._wrapped + now

    def _now(self) -> int:
        try:
            return int(self._counter.read_text())
        except ValueError as error:
            raise OSError(f"{self._counter} holds no number") from error


class Nvml:
    """One NVIDIA card: its counter of millijoules, or where it has none, its power over time."""

    def __init__(self, library: Any, index: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._nvml = library
        self._card = library.nvmlDeviceGetHandleByIndex(index)
        self.name = f"card {index}"
        self._clock = clock
        self._at, self._summed = clock(), 0
        try:
            library.nvmlDeviceGetTotalEnergyConsumption(self._card)
            self._counts = True
        except library.NVMLError:  # before Volta
            self._counts = False
            library.nvmlDeviceGetPowerUsage(self._card)  # raises NVMLError where it tells nothing at all

    def read(self) -> int:
        """As `Meter`."""
        try:
            if self._counts:
                return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._card)) * 1000
            now = self._clock()
            milliwatts = int(self._nvml.nvmlDeviceGetPowerUsage(self._card))
        except self._nvml.NVMLError as error:
            raise OSError(f"{self.name} does not tell its energy: {error}") from error
        self._summed += int(milliwatts * 1000 * (now - self._at))
        self._at = now
        return self._summed


def meters(powercap: Path = POWERCAP, nvidia: Path = NVIDIA) -> list[Meter]:
    """All that can be read here; reads files and may load a library, so not on an event loop."""
    return [*_packages(powercap), *(_cards() if nvidia.exists() else ())]


def _packages(folder: Path) -> list[Meter]:
    """Processor packages whose counter this user may read, which many systems allow root alone.

    Zones within a package (cores, memory) are part of it, `psys` holds packages, and `intel-rapl-mmio` shows the same
    packages once more: only packages are taken, and each once.
    """
    found: list[Meter] = []
    try:
        zones = sorted(folder.glob("intel-rapl:*"))
    except OSError:
        return []
    for zone in zones:
        try:
            if zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package"):
                found.append(Rapl(zone))
        except (OSError, ValueError) as error:
            log.debug("%s cannot be read: %s", zone, error)
    return found


def _cards() -> list[Meter]:
    try:
        import pynvml
    except ImportError:
        return []
    found: list[Meter] = []
    try:
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            with contextlib.suppress(pynvml.NVMLError):
                found.append(Nvml(pynvml, index))
    except pynvml.NVMLError as error:
        log.debug("NVIDIA's cards cannot be asked: %s", error)
    return found


def total(sources: Sequence[Meter]) -> int:
    """Microjoules of all of them together. Raises OSError when one does not tell any more."""
    return sum(source.read() for source in sources)


# -- who is it divided among ---------------------------------------------------------------------------------

Busy = tuple[int, float, float]
"""A request by its number, and from when to when it kept a worker busy, in seconds of some clock."""


def shares(spans: Iterable[Busy]) -> dict[int, float]:
    """Seconds of each request, where a second in which n were busy counts as 1/n for each of them.

    So all together come to the time in which anybody was busy, and power times its seconds is the energy of a request
    at constant power. A request may have several spans; overlapping ones count for each.
    """
    steps: list[tuple[float, int, int]] = []
    for number, since, until in spans:
        if until > since:
            steps.append((since, 1, number))
            steps.append((until, -1, number))
    steps.sort(key=lambda step: step[0])
    found: dict[int, float] = defaultdict(float)
    passed, at, busy = 0.0, 0.0, 0
    for when, change, number in steps:
        if busy:
            passed += (when - at) / busy
        found[number] -= change * passed
        at = when
        busy += change
    return dict(found)
