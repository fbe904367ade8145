"""Copies of one model that sleep, on virtual time: who wakes, and for whom."""

import pytest

from rolecast.config.replicas import spread
from rolecast.config.schema import Model, Seconds
from rolecast.errors import Busy
from rolecast.fleet.copies import Copies, whole
from rolecast.fleet.effects import Effect, Grant, Kill, Refuse, Spawn, Wake
from rolecast.fleet.machine import Machine
from rolecast.fleet.worker import State
from rolecast.footprint import Footprint
from rolecast.values import Endpoint

HERE = Endpoint(uds="/run/w.sock")
TWO = Model(parallel=1, replicas=2, sleep=Seconds(10))


@pytest.fixture
def both_sleep() -> Machine:
    """Two copies of 40 that hold 5 asleep."""
    m = Machine(spread({"m": TWO, "other": Model()}).items(), 20, lambda worker_id: Footprint(40))
    m.room(Footprint(100), Footprint(100), 0)
    for each in ("first", "second"):
        m.want("m", each, 0, 900)
        m.loaded("m" if each == "first" else "m#2", 1, HERE, 1)
    for worker_id in ("m", "m#2"):
        m.released(worker_id, 1, 2)
        asleep(m, worker_id)
    return m


def asleep(m: Machine, worker_id: str) -> None:
    w = m.workers[worker_id]
    m.sleeps(worker_id, w.generation, w.last_used, Footprint(), 20)
    m.rests(worker_id, w.generation, Footprint(5), 20)
    assert w.state is State.ASLEEP


def kinds(effects: list[Effect]) -> list[tuple[type, str]]:
    return [(type(e), e.model) for e in effects if isinstance(e, Wake | Spawn | Kill | Grant)]


def test_one_request_wakes_one_copy_and_who_waits_behind_it_the_other(both_sleep: Machine) -> None:
    m = both_sleep
    assert kinds(m.want("m", "a", 30, 900)) == [(Wake, "m")]
    assert kinds(m.want("m", "b", 30, 900)) == []
    assert kinds(m.woke("m", 1, HERE, 31)) == [(Grant, "m"), (Wake, "m#2")]
    assert kinds(m.woke("m#2", 1, HERE, 32)) == [(Grant, "m#2")]


def test_a_copy_that_sleeps_is_woken_before_one_is_loaded(both_sleep: Machine) -> None:
    m = both_sleep
    m.unload("m", 25)
    m.ended("m", 1, "", 25)
    assert kinds(m.want("m", "a", 30, 900)) == [(Wake, "m#2")]
    assert kinds(m.woke("m#2", 1, HERE, 31)) == [(Grant, "m#2")]
    assert kinds(m.want("m", "b", 32, 900)) == [(Spawn, "m")]


def test_a_further_copy_wakes_into_free_memory_alone(both_sleep: Machine) -> None:
    m = both_sleep
    m.want("other", "x", 30, 900)
    m.loaded("other", 1, HERE, 31)
    assert kinds(m.want("m", "a", 32, 900)) == [(Wake, "m")]
    assert kinds(m.woke("m", 1, HERE, 33)) == [(Grant, "m")]
    assert kinds(m.want("m", "b", 34, 900)) == []
    assert m.workers["m#2"].state is State.ASLEEP
    assert kinds(m.released("m", 1, 35)) == [(Grant, "m")]


def test_one_that_does_not_wake_keeps_nobody_from_the_other(both_sleep: Machine) -> None:
    m = both_sleep
    m.want("m", "a", 30, 900)
    assert kinds(m.lost("m", 1, "it hangs", 31)) == [(Kill, "m"), (Wake, "m#2")]
    assert kinds(m.woke("m#2", 1, HERE, 32)) == [(Grant, "m#2")]


def test_who_waits_too_long_for_room_to_wake_any_copy_in_is_told_so(both_sleep: Machine) -> None:
    m = both_sleep
    m.unload("m", 25)
    m.ended("m", 1, "", 25)
    m.want("other", "x", 26, 900)
    m.loaded("other", 1, HERE, 27)
    m.room(Footprint(60), Footprint(60), 28)
    assert kinds(m.want("m", "a", 30, 33)) == []
    assert m.rooms.lacks(whole(m.workers["m"])), "the second copy would be woken, and cannot"
    (late,) = (e.error for e in m.tick(33) if isinstance(e, Refuse))
    assert isinstance(late, Busy)
    assert late.code == "no_memory"


def test_a_model_of_which_a_copy_serves_does_not_wait_for_memory(both_sleep: Machine) -> None:
    m = both_sleep
    m.room(Footprint(60), Footprint(60), 25)
    m.want("m", "a", 30, 900)
    m.woke("m", 1, HERE, 31)
    m.want("m", "b", 32, 900)
    assert m.rooms.claiming == {"m#2"}
    assert not m.rooms.lacks(whole(m.workers["m"]))
    m.workers["m"].state = State.LOADING
    assert not m.rooms.lacks(whole(m.workers["m"])), "it loads, and only a further copy waits for what is free"


def test_the_model_is_said_to_sleep_when_all_that_are_here_do(both_sleep: Machine) -> None:
    copies = both_sleep.workers["m"].copies
    assert isinstance(copies, Copies)
    assert copies.state is State.ASLEEP
    both_sleep.want("m", "a", 30, 900)
    assert copies.state is State.LOADING
