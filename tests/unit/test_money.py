"""Money is exact: prices, costs and receipts without a binary fraction."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from rolecast import money
from rolecast.money import Rates


def test_usual_prices_are_whole_numbers_per_token() -> None:
    assert money.per_token(15.0) == 150_000  # 0.15 dollars per million
    assert money.per_token(0.1) == 1_000
    assert money.per_token(3.75) == 37_500
    assert money.pico(0.1) == 100_000_000_000
    assert money.pico("0.000000000001") == 1


def test_kept_prompts_cost_what_they_cost() -> None:
    rates = Rates(input=100, output=1000, cached=10, written=125)
    assert rates.cost(prompt=50, completion=3, cached=20, written=10) == 20 * 100 + 20 * 10 + 10 * 125 + 3 * 1000
    assert rates.cost(prompt=5, completion=0, cached=20) == 20 * 10  # a server's own numbers need not fit
    assert Rates(0, 0, 0, 0).free


def test_receipts_round_halves_up() -> None:
    assert money.receipt(money.pico("0.0000005")) == Decimal("0.000001")
    assert str(money.receipt(0)) == "0.000000"


@given(st.decimals(min_value=0, max_value=9_000_000, places=12))
def test_nothing_is_lost_on_the_way(amount: Decimal) -> None:
    assert money.dollars(money.pico(amount)) == amount
