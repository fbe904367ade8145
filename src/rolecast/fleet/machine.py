"""What happens to workers: every decision of the fleet, as a deterministic state machine without I/O.

An event and the time go in, effects come out; `fleet.Fleet` owns the machine and carries the effects out.
So all of this is tested on virtual time, without processes. Here is what concerns one model; who is loaded and who
makes room, which concerns all of them, is `residency`'s, after each event.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from rolecast.config.schema import Model
from rolecast.fleet import copies, queue, refusals
from rolecast.fleet.asleep import Asleep
from rolecast.fleet.effects import Effect, Forget, Grant, Kill, Refuse
from rolecast.fleet.queue import Waiter
from rolecast.fleet.rooms import Sizes
from rolecast.fleet.worker import State, Worker
from rolecast.footprint import Footprint
from rolecast.values import Endpoint

BACKOFF_S = (0.0, 0.5, 2.0, 8.0, 30.0, 60.0)
"""Wait before the n-th restart in a row; the first one is immediate."""
BY_OTHERS = 0.5
"""So much of a fault is the end of a worker that somebody else killed: it says little of the model."""
EDITED = "its settings changed"
RENEWED = "a fresh worker was asked for"
LOOKS_S = 1.0
"""Of a worker on which somebody waits to be alone, it is looked so often whether it has answered: nobody tells."""
STABLE_S = 60.0
"""A worker that ran this long is healthy: its failures are forgotten."""


class Machine(Asleep):
    """All workers and the rules by which they change."""

    def __init__(
        self, models: Iterable[tuple[str, Model]], queue_limit: int, sizes: Sizes = lambda model: Footprint()
    ) -> None:
        super().__init__(models, queue_limit, sizes)
        self._forgotten: dict[str, int] = {}  # last generation of models that left: no lease of one is its successor's

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
        key: str = "",
        rank: int = 0,
    ) -> list[Effect]:
        """A request wants a slot (or, with holds=False, only that the model is loaded); for the rest see `Waiter`."""
        w = self.workers[model]
        if w.copies is not None:
            w = w.copies.best()
        w.last_used = now
        if w.state is State.FAILED and (not holds or not w.faults):
            w.retry_at = now  # somebody wants the model itself, perhaps because it was mended; or it was only killed
        serving = w.state in (State.READY, State.REMOTE)
        if serving and not holds:
            return [Grant(w.model_id, ticket, 0)]
        if serving and w.active < w.parallel and not w.waiting and not alone:
            w.active += 1
            return [Grant(w.model_id, ticket)]
        if w.state is State.FAILED and w.broken and now < w.retry_at:
            return [Refuse(ticket, refusals.broken(w, now))]
        effects: list[Effect] = []
        if len(w.waiting) >= w.queue_limit and not again:  # who had a slot already keeps its place
            effects.append(refused := self._overfull(w, ticket, key, rank, now))
            if refused.ticket is ticket:
                return self._then([*effects, *self._wake(w, now)], now) if w.state is State.FAILED else effects
        w.line.overdue_s = self.rooms.terms.overdue_s
        w.line.join(Waiter(ticket, deadline, holds, again, alone, now, key, rank))
        return self._then(effects + (self._serve(w, now) if serving else self._wake(w, now)), now)

    def drop(self, model: str, ticket: Any) -> list[Effect]:
        """A waiting request was given up by its client."""
        w = self.workers.get(model)
        if w is None:
            return []
        queue.leave(w.waiting, ticket)
        w.last_used = max(w.last_used, self._now)
        return self._then(self._serve(w, self._now), self._now)

    def released(self, model: str, generation: int, now: float, slots: int = 1) -> list[Effect]:
        """A lease of so many slots ended. A lease of an earlier generation died with its worker."""
        w = self.workers.get(model)
        if w is None or generation != w.generation or w.active == 0:
            return []
        w.active = max(0, w.active - slots)
        w.last_used = now
        if w.state is State.DRAINING:
            return self._then(self._stop(w, w.why) if not w.active else [], now)
        return self._then(self._serve(w, now), now)

    # -- workers ------------------------------------------------------------------------------------------

    def loaded(self, model: str, generation: int, endpoint: Endpoint, now: float) -> list[Effect]:
        """A worker answered its health check."""
        w = self.workers[model]
        if generation != w.generation or w.state is not State.LOADING:
            return []
        w.state, w.endpoint, w.loaded_at, w.last_used, w.error = State.READY, endpoint, now, now, ""
        w.load_s = now - w.started_at
        return self._then(self._serve(w, now), now)

    def attached(self, model: str, endpoint: Endpoint) -> list[Effect]:
        """The model is served elsewhere; nothing to start or stop."""
        w = self.workers[model]
        w.generation += w.state is State.COLD and w.generation > 0  # a lease of who ran here is none of it
        w.state, w.endpoint, w.error = State.REMOTE, endpoint, ""
        w.elsewhere()
        self.rooms.ended(w, freed=True)  # it was admitted before it turned out to run elsewhere
        return self._then(self._serve(w, self._now), self._now)

    def ended(
        self,
        model: str,
        generation: int,
        error: str,
        now: float,
        *,
        may_start: bool = True,
        killed: bool = False,
        freed: bool = True,
    ) -> list[Effect]:
        """A worker is gone: it failed to load, died, or was stopped as asked.

        With `may_start` false nothing was tried, because something is missing that only a person can bring: the
        next request looks again at once. `killed` says that somebody else ended it, which says nothing of the model.
        `freed` says whether its memory is free by now; else `freed` is called when it is.
        """
        w = self.workers[model]
        if generation != w.generation:
            return []
        self.rooms.ended(w, freed=freed)
        self._open(w)
        return self._then(self._after_end(w, error, now, may_start=may_start, killed=killed), now)

    def pin(self, model: str, pinned: bool, now: float) -> list[Effect]:
        """Let it stay for good, and be loaded, or leave when it is idle; until its setting says something new."""
        w = self.workers[model]
        if w.leaving:
            return []
        w.pinned_by_hand = w.pinned = pinned
        if not pinned and w.state is State.READY:
            w.last_used = now
        w.keep(w.kept_s)
        w.wanted = pinned and w.state in (State.COLD, State.FAILED)
        return self._then(self._wake(w, now) if w.wanted else self._lie(w, now), now)

    def renew(self, model: str, now: float, why: str = RENEWED) -> list[Effect]:
        """A fresh worker in place of the one that runs, which takes no new request and ends those it has."""
        w = self.workers[model]
        return [] if w.state is State.REMOTE else self._then(self._replace(w, now, why), now)

    def _after_end(self, w: Worker, error: str, now: float, *, may_start: bool, killed: bool) -> list[Effect]:
        if w.state is State.ASLEEP or self._is_waking(w):
            return self._after_sleep(w, error, now)
        asked, was_ready = w.state in (State.STOPPING, State.DRAINING), w.state is State.READY
        used = was_ready and (w.active > 0 or w.last_used > w.loaded_at)
        w.active, w.endpoint = 0, None
        if asked:
            w.state, w.left_at = State.COLD, now
            return self._wake(w, now)
        if w.leaving or not may_start:
            w.error, w.state, w.retry_at, w.wanted = error, State.COLD, now, False
            return [*self._refuse_all(w, now), *self._wake(w, now)]
        self._judge(w, now, was_ready=was_ready, used=used, killed=killed)
        w.error, w.state = error, State.FAILED
        w.retry_at = now + BACKOFF_S[min(max(w.failures - 1, 0), len(BACKOFF_S) - 1)]
        hopeless = w.broken or not (was_ready or killed)
        refused = self._refuse_all(w, now) if hopeless else []
        w.wanted = w.wanted or (was_ready and not w.later)  # it was serving: bring it back without being asked
        return [*refused, *self._wake(w, now)]

    def unload(self, model: str, now: float, why: str = "asked to", *, gently: bool = False) -> list[Effect]:
        """Stop the worker: running requests are cut off, or end first if it is done `gently`.

        A plain load is called off; a request that waits gets a new worker.
        """
        w = self.workers[model]
        w.wanted = False
        called_off = queue.take(w.waiting, lambda x: not x.holds)
        effects: list[Effect] = [Refuse(x.ticket, refusals.called_off(model)) for x in called_off]
        if w.state is State.FAILED:
            w.state, w.failures, w.faults = State.COLD, 0, 0
            return self._then(effects + self._wake(w, now), now)
        if gently and w.active and w.state in (State.READY, State.DRAINING):
            self._open(w)
            w.endpoint, w.state, w.why = None, State.DRAINING, why
        elif w.state in (State.READY, State.LOADING, State.DRAINING, State.ASLEEP):
            effects += self._stop(w, why)
        return self._then(effects, now)

    def replace(self, model: str, generation: int, why: str, now: float) -> list[Effect]:
        """End a worker that is stuck, at once, and start another one; it gets no request any more."""
        w = self.workers.get(model)
        if w is None or w.generation != generation or w.state not in (State.READY, State.DRAINING):
            return []
        w.wanted, w.restarts = not (w.leaving or w.leaves_for or w.later), w.restarts + 1
        self._open(w)
        w.state, w.endpoint, w.why = State.STOPPING, None, why
        return self._then([Kill(model, generation, at_once=True)], now)

    def keep(self, model: str, seconds: float) -> list[Effect]:
        """Let the worker stay so long after its last request, until its end or another word; infinity = for good.

        One that is pinned, remote or about to leave anyway goes by that.
        """
        w = self.workers.get(model)
        for each in w.copies.kept(seconds) if w is not None and w.copies is not None else [w]:
            if each is not None and not each.leaving and each.state in (State.READY, State.LOADING, State.ASLEEP):
                each.keep(seconds)
        return []

    def adopt(self, models: Mapping[str, Model], queue_limit: int) -> None:
        """Give a worker to those that are new. Nobody asks it before `configure`."""
        for model_id in [each for each in models if each not in self.workers]:
            worker = self.workers[model_id] = Worker(model_id, models[model_id], queue_limit)
            worker.generation = self._forgotten.pop(model_id, -1) + 1

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
        self.rooms.forget()
        effects: list[Effect] = []
        for model_id, w in self.workers.items():
            if model_id not in models:
                w.leave()
            else:
                w.leaving = False
        self.adopt(models, queue_limit)
        copies.link(self.workers)
        for model_id, model in models.items():
            known = self.workers[model_id]
            known.set(model, queue_limit)
            if known.state is State.REMOTE and model_id not in stale:
                known.elsewhere()
            if model_id in lasting and known.state not in (State.COLD, State.READY, State.REMOTE, State.ASLEEP):
                known.wanted = True
                effects += self._wake(known, now)
            effects += self._lie(known, now)
            if model_id in stale:
                effects += self._replace(known, now)
            elif known.state in (State.READY, State.REMOTE):  # perhaps it has more slots now
                effects += self._serve(known, now)
        return self._then(effects, now)

    def wake(self, model: str, now: float) -> list[Effect]:
        """Start a model that somebody waits for."""
        w = self.workers[model]
        return self._then(self._wake(w, now) if w.waiting else [], now)

    def tick(self, now: float) -> list[Effect]:
        """Time passed: overdue waiters, idle workers, restarts that are due."""
        effects: list[Effect] = []
        for w in self.workers.values():
            effects += self._expire(w, now)
            if w.state is State.FAILED and now >= w.retry_at:
                effects += self._wake(w, now)
            effects += self._serve(w, now) if w.state is State.READY else []  # nobody tells that it answered
            rests = w.state in (State.READY, State.ASLEEP) and not w.active and not w.waiting
            if rests and w.idles and now >= w.last_used + w.idle_timeout_s:
                why = "no longer in the configuration" if w.leaving else f"idle for {w.idle_timeout_s:g} s"
                effects += self.unload(w.model_id, now, why)
            elif rests:
                effects += self._drowse(w, now)
        for w in [w for w in self.workers.values() if w.has_left]:
            del self.workers[w.model_id]
            self._forgotten[w.model_id] = w.generation
            effects.append(Forget(w.model_id))
            copies.link(self.workers)
        return self._then(effects, now)

    def next_deadline(self) -> float:
        """When `tick` has something to do next; infinity when nothing is pending."""
        times = [self.rooms.look_at]
        for w in self.workers.values():
            if w.waiting:
                times.append(queue.next_deadline(w.waiting))
                times += [self._now + LOOKS_S] if w.active and any(x.alone for x in w.waiting) else []
            tries = w.state is State.FAILED and (w.wanted or w.waiting) and w.model_id not in self.rooms.claiming
            if tries and (w.copies is None or w.retry_at > self._now):  # else it was looked whether it is needed
                times.append(w.retry_at)
            times.append(self._rests_until(w))
            if w.has_left:
                times.append(w.last_used)
        return min(times)

    # -- rules --------------------------------------------------------------------------------------------

    @staticmethod
    def _judge(w: Worker, now: float, *, was_ready: bool, used: bool, killed: bool) -> None:
        """Count the end of a worker against its model, or not: one that gave an answer is no crash loop."""
        if w.answered == w.generation or (was_ready and now - w.loaded_at >= STABLE_S):
            w.failures, w.faults = 1, 0
        elif w.alone != w.generation:  # else it speaks against the request that ran alone
            w.failures += 1
            w.faults += (BY_OTHERS if killed else 1) * (used or not was_ready)

    def _replace(self, w: Worker, now: float, why: str = EDITED) -> list[Effect]:
        if w.state is State.REMOTE:  # no process to wait for; what runs there ends where it is
            w.generation += 1
            w.active, w.endpoint, w.state = 0, None, State.COLD
            return []  # to be attached again, or woken when it is ours to start now
        if w.state is State.FAILED:  # perhaps this edit mends it
            w.state, w.failures, w.faults, w.error = State.COLD, 0, 0, ""
            return self._wake(w, now)
        if w.state is State.READY or w.leaves_for:
            self._open(w)
            w.wanted, w.endpoint, w.state, w.why = not w.later, None, State.DRAINING, why
            return self._stop(w, why) if not w.active else []
        if w.state in (State.LOADING, State.ASLEEP):
            w.wanted = w.pinned or (w.state is State.LOADING and not w.later)
            return self._stop(w, why)
        return []
