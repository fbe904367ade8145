"""All workers: the one owner of their state, and the effects of its decisions.

`machine.Machine` decides, `performed` carries out: it starts runs, ends children, grants and refuses. Here is what
others ask of a fleet. A loaded model is leased without an await (`try_lease`); everything else waits in `lease`.
"""

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rolecast import backends
from rolecast.backends import Backend
from rolecast.config.edit import Change, Edit
from rolecast.config.replicas import spread
from rolecast.config.schema import Config, Model
from rolecast.errors import RolecastError, WorkerDown
from rolecast.fleet import health, refusals
from rolecast.fleet.copies import Whole
from rolecast.fleet.effects import Effect
from rolecast.fleet.learnt import Learnt
from rolecast.fleet.performed import Performed, runs_here
from rolecast.fleet.plans import absence
from rolecast.fleet.run import STOP_S
from rolecast.fleet.station import SERVING, Lease, Station
from rolecast.fleet.worker import State
from rolecast.processes import process, strays
from rolecast.processes.running import Starter
from rolecast.values import Endpoint
from rolecast.weights import Finder

log = logging.getLogger("rolecast.fleet")


class Fleet(Performed):
    """Starts, watches, leases and stops workers."""

    def __init__(
        self,
        config: Config,
        weights: Finder,
        logs: Path,
        start: Starter = process.spawn,
        learnt: Learnt | None = None,
    ) -> None:
        super().__init__(config, weights, logs, start, learnt)
        self._limits, self._preload = config.server.limits, config.memory.preload

    # -- life ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Attach remotes and begin to load pinned models; does not wait for them."""
        if left := await asyncio.to_thread(strays.sweep):  # they hold memory, and perhaps ports that are wanted
            log.warning("processes that a gateway left behind when it died, ended now: %d", len(left))
        self._runner.open()
        await self._housing.open()
        self._spawn_task(self._housing.watch())
        await self.stations.keeper.open()
        self._bring_up({s.model_id: self._plans.address(s.model_id, s.model, s.backend) for s in self.stations})
        self._spawn_task(self._retire())

    async def prepare(self, edit: Edit) -> Change:
        """Refuse a model that cannot be run as it is described."""
        models = spread({i: m for i, m in edit.config.models.items() if m.enabled}, runs_here)
        found = {i: backends.get(m.backend) for i, m in models.items()}
        addresses = {i: self._plans.address(i, m, found[i]) for i, m in models.items()}
        return Change(partial(self._configure, edit.config, models, found, addresses))

    def _configure(
        self,
        config: Config,
        models: Mapping[str, Model],
        found: Mapping[str, Backend],
        addresses: Mapping[str, Endpoint | None],
    ) -> None:
        """Other settings apply from now on, and no request is lost to the change."""
        stale = {s.model_id for s in self.stations if s.model_id in models and self._is_stale(s, models[s.model_id])}
        self._limits, self._preload = config.server.limits, config.memory.preload
        self._set_terms(config)
        for station in self.stations:
            if station.model_id in stale and station.worker.state is State.REMOTE:
                station.detach()
        lasting = {i for i, m in models.items() if (m.pinned and self._preload) or addresses[i] is not None}
        self.machine.adopt(models, self._limits.queue)
        for model_id, model in models.items():
            self.stations.set(model_id, model, found[model_id], self.machine.workers[model_id])
        self._apply(self.machine.configure(models, self._limits.queue, stale, lasting, self._loop.time()))
        self._bring_up(addresses)

    async def close(self, grace_s: float = STOP_S) -> None:
        """Stop every worker and wait until all are gone, also those that were just being started."""
        self.closing = True
        self._alarm.close()
        self.stations.disconnect()
        await self._runner.close()
        await self.stations.end(grace_s)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._housing.close()
        self._runner.clean()

    # -- leases -------------------------------------------------------------------------------------------

    def try_lease(self, model_id: str) -> Lease | None:
        """A lease if the model is loaded and a slot is free; never waits."""
        station = self.stations.at[model_id]
        w = station.worker
        if w.copies is not None:
            w = w.copies.best()
            station = self.stations.at[w.model_id]
        pool = station.pool
        if w.endpoint is None or w.active >= w.parallel or w.waiting or pool is None:
            return None
        w.active += 1
        return Lease(station, pool)

    async def lease(
        self,
        model_id: str,
        *,
        deadline: float = 0.0,
        again: int = 0,
        alone: bool = False,
        key: str = "",
        priority: int = 0,
    ) -> Lease:
        """Wait for a slot, loading the model if needed. Raises Busy, LoadFailed, WorkerDown or a timeout.

        One that lost `again` workers asks with the deadline it had, and may be made to run `alone`. Of those that wait,
        who is next is `queue.Line`'s to say, by `key` and `priority`.
        """
        began = self._loop.time()
        deadline = deadline or self.deadline()
        if model_id not in self.stations.at:
            raise WorkerDown(f"{model_id} is no longer in the configuration.", code="model_removed")
        cold = self.worker(model_id).endpoint is None
        if cold:
            await self._look_first(model_id)
        while True:
            granted = await self._wait(model_id, deadline, again=again, alone=alone, key=key, rank=priority)
            worker_id, generation, slots = granted
            station = self.stations.at[worker_id]
            if generation == station.worker.generation and station.worker.state in SERVING:
                break
            again = max(1, again)  # the worker died between the grant and now, and the slot with it
        assert station.pool is not None
        lease = Lease(station, station.pool)
        lease.slots = slots
        waited_us = int((self._loop.time() - began) * 1e6)
        if cold:
            lease.load_us = waited_us
        else:
            lease.queue_us = waited_us
        return lease

    def deadline(self) -> float:
        """Until when a request that comes now may wait, in the loop's time."""
        return self._loop.time() + float(self._limits.queue_timeout)

    def release(self, lease: Lease) -> None:
        """Give the slot back."""
        w = lease.given_back()
        if w.waiting or self.closing or w.endpoint is None or self.machine.rooms.pending:
            self._apply(self.machine.released(w.model_id, lease.generation, self._loop.time(), lease.slots))
        elif w.generation == lease.generation and w.active:
            w.active -= lease.slots
            now = w.last_used = self._loop.time()
            if not w.active and now + w.rests_s < self._alarm.at:
                # The idle clock runs; an alarm that rings sooner looks again then.
                self._alarm.set(self.machine.next_deadline())

    # -- commands -----------------------------------------------------------------------------------------

    async def load(self, model_id: str) -> None:
        """Load and wait until it is ready."""
        await self._look_first(model_id)
        await self._wait(model_id, self.deadline(), holds=False)

    def preload(self, model_id: str) -> None:
        """Begin to load without waiting; a failure shows in the model's state and log."""
        self._spawn_task(self._load_quietly(model_id))

    def keep(self, model_id: str, seconds: float) -> None:
        """Keep the model so long after its last request, in place of its `idle_timeout`; infinity = for good."""
        self._apply(self.machine.keep(model_id, seconds))

    def pin(self, model_id: str, pinned: bool) -> None:
        """Keep the model once it is loaded, or let it leave when idle, whatever its settings said until now."""
        self._apply(self.machine.pin(model_id, pinned, self._loop.time()))

    async def renew(self, model_id: str) -> None:
        """Put a fresh worker in place of the one that runs, and wait until it is ready; no request is cut off."""
        for station in self.stations.of(model_id):
            self._apply(self.machine.renew(station.model_id, self._loop.time()))
        await self.load(model_id)

    async def unload(self, model_id: str, *, gently: bool = False) -> None:
        """Stop the worker and wait until it is gone. Requests in flight on it get an error event, or end first.

        Of several copies all are stopped.
        """
        stations = self.stations.of(model_id)
        runs = {station.run for station in stations if station.run is not None}
        for station in stations:
            self._apply(self.machine.unload(station.model_id, self._loop.time(), gently=gently))
        if runs:
            await asyncio.wait(runs)

    async def works(self, lease: Lease) -> bool | None:
        """Whether that worker computes at this moment, whatever comes of it; None when that cannot be told."""
        child = lease.station.child
        return None if child is None else await health.computes(child)

    def replace(self, lease: Lease, why: str) -> None:
        """End the worker of that lease at once, and start another one. Requests on it lose their connections."""
        worker = lease.worker
        log.warning("worker of %s is stuck and is started again: %s", worker.model_id, why)
        self._apply(self.machine.replace(worker.model_id, lease.generation, why, self._loop.time()))

    def refresh(self, lease: Lease, why: str) -> None:
        """Put a fresh worker in place of that one, which takes no new request and ends those it has."""
        worker = lease.worker
        if worker.generation == lease.generation and worker.state is State.READY:
            log.warning("worker of %s is not well and is started again: %s", worker.model_id, why)
            self._apply(self.machine.renew(worker.model_id, self._loop.time(), why))

    async def settle(self, lost: Lease, timeout_s: float) -> bool:
        """After a lost connection: wait until the end of that worker is known, or `timeout_s` for one that lives.

        Tells whether a worker of ours ended.
        """
        worker, run = lost.worker, lost.station.run
        if run is not None and worker.generation == lost.generation:
            await asyncio.wait({run}, timeout=timeout_s)
        return worker.generation != lost.generation or worker.state not in SERVING

    def would_replace(self, model_id: str, model: Model) -> bool:
        """Whether these settings would end a worker or an address that works now, for another one."""
        states, models = (State.READY, State.REMOTE, State.ASLEEP), spread({model_id: model}, runs_here)
        there = [s for s in self.stations.of(model_id) if s.worker.state in states and s.model_id in models]
        return any(self._is_stale(s, models[s.model_id]) for s in there)

    def present(self, model_id: str) -> bool:
        """Whether the model could be started: its weights are here, or it needs none."""
        return self._plans.present(self.stations.at[model_id].model)

    # -- views --------------------------------------------------------------------------------------------

    def backend(self, model_id: str) -> Backend:
        return self.stations.at[model_id].backend

    def wants_memory(self, model_id: str) -> bool:
        """Whether that model is to be loaded, or woken, and there is no room for it yet."""
        return self.machine.rooms.lacks(self.worker(model_id))

    # -- effects ------------------------------------------------------------------------------------------

    def _bring_up(self, addresses: Mapping[str, Endpoint | None]) -> None:
        """Attach the remotes and begin to load the pinned models that are not up."""
        effects: list[Effect] = []
        for model_id, endpoint in addresses.items():
            station = self.stations.at[model_id]
            if station.worker.state is not State.COLD:
                continue
            if endpoint is not None:
                effects += self._attach(station, endpoint)
            elif not station.backend.spawns or (station.model.pinned and self._preload and self.present(model_id)):
                self.preload(model_id)  # a remote that lacks something fails at once, and says what
            else:
                effects += self.machine.wake(model_id, self._loop.time())
        self._apply(effects)

    def _is_stale(self, station: Station, model: Model) -> bool:
        return self._plans.is_stale(station, model, backends.get(model.backend))

    async def _wait(self, model_id: str, deadline: float, *, holds: bool = True, **waiter: Any) -> tuple[str, int, int]:
        """Wait for a grant; returns the worker that gave it, its generation, and how many slots."""
        ticket: asyncio.Future[tuple[str, int, int]] = self._loop.create_future()
        now = self._loop.time()
        self._apply(self.machine.want(model_id, ticket, now, deadline, holds=holds, **waiter))
        try:
            return await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled() and ticket.exception() is None and holds:
                worker_id, generation, slots = ticket.result()
                self._apply(self.machine.released(worker_id, generation, self._loop.time(), slots))
            else:
                self._apply(self.machine.drop(model_id, ticket))
            raise

    async def _look_first(self, model_id: str) -> None:
        """Before others leave for a model: whether it could be started at all. Raises LoadFailed or WorkerDown."""
        copies = self.stations.of(model_id)
        station, rooms = copies[0], self.machine.rooms
        worker = station.worker
        down = all(each.worker.state in (State.COLD, State.FAILED) for each in copies)
        if not down or not station.backend.spawns:
            return
        if rooms.has_room(self.machine.workers, rooms.need(worker.model_id)):
            return
        try:
            await self._plans.look(station)
        except (RolecastError, OSError) as error:
            worker.error = error.message if isinstance(error, RolecastError) else f"{error}."
            log.warning("%s could not be started, and nobody leaves for it: %s", model_id, worker.error)
            worker.silent = True
            raise refusals.broken(worker, self._loop.time()) from error

    async def _load_quietly(self, model_id: str) -> None:
        try:
            await self.load(model_id)
        except RolecastError as exc:
            log.warning("%s", exc.message)

    async def _retire(self) -> None:
        """Close pooled connections that idled too long, about once a second."""
        while True:
            await asyncio.sleep(1.0)
            self.stations.retire_idle()


def wall_time(loop_time: float) -> float | None:
    """A time of the running loop as seconds since the epoch; None for `never`."""
    return time.time() - (asyncio.get_running_loop().time() - loop_time) if loop_time else None


def leaves_in(worker: Whole) -> float | None:
    """Seconds until a loaded model is unloaded if nobody asks it before; None = it stays."""
    if not worker.idles or math.isinf(worker.idle_timeout_s):
        return None
    since = 0.0 if worker.active else asyncio.get_running_loop().time() - worker.last_used
    return max(0.0, worker.idle_timeout_s - since)


__all__ = ["Fleet", "Lease", "State", "absence", "leaves_in", "wall_time"]
