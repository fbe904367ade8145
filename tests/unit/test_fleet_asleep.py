"""Workers that sleep, on virtual time: what they hold, who wakes them, who leaves, and what becomes of failures."""

import random
from collections.abc import Iterable
from typing import Any

import msgspec
from fleet_bench import fleet_policy, fleet_rolecast, fleet_simulator, fleet_workload
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolecast.config.schema import Model, Seconds
from rolecast.errors import Busy, LoadFailed
from rolecast.fleet.admission import Claim, Decision, Resident, Terms, decide
from rolecast.fleet.effects import Effect, Grant, Kill, Lull, Refuse, Spawn, Wake
from rolecast.fleet.machine import Machine
from rolecast.fleet.worker import State, Worker
from rolecast.footprint import Footprint, total
from rolecast.values import Endpoint

About, Arrival, ModelSpec, Trace = (
    fleet_workload.About,
    fleet_workload.Arrival,
    fleet_workload.ModelSpec,
    fleet_workload.Trace,
)
HERE = Endpoint(uds="/run/w.sock")
NEVER = float("inf")
NOTHING = Footprint()
SLEEPY: dict[str, Any] = {"sleep": Seconds(10), "idle_timeout": Seconds(100)}


def machine(budget: int = 100, sizes: dict[str, int] | None = None, **fields: Any) -> Machine:
    """Models by their sizes, all with the same settings; each may be put to sleep."""
    sizes = sizes or {"m": 40}
    found = Machine([(i, Model(**{**SLEEPY, **fields})) for i in sizes], 10, lambda i: Footprint(sizes[i]))
    for w in found.workers.values():
        w.leads(0.0)
    found.room(Footprint(budget), Footprint(budget), 0)
    return found


def load(m: Machine, now: float = 0.0, model: str = "m") -> Worker:
    m.want(model, f"loads {model}", now, NEVER, holds=False)
    w = m.workers[model]
    m.loaded(model, w.generation, HERE, now)
    assert w.state is State.READY
    return w


def sleep(m: Machine, now: float, holds: int = 5, model: str = "m", beside: Footprint = NOTHING) -> Worker:
    w = m.workers[model]
    m.sleeps(model, w.generation, w.last_used, beside, now)
    m.rests(model, w.generation, Footprint(holds), now)
    return w


def errors(effects: Iterable[Effect]) -> list[Exception]:
    return [e.error for e in effects if isinstance(e, Refuse)]


def held(m: Machine) -> int:
    return total(w.held for w in m.workers.values()).ram


# -- when ------------------------------------------------------------------------------------------------------------


def test_an_idle_worker_is_put_to_sleep_once_after_each_use_and_unloaded_later() -> None:
    m = machine()
    load(m)
    assert m.next_deadline() == 10
    assert m.tick(9.9) == []
    assert m.tick(10) == [Lull("m", 1)]
    assert (m.next_deadline(), m.tick(11)) == (100, []), "one that did not fall asleep is not asked again"
    m.want("m", "a", 20, 99)
    m.released("m", 1, 30)
    assert (m.next_deadline(), m.tick(40)) == (40, [Lull("m", 1)])
    sleep(m, 41)
    assert m.next_deadline() == 130
    assert m.tick(130) == [Kill("m", 1)]


def test_one_that_needs_time_for_it_is_told_so_long_before() -> None:
    m = machine()
    m.workers["m"].leads(6.0)
    load(m)
    assert m.tick(4) == [Lull("m", 1)]


def test_without_the_setting_or_an_engine_that_can_nobody_is_put_to_sleep() -> None:
    for m in (machine(sleep=Seconds(0)), machine(sleep=Seconds(100)), machine()):
        m.workers["m"].leads(NEVER if m.workers["m"].sleep_s == 10 else 60.0)
        load(m)
        assert m.next_deadline() == 100


