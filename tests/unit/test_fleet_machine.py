"""The rules of the fleet on virtual time: processes, clients and the clock do whatever hypothesis thinks of."""

from collections import deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rolecast.config.schema import Model, Seconds
from rolecast.errors import Busy, LoadFailed, UpstreamTimeout, WorkerDown
from rolecast.fleet.admission import FRESH_S
from rolecast.fleet.effects import Effect, Forget, Grant, Kill, Refuse, Spawn
from rolecast.fleet.machine import BACKOFF_S, BY_OTHERS, LOOKS_S, STABLE_S, Machine
from rolecast.fleet.worker import BREAKER, State
from rolecast.footprint import Footprint
from rolecast.values import Endpoint

QUEUE = 3
HERE = Endpoint(uds="/run/w.sock")
MODELS = {
    "pinned": Model(parallel=2, pinned=True, idle_timeout=Seconds(1)),
    "brief": Model(parallel=1, idle_timeout=Seconds(5)),
    "lasting": Model(parallel=2, idle_timeout=Seconds(0)),
    "far": Model(parallel=2, backend="openai"),
}
LOCAL = [name for name in MODELS if name != "far"]
SOMETIMES = st.sampled_from([False] * 5 + [True])


class Ticket:
    """What a client waits for; remembers what became of it."""

    def __init__(self, model: str, holds: bool, deadline: float, *, again: int = 0, alone: bool = False) -> None:
        self.model = model
        self.holds = holds
        self.again = again
        self.alone = alone
        self.slots = 0
        self.deadline = deadline
        self.fate = ""

    def __repr__(self) -> str:
        return f"<{self.model} {'slot' if self.holds else 'load'} {self.fate or 'waits'}>"


