"""Looks at the machine's memory and at what each worker holds: every few seconds, and whenever somebody must know now.

The newest look is at hand without waiting. Reads in a thread; decides nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from rolecast.config.memory import Memory
from rolecast.fleet.budget import budget, held
from rolecast.fleet.shortage import LAST_LINES, Place, short_of
from rolecast.fleet.weighing import Weight, weigh
from rolecast.footprint import Footprint, total
from rolecast.processes.running import Running
from rolecast.telemetry import cgroups, gpus, memory
from rolecast.telemetry.gpus import Cards
from rolecast.telemetry.memory import Reading
from rolecast.telemetry.patient import Patient

log = logging.getLogger("rolecast.fleet")

K = TypeVar("K", bound=Hashable)
EVERY_S = 2.0
ROOT = Path("/")


class Look(msgspec.Struct, Generic[K], frozen=True):
    """What was seen at one moment."""

    reading: Reading
    weights: Mapping[K, Weight]
    kills: int
    """As `cgroups.kills`."""

    @property
    def left(self) -> float:
        """The part of the machine's memory that was to be had."""
        return self.reading.available.ram / max(1, self.reading.total.ram)


class Scales(Generic[K]):
    """The newest look at all `workers`, by whatever they are known by. With each one `seen` is told their peaks; then
    `looked` is called."""

    def __init__(
        self,
        workers: Callable[[], Iterable[tuple[K, Running]]],
        seen: Callable[[K, Footprint], None],
        cards: Cards = gpus.cards,
        root: Path = ROOT,
        looked: Callable[[], None] = lambda: None,
    ) -> None:
        self._workers = workers
        self._seen = seen
        self._looked = looked
        self._cards = Patient(cards)
        self._root = root
        self._looking: asyncio.Task[Look[K]] | None = None
        self._next: asyncio.Task[Look[K]] | None = None
        self.newest: Look[K] = Look(Reading(Footprint(), Footprint()), {}, 0)

    async def watch(self) -> None:
        """Look every few seconds, for ever."""
        told = ""
        while True:
            try:
                await self.look()
                told = ""
            except Exception as error:  # whatever a driver does: what was seen last still holds
                if told != str(error):
                    told = str(error)
                    log.warning("memory cannot be looked at: %s", told)
            await asyncio.sleep(EVERY_S)

    async def look(self) -> Look[K]:
        """Look now. All who ask while somebody looks already share a look that begins after that one."""
        if self._looking is None and self._next is None:
            self._looking = asyncio.create_task(self._look())
            return await asyncio.shield(self._looking)
        if self._next is None:
            self._next = asyncio.create_task(self._look(self._looking))
        return await asyncio.shield(self._next)

    async def _look(self, earlier: "asyncio.Task[Look[K]] | None" = None) -> Look[K]:
        if earlier is not None:
            await asyncio.wait({earlier})
            self._looking, self._next = self._next, None
        workers = list(self._workers())
        try:
            self.newest = await asyncio.to_thread(self._see, workers)
        finally:
            self._looking = None
        for key, weight in self.newest.weights.items():
            self._seen(key, weight.peak)
        self._looked()
        return self.newest

    def budget(self, settings: Memory, admitted: Footprint) -> Footprint:
        """What all workers may take together, by the newest look. `admitted` is what those that run were admitted with.

        The look must have been made: before the first one there is nothing to be had.
        """
        measured = total(weight.private for weight in self.newest.weights.values())
        ours = held(self.newest.reading, measured, admitted)
        return budget(settings.budget, settings.gpu_budget, self.newest.reading, ours)

    async def short_of(self, code: int, child: Running) -> Place:
        """Whether a worker that has just ended lacked memory, and where."""
        now = await asyncio.to_thread(cgroups.kills, self._root)
        return short_of(code, child.tail(LAST_LINES), (self.newest.kills, now), self.newest.left)

    def _see(self, workers: list[tuple[K, Running]]) -> Look[K]:
        # Workers before the machine: one that grows between the two leaves less to be had, never more.
        kills = cgroups.kills(self._root)
        cards = self._cards()
        weights = weigh(workers, cards)
        return Look(memory.read(self._root, lambda: cards), weights, kills)
