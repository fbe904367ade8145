"""Who is loaded and who makes room: the rules one by one, and on virtual time whatever comes."""

import heapq
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolecast.config.schema import Model, Seconds
from rolecast.errors import LoadFailed
from rolecast.fleet.admission import Claim, Resident, Terms, decide, firm_at, victims
from rolecast.fleet.bound import Sharer, begun_before, longest_wait_s
from rolecast.fleet.effects import Effect, Grant, Kill, Refuse, Spawn
from rolecast.fleet.machine import Machine
from rolecast.fleet.worker import State
from rolecast.footprint import Footprint, total
from rolecast.values import Endpoint

HERE = Endpoint(uds="/run/w.sock")
TERMS = Terms(patience_s=5, turn_s=30, overdue_s=30)


def ram(count: int) -> Footprint:
    return Footprint(count)


def asked(model: str, need: int, since: float = 0.0, **more: object) -> Claim:
    return Claim(model, ram(need), since, **more)  # type: ignore[arg-type]


def there(model: str, held: int, **more: object) -> Resident:
    return Resident(model, ram(held), **more)  # type: ignore[arg-type]


def judged(claims: list[Claim], residents: list[Resident], budget: int = 10, now: float = 10.0):
    return decide(claims, residents, ram(budget), ram(budget), now, TERMS)


# -- the rules one by one --------------------------------------------------------------------------------------------


def test_what_fits_starts_in_the_order_it_came() -> None:
    found = judged([asked("b", 4, 2.0), asked("a", 4, 1.0), asked("c", 4, 3.0)], [])
    assert found.start == ("a", "b")


def test_the_model_that_nobody_used_for_longest_makes_room() -> None:
    found = judged([asked("new", 5)], [there("old", 5, idle_since=1.0), there("young", 5, idle_since=4.0)])
    assert found.leave == (("old", "new"),)
    assert found.start == ()


def test_a_model_that_takes_long_to_load_stays_longer() -> None:
    slow, quick = there("slow", 5, idle_since=1.0, reload_s=60.0), there("quick", 5, idle_since=4.0, reload_s=1.0)
    assert judged([asked("new", 5)], [slow, quick], now=100.0).leave == (("quick", "new"),)


def test_nobody_who_works_leaves_for_a_model_that_fails() -> None:
    fails = asked("broken", 5, failing=True)
    found = judged([fails, asked("good", 3, 5.0)], [there("used", 5, idle_since=50.0)], budget=8, now=100.0)
    assert (found.put_off, found.leave, found.start) == (("broken",), (), ("good",))
    assert judged([fails], [there("busy", 6, busy=True)], now=100.0).put_off == ("broken",)
    assert judged([fails], [there("used", 5)], budget=10).start == ("broken",)
    assert judged([fails], [there("used", 6)], now=61.0).leave == (("used", "broken"),)


def test_a_model_that_fails_again_and_again_drives_out_nobody_and_its_requests_are_refused() -> None:
    m = Machine({"bad": Model(backend="fake"), "good": Model(backend="fake")}.items(), 9, lambda model: ram(6))
    m.room(ram(10), ram(10), 0)
    m.want("bad", "a", 0, 999)
    now = 0.0
    while not m.workers["bad"].broken:
        now = max(now, m.workers["bad"].retry_at)
        m.tick(now)
        m.ended("bad", m.workers["bad"].generation, "bad weights.", now)
    m.want("good", "b", now, 999)
    m.loaded("good", 1, HERE, now)
    m.released("good", 1, now)
    later = m.workers["bad"].retry_at + 5
    effects = m.want("bad", "c", later, later + 600)
    assert [type(each) for each in effects] == [Refuse]
    assert "bad weights. See `rolecast logs bad`. Failed 3 times in a row; next try in 60 s." in str(effects[0].error)
    assert m.want("bad", "load", later, later + 600, holds=False) == [Kill("good", 1)]  # somebody wants to see it


def test_a_model_that_failed_once_and_was_mended_is_loaded_as_any_other() -> None:
    m = Machine({"bad": Model(backend="fake"), "good": Model(backend="fake")}.items(), 9, lambda model: ram(6))
    m.room(ram(10), ram(10), 0)
    now = 0.0
    while not m.workers["bad"].broken:
        m.want("bad", "a", now, now + 999)
        m.ended("bad", m.workers["bad"].generation, "bad weights.", now)
        now = max(now, m.workers["bad"].retry_at)

    def asked_of(model: str, other: str) -> None:
        """It is loaded, if need be in place of the other."""
        nonlocal now
        now += 20.0
        effects = m.want(model, "b", now, now + 999)
        if effects == [Kill(other, m.workers[other].generation)]:
            effects = m.ended(other, m.workers[other].generation, "", now)
        assert effects == [Spawn(model, m.workers[model].generation)]
        assert m.loaded(model, m.workers[model].generation, HERE, now) == [Grant(model, "b")]
        m.released(model, m.workers[model].generation, now)

    for model, other in (("bad", "good"), ("good", "bad")) * 3:
        asked_of(model, other)