class FleetOnVirtualTime(RuleBasedStateMachine):
    """Carries out what the machine decides, on processes and clients that are made up, and keeps its own books."""

    tickets = Bundle("tickets")
    leases = Bundle("leases")

    @initialize(local=st.sampled_from(LOCAL))
    def begin(self, local: str) -> None:
        self.local = local
        self.now = 100.0
        self.machine = Machine([(m, MODELS[m]) for m in (local, "far")], QUEUE)
        self.machine.attached("far", HERE)
        self.alive: dict[str, int] = {}  # the generation of each process that lives
        self.killed: set[str] = set()
        self.line: dict[str, deque[Ticket]] = {m: deque() for m in MODELS}
        self.held: dict[str, int] = dict.fromkeys(MODELS, 0)
        self.used: dict[str, float] = dict.fromkeys(MODELS, 0.0)
        self.failures: dict[str, int] = dict.fromkeys(MODELS, 0)
        self.faults: dict[str, float] = dict.fromkeys(MODELS, 0)
        self.answered: dict[str, int] = dict.fromkeys(MODELS, -1)
        """The generation that gave an answer last."""
        self.tried_alone: dict[str, int] = dict.fromkeys(MODELS, -1)
        self.failed_at: dict[str, float] = {}
        self.ready_at: dict[str, float] = {}
        self.newest: dict[str, int] = dict.fromkeys(MODELS, 0)
        self.renewed: set[str] = set()
        """Models whose settings changed since their process started."""
        self.dropped: set[str] = set()
        """Models that are not configured."""

    # -- what the machine wants done ------------------------------------------------------------------------------

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Grant(model=model, ticket=ticket, slots=slots):
                    self.granted(model, ticket, slots)
                case Refuse(ticket=ticket):
                    assert not ticket.fate, f"{ticket} is answered twice"
                    ticket.fate = "refused"
                    if ticket in self.line[ticket.model]:
                        self.line[ticket.model].remove(ticket)
                case Spawn(model=model, generation=generation):
                    self.spawned(model, generation)
                case Kill(model=model, generation=generation):
                    assert self.alive.get(model) == generation
                    self.killed.add(model)
                case Forget(model=model):
                    assert model in self.dropped
                    assert model not in self.alive
                    assert not self.held[model]
                    assert not self.line[model]

    def granted(self, model: str, ticket: Ticket, slots: int) -> None:
        assert not ticket.fate, f"{ticket} is answered twice"
        assert (ticket.model, ticket.holds) == (model, slots > 0)
        assert model == "far" or (model in self.ready_at and model not in self.killed | self.renewed)
        if ticket in self.line[model]:
            assert self.line[model].popleft() is ticket, "not in the order they came"
        elif slots:
            assert not self.line[model], "somebody passed the line"
        ticket.fate, ticket.slots = "granted", slots
        if ticket.alone and model != "far" and self.answered[model] != self.generation(model):
            assert not self.held[model], "it does not run alone"
            assert slots == MODELS[model].parallel, "others may come beside it"
            self.tried_alone[model] = self.generation(model)
        else:
            assert slots == ticket.holds
        self.held[model] += slots

    def spawned(self, model: str, generation: int) -> None:
        assert model not in self.alive, "two processes of one model"
        assert generation > self.newest[model]
        if model in self.failed_at:
            wait = BACKOFF_S[min(max(self.failures[model] - 1, 0), len(BACKOFF_S) - 1)]
            assert self.now >= self.failed_at.pop(model) + wait, "restarted too soon"
        assert model not in self.dropped or self.line[model], "started for nobody"
        self.alive[model] = self.newest[model] = generation
        self.ready_at.pop(model, None)
        self.renewed.discard(model)

    # -- what clients do ------------------------------------------------------------------------------------------

    @rule(
        target=tickets,
        far=SOMETIMES,
        holds=st.sampled_from([True, True, True, False]),
        patience=st.sampled_from([0.5, 3.0, 100.0]),
        again=st.sampled_from([0, 0, 0, 0, 1, 2]),
        alone=SOMETIMES,
    )
    def want(self, far: bool, holds: bool, patience: float, again: int, alone: bool) -> Ticket:
        model = "far" if far else self.local
        if model in self.dropped:  # dispatch does not know it any more
            model = next(iter({self.local, "far"} - self.dropped), "")
        again = again if holds else 0
        alone = again > 1 and alone
        ticket = Ticket(model, holds, self.now + patience, again=again, alone=alone)
        if not model:
            ticket.fate = "refused"
            return ticket
        full = len(self.line[model]) >= QUEUE
        if not holds or not self.faults[model]:
            self.failed_at.pop(model, None)  # somebody asks for the model itself, or it was only killed: no pause
        effects = self.machine.want(model, ticket, self.now, ticket.deadline, holds=holds, again=again, alone=alone)
        self.used[model] = self.now
        if not any(isinstance(e, Grant | Refuse) and e.ticket is ticket for e in effects):
            assert again or not full
            before = sum(t.again >= again for t in self.line[model]) if again else len(self.line[model])
            self.line[model].insert(before, ticket)
        elif again:
            assert not any(isinstance(e, Refuse) and isinstance(e.error, Busy) for e in effects)
        self.perform(effects)
        return ticket

    @rule(ticket=consumes(tickets))
    def give_up(self, ticket: Ticket) -> None:
        if ticket.fate == "granted" and ticket.holds:
            self.release(ticket, self.generation(ticket.model))
        elif not ticket.fate:
            ticket.fate = "gone"
            self.line[ticket.model].remove(ticket)
            self.perform(self.machine.drop(ticket.model, ticket))

    @rule(target=leases, ticket=consumes(tickets))
    def keep(self, ticket: Ticket) -> tuple[Ticket, int]:
        """A client that will release only later, perhaps when its worker is long dead."""
        return ticket, self.generation(ticket.model)

    def generation(self, model: str) -> int:
        return self.machine.workers[model].generation if model in self.machine.workers else -1

    @rule(lease=consumes(leases))
    def finish(self, lease: tuple[Ticket, int]) -> None:
        ticket, generation = lease
        if ticket.fate == "granted" and ticket.holds:
            self.release(ticket, generation)

    def release(self, ticket: Ticket, generation: int) -> None:
        model = ticket.model
        if generation == self.generation(model) and self.held[model]:
            self.held[model] -= ticket.slots
            self.used[model] = self.now
        ticket.fate = "released"
        self.perform(self.machine.released(model, generation, self.now, ticket.slots))

    @precondition(lambda self: not any(self.held.values()))
    @rule()
    def release_what_nobody_holds(self) -> None:
        self.perform(self.machine.released(self.local, self.generation(self.local), self.now))

    @rule()
    def unload(self) -> None:
        model = self.local
        if model in self.dropped:
            return
        self.failed_at.pop(model, None)
        if self.machine.workers[model].state is State.FAILED:
            self.failures[model] = self.faults[model] = 0
        self.perform(self.machine.unload(model, self.now))

    # -- what the person who edits the configuration does ---------------------------------------------------------

    @rule(stale=st.sets(st.sampled_from(["local", "far"])), gone=st.sampled_from(["", "", "local", "far"]))
    def edit(self, stale: set[str], gone: str) -> None:
        models = {"local": self.local, "far": "far"}
        dropped = {models[gone]} if gone else set()
        returned = self.dropped - dropped
        renewed = {models[x] for x in stale} - dropped - {m for m in returned if m not in self.machine.workers}
        for model in renewed:
            if model in self.alive:
                self.renewed.add(model)
            if self.machine.workers[model].state is State.FAILED:
                self.failures[model] = self.faults[model] = 0
                self.failed_at.pop(model, None)
            if model == "far":
                self.held[model] = 0
        for model in returned - set(self.machine.workers):
            self.failures[model] = self.faults[model] = 0
            self.failed_at.pop(model, None)
        self.dropped = dropped
        before = self.generation("far")
        kept = {m: MODELS[m] for m in models.values() if m not in dropped}
        self.perform(self.machine.configure(kept, QUEUE, renewed, {"pinned", "far"}, self.now))
        if "far" not in dropped and self.machine.workers["far"].state is State.COLD:
            assert self.generation("far") > before
            self.perform(self.machine.attached("far", HERE))

    # -- what processes do ----------------------------------------------------------------------------------------

    @rule()
    def becomes_ready(self) -> None:
        model = self.local
        if model in self.alive and model not in self.ready_at and model not in self.killed:
            self.ready_at[model] = self.used[model] = self.now
            self.perform(self.machine.loaded(model, self.alive[model], HERE, self.now))

    @precondition(lambda self: self.held[self.local] and self.local in self.alive)
    @rule()
    def answers(self) -> None:
        """Somebody gets the first byte."""
        w = self.machine.workers[self.local]
        self.answered[self.local] = w.answered = self.alive[self.local]
        if any(each.alone for each in w.waiting):  # it need not be alone any more, and nobody tells the machine
            assert self.machine.next_deadline() <= self.now + LOOKS_S
            self.perform(self.machine.tick(self.now))

    @rule(killed=st.booleans())
    def dies(self, killed: bool = False) -> None:
        model = self.local
        if model not in self.alive:
            return
        generation = self.alive.pop(model)
        was_ready = self.ready_at.pop(model, None)
        asked = model in self.killed or model in self.renewed
        self.killed.discard(model)
        self.renewed.discard(model)
        waiting = list(self.line[model])
        if not asked and model not in self.dropped:
            self.judge(model, generation, was_ready, killed)
        self.held[model] = 0
        self.perform(self.machine.ended(model, generation, "it broke.", self.now, killed=killed))
        if not asked and model not in self.dropped:
            lasting = self.faults[model] < BREAKER and (was_ready is not None or killed)
            assert all(t.fate == "" if lasting else t.fate == "refused" for t in waiting)

    def judge(self, model: str, generation: int, was_ready: float | None, killed: bool) -> None:
        self.failed_at[model] = self.now
        if self.answered[model] == generation or (was_ready is not None and self.now - was_ready >= STABLE_S):
            self.failures[model], self.faults[model] = 1, 0
        elif self.tried_alone[model] != generation:
            self.failures[model] += 1
            speaks = was_ready is None or bool(self.held[model]) or self.used[model] > was_ready
            self.faults[model] += speaks * (BY_OTHERS if killed else 1)

    @rule(age=st.integers(1, 3))
    def an_old_process_is_heard_of(self, age: int) -> None:
        if self.local not in self.machine.workers:
            return
        old = self.generation(self.local) - age
        assert self.machine.loaded(self.local, old, HERE, self.now) == []
        assert self.machine.ended(self.local, old, "long ago", self.now) == []

    # -- time -----------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        """Wakes the machine exactly when it asked to be woken."""
        until = self.now + seconds
        while (at := self.machine.next_deadline()) <= until:
            self.now = max(self.now, at)
            before = {m: w.state for m, w in self.machine.workers.items()}
            effects = self.machine.tick(self.now)
            for effect in effects:
                if isinstance(effect, Kill):
                    self.must_be_idle(effect.model, before[effect.model])
            self.perform(effects)
            assert self.machine.next_deadline() > self.now, "it would be woken again and again"
        self.now = until

    def must_be_idle(self, model: str, state: State) -> None:
        assert state is State.READY
        assert not MODELS[model].pinned or model in self.dropped
        assert not self.held[model]
        assert not self.line[model]
        if model not in self.dropped:
            assert self.now >= self.used[model] + MODELS[model].idle_timeout > self.used[model]

    # -- always ---------------------------------------------------------------------------------------------------

    @invariant()
    def the_books_agree(self) -> None:
        for model, w in self.machine.workers.items():
            assert 0 <= w.active == self.held[model] <= w.parallel
            assert [x.ticket for x in w.waiting] == list(self.line[model])
            assert sum(not x.again for x in w.waiting) <= QUEUE
            assert (w.endpoint is not None) == (
                model == "far" or (model in self.ready_at and model not in self.renewed | self.killed)
            )

    @invariant()
    def nobody_waits_without_hope(self) -> None:
        for model, w in self.machine.workers.items():
            if not w.waiting:
                continue
            if w.state in (State.LOADING, State.STOPPING):
                assert model in self.alive
            elif w.state is State.DRAINING:
                assert w.active, "nothing runs on it and it is not stopped"
            elif w.state in (State.READY, State.REMOTE):
                alone = w.active and w.waiting[0].alone and w.answered != w.generation
                assert w.active == w.parallel or alone, "a slot is free and somebody waits"
            else:
                assert w.state is State.FAILED
                assert self.machine.next_deadline() <= max(w.retry_at, self.now)

    @invariant()
    def it_asks_to_be_woken_in_time(self) -> None:
        wake = self.machine.next_deadline()
        for model, w in self.machine.workers.items():
            assert all(wake <= ticket.deadline for ticket in self.line[model])
            if w.state is State.FAILED and w.pinned and w.wanted:
                assert wake <= w.retry_at
            if w.state is State.READY and model == "brief" and not w.active:
                assert wake <= w.last_used + w.idle_timeout_s

    def teardown(self) -> None:
        """When nothing more happens but time, nobody waits for ever."""
        if not hasattr(self, "machine"):
            return
        self.dies()
        waiting = [t for line in self.line.values() for t in line]
        self.time_passes(200.0)
        assert all(ticket.fate for ticket in waiting)