def test_who_is_asked_before_it_sleeps_stays_awake() -> None:
    m = machine(parallel=2)
    w = load(m)
    m.tick(10)
    since = w.last_used
    m.want("m", "a", 11, 99)
    m.sleeps("m", 1, since, NOTHING, 12)
    assert w.state is State.READY, "it runs a request"
    m.released("m", 1, 13)
    m.sleeps("m", 1, since, NOTHING, 14)
    assert w.state is State.READY, "it was used meanwhile"
    assert m.tick(23) == [Lull("m", 1)]


def test_one_that_does_not_fall_asleep_serves_on_and_who_came_meanwhile_is_served() -> None:
    m = machine()
    w = load(m)
    m.sleeps("m", 1, w.last_used, NOTHING, 10)
    assert (w.state, w.endpoint) == (State.ASLEEP, None)
    assert m.woke("m", 1, HERE, 11) == []
    assert (w.state, w.endpoint, w.held.ram) == (State.READY, HERE, 40)


# -- memory ----------------------------------------------------------------------------------------------------------


def test_it_holds_what_it_was_seen_to_hold_and_waking_claims_the_rest() -> None:
    m = machine(100, {"m": 60, "n": 60})
    load(m)
    w = m.workers["m"]
    m.sleeps("m", 1, w.last_used, NOTHING, 10)
    assert w.held.ram == 60, "until it is measured it counts as awake"
    m.rests("m", 1, Footprint(5), 11)
    assert w.held.ram == 5
    load(m, 20, "n")
    assert held(m) == 65, "the other one fits only because it sleeps"
    m.want("n", "busy", 21, 99)
    assert m.want("m", "a", 30, 999) == [], "there is no room to wake in"
    assert m.workers["m"].state is State.ASLEEP
    assert m.tick(36) == [], "and the other one is closed for it"
    assert m.released("n", 1, 40) == [Kill("n", 1)]
    assert m.ended("n", 1, "", 41) == [Wake("m", 1)]
    assert (w.state, w.held.ram) == (State.LOADING, 60)
    assert m.woke("m", 1, HERE, 42) == [Grant("m", "a")]


def test_all_who_ask_one_that_sleeps_wait_for_one_waking() -> None:
    m = machine(42, parallel=2)
    load(m)
    sleep(m, 10)
    assert m.want("m", "a", 20, 99) == [Wake("m", 1)], "it needs no room beside what it holds already"
    assert m.want("m", "b", 20, 99) == m.want("m", "load", 20, 99, holds=False) == []
    assert m.woke("m", 1, HERE, 21) == [Grant("m", "a"), Grant("m", "b"), Grant("m", "load", 0)]


def test_one_that_sleeps_leaves_first_and_not_for_nothing() -> None:
    m = machine(100, {"asleep": 40, "awake": 40, "new": 50})
    load(m, 0, "awake")
    load(m, 50, "asleep")
    sleep(m, 60, 30, "asleep")
    assert m.want("new", "a", 70, 999) == [Kill("asleep", 1)], "though the other one is idle for longer"
    m = machine(100, {"asleep": 40, "awake": 60, "new": 80})
    load(m, 50, "asleep")
    sleep(m, 60, 5, "asleep")
    load(m, 61, "awake")
    assert m.want("new", "a", 99, 999) == [Kill("awake", 1)], "it alone would not have been enough, and is not needed"


def test_two_that_sleep_do_not_wait_for_each_other() -> None:
    m = machine(100, {"one": 80, "two": 80})
    for model, at in (("one", 0.0), ("two", 20.0)):
        load(m, at, model)
        sleep(m, at + 10, 15, model)
    m.room(Footprint(90), Footprint(90), 35)
    assert m.want("one", "a", 40, 999) == [Kill("two", 1)]
    assert m.want("two", "b", 40, 999) == []
    assert m.ended("two", 1, "", 41) == [Wake("one", 1)]
    assert m.woke("one", 1, HERE, 42) == [Grant("one", "a")]
    m.released("one", 1, 43)
    assert m.tick(46) == [Kill("one", 1)]
    assert m.ended("one", 1, "", 61) == [Spawn("two", 2)]


