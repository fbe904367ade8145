"""What somebody says of models while they run: pinned, let go, renewed, unloaded without cutting anybody off."""

from rolecast.config.schema import Model, Seconds
from rolecast.fleet.effects import Forget, Grant, Kill, Spawn
from rolecast.fleet.machine import Machine
from rolecast.fleet.worker import State
from rolecast.values import Endpoint

HERE = Endpoint(uds="/run/w.sock")
BRIEF = Model(parallel=2, idle_timeout=Seconds(5))


def ready(model: Model = BRIEF) -> Machine:
    m = Machine([("m", model)], 3)
    m.want("m", "first", 0, 100, holds=False)
    m.loaded("m", 1, HERE, 1)
    return m


def test_a_model_that_is_pinned_at_run_time_stays_and_leaves_again_once_it_is_let_go() -> None:
    m = ready()
    m.pin("m", True, 2)
    assert m.tick(1000) == []
    m.pin("m", False, 2000)
    assert m.tick(2004) == [], "its idle time begins when it is let go"
    assert m.tick(2005) == [Kill("m", 1)]


def test_a_word_of_pinning_outlives_edits_of_other_settings_and_ends_with_one_of_its_own() -> None:
    m = ready()
    m.pin("m", True, 2)
    m.configure({"m": Model(parallel=4, idle_timeout=Seconds(7))}, 3, (), (), 3)
    assert m.workers["m"].pinned
    m.configure({"m": Model(parallel=4, pinned=True)}, 3, (), (), 3)
    m.configure({"m": BRIEF}, 3, (), (), 3)
    assert not m.workers["m"].pinned


def test_a_pinned_model_that_left_the_file_and_came_back_is_pinned_as_the_file_says() -> None:
    m = ready(Model(pinned=True))
    m.configure({}, 3, (), (), 2)
    m.configure({"m": Model(pinned=True)}, 3, (), (), 3)
    assert m.workers["m"].pinned
    assert Forget("m") not in m.tick(10_000)


def test_a_fresh_worker_comes_once_those_who_are_served_have_their_answers() -> None:
    m = ready()
    assert m.want("m", "a", 2, 100) == [Grant("m", "a")]
    assert m.renew("m", 3) == []
    assert m.want("m", "b", 4, 100) == [], "the old one takes nobody any more"
    assert m.released("m", 1, 5) == [Kill("m", 1)]
    assert m.ended("m", 1, "", 6) == [Spawn("m", 2)]
    assert m.loaded("m", 2, HERE, 7) == [Grant("m", "b")]


def test_a_gentle_unload_cuts_nobody_off_and_starts_nothing_afterwards() -> None:
    m = ready()
    m.want("m", "a", 2, 100)
    assert m.unload("m", 3, gently=True) == []
    assert m.workers["m"].state is State.DRAINING
    assert m.released("m", 1, 5) == [Kill("m", 1)]
    assert m.ended("m", 1, "", 6) == []
    assert m.workers["m"].state is State.COLD


def test_a_gentle_unload_of_an_idle_model_is_done_at_once_and_a_second_one_may_hurry() -> None:
    m = ready()
    assert m.unload("m", 3, gently=True) == [Kill("m", 1)]
    m = ready()
    m.want("m", "a", 2, 100)
    m.unload("m", 3, gently=True)
    assert m.unload("m", 4) == [Kill("m", 1)]


def test_what_runs_elsewhere_is_not_renewed() -> None:
    m = Machine([("far", BRIEF)], 3)
    m.attached("far", HERE)
    assert m.renew("far", 1) == []
    assert m.workers["far"].state is State.REMOTE
