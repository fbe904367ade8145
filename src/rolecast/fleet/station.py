"""Stations: one copy of a model each, running or able to, and the table of them all.

Mostly a model has one station. What asks for a station by its model asks this table, and what holds a slot points to
the station itself. Knows nothing of when to start or stop one.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping

from rolecast.backends import Backend
from rolecast.backends.sleepers import Sleeper
from rolecast.config.schema import Model
from rolecast.fleet.copies import whole
from rolecast.fleet.death import Death
from rolecast.fleet.keeper import Keeper, Nobody
from rolecast.fleet.returning import Returning
from rolecast.fleet.seats import Seats
from rolecast.fleet.shortage import Place
from rolecast.fleet.worker import State, Worker
from rolecast.net.pool import Pool
from rolecast.processes.running import Running
from rolecast.telemetry.events import Tell, unheard
from rolecast.values import Endpoint, Launch

log = logging.getLogger("rolecast.fleet")

RESIDENT_S = 1.0
SERVING = (State.READY, State.REMOTE, State.DRAINING)


class Station:
    """All that belongs to one copy of a model."""

    __slots__ = (
        "adapters",
        "backend",
        "child",
        "death",
        "keeps",
        "lacked",
        "lulling",
        "model",
        "model_id",
        "planned",
        "pool",
        "run",
        "seats",
        "sleeper",
        "worker",
    )

    def __init__(self, model_id: str, model: Model, backend: Backend, worker: Worker) -> None:
        self.model_id = model_id
        """The model's, or that of a further copy of it; `worker.of` is the model's."""
        self.model = model
        """Its settings; of one that left the configuration, those it had."""
        self.backend = backend
        self.worker = worker
        """What the machine decides by."""
        self.planned: Launch | Endpoint | None = None
        """What runs, or ran last, as if it listened nowhere in particular: settings that plan something else need
        another worker."""
        self.adapters: tuple[str, ...] = ()
        """Those that the child has loaded, by its numbers for them. The settings may name others by now."""
        self.seats: Seats | None = None
        """Which of its slots holds which conversation, where a conversation stays on one."""
        self.keeps: Returning | None = None
        """What is known of the slots of its newest start, where they can be kept."""
        self.pool: Pool | None = None
        """Connections to what runs, or ran last."""
        self.child: Running | None = None
        self.lacked: Place = ""
        """Where the worker that ended last lacked memory, if that ended it."""
        self.death: Death | None = None
        """How its worker ended that ended last."""
        self.run: asyncio.Task[None] | None = None
        """Its newest start, until that ends."""
        self.sleeper: Sleeper | None = None
        """How its engine is put to sleep, by the settings as they are now; None = it is not."""
        self.lulling: asyncio.Task[None] | None = None
        """The newest try to put it to sleep."""

    def begins(self) -> None:
        """Another child is about to be started with the settings as they are now."""
        self.adapters = tuple(self.model.adapters)
        self.seats = Seats(self.model.parallel) if self.adapters else None

    def wakes(self) -> None:
        """Its child has not ended, but knows nothing any more of what it had read."""
        if self.seats is not None:
            self.seats = Seats(self.model.parallel)

    def detach(self) -> None:
        """It runs elsewhere from now on: what is under way ends where it is."""
        if self.pool is not None:
            self.pool.retire()
            self.pool = None


class Lease:
    """The right to use a station for one request. Release it exactly once, through `Fleet.release`."""

    def __init__(self, station: Station, pool: Pool) -> None:
        self.station = station
        self.worker = worker = station.worker
        self.generation = worker.generation
        self.pool = pool
        self.queue_us = self.load_us = 0
        self.seat: tuple[Seats, int] | None = None
        """The slot of the engine that it was given, where its conversation stays on one."""
        self.slots = 1
        """All of the worker's for a request that runs alone."""

    def given_back(self) -> Worker:
        """Its slot of the engine is idle again; whose it was."""
        if self.seat is not None:
            seats, slot = self.seat
            self.seat = None
            seats.leave(slot)
        return self.worker


