"""All workers: the one owner of their state, and the effects of its decisions.

`machine.Machine` decides; this file carries out: it spawns children, asks their health, grants and refuses.
Everything runs on the event loop's thread through `_apply`, one event after the other, so nothing is locked.
A loaded model is leased without an await (`try_lease`); everything else waits in `lease`.
"""

import asyncio
import logging
import signal
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from rolecast import backends, weights
from rolecast.config.schema import Config, Model
from rolecast.errors import LoadFailed, RolecastError, SourceError, WorkerDown
from rolecast.fleet import health
from rolecast.fleet.machine import Effect, Forget, Grant, Kill, Machine, Refuse, Spawn, State, Worker
from rolecast.net.cork import Cork
from rolecast.net.pool import Pool
from rolecast.processes import process
from rolecast.values import Endpoint, Launch
from rolecast.weights import Finder

log = logging.getLogger("rolecast.fleet")

RESIDENT_S = 1.0
SERVING = (State.READY, State.REMOTE, State.DRAINING)
FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals by which somebody else ends a worker: a person, the system short of memory, a service manager."""


class Lease:
    """The right to use a worker for one request. Release it exactly once, through `Fleet.release`."""

    queue_us = 0
    load_us = 0
    slots = 1
    """All of the worker's for a request that runs alone."""

    def __init__(self, worker: Worker, pool: Pool) -> None:
        self.worker = worker
        self.generation = worker.generation
        self.pool = pool


