"""What requests cost and what runs and keys spent, on both databases."""

import asyncio
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from databases import OpenStore, database, postgres
from gateway import chat, pair, request

from rolecast.access.budgets import Budgets
from rolecast.books import charges, usage
from rolecast.books.ledger import Charge, Ledger
from rolecast.books.store import Store
from rolecast.money import MOST, dollars
from rolecast.turn import dispatch
from rolecast.turn.exchange import ExchangeIds
from rolecast.values import Usage

__all__ = ["database", "postgres"]  # fixtures

pytestmark = pytest.mark.anyio
DAY = 86_400.0
T0 = 20_000 * DAY
"""Midnight in UTC."""


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    return "asyncio", {"use_uvloop": True}


# -- sums, on each database -----------------------------------------------------------------------------------


def note(ledger: Ledger, at: float, model: str = "m", key: str = "", **values: Any) -> int:
    """One request that began then."""
    number = charges.number_at(at) + values.pop("n", 1)
    route = ledger.route("front door", "chat", "auto", model, model, "standard", "default; x", key)
    charge = {name: values.pop(name) for name in ("provider", "cost", "run", "agent", "fallback") if name in values}
    plain = {"status": 200, "outcome": "ok", "error": None, "stream": False, "usage": Usage(10, 3)}
    plain |= {"first_s": 0.001, "total_s": 0.002, "attempts": 1, "queue_us": 0, "load_us": 0, "client_id": ""}
    if charge:
        ledger.charged(Charge(number, **{"provider": "local", "cost": 0, "key": key, **charge}))
    ledger.record(number, route, **{**plain, **values})
    return number


@pytest.fixture
async def written(database: OpenStore) -> AsyncIterator[Store]:
    store = database()
    await store.open()
    ledger = Ledger(store)
    note(ledger, T0, provider="openai", cost=1_000_001, run="r1", key="k1", agent="a")
    note(ledger, T0 + 30, usage=Usage(7, 1, 5))
    note(ledger, T0 + 70, "n", provider="openai", cost=2, run="r1", fallback="m", attempts=2)
    note(ledger, T0 + 3700, outcome="error", status=502, error="upstream_error", run="r2", cost=0)
    note(ledger, T0 + DAY, "n", "k1", outcome="cancelled", status=499, error="cancelled", provider="xai", cost=10**18)
    await ledger.close()
    yield store
    await store.close()


async def test_a_run_has_its_receipts_in_their_order(written: Store) -> None:
    first, second = await charges.receipts(written, "r1")
    assert (first.provider, first.agent, first.model, first.cost, first.outcome) == (
        "openai",
        "a",
        "m",
        1_000_001,
        "ok",
    )
    assert (second.fallback, second.model, second.attempts, second.cost_usd) == ("m", "n", 2, Decimal("0.000000000002"))
    assert first.id == f"req_{first.number:016x}"
    assert [each.number for each in await charges.receipts(written, "r1", key="k1")] == [first.number]
    (failed,) = await charges.receipts(written, "r2")
    assert (failed.status, failed.outcome, failed.error) == (502, "error", "upstream_error")
    assert await charges.receipts(written, "") == await charges.receipts(written, "r'1") == []
    assert await charges.spent(written, "run", "r1", 0.0) == 1_000_003
    assert await charges.spent(written, "run", "r1", T0 + 1) == 2
    assert await charges.spent(written, "key", "k1", 0.0) == 10**18 + 1_000_001
    assert await charges.spent(written, "run", "nobody", 0.0) == 0


async def test_older_rows_are_never_looked_at(written: Store) -> None:
    """A run's rows are found by an index, and a budget's sum is read from an index alone."""
    if type(written).__name__ != "SQLite":
        pytest.skip("plans are those of SQLite")
    for query, index in (
        (charges.SPENT_BY_RUN, "USING COVERING INDEX charges_of_a_run"),
        (charges.SPENT_BY_KEY, "USING COVERING INDEX charges_of_a_key"),
        (charges.RECEIPTS, "INDEX charges_of_a_run"),
    ):
        names = ("since", "until", "every_key", "key", "most", "run", "name")
        plan = await written.read(f"EXPLAIN QUERY PLAN {query}", **dict.fromkeys(names, 1))
        assert index in " ".join(str(row) for row in plan), (query, plan)


def test_numbers_of_requests_follow_the_clock_and_never_repeat() -> None:
    times = iter([100_000, 100_000, 100_001, 99_000, 200_000])
    ids = ExchangeIds(lambda: next(times) * 1_000_000)
    found = [ids()]
    for _ in range(4):
        ids.look()
        found += ids(), ids.next()
    assert [each >> 20 for each in found] == [100_000] * 3 + [100_001] * 4 + [200_000] * 2
    assert sorted(set(found)) == found
    assert charges.number_at(100.0) <= found[0]
    assert len({ExchangeIds(lambda: 10**9)() for _ in range(3)}) == 3  # gateways that share a database


async def test_a_gateway_keeps_the_numbers_of_requests_to_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "SWEEP_S", 0.01)
    async with pair() as (gate, _):
        await asyncio.sleep(0.3)
        before = time.time()
        assert (await gate.ask(request(chat()))).status == 200
        after = time.time()
        (row,) = await gate.rows()
        assert before - 0.25 < (int(row.id.removeprefix("req_"), 16) >> 20) / 1000 <= after + 0.002


def test_numbers_follow_a_clock_that_is_set_right() -> None:
    """One that began years ahead would have all that follow counted in every window until then."""
    now = 2_000_000_000_000
    ids = ExchangeIds(lambda: now * 1_000_000)
    wrong = {ids() for _ in range(5)}
    now -= 59_000  # a small correction: they go on to grow
    ids.look()
    assert max(wrong) < ids() < max(wrong) + 3
    now = 1_795_000_000_000
    ids.look()
    right = [ids() for _ in range(1000)]
    assert right == sorted(set(right))
    assert {number >> 20 for number in right} == {now}
    now = 2_000_000_000_000  # the same time once more
    ids.look()
    assert not wrong & {ids() for _ in range(5)}


async def test_absurd_amounts_are_summed_like_others(database: OpenStore) -> None:
    """A server may report what it likes: a few of its answers must not end every sum, or no gateway would start."""
    store = database()
    await store.open()
    books = Ledger(store)
    now = time.time()
    for each in range(4):
        number = charges.number_at(now) + each
        books.charged(Charge(number, "openai", MOST if each else 7, key="k", run="r"))
        route = books.route("front door", "chat", "auto", "m", "m", "standard", "default; x", "k")
        books.record(number, route, 200, "ok", None, False, Usage(10, 3), 0.1, 0.2, 1, 0, 0, "")
    await books.close()
    expected = 3 * MOST + 7
    assert await charges.spent(store, "run", "r", 0.0) == await charges.spent(store, "key", "k", 0.0) == expected
    standing = await Budgets(store, books, lambda *_: None).set("run", "r", 1)
    assert (standing.spent, standing.level) == (expected, "critical")
    found = await usage.report(store, usage.Window(0.0, now + 60), usage.Compared("", None), "key")
    assert (found.total.cost_usd, [each.cost_usd for each in found.groups]) == (dollars(expected), [dollars(expected)])
    await usage.facts(store, usage.Window(0.0, now + 60), usage.Compared("", None))
    await store.close()
