"""How the gateway and its models fare: one view, which every page, list and metric words in its own way.

Reads what the fleet and the ledger know anyway; keeps nothing and changes nothing.
"""

from collections.abc import Callable, Iterable, Iterator

from rolecast.books.ledger import Ledger
from rolecast.config.current import Current
from rolecast.errors import RolecastError
from rolecast.fleet import Fleet, State, absence
from rolecast.net.probe import fetch


class Health:
    """Who runs, who does not and why."""

    def __init__(self, current: Current, fleet: Fleet, ledger: Ledger) -> None:
        self._current = current
        self._fleet = fleet
        self._ledger = ledger
        self.resting: Callable[[], Iterable[tuple[str, float, str]]] = lambda: ()
        """Servers elsewhere that are left alone, for how many seconds still, and why; app.py sets it."""
        self.elsewhere: Callable[[], Iterable[str]] = lambda: ()
        """What is wrong with servers elsewhere that nobody had to ask yet, each in a sentence; app.py sets it."""
        self.keyed: Callable[[], bool] = lambda: False
        """Whether there are keys besides those of the configuration."""

    def state(self, model_id: str) -> str:
        """The worker's state, `absent` when its weights are not here; a stand-in's for what it stands in for.

        `disabled` for a model that is not in use (any more).
        """
        model = self._current.config.models.get(model_id)
        if model is None or not model.enabled:
            return "disabled"
        answerer_id = self._current.answerer_of(model_id)
        state = str(self._fleet.worker(answerer_id).state)
        return "absent" if state == "cold" and not self._fleet.present(answerer_id) else state

    async def loaded(self) -> list[tuple[str, int]]:
        """Id and resident bytes of each model that is loaded."""
        resident, stations = await self._fleet.stations.resident(), self._fleet.stations
        ready = [w.model_id for w in self._fleet.models() if w.state is State.READY]
        return [(m, stations.memory(m, resident)) for m in ready]

    async def workers(self) -> list[tuple[str, int]]:
        """The same of each worker: copies of a model one by one."""
        resident = await self._fleet.stations.resident()
        ready = [w.model_id for w in self._fleet.machine.workers.values() if w.state in (State.READY, State.ASLEEP)]
        return [(m, resident.get(m, 0)) for m in ready]

    def failing(self) -> dict[str, str]:
        """Models that should run and do not, with why."""
        failing, preloads = {}, self._current.config.memory.preload
        for w in self._fleet.models():
            lacks = w.pinned and preloads and w.state is State.COLD and w.model_id not in self._current.stand_ins
            if w.state is State.FAILED or (w.state is State.LOADING and w.faults):
                failing[w.model_id] = w.error
            elif lacks and not self._fleet.present(w.model_id):  # else somebody has unloaded it
                failing[w.model_id] = absence(w.model_id, self._current.config.models[w.model_id])
        return failing

    def problems(self) -> list[str]:
        """All that is wrong now, each in a sentence."""
        return [*self._failures(), *self.elsewhere()]

    def _failures(self) -> list[str]:
        """What requests suffer from now."""
        failing = self.failing()
        lines = [f"{model_id} does not run: {why}" for model_id, why in failing.items()]
        broken = [
            w
            for w in self._fleet.machine.workers.values()
            if w.broken and w.state is State.FAILED and w.of not in failing
        ]
        lines += [f"the copy {w.model_id} does not run, others do: {w.error}" for w in broken if w.copies is not None]
        for model_id, wait_s, why in self.resting():
            after = f"for {wait_s:.0f} s more" if wait_s else "until one request has tried it"
            lines.append(f"{model_id} is left alone {after}: {why or 'it failed'}")
        return [*lines, *filter(None, [self._ledger.trouble, self._ledger.unprotected])]

    def told(self) -> tuple[list[str], list[str]]:
        """The failing models and all that is wrong, for who needs no key to ask: with keys the reasons stay inside."""
        failing, reasons = [*self.failing(), *(model_id for model_id, _, _ in self.resting())], self._failures()
        if reasons and (self._current.config.server.keys or self.keyed()):
            names = f" ({', '.join(failing)})" if failing else ""
            reasons = [f"something is wrong{names}; `rolecast status` or /admin/status says what"]
        return failing, reasons

    def gauges(self) -> Iterator[tuple[str, str, float]]:
        """(metric, model, value) now."""
        for w in self._fleet.machine.workers.values():
            yield "active_requests", w.model_id, w.active
            if w.copies is None or w is w.copies.first:  # they share one line
                yield "waiting_requests", w.model_id, len(w.waiting)
            yield "worker_up", w.model_id, float(w.endpoint is not None)
            yield "worker_restarts", w.model_id, w.restarts
        for model_id, wait_s, _ in self.resting():
            yield "circuit_open", model_id, 1.0 if wait_s else 0.5

    async def asked(self, model_id: str) -> str:
        """SLM Server's words for one backend: asked now, with its five-second limit.

        One that is merely not loaded is healthy, as on its own port: the next request loads it.
        """
        if self.state(model_id) == "disabled":
            return "disabled"
        answerer_id = self._current.answerer_of(model_id)
        worker, pool = self._fleet.worker(answerer_id), self._fleet.stations.pool(answerer_id)
        if worker.endpoint is None or pool is None:
            if worker.state is State.FAILED:
                return "error"
            return "healthy" if self._fleet.present(answerer_id) else "unreachable"
        try:
            status = (await fetch(pool, "GET", worker.endpoint.health_path, timeout_s=5.0)).status
        except RolecastError as exc:
            return "timeout" if exc.status == 504 else "unreachable"
        return "healthy" if status == 200 else "unhealthy"