def test_the_rules_hold_whatever_happens() -> None:
    run_state_machine_as_test(
        FleetOnVirtualTime, settings=settings(max_examples=200, stateful_step_count=50, deadline=None)
    )


# -- single rules, by example -------------------------------------------------------------------------------------


def machine(**fields: Any) -> Machine:
    return Machine([("m", Model(**fields))], QUEUE)


def ready(m: Machine, now: float = 0.0) -> None:
    m.loaded("m", m.workers["m"].generation, HERE, now)


def refusals(effects: list[Effect]) -> list[Exception]:
    return [e.error for e in effects if isinstance(e, Refuse)]


def test_the_first_request_starts_the_model_and_the_others_wait_for_it() -> None:
    m = machine(parallel=2)
    assert m.want("m", "a", 0, 9) == [Spawn("m", 1)]
    assert m.want("m", "b", 0, 9) == m.want("m", "c", 0, 9) == []
    assert m.loaded("m", 1, HERE, 1) == [Grant("m", "a"), Grant("m", "b")]
    assert m.released("m", 1, 2) == [Grant("m", "c")]


def test_a_plain_load_takes_no_slot() -> None:
    m = machine()
    m.want("m", "load", 0, 9, holds=False)
    m.want("m", "a", 0, 9)
    assert m.loaded("m", 1, HERE, 1) == [Grant("m", "load", False), Grant("m", "a")]
    assert m.want("m", "again", 2, 9, holds=False) == [Grant("m", "again", False)]
    assert m.workers["m"].active == 1


