"""One worker from its start to its end: planned, spawned, asked for its health, and awaited.

Knows a station and what happens to it; what follows from that is the machine's to decide, which hears the `News`.
No child is ever left behind: a start that has begun is waited for, whoever gives up meanwhile.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from rolecast.errors import LoadFailed, RolecastError, SourceError
from rolecast.fleet import death, health
from rolecast.fleet.death import Cause, Death, Kills
from rolecast.fleet.plans import Plans
from rolecast.fleet.shortage import LAST_LINES, short_of
from rolecast.fleet.station import Station
from rolecast.fleet.worker import State
from rolecast.net.cork import Cork
from rolecast.net.pool import Pool
from rolecast.processes import folder
from rolecast.processes.running import Running, Starter
from rolecast.values import Endpoint, Launch, Listen

log = logging.getLogger("rolecast.fleet")

PORTS = 3
"""So many ports are tried for a worker that another program is quicker than."""
CRASHES = 2
"""A worker that crashes while it loads is tried so often before those who wait for it are told."""
STOP_S = 5.0
"""A worker that is asked to end has this long."""


class News(Protocol):
    """Who is told what happens to workers."""

    def attached(self, station: Station, endpoint: Endpoint) -> None:
        """It runs elsewhere."""
        ...

    def loaded(self, station: Station, generation: int, endpoint: Endpoint) -> None:
        """It answers its health check."""
        ...

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
        """It is gone, or was never there; see `Machine.ended`."""
        ...


class Runner:
    """Starts workers in one private folder, and sees them through."""

    def __init__(self, start: Starter, plans: Plans, cork: Cork, log_path: Callable[[str], Path], news: News) -> None:
        self._start = start
        self._plans = plans
        self._cork = cork
        self._log_path = log_path
        self._news = news
        self._starting: set[asyncio.Task[Running]] = set()
        self._folder: Path | None = None
        self._kills = Kills()
        self._closing = False

    def open(self) -> None:
        """Make the folder of the sockets. Raises ConfigError when none can be made."""
        folder.sweep_runtime_dirs()
        self._folder = folder.runtime_dir()

    async def close(self) -> None:
        """Nothing is started from now on; returns when every start that had begun is known to its station."""
        self._closing = True
        if self._starting:
            await asyncio.wait(self._starting)

    def clean(self) -> None:
        """Remove the folder, once nothing runs any more."""
        if self._folder:
            folder.remove_runtime_dir(self._folder)

    async def run(self, station: Station, generation: int) -> None:
        """One generation of a worker, until it has ended or turns out to run elsewhere."""
        tries = {Cause.OUTRUN: PORTS, Cause.CRASHED: CRASHES}
        while True:
            try:
                child, endpoint = await self._launch(station, generation)
            except Exception as error:
                self._not_started(station, generation, error)
                return
            if child is None:  # it was ours until its settings said that it runs elsewhere
                self._news.attached(station, endpoint)
                return
            stopping: asyncio.Task[None] | None = None
            if station.worker.state is State.STOPPING:  # unloaded before there was anything to kill
                stopping = asyncio.create_task(child.stop(STOP_S))
            end = await self._see_through(station, generation, child, endpoint)
            if stopping is not None:
                await stopping
            tries[end.cause] = tries.get(end.cause, 1) - 1
            worker = station.worker
            if not tries[end.cause] or worker.state is not State.LOADING or worker.wakes or self._closing:
                self._tell(station, generation, child, end)
                return
            log.info("%s is tried once more: %s", station.model_id, end.text)

    def _not_started(self, station: Station, generation: int, error: Exception) -> None:
        if isinstance(error, RolecastError):
            tried = not isinstance(error, SourceError)
            self._news.ended(station, generation, error.message, may_start=tried, began=False)
        elif isinstance(error, OSError):
            self._news.ended(station, generation, f"{error}.", began=False)
        else:
            log.error("%s could not be started", station.model_id, exc_info=error)
            self._news.ended(station, generation, "the gateway's log has the reason.", began=False)

    async def _see_through(self, station: Station, generation: int, child: Running, endpoint: Endpoint) -> Death:
        """From its start to its end, and how that came."""
        error, loaded = "", False
        pool = station.pool = Pool(endpoint, self._cork)
        self._kills.look()
        try:
            if await health.is_ready(child, pool, float(station.model.load_timeout)):
                loaded = True
                child.takes_requests()
                self._news.loaded(station, generation, endpoint)
                error = await health.watch(child, pool, station.worker, lambda: _patience(station), self._kills.look)
        except LoadFailed as late:
            error = late.message
        code = await child.wait()
        end = death.of(code, child.tail(20), self._kills)
        memory = (0, int(end.cause is Cause.MEMORY))
        station.lacked = "" if error else short_of(code, child.tail(LAST_LINES), memory)
        pool.close()
        station.child = None
        if error:
            return Death(Cause.ENDED, error)
        if not loaded and await _is_outrun(station, endpoint):
            return Death(Cause.OUTRUN, f"another program took port {endpoint.port} before it did.")
        if not loaded and code == 0:
            text = "its worker ended with code 0 before it answered; what is started must stay in the foreground."
            return Death(Cause.EXITED, text)
        return end

    def _tell(self, station: Station, generation: int, child: Running, end: Death) -> None:
        station.death = end
        if station.worker.state is State.STOPPING:
            station.death = Death(Cause.STOPPED, station.worker.why)
            log.info("unloaded %s (pid %d): %s", station.model_id, child.pid, station.worker.why)
        elif not self._closing:
            log.warning("worker of %s ended: %s", station.model_id, end.text)
        self._news.ended(station, generation, end.text, killed=end.cause is Cause.KILLED)

    async def _launch(self, station: Station, generation: int) -> tuple[Running | None, Endpoint]:
        await self._plans.look(station)
        model_id, model, backend = station.worker.of, station.model, station.backend
        station.planned = self._plans.make(model_id, model, backend)
        station.begins()
        if isinstance(station.planned, Endpoint):
            return None, station.planned
        assert self._folder is not None
        listen = folder.listen(self._folder, station.model_id, generation)
        launch = self._plans.make(model_id, model, backend, listen)
        assert not isinstance(launch, Endpoint)
        assert launch.endpoint is not None
        if launch.endpoint.port not in (0, listen.port) and await health.is_taken(launch.endpoint):
            raise LoadFailed(f"another program listens at {launch.endpoint.address} already; end it, or change url.")
        if self._closing:
            raise LoadFailed("the gateway stops.")
        # In a task of its own, which nobody cancels: a process that is being made would be nobody's.
        starting = asyncio.create_task(self._start_at(station, launch))
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
        return await asyncio.shield(starting), launch.endpoint

    async def _start_at(self, station: Station, launch: Launch) -> Running:
        station.child = await self._start(launch, name=station.model_id, log=self._log_path(station.model_id))
        return station.child


async def _is_outrun(station: Station, endpoint: Endpoint) -> bool:
    """Whether somebody else listens where we told a worker to, between the choice of its port and its start."""
    planned = station.planned
    chosen = isinstance(planned, Launch) and planned.endpoint is not None and planned.endpoint.port == Listen().port
    return chosen and await health.is_taken(endpoint)


def _patience(station: Station) -> float:
    """How long a worker may be silent, in seconds; 0 = for ever, as when it is being stopped."""
    serves = station.worker.state in (State.READY, State.DRAINING, State.ASLEEP)  # its check wakes nobody
    return float(station.model.health_timeout) if serves else 0.0