def test_one_that_may_never_have_room_again_is_refused_and_sleeps_on() -> None:
    m = machine()
    load(m)
    sleep(m, 10)
    m.room(Footprint(30), Footprint(30), 20)
    (error,) = errors(m.want("m", "a", 30, 99))
    assert isinstance(error, LoadFailed)
    assert m.workers["m"].state is State.ASLEEP
    m.room(Footprint(100), Footprint(100), 40)
    assert m.want("m", "a", 50, 99) == [Wake("m", 1)]


def test_who_waits_too_long_for_room_to_wake_in_is_told_so() -> None:
    m = machine(100, {"m": 60, "n": 60})
    load(m)
    sleep(m, 10)
    load(m, 20, "n")
    m.want("n", "busy", 21, 999)
    m.want("m", "a", 30, 33)
    (error,) = errors(m.tick(33))
    assert isinstance(error, Busy)
    assert error.code == "no_memory"
    assert m.next_deadline() > 33


def test_weights_that_go_from_a_gpu_into_ram_need_room_there() -> None:
    size = Footprint(10, (50,))
    m = Machine([("m", Model(**SLEEPY))], 10, lambda _: size)
    m.workers["m"].leads(0.0)
    m.room(Footprint(20, (60,)), Footprint(20, (60,)), 0)
    w = load(m)
    m.sleeps("m", 1, w.last_used, Footprint(30), 10)
    assert w.state is State.READY, "there is no room in RAM"
    m.room(Footprint(40, (60,)), Footprint(40, (60,)), 11)
    m.sleeps("m", 1, w.last_used, Footprint(30), 12)
    assert w.held == Footprint(40, (50,)), "both while it goes over"
    m.rests("m", 1, Footprint(35, (2,)), 13)
    assert w.held == Footprint(35, (2,))
    assert m.want("m", "a", 20, 99) == [Wake("m", 1)]
    assert w.held == Footprint(35, (50,))
    m.woke("m", 1, HERE, 21)
    assert w.held == size


def asleep(model: str, size: int, **fields: Any) -> Resident:
    return Resident(model, Footprint(size), busy=True, asleep=True, **fields)


def decided(claims: list[Claim], residents: list[Resident], budget: int = 100) -> Decision:
    """Long after all of them came, so that every claim is firm."""
    return decide(claims, residents, Footprint(budget), None, 100, Terms(overdue_s=NEVER))


def claim(model: str, need: int, since: float, has: int = 0) -> Claim:
    return Claim(model, Footprint(need), since, has=Footprint(has))


def test_one_that_wakes_makes_no_room_for_itself() -> None:
    found = decided([claim("m", 60, 0, 10)], [asleep("m", 10), Resident("n", Footprint(45), busy=True, turn_ends=200)])
    assert (found.start, found.close, found.leave, found.look_at) == ((), (), (), 200)


def test_who_has_its_turn_to_wake_makes_no_room_for_who_is_behind_it() -> None:
    claims = [claim("m", 60, 0, 10), claim("new", 50, 1)]
    found = decided(claims, [asleep("m", 10)])
    assert (found.start, found.close) == (("m",), ())
    found = decided(claims, [asleep("m", 10), Resident("n", Footprint(60))])
    assert (found.leave, found.close) == ((("n", "m"),), ())


def test_who_leaves_for_one_before_it_does_not_wake() -> None:
    found = decided([claim("new", 95, 0), claim("m", 12, 1, 10)], [asleep("m", 10)])
    assert (found.close, found.start) == ((("m", "new"),), ())


# -- pinned ----------------------------------------------------------------------------------------------------------


