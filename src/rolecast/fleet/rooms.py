"""The memory of all models together: who claims some, who holds some, and who was closed to make room.

Turns workers into the values that `admission.decide` judges. Changes no worker and starts nothing: the machine does.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

from rolecast.fleet.admission import FRESH_S, Claim, Decision, Resident, Terms, decide
from rolecast.fleet.copies import HERE, Whole, whole
from rolecast.fleet.worker import State, Worker
from rolecast.footprint import Footprint, total

AGAIN = 3
"""So often at most a decision is made anew because models take something else than was thought."""
Sizes = Callable[[str], Footprint]
"""What a worker of that model will take, as far as is known now."""


class Rooms:
    """What the machine knows of memory."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.terms = Terms()
        self.budget: Footprint | None = None
        """What all may take now; None = as much as they like."""
        self.limit: Footprint | None = None
        """What they may take when nobody else uses this machine."""
        self.together: tuple[frozenset[str], ...] = ()
        """Sets of models that are used together."""
        self.claiming: set[str] = set()
        self.closed: set[str] = set()
        self.look_at = float("inf")
        self._needs: dict[str, Footprint] = {}
        """What those that claim will take: asked once for each, because who says it looks at files."""
        self._leaving: dict[tuple[str, int], Footprint] = {}
        """What workers held that have ended, until it is known to be free."""

    @property
    def pending(self) -> bool:
        """Whether what happens to one model may matter to another."""
        return bool(self.claiming or self.closed)

    def claim(self, w: Worker, now: float) -> None:
        """It wants to be loaded."""
        if w.model_id not in self.claiming:
            self.claiming.add(w.model_id)
            w.since = now

    def settled(self, model: str) -> None:
        """It claims nothing any more: it has what it wanted, or never will."""
        self.claiming.discard(model)
        self._needs.pop(model, None)

    def need(self, model: str) -> Footprint:
        """What a worker of that model will take; of one that claims, what is decided by."""
        kept = self._needs.get(model)
        if kept is None:
            kept = self.sizes(model)
            if model in self.claiming:
                self._needs[model] = kept
        return kept

    def forget(self) -> None:
        """What models will take is asked again: settings may be others, or more may be known."""
        self._needs.clear()

    def lacks(self, of: Whole) -> bool:
        """Whether that model waits for memory to be loaded into, or woken: one of whose copies serves or loads does
        not, at most a further copy does."""
        copies = (of,) if isinstance(of, Worker) else of.all
        return of.state not in HERE and any(w.model_id in self.claiming for w in copies)

    def ended(self, w: Worker, *, freed: bool) -> None:
        """Its process is gone, and so is its memory, or it will be: then `freed` is called."""
        if not freed and w.held != Footprint():
            self._leaving[w.model_id, w.generation] = w.held
        w.held = Footprint()

    def freed(self, model: str, generation: int) -> None:
        """What that worker held is free."""
        self._leaving.pop((model, generation), None)

    def decide(self, workers: Mapping[str, Worker], now: float) -> Decision:
        """Who starts, who leaves and who is closed now."""
        self.claiming = {i for i in self.claiming if i in workers and _claims(workers[i], now)}
        self._needs = {i: need for i, need in self._needs.items() if i in self.claiming}
        decision = self._decided(workers, now)
        for _ in range(AGAIN):
            if not self._learnt((*decision.start, *decision.refuse)):
                break
            decision = self._decided(workers, now)
        self.look_at = decision.look_at
        return decision

    def _decided(self, workers: Mapping[str, Worker], now: float) -> Decision:
        claims = [self._claim(workers[i]) for i in self.claiming]
        if self.budget is None:
            return decide(claims, (), None, None, now, self.terms)
        residents = [self._resident(w, workers) for w in workers.values() if _holds(w)]
        residents += [Resident(i, held, movable=False, leaving=True) for (i, _), held in self._leaving.items()]
        return decide(claims, residents, self.budget, self.limit, now, self.terms)

    def _learnt(self, models: Iterable[str]) -> bool:
        """Whether one of these takes something else than was thought when it began to claim."""
        now = {model: self.sizes(model) for model in models}
        changed = any(self._needs[model] != need for model, need in now.items())
        self._needs |= now
        return changed

    def _claim(self, w: Worker) -> Claim:
        waited = bool(w.waiting) or w.pinned
        since = max(min((x.since for x in w.waiting), default=w.since), whole(w).left_at)
        rank = max((x.rank for x in w.waiting), default=0)
        spare = w.copies is not None and w.copies.is_spare(w)
        has = w.held if w.state is State.ASLEEP else Footprint()
        # One that ended as it was told to, or sleeps, has not failed; a plain load is somebody who has mended it.
        failing = w.broken and w.state is State.FAILED and all(x.holds for x in w.waiting)
        return Claim(w.model_id, self.need(w.model_id), since, waited, rank, w.load_s, spare, failing, has)

    def _resident(self, w: Worker, workers: Mapping[str, Worker]) -> Resident:
        loading, loaded_for = w.state is State.LOADING, any(x.holds and x.since <= w.loaded_at for x in w.waiting)
        spare = w.copies is not None and w.copies.is_spare(w)
        fresh = w.last_used <= w.loaded_at
        closed = w.state is State.DRAINING and bool(w.leaves_for)
        asleep = w.state is State.ASLEEP
        deserted = loading and not (w.waiting or w.wanted or w.wakes)
        if deserted:
            settles = w.last_used + FRESH_S  # whoever left may come back
        else:
            settles = float("inf") if loading else w.loaded_at + FRESH_S if fresh else 0.0
        return Resident(
            w.model_id,
            w.held,
            movable=(w.state is State.READY or asleep or closed or deserted or (loading and spare)) and not w.pinned,
            leaving=w.state is State.STOPPING or w.state is State.DRAINING,
            closed_for=w.leaves_for if closed else "",
            busy=w.active > 0 or (bool(w.waiting) and not spare),
            turn_ends=w.loaded_at + self.terms.turn_s if loaded_for and not spare else 0.0,
            settles=settles,
            idle_since=w.last_used,
            reload_s=w.load_s or 1.0,
            dear=w.kept_s == float("inf") or self._is_with_one_in_use(w.of, workers),
            spare=spare,
            asleep=asleep or deserted,
        )

    def _is_with_one_in_use(self, model: str, workers: Mapping[str, Worker]) -> bool:
        fellows: Iterable[str] = {i for together in self.together if model in together for i in together} - {model}
        return any((w := workers.get(i)) is not None and (whole(w).active > 0 or bool(w.waiting)) for i in fellows)

    def holders(self, workers: Mapping[str, Worker]) -> Collection[str]:
        """Models that hold memory and are in use."""
        return [w.model_id for w in workers.values() if _holds(w) and w.active]

    def pinned(self, workers: Mapping[str, Worker]) -> Collection[str]:
        """Models that hold memory for good."""
        return [w.model_id for w in workers.values() if _holds(w) and w.pinned]

    def held(self, workers: Mapping[str, Worker]) -> Footprint:
        """What all that are loaded, or on their way in or out, are counted with."""
        return total(w.held for w in workers.values() if _holds(w)) + total(self._leaving.values())

    def has_room(self, workers: Mapping[str, Worker], more: Footprint) -> bool:
        """Whether so much is free now."""
        return self.budget is None or more.within(self.budget - self.held(workers))

    def room_beside(self, workers: Mapping[str, Worker]) -> Footprint:
        """What one model may take at most beside those that are pinned."""
        fixed = total(w.held for w in workers.values() if _holds(w) and w.pinned)
        return (self.limit or self.budget or Footprint()) - fixed


def _claims(w: Worker, now: float) -> bool:
    if w.state not in (State.COLD, State.FAILED, State.ASLEEP):
        return False
    return w.wanted or (bool(w.waiting) if w.copies is None else w in w.copies.due(now))


def _holds(w: Worker) -> bool:
    return w.state in (State.LOADING, State.READY, State.DRAINING, State.ASLEEP, State.STOPPING)
