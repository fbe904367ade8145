"""What happens to workers: every decision of the fleet, as a deterministic state machine without I/O.

An event and the time go in, effects come out; `fleet.Fleet` owns the machine and carries the effects out.
So all of this is tested on virtual time, without processes. It decides per model; what fits in memory and
who is evicted is another pure function that will join `_start`.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from rolecast.config.schema import Model
from rolecast.errors import Busy, Conflict, LoadFailed, RolecastError, UpstreamTimeout, WorkerDown
from rolecast.values import Endpoint

BACKOFF_S = (0.0, 0.5, 2.0, 8.0, 30.0, 60.0)
"""Wait before the n-th restart in a row; the first one is immediate."""
BREAKER = 3
"""After so many failures in a row, waiting requests are refused until the next try."""
STABLE_S = 60.0
"""A worker that ran this long is healthy: its failures are forgotten."""


class State(StrEnum):
    COLD = "cold"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    """Finishes what it runs; stopped after that, because its settings changed."""
    STOPPING = "stopping"
    FAILED = "failed"
    REMOTE = "remote"


# -- effects ---------------------------------------------------------------------------------------------


class Spawn(msgspec.Struct, frozen=True):
    model: str
    generation: int


class Kill(msgspec.Struct, frozen=True):
    model: str
    generation: int


class Grant(msgspec.Struct, frozen=True):
    model: str
    ticket: Any
    holds: bool = True
    """Whether a slot was given with it."""


class Refuse(msgspec.Struct, frozen=True):
    ticket: Any
    error: RolecastError


class Forget(msgspec.Struct, frozen=True):
    """The model left the configuration and nothing of it runs any more."""

    model: str


Effect = Spawn | Kill | Grant | Refuse | Forget


class Waiter(msgspec.Struct):
    """A request in line. `holds` is False for a plain load, which takes no slot."""

    ticket: Any
    deadline: float
    holds: bool = True


class Worker:
    """State of one model's worker. Written only by the machine, except `active` and `last_used`,
    which the fleet's synchronous lease path also counts."""

    __slots__ = (
        "active",
        "endpoint",
        "error",
        "failures",
        "generation",
        "idle_timeout_s",
        "idles",
        "last_used",
        "leaving",
        "loaded_at",
        "model_id",
        "parallel",
        "pinned",
        "queue_limit",
        "restarts",
        "retry_at",
        "started_at",
        "state",
        "waiting",
        "wanted",
    )

    def __init__(self, model_id: str, model: Model, queue_limit: int) -> None:
        self.model_id = model_id
        self.set(model, queue_limit)
        self.state = State.COLD
        self.generation = 0
        self.endpoint: Endpoint | None = None
        self.active = 0
        self.waiting: deque[Waiter] = deque()
        self.last_used = 0.0
        self.started_at = 0.0
        self.loaded_at = 0.0
        self.retry_at = 0.0
        self.failures = 0
        self.restarts = 0
        self.wanted = model.pinned
        self.error = ""
        self.leaving = False
        """No longer configured: it ends with the requests it has."""

    def set(self, model: Model, queue_limit: int) -> None:
        """Take over the settings that need no new process."""
        self.parallel = model.parallel
        self.pinned = model.pinned
        self.idle_timeout_s = float(model.idle_timeout)
        self.idles = not model.pinned and self.idle_timeout_s > 0
        self.queue_limit = queue_limit


def _called_off(model: str) -> Conflict:
    return Conflict(
        f"{model} was unloaded while it loaded; load it again if that was not meant.", code="load_called_off"
    )