def test_a_pinned_one_keeps_its_room_and_wakes_in_it() -> None:
    m = machine(100, {"m": 60, "n": 60}, pinned=True)
    w = load(m)
    sleep(m, 10)
    assert (w.held.ram, w.rest) == (60, Footprint(5))
    assert m.tick(1000) == [], "and never leaves"
    (error,) = errors(m.want("n", "a", 1001, 2000))
    assert isinstance(error, LoadFailed)
    assert m.want("m", "a", 1002, 2000) == [Wake("m", 1)]


def test_a_pinned_one_wakes_in_its_room_whoever_waits_for_room_before_it() -> None:
    m = machine(100, {"m": 60, "n": 60})
    m.pin("m", True, 0)
    load(m)
    sleep(m, 10)
    m.room(Footprint(70), Footprint(200), 11)
    assert m.want("n", "a", 20, 999, rank=1) == [], "other programs have the memory"
    assert m.want("m", "b", 21, 999, rank=-1) == [Wake("m", 1)]
    assert m.woke("m", 1, HERE, 22) == [Grant("m", "b")]


def test_what_a_pinned_one_keeps_asleep_is_nobody_elses_also_when_it_waits_for_more() -> None:
    sizes = {"m": 50, "n": 60}
    m = machine(100, sizes)
    m.pin("m", True, 0)
    load(m)
    sleep(m, 10)
    m.room(Footprint(60), Footprint(100), 11)
    sizes["m"] = 80
    assert m.want("m", "b", 20, 999, rank=-1) == [], "it has learnt to take more, and other programs have that"
    (error,) = errors(m.want("n", "a", 21, 999))
    assert isinstance(error, LoadFailed)
    assert m.room(Footprint(100), Footprint(100), 22) == [Wake("m", 1)]


def test_letting_it_go_asleep_gives_its_room_away_and_pinning_it_asleep_wakes_it() -> None:
    m = machine(pinned=True)
    w = load(m)
    sleep(m, 10)
    m.pin("m", False, 20)
    assert w.held.ram == 5
    assert m.pin("m", True, 21) == [Wake("m", 1)]
    assert w.held.ram == 40
    m.woke("m", 1, HERE, 22)
    m.configure({"m": Model(**SLEEPY)}, 10, (), (), 23)
    sleep(m, 40)
    assert m.configure({"m": Model(**SLEEPY, pinned=True)}, 10, (), ("m",), 50) == [Wake("m", 1)]


# -- what goes wrong, and other orders --------------------------------------------------------------------------------


def test_one_that_dies_asleep_is_loaded_by_the_next_request_and_nothing_is_held_against_it() -> None:
    m = machine()
    w = load(m)
    sleep(m, 10)
    assert m.ended("m", 1, "killed.", 20, killed=True) == []
    assert (w.state, w.held, w.failures, w.faults) == (State.COLD, NOTHING, 0, 0)
    assert m.want("m", "a", 21, 99) == [Spawn("m", 2)]


def test_one_that_dies_on_waking_is_loaded_for_who_waits() -> None:
    m = machine()
    w = load(m)
    sleep(m, 10)
    m.want("m", "a", 20, 99)
    assert m.ended("m", 1, "it crashed.", 21) == [Spawn("m", 2)]
    assert (w.held.ram, w.faults) == (40, 0)
    assert m.loaded("m", 2, HERE, 22) == [Grant("m", "a")]


def test_one_that_does_not_wake_is_ended_and_loaded_for_who_waits() -> None:
    m = machine()
    load(m)
    sleep(m, 10)
    m.want("m", "a", 20, 99)
    assert m.lost("m", 1, "it hangs", 25) == [Kill("m", 1, at_once=True)]
    assert m.lost("m", 1, "it hangs", 25) == m.woke("m", 1, HERE, 25) == []
    assert m.ended("m", 1, "", 26) == [Spawn("m", 2)]


