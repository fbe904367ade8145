"""Who keeps what a worker has in memory beyond its end: the seam, and nobody. Knows no engine and no file."""

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # which has one
    from rolecast.fleet.station import Station


class Keeper(Protocol):
    """Hears of each worker from its start to its end. Nothing of it raises, and nothing but `parting` takes time."""

    async def open(self) -> None:
        """The fleet is about to start."""
        ...

    def begins(self, station: "Station") -> None:
        """A worker of it is about to be started."""
        ...

    def loaded(self, station: "Station") -> None:
        """That worker answers; the first lease of it is about to be granted."""
        ...

    def parting(self, station: "Station") -> AbstractAsyncContextManager[None]:
        """To be entered while the worker still lives, and left when it has ended. Takes a bounded time before."""
        ...

    def stays(self, station: "Station") -> None:
        """It did not end: what was kept of it is kept again when it does."""
        ...

    def slept(self, station: "Station") -> None:
        """That worker lives and has forgotten everything; it must not be asked. `begins` and `loaded` when it wakes."""
        ...

    async def close(self) -> None:
        """All workers have ended; what is left to do is done within a bounded time."""
        ...


class Nobody:
    """Keeps nothing."""

    async def open(self) -> None:
        pass

    def begins(self, station: "Station") -> None:
        pass

    def loaded(self, station: "Station") -> None:
        pass

    def parting(self, station: "Station") -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def stays(self, station: "Station") -> None:
        pass

    def slept(self, station: "Station") -> None:
        pass

    async def close(self) -> None:
        pass
