"""What happens to workers: every decision of the fleet, as a deterministic state machine without I/O.

An event and the time go in, effects come out; `fleet.Fleet` owns the machine and carries the effects out.
So all of this is tested on virtual time, without processes. It decides per model; what fits in memory and
who is evicted is another pure function that will join `_start`.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from rolecast.config.schema import Model
from rolecast.errors import Busy, Conflict, LoadFailed, RolecastError, UpstreamTimeout, WorkerDown
from rolecast.fleet import queue
from rolecast.fleet.queue import Waiter
from rolecast.fleet.worker import State, Worker
from rolecast.values import Endpoint

BACKOFF_S = (0.0, 0.5, 2.0, 8.0, 30.0, 60.0)
"""Wait before the n-th restart in a row; the first one is immediate."""
BREAKER = 3
"""After so many faults in a row, waiting requests are refused until the next try."""
EDITED = "its settings changed"
STABLE_S = 60.0
"""A worker that ran this long is healthy: its failures are forgotten."""


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
    slots: int = 1
    """How many were given with it: none for a plain load, all of them for a request that runs alone."""


class Refuse(msgspec.Struct, frozen=True):
    ticket: Any
    error: RolecastError


class Forget(msgspec.Struct, frozen=True):
    """The model left the configuration and nothing of it runs any more."""

    model: str


Effect = Spawn | Kill | Grant | Refuse | Forget


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

    def want(
        self,
        model: str,
        ticket: Any,
        now: float,
        deadline: float,
        *,
        holds: bool = True,
        again: int = 0,
        alone: bool = False,
    ) -> list[Effect]:
        """A request wants a slot (or, with holds=False, only that the model is loaded); for the rest see `Waiter`."""
        w = self.workers[model]
        w.last_used = now
        if w.state is State.FAILED and (not holds or not w.faults):
            w.retry_at = now  # somebody wants the model itself, perhaps because it was mended; or it was only killed
        serving = w.state in (State.READY, State.REMOTE)
        if serving and not holds:
            return [Grant(model, ticket, 0)]
        if serving and w.active < w.parallel and not w.waiting and not alone:
            w.active += 1
            return [Grant(model, ticket)]
        if w.state is State.FAILED and w.faults >= BREAKER and now < w.retry_at:
            return [Refuse(ticket, self._broken(w, now))]
        if len(w.waiting) >= w.queue_limit and not again:  # who had a slot already keeps its place
            busy = f"{model} is busy: {w.active} running and {len(w.waiting)} waiting. Try again shortly."
            return [Refuse(ticket, Busy(busy, retry_after=1.0, code="queue_full"))]
        queue.join(w.waiting, Waiter(ticket, deadline, holds, again, alone))
        return self._serve(w) if serving else self._start(w, now)

    def drop(self, model: str, ticket: Any) -> list[Effect]:
        """A waiting request was given up by its client."""
        w = self.workers.get(model)
        if w is None:
            return []
        queue.leave(w.waiting, ticket)
        return self._serve(w) if w.state in (State.READY, State.REMOTE) else []

    def released(self, model: str, generation: int, now: float, slots: int = 1) -> list[Effect]:
        """A lease of so many slots ended. A lease of an earlier generation died with its worker."""
        w = self.workers.get(model)
        if w is None or generation != w.generation or w.active == 0:
            return []
        w.active = max(0, w.active - slots)
        w.last_used = now
        if w.state is State.DRAINING:
            return self._stop(w, w.why) if not w.active else []
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

    def ended(
        self, model: str, generation: int, error: str, now: float, *, may_start: bool = True, killed: bool = False
    ) -> list[Effect]:
        """A worker is gone: it failed to load, died, or was stopped as asked.

        With `may_start` false nothing was tried, because something is missing that only a person can bring: the
        next request looks again at once. `killed` says that somebody else ended it, which says nothing of the model.
        """
        w = self.workers[model]
        if generation != w.generation:
            return []
        asked, was_ready = w.state in (State.STOPPING, State.DRAINING), w.state is State.READY
        used = was_ready and (w.active > 0 or w.last_used > w.loaded_at)
        w.active, w.endpoint, w.killed = 0, None, killed
        if asked:
            w.state = State.COLD
            return self._start(w, now) if w.waiting or w.wanted else []
        if w.leaving or not may_start:
            w.error, w.state, w.retry_at, w.wanted = error, State.COLD, now, False
            return self._refuse_all(w, now)
        self._judge(w, now, was_ready=was_ready, used=used)
        w.error, w.state = error, State.FAILED
        w.retry_at = now + BACKOFF_S[min(max(w.failures - 1, 0), len(BACKOFF_S) - 1)]
        hopeless = w.faults >= BREAKER or not (was_ready or killed)
        refused = self._refuse_all(w, now) if hopeless else []
        w.wanted = w.wanted or was_ready  # it was serving: bring it back without being asked
        return [*refused, *(self._start(w, now) if w.wanted or w.waiting else [])]

    def unload(self, model: str, now: float, why: str = "asked to") -> list[Effect]:
        """Stop the worker; running requests are cut off by the caller's choice.

        A plain load is called off; a request that waits gets a new worker.
        """
        w = self.workers[model]
        w.wanted = False
        called_off = queue.take(w.waiting, lambda x: not x.holds)
        effects: list[Effect] = [Refuse(x.ticket, _called_off(model)) for x in called_off]
        if w.state is State.FAILED:
            w.state, w.failures, w.faults = State.COLD, 0, 0
            return effects + (self._start(w, now) if w.waiting else [])
        return effects + (self._stop(w, why) if w.state in (State.READY, State.LOADING, State.DRAINING) else [])

    def keep(self, model: str, seconds: float) -> list[Effect]:
        """Let the worker stay so long after its last request, until its end or another word; infinity = for good.

        One that is pinned, remote or about to leave anyway goes by that.
        """
        w = self.workers.get(model)
        if w is not None and not w.leaving and w.state in (State.READY, State.LOADING):
            w.keep(seconds)
        return []

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
                why = "no longer in the configuration" if w.leaving else f"idle for {w.idle_timeout_s:g} s"
                effects += self.unload(w.model_id, now, why)
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
                times.append(queue.next_deadline(w.waiting))
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
            if not w.leaving:
                w.keep(None)
            w.state, w.started_at, w.wanted = State.LOADING, now, w.pinned
            return [Spawn(w.model_id, w.generation)]
        return []

    def _stop(self, w: Worker, why: str) -> list[Effect]:
        w.state, w.endpoint, w.why = State.STOPPING, None, why
        return [Kill(w.model_id, w.generation)]

    @staticmethod
    def _judge(w: Worker, now: float, *, was_ready: bool, used: bool) -> None:
        """Count the end of a worker against its model, or not: one that gave an answer is no crash loop."""
        if w.answered == w.generation or (was_ready and now - w.loaded_at >= STABLE_S):
            w.failures, w.faults = 1, 0
        elif w.alone != w.generation:  # else it speaks against the request that ran alone
            w.failures += 1
            w.faults += used or not was_ready

    def _replace(self, w: Worker, now: float) -> list[Effect]:
        if w.state is State.REMOTE:  # no process to wait for; what runs there ends where it is
            w.generation += 1
            w.active, w.endpoint, w.state = 0, None, State.COLD
            return []  # to be attached again, or woken when it is ours to start now
        if w.state is State.FAILED:  # perhaps this edit mends it
            w.state, w.failures, w.faults, w.error = State.COLD, 0, 0, ""
            return self._start(w, now) if w.waiting or w.wanted else []
        if w.state is State.READY:
            w.wanted, w.endpoint, w.state, w.why = True, None, State.DRAINING, EDITED
            return self._stop(w, EDITED) if not w.active else []
        if w.state is State.LOADING:
            w.wanted = True
            return self._stop(w, EDITED)
        return []

    @staticmethod
    def _has_left(w: Worker) -> bool:
        return w.leaving and not w.active and not w.waiting and w.state in (State.COLD, State.FAILED, State.REMOTE)

    def _serve(self, w: Worker) -> list[Effect]:
        effects: list[Effect] = []
        while w.waiting:
            slots = self._slots(w, w.waiting[0])
            if slots is None:
                break
            w.active += slots
            effects.append(Grant(w.model_id, w.waiting.popleft().ticket, slots))
        return effects

    @staticmethod
    def _slots(w: Worker, first: Waiter) -> int | None:
        """How many slots the first in line gets now; None when it has to wait.

        To run alone tells something only on a worker that has answered nobody yet; later it is one of many.
        """
        if not first.holds:
            return 0
        if not first.alone or w.answered == w.generation or w.state is State.REMOTE:
            return 1 if w.active < w.parallel else None
        if w.active:
            return None
        w.alone = w.generation
        return w.parallel

    def _expire(self, w: Worker, now: float) -> list[Effect]:
        late = queue.take(w.waiting, lambda x: x.deadline <= now)
        if not late:
            return []
        serving = w.state in (State.READY, State.REMOTE)
        error: RolecastError
        if serving or w.state is State.DRAINING:
            error = Busy(f"No slot of {w.model_id} became free in time.", retry_after=5.0, code="queue_timeout")
        else:
            last = f" The last try: {w.error}" if w.error else ""
            text = f"{w.model_id} did not finish loading in time; see `rolecast logs {w.model_id}`.{last}"
            error = UpstreamTimeout(text)
        return [*(Refuse(x.ticket, error) for x in late), *(self._serve(w) if serving else [])]

    def _refuse_all(self, w: Worker, now: float) -> list[Effect]:
        refused: list[Effect] = [Refuse(x.ticket, self._broken(w, now)) for x in w.waiting]
        w.waiting.clear()
        return refused

    def _broken(self, w: Worker, now: float) -> RolecastError:
        wait = max(0.0, w.retry_at - now)
        what = "could not be started" if w.loaded_at < w.started_at or not w.loaded_at else "ends before it answers"
        text = f"{w.model_id} {what}: {w.error} See `rolecast logs {w.model_id}`."
        if w.failures > 1:
            text += f" Failed {w.failures} times in a row; next try in {max(1.0, wait):.0f} s."
        kind = LoadFailed if not w.loaded_at else WorkerDown
        return kind(text, retry_after=max(1.0, wait))