def test_unloading_it_or_a_waking_ends_it() -> None:
    m = machine()
    w = load(m)
    sleep(m, 10)
    assert m.unload("m", 20) == [Kill("m", 1)]
    m.ended("m", 1, "", 21)
    assert w.state is State.COLD
    load(m, 30)
    sleep(m, 40)
    m.want("m", "a", 50, 99)
    assert m.unload("m", 51, gently=True) == [Kill("m", 2)]
    assert m.woke("m", 2, HERE, 52) == [], "it is being stopped"
    assert m.ended("m", 2, "", 53) == [Spawn("m", 3)]
    assert w.restarts == 0


def test_an_edit_ends_one_that_sleeps_and_loads_it_only_if_it_is_pinned() -> None:
    for pinned, after in ((False, []), (True, [Spawn("m", 2)])):
        m = machine(pinned=pinned)
        load(m)
        sleep(m, 10)
        assert m.configure({"m": Model(**SLEEPY, pinned=pinned)}, 10, ("m",), (), 20) == [Kill("m", 1)]
        assert m.ended("m", 1, "", 21) == after


def test_one_that_is_configured_no_more_is_ended_asleep() -> None:
    m = machine()
    load(m)
    sleep(m, 10)
    m.configure({}, 10, (), (), 20)
    assert m.tick(20) == [Kill("m", 1)]


def test_a_fresh_worker_can_be_asked_for_and_others_are_not_confused_by_news_of_the_old_one() -> None:
    m = machine()
    w = load(m)
    sleep(m, 10)
    assert m.renew("m", 20) == [Kill("m", 1)]
    m.ended("m", 1, "", 21)
    load(m, 22)
    assert m.rests("m", 1, NOTHING, 23) == m.woke("m", 1, HERE, 23) == m.lost("m", 1, "", 23) == []
    assert m.sleeps("m", 1, w.last_used, NOTHING, 23) == []
    assert (w.state, w.held.ram) == (State.READY, 40)


# -- whatever comes --------------------------------------------------------------------------------------------------


class Doze(msgspec.Struct, frozen=True):
    model: str


class Rouse(msgspec.Struct, frozen=True):
    model: str


class Bedroom(fleet_simulator.Simulator):
    """A machine on which models sleep: they hold a quarter then, and wake in half of the time of a load."""

    def __init__(self, trace: "Trace", policy: "Drowsy") -> None:
        super().__init__(trace, policy)
        self.sleeping: set[str] = set()
        self.waking: set[str] = set()
        self.naps = self.wakes = 0

    def _perform(self, actions: list) -> None:
        for action in actions:
            if isinstance(action, Doze):
                self._doze(self.held[action.model])
            elif isinstance(action, Rouse):
                self._rouse(self.held[action.model])
            else:
                super()._perform([action])

    def _doze(self, held: "fleet_simulator.Held") -> None:
        assert held.state is fleet_simulator.State.READY
        assert not held.active, "it is put to sleep while it answers"
        self.sleeping.add(held.spec.model)
        self.naps += 1
        self._used_bytes -= held.spec.size_bytes - quarter(held.spec.size_bytes)

    def _rouse(self, held: "fleet_simulator.Held") -> None:
        self.sleeping.remove(held.spec.model)
        self.waking.add(held.spec.model)
        self.wakes += 1
        self._used_bytes += held.spec.size_bytes - quarter(held.spec.size_bytes)
        assert self._used_bytes <= self.budget_bytes, f"{held.spec.model} wakes without room"
        self._become(held, fleet_simulator.State.LOADING)
        self._push(self.now + held.spec.load_s / 2, fleet_simulator._LOADED, held.spec.model)

    def _start(self, request: "fleet_policy.Request") -> None:
        assert request.model not in self.sleeping, "a request reaches an engine that sleeps"
        super()._start(request)

    def _unload(self, held: "fleet_simulator.Held") -> None:
        if held.spec.model in self.sleeping:  # all of it goes at its end, as with others: a little later than in truth
            self.sleeping.remove(held.spec.model)
            self._used_bytes += held.spec.size_bytes - quarter(held.spec.size_bytes)
            held.answered += 1
            super()._unload(held)
            self._used_bytes -= held.spec.size_bytes - quarter(held.spec.size_bytes)
            self.light = {*getattr(self, "light", ()), held.spec.model}
            return
        super()._unload(held)

    def _happen(self) -> list:
        _, _, kind, subject = self._events[0]
        if kind == fleet_simulator._UNLOADED and subject in getattr(self, "light", ()):
            self.light.remove(subject)
            size = self.held[str(subject)].spec.size_bytes
            self._used_bytes += size - quarter(size)
        return super()._happen()


