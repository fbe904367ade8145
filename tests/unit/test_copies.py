"""Several copies of one model on virtual time: who gets a request, when another copy comes, and what ends it."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.config.replicas import copy_id, model_of, number_of, spread
from rolecast.config.schema import Model, Seconds
from rolecast.errors import Busy, LoadFailed
from rolecast.fleet.admission import Claim, Resident, Terms, decide
from rolecast.fleet.copies import Copies
from rolecast.fleet.effects import Effect, Forget, Grant, Kill, Refuse, Spawn
from rolecast.fleet.machine import Machine
from rolecast.fleet.worker import BREAKER, State
from rolecast.footprint import Footprint
from rolecast.values import Endpoint

HERE = Endpoint(uds="/run/w.sock")
THREE = Model(parallel=1, replicas=3, idle_timeout=Seconds(10))


def machine(
    model: Model = THREE,
    budget: int | None = None,
    queue: int = 20,
    sizes: Mapping[str, int] | None = None,
    **others: Model,
) -> Machine:
    need = {} if sizes is None else sizes
    m = Machine(spread({"m": model, **others}).items(), queue, lambda worker_id: Footprint(need.get(worker_id, 4)))
    if budget is not None:
        m.room(Footprint(budget), Footprint(budget), 0)
    return m


def loaded(copies: int, model: Model = THREE, **others: Model) -> Machine:
    """So many copies are loaded, and each of their slots is taken."""
    m = machine(model, **others)
    for number in range(1, copies + 1):
        for slot in range(model.parallel):
            m.want("m", f"{number}.{slot}", 0, 900)
        taken = granted(m.loaded(copy_id("m", number), 1, HERE, 1))
        assert taken == [(copy_id("m", number), f"{number}.{slot}") for slot in range(model.parallel)]
    return m


def granted(effects: list[Effect]) -> list[tuple[str, Any]]:
    return [(e.model, e.ticket) for e in effects if isinstance(e, Grant)]


def states(m: Machine) -> list[str]:
    return [str(w.state) for w in m.workers.values() if w.of == "m"]


# -- names -----------------------------------------------------------------------------------------------------------


@given(st.text("ab#12:/", min_size=1).filter(lambda name: model_of(name) == name), st.integers(1, 99))
def test_the_name_of_a_copy_tells_its_model_and_its_number(model_id: str, number: int) -> None:
    assert model_of(copy_id(model_id, number)) == model_id
    assert number_of(copy_id(model_id, number)) == number


def test_a_model_has_as_many_workers_as_it_may_have_copies_and_the_first_alone_is_pinned() -> None:
    models = spread({"m": Model(replicas=3, pinned=True), "far": Model(replicas=2)}, lambda model: model.pinned)
    assert list(models) == ["m", "m#2", "m#3", "far"]
    assert [model.pinned for model in models.values()] == [True, False, False, False]


# -- who gets a request ----------------------------------------------------------------------------------------------


def test_the_first_copy_starts_as_the_only_one_would() -> None:
    m = machine()
    assert m.want("m", "a", 0, 900) == [Spawn("m", 1)]
    assert [m.want("m", each, 0, 900) for each in "bcde"] == [[]] * 4, "nobody is spared a load by a second one"


def test_another_copy_is_loaded_when_every_slot_is_taken_and_somebody_waits() -> None:
    m = machine(Model(parallel=2, replicas=3))
    m.want("m", "a", 0, 900)
    assert m.loaded("m", 1, HERE, 1) == [Grant("m", "a")]
    assert m.want("m", "b", 2, 900) == [Grant("m", "b")], "a slot is free"
    assert m.want("m", "c", 2, 900) == [Spawn("m#2", 1)]
    assert m.want("m", "d", 2, 900) == [], "the copy that loads has two slots"
    assert m.want("m", "e", 2, 900) == [Spawn("m#3", 1)]
    assert m.want("m", "f", 2, 900) == []
    assert m.loaded("m#3", 1, HERE, 3) == [Grant("m#3", "c"), Grant("m#3", "d")], "whoever loads first"


def test_a_request_goes_to_the_copy_with_the_fewest_and_of_equals_to_the_first() -> None:
    m = loaded(2, Model(parallel=2, replicas=2))
    for worker in ("m", "m#2", "m#2"):
        m.released(worker, 1, 2)
    copies = m.workers["m"].copies
    assert copies is not None
    assert copies.best() is m.workers["m#2"], "who does not wait asks this alone"
    assert granted(m.want("m", "x", 3, 900)) == [("m#2", "x")], "1 and 0 run"
    assert granted(m.want("m", "y", 3, 900)) == [("m", "y")], "1 and 1"
    assert granted(m.want("m", "z", 3, 900)) == [("m#2", "z")], "2 and 1"


def test_copies_share_one_line_and_whoever_waits_longest_has_the_first_slot_of_any() -> None:
    m = loaded(3)
    for each in ("a", "b", "c"):
        assert m.want("m", each, 2, 900) == []
    assert m.released("m#3", 1, 3) == [Grant("m#3", "a")]
    assert m.released("m", 1, 4) == [Grant("m", "b")]
    assert m.drop("m", "c") == []
    assert m.released("m", 1, 5) == []


def test_keys_take_turns_over_all_copies() -> None:
    m = loaded(2, Model(parallel=1, replicas=2))
    for ticket, key in (("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b")):
        m.want("m", ticket, 2, 900, key=key)
    served = [granted(m.released(worker, 1, 3)) for worker in ("m", "m#2", "m")]
    assert served == [[("m", "a1")], [("m#2", "b1")], [("m", "a2")]]


def test_the_limit_of_the_line_and_its_deadlines_hold_over_all_copies() -> None:
    m = machine(queue=2)
    m.want("m", "a", 0, 900)
    m.loaded("m", 1, HERE, 1)
    m.want("m", "b", 1, 50)
    m.loaded("m#2", 1, HERE, 2)
    for each in "cd":
        m.want("m", each, 2, 60)
    (full,) = m.want("m", "e", 2, 60)
    assert isinstance(full, Refuse)
    assert isinstance(full.error, Busy)
    assert "2 running and 2 waiting" in full.error.message
    late = m.tick(60)
    assert [e.ticket for e in late if isinstance(e, Refuse)] == ["c", "d"], "each is told once"


def test_who_must_run_alone_gets_a_copy_that_is_idle() -> None:
    m = loaded(2, Model(parallel=2, replicas=2))
    assert m.want("m", "x", 2, 900, alone=True, again=2) == []
    assert m.released("m#2", 1, 3) == []
    assert m.released("m#2", 1, 4) == [Grant("m#2", "x", 2)]


# -- memory ----------------------------------------------------------------------------------------------------------


def test_a_further_copy_takes_only_memory_that_is_free() -> None:
    m = machine(budget=8, other=Model())
    m.want("other", "o", 0, 900)
    m.loaded("other", 1, HERE, 0)
    m.released("other", 1, 1)
    m.want("m", "a", 10, 900)
    m.loaded("m", 1, HERE, 11)
    assert m.want("m", "b", 12, 900) == [], "nobody leaves for it, though the other model is idle"
    m.tick(100)
    assert m.workers["other"].state is State.READY
    assert m.unload("other", 101) == [Kill("other", 1)]
    assert m.ended("other", 1, "", 102) == [Spawn("m#2", 1)]


def test_a_further_copy_leaves_for_a_model_that_somebody_waits_for_at_once() -> None:
    m = machine(budget=8, other=Model())
    m.want("m", "a", 0, 900)
    m.loaded("m", 1, HERE, 1)
    m.want("m", "b", 2, 900)
    assert m.want("other", "o", 3, 900) == [Kill("m#2", 1)], "also while it loads"
    assert m.ended("m#2", 1, "", 4) == [Spawn("other", 1)]
    assert states(m)[0] == "ready"


def test_a_further_copy_in_use_takes_no_more_requests_at_once_and_ends_those_it_has() -> None:
    m = machine(budget=8, other=Model())
    m.want("m", "a", 0, 900)
    m.loaded("m", 1, HERE, 1)
    m.want("m", "b", 2, 900)
    m.loaded("m#2", 1, HERE, 3)
    assert m.want("other", "o", 4, 900) == []
    assert states(m)[:2] == ["ready", "draining"], "without the patience that another model would be given"
    assert m.want("m", "c", 5, 900) == []
    assert m.released("m#2", 1, 6) == [Kill("m#2", 1)]
    assert m.ended("m#2", 1, "", 7) == [Spawn("other", 1)]
    assert m.loaded("other", 1, HERE, 8) == [Grant("other", "o")]
    assert m.released("m", 1, 9) == [Grant("m", "c")]


def test_a_copy_that_was_closed_is_open_again_when_nobody_waits_for_its_memory() -> None:
    m = machine(budget=8, other=Model())
    m.want("m", "a", 0, 900)
    m.loaded("m", 1, HERE, 1)
    m.want("m", "b", 2, 900)
    m.loaded("m#2", 1, HERE, 3)
    m.want("other", "o", 4, 900)
    assert m.drop("other", "o") == []
    assert states(m)[:2] == ["ready", "ready"]


def test_those_who_wait_get_another_copy_at_once_when_the_one_that_was_closed_is_open_again() -> None:
    m = machine(budget=8, other=Model(), sizes={"other": 8})
    m.want("m", "a", 0, 900)
    m.loaded("m", 1, HERE, 1)
    m.want("other", "o", 2, 900)
    m.tick(40)
    assert states(m) == ["draining", "cold", "cold"]
    assert m.want("m", "c", 41, 900) == []
    assert m.drop("other", "o") == []
    assert m.next_deadline() <= 41
    assert m.tick(41) == [Spawn("m#2", 1)]


def test_a_pinned_first_copy_that_will_never_fit_is_no_reason_to_refuse_what_another_serves() -> None:
    sizes = {"m": 4}
    m = machine(budget=8, sizes=sizes)
    for each in ("a", "b"):
        m.want("m", each, 0, 900)
    m.loaded("m", 1, HERE, 1)
    m.loaded("m#2", 1, HERE, 2)
    m.want("m", "c", 3, 900)
    m.unload("m", 4)
    sizes["m"] = 100
    m.pin("m", True, 5)
    assert m.ended("m", 1, "", 6) == []
    assert m.released("m#2", 1, 7) == [Grant("m#2", "c")]


def test_copies_of_a_model_take_turns_with_others_together() -> None:
    m = machine()
    m.want("m", "a", 10, 900)
    m.workers["m#2"].left_at = 50.0
    assert m.rooms._claim(m.workers["m"]).since == 50, "one of them has had its turn"


def judged(claims: list[Claim], residents: list[Resident]) -> Any:
    return decide(claims, residents, Footprint(10), Footprint(10), 10.0, Terms(5, 30, 30))


def test_a_further_copy_does_not_take_what_another_waits_for_and_is_never_refused() -> None:
    big, spare = Claim("big", Footprint(8), 9.0), Claim("m#2", Footprint(2), 0.0, spare=True)
    held = Resident("m", Footprint(6), busy=True)
    assert judged([spare, big], [held]).start == ()
    assert judged([spare], [held]).start == ("m#2",)
    found = judged([Claim("m#2", Footprint(20), 0.0, spare=True)], [held])
    assert (found.start, found.refuse) == ((), ())


def test_of_idle_models_the_further_copy_leaves_first_though_it_was_used_last() -> None:
    old = Resident("old", Footprint(5), idle_since=1.0)
    spare = Resident("m#2", Footprint(5), idle_since=9.9, reload_s=60.0, spare=True)
    assert judged([Claim("new", Footprint(5), 9.9)], [old, spare]).leave == (("m#2", "new"),)


# -- what ends a copy ------------------------------------------------------------------------------------------------


def test_copies_leave_one_by_one_and_the_pinned_first_one_stays() -> None:
    m = loaded(3, Model(parallel=1, replicas=3, pinned=True, idle_timeout=Seconds(10)))
    for number, at in ((3, 2), (2, 5), (1, 6)):
        m.released(copy_id("m", number), 1, at)
    m.want("m", "x", 7, 900)
    m.released("m", 1, 8)
    assert m.tick(12) == [Kill("m#3", 1)]
    assert m.tick(15) == [Kill("m#2", 1)]
    m.ended("m#3", 1, "", 15)
    m.ended("m#2", 1, "", 15)
    assert m.tick(1000) == []
    assert states(m) == ["ready", "cold", "cold"]


def test_a_copy_that_dies_comes_back_when_it_is_needed_and_what_it_had_goes_on_elsewhere() -> None:
    m = loaded(2, Model(parallel=1, replicas=2))
    assert m.ended("m#2", 1, "killed.", 4, killed=True) == [], "nobody waits"
    assert m.released("m", 1, 5) == []
    assert granted(m.want("m", "2.0", 5, 900, again=1)) == [("m", "2.0")]
    assert m.want("m", "y", 6, 900) == [Spawn("m#2", 2)]


def test_a_copy_that_does_not_load_backs_off_by_itself_and_nobody_is_refused_for_it() -> None:
    m = loaded(1)
    m.want("m", "x", 2, 900)
    now = 3.0
    for generation in (1, 2, 3):
        worker = m.workers["m#2"]
        assert (worker.state, worker.generation) == (State.LOADING, generation)
        ended = m.ended("m#2", generation, "no memory.", now)
        assert not any(isinstance(each, Refuse) for each in ended)
        now = max(now, worker.retry_at)
        m.ended("m#3", m.workers["m#3"].generation, "no memory either.", now)
        m.tick(now)
    assert m.workers["m#2"].faults == BREAKER
    assert m.next_deadline() > now, "nothing is tried without an end"
    assert m.released("m", 1, now) == [Grant("m", "x")]


def test_those_who_wait_are_refused_when_no_copy_serves_or_loads() -> None:
    m = machine()
    m.want("m", "a", 0, 900)
    (refused,) = m.ended("m", 1, "bad weights.", 1)
    assert isinstance(refused, Refuse)
    assert isinstance(refused.error, LoadFailed)
    assert states(m) == ["failed", "cold", "cold"], "the others are not tried in its place"


def test_whoever_asks_for_a_load_has_it_tried_at_once_also_for_those_who_fill_the_line() -> None:
    m = machine(queue=1)
    m.want("m", "a", 0, 900)
    assert m.ended("m", 1, "killed.", 1, killed=True) == [Spawn("m", 2)]
    assert m.ended("m", 2, "killed.", 2, killed=True) == []
    refused, begun = m.want("m", "load", 2.1, 900, holds=False)
    assert isinstance(refused, Refuse)
    assert begun == Spawn("m", 3)


def test_the_first_copy_starts_again_beside_those_that_serve() -> None:
    m = loaded(2)
    assert m.ended("m", 1, "crashed.", 2) == [Spawn("m", 2)]
    m.want("m", "x", 3, 900)
    assert m.ended("m", 2, "bad luck.", 4) == [Spawn("m#3", 1)], "x waits on: the second copy serves"
    assert m.released("m#2", 1, 5) == [Grant("m#2", "x")]


def test_a_stuck_copy_is_ended_at_once_and_not_started_again_for_nobody() -> None:
    m = loaded(2)
    assert m.replace("m#2", 1, "it is stuck", 2) == [Kill("m#2", 1, at_once=True)]
    assert m.ended("m#2", 1, "", 3) == []
    assert states(m)[1] == "cold"


# -- what is said of a model -----------------------------------------------------------------------------------------


def test_who_unloads_a_model_ends_all_copies_and_a_request_that_waits_gets_one_new_worker() -> None:
    m = loaded(3)
    m.want("m", "x", 2, 900)
    killed = [effect for number in (1, 2, 3) for effect in m.unload(copy_id("m", number), 3)]
    assert killed == [Kill("m", 1), Kill("m#2", 1), Kill("m#3", 1)]
    begun = [effect for number in (3, 2, 1) for effect in m.ended(copy_id("m", number), 1, "", 4)]
    assert begun == [Spawn("m", 2)]


def test_a_fresh_worker_is_put_in_place_of_the_first_and_the_others_come_when_they_are_needed() -> None:
    m = loaded(2)
    for worker_id in ("m", "m#2"):
        m.renew(worker_id, 2)
        assert m.released(worker_id, 1, 3) == [Kill(worker_id, 1)]
    assert m.ended("m#2", 1, "", 4) == []
    assert m.ended("m", 1, "", 4) == [Spawn("m", 2)]


def test_another_copy_takes_what_comes_while_the_first_ends_what_it_has_for_a_fresh_worker() -> None:
    m = loaded(2)
    m.released("m#2", 1, 2)
    assert [m.renew(worker_id, 3) for worker_id in ("m", "m#2")] == [[], [Kill("m#2", 1)]]
    assert m.want("m", "x", 4, 900) == [Spawn("m#3", 1)]
    assert m.ended("m#2", 1, "", 5) == []
    assert m.loaded("m#3", 1, HERE, 6) == [Grant("m#3", "x")]
    assert m.released("m", 1, 7) == [Kill("m", 1)]
    assert m.ended("m", 1, "", 8) == [Spawn("m", 2)]


def test_how_long_a_model_stays_is_said_of_all_copies_and_for_good_of_one() -> None:
    m = loaded(2)
    m.keep("m#2", 3.0)
    assert [m.workers[each].idle_timeout_s for each in ("m", "m#2")] == [3.0, 3.0]
    m.keep("m#2", float("inf"))
    assert [m.workers[each].idles for each in ("m", "m#2")] == [False, True]


def test_more_copies_by_an_edit_serve_those_who_wait_already() -> None:
    m = loaded(1, Model(parallel=1))
    m.want("m", "x", 2, 900)
    assert m.configure(spread({"m": THREE}), 20, (), (), 3) == [Spawn("m#2", 1)]
    assert m.loaded("m#2", 1, HERE, 4) == [Grant("m#2", "x")]


def test_copies_that_an_edit_takes_away_get_nobody_any_more_and_leave_with_the_request_they_have() -> None:
    m = loaded(3)
    m.want("m", "x", 2, 900)
    assert m.configure(spread({"m": Model(parallel=1, idle_timeout=Seconds(10))}), 20, (), (), 3) == []
    assert m.released("m#2", 1, 4) == [], "x waits for the one that stays"
    assert m.tick(4) == [Kill("m#2", 1)]
    assert m.ended("m#2", 1, "", 5) == []
    assert Forget("m#2") in m.tick(5)
    assert m.released("m", 1, 6) == [Grant("m", "x")]
    assert m.configure(spread({"m": THREE}), 20, (), (), 7) == [], "the third is still there, and belongs again"
    m.want("m", "y", 8, 900)
    assert granted(m.released("m#3", 1, 9)) == [("m#3", "y")]


def test_a_model_that_is_taken_away_serves_those_who_wait_with_all_copies_and_is_forgotten_whole() -> None:
    m = loaded(2, Model(parallel=1, replicas=2))
    m.want("m", "x", 2, 900)
    m.configure({}, 20, (), (), 3)
    assert m.released("m#2", 1, 4) == [Grant("m#2", "x")]
    m.released("m", 1, 4)
    m.released("m#2", 1, 5)
    assert m.tick(5) == [Kill("m", 1), Kill("m#2", 1)]
    m.ended("m", 1, "", 6)
    m.ended("m#2", 1, "", 6)
    assert m.tick(6) == [Forget("m"), Forget("m#2")]
    assert m.workers == {}


def test_copies_read_as_one_worker() -> None:
    m = loaded(2)
    m.want("m", "x", 2, 900)
    m.want("m", "y", 2, 900)
    copies = m.workers["m"].copies
    assert isinstance(copies, Copies)
    assert (copies.state, copies.active, len(copies.waiting), copies.parallel) == (State.READY, 2, 2, 2)
    m.ended("m", 1, "crashed.", 3)
    assert (copies.state, copies.active, copies.endpoint) == (State.READY, 1, HERE)
    assert m.next_deadline() > 3


@pytest.mark.parametrize("pinned", [False, True])
def test_a_model_of_one_copy_knows_of_none(pinned: bool) -> None:
    assert machine(Model(pinned=pinned)).workers["m"].copies is None
