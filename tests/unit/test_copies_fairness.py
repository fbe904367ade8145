"""Models with several copies on virtual time: the traces of `test_fleet_fairness`, with one to three copies of each.

The simulator holds the memory, as it does there. Besides: nobody waits while a copy that is loaded has a free slot,
nobody else leaves or is closed for a copy beyond the first, and what was declared for one copy holds for several.
"""

import random
from collections.abc import Iterable

import pytest
from fleet_bench import fleet_policy, fleet_rolecast, fleet_simulator, fleet_workload
from hypothesis import given
from msgspec.structs import replace
from test_fleet_fairness import FEW, SEEDS, Mortal, WithDeaths, hold, random_trace

from rolecast.config.replicas import copy_id, model_of
from rolecast.fleet import effects
from rolecast.fleet.copies import Copies
from rolecast.fleet.worker import State

NEVER = float("inf")
AT_ONCE = 3
SERVING = (State.READY, State.REMOTE)


class Begin(fleet_policy.Start, frozen=True):
    """A request is begun by that copy."""

    worker: str


class Spacious(fleet_workload.Trace, frozen=True):
    """Copies that fit beside no other are no fault: they are never loaded."""

    def fault(self) -> str:
        return ""


def with_copies(trace: "fleet_workload.Trace", seed: int, most: int = 3) -> "fleet_workload.Trace":
    """The same with one to so many copies of each model, none of which is pinned but the first, and room for some."""
    dice = random.Random(seed)
    about = replace(trace.about, budget_bytes=int(trace.budget_bytes * dice.choice([1, 1.5, 2, 3])))
    models = []
    for spec in trace.models:
        others = range(2, dice.randint(1, most) + 1)
        models += [spec, *(replace(spec, model=copy_id(spec.model, number), pinned=False) for number in others)]
    return Spacious(about, tuple(models), trace.arrivals, trace.clients)


class Spread(fleet_rolecast.Rolecast):
    """The machine with copies; a request that is begun goes by the copy that has it."""

    def __init__(self, trace: "fleet_workload.Trace") -> None:
        super().__init__(trace)
        self._sharers = {model: sharer for model, sharer in self._sharers.items() if model_of(model) == model}
        self.spills = 0

    def _actions(self, wanted: Iterable[effects.Effect]) -> list["fleet_policy.Action"]:
        wanted = list(wanted)
        for effect in wanted:
            match effect:
                case effects.Grant(model=model):
                    self.spills += model_of(model) != model
                case effects.Kill(model=model):
                    self._look_why(self.machine.workers[model].why)
        for w in self.machine.workers.values():
            if w.leaves_for:
                self._look_why(f"room for {w.leaves_for}")
            if w.state in SERVING and w.active < w.parallel:
                assert not w.waiting, f"{w.model_id} has a free slot and {len(w.waiting)} wait"
        actions, copies = super()._actions(wanted), iter(e.model for e in wanted if isinstance(e, effects.Grant))
        for effect in wanted:
            if isinstance(effect, effects.Grant):
                self._lease[effect.ticket.number] = self._generation(effect.model)
        return [Begin(a.request, next(copies)) if isinstance(a, fleet_policy.Start) else a for a in actions]

    def _look_why(self, why: str) -> None:
        other = self.machine.workers.get(why.removeprefix("room for "))
        if other is not None and other.copies is not None and not other.pinned:
            loaded = [w for w in other.copies.all if w is not other and w.state in (*SERVING, State.LOADING)]
            assert not loaded, f"{why}, of which another copy is loaded"


class Many(Mortal):
    """A machine on which the load of a copy may be called off."""

    def _perform(self, actions: list) -> None:
        for action in actions:
            if isinstance(action, Begin):
                action.request.model = action.worker
            super()._perform([action])

    def _unload(self, held: "fleet_simulator.Held") -> None:
        if held.state is fleet_simulator.State.LOADING:
            family = [h for m, h in self.held.items() if model_of(m) == model_of(held.spec.model) and h is not held]
            up = (fleet_simulator.State.LOADING, fleet_simulator.State.READY)
            waited_for = self._is_waited_for(model_of(held.spec.model))
            assert any(each.state in up for each in family) or not waited_for, "the only copy is called off"
            self._events = [event for event in self._events if event[3] != held.spec.model]
            self._events.sort()
            self._become(held, fleet_simulator.State.READY)
        super()._unload(held)


class SpreadWithDeaths(WithDeaths, Spread):
    """Copies that are killed from outside, thirty times."""

    def _actions(self, wanted: Iterable[effects.Effect]) -> list["fleet_policy.Action"]:
        actions = Spread._actions(self, wanted)
        for action in (action for action in actions if isinstance(action, Begin)):
            self.runs[action.request.number] = action.request
            worker = self.machine.workers[action.worker]
            worker.answered = worker.generation
        return actions


def replayed(trace: "fleet_workload.Trace") -> tuple[Spread, "fleet_simulator.Result"]:
    policy = Spread(trace)
    return policy, Many(trace, policy).run()


@FEW
@given(SEEDS)
def test_with_copies_everybody_is_answered_within_the_time_that_holds_without(seed: int) -> None:
    for n in range(AT_ONCE):
        trace = with_copies(random_trace(seed + n), seed + n)
        policy, result = replayed(trace)
        assert len(result.requests) == trace.asked
        hold(policy, result.requests)


@FEW
@given(SEEDS)
def test_nobody_waits_for_ever_though_copies_are_killed_again_and_again(seed: int) -> None:
    answered = asked = 0
    for n in range(AT_ONCE):
        trace = with_copies(random_trace(seed + n), seed + n)
        requests = Many(trace, SpreadWithDeaths(trace, seed)).run().requests
        assert all(request.ended_s < NEVER or request.refused for request in requests), trace.name
        answered, asked = answered + sum(r.ended_s < NEVER for r in requests), asked + len(requests)
    assert answered > asked / 2


def test_copies_are_used_and_nothing_of_it_happens_when_none_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    def spills() -> int:
        return sum(replayed(with_copies(random_trace(seed), seed))[0].spills for seed in range(40))

    assert spills() > 30
    due = Copies.due
    monkeypatch.setattr(Copies, "due", lambda copies, now: [w for w in due(copies, now) if not w.later])
    assert spills() == 0


def test_a_burst_is_over_in_a_third_of_the_time_with_three_copies() -> None:
    ends = {}
    for copies in (1, 3):
        spec = fleet_workload.ModelSpec("a", 4, 2.0, 0.5)
        specs = tuple(replace(spec, model=copy_id("a", n + 1)) for n in range(copies))
        burst = tuple(fleet_workload.Arrival(10.0, "a", 4.0) for _ in range(16))
        warm = (fleet_workload.Arrival(0.0, "a", 1.0),)
        trace = Spacious(fleet_workload.About("burst", "", 12), specs, (*warm, *burst))
        _, result = replayed(trace)
        ends[copies] = result.end_s - 10.0
    assert ends == {1: 64.0, 3: 24.0}