def test_a_full_line_refuses_with_when_to_come_back() -> None:
    m = machine()
    for ticket in "abc":
        m.want("m", ticket, 0, 9)
    (error,) = refusals(m.want("m", "d", 0, 9))
    assert isinstance(error, Busy)
    assert (error.code, error.retry_after) == ("queue_full", 3.0)  # half of three requests of two seconds, to one slot


def test_in_a_full_line_the_key_that_has_most_of_it_gives_its_newest_place_to_another() -> None:
    m = machine()
    for ticket in "abc":
        m.want("m", ticket, 0, 9, key="batch")
    (refused,) = m.want("m", "d", 0, 9, key="ann")
    assert isinstance(refused, Refuse)
    assert (refused.ticket, refused.error.code) == ("c", "queue_full")
    (own,) = m.want("m", "e", 0, 9, key="ann")  # two and one: taking one more would only turn it round
    (more,) = m.want("m", "f", 0, 9, key="batch")
    assert [each.ticket for each in (own, more) if isinstance(each, Refuse)] == ["e", "f"]
    assert [each.ticket for each in m.workers["m"].waiting] == ["a", "b", "d"]


def test_in_a_full_line_a_lower_class_gives_way_until_both_have_as_many_and_who_lost_a_worker_does_not() -> None:
    m = machine()
    m.want("m", "lost", 0, 9, again=1, rank=-1)
    m.want("m", "a", 0, 9, rank=-1)
    m.want("m", "b", 0, 9, rank=-1)
    (first,) = m.want("m", "high", 0, 9, rank=1)
    (second,) = m.want("m", "higher", 0, 9, rank=1)
    (third,) = m.want("m", "highest", 0, 9, rank=1)
    (low,) = m.want("m", "low", 0, 9, rank=-1)
    told = [each.ticket for each in (first, second, third, low) if isinstance(each, Refuse)]
    assert told == ["b", "a", "highest", "low"]
    assert [each.ticket for each in m.workers["m"].waiting] == ["lost", "high", "higher"]


