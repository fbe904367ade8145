"""All workers: the one owner of their state, and the effects of its decisions.

`machine.Machine` decides; this file carries out: it starts runs, ends children, grants and refuses.
Everything runs on the event loop's thread through `_apply`, one event after the other, so nothing is locked.
A loaded model is leased without an await (`try_lease`); everything else waits in `lease`.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from rolecast import backends
from rolecast.backends import Backend, reach
from rolecast.config.edit import Change, Edit
from rolecast.config.schema import Config, Model
from rolecast.errors import RolecastError, WorkerDown
from rolecast.fleet.alarm import Alarm
from rolecast.fleet.machine import Effect, Forget, Grant, Kill, Machine, Refuse, Spawn
from rolecast.fleet.plans import Plans, absence
from rolecast.fleet.run import STOP_S, Runner
from rolecast.fleet.station import SERVING, Lease, Station, Stations
from rolecast.fleet.worker import State, Worker
from rolecast.net.cork import Cork
from rolecast.net.pool import Pool
from rolecast.processes import folder, process
from rolecast.processes.running import Starter
from rolecast.values import Endpoint
from rolecast.weights import Finder

log = logging.getLogger("rolecast.fleet")


class Fleet:
    """Starts, watches, leases and stops workers."""

    def __init__(self, config: Config, weights: Finder, logs: Path, start: Starter = process.spawn) -> None:
        self._loop = asyncio.get_running_loop()
        self.cork = Cork(self._loop)
        self._limits, self._preload = config.server.limits, config.memory.preload
        self._logs = logs
        models = {i: m for i, m in config.models.items() if m.enabled}
        self.machine = Machine(models.items(), self._limits.queue)
        self.stations = Stations()
        for model_id, model in models.items():
            self.stations.set(model_id, model, backends.get(model.backend), self.worker(model_id))
        self._plans = Plans(weights)
        self._runner = Runner(start, self._plans, self.cork, self.log_path, self)
        self._events: deque[list[Effect]] = deque()
        self._applying = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm = Alarm(self._tick)
        self.closing = False

    # -- life ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Attach remotes and begin to load pinned models; does not wait for them."""
        self._runner.open()
        self._bring_up({s.model_id: self._plans.address(s.model_id, s.model, s.backend) for s in self.stations})
        self._spawn_task(self._retire())

    async def prepare(self, edit: Edit) -> Change:
        """Refuse a model that cannot be run as it is described."""
        models = {i: m for i, m in edit.config.models.items() if m.enabled}
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
        for station in self.stations:
            if station.model_id in stale and station.worker.state is State.REMOTE:
                station.detach()
        lasting = {i for i, m in models.items() if (m.pinned and self._preload) or addresses[i] is not None}
        effects = self.machine.configure(models, self._limits.queue, stale, lasting, self._loop.time())
        for model_id, model in models.items():
            self.stations.set(model_id, model, found[model_id], self.worker(model_id))
        self._apply(effects)
        self._bring_up(addresses)

    async def close(self, grace_s: float = STOP_S) -> None:
        """Stop every worker and wait until all are gone, also those that were just being started."""
        self.closing = True
        self._alarm.close()
        self.stations.disconnect()
        await self._runner.close()
        running = self.stations.children()
        await asyncio.gather(*(child.stop(grace_s) for _, child in running))
        for model_id, child in running:
            log.info("unloaded %s (pid %d): the gateway stops", model_id, child.pid)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._runner.clean()

    # -- leases -------------------------------------------------------------------------------------------

    def try_lease(self, model_id: str) -> Lease | None:
        """A lease if the model is loaded and a slot is free; never waits."""
        station = self.stations.at[model_id]
        w, pool = station.worker, station.pool
        if w.endpoint is None or w.active >= w.parallel or w.waiting or pool is None:
            return None
        w.active += 1
        return Lease(station, pool)

    async def lease(self, model_id: str, *, deadline: float = 0.0, again: int = 0, alone: bool = False) -> Lease:
        """Wait for a slot, loading the model if needed. Raises Busy, LoadFailed, WorkerDown or a timeout.

        One that lost `again` workers asks with the deadline it had, and may be made to run `alone`.
        """
        began = self._loop.time()
        deadline = deadline or self.deadline()
        station = self.stations.at.get(model_id)
        if station is None:
            raise WorkerDown(f"{model_id} is no longer in the configuration.", code="model_removed")
        w = station.worker
        cold = w.endpoint is None
        while True:
            generation, slots = await self._wait(model_id, deadline, again=again, alone=alone)
            if generation == w.generation and w.state in SERVING:
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
        if w.waiting or self.closing or w.endpoint is None:
            self._apply(self.machine.released(w.model_id, lease.generation, self._loop.time(), lease.slots))
        elif w.generation == lease.generation and w.active:
            w.active -= lease.slots
            now = w.last_used = self._loop.time()
            if w.idles and not w.active and now + w.idle_timeout_s < self._alarm.at:
                # The idle clock runs; an alarm that rings sooner looks again then.
                self._alarm.set(self.machine.next_deadline())

    # -- commands -----------------------------------------------------------------------------------------

    async def load(self, model_id: str) -> None:
        """Load and wait until it is ready."""
        await self._wait(model_id, self.deadline(), holds=False)

    def preload(self, model_id: str) -> None:
        """Begin to load without waiting; a failure shows in the model's state and log."""
        self._spawn_task(self._load_quietly(model_id))

    def keep(self, model_id: str, seconds: float) -> None:
        """Keep the model so long after its last request, in place of its `idle_timeout`; infinity = for good."""
        self._apply(self.machine.keep(model_id, seconds))

    async def unload(self, model_id: str) -> None:
        """Stop the worker and wait until it is gone. Requests in flight on it get an error event."""
        run = self.stations.at[model_id].run
        self._apply(self.machine.unload(model_id, self._loop.time()))
        if run is not None:
            await asyncio.wait({run})

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
        station = self.stations.at.get(model_id)
        states = (State.READY, State.REMOTE)
        return station is not None and station.worker.state in states and self._is_stale(station, model)

    def present(self, model_id: str) -> bool:
        """Whether the model could be started: its weights are here, or it needs none."""
        return self._plans.present(self.stations.at[model_id].model)

    # -- views --------------------------------------------------------------------------------------------

    def worker(self, model_id: str) -> Worker:
        return self.machine.workers[model_id]

    def backend(self, model_id: str) -> Backend:
        return self.stations.at[model_id].backend

    def log_path(self, model_id: str) -> Path:
        """Where the worker's output is kept."""
        return self._logs / f"{folder.file_name(model_id)}.log"

    # -- news ---------------------------------------------------------------------------------------------

    def attached(self, station: Station, endpoint: Endpoint) -> None:
        """It runs elsewhere."""
        self._apply(self._attach(station, endpoint))

    def loaded(self, station: Station, generation: int, endpoint: Endpoint) -> None:
        """It answers its health check."""
        assert station.child is not None
        took_s = self._loop.time() - station.worker.started_at
        log.info("loaded %s in %.2f s (pid %d)", station.model_id, took_s, station.child.pid)
        self.stations.loaded(station.model_id, took_s)
        self._apply(self.machine.loaded(station.model_id, generation, endpoint, self._loop.time()))

    def ended(
        self, station: Station, generation: int, error: str, *, may_start: bool = True, killed: bool = False
    ) -> None:
        """It is gone, or was never there."""
        if not self.closing:
            model_id, now = station.model_id, self._loop.time()
            self.stations.ended(station, generation, error)
            self._apply(self.machine.ended(model_id, generation, error, now, may_start=may_start, killed=killed))

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

    def _attach(self, station: Station, endpoint: Endpoint) -> list[Effect]:
        station.planned = endpoint
        station.pool = Pool(endpoint, self.cork, leaves=reach.leaves(station.model))
        return self.machine.attached(station.model_id, endpoint)

    def _is_stale(self, station: Station, model: Model) -> bool:
        return self._plans.is_stale(station, model, backends.get(model.backend))

    async def _wait(
        self, model_id: str, deadline: float, *, holds: bool = True, again: int = 0, alone: bool = False
    ) -> tuple[int, int]:
        """Wait for a grant; returns the generation of the worker that gave it, and how many slots."""
        ticket: asyncio.Future[tuple[int, int]] = self._loop.create_future()
        now = self._loop.time()
        self._apply(self.machine.want(model_id, ticket, now, deadline, holds=holds, again=again, alone=alone))
        try:
            return await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled() and ticket.exception() is None and holds:
                generation, slots = ticket.result()
                self._apply(self.machine.released(model_id, generation, self._loop.time(), slots))
            else:
                self._apply(self.machine.drop(model_id, ticket))
            raise

    def _apply(self, effects: list[Effect]) -> None:
        """Carry out effects in order; an effect that causes another event queues behind."""
        self._events.append(effects)
        if self._applying:
            return
        self._applying = True
        try:
            while self._events:
                for effect in self._events.popleft():
                    self._perform(effect)
        finally:
            self._applying = False
        self._alarm.set(self.machine.next_deadline())

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Grant):
            self._grant(effect)
        elif isinstance(effect, Refuse):
            if not effect.ticket.done():
                effect.ticket.set_exception(effect.error)
        elif isinstance(effect, Spawn):
            station = self.stations.at[effect.model]
            station.run = self._spawn_task(self._runner.run(station, effect.generation))
        elif isinstance(effect, Kill):
            child = self.stations.at[effect.model].child
            if child is not None:
                self._spawn_task(child.stop(STOP_S))
        elif isinstance(effect, Forget):
            self.stations.forget(effect.model)

    def _grant(self, grant: Grant) -> None:
        generation = self.machine.workers[grant.model].generation
        if grant.ticket.done() and grant.slots:  # given up in the same instant
            self._events.append(self.machine.released(grant.model, generation, self._loop.time(), grant.slots))
        elif not grant.ticket.done():
            grant.ticket.set_result((generation, grant.slots))

    def _tick(self) -> None:
        self._apply(self.machine.tick(self._loop.time()))

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

    def _spawn_task(self, coroutine: "asyncio._CoroutineLike[None]") -> "asyncio.Task[None]":
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def wall_time(loop_time: float) -> float | None:
    """A time of the running loop as seconds since the epoch; None for `never`."""
    return time.time() - (asyncio.get_running_loop().time() - loop_time) if loop_time else None


__all__ = ["Fleet", "Lease", "State", "absence", "wall_time"]
