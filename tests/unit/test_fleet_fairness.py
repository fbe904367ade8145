"""Nobody waits for ever: random traces on virtual time, held against what the fleet declares.

The simulator of `bench/fleet.py` stops a machine that goes over the budget, ends a worker that answers somebody, starts
a model twice or lets a pinned one go. Here everybody is answered besides, and within the time that was declared.
"""

import heapq
import random
from collections.abc import Iterable

import msgspec
import pytest
from fleet_bench import fleet_peers, fleet_policy, fleet_rolecast, fleet_simulator, fleet_workload
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolecast.fleet.admission import Terms
from rolecast.fleet.worker import Worker
from rolecast.footprint import Footprint, total

About, Arrival, Client = fleet_workload.About, fleet_workload.Arrival, fleet_workload.Client
ModelSpec, Trace, Turn = fleet_workload.ModelSpec, fleet_workload.Trace, fleet_workload.Turn
Rolecast, Request = fleet_rolecast.Rolecast, fleet_policy.Request
Refuse, Start = fleet_policy.Refuse, fleet_policy.Start
NEVER = float("inf")
MANY = settings(max_examples=120, deadline=None, database=None, suppress_health_check=list(HealthCheck))
FEW = settings(MANY, max_examples=30)
SMALL = settings(MANY, max_examples=150)
SEEDS = st.integers(0, 2**32)
AT_ONCE = 8
"""So many traces an example: they take less time than finding an example does."""


# -- traces ----------------------------------------------------------------------------------------------------------


def random_models(dice: random.Random) -> tuple[tuple["ModelSpec", ...], int]:
    """Two to five models and a budget that they do not all fit into; one of them may be pinned."""
    names = "abcde"[: dice.randint(2, 5)]
    sizes = {name: dice.randint(1, 8) for name in names}
    pinned = {name for name in names[:1] if dice.random() < 0.25}
    least = sum(sizes[name] for name in pinned) + max(sizes[name] for name in names if name not in pinned)
    models = []
    for name in names:
        load_s = dice.choice([0.0, 0.5, 5.0, dice.uniform(0, 30)])
        unload_s = dice.choice([0.0, 0.1, dice.uniform(0, 5)])
        models.append(ModelSpec(name, sizes[name], load_s, unload_s, dice.randint(1, 3), name in pinned))
    return tuple(models), dice.randint(least, max(least, sum(sizes.values()) - 1))


def random_trace(seed: int) -> "Trace":
    """Anybody asks for anything; the same for the same seed."""
    dice = random.Random(seed)
    models, budget = random_models(dice)
    slowest, spread = dice.choice([0.5, 5.0, 40.0]), dice.choice([1.0, 30.0, 300.0])
    weights = [1 / n ** dice.choice([0, 1, 2]) for n in range(1, len(models) + 1)]

    def one() -> tuple[str, float]:
        return dice.choices(models, weights)[0].model, dice.uniform(0, slowest)

    def who() -> tuple[str, int]:
        return dice.choice("xyz"), dice.choice([0, 0, 0, 1, -1])

    arrivals = tuple(Arrival(dice.uniform(0, spread), *one(), *who()) for _ in range(dice.randint(0, 20)))
    clients = tuple(
        Client(
            dice.uniform(0, spread / 2),
            tuple(Turn(*one(), dice.choice([0.0, dice.uniform(0, 20)])) for _ in range(dice.randint(1, 8))),
            *who(),
        )
        for _ in range(dice.randint(1, 4))
    )
    return Trace(About(f"seed {seed}", "", budget), models, arrivals, clients)


def random_traces(seed: int) -> list["Trace"]:
    return [random_trace(seed + n) for n in range(AT_ONCE)]


