"""Puts idle workers to sleep and wakes them: asks their engines, and tells the machine what came of it.

The machine says when (`Lull`, `Wake`), and `asleep` has the rules; how an engine sleeps is its backend's
(`backends.sleepers`). What a worker has read is kept before, as before its end. A worker that is asked meanwhile stays
awake, and nobody waits for any of this but who asks for one that sleeps already.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from rolecast import weights
from rolecast.backends.sleepers import Sleeper
from rolecast.errors import RolecastError
from rolecast.fleet.effects import Effect
from rolecast.fleet.machine import Machine
from rolecast.fleet.station import Station, Stations
from rolecast.fleet.worker import State
from rolecast.footprint import Footprint
from rolecast.values import size_text
from rolecast.weights import Finder

log = logging.getLogger("rolecast.fleet")

SETTLE_S = 1.0
"""An engine may say that it sleeps before the system has all back; what it holds is looked at again after this time."""


class Sleep:
    """For all workers of a fleet. `weigh` says what one holds now, None = it cannot be told."""

    def __init__(
        self,
        stations: Stations,
        machine: Machine,
        find: Finder,
        weigh: Callable[[Station], Awaitable[Footprint | None]],
        apply: Callable[[list[Effect]], None],
    ) -> None:
        self._stations = stations
        self._machine = machine
        self._find = find
        self._weigh = weigh
        self._apply = apply
        self._loop = asyncio.get_running_loop()
        self._stubborn: set[tuple[str, int]] = set()
        """Workers that did not fall asleep, each told of once."""

    async def lull(self, station: Station, generation: int, earlier: "asyncio.Task[None] | None") -> None:
        """Put it to sleep, unless somebody asks it before it does."""
        if earlier is not None and not earlier.done():  # somebody has asked it since that began
            earlier.cancel()
            await asyncio.wait({earlier})
        worker, since = station.worker, station.worker.last_used
        sleeper, pool = station.sleeper, station.pool
        if sleeper is None or pool is None:
            return
        try:
            if not await sleeper.sleeps(pool):
                await self._keep(station)
                if self._is_idle(station, generation, since) and not await sleeper.dozes(pool):
                    self._stays(station, generation, since, "its engine did not do it in time")
                    return
        except RolecastError as error:
            self._stays(station, generation, since, error.message)
            return
        beside = await asyncio.to_thread(self._beside, station, sleeper)
        self._apply(self._machine.sleeps(station.model_id, generation, since, beside, self._loop.time()))
        if worker.generation != generation or worker.state is not State.ASLEEP:
            return
        try:
            await sleeper.lull(pool)
        except RolecastError as error:
            await self._did_not(station, generation, error.message)
            return
        self._stations.slept(station)
        station.lulling = None  # who wakes it need not wait for what follows
        await self._measure(station, generation)

    async def wake(self, station: Station, generation: int) -> None:
        """Have it answer again; one that does not is ended."""
        began = self._loop.time()
        if station.lulling is not None and not station.lulling.done():
            await asyncio.wait({station.lulling})
        sleeper, pool, worker = station.sleeper, station.pool, station.worker
        if worker.generation != generation or worker.state is not State.LOADING:
            return
        station.wakes()
        self._stations.keeper.begins(station)
        try:
            if sleeper is None or pool is None:
                raise RolecastError("nobody knows how any more.")
            await sleeper.wake(pool, float(station.model.load_timeout))
        except RolecastError as error:
            self._lose(station, generation, f"it did not wake: {error.message}")
            return
        if worker.generation != generation or worker.state is not State.LOADING:
            return
        self._stations.woke(station, self._loop.time() - began)
        log.info("woke %s in %.2f s", station.model_id, self._loop.time() - began)
        self._apply(self._machine.woke(station.model_id, generation, pool.endpoint, self._loop.time()))

    # -- inside -------------------------------------------------------------------------------------------

    def _beside(self, station: Station, sleeper: Sleeper) -> Footprint:
        """In a thread."""
        try:
            return sleeper.beside(weights.found(self._find, station.model) if station.model.source else None)
        except OSError:  # gone meanwhile; it has them loaded
            return Footprint()

    async def _keep(self, station: Station) -> None:
        """Have what it has read kept; it lives on, and is asked, perhaps."""
        try:
            async with self._stations.keeper.parting(station):
                pass
        finally:
            self._stations.keeper.stays(station)

    def _is_idle(self, station: Station, generation: int, since: float) -> bool:
        w = station.worker
        return w.generation == generation and w.state is State.READY and not w.active and w.last_used == since

    def _stays(self, station: Station, generation: int, since: float, why: str) -> None:
        """It serves on; tell it once, if nobody asked it meanwhile."""
        copy = (station.model_id, generation)
        if self._is_idle(station, generation, since) and copy not in self._stubborn:
            self._stubborn.add(copy)
            log.warning("%s stays awake: %s", station.model_id, why)

    async def _did_not(self, station: Station, generation: int, why: str) -> None:
        """It was told to sleep and did not, or does not say so. Whether it sleeps decides."""
        worker, pool = station.worker, station.pool
        try:
            asleep = station.sleeper is None or pool is None or await station.sleeper.sleeps(pool)
        except RolecastError:
            asleep = True
        if worker.generation != generation or worker.state is not State.ASLEEP:
            return  # it ended, or is being woken: that sees to it
        if asleep or pool is None:
            self._lose(station, generation, f"it was told to sleep: {why}")
            return
        self._apply(self._machine.woke(station.model_id, generation, pool.endpoint, self._loop.time()))
        self._stays(station, generation, worker.last_used, why)

    def _lose(self, station: Station, generation: int, why: str) -> None:
        worker = station.worker
        ends = worker.generation != generation or worker.state not in (State.ASLEEP, State.LOADING)
        if not ends and station.child is not None:
            log.warning("worker of %s is ended: %s", station.model_id, why)
            self._apply(self._machine.lost(station.model_id, generation, why, self._loop.time()))

    async def _measure(self, station: Station, generation: int) -> None:
        """See what it holds asleep. What cannot be seen stays counted as if it were awake."""
        for pause_s in (0.0, SETTLE_S):
            await asyncio.sleep(pause_s)
            held = await self._weigh(station)
            if station.worker.generation != generation or station.worker.state is not State.ASLEEP:
                return
            if held is not None:
                self._apply(self._machine.rests(station.model_id, generation, held, self._loop.time()))
        log.info(
            "%s sleeps and holds %s", station.model_id, "as much as before" if held is None else size_text(held.ram)
        )
