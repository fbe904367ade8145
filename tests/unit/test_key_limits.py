"""How fast a key may ask: buckets and meters on a time of the test's own."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.access.keys import Limits
from rolecast.access.limits import DAY, MINUTE, SECOND, Bucket, Meter, span
from rolecast.errors import RateLimited

STEPS = st.lists(st.tuples(st.integers(0, 90 * SECOND), st.integers(1, 5)), max_size=60)


@given(most=st.integers(1, 50), steps=STEPS)
def test_in_no_stretch_of_time_more_is_let_in_than_a_full_bucket_and_what_comes_back(
    most: int, steps: list[tuple[int, int]]
) -> None:
    bucket, now, taken = Bucket(most, MINUTE, 0), 0, []
    for pause, count in steps:
        now += pause
        if not bucket.wait(count, now):
            bucket.take(count, now)
            taken.append((now, min(count, most)))
    for i, (start, _) in enumerate(taken):
        for end, _ in taken[i:]:
            inside = sum(count for at, count in taken if start <= at <= end)
            assert inside * MINUTE <= most * (MINUTE + (end - start))


@given(most=st.integers(1, 10**12), drawn=st.integers(0, 10**12), count=st.integers(1, 10**12))
def test_who_waits_as_long_as_it_says_is_let_in_and_not_a_nanosecond_sooner(most: int, drawn: int, count: int) -> None:
    bucket = Bucket(most, MINUTE, 0)
    bucket.take(drawn, 0)
    wait = bucket.wait(count, 0)
    assert bucket.wait(count, wait) == 0
    if wait:
        early = Bucket(most, MINUTE, 0)
        early.take(drawn, 0)
        assert early.wait(count, wait - 1) > 0


@given(most=st.integers(1, 1000), steps=STEPS)
def test_a_clock_that_goes_back_gives_nothing_away(most: int, steps: list[tuple[int, int]]) -> None:
    bucket, now = Bucket(most, MINUTE, 10 * MINUTE), 10 * MINUTE
    for back, count in steps:
        before = bucket.left(now)
        bucket.take(count, now - back)
        assert bucket.left(now - back) <= before
        assert bucket.left(now) <= before


@given(most=st.integers(1, 1000), other=st.integers(1, 1000), drawn=st.integers(0, 2000))
def test_another_size_forgets_nothing_that_was_taken(most: int, other: int, drawn: int) -> None:
    bucket = Bucket(most, MINUTE, 0)
    bucket.take(drawn, 0)
    assert bucket.resized(other, 0).left(0) == other - drawn


def test_nothing_drifts_in_a_year_of_single_requests() -> None:
    bucket = Bucket(7, MINUTE, 0)
    for i in range(1, 100_000):
        now = i * DAY // 300
        bucket.take(1, now)
        assert bucket.left(now) == 6
    assert bucket.full(now) == -(-MINUTE // 7)


def meter(**limits: int) -> Meter:
    return Meter(Limits(**limits), 0)


def refusal(meter: Meter, tokens: int, now: int) -> RateLimited:
    with pytest.raises(RateLimited) as caught:
        meter.admit(tokens, now)
    return caught.value


def test_requests_beyond_the_rate_are_refused_and_told_when_to_come_back() -> None:
    one = meter(requests_per_minute=2)
    one.admit(0, 0)
    one.admit(0, 0)
    error = refusal(one, 0, 0)
    assert (error.status, error.code, error.retry_after_s) == (429, "rate_limited", 30)
    assert "2 requests a minute" in error.message
    one.admit(0, 30 * SECOND)


def test_a_refused_request_counts_for_nothing() -> None:
    one = meter(requests_per_minute=5, tokens_per_minute=100)
    one.admit(100, 0)
    before = one.lines(0)
    for _ in range(100):
        refusal(one, 50, 0)
    assert one.lines(0) == before
    assert one.active == 1


def test_the_tighter_of_two_limits_of_requests_is_told() -> None:
    one = meter(requests_per_minute=100, requests_per_day=3)
    for _ in range(3):
        one.admit(0, 0)
    assert b"x-ratelimit-limit-requests: 3\r\nx-ratelimit-remaining-requests: 0\r\n" in one.lines(0)
    assert refusal(one, 0, 0).retry_after_s == 28_800


def test_tokens_are_set_aside_at_the_start_and_settled_by_what_was_really_taken() -> None:
    one = meter(tokens_per_minute=1000)
    aside = one.admit(400, 0)
    assert b"remaining-tokens: 600" in one.lines(0)
    one.settle(aside, 100, 0)
    assert b"remaining-tokens: 900" in one.lines(0)
    aside = one.admit(10, 0)
    one.settle(aside, 5000, 0)
    assert b"remaining-tokens: 0\r\n" in one.lines(0)
    assert refusal(one, 1, 0).retry_after_s == 247  # 4,101 tokens too many, and one


def test_a_prompt_larger_than_a_minute_is_let_in_when_all_are_there_and_paid_off_after() -> None:
    one = meter(tokens_per_minute=100)
    aside = one.admit(300, 0)
    one.settle(aside, 300, 0)
    refusal(one, 1, MINUTE)
    one.admit(1, 2 * MINUTE + SECOND)


def test_requests_at_the_same_time_are_bounded_and_an_end_makes_room() -> None:
    one = meter(parallel=2)
    one.admit(0, 0)
    one.admit(0, 0)
    assert refusal(one, 0, 0).retry_after_s == 1
    one.settle(0, 10, 0)
    one.admit(0, 0)
    assert one.lines(0) == b""


def test_other_limits_hold_from_now_on_and_what_was_asked_still_counts() -> None:
    one = meter(requests_per_minute=10)
    for _ in range(10):
        one.admit(0, 0)
    one.renew(Limits(requests_per_minute=12), 0)
    one.admit(0, 0)
    one.admit(0, 0)
    refusal(one, 0, 0)
    one.renew(Limits(), 0)
    one.admit(0, 0)
    one.renew(Limits(requests_per_minute=1), 0)
    assert one.active == 13


@given(
    steps=st.lists(st.tuples(st.integers(0, MINUTE), st.integers(0, 200), st.integers(0, 400)), max_size=40),
    limits=st.builds(Limits, st.integers(0, 20), st.integers(0, 500), st.integers(0, 50), st.integers(0, 3)),
)
def test_a_meter_never_counts_below_nothing_and_is_fresh_again_after_a_day(
    steps: list[tuple[int, int, int]], limits: Limits
) -> None:
    one, now, running = Meter(limits, 0), 0, []
    for pause, tokens, used in steps:
        now += pause
        if running and used % 2:
            one.settle(running.pop(), used, now)
        try:
            running.append(one.admit(tokens, now))
        except RateLimited:
            pass
        assert one.active == len(running) <= (limits.parallel or len(running))
    for aside in running:
        one.settle(aside, aside, now)
    assert one.active == 0
    assert one.is_fresh(now + 2 * DAY)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ms"),
        (20_000_000, "20ms"),
        (SECOND, "1s"),
        (8_640_000_000, "8.64s"),
        (MINUTE, "1m0s"),
        (6 * MINUTE, "6m0s"),
        (MINUTE + 1, "1m1s"),
        (3600 * SECOND + 3 * SECOND, "1h0m3s"),
    ],
)
def test_times_are_told_as_openais_clients_read_them(nanoseconds: int, text: str) -> Any:
    assert span(nanoseconds) == text
