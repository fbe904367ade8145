"""Circuit breakers on virtual time: when they open, for how long, who is the probe, and that they never stay shut."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolecast.routing.breaker import LEAST_SEEN, LONGEST_TOLD_S, LOOK_S, PROBE_S, REFUSED_S, WINDOW_S, Breaker, Rules


class Bench:
    """A breaker, its clock and what it told."""

    def __init__(self, rules: Rules = Rules()) -> None:  # noqa: B008
        self.now = 1000.0
        self.breaker = Breaker(lambda: self.now, lambda: rules)
        self.told: list[str] = []
        self.breaker.tell = lambda kind, data: self.told.append(f"{kind} {data['model']}")

    def fail(self, times: int = 1, **how: Any) -> None:
        for _ in range(times):
            self.breaker.failed("m", **how)


def test_so_many_failures_in_a_row_open_it_and_one_answer_between_them_does_not() -> None:
    bench = Bench()
    bench.fail(4)
    bench.breaker.answered("m")
    bench.fail(4)
    assert bench.breaker.admits("m") == 0
    bench.fail()
    assert bench.breaker.admits("m") == 5
    assert bench.told == ["breaker_opened m"]
    assert list(bench.breaker.open()) == [("m", 5.0, "")]
    assert bench.breaker.admits("other") == 0


def test_half_of_many_open_it_however_they_are_mixed() -> None:
    bench = Bench()
    for _ in range(LEAST_SEEN // 2):
        bench.breaker.answered("m")  # of a model that is well nothing is kept
    assert not bench.breaker.circuits
    bench.fail()
    for _ in range(LEAST_SEEN // 2 - 1):
        bench.breaker.answered("m")
        bench.fail()
    assert bench.breaker.state("m") == "closed"
    bench.fail()
    assert bench.breaker.state("m") == "open"


def test_failures_of_long_ago_do_not_count() -> None:
    bench = Bench()
    for _ in range(20):
        bench.fail()
        bench.breaker.answered("m")
        bench.now += WINDOW_S / 2
    assert bench.breaker.state("m") == "closed"
    bench.now += WINDOW_S
    bench.breaker.answered("m")
    assert not bench.breaker.circuits  # and then it is forgotten


def test_each_probe_that_fails_doubles_the_rest_up_to_its_bound() -> None:
    bench, waits = Bench(), []
    bench.fail(5)
    for _ in range(9):
        waits.append(bench.breaker.wait_of("m"))
        bench.now += waits[-1]
        assert bench.breaker.state("m") == "half_open"
        assert bench.breaker.admits("m") == 0
        bench.fail()
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert bench.told == ["breaker_opened m"]


def test_of_those_who_ask_when_its_time_is_over_one_is_the_probe() -> None:
    bench = Bench()
    bench.fail(5)
    bench.now += 5
    assert [bench.breaker.admits("m") for _ in range(3)] == [0, LOOK_S, LOOK_S]
    bench.breaker.gave_up("m")
    assert [bench.breaker.admits("m") for _ in range(2)] == [0, LOOK_S]
    bench.now += PROBE_S  # nothing was heard of it
    assert bench.breaker.admits("m") == 0
    bench.breaker.answered("m")
    assert [bench.breaker.admits("m") for _ in range(3)] == [0, 0, 0]
    assert bench.told == ["breaker_opened m", "breaker_closed m"]


def test_a_failure_of_what_was_asked_before_it_opened_says_nothing_of_the_probe() -> None:
    bench = Bench()
    bench.fail(5)
    bench.now += 5
    assert bench.breaker.admits("m") == 0
    bench.fail(probe=False)
    assert bench.breaker.state("m") == "half_open"
    assert bench.breaker.admits("m") > 0
    bench.breaker.answered("m")
    assert bench.breaker.state("m") == "closed"


def test_one_that_opens_again_soon_rests_longer_and_one_that_was_well_begins_anew() -> None:
    bench = Bench()
    for rest in (5, 10):
        bench.fail(5)
        assert bench.breaker.wait_of("m") == rest
        bench.now += rest
        bench.breaker.admits("m")
        bench.breaker.answered("m")
    for _ in range(2):
        bench.now += WINDOW_S
        bench.breaker.answered("m")
    assert not bench.breaker.circuits
    bench.fail(5)
    assert bench.breaker.wait_of("m") == 5


def test_an_answer_to_what_was_asked_before_it_opened_closes_nothing() -> None:
    bench = Bench()
    bench.fail(5)
    bench.breaker.answered("m")
    assert bench.breaker.state("m") == "open"


@pytest.mark.parametrize(("told", "waits"), [(0.5, 0.5), (60, 60), (1e6, LONGEST_TOLD_S)])
def test_a_server_that_says_for_how_long_is_believed_within_reason(told: float, waits: float) -> None:
    bench = Bench()
    bench.fail(fault="busy", told_s=told)
    assert bench.breaker.wait_of("m") == waits
    bench.fail(fault="busy", told_s=told / 2)  # who asked at the same time makes it no shorter
    assert bench.breaker.wait_of("m") == waits


def test_a_key_that_is_refused_opens_it_for_long() -> None:
    bench = Bench()
    bench.fail(fault="refused", why="no credit")
    assert bench.breaker.wait_of("m") == REFUSED_S
    assert bench.breaker.why("m") == "no credit"
    bench.breaker.keep([])
    assert bench.breaker.wait_of("m") == 0


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("fail"), st.sampled_from(["failed", "busy", "refused"]), st.sampled_from([0.0, 0.5, 7.0, 1e9])
        ),
        st.tuples(st.sampled_from(["ask", "answer", "give up"])),
        st.tuples(st.just("wait"), st.integers(0, 700)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_whatever_happens_it_opens_in_the_end_to_one_at_a_time(steps: list[Any]) -> None:
    bench = Bench()
    breaker, probes, since = bench.breaker, 0, 0.0
    for what, *more in steps:
        if what == "fail":
            breaker.failed("m", more[0], more[1])
            probes = 0
        elif what == "ask":
            was = breaker.state("m")
            if breaker.admits("m") == 0 and was != "closed":
                probes, since = (probes if bench.now - since < PROBE_S else 0) + 1, bench.now
                assert probes == 1, "two probes at once"
        elif what == "answer":
            breaker.answered("m")
            probes = 0
        elif what == "give up":
            breaker.gave_up("m")
            probes = 0
        else:
            bench.now += more[0]
        wait = breaker.wait_of("m")
        assert 0 <= wait <= REFUSED_S
        assert (breaker.state("m") == "closed") <= (wait == 0)
    bench.now += max(REFUSED_S, PROBE_S)
    assert breaker.admits("m") == 0
    breaker.answered("m")
    assert breaker.state("m") == "closed"
    opened = [line for line in bench.told if line.startswith("breaker_opened")]
    assert 0 <= len(opened) - (len(bench.told) - len(opened)) <= 1
