"""Workers that sleep: when one is put to sleep, what it holds then, how it wakes, and what becomes of it if not.

Rules without I/O, as all of `machine`. A worker asleep is a resident that holds little and the first to leave; to wake
it is a claim for what it lacks, as a load is for all of it. Whether an engine sleeps, and how, is `sleep`'s to see.
"""

from rolecast.fleet.effects import Effect, Kill, Lull
from rolecast.fleet.residency import Residency
from rolecast.fleet.worker import State, Worker
from rolecast.footprint import Footprint
from rolecast.values import Endpoint


class Asleep(Residency):
    """The machine, as far as sleep is concerned."""

    def sleeps(self, model: str, generation: int, since: float, beside: Footprint, now: float) -> list[Effect]:
        """It is about to sleep, or does, and has not been used `since`: it serves nobody from here on.

        It may hold so much `beside` what it holds awake; without room for that, or if it was used, nothing happens.
        """
        w = self.workers.get(model)
        if w is None or generation != w.generation or w.state is not State.READY or w.leaving:
            return []
        if w.active or w.waiting or w.last_used != since or not self.rooms.has_room(self.workers, beside):
            return []
        w.state, w.endpoint, w.wanted, w.rest, w.held = State.ASLEEP, None, False, None, w.full + beside
        return self._then([], now)

    def rests(self, model: str, generation: int, held: Footprint, now: float) -> list[Effect]:
        """It sleeps, and was seen to hold so much."""
        w = self.workers.get(model)
        if w is None or generation != w.generation or w.state is not State.ASLEEP:
            return []
        w.rest = held
        return self._then(self._lie(w, now), now)

    def woke(self, model: str, generation: int, endpoint: Endpoint, now: float) -> list[Effect]:
        """It answers again, or did not fall asleep after all."""
        w = self.workers.get(model)
        if w is None or generation != w.generation or not (self._is_waking(w) or w.state is State.ASLEEP):
            return []
        if w.state is State.LOADING:  # as after a load, which it is for whoever waited
            w.loaded_at = w.last_used = now
        elif w.rest is not None:
            return []  # others may have the rest of its room by now
        self.rooms.settled(model)
        w.state, w.endpoint, w.held, w.wakes, w.rest, w.error = State.READY, endpoint, w.full, False, None, ""
        return self._then(self._serve(w, now), now)

    def lost(self, model: str, generation: int, why: str, now: float) -> list[Effect]:
        """It does not wake, or nobody knows whether it sleeps: it is ended at once. Who waits gets a fresh one."""
        w = self.workers.get(model)
        if w is None or generation != w.generation or not (self._is_waking(w) or w.state is State.ASLEEP):
            return []
        self.rooms.settled(model)
        w.wanted, w.restarts = w.pinned and not w.leaving, w.restarts + 1
        w.state, w.endpoint, w.why, w.wakes = State.STOPPING, None, why, False
        return self._then([Kill(model, generation, at_once=True), *self._wake(w, now)], now)

    # -- rules --------------------------------------------------------------------------------------------

    @staticmethod
    def _is_waking(w: Worker) -> bool:
        return w.wakes and w.state is State.LOADING

    def _rests_until(self, w: Worker) -> float:
        """When something follows from nobody asking it."""
        if w.state not in (State.READY, State.ASLEEP) or w.active or w.waiting:
            return float("inf")
        return min(self._lulls_at(w), w.last_used + w.idle_timeout_s if w.idles else float("inf"))

    def _drowse(self, w: Worker, now: float) -> list[Effect]:
        """Have one that rests put to sleep, if it is time."""
        if now < self._lulls_at(w):
            return []
        w.lulled = w.last_used
        return [Lull(w.model_id, w.generation)]

    @staticmethod
    def _lulls_at(w: Worker) -> float:
        """When it is to be put to sleep, if nobody asks it; once after each use."""
        tried = w.lulled == w.last_used or w.state is not State.READY
        return float("inf") if tried else w.last_used + w.lulls_s

    def _lie(self, w: Worker, now: float) -> list[Effect]:
        """What a worker that sleeps may hold: as little as it was seen to; one that is pinned keeps its room.

        So a pinned one wakes at once. One that was not pinned before is woken, because its room may be gone.
        """
        if w.state is not State.ASLEEP or w.rest is None:
            return []
        if not w.pinned:
            w.held = w.held + w.rest - w.held.or_more(w.rest)  # more than it was admitted with it gets by no measuring
        elif not w.full.within(w.held):
            w.wanted = True
            return self._wake(w, now)
        return []

    def _after_sleep(self, w: Worker, error: str, now: float) -> list[Effect]:
        """It died asleep or on waking, which says nothing of its model: a load will do for who waits."""
        w.active, w.endpoint, w.state, w.wakes = 0, None, State.COLD, False
        w.error, w.restarts = error, w.restarts + 1
        w.wanted = w.wanted or (w.pinned and not w.leaving)
        return self._wake(w, now)