def quarter(size: int) -> int:
    return size // 4


class Drowsy(fleet_rolecast.Rolecast):
    """Rolecast, with models that sleep after a while."""

    def __init__(self, trace: "Trace", after_s: float) -> None:
        super().__init__(trace)
        self._sizes = {spec.model: spec.size_bytes for spec in trace.models}
        for w in self.machine.workers.values():
            w.sleep_s = after_s
            w.leads(0.0)

    def loaded(self, model: str, now: float) -> list:
        if self.machine.workers[model].wakes:
            return self._actions(self.machine.woke(model, self._generation(model), HERE, now))
        return super().loaded(model, now)

    def _actions(self, wanted: Iterable[Effect]) -> list:
        actions: list = []
        for effect in wanted:
            if isinstance(effect, Lull):
                actions += self._lull(effect.model)
            elif isinstance(effect, Wake):
                actions.append(Rouse(effect.model))
            else:
                actions += super()._actions([effect])
        budget = self.machine.rooms.budget
        assert budget is not None
        assert total(w.held for w in self.machine.workers.values()).within(budget)
        return actions

    def _lull(self, model: str) -> list:
        w, now = self.machine.workers[model], self.machine._now
        follows = self.machine.sleeps(model, w.generation, w.last_used, NOTHING, now)
        asleep = w.state is State.ASLEEP
        follows += self.machine.rests(model, w.generation, Footprint(quarter(self._sizes[model])), now)
        return [*([Doze(model)] if asleep else []), *self._actions(follows)]


def random_trace(seed: int) -> "Trace":
    dice = random.Random(seed)
    names = "abcd"[: dice.randint(2, 4)]
    pinned = names[0] if dice.random() < 0.25 else ""
    models = tuple(
        ModelSpec(i, dice.randint(1, 12), dice.choice([0.0, 2.0, 20.0]), dice.choice([0.0, 0.5]), 2, i == pinned)
        for i in names
    )
    fixed = sum(spec.size_bytes for spec in models if spec.pinned)
    least = fixed + max(spec.size_bytes for spec in models if not spec.pinned)
    budget = dice.randint(least, max(least, sum(spec.size_bytes for spec in models) - 1))
    spread = dice.choice([10.0, 100.0, 600.0])
    arrivals = tuple(
        Arrival(
            dice.uniform(0, spread),
            dice.choice(names),
            dice.choice([0.1, 5.0]),
            dice.choice("xy"),
            dice.choice([0, 0, 1, -1]),
        )
        for _ in range(dice.randint(1, 30))
    )
    return Trace(About(f"seed {seed}", "", budget), models, arrivals)


@settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32), st.sampled_from([0.5, 4.0, 30.0]))
def test_the_budget_holds_and_nobody_waits_beyond_the_bound_though_models_sleep(seed: int, after_s: float) -> None:
    for trace in (random_trace(seed + n) for n in range(8)):
        policy = Drowsy(trace, after_s)
        for request in Bedroom(trace, policy).run().requests:
            assert request.ended_s < NEVER, f"request {request.number} of {trace.name} is never answered"
            assert request.wait_s <= policy.promise_s(request), trace.name


def test_random_traces_have_naps_in_them() -> None:
    rooms = []
    for seed in range(40):
        trace = random_trace(seed)
        rooms.append(Bedroom(trace, Drowsy(trace, 4.0)))
        rooms[-1].run()
    assert sum(room.naps for room in rooms) > 100
    assert sum(room.wakes for room in rooms) > 20