def crowded() -> Machine:
    """Two models, and memory for one of them; the larger one loads, and somebody waits for the other."""
    m = Machine(
        [("large", Model()), ("small", Model())], QUEUE, lambda model: Footprint({"large": 8, "small": 4}[model])
    )
    m.room(Footprint(9), Footprint(9), 0)
    assert m.want("large", "mistake", 0, 900) == [Spawn("large", 1)]
    assert m.want("small", "meant", 1, 900) == []
    return m


def test_a_load_that_nobody_waits_for_any_more_is_called_off_for_who_needs_its_memory() -> None:
    m = crowded()
    assert m.drop("large", "mistake") == []
    assert m.next_deadline() == 1 + FRESH_S
    assert m.tick(1 + FRESH_S) == [Kill("large", 1)]
    assert m.ended("large", 1, "", 4) == [Spawn("small", 1)]
    assert (m.workers["large"].state, m.workers["large"].failures) == (State.COLD, 0)


def test_a_load_goes_on_for_who_waits_or_comes_back_and_where_nobody_needs_its_memory() -> None:
    m = crowded()
    m.drop("large", "mistake")
    assert m.want("large", "again", 2, 900) == []
    assert m.tick(5) == []
    m.drop("small", "meant")
    m.drop("large", "again")
    assert m.tick(60) == []
    assert m.workers["large"].state is State.LOADING


def test_who_waits_too_long_is_told_what_for() -> None:
    m = machine()
    m.want("m", "a", 0, 5)
    m.want("m", "b", 0, 7)
    assert m.next_deadline() == 5
    assert m.tick(4.9) == []
    (error,) = refusals(m.tick(5))
    assert isinstance(error, UpstreamTimeout)
    ready(m, 6)
    m.want("m", "c", 6, 8)
    (error,) = refusals(m.tick(8))
    assert isinstance(error, Busy)
    assert error.code == "queue_timeout"


def test_a_worker_that_died_at_work_comes_back_at_once_and_keeps_its_line() -> None:
    m = machine()
    m.want("m", "a", 0, 99)
    ready(m)
    m.want("m", "b", 0, 99)
    assert m.ended("m", 1, "killed.", 1) == [Spawn("m", 2)]
    assert m.released("m", 1, 1) == []  # the lease of the dead one frees nothing
    assert m.loaded("m", 2, HERE, 2) == [Grant("m", "b")]
    assert m.workers["m"].restarts == 1


def test_a_model_that_cannot_load_refuses_who_waits_and_is_tried_again_only_when_asked() -> None:
    m = machine()
    m.want("m", "a", 0, 99)
    m.want("m", "b", 0, 99)
    errors = refusals(m.ended("m", 1, "no such file.", 1))
    assert [type(e) for e in errors] == [LoadFailed, LoadFailed]
    assert str(errors[0]) == "m could not be started: no such file. See `rolecast logs m`."
    assert m.next_deadline() == float("inf")
    assert m.want("m", "c", 2, 99) == [Spawn("m", 2)]


def test_a_model_of_which_nothing_could_be_started_sends_nobody_to_a_log() -> None:
    m = machine()
    m.want("m", "a", 0, 99)
    (error,) = refusals(m.ended("m", 1, "it is no GGUF.", 1, may_start=False))
    assert str(error) == "m could not be started: it is no GGUF."
    m.want("m", "b", 2, 99)
    m.workers["m"].silent = True
    (error,) = refusals(m.ended("m", 2, "no such program.", 3))
    assert str(error) == "m could not be started: no such program."


def test_the_next_try_is_never_told_to_be_in_no_time() -> None:
    m = machine()
    for now in (0.0, 100.0):
        m.want("m", now, now, now + 99)
        refused = refusals(m.ended("m", m.workers["m"].generation, "broken.", now))
    assert "Failed 2 times in a row; next try in 1 s." in str(refused[0])


def test_after_three_failures_requests_are_refused_until_the_next_try() -> None:
    m = machine()
    now = 0.0
    for attempt in range(BREAKER):
        now += 100
        m.want("m", attempt, now, now + 99)
        m.ended("m", m.workers["m"].generation, "broken.", now)
    (error,) = refusals(m.want("m", "x", now + 1, now + 99))
    assert "Failed 3 times in a row; next try in 1 s." in str(error)
    assert m.want("m", "y", now + BACKOFF_S[BREAKER - 1], now + 99) == [Spawn("m", BREAKER + 1)]


def test_a_plain_load_does_not_wait_for_the_next_try() -> None:
    m = machine()
    for attempt in range(5):
        m.want("m", attempt, 100 * attempt, 999)
        m.ended("m", m.workers["m"].generation, "broken.", 100 * attempt)
    assert refusals(m.want("m", "x", 401, 999))
    assert m.want("m", "load", 401, 999, holds=False) == [Spawn("m", 6)]


