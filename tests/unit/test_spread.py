"""Who of several equals is asked: the least busy, ties in turn, and one that failed rests."""

from collections import Counter

import pytest

from rolecast.routing.spread import REST_S, Spread


class Fleet:
    """Loads and a clock that the test sets."""

    def __init__(self, **loads: float) -> None:
        self.loads = loads
        self.now = 100.0
        self.spread = Spread(lambda model: self.loads[model], lambda: self.now)

    def ask(self, count: int = 1) -> list[str]:
        models = list(self.loads)
        return [models[self.spread.pick(models)] for _ in range(count)]


def test_idle_equals_take_turns() -> None:
    assert Counter(Fleet(a=0, b=0, c=0).ask(30)) == {"a": 10, "b": 10, "c": 10}


def test_the_least_busy_is_asked() -> None:
    assert set(Fleet(a=1.0, b=0.5, c=2.0).ask(9)) == {"b"}
    assert Counter(Fleet(a=1.0, b=0.5, c=0.5).ask(10)) == {"b": 5, "c": 5}


def test_one_that_cannot_serve_is_left_out_while_another_can() -> None:
    assert set(Fleet(a=float("inf"), b=70.0).ask(5)) == {"b"}
    assert Counter(Fleet(a=float("inf"), b=float("inf")).ask(4)) == {"a": 2, "b": 2}


def test_one_that_failed_rests_and_comes_back() -> None:
    fleet = Fleet(a=0, b=5)
    assert set(fleet.ask(4)) == {"a"}
    fleet.spread.failed("a")
    assert set(fleet.ask(4)) == {"b"}
    fleet.spread.failed("b")
    assert set(fleet.ask(4)) == {"a"}  # all rest: then nobody does
    fleet.now += REST_S
    assert set(fleet.ask(4)) == {"a"}
    fleet.spread.failed("c")  # a stranger changes nothing
    assert set(fleet.ask(4)) == {"a"}


@pytest.mark.parametrize(
    ("models", "groups", "found"),
    [
        (("a", "b", "c"), [("a", "b")], ("b", "a", "c")),
        (("a", "b", "c"), [("b", "c")], ("a", "b", "c")),
        (("c", "a", "b"), [("a", "b")], ("c", "a", "b")),
        (("a", "c"), [("a", "b")], ("a", "c")),
        (("a", "b"), [], ("a", "b")),
        ((), [("a", "b")], ()),
    ],
)
def test_the_least_busy_of_the_leading_equals_comes_first(
    models: tuple[str, ...], groups: list[tuple[str, ...]], found: tuple[str, ...]
) -> None:
    assert Fleet(a=1, b=0, c=0).spread.lead(models, groups) == found
