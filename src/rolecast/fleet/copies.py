"""Several copies of one model: which one a request goes to, when another one is loaded, and what they are together.

Pure, over workers that share one line. Without memory and clock: who has room is `admission`'s to say.
"""

from collections.abc import Mapping
from operator import attrgetter

from rolecast.config.replicas import number_of
from rolecast.fleet.queue import Line, Waiter
from rolecast.fleet.worker import State, Worker
from rolecast.values import Endpoint

SERVING = (State.READY, State.REMOTE)
HERE = (*SERVING, State.LOADING)
SHOWN = (*HERE, State.ASLEEP, State.DRAINING, State.STOPPING)
"""States of a copy that say more of its model than those of the others, the most telling first."""


class Copies:
    """The copies of one model in their order. Can be read as if they were one worker."""

    __slots__ = ("all", "first", "line", "model_id", "queue_limit", "waiting")

    def __init__(self, workers: list[Worker]) -> None:
        self.all = tuple(workers)
        self.first = first = workers[0]
        self.model_id, self.queue_limit = first.of, first.queue_limit
        self.line, self.waiting = first.line, first.waiting

    # -- decisions ----------------------------------------------------------------------------------------

    def best(self) -> Worker:
        """Whom a request asks: of those that serve the one with the fewest requests, of equals the first; else the
        one that loads; else one that sleeps; else the first, which starts as the only one would."""
        found: Worker | None = None
        for w in self.all:
            if w.state in SERVING and (found is None or w.active < found.active):
                found = w
        return found or self._in(State.LOADING) or self._in(State.ASLEEP) or self.first

    def _in(self, state: State) -> Worker | None:
        return next((w for w in self.all if w.state is state), None)

    def serving(self) -> list[Worker]:
        """Those that serve, the one with the fewest requests first."""
        return sorted((w for w in self.all if w.state in SERVING), key=attrgetter("active"))

    def due(self, now: float) -> list[Worker]:
        """Who is to be loaded or woken for those who wait: without any that serves or loads one that sleeps, else the
        first, or another while that ends its requests for good; else as many more as it takes to begin them all. Asked
        only when the slots there are have been given."""
        asleep = [w for w in self.all if w.state is State.ASLEEP]
        cold = [w for w in self.all if w.state is State.COLD or (w.state is State.FAILED and now >= w.retry_at)]
        able = [*asleep, *cold]
        if not self.waiting or not able:
            return []
        loading = sum(w.state is State.LOADING for w in self.all)
        if not any(w.state in SERVING for w in self.all):
            ends = self.first.state is State.DRAINING and not self.first.leaves_for
            return [] if loading or not (asleep or ends or cold[0] is self.first) else able[:1]
        more = sum(x.holds for x in self.waiting) - loading * self.first.parallel
        return able[: max(0, -(-more // self.first.parallel))]

    def go_on_without(self, w: Worker, now: float) -> bool:
        """Whether those who wait may be served though this one is not to be had."""
        others = [each for each in self.all if each is not w]
        return any(each.state in HERE for each in others) or any(each is not w for each in self.due(now))

    def is_spare(self, w: Worker) -> bool:
        """Whether another one is loaded, so that this one is there for speed alone."""
        if w.pinned:
            return False
        loaded = (each for each in self.all if each.state in HERE or each.leaves_for)
        return next(loaded, w) is not w

    def kept(self, seconds: float) -> list[Worker]:
        """Those that a request means which says how long its model shall stay: for good that is one of them."""
        return [w for w in self.all if seconds < float("inf") or not self.is_spare(w)]

    # -- views --------------------------------------------------------------------------------------------

    def shown(self) -> Worker:
        """The one that says how the model fares."""
        return min((w for w in self.all if w.state in SHOWN), key=lambda w: SHOWN.index(w.state), default=self.first)

    @property
    def state(self) -> State:
        return self.shown().state

    @property
    def active(self) -> int:
        return sum(w.active for w in self.all)

    @property
    def parallel(self) -> int:
        """Slots of those that are loaded; before any is, those of one."""
        return self.first.parallel * max(1, sum(w.state in SERVING for w in self.all))

    @property
    def endpoint(self) -> Endpoint | None:
        return self.best().endpoint

    @property
    def pinned(self) -> bool:
        return self.first.pinned

    @property
    def idles(self) -> bool:
        return self.shown().idles

    @property
    def idle_timeout_s(self) -> float:
        return self.shown().idle_timeout_s

    @property
    def restarts(self) -> int:
        return sum(w.restarts for w in self.all)

    @property
    def error(self) -> str:
        return self.shown().error

    @property
    def failures(self) -> int:
        return self.shown().failures

    @property
    def faults(self) -> float:
        return self.shown().faults

    @property
    def retry_at(self) -> float:
        return self.shown().retry_at

    @property
    def started_at(self) -> float:
        return self.shown().started_at

    @property
    def loaded_at(self) -> float:
        return self.shown().loaded_at

    @property
    def last_used(self) -> float:
        return max(w.last_used for w in self.all)

    @property
    def left_at(self) -> float:
        """When one of them last made room or was otherwise gone as it was told to."""
        return max(w.left_at for w in self.all)


Whole = Worker | Copies
"""One model's worker, or all of its copies."""


def whole(w: Worker) -> Whole:
    """All of the model that it is of."""
    return w.copies or w


def link(workers: Mapping[str, Worker]) -> None:
    """Let the copies of each model share one line. One that is to leave while its model stays, stands out of it."""
    families: dict[str, list[Worker]] = {}
    for w in sorted(workers.values(), key=lambda w: number_of(w.model_id)):
        families.setdefault(w.of, []).append(w)
    for first, *others in families.values():
        together = [first]
        for w in others:
            if w.leaving == first.leaving:
                together.append(w)
                _stand(w, first.line)
            elif w.waiting is first.waiting:
                _stand(w, Line(), alone=True)
            w.copies = None
        first.copies = None
        if len(together) > 1:
            copies = Copies(together)
            for w in together:
                w.copies = copies


def _stand(w: Worker, line: Line, *, alone: bool = False) -> None:
    """Who waits for it alone goes along to the other line."""
    moved: list[Waiter] = [] if alone or w.waiting is line.waiting else list(w.waiting)
    w.line, w.waiting = line, line.waiting
    for waiter in moved:
        line.join(waiter)
