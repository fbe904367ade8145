"""What runs, as those see it who did not start it. A process of this machine is one way; another machine's is another.

Only protocols: `process` implements them here.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from rolecast.values import Launch


class Running(Protocol):
    """Something that was started, with all that it started itself."""

    @property
    def pid(self) -> int:
        """Its number on the machine where it runs."""
        ...

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        ...

    async def wait(self) -> int:
        """The exit code, once it has ended and its output was read."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Ask it to end, wait `grace_s` seconds, then end it; returns when all of it is gone."""
        ...

    def tail(self, n: int) -> list[str]:
        """The last `n` lines it printed, oldest first."""
        ...

    def follow(self, last: int = 0) -> AsyncIterator[str]:
        """The last `last` lines, then each new one until it ends."""
        ...

    def takes_requests(self) -> None:
        """From now on its output may quote them: only what `Launch.kept_output` allows is kept."""
        ...

    def rss_bytes(self) -> int:
        """Resident memory of all of it in bytes; 0 when it has ended. Blocks for a moment."""
        ...

    def cpu_s(self) -> float | None:
        """Seconds of processors that all of it has used; None when that cannot be told. Blocks for a moment."""
        ...


class Starter(Protocol):
    """A way to start things."""

    async def __call__(self, launch: Launch, *, name: str, log: Path) -> Running:
        """Start it, its output in memory and in the file `log`. Raises LoadFailed when it cannot be started."""
        ...