def test_nobody_leaves_for_a_model_that_fails_and_is_asked_by_nobody() -> None:
    found = judged([asked("broken", 5, failing=True, waited=False)], [there("quiet", 6)], now=1000.0)
    assert (found.leave, found.put_off) == ((), ("broken",))


def test_no_more_leave_than_have_to() -> None:
    small = [there(f"s{i}", 1, idle_since=float(i)) for i in range(5)]
    found = victims(ram(5), ram(0), [*small, there("big", 5, idle_since=9.0)], 10.0)
    assert found is not None
    assert [each.model for each in found] == ["s0", "s1", "s2", "s3", "s4"]
    found = victims(ram(6), ram(1), [small[0], there("big", 5, idle_since=9.0)], 10.0)
    assert found is not None
    assert [each.model for each in found] == ["big"]


@pytest.mark.parametrize(
    "kept",
    [{"movable": False}, {"movable": False, "settles": float("inf")}, {"settles": 11.0}, {"busy": True}],
    ids=["pinned", "loading", "just loaded", "in use"],
)
def test_who_must_not_leave_stays(kept: dict[str, object]) -> None:
    found = judged([asked("new", 6, since=9.0)], [there("it", 5, **kept)])
    assert (found.leave, found.close, found.start) == ((), (), ())


@pytest.mark.parametrize(
    ("more", "firm"),
    [
        ({}, 15.0),
        ({"load_s": 12.0}, 22.0),
        ({"load_s": 90.0}, 25.0),
        ({"rank": 1, "load_s": 12.0}, 10.0),
        ({"rank": -1}, 20.0),
    ],
    ids=["patience", "as long as it loads", "half of overdue at most", "a high class", "a low class"],
)
def test_a_claim_is_firm_after_the_patience_or_as_long_as_loading_takes(more: dict[str, object], firm: float) -> None:
    assert firm_at(asked("new", 1, 10.0, **more), TERMS) == firm


def test_models_in_use_are_closed_for_a_claim_that_has_waited_for_its_patience() -> None:
    used = there("used", 8, busy=True)
    assert judged([asked("new", 6, since=6.0)], [used]).close == ()
    assert judged([asked("new", 6, since=6.0)], [used]).look_at == 11.0
    assert judged([asked("new", 6, since=5.0)], [used]).close == (("used", "new"),)


def test_a_high_class_waits_for_no_patience_and_a_low_one_twice_as_long() -> None:
    used = there("used", 8, busy=True)
    assert judged([asked("new", 6, since=9.9, rank=1)], [used]).close == (("used", "new"),)
    assert judged([asked("new", 6, since=4.0, rank=-1)], [used]).close == ()
    assert judged([asked("new", 6, since=0.0, rank=-1)], [used]).close == (("used", "new"),)


def test_a_model_keeps_its_turn_for_those_that_it_was_loaded_for() -> None:
    found = judged([asked("new", 6)], [there("used", 8, busy=True, turn_ends=12.0)])
    assert (found.close, found.look_at) == ((), 12.0)


def test_what_is_free_is_kept_for_whom_it_is_the_turn() -> None:
    found = judged([asked("big", 9), asked("small", 2, since=1.0)], [there("used", 5, busy=True)])
    assert (found.start, found.close) == ((), (("used", "big"),))


def test_before_that_others_may_pass() -> None:
    found = judged([asked("big", 9, since=8.0), asked("small", 2, since=9.0)], [there("used", 5, busy=True)])
    assert (found.start, found.close) == (("small",), ())


def test_memory_that_is_on_its_way_is_given_once() -> None:
    going = there("going", 5, leaving=True, movable=False)
    found = judged([asked("a", 8), asked("b", 8, since=1.0)], [going, there("idle", 5)])
    assert found.leave == (("idle", "a"),)
    assert judged([asked("a", 5)], [going, there("idle", 5)]).leave == ()


def test_what_can_never_fit_is_refused() -> None:
    pinned = there("pinned", 5, movable=False)
    assert judged([asked("huge", 6), asked("fits", 5)], [pinned]).refuse == ("huge",)


