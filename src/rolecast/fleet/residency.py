"""Who is loaded, who is closed and who leaves: what a decision about memory does to workers, and who is served.

The rules are `admission.decide`'s, over what `rooms.Rooms` knows. Who of a line is served is `serving`'s, what happens
to one model, and why, `machine`'s.
"""

from rolecast.fleet import refusals
from rolecast.fleet.admission import QUIET_S
from rolecast.fleet.effects import Effect, Kill, Refuse, Spawn, Wake
from rolecast.fleet.serving import Serving
from rolecast.fleet.worker import State, Worker
from rolecast.footprint import Footprint
from rolecast.values import Endpoint


class Residency(Serving):
    """All workers, and the memory that they share."""

    def freed(self, model: str, generation: int, now: float) -> list[Effect]:
        """The memory of a worker that had ended is free."""
        self.rooms.freed(model, generation)
        return self._then([], now)

    def room(self, budget: Footprint | None, limit: Footprint | None, now: float) -> list[Effect]:
        """So much may all models take now, and so much ever; None = as much as they like."""
        self.rooms.budget, self.rooms.limit = budget, limit
        self.rooms.forget()
        return self._settle(now)

    def _then(self, effects: list[Effect], now: float) -> list[Effect]:
        """Whatever follows for other models from what happened to one."""
        self._now = now
        due = self.rooms.pending or now >= self.rooms.look_at
        return effects + self._settle(now) if due else effects

    def _settle(self, now: float) -> list[Effect]:
        decision, effects = self.rooms.decide(self.workers, now), list[Effect]()
        for model in decision.refuse:
            effects += self._refuse_for_good(self.workers[model])
        for model in decision.put_off:
            effects += self._put_off(self.workers[model], now)
        for model in decision.start:
            effects += self._begin(self.workers[model], now)
        for model, other in decision.leave:
            w = self.workers[model]
            self._open(w)
            w.wanted = False
            effects += self._stop(w, f"room for {other}" if other else "other programs need the memory")
        closed = dict(decision.close)
        for model in self.rooms.closed - closed.keys():
            effects += self._reopen(self.workers[model], now)
        for model, other in closed.items():
            effects += self._close(self.workers[model], other)
        return effects

    def _begin(self, w: Worker, now: float) -> list[Effect]:
        w.full, w.wakes = self.rooms.need(w.model_id), w.state is State.ASLEEP
        self.rooms.settled(w.model_id)
        if w.wakes:
            w.state, w.started_at, w.wanted, w.held = State.LOADING, now, w.pinned, w.full.or_more(w.held)
            return [Wake(w.model_id, w.generation)]
        if w.state is State.FAILED:
            w.restarts += 1
        w.generation += 1
        if not w.leaving:
            w.keep(None)
        w.state, w.started_at, w.wanted, w.held, w.rest = State.LOADING, now, w.pinned, w.full, None
        return [Spawn(w.model_id, w.generation)]

    def _close(self, w: Worker, other: str) -> list[Effect]:
        """It takes no new request, finishes those that it has, and makes room then."""
        if w.state is not State.DRAINING:
            w.parked, w.endpoint, w.state = w.endpoint, None, State.DRAINING
            self.rooms.closed.add(w.model_id)
        w.leaves_for, w.why, w.wanted = other, f"room for {other}", False
        return [] if w.active else self._stop(w, w.why)

    def _reopen(self, w: Worker, now: float) -> list[Effect]:
        """The room is not needed any more."""
        endpoint = self._open(w)
        if w.state is not State.DRAINING or endpoint is None:
            return []
        w.state, w.endpoint = State.READY, endpoint
        served = self._serve(w, now)
        if w.waiting and w.copies is not None:  # they may want another copy, and this decision is made
            self.rooms.look_at = now
        return served

    def _open(self, w: Worker) -> Endpoint | None:
        self.rooms.closed.discard(w.model_id)
        endpoint, w.parked, w.leaves_for = w.parked, None, ""
        return endpoint

    def _refuse_for_good(self, w: Worker) -> list[Effect]:
        need, room = self.rooms.need(w.model_id), self.rooms.room_beside(self.workers)
        self.rooms.settled(w.model_id)
        error = refusals.too_large(w, need, room, self.rooms.pinned(self.workers))
        w.wanted, w.error = False, error.message
        if w.copies is not None and w.copies.go_on_without(w, self._now):
            return []
        refused: list[Effect] = [Refuse(x.ticket, error) for x in w.waiting]
        w.waiting.clear()
        return refused

    def _put_off(self, w: Worker, now: float) -> list[Effect]:
        """It fails again and again, and nobody leaves for it: who waits is told so."""
        self.rooms.settled(w.model_id)
        w.retry_at = now + QUIET_S
        return self._refuse_all(w, now)

    def _stop(self, w: Worker, why: str) -> list[Effect]:
        self._open(w)
        w.state, w.endpoint, w.why = State.STOPPING, None, why
        return [Kill(w.model_id, w.generation)]
