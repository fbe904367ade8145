"""What the machine is told of memory: what each model will take, what all may take now, what those that ran did take.

Joins estimates (`sizes`), what was learnt (`learnt`) and what is seen (`scales`). Decides nothing: the machine does.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

import msgspec

from rolecast import weights
from rolecast.config.memory import Memory
from rolecast.fleet.budget import budget
from rolecast.fleet.learnt import Learnt, Life
from rolecast.fleet.likeness import identity, key, this_machine
from rolecast.fleet.scales import Scales
from rolecast.fleet.shortage import lacked
from rolecast.fleet.sizes import AUTO, Sizes
from rolecast.fleet.station import Station, Stations
from rolecast.fleet.worker import State
from rolecast.footprint import Footprint, total
from rolecast.processes.running import Running
from rolecast.values import size_text
from rolecast.weights import Finder

log = logging.getLogger("rolecast.fleet")

Copy = tuple[str, int]
"""One worker: its model and generation."""
FREED_WITHIN_S = 5.0
"""A GPU gives memory back some time after the process has ended; after so long nobody waits for it any more."""
LOOK_S = 0.1


class Housing:
    """One for all workers. Without `learnt` nothing is weighed, and models take what their estimates say."""

    def __init__(
        self,
        stations: Stations,
        sizes: Sizes,
        find: Finder,
        learnt: Learnt | None,
        room: Callable[[Footprint | None, Footprint | None], None],
    ) -> None:
        self.settings = Memory()
        self._stations = stations
        self._sizes = sizes
        self._find = find
        self._learnt = learnt
        self._room = room
        self._lives: dict[Copy, Life] = {}
        self.scales: Scales[Copy] = Scales(self._running, self._seen, looked=self._looked)

    async def open(self) -> None:
        """Remember what was learnt, and look at the machine once, so that there is a budget."""
        if self._learnt is not None:
            await self._learnt.open()
            await self.scales.look()

    async def watch(self) -> None:
        """Look every few seconds, for ever."""
        if self._learnt is not None:
            await self.scales.watch()

    async def close(self) -> None:
        """Keep what was learnt last."""
        if self._learnt is not None:
            await self._learnt.close()

    # -- before and after a worker ------------------------------------------------------------------------

    def need(self, model_id: str) -> Footprint:
        """What a worker of that model will take, as far as is known."""
        station = self._stations.at[model_id]
        if not station.backend.spawns:
            return Footprint()
        estimate = self._sizes.of(model_id, station.model, station.backend)
        if self._learnt is None or station.model.memory != AUTO:
            return Footprint() if estimate is None else estimate.most
        return self._learnt.expected(self._key(station), estimate)

    def begins(self, station: Station, generation: int) -> None:
        """One is about to be started."""
        if self._learnt is not None and station.backend.spawns and station.model.memory == AUTO:
            self._lives[station.model_id, generation] = self._learnt.begins(
                self._key(station), self.need(station.model_id)
            )

    def ended(self, station: Station, generation: int, held: Footprint) -> bool:
        """It is gone. Whether its memory is free by now; else `freed` tells when it is."""
        life = self._lives.pop((station.model_id, generation), None)
        if life is not None and station.lacked:
            short = lacked(station.lacked, held, self.scales.newest.reading.cards)
            if floor := life.died_for_memory(held, short):
                log.warning("%s lacked memory; %s are kept for it now", station.model_id, _said(floor))
        return not any(held.gpus)

    async def freed(self, held: Footprint) -> None:
        """Wait until the GPUs have back what a worker held that has ended, or for `FREED_WITHIN_S`."""
        loop = asyncio.get_running_loop()
        until, before = loop.time() + FREED_WITHIN_S, self.scales.newest.reading.used.gpus
        while loop.time() < until:
            now = (await self.scales.look()).reading.used.gpus
            if all(old - new >= size // 2 for old, new, size in zip(before, now, held.gpus, strict=False) if size):
                return
            await asyncio.sleep(LOOK_S)

    async def asleep(self, station: Station) -> Footprint | None:
        """What its worker holds now; None = that cannot be told of every place where it held something."""
        try:
            look = await self.scales.look()
        except Exception as error:  # whatever a driver does
            log.warning("what %s holds asleep cannot be measured: %s", station.model_id, error)
            return None
        weight = look.weights.get((station.model_id, station.worker.generation))
        cards = look.reading.cards
        silent = any(
            size and (number >= len(cards) or cards[number].processes is None)
            for number, size in enumerate(station.worker.full.gpus)
        )
        return None if weight is None or silent else weight.now

    # -- what is seen -------------------------------------------------------------------------------------

    def _running(self) -> Iterable[tuple[Copy, Running]]:
        return [((s.model_id, s.worker.generation), s.child) for s in self._stations if s.child is not None]

    def _seen(self, copy: Copy, peak: Footprint) -> None:
        station, life = self._stations.at.get(copy[0]), self._lives.get(copy)
        if life is not None and station is not None and station.worker.state in (State.READY, State.DRAINING):
            life.seen(peak)

    def _looked(self) -> None:
        admitted = total(station.worker.held for station in self._stations)
        reading = self.scales.newest.reading
        alone = msgspec.structs.replace(reading, available=reading.total)
        limit = budget(self.settings.budget, self.settings.gpu_budget, alone, Footprint())
        self._room(self.scales.budget(self.settings, admitted), limit)

    def _key(self, station: Station) -> str:
        path = weights.found(self._find, station.model) if station.model.source else None
        machine = this_machine(self.scales.newest.reading.cards)
        return key(station.model, station.backend.engine(station.model), identity(path), machine)


def _said(floor: Footprint) -> str:
    """Only where there is something."""
    cards = [f"{size_text(size)} of GPU {number}" for number, size in enumerate(floor.gpus) if size]
    return " and ".join([*([size_text(floor.ram)] if floor.ram else []), *cards])