def test_a_pinned_model_is_tried_again_and_again_with_longer_pauses() -> None:
    m = machine(pinned=True)
    m.want("m", "load", 0, 999, holds=False)
    now, pauses = 0.0, []
    for _ in range(8):
        m.ended("m", m.workers["m"].generation, "broken.", now)
        if m.workers["m"].state is State.FAILED:
            at = m.next_deadline()
            pauses.append(at - now)
            now = at
            assert [type(e) for e in m.tick(now)] == [Spawn]
    assert pauses == [0.5, 2.0, 8.0, 30.0, 60.0, 60.0, 60.0]


def test_a_worker_that_ran_long_enough_is_forgiven() -> None:
    m = machine()
    m.want("m", "a", 0, 9)
    ready(m)
    for now in (1.0, STABLE_S + 3, 3 * STABLE_S):
        m.ended("m", m.workers["m"].generation, "killed.", now)
        ready(m, now)
    assert m.workers["m"].failures == 1


def start_and_serve(m: Machine, now: float, *, answers: bool) -> None:
    """Whoever waits gets a slot of the next worker, and perhaps a byte of an answer."""
    m.tick(now)
    ready(m, now)
    if answers:
        m.workers["m"].answered = m.workers["m"].generation


def test_a_worker_that_answered_is_no_crash_loop_however_often_it_is_killed() -> None:
    m = machine()
    m.want("m", 0, 0, 999)
    for now in range(1, 20):
        start_and_serve(m, now, answers=True)
        assert m.want("m", now, now, 999) == []  # the slot is taken
        assert m.ended("m", now, "killed.", now, killed=True) == [Spawn("m", now + 1)]
    assert m.workers["m"].failures == 1


def test_a_worker_that_dies_under_requests_before_any_answer_is_given_up_after_three() -> None:
    m = machine()
    m.want("m", "a", 0, 999)
    for now in (1, 2, 3):
        start_and_serve(m, now, answers=False)
        m.want("m", now, now, 999, again=1)
        refused = refusals(m.ended("m", now, "it broke.", now))
    (error,) = refused
    assert str(error).startswith("m ends before it answers: it broke.")
    assert "Failed 3 times in a row; next try in 2 s." in str(error)
    assert refusals(m.want("m", "x", 3.1, 999))


def test_a_worker_that_is_killed_while_it_loads_is_tried_again_but_not_for_ever() -> None:
    m = machine()
    m.want("m", "a", 0, 999)
    now = 1.0
    for generation in range(1, 6):
        ended = m.ended("m", generation, "killed.", now, killed=True)
        assert not refusals(ended)
        if not ended:
            assert m.next_deadline() == now + BACKOFF_S[generation - 1]
            now = m.next_deadline()
            assert m.tick(now) == [Spawn("m", generation + 1)]
    (error,) = refusals(m.ended("m", 6, "killed.", now, killed=True))
    assert str(error).startswith("m could not be started: killed.")


def test_a_stuck_worker_is_ended_at_once_gets_nobody_any_more_and_the_next_one_serves_who_waits() -> None:
    m = machine(parallel=2)
    m.want("m", "a", 0, 99)
    ready(m)
    assert m.replace("m", 1, "stuck", 2) == [Kill("m", 1, at_once=True)]
    assert m.replace("m", 1, "stuck", 2) == []  # once
    assert m.want("m", "b", 2, 99) == []
    assert m.released("m", 1, 2) == []  # the slot of a stuck worker is nobody's
    assert m.ended("m", 1, "killed.", 3) == [Spawn("m", 2)]
    assert m.loaded("m", 2, HERE, 4) == [Grant("m", "b")]
    assert (m.workers["m"].restarts, m.workers["m"].failures) == (1, 0)


def test_a_stuck_worker_comes_back_unasked_unless_its_model_left_and_a_later_one_is_not_ended_for_it() -> None:
    m = machine()
    m.want("m", "a", 0, 99)
    ready(m)
    m.replace("m", 1, "stuck", 2)
    assert m.ended("m", 1, "killed.", 3) == [Spawn("m", 2)]
    ready(m, 4)
    assert m.replace("m", 1, "stuck", 2) == []
    m.configure({}, 9, (), (), 5)
    m.replace("m", 2, "stuck", 2)
    assert m.ended("m", 2, "killed.", 6) == []


def test_who_asks_for_a_worker_that_was_killed_while_nobody_asked_never_pays_for_it() -> None:
    m = machine(pinned=True)
    m.want("m", "load", 0, 999, holds=False)
    for generation in range(1, 8):
        now = generation * 10.0
        m.tick(now)
        if m.workers["m"].state is State.FAILED:  # a pause is due, for this might be a loop of its own making
            assert m.want("m", generation, now, now + 9) == [Spawn("m", generation)]
            m.drop("m", generation)
        ready(m, now)
        assert refusals(m.ended("m", generation, "killed.", now + 1, killed=True)) == []
    assert m.workers["m"].failures == 7


