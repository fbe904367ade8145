"""Rolecast's own rules as a policy: the machine of the gateway, with processes that exist in virtual time alone.

Nothing is decided here. What the machine wants done is done by the simulator, and what came of it is told the machine.
"""

from collections.abc import Iterable

from fleet_policy import Action, Load, Refuse, Request, Start, Unload
from fleet_workload import ModelSpec, Trace

from rolecast.config.schema import Model, Seconds
from rolecast.fleet import bound, effects
from rolecast.fleet.effects import Effect
from rolecast.fleet.machine import Machine
from rolecast.footprint import Footprint
from rolecast.values import Endpoint

NOWHERE = Endpoint(uds="/nowhere")
PATIENT_S = 1e9
"""No request leaves by itself: how long it waits is what is measured."""


def settings(spec: ModelSpec) -> Model:
    """A model of a trace as one of the configuration; none leaves for being idle alone, as with the other policies."""
    return Model(parallel=spec.slots, pinned=spec.pinned, idle_timeout=Seconds(0))


class Rolecast:
    """The machine, driven by the simulator."""

    def __init__(self, trace: Trace) -> None:
        sizes = {spec.model: Footprint(spec.size_bytes) for spec in trace.models}
        self.machine = Machine([(spec.model, settings(spec)) for spec in trace.models], trace.asked, sizes.__getitem__)
        budget = Footprint(trace.budget_bytes)
        self.machine.room(budget, budget, 0.0)
        self._lease: dict[int, int] = {}
        """The generation of the worker that answers a request, by its number."""
        self._keys = {spec.model: trace.keys(spec.model) for spec in trace.models}
        self._classes = {spec.model: trace.classes(spec.model) for spec in trace.models}
        self._sharers = {
            spec.model: bound.Sharer(trace.slowest_s(spec.model), spec.load_s, spec.unload_s, spec.slots)
            for spec in trace.models
        }
        self._promised: dict[int, float] = {}

    def arrive(self, request: Request, now: float) -> list[Action]:
        self._promised[request.number] = self._bound_s(request)
        wanted = self.machine.want(request.model, request, now, now + PATIENT_S, key=request.key, rank=request.priority)
        return self._actions(wanted)

    def loaded(self, model: str, now: float) -> list[Action]:
        return self._actions(self.machine.loaded(model, self._generation(model), NOWHERE, now))

    def unloaded(self, model: str, now: float) -> list[Action]:
        return self._actions(self.machine.ended(model, self._generation(model), "", now))

    def finished(self, request: Request, now: float) -> list[Action]:
        return self._actions(self.machine.released(request.model, self._lease.pop(request.number), now))

    def tick(self, now: float) -> list[Action]:
        return self._actions(self.machine.tick(now))

    def next_time(self) -> float:
        return self.machine.next_deadline()

    def promise_s(self, request: Request) -> float:
        """What was declared when it came: that it waits no longer."""
        return self._promised[request.number]

    def _bound_s(self, request: Request) -> float:
        others = [sharer for model, sharer in self._sharers.items() if model != request.model]
        ahead = sum(waiter.key == request.key for waiter in self.machine.workers[request.model].waiting)
        before = bound.begun_before(ahead, self._keys[request.model])
        classes = self._classes[request.model]
        own, terms = self._sharers[request.model], self.machine.rooms.terms
        lower = request.priority < classes[-1]
        return bound.longest_wait_s(own, before, others, terms, classes=len(classes), lower=lower)

    def _generation(self, model: str) -> int:
        return self.machine.workers[model].generation

    def _actions(self, wanted: Iterable[Effect]) -> list[Action]:
        actions: list[Action] = []
        for effect in wanted:
            match effect:
                case effects.Spawn(model=model):
                    actions.append(Load(model))
                case effects.Kill(model=model):
                    actions.append(Unload(model))
                case effects.Grant(model=model, ticket=request):
                    self._lease[request.number] = self._generation(model)
                    actions.append(Start(request))
                case effects.Refuse(ticket=request):
                    actions.append(Refuse(request))
        return actions