class Stations:
    """Every station by its id, which is the model's for the first or only copy of it."""

    def __init__(self) -> None:
        self.at: dict[str, Station] = {}
        """Those that are configured, and those that are not any more but still run."""
        self.on_loaded: Callable[[str, float], None] = lambda model_id, took_s: None
        """Told of every load that succeeded and the seconds that it took; app.py sets it."""
        self.tell: Tell = unheard
        """Told when a worker is loaded, unloaded or lost; app.py sets it."""
        self.keeper: Keeper = Nobody()
        """Who keeps what workers have in memory beyond their end; app.py sets it."""
        self._measured_at = float("-inf")
        self._measuring: asyncio.Future[dict[str, int]] | None = None

    def __iter__(self) -> Iterator[Station]:
        return iter(list(self.at.values()))

    def set(self, model_id: str, model: Model, backend: Backend, worker: Worker) -> Station:
        """The station of that model, with these settings from now on; another one for another worker."""
        station = self.at.get(model_id)
        if station is None or station.worker is not worker:
            station = self.at[model_id] = Station(model_id, model, backend, worker)
        station.model, station.backend = model, backend
        station.sleeper = (
            backend.sleeper(model) if model.sleep or worker.wakes or worker.state is State.ASLEEP else None
        )
        worker.leads(float("inf") if station.sleeper is None else station.sleeper.lead_s)
        return station

    def forget(self, model_id: str) -> None:
        """The model left the configuration, and nothing of it runs."""
        pool = self.at.pop(model_id).pool
        if pool is not None:
            pool.close()

    def of(self, model_id: str) -> list[Station]:
        """All copies of that model, the first one first."""
        station = self.at.get(model_id)
        if station is None or station.worker.copies is None:
            return [station] if station else []
        return [self.at[w.model_id] for w in station.worker.copies.all]

    def is_copy(self, name: str) -> bool:
        """Whether a copy of a model beyond its first is called so."""
        return name in self.at and self.at[name].worker.later

    def child(self, model_id: str) -> Running | None:
        """What runs for that model on this machine: of several copies the first that does."""
        return next((station.child for station in self.of(model_id) if station.child is not None), None)

    def memory(self, model_id: str, resident: Mapping[str, int]) -> int:
        """What all copies of that model hold of what each worker does, in bytes."""
        return sum(resident.get(station.model_id, 0) for station in self.of(model_id))

    def children(self) -> list[tuple[str, Running]]:
        """All that runs on this machine, with its model."""
        return [(s.model_id, s.child) for s in self if s.child is not None]

    def pool(self, model_id: str) -> Pool | None:
        """The connections to that model, of several copies to the one that a request would be given; none to one that
        loads, or sleeps, because any question may wake it."""
        station = self.at.get(model_id)
        if station is not None and station.worker.copies is not None:
            station = self.at[station.worker.copies.best().model_id]
        return station.pool if station is not None and station.worker.state in SERVING else None

    def load_of(self, model_id: str) -> float:
        """Requests per slot, running and waiting; infinite while it cannot be started or is gone."""
        station = self.at.get(model_id)
        if station is None:
            return float("inf")
        w = whole(station.worker)
        return float("inf") if w.state is State.FAILED else (w.active + len(w.waiting)) / w.parallel

    def retire_idle(self) -> None:
        """Close connections that idled too long."""
        for station in self.at.values():
            if station.pool is not None:
                station.pool.retire_idle()

    def disconnect(self) -> None:
        """Close all connections; running requests are told that they lost theirs."""
        for station in self:
            if station.pool is not None:
                station.pool.close()

    async def resident(self) -> Mapping[str, int]:
        """Resident bytes of each worker of ours with all it started, at most `RESIDENT_S` old."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._measured_at + RESIDENT_S:
            self._measured_at = loop.time()
            self._measuring = loop.run_in_executor(None, _measure, self.children())
        return await asyncio.shield(self._measuring) if self._measuring is not None else {}

    def loaded(self, model_id: str, took_s: float) -> None:
        """It has loaded just now; what was measured before tells nothing of it."""
        self._measured_at = float("-inf")
        station = self.at[model_id]
        self.on_loaded(station.worker.of, took_s)
        self.keeper.loaded(station)
        child = station.child
        self.tell("model_loaded", {"model": model_id, "pid": child and child.pid, "seconds": round(took_s, 3)})

    async def part(self, station: Station, child: Running, grace_s: float) -> None:
        """End that child, once what it has in memory is kept."""
        if station.lulling is not None and not station.lulling.done():  # it may be keeping that itself just now
            station.lulling.cancel()
            await asyncio.wait({station.lulling})
        async with self.keeper.parting(station):
            await child.stop(grace_s)

    async def end(self, grace_s: float) -> None:
        """End all that run here, and wait for it."""
        running = [(station, station.child) for station in self if station.child is not None]
        await asyncio.gather(*(self.part(station, child, grace_s) for station, child in running))
        for station, child in running:
            log.info("unloaded %s (pid %d): the gateway stops", station.model_id, child.pid)
        await self.keeper.close()

    def slept(self, station: Station) -> None:
        """It sleeps now."""
        self.keeper.slept(station)
        self._measured_at = float("-inf")
        self.tell("model_asleep", {"model": station.model_id, "pid": station.child and station.child.pid})

    def woke(self, station: Station, took_s: float) -> None:
        """It answers again."""
        self._measured_at = float("-inf")
        self.keeper.loaded(station)
        self.tell("model_awake", {"model": station.model_id, "seconds": round(took_s, 3)})

    def ended(self, station: Station, generation: int, error: str) -> None:
        """That worker is gone; whether it was asked to go, its state still says."""
        if generation != station.worker.generation:
            return  # an earlier one
        if station.worker.state in (State.STOPPING, State.DRAINING):
            self.tell("model_unloaded", {"model": station.model_id, "reason": station.worker.why})
        else:
            self.tell("model_failed", {"model": station.model_id, "error": error[:500]})


def _measure(children: list[tuple[str, Running]]) -> dict[str, int]:
    return {model_id: child.rss_bytes() for model_id, child in children}