def test_a_model_used_together_with_one_in_use_goes_last() -> None:
    fellow, other = there("fellow", 5, idle_since=0.0, dear=True), there("other", 5, idle_since=4.0)
    assert judged([asked("new", 5)], [fellow, other]).leave == (("other", "new"),)
    assert judged([asked("new", 10)], [fellow, other]).leave == (("other", "new"), ("fellow", "new"))


def test_idle_models_go_when_other_programs_take_the_memory() -> None:
    found = judged([], [there("a", 4, idle_since=1.0), there("b", 4, idle_since=2.0)], budget=5)
    assert found.leave == (("a", ""),)


def test_each_gpu_is_a_place_of_its_own() -> None:
    on_second = Resident("second", Footprint(1, (0, 8)))
    claim = Claim("new", Footprint(1, (8,)), 0.0)
    budget = Footprint(10, (10, 10))
    assert decide([claim], [on_second], budget, budget, 10.0, TERMS).start == ("new",)
    on_first = Resident("first", Footprint(1, (8, 0)))
    assert decide([claim], [on_first, on_second], budget, budget, 10.0, TERMS).leave == (("first", "new"),)


# -- all of them together, on virtual time ---------------------------------------------------------------------------

SERVICE_S, LOAD_S, UNLOAD_S = 4.0, 3.0, 1.0


class Machinery:
    """A machine with its effects carried out in virtual time, and its promises checked at every instant."""

    def __init__(self, sizes: dict[str, int], budget: int, pinned: frozenset[str], chance: random.Random) -> None:
        self.sizes, self.chance, self.budget, self.pinned = sizes, chance, budget, pinned
        models = [(i, Model(parallel=2, idle_timeout=Seconds(0), pinned=i in pinned)) for i in sizes]
        self.machine = Machine(models, 1000, lambda model: ram(sizes[model]))
        self.machine.rooms.terms = Terms(patience_s=2, turn_s=5, overdue_s=10)
        self.events: list[tuple[float, int, str, tuple]] = []
        self.count, self.now = 0, 0.0
        self.came: dict[int, float] = {}
        self.waits: list[float] = []
        self.running: dict[str, int] = dict.fromkeys(sizes, 0)
        self.perform(self.machine.room(ram(budget), ram(budget), 0.0))

    def at(self, when: float, kind: str, *about: object) -> None:
        self.count += 1
        heapq.heappush(self.events, (when, self.count, kind, about))

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Spawn(model=model, generation=generation):
                    self.at(self.now + self.chance.uniform(0.1, LOAD_S), "loaded", model, generation)
                case Kill(model=model, generation=generation):
                    assert not self.running[model], "a lease was broken"
                    assert model not in self.pinned, "a pinned model was made to leave"
                    self.at(self.now + self.chance.uniform(0.1, UNLOAD_S), "ended", model, generation)
                case Grant(model=model, ticket=ticket):
                    self.waits.append(self.now - self.came.pop(ticket))
                    self.running[model] += 1
                    generation = self.machine.workers[model].generation
                    self.at(self.now + self.chance.uniform(0.1, SERVICE_S), "finished", model, generation)
                case Refuse(error=error):
                    raise AssertionError(f"refused: {error.message}")
        held = total(w.held for w in self.machine.workers.values() if w.state not in (State.COLD, State.FAILED))
        assert held.ram <= self.budget, "more memory than there is"
        alarm = self.machine.next_deadline()
        if alarm < float("inf"):
            self.at(max(alarm, self.now), "tick")

    def run(self) -> None:
        steps = 0
        while self.events:
            steps += 1
            assert steps < 20_000, "it never comes to rest"
            self.now, _, kind, about = heapq.heappop(self.events)
            machine = self.machine
            match kind:
                case "asked":
                    model, rank, key = about
                    self.came[self.count] = self.now
                    ticket, self.count = self.count, self.count + 1
                    self.perform(machine.want(model, ticket, self.now, 1e9, key=key, rank=rank))
                case "loaded":
                    self.perform(machine.loaded(about[0], about[1], HERE, self.now))
                case "ended":
                    self.perform(machine.ended(about[0], about[1], "", self.now))
                case "finished":
                    self.running[about[0]] -= 1
                    self.perform(machine.released(about[0], about[1], self.now))
                case "tick" if self.now >= machine.next_deadline():
                    self.perform(machine.tick(self.now))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 6), st.integers(1, 60), st.floats(0.01, 3.0))