def small_traces() -> st.SearchStrategy["Trace"]:
    """Few requests with round numbers: what fails here shrinks to something that can be read."""
    arrival = st.builds(
        Arrival,
        st.integers(0, 60).map(float),
        st.sampled_from("abc"),
        st.integers(0, 20).map(float),
        st.sampled_from("xy"),
        st.integers(-1, 1),
    )

    def made(sizes: list[int], loads: list[int], slots: int, spare: int, arrivals: list["Arrival"]) -> "Trace":
        models = tuple(
            ModelSpec(name, size, float(load_s), 1.0, slots)
            for name, size, load_s in zip("abc", sizes, loads, strict=True)
        )
        return Trace(About("small", "", max(sizes) + spare), models, tuple(arrivals))

    three = st.lists(st.integers(1, 4), min_size=3, max_size=3)
    loads = st.lists(st.integers(0, 20), min_size=3, max_size=3)
    return st.builds(
        made, three, loads, st.integers(1, 2), st.integers(0, 4), st.lists(arrival, min_size=1, max_size=14)
    )


def crowd(rare: int = 1) -> "Trace":
    """Five clients keep one model busy without a gap; another is wanted, for which there is no room beside it."""
    models = (ModelSpec("popular", 6, 5.0, 0.5, 2), ModelSpec("rare", 6, 5.0, 0.5, 2))
    clients = tuple(Client(n * 0.5, tuple(Turn("popular", 4.0) for _ in range(300)), "many") for n in range(5))
    return Trace(About("crowd", "", 10), models, tuple(Arrival(20.0, "rare", 1.0, "few") for _ in range(rare)), clients)


# -- how they are replayed -------------------------------------------------------------------------------------------


def replayed(trace: "Trace", terms: Terms | None = None) -> tuple["Rolecast", list["Request"]]:
    """What became of the requests; other terms than those by default switch rules off."""
    policy = Rolecast(trace)
    if terms:
        policy.machine.rooms.terms = terms
    result = fleet_simulator.replay(trace, policy)
    assert not result.idle_loads, "a model was loaded for somebody and left before it answered"
    assert len(result.requests) == trace.asked
    return policy, result.requests


def hold(policy: "Rolecast", requests: Iterable["Request"]) -> None:
    for request in requests:
        assert request.ended_s < NEVER, f"request {request.number} for {request.model} is never answered"
        told = f"request {request.number} waited {request.wait_s:g} s of {policy.promise_s(request):g} s"
        assert request.wait_s <= policy.promise_s(request), told


def longest(requests: Iterable["Request"], key: str) -> float:
    return max(request.wait_s for request in requests if request.key == key)


class WithLeavers(Rolecast):
    """Every third client hangs up when it has waited for some time."""

    def __init__(self, trace: "Trace") -> None:
        super().__init__(trace)
        self.leaves: list[tuple[float, Request]] = []

    def arrive(self, request: "Request", now: float) -> list["fleet_policy.Action"]:
        if request.number % 3 == 0:
            self.leaves.append((now + request.service_s, request))
        return super().arrive(request, now)

    def next_time(self) -> float:
        self.leaves = [(at, request) for at, request in self.leaves if request.started_s == NEVER]
        return min([super().next_time(), *(at for at, _ in self.leaves)])

    def tick(self, now: float) -> list["fleet_policy.Action"]:
        gone = [request for at, request in self.leaves if at <= now]
        self.leaves = [(at, request) for at, request in self.leaves if at > now]
        actions: list[fleet_policy.Action] = []
        for request in gone:
            actions += [Refuse(request), *self._actions(self.machine.drop(request.model, request))]
        return actions + super().tick(now)