def test_a_request_that_runs_alone_has_every_slot_and_those_behind_it_wait() -> None:
    m = machine(parallel=3)
    m.want("m", "new", 0, 99)
    m.want("m", "suspect", 0, 99, again=1, alone=True)
    assert m.loaded("m", 1, HERE, 1) == [Grant("m", "suspect", 3)]
    assert m.want("m", "newer", 2, 99) == []
    assert m.released("m", 1, 3, 3) == [Grant("m", "new"), Grant("m", "newer")]


def test_the_death_of_a_worker_under_one_that_runs_alone_speaks_against_that_request_and_not_the_model() -> None:
    m = machine(parallel=3)
    m.want("m", "suspect", 0, 99, again=1, alone=True)
    for generation in range(1, 6):
        start_and_serve(m, generation, answers=False)
        m.want("m", "suspect", generation, 99, again=1, alone=True)
        assert m.ended("m", generation, "it broke.", generation) == [Spawn("m", generation + 1)]
    assert m.workers["m"].faults == 0


def test_nobody_runs_alone_on_a_worker_that_has_answered_because_that_would_tell_nothing() -> None:
    m = machine(parallel=3)
    m.want("m", "a", 0, 99)
    start_and_serve(m, 1, answers=True)
    assert m.want("m", "suspect", 2, 99, again=1, alone=True) == [Grant("m", "suspect", 1)]


@pytest.mark.parametrize("end", ["gives up", "waits too long"])
def test_when_one_that_waits_to_run_alone_leaves_the_line_moves(end: str) -> None:
    m = machine(parallel=2)
    m.want("m", "a", 0, 99)
    ready(m)
    m.want("m", "suspect", 1, 5, again=1, alone=True)
    m.want("m", "b", 1, 99)
    effects = m.drop("m", "suspect") if end == "gives up" else m.tick(5)
    assert effects[-1] == Grant("m", "b")


def test_who_lost_most_workers_goes_first_and_is_not_refused_by_a_full_line() -> None:
    m = machine()
    for ticket in "abc":
        m.want("m", ticket, 0, 99)
    for ticket, losses in (("x", 1), ("y", 1), ("z", 2)):
        assert m.want("m", ticket, 0, 99, again=losses) == []
    assert [w.ticket for w in m.workers["m"].waiting] == ["z", "x", "y", "a", "b", "c"]


def test_a_worker_that_was_at_work_once_is_down_rather_than_unloadable() -> None:
    m = machine(pinned=True)
    m.want("m", "a", 0, 9)
    ready(m, 0.5)
    m.ended("m", 1, "killed.", 1)
    m.want("m", "b", 1, 99)
    (error,) = refusals(m.ended("m", 2, "killed.", 2))
    assert type(error) is WorkerDown


def test_unloading_ends_a_worker_and_serves_who_waits_from_a_new_one() -> None:
    m = machine()
    m.want("m", "a", 0, 99)
    ready(m)
    m.want("m", "b", 0, 99)
    assert m.unload("m", 1) == [Kill("m", 1)]
    assert m.unload("m", 1) == []
    assert m.released("m", 1, 1) == []  # nobody is let onto a worker that is being stopped
    assert m.ended("m", 1, "", 2) == [Spawn("m", 2)]
    assert m.loaded("m", 2, HERE, 3) == [Grant("m", "b")]


def test_unloading_calls_off_a_plain_load_and_serves_the_requests_that_wait_with_it() -> None:
    m = machine()
    m.want("m", "load", 0, 99, holds=False)
    m.want("m", "request", 0, 99)
    refused, killed = m.unload("m", 1)
    assert isinstance(refused, Refuse)
    assert (refused.ticket, refused.error.code, refused.error.status) == ("load", "load_called_off", 409)
    assert killed == Kill("m", 1)
    assert m.ended("m", 1, "", 2) == [Spawn("m", 2)]
    assert m.loaded("m", 2, HERE, 3) == [Grant("m", "request")]


def test_unloading_a_failed_model_forgets_its_failures_but_not_who_waits() -> None:
    m = machine()
    m.want("m", "a", 0, 99)
    ready(m)
    m.ended("m", 1, "killed.", 1)
    ready(m, 1)
    m.ended("m", 2, "killed.", 2)
    m.want("m", "b", 2, 99)
    assert m.workers["m"].state is State.FAILED
    assert m.unload("m", 2.1) == [Spawn("m", 3)]