def test_nobody_waits_for_ever_and_memory_is_never_over(seed: int, models: int, requests: int, pace: float) -> None:
    chance = random.Random(seed)
    sizes = {f"m{i}": chance.randint(1, 6) for i in range(models)}
    pinned = frozenset({"m0"} if sizes["m0"] <= 3 and chance.random() < 0.3 else ())
    world = Machinery(sizes, max(sizes.values()) + sum(sizes[i] for i in pinned), pinned, chance)
    when = 0.0
    for _ in range(requests):
        when += chance.expovariate(1 / pace)
        model = chance.choice(list(sizes)) if chance.random() < 0.7 else "m1"
        rank = chance.choice((0, 0, 0, 1, -1))
        world.at(when, "asked", model, rank, chance.choice("abc"))
    world.run()
    assert len(world.waits) == requests, "some were never served"
    each = Sharer(SERVICE_S, LOAD_S, UNLOAD_S, parallel=2)
    before = begun_before(requests, keys=3)
    assert max(world.waits) <= longest_wait_s(each, before, [each] * (models - 1), world.machine.rooms.terms)


def test_one_that_is_too_large_is_refused_with_what_to_do() -> None:
    machine = Machine([("m", Model())], 10, lambda model: ram(20 * 2**30))
    machine.room(ram(8 * 2**30), ram(8 * 2**30), 0.0)
    (refused,) = machine.want("m", 1, 1.0, 100.0)
    assert isinstance(refused, Refuse)
    assert isinstance(refused.error, LoadFailed)
    assert "raise memory.budget; " in refused.error.message
    assert machine.workers["m"].state is State.COLD


def test_one_that_is_too_large_beside_a_pinned_one_is_refused_with_who_may_leave() -> None:
    sizes = {"m": ram(6 * 2**30), "echo": ram(4 * 2**30)}
    machine = Machine([("m", Model()), ("echo", Model(pinned=True))], 10, sizes.__getitem__)
    machine.room(ram(8 * 2**30), ram(8 * 2**30), 0.0)
    machine.want("echo", 1, 0.0, 100.0)
    machine.loaded("echo", machine.workers["echo"].generation, HERE, 1.0)
    (refused,) = machine.want("m", 2, 2.0, 100.0)
    assert isinstance(refused, Refuse)
    assert "raise memory.budget, or `rolecast unpin echo`; " in str(refused.error)


def test_a_closed_model_is_open_again_when_nobody_needs_its_room() -> None:
    machine = Machine([("a", Model()), ("b", Model())], 10, lambda model: ram(6))
    machine.room(ram(10), ram(10), 0.0)
    machine.want("a", 1, 0.0, 1e9)
    machine.loaded("a", 1, HERE, 1.0)
    machine.want("b", 2, 2.0, 1e9)
    machine.tick(8.0)
    assert machine.workers["a"].state is State.DRAINING
    machine.want("a", 3, 9.0, 1e9)
    effects = machine.drop("b", 2)
    assert machine.workers["a"].state is State.READY
    assert machine.workers["a"].endpoint is HERE
    assert effects == []
    assert machine.released("a", 1, 10.0) == [Grant("a", 3)]


def test_one_that_lingers_leaves_when_its_time_has_come_though_nobody_waits() -> None:
    machine = Machine([("a", Model(idle_timeout=Seconds(0)))], 10, lambda model: ram(6))
    machine.room(ram(10), ram(10), 0.0)
    machine.want("a", 1, 0.0, 1e9)
    machine.loaded("a", 1, HERE, 8.0)
    machine.released("a", 1, 10.0)
    assert machine.room(ram(5), ram(10), 11.0) == [], "it was used just now"
    assert machine.next_deadline() == 12.0
    assert machine.tick(12.0) == [Kill("a", 1)]
    assert machine.next_deadline() == float("inf"), "else the clock would be asked again and again"


def test_a_model_that_failed_and_waits_for_memory_does_not_ask_for_attention_meanwhile() -> None:
    machine = Machine([("a", Model()), ("b", Model(idle_timeout=Seconds(0)))], 10, lambda model: ram(6))
    machine.room(ram(10), ram(10), 0.0)
    machine.want("a", 1, 0.0, 1e9)
    machine.loaded("a", 1, HERE, 1.0)
    machine.want("b", 2, 2.0, 1e9)
    machine.workers["a"].answered = 1
    machine.ended("a", 1, "killed.", 3.0, killed=True)  # b takes its place
    assert machine.workers["b"].state is State.LOADING
    machine.want("a", 1, 3.0, 1e9, again=1)
    machine.tick(4.0)
    assert machine.next_deadline() > 4.0, "else the clock would be asked again and again"
