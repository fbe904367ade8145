"""The effects of the machine's decisions, and the news that it decides by.

Everything runs on the event loop's thread through `_apply`, one event after the other, so nothing is locked. What a
fleet is asked to do is `fleet.Fleet`'s.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from rolecast import backends
from rolecast.backends import reach
from rolecast.config.replicas import spread
from rolecast.config.schema import Config, Model
from rolecast.fleet.admission import Terms
from rolecast.fleet.alarm import Alarm
from rolecast.fleet.copies import Whole, whole
from rolecast.fleet.effects import Effect, Forget, Grant, Kill, Lull, Refuse, Spawn, Wake
from rolecast.fleet.housing import Housing
from rolecast.fleet.learnt import Learnt
from rolecast.fleet.machine import Machine
from rolecast.fleet.plans import Plans
from rolecast.fleet.run import STOP_S, Runner
from rolecast.fleet.sizes import Sizes
from rolecast.fleet.sleep import Sleep
from rolecast.fleet.station import Station, Stations
from rolecast.footprint import Footprint
from rolecast.net.cork import Cork
from rolecast.net.pool import Pool
from rolecast.processes import folder
from rolecast.processes.running import Starter
from rolecast.values import Endpoint
from rolecast.weights import Finder

log = logging.getLogger("rolecast.fleet")


class Performed:
    """The machine with all that its effects need: stations, runs, memory, the alarm."""

    def __init__(self, config: Config, weights: Finder, logs: Path, start: Starter, learnt: Learnt | None) -> None:
        self._loop = asyncio.get_running_loop()
        self.cork = Cork(self._loop)
        self._logs = logs
        models = spread({i: m for i, m in config.models.items() if m.enabled}, runs_here)
        queue = config.server.limits.queue
        self.machine = Machine(models.items(), queue, lambda model_id: self._housing.need(model_id))
        self.stations = Stations()
        for model_id, model in models.items():
            self.stations.set(model_id, model, backends.get(model.backend), self.machine.workers[model_id])
        self._plans = Plans(weights)
        self.sizes = Sizes(weights)
        self._housing = Housing(self.stations, self.sizes, weights, learnt, self.room)
        self._set_terms(config)
        self._runner = Runner(start, self._plans, self.cork, self.log_path, self)
        self._sleep = Sleep(self.stations, self.machine, weights, self._housing.asleep, self._apply)
        self._events: deque[list[Effect]] = deque()
        self._applying = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm = Alarm(self._tick)
        self.closing = False

    def room(self, budget: Footprint | None, limit: Footprint | None) -> None:
        """So much may all models take now, and so much if nobody else used this machine; None = as they like."""
        self._apply(self.machine.room(budget, limit, self._loop.time()))

    def worker(self, model_id: str) -> Whole:
        """How that model fares: its worker, or all copies of it as if they were one."""
        return whole(self.machine.workers[model_id])

    def known(self, model_id: str) -> Whole | None:
        """The same of one that may have left the configuration."""
        w = self.machine.workers.get(model_id)
        return None if w is None else whole(w)

    def models(self) -> Iterator[Whole]:
        """The same of every model."""
        return (whole(w) for w in list(self.machine.workers.values()) if not w.later)

    def log_path(self, model_id: str) -> Path:
        """Where the worker's output is kept."""
        return self._logs / f"{folder.file_name(model_id)}.log"

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
        self,
        station: Station,
        generation: int,
        error: str,
        *,
        may_start: bool = True,
        killed: bool = False,
        began: bool = True,
    ) -> None:
        """It is gone, or was never there: then `began` is false when there was no process at all."""
        if not self.closing:
            model_id, now = station.model_id, self._loop.time()
            self.stations.ended(station, generation, error)
            held = station.worker.held if generation == station.worker.generation else Footprint()
            freed = self._housing.ended(station, generation, held)
            if generation == station.worker.generation:
                station.worker.silent = not began
            self._apply(
                self.machine.ended(model_id, generation, error, now, may_start=may_start, killed=killed, freed=freed)
            )
            if not freed:
                self._spawn_task(self._await_freed(model_id, generation, held))

    async def _await_freed(self, model_id: str, generation: int, held: Footprint) -> None:
        try:
            await self._housing.freed(held)
        except Exception as error:  # whatever a driver does: nobody waits for ever for what may be free
            log.warning("whether the memory of %s is free cannot be seen: %s", model_id, error)
        self._apply(self.machine.freed(model_id, generation, self._loop.time()))

    def _attach(self, station: Station, endpoint: Endpoint) -> list[Effect]:
        station.planned = endpoint
        station.pool = Pool(endpoint, self.cork, leaves=reach.leaves(station.model))
        return self.machine.attached(station.model_id, endpoint)

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
            self._housing.begins(station, effect.generation)
            self.stations.keeper.begins(station)
            station.run = self._spawn_task(self._runner.run(station, effect.generation))
        elif isinstance(effect, Kill):
            self._kill(self.stations.at[effect.model], at_once=effect.at_once)
        elif isinstance(effect, Lull):
            station = self.stations.at[effect.model]
            station.lulling = self._spawn_task(self._sleep.lull(station, effect.generation, station.lulling))
        elif isinstance(effect, Wake):
            self._spawn_task(self._sleep.wake(self.stations.at[effect.model], effect.generation))
        elif isinstance(effect, Forget):
            self.stations.forget(effect.model)

    def _kill(self, station: Station, *, at_once: bool) -> None:
        if station.child is not None and at_once:  # it hangs, and would not save anything
            self._spawn_task(station.child.stop(0.0))
        elif station.child is not None:
            self._spawn_task(self.stations.part(station, station.child, STOP_S))

    def _grant(self, grant: Grant) -> None:
        generation = self.machine.workers[grant.model].generation
        if grant.ticket.done() and grant.slots:  # given up in the same instant
            self._events.append(self.machine.released(grant.model, generation, self._loop.time(), grant.slots))
        elif not grant.ticket.done():
            grant.ticket.set_result((grant.model, generation, grant.slots))

    def _tick(self) -> None:
        self._apply(self.machine.tick(self._loop.time()))

    def _spawn_task(self, coroutine: "asyncio._CoroutineLike[None]") -> "asyncio.Task[None]":
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _set_terms(self, config: Config) -> None:
        memory, rooms = config.memory, self.machine.rooms
        self._housing.settings = memory
        rooms.terms = Terms(float(memory.patience), float(memory.turn), float(memory.overdue))
        rooms.together = tuple(frozenset(each) for each in memory.together)


def runs_here(model: Model) -> bool:
    """Whether a worker of it is a process of ours, so that there may be several."""
    return backends.get(model.backend).spawns