class Fleet:
    """Starts, watches, leases and stops workers."""

    def __init__(self, config: Config, weights: Finder, logs: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self.cork = Cork(self._loop)
        self._limits = config.server.limits
        self._weights = weights
        self._logs = logs
        self._models = {i: m for i, m in config.models.items() if m.enabled}
        """Those that are configured, and those that are not any more but still run."""
        self.machine = Machine(self._models.items(), self._limits.queue)
        self.backends = {i: backends.get(m.backend) for i, m in self._models.items()}
        self._children: dict[str, process.Child] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}
        """The newest `_run` of each model that was ever started."""
        self._pools: dict[str, Pool] = {}
        self._planned: dict[str, Launch | Endpoint] = {}
        """What runs, or ran last, by model: settings that plan something else need another worker."""
        self._events: deque[list[Effect]] = deque()
        self._applying = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._folder: Path | None = None
        self._measured_at = float("-inf")
        self._measuring: asyncio.Future[dict[str, int]] | None = None
        self.closing = False

    # -- life ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Attach remotes and begin to load pinned models; does not wait for them."""
        process.sweep_runtime_dirs()
        self._folder = process.runtime_dir()
        addresses = {i: self._address(i, m, self.backends[i]) for i, m in self._models.items()}
        self._bring_up(addresses)
        self._spawn_task(self._retire())

    def configure(self, config: Config) -> None:
        """Other settings apply from now on, and no request is lost to the change.

        Raises ConfigError, with nothing changed, when a model cannot be run as it is described.
        """
        models = {i: m for i, m in config.models.items() if m.enabled}
        found = {i: backends.get(m.backend) for i, m in models.items()}
        addresses = {i: self._address(i, m, found[i]) for i, m in models.items()}
        stale = {i for i in models if i in self.machine.workers and self._is_stale(i, models[i], found[i])}
        self._limits = config.server.limits
        self._models.update(models)
        self.backends.update(found)
        for model_id in stale:
            if self.worker(model_id).state is State.REMOTE:
                self._pools.pop(model_id).retire()
        lasting = {i for i, m in models.items() if m.pinned or addresses[i] is not None}
        self._apply(self.machine.configure(models, self._limits.queue, stale, lasting, self._loop.time()))
        self._bring_up(addresses)

    async def close(self, grace_s: float = 5.0) -> None:
        """Stop every worker and wait until all are gone."""
        self.closing = True
        if self._timer:
            self._timer.cancel()
        for pool in self._pools.values():
            pool.close()
        children = list(self._children.items())
        await asyncio.gather(*(child.stop(grace_s) for _, child in children))
        for model_id, child in children:
            log.info("unloaded %s (pid %d): the gateway stops", model_id, child.pid)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._folder:
            process.remove_runtime_dir(self._folder)

    # -- leases -------------------------------------------------------------------------------------------

    def try_lease(self, model_id: str) -> Lease | None:
        """A lease if the model is loaded and a slot is free; never waits."""
        w = self.machine.workers[model_id]
        if w.endpoint is None or w.active >= w.parallel or w.waiting:
            return None
        w.active += 1
        return Lease(w, self._pools[model_id])

    async def lease(self, model_id: str, *, deadline: float = 0.0, again: int = 0, alone: bool = False) -> Lease:
        """Wait for a slot, loading the model if needed. Raises Busy, LoadFailed, WorkerDown or a timeout.

        One that lost `again` workers asks with the deadline it had, and may be made to run `alone`.
        """
        began = self._loop.time()
        deadline = deadline or self.deadline()
        if model_id not in self.machine.workers:
            raise WorkerDown(f"{model_id} is no longer in the configuration.", code="model_removed")
        w = self.machine.workers[model_id]
        cold = w.endpoint is None
        while True:
            generation, slots = await self._wait(model_id, deadline, again=again, alone=alone)
            if generation == w.generation and w.state in SERVING:
                break
            again = max(1, again)  # the worker died between the grant and now, and the slot with it
        lease = Lease(w, self._pools[model_id])
        if slots != 1:
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
        w = lease.worker
        if w.waiting or self.closing or w.endpoint is None:
            self._apply(self.machine.released(w.model_id, lease.generation, self._loop.time(), lease.slots))
        elif w.generation == lease.generation and w.active:
            w.active -= lease.slots
            now = w.last_used = self._loop.time()
            if w.idles and not w.active and now + w.idle_timeout_s < self._timer_at:
                self._schedule()  # the idle clock runs; a timer that fires sooner looks again then

    # -- commands -----------------------------------------------------------------------------------------

    async def load(self, model_id: str) -> None:
        """Load and wait until it is ready."""
        await self._wait(model_id, self.deadline(), holds=False)

    def preload(self, model_id: str) -> None:
        """Begin to load without waiting; a failure shows in the model's state and log."""
        self._spawn_task(self._load_quietly(model_id))

    async def unload(self, model_id: str) -> None:
        """Stop the worker and wait until it is gone. Requests in flight on it get an error event."""
        run = self._runs.get(model_id)
        self._apply(self.machine.unload(model_id, self._loop.time()))
        if run is not None:
            await asyncio.wait({run})

    async def settle(self, lost: Lease, timeout_s: float) -> bool:
        """After a lost connection: wait until the end of that worker is known, or `timeout_s` for one that lives.

        Tells whether a worker of ours ended.
        """
        worker = lost.worker
        run = self._runs.get(worker.model_id)
        if run is not None and worker.generation == lost.generation:
            await asyncio.wait({run}, timeout=timeout_s)
        return worker.generation != lost.generation or worker.state not in SERVING

    def would_replace(self, model_id: str, model: Model) -> bool:
        """Whether these settings would end a worker or an address that works now, for another one."""
        worker = self.machine.workers.get(model_id)
        if worker is None or worker.state not in (State.READY, State.REMOTE):
            return False
        return self._is_stale(model_id, model, backends.get(model.backend))

    def present(self, model_id: str) -> bool:
        """Whether the model could be started: its weights are here, or it needs none."""
        model = self._models[model_id]
        return not model.source or weights.found(self._weights, model) is not None

    # -- views --------------------------------------------------------------------------------------------

    def worker(self, model_id: str) -> Worker:
        return self.machine.workers[model_id]

    def load_of(self, model_id: str) -> float:
        """Requests per slot, running and waiting; infinite while it cannot be started or is gone."""
        w = self.machine.workers.get(model_id)
        return float("inf") if w is None or w.state is State.FAILED else (w.active + len(w.waiting)) / w.parallel

    def child(self, model_id: str) -> process.Child | None:
        return self._children.get(model_id)

    async def resident(self) -> Mapping[str, int]:
        """Resident bytes of each worker of ours with all it started, at most `RESIDENT_S` old."""
        if self._loop.time() >= self._measured_at + RESIDENT_S:
            self._measured_at = self._loop.time()
            self._measuring = self._loop.run_in_executor(None, _measure, list(self._children.items()))
        return await asyncio.shield(self._measuring) if self._measuring is not None else {}

    def pool(self, model_id: str) -> Pool | None:
        return self._pools.get(model_id)

    def wall_time(self, loop_time: float) -> float | None:
        """A loop time as seconds since the epoch; None for `never`."""
        return time.time() - (self._loop.time() - loop_time) if loop_time else None

    def log_path(self, model_id: str) -> Path:
        """Where the worker's output is kept."""
        return self._logs / f"{process.file_name(model_id)}.log"

    # -- effects ------------------------------------------------------------------------------------------

    def _address(self, model_id: str, model: Model, backend: backends.Backend) -> Endpoint | None:
        """Where the model runs when that is not our doing, and nothing is missing. Raises ConfigError."""
        if backend.spawns or backend.missing(model):
            return None
        assert self._folder is not None
        planned = backend.plan(model_id, model, None, self._folder / "none")
        return planned if isinstance(planned, Endpoint) else None

    def _bring_up(self, addresses: Mapping[str, Endpoint | None]) -> None:
        """Attach the remotes and begin to load the pinned models that are not up."""
        effects: list[Effect] = []
        for model_id, endpoint in addresses.items():
            if self.worker(model_id).state is not State.COLD:
                continue
            if endpoint is not None:
                effects += self._attach(model_id, endpoint)
            elif not self.backends[model_id].spawns or (self._models[model_id].pinned and self.present(model_id)):
                self.preload(model_id)  # a remote that lacks something fails at once, and says what
            else:
                effects += self.machine.wake(model_id, self._loop.time())
        self._apply(effects)

    def _attach(self, model_id: str, endpoint: Endpoint) -> list[Effect]:
        self._planned[model_id] = endpoint
        self._pools[model_id] = Pool(endpoint, self.cork)
        return self.machine.attached(model_id, endpoint)

    def _is_stale(self, model_id: str, model: Model, backend: backends.Backend) -> bool:
        """Whether what runs differs from what these settings ask for: then only another worker will do."""
        planned = self._planned.get(model_id)
        if planned is None:
            return model != self._models[model_id]
        try:
            return self._plan(model_id, model, backend, self.worker(model_id).generation) != planned
        except RolecastError:  # its weights are gone, perhaps, but it has them loaded
            return model != self._models[model_id]

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
        self._schedule()

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Grant):
            self._grant(effect)
        elif isinstance(effect, Refuse):
            if not effect.ticket.done():
                effect.ticket.set_exception(effect.error)
        elif isinstance(effect, Spawn):
            self._runs[effect.model] = self._spawn_task(self._run(effect.model, effect.generation))
        elif isinstance(effect, Kill):
            child = self._children.get(effect.model)
            if child is not None:
                self._spawn_task(child.stop(5.0))
        elif isinstance(effect, Forget):
            self._forget(effect.model)

    def _grant(self, grant: Grant) -> None:
        generation = self.machine.workers[grant.model].generation
        if grant.ticket.done() and grant.slots:  # given up in the same instant
            self._events.append(self.machine.released(grant.model, generation, self._loop.time(), grant.slots))
        elif not grant.ticket.done():
            grant.ticket.set_result((generation, grant.slots))

    def _forget(self, model_id: str) -> None:
        if model_id in self._pools:
            self._pools.pop(model_id).close()
        for known in (self._models, self.backends, self._planned, self._runs):
            known.pop(model_id, None)

    def _schedule(self) -> None:
        at = self.machine.next_deadline()
        if at == self._timer_at:
            return
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._timer_at = at
        if at != float("inf") and not self.closing:
            self._timer = self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        self._apply(self.machine.tick(self._loop.time()))

    async def _run(self, model_id: str, generation: int) -> None:
        """One worker from its start to its end."""
        error = ""
        try:
            child, endpoint = await self._launch(model_id, generation)
        except RolecastError as exc:
            self._ended(model_id, generation, exc.message, may_start=not isinstance(exc, SourceError))
            return
        except OSError as exc:
            self._ended(model_id, generation, f"{exc}.")
            return
        except Exception:
            log.exception("%s could not be started", model_id)
            self._ended(model_id, generation, "the gateway's log has the reason.")
            return
        if child is None:  # it was ours until its settings said that it runs elsewhere
            self._apply(self._attach(model_id, endpoint))
            return
        worker = self.machine.workers[model_id]
        if worker.state is State.STOPPING:  # unloaded before there was anything to kill
            self._spawn_task(child.stop(5.0))
        pool = self._pools[model_id] = Pool(endpoint, self.cork)
        try:
            if await health.is_ready(child, pool, float(self._models[model_id].load_timeout)):
                child.takes_requests()
                self._measured_at = float("-inf")  # what was measured before tells nothing of this one
                log.info("loaded %s in %.2f s (pid %d)", model_id, self._loop.time() - worker.started_at, child.pid)
                self._apply(self.machine.loaded(model_id, generation, endpoint, self._loop.time()))
                error = await health.watch(child, pool, lambda: self._patience(worker))
        except LoadFailed as late:
            error = late.message
        code = await child.wait()
        exit_text = _describe_exit(code, child.tail(20))
        pool.close()
        self._children.pop(model_id, None)
        if worker.state is State.STOPPING:
            log.info("unloaded %s (pid %d): %s", model_id, child.pid, worker.why)
        elif not self.closing:
            log.warning("worker of %s ended: %s", model_id, error or exit_text)
        # By somebody from outside; a fault of its own has another signal, and what we end has an error by now.
        self._ended(model_id, generation, error or exit_text, killed=not error and -code in FROM_OUTSIDE)

    def _patience(self, worker: Worker) -> float:
        """How long this worker may be silent, in seconds; 0 = for ever, as when it is being stopped."""
        serves = worker.state in (State.READY, State.DRAINING)
        return float(self._models[worker.model_id].health_timeout) if serves else 0.0

    def _ended(
        self, model_id: str, generation: int, error: str, *, may_start: bool = True, killed: bool = False
    ) -> None:
        if not self.closing:
            now = self._loop.time()
            self._apply(self.machine.ended(model_id, generation, error, now, may_start=may_start, killed=killed))

    def _plan(self, model_id: str, model: Model, backend: backends.Backend, generation: int) -> Launch | Endpoint:
        """How this generation of the model is started, or where it is. Raises SourceError without its weights."""
        weights = self._weights(model) if model.source else None
        if model.source and weights is None:
            raise SourceError(absence(model_id, model))
        assert self._folder is not None
        return backend.plan(model_id, model, weights, process.socket_path(self._folder, model_id, generation))

    async def _launch(self, model_id: str, generation: int) -> tuple[process.Child | None, Endpoint]:
        if self._models[model_id].source:  # a hash may have to be computed: not on the loop
            await asyncio.to_thread(self._weights, self._models[model_id])
        model, backend = self._models[model_id], self.backends[model_id]
        if missing := backend.missing(model):
            raise LoadFailed(f"{missing}." if backend.spawns else f"{missing}, then start the gateway again.")
        planned = self._planned[model_id] = self._plan(model_id, model, backend, generation)
        if isinstance(planned, Endpoint):
            return None, planned
        child = await process.spawn(planned, name=model_id, log=self.log_path(model_id))
        self._children[model_id] = child
        return child, planned.endpoint

    async def _load_quietly(self, model_id: str) -> None:
        try:
            await self.load(model_id)
        except RolecastError as exc:
            log.warning("%s", exc.message)

    async def _retire(self) -> None:
        """Close pooled connections that idled too long, about once a second."""
        while True:
            await asyncio.sleep(1.0)
            for pool in list(self._pools.values()):
                pool.retire_idle()

    def _spawn_task(self, coroutine: "asyncio._CoroutineLike[None]") -> "asyncio.Task[None]":
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def absence(model_id: str, model: Model) -> str:
    """That a model's weights are not here, and what to do about it."""
    scheme, _, name = model.source.partition(":")
    ways = {"file": "`rolecast check` says why", "ollama": f"run `ollama pull {name}`"}
    bring = ways.get(scheme, f"run `rolecast pull {model_id}`")
    return f"the weights of {model_id} are not here; {bring}."


def _measure(children: list[tuple[str, process.Child]]) -> dict[str, int]:
    return {model_id: child.rss_bytes() for model_id, child in children}


def _describe_exit(code: int, tail: list[str]) -> str:
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    last = next((line.strip() for line in reversed(tail) if line.strip()), "")
    return f"its worker {how}" + (f"; its last words: {last[:300]}." if last and code > 0 else ".")


__all__ = ["Fleet", "Lease", "State", "absence"]
