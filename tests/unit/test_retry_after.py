"""When a client that was refused shall come back: by how long the line is and how fast it moves."""

import pytest
from gateway import Held, chat, delta, pair, request, until
from hypothesis import given
from hypothesis import strategies as st

from rolecast.config.schema import Limits, Model
from rolecast.errors import Busy
from rolecast.fleet.effects import Refuse
from rolecast.fleet.machine import Machine
from rolecast.fleet.retry_after import MOST_S, left_of_load, seconds
from rolecast.values import Endpoint

SECONDS = st.floats(0, 1e5)


@given(st.integers(0, 10_000), st.integers(1, 512), SECONDS, SECONDS)
def test_it_is_whole_and_bounded_and_never_sooner_for_a_longer_line_or_a_slower_model(
    waiting: int, slots: int, request_s: float, load_s: float
) -> None:
    told = seconds(waiting, slots, request_s, load_s)
    assert told == int(told)
    assert 1 <= told <= MOST_S
    assert told <= seconds(waiting + 1, slots, request_s, load_s)
    assert told <= seconds(waiting, slots, request_s, load_s + 1)
    assert seconds(waiting, slots + 1, request_s, load_s) <= told
    if request_s:
        assert told <= seconds(waiting, slots, request_s * 2, load_s)


def test_half_of_a_line_of_eight_before_two_slots_is_served_in_two_turns_after_the_load() -> None:
    assert seconds(8, 2, 3.0) == 6
    assert seconds(8, 2, 3.0, load_s=10.0) == 16


@pytest.mark.parametrize(("known", "age", "left"), [(30, 10, 20), (30, 45, 15), (0, 4, 4)])
def test_a_load_that_is_late_is_expected_to_take_as_long_again(known: float, age: float, left: float) -> None:
    assert left_of_load(known, age) == left


def refused(machine: Machine, now: float) -> float | None:
    (effect,) = machine.want("m", "late", now, now + 100)
    assert isinstance(effect, Refuse)
    assert isinstance(effect.error, Busy)
    return effect.error.retry_after


def test_who_finds_the_line_full_is_told_what_requests_and_loads_took_lately() -> None:
    machine = Machine([("m", Model(parallel=1))], 4)
    machine.paces = {"m": (5.0, 40.0)}.__getitem__
    for ticket in "abcd":
        machine.want("m", ticket, 0, 100)
    assert refused(machine, 10) == 30 + 10, "the rest of the load, and half of four requests of five seconds"
    machine.loaded("m", 1, Endpoint(uds="/run/w.sock"), 11)
    machine.want("m", "e", 11, 100)
    assert refused(machine, 12) == 10


@pytest.mark.anyio
async def test_the_header_says_how_long_requests_took_lately() -> None:
    async with pair(limits=Limits(queue=1), model={"parallel": 1}) as (gate, worker):
        gate.gateway.paces.of("m").request_s = 90.0
        held = Held(delta("x"))
        worker.script.append(held)
        async with gate.client() as running, gate.client() as waiting, gate.client() as late:
            await running.send(request(chat(stream=True)))
            await held.began.wait()
            await waiting.send(request(chat()))
            await until(lambda: gate.gateway.fleet.worker("m").waiting)
            answer = await (await late.send(request(chat()))).answer()
            assert (answer.status, answer.error["code"]) == (429, "queue_full")
            assert answer.header("retry-after") == "45"
            held.let_go.set()
            assert (await waiting.answer()).status == 200