class Machine:
    """All workers and the rules by which they change."""

    def __init__(self, models: Iterable[tuple[str, Model]], queue_limit: int) -> None:
        self.workers = {i: Worker(i, m, queue_limit) for i, m in models}
        self._forgotten: dict[str, int] = {}
        """Last generation of models that left: a lease of one must not be taken for a lease of its successor."""

    # -- requests -----------------------------------------------------------------------------------------

    def want(self, model: str, ticket: Any, now: float, deadline: float, *, holds: bool = True) -> list[Effect]:
        """A request wants a slot (or, with holds=False, only that the model is loaded)."""
        w = self.workers[model]
        w.last_used = now
        if w.state is State.FAILED and not holds:
            w.retry_at = now  # somebody wants the model itself, perhaps because it was mended
        serving = w.state in (State.READY, State.REMOTE)
        if serving and not holds:
            return [Grant(model, ticket, holds)]
        if serving and w.active < w.parallel and not w.waiting:
            w.active += 1
            return [Grant(model, ticket)]
        if w.state is State.FAILED and w.failures >= BREAKER and now < w.retry_at:
            return [Refuse(ticket, self._broken(w, now))]
        if len(w.waiting) >= w.queue_limit:
            busy = f"{model} is busy: {w.active} running and {len(w.waiting)} waiting. Try again shortly."
            return [Refuse(ticket, Busy(busy, retry_after=1.0, code="queue_full"))]
        w.waiting.append(Waiter(ticket, deadline, holds))
        return self._start(w, now)

    def drop(self, model: str, ticket: Any) -> list[Effect]:
        """A waiting request was given up by its client."""
        if w := self.workers.get(model):
            w.waiting = deque(x for x in w.waiting if x.ticket is not ticket)
        return []

    def released(self, model: str, generation: int, now: float) -> list[Effect]:
        """A lease ended. A lease of an earlier generation died with its worker."""
        w = self.workers.get(model)
        if w is None or generation != w.generation or w.active == 0:
            return []
        w.active -= 1
        w.last_used = now
        if w.state is State.DRAINING:
            return self._stop(w) if not w.active else []
        return self._serve(w) if w.state is not State.STOPPING else []

    # -- workers ------------------------------------------------------------------------------------------

    def loaded(self, model: str, generation: int, endpoint: Endpoint, now: float) -> list[Effect]:
        """A worker answered its health check."""
        w = self.workers[model]
        if generation != w.generation or w.state is not State.LOADING:
            return []
        w.state, w.endpoint, w.loaded_at, w.last_used, w.error = State.READY, endpoint, now, now, ""
        return self._serve(w)

    def attached(self, model: str, endpoint: Endpoint) -> list[Effect]:
        """The model is served elsewhere; nothing to start or stop."""
        w = self.workers[model]
        w.state, w.endpoint, w.idles, w.error = State.REMOTE, endpoint, w.leaving, ""
        return self._serve(w)

    def ended(self, model: str, generation: int, error: str, now: float, *, may_start: bool = True) -> list[Effect]:
        """A worker is gone: it failed to load, died, or was stopped as asked.

        With `may_start` false nothing was tried, because something is missing that only a person can bring: the
        next request looks again at once.
        """
        w = self.workers[model]
        if generation != w.generation:
            return []
        asked, was_ready = w.state in (State.STOPPING, State.DRAINING), w.state is State.READY
        w.active, w.endpoint = 0, None
        if asked:
            w.state = State.COLD
            return self._start(w, now) if w.waiting or w.wanted else []
        if w.leaving or not may_start:
            w.error, w.state, w.retry_at, w.wanted = error, State.COLD, now, False
            return self._refuse_all(w, now)
        if was_ready and now - w.loaded_at >= STABLE_S:
            w.failures = 0
        w.failures += 1
        w.error, w.state = error, State.FAILED
        w.retry_at = now + BACKOFF_S[min(w.failures - 1, len(BACKOFF_S) - 1)]
        if w.failures >= BREAKER or not was_ready:
            refused = self._refuse_all(w, now)
            w.wanted = w.wanted or was_ready
            return [*refused, *self._start(w, now)] if w.wanted else refused
        w.wanted = True  # it was serving: bring it back without being asked
        return self._start(w, now)

    def unload(self, model: str, now: float) -> list[Effect]:
        """Stop the worker; running requests are cut off by the caller's choice.

        A plain load is called off; a request that waits gets a new worker.
        """
        w = self.workers[model]
        w.wanted = False
        effects: list[Effect] = [Refuse(x.ticket, _called_off(model)) for x in w.waiting if not x.holds]
        w.waiting = deque(x for x in w.waiting if x.holds)
        if w.state is State.FAILED:
            w.state, w.failures = State.COLD, 0
            return effects + (self._start(w, now) if w.waiting else [])
        return effects + (self._stop(w) if w.state in (State.READY, State.LOADING, State.DRAINING) else [])

    def configure(
        self,
        models: Mapping[str, Model],
        queue_limit: int,
        stale: Collection[str],
        lasting: Collection[str],
        now: float,
    ) -> list[Effect]:
        """Other settings apply. Models that are new get a worker, those that are gone leave when they are idle.

        A `stale` one, whose process or address no longer fits its settings, takes no new request; it is replaced
        when those it has are done, which wait or run on as they are. `lasting` ones shall be up unasked.
        """
        effects: list[Effect] = []
        for model_id, w in self.workers.items():
            if model_id not in models:
                w.leaving, w.idles, w.pinned, w.wanted, w.idle_timeout_s = True, True, False, False, 0.0
        for model_id, model in models.items():
            known = self.workers.get(model_id)
            if known is None:
                worker = self.workers[model_id] = Worker(model_id, model, queue_limit)
                worker.generation = self._forgotten.pop(model_id, -1) + 1
                continue
            known.leaving = False
            known.set(model, queue_limit)
            if known.state is State.REMOTE and model_id not in stale:
                known.idles = False
            if model_id in lasting and known.state not in (State.COLD, State.READY, State.REMOTE):
                known.wanted = True
            if model_id in stale:
                effects += self._replace(known, now)
            elif known.state in (State.READY, State.REMOTE):  # perhaps it has more slots now
                effects += self._serve(known)
        return effects

    def wake(self, model: str, now: float) -> list[Effect]:
        """Start a model that somebody waits for."""
        w = self.workers[model]
        return self._start(w, now) if w.waiting else []

    def tick(self, now: float) -> list[Effect]:
        """Time passed: overdue waiters, idle workers, restarts that are due."""
        effects: list[Effect] = []
        for w in self.workers.values():
            effects += self._expire(w, now)
            if w.state is State.FAILED and now >= w.retry_at and (w.wanted or w.waiting):
                effects += self._start(w, now)
            idle = w.idles and w.state is State.READY and not w.active and not w.waiting
            if idle and now >= w.last_used + w.idle_timeout_s:
                effects += self.unload(w.model_id, now)
        for w in [w for w in self.workers.values() if self._has_left(w)]:
            del self.workers[w.model_id]
            self._forgotten[w.model_id] = w.generation
            effects.append(Forget(w.model_id))
        return effects

    def next_deadline(self) -> float:
        """When `tick` has something to do next; infinity when nothing is pending."""
        times = [float("inf")]
        for w in self.workers.values():
            if w.waiting:
                times.append(min(x.deadline for x in w.waiting))
            if w.state is State.FAILED and (w.wanted or w.waiting):
                times.append(w.retry_at)
            if w.idles and w.state is State.READY and not w.active:
                times.append(w.last_used + w.idle_timeout_s)
            if self._has_left(w):
                times.append(w.last_used)
        return min(times)

    # -- rules --------------------------------------------------------------------------------------------

    def _start(self, w: Worker, now: float) -> list[Effect]:
        if w.state is State.COLD or (w.state is State.FAILED and now >= w.retry_at):
            if w.state is State.FAILED:
                w.restarts += 1
            w.generation += 1
            w.state, w.started_at, w.wanted = State.LOADING, now, w.pinned
            return [Spawn(w.model_id, w.generation)]
        return []

    def _stop(self, w: Worker) -> list[Effect]:
        w.state, w.endpoint = State.STOPPING, None
        return [Kill(w.model_id, w.generation)]

    def _replace(self, w: Worker, now: float) -> list[Effect]:
        if w.state is State.REMOTE:  # no process to wait for; what runs there ends where it is
            w.generation += 1
            w.active, w.endpoint, w.state = 0, None, State.COLD
            return []  # to be attached again, or woken when it is ours to start now
        if w.state is State.FAILED:  # perhaps this edit mends it
            w.state, w.failures, w.error = State.COLD, 0, ""
            return self._start(w, now) if w.waiting or w.wanted else []
        if w.state is State.READY:
            w.wanted, w.endpoint, w.state = True, None, State.DRAINING
            return self._stop(w) if not w.active else []
        if w.state is State.LOADING:
            w.wanted = True
            return self._stop(w)
        return []

    @staticmethod
    def _has_left(w: Worker) -> bool:
        return w.leaving and not w.active and not w.waiting and w.state in (State.COLD, State.FAILED, State.REMOTE)

    def _serve(self, w: Worker) -> list[Effect]:
        effects: list[Effect] = []
        while w.waiting and (not w.waiting[0].holds or w.active < w.parallel):
            waiter = w.waiting.popleft()
            w.active += waiter.holds
            effects.append(Grant(w.model_id, waiter.ticket, waiter.holds))
        return effects

    def _expire(self, w: Worker, now: float) -> list[Effect]:
        late = [x for x in w.waiting if x.deadline <= now]
        if not late:
            return []
        w.waiting = deque(x for x in w.waiting if x.deadline > now)
        loading = w.state not in (State.READY, State.REMOTE, State.DRAINING)
        error: RolecastError
        if loading:
            error = UpstreamTimeout(f"{w.model_id} did not finish loading in time; see `rolecast logs {w.model_id}`.")
        else:
            error = Busy(f"No slot of {w.model_id} became free in time.", retry_after=5.0, code="queue_timeout")
        return [Refuse(x.ticket, error) for x in late]

    def _refuse_all(self, w: Worker, now: float) -> list[Effect]:
        refused: list[Effect] = [Refuse(x.ticket, self._broken(w, now)) for x in w.waiting]
        w.waiting.clear()
        return refused

    def _broken(self, w: Worker, now: float) -> RolecastError:
        wait = max(0.0, w.retry_at - now)
        text = f"{w.model_id} could not be started: {w.error} See `rolecast logs {w.model_id}`."
        if w.failures > 1:
            text += f" Failed {w.failures} times in a row; next try in {wait:.0f} s."
        kind = LoadFailed if not w.loaded_at else WorkerDown
        return kind(text, retry_after=max(1.0, wait))