def test_an_idle_model_is_unloaded_and_a_model_without_a_limit_is_not() -> None:
    for idle, effects in ((Seconds(5), [Kill("m", 1)]), (Seconds(0), [])):
        m = machine(idle_timeout=idle)
        m.want("m", "a", 0, 99)
        ready(m)
        m.released("m", 1, 10)
        assert m.next_deadline() == (15 if idle else float("inf"))
        assert m.tick(15) == effects


def test_a_word_about_its_stay_holds_until_the_worker_ends() -> None:
    m = machine(idle_timeout=Seconds(5))
    m.want("m", "a", 0, 99)
    ready(m)
    m.released("m", 1, 10)
    assert (m.keep("m", 60), m.next_deadline()) == ([], 70)
    m.configure({"m": Model(idle_timeout=Seconds(7))}, 10, (), (), 11)
    assert m.next_deadline() == 70, "an edit leaves it as it is"
    m.keep("m", float("inf"))
    assert m.next_deadline() == float("inf")
    m.keep("m", 0)
    assert m.tick(12) == [Kill("m", 1)]
    m.ended("m", 1, "", 13)
    m.want("m", "b", 13, 99)
    ready(m, 14)
    m.released("m", 2, 14)
    assert m.next_deadline() == 21, "the next worker goes by the settings"


def test_who_is_pinned_elsewhere_or_about_to_leave_goes_by_that() -> None:
    pinned, remote, leaving = machine(pinned=True), machine(), machine()
    for m in (pinned, leaving):
        m.want("m", "a", 0, 99)
        ready(m)
    remote.attached("m", HERE)
    leaving.configure({}, 10, (), (), 1)
    for m, seconds in ((pinned, 0), (remote, 0), (leaving, 60), (machine(), 0)):
        before = m.workers["m"].idles
        m.keep("m", seconds)
        assert m.workers["m"].idles is before
    assert leaving.workers["m"].idle_timeout_s == 0


def test_a_remote_is_served_without_being_started_and_never_unloaded() -> None:
    m = machine(parallel=1)
    m.attached("m", HERE)
    assert m.want("m", "a", 0, 9) == [Grant("m", "a")]
    assert m.want("m", "b", 0, 9) == []
    assert m.released("m", 0, 1) == [Grant("m", "b")]
    m.released("m", 0, 1)
    assert m.unload("m", 2) == []
    assert m.next_deadline() == float("inf")


def test_who_still_has_a_slot_of_a_worker_that_ended_gives_none_back_of_a_server_elsewhere() -> None:
    m = machine(parallel=1)
    m.want("m", "late to hear of it", 0, 9)
    ready(m)
    m.unload("m", 1)
    m.ended("m", 1, "", 2)
    m.attached("m", HERE)
    assert m.want("m", "a", 3, 9) == [Grant("m", "a")]
    assert m.released("m", 1, 4) == []
    assert m.workers["m"].active == 1


@pytest.mark.parametrize("holds", [True, False])
def test_who_gives_up_is_forgotten(holds: bool) -> None:
    m = machine()
    m.want("m", "a", 0, 9, holds=holds)
    assert m.drop("m", "a") == []
    assert m.loaded("m", 1, HERE, 1) == []
    assert m.workers["m"].active == 0


def test_what_a_model_will_take_is_asked_once_while_it_waits_and_again_after_an_edit_or_a_start() -> None:
    asked: list[str] = []
    needs = {"big": 60, "small": 30}

    def sizes(model: str) -> Footprint:
        asked.append(model)
        return Footprint(needs[model])

    m = Machine([("big", Model()), ("small", Model())], 10, sizes)
    m.room(Footprint(80), Footprint(80), 0)
    m.want("big", "a", 0, 99)
    m.loaded("big", 1, HERE, 1)
    asked.clear()
    m.want("small", "b", 2, 99)
    for now in range(3, 6):
        m.tick(now)
    assert asked == ["small"]
    needs["small"] = 10
    m.configure({"big": Model(), "small": Model()}, 10, (), (), 6)
    assert m.workers["small"].state is State.LOADING
    needs["small"] = 20
    m.ended("small", 1, "lacked memory", 7, killed=True)
    assert (m.workers["small"].state, m.workers["small"].held) == (State.LOADING, Footprint(20))


def test_who_is_found_to_need_more_when_it_may_start_waits_for_that() -> None:
    needs = {"big": 60, "small": 30}
    m = Machine([("big", Model()), ("small", Model())], 10, lambda model: Footprint(needs[model]))
    m.room(Footprint(80), Footprint(80), 0)
    m.want("big", "a", 0, 99)
    m.loaded("big", 1, HERE, 1)
    m.want("small", "b", 2, 99)
    assert m.released("big", 1, 30) == [Kill("big", 1)]
    needs["small"] = 90
    assert [type(effect) for effect in m.ended("big", 1, "", 31)] == [Refuse]
    assert m.workers["small"].state is State.COLD