class WithOtherPrograms(Rolecast):
    """Other programs take some of the memory for ten seconds, again and again; none is started beyond what is left."""

    def __init__(self, trace: "Trace") -> None:
        super().__init__(trace)
        self.all_bytes = trace.budget_bytes
        self.left_bytes, self.turns = [self.all_bytes] * 6 + [self.all_bytes // 2] * 3, 0

    def next_time(self) -> float:
        return min(super().next_time(), 10.0 * (self.turns + 1)) if self.turns < 60 else super().next_time()

    def tick(self, now: float) -> list["fleet_policy.Action"]:
        actions: list[fleet_policy.Action] = []
        if self.turns < 60 and now >= 10.0 * (self.turns + 1):
            self.turns += 1
            there = self.all_bytes if self.turns == 60 else self.left_bytes[self.turns % 9]
            actions += self._actions(self.machine.room(Footprint(there), Footprint(self.all_bytes), now))
        return actions + super().tick(now)

    def _actions(self, wanted: Iterable["fleet_rolecast.Effect"]) -> list["fleet_policy.Action"]:
        actions = super()._actions(wanted)
        if any(isinstance(action, fleet_policy.Load) for action in actions):
            held = total(worker.held for worker in self.machine.workers.values())
            budget = self.machine.rooms.budget
            assert budget is not None
            assert held.within(budget), "a model was started though other programs have the memory"
        return actions


class Crash(msgspec.Struct, frozen=True):
    """A worker dies: what it ran is lost, and its memory is free."""

    model: str


class Mortal(fleet_simulator.Simulator):
    """A machine on which workers die."""

    def _perform(self, actions: list) -> None:
        for action in actions:
            if isinstance(action, Crash):
                self._crash(self.held[action.model])
            else:
                super()._perform([action])

    def _crash(self, held: "fleet_simulator.Held") -> None:
        lost = [event for event in self._events if self._is_of(event[3], held.spec.model)]
        self._events = [event for event in self._events if event not in lost]
        heapq.heapify(self._events)
        for request in (event[3] for event in lost if isinstance(event[3], Request)):
            request.started_s = NEVER
        self._running -= held.active
        self._used_bytes -= held.spec.size_bytes
        held.active = 0
        self._become(held, fleet_simulator.State.COLD)

    @staticmethod
    def _is_of(subject: "Request | str", model: str) -> bool:
        """Whether it is the load or unload of this model, or the end of an answer of it."""
        if isinstance(subject, str):
            return subject == model
        return subject.model == model and subject.started_s < NEVER


class WithDeaths(Rolecast):
    """Workers are killed from outside, thirty times; who had got no answer asks again, as the gateway does."""

    def __init__(self, trace: "Trace", seed: int) -> None:
        super().__init__(trace)
        self.dice = random.Random(seed)
        self.kills = sorted(self.dice.uniform(0, 300) for _ in range(30))
        self.runs: dict[int, Request] = {}

    def finished(self, request: "Request", now: float) -> list["fleet_policy.Action"]:
        del self.runs[request.number]
        return super().finished(request, now)

    def next_time(self) -> float:
        return min([super().next_time(), *self.kills[:1]])

    def tick(self, now: float) -> list["fleet_policy.Action"]:
        actions: list = []
        if self.kills and self.kills[0] <= now:
            self.kills.pop(0)
            alive = [
                w for w in self.machine.workers.values() if w.state in ("loading", "ready", "draining", "stopping")
            ]
            if alive:
                actions = self.kill(self.dice.choice(alive), now)
        return actions + super().tick(now)

    def kill(self, worker: "Worker", now: float) -> list:
        lost = [request for request in self.runs.values() if request.model == worker.model_id]
        ended = self.machine.ended(worker.model_id, worker.generation, "killed.", now, killed=True)
        actions: list = [Crash(worker.model_id), *self._actions(ended)]
        for request in lost:
            del self.runs[request.number]
            again = self.machine.want(request.model, request, now, 1e9, again=1, key=request.key, rank=request.priority)
            actions += self._actions(again)
        return actions

    def _actions(self, wanted: Iterable["fleet_rolecast.Effect"]) -> list["fleet_policy.Action"]:
        actions = super()._actions(wanted)
        for request in (action.request for action in actions if isinstance(action, Start)):
            self.runs[request.number] = request
            worker = self.machine.workers[request.model]
            worker.answered = worker.generation  # a byte of somebody's answer has come
        return actions


# -- what holds whoever asks -----------------------------------------------------------------------------------------


@MANY
@given(SEEDS)
def test_everybody_is_answered_within_the_declared_time(seed: int) -> None:
    for trace in random_traces(seed):
        hold(*replayed(trace))


@SMALL
@given(small_traces())
def test_everybody_is_answered_within_the_declared_time_in_small(trace: "Trace") -> None:
    hold(*replayed(trace))


@settings(FEW, max_examples=60)
@given(SEEDS, st.floats(0, 20), st.floats(0, 60), st.floats(0, 120))
def test_the_bound_follows_the_settings(seed: int, patience_s: float, turn_s: float, overdue_s: float) -> None:
    for trace in random_traces(seed):
        hold(*replayed(trace, Terms(patience_s, turn_s, overdue_s)))


@FEW
@given(SEEDS)
def test_who_hangs_up_leaves_nobody_behind_waiting(seed: int) -> None:
    for trace in random_traces(seed):
        policy = WithLeavers(trace)
        hold(policy, [request for request in fleet_simulator.replay(trace, policy).requests if not request.refused])


@FEW
@given(SEEDS)
def test_what_other_programs_take_is_not_given_to_models_and_everybody_is_answered_when_they_leave(seed: int) -> None:
    for trace in random_traces(seed):
        requests = fleet_simulator.replay(trace, WithOtherPrograms(trace)).requests
        assert all(request.ended_s < NEVER for request in requests)


@FEW
@given(SEEDS)
def test_nobody_waits_for_ever_though_workers_are_killed_again_and_again(seed: int) -> None:
    answered = asked = 0
    for trace in random_traces(seed):
        requests = Mortal(trace, WithDeaths(trace, seed)).run().requests
        assert all(request.ended_s < NEVER or request.refused for request in requests), trace.name
        answered, asked = answered + sum(r.ended_s < NEVER for r in requests), asked + len(requests)
    assert answered > asked / 2, "refused is who waits for a model of which nothing came in three starts"


# -- what each rule is for, and what happens without it --------------------------------------------------------------


def test_who_wants_a_model_without_room_is_served_though_another_is_busy_without_a_gap() -> None:
    policy, requests = replayed(crowd())
    hold(policy, requests)
    assert longest(requests, "few") < 30
    _, requests = replayed(crowd(), Terms(patience_s=NEVER, overdue_s=NEVER))
    assert longest(requests, "few") > 1000, "without patience it waits until the others have gone"


def test_a_queue_of_a_b_a_a_c_a_b_c_takes_one_load_of_each() -> None:
    models = tuple(ModelSpec(name, 6, 10.0, 0.5) for name in "abc")
    asked = tuple(Arrival(0.1 * n, name, 4.0) for n, name in enumerate("abaacabc"))
    trace = Trace(About("queue", "", 10), models, asked)
    assert fleet_simulator.replay(trace, Rolecast(trace)).loads == 3
    assert fleet_simulator.replay(trace, fleet_peers.Fifo(trace)).loads == 7


def test_a_model_that_was_loaded_for_many_answers_them_before_it_makes_room() -> None:
    loads = {}
    for turn_s in (30.0, 0.0):
        trace = crowd(rare=8)
        loads[turn_s] = fleet_simulator.replay(trace, with_terms(trace, Terms(turn_s=turn_s))).loads
    assert loads[30.0] < loads[0.0]


def with_terms(trace: "Trace", terms: Terms) -> "Rolecast":
    policy = Rolecast(trace)
    policy.machine.rooms.terms = terms
    return policy


def backlog(*, keys: tuple[str, str], models: str = "a") -> "Trace":
    """Sixty requests of one key at once, and after a minute of another key's one each minute."""
    specs = tuple(ModelSpec(name, 6, 5.0, 0.5) for name in models)
    heavy = tuple(Arrival(0.0, models[n % len(models)], 5.0, keys[0]) for n in range(60))
    light = tuple(Arrival(60.0 * n, models[0], 5.0, keys[1]) for n in range(1, 4))
    return Trace(About("backlog", "", 10), specs, (*heavy, *light))


@pytest.mark.parametrize(("models", "soon_s"), [("a", 10), ("ab", 60)])
def test_the_backlog_of_one_key_is_not_what_another_waits_for(models: str, soon_s: float) -> None:
    policy, requests = replayed(backlog(keys=("heavy", "light"), models=models))
    hold(policy, requests)
    assert longest(requests, "light") < soon_s
    _, requests = replayed(backlog(keys=("one", "one"), models=models))
    assert max(request.wait_s for request in requests[60:]) > 2 * soon_s, "without keys it waits for all of it"


def test_a_key_that_was_away_has_saved_nothing_up() -> None:
    models = (ModelSpec("a", 6, 1.0, 0.5),)
    steady = tuple(Arrival(0.0, "a", 1.0, "steady") for _ in range(100))
    late = tuple(Arrival(50.0, "a", 1.0, "late") for _ in range(40))
    _, requests = replayed(Trace(About("late", "", 10), models, (*steady, *late)), Terms(overdue_s=NEVER))
    soon = [request for request in requests if 50 < request.started_s <= 70]
    assert sum(request.key == "steady" for request in soon) in range(8, 13), "they take turns"


def classes(people: int, night: int) -> "Trace":
    """One model, no keys: two hundred requests of a batch at once, and somebody who asks every ten seconds."""
    batch = tuple(Arrival(0.0, "a", 2.0, "", night) for _ in range(200))
    asked = tuple(Arrival(60.0 + 10 * n, "a", 1.0, "", people) for n in range(12))
    return Trace(About("classes", "", 10), (ModelSpec("a", 6, 5.0, 0.5),), (*batch, *asked))


def test_a_higher_class_waits_for_one_answer_and_not_for_the_backlog_of_a_lower_one() -> None:
    for night, people in ((-1, 0), (0, 1), (-1, 1)):
        policy, requests = replayed(classes(people, night))
        hold(policy, requests)
        waits = sorted(request.wait_s for request in requests[200:])
        assert waits[-1] < 5, "the one that runs, and one that is overdue"
        assert waits[6] < 2, "mostly the one that runs"
    _, requests = replayed(classes(0, 0))
    assert min(request.wait_s for request in requests[200:]) > 100, "without classes it waits for all of it"


def test_a_higher_class_has_every_second_slot_though_answers_take_longer_than_a_lower_one_is_let_wait() -> None:
    night = tuple(Arrival(0.0, "a", 40.0, "", -1) for _ in range(20))
    people = tuple(Arrival(100.0, "a", 1.0) for _ in range(3))
    _, requests = replayed(Trace(About("long", "", 10), (ModelSpec("a", 6, 5.0, 0.5),), (*night, *people)))
    assert max(request.wait_s for request in requests[20:]) < 4 * 45


def test_a_lower_class_is_answered_though_a_higher_one_never_pauses() -> None:
    people = tuple(Client(0.0, tuple(Turn("a", 2.0) for _ in range(200)), "", 1) for _ in range(3))
    night = tuple(Arrival(1.0, "a", 2.0, "", -1) for _ in range(4))
    trace = Trace(About("night", "", 10), (ModelSpec("a", 6, 5.0, 0.5),), night, people)
    policy, requests = replayed(trace)
    hold(policy, requests)
    assert max(request.wait_s for request in requests[:4]) < 4 * (30 + 2 * 2) + 10
    _, requests = replayed(trace, Terms(overdue_s=NEVER))
    assert min(request.wait_s for request in requests[:4]) > 1000, "without ageing it waits until they have gone"


def test_nobody_who_asks_for_a_loaded_model_waits_for_the_load_of_another() -> None:
    models = (ModelSpec("here", 4, 1.0, 0.5, 2), ModelSpec("slow", 4, 300.0, 0.5))
    arrivals = (
        Arrival(0.0, "here", 1.0),
        Arrival(10.0, "slow", 1.0),
        *(Arrival(20.0 + 5 * n, "here", 1.0) for n in range(50)),
    )
    _, requests = replayed(Trace(About("loads", "", 10), models, arrivals))
    assert [request.wait_s for request in requests[2:]] == [0.0] * 50


def test_one_load_serves_all_who_ask_for_it_at_once() -> None:
    trace = Trace(
        About("flight", "", 10),
        (ModelSpec("a", 4, 5.0, 0.5, 4),),
        tuple(Arrival(n / 10, "a", 1.0) for n in range(20)),
    )
    assert fleet_simulator.replay(trace, Rolecast(trace)).loads == 1
