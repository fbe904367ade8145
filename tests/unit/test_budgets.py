"""Budgets: what runs and keys may spend, on both databases, and what becomes of requests when it is spent."""

import asyncio
import calendar
import json
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from databases import OpenStore, database, postgres
from gateway import Gate, Held, ScriptedWorker, chat, config, delta, remote, reply, running_gateway, short_folder
from gateway import request as http
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rolecast.access import budget
from rolecast.access.budget import Account, Budget
from rolecast.access.budgets import ALERT, Budgets
from rolecast.books.charges import number_at
from rolecast.books.ledger import Charge, Ledger
from rolecast.books.store import Store
from rolecast.config.schema import Price
from rolecast.money import PICO, pico
from rolecast.turn import spending
from rolecast.values import Usage

__all__ = ["database", "postgres"]  # fixtures

pytestmark = pytest.mark.anyio
DAY = 86_400.0
NOON = 20_000 * DAY + DAY / 2


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    return "asyncio", {"use_uvloop": True}


# -- one budget, on virtual time ---------------------------------------------------------------------------------


def test_levels_begin_at_their_very_bound() -> None:
    amount = 10**12
    said = {spent: budget.level(spent, amount) for spent in (0, 3 * amount // 4 - 1, 3 * amount // 4)}
    assert list(said.values()) == ["ok", "ok", "caution"]
    assert [budget.level(amount * 9 // 10 - 1, amount), budget.level(amount * 9 // 10, amount)] == [
        "caution",
        "warning",
    ]
    assert [budget.level(amount - 1, amount), budget.level(amount, amount)] == ["warning", "critical"]
    assert budget.level(0, 0) == "critical"


def test_days_and_months_are_those_of_utc() -> None:
    at = calendar.timegm((2028, 2, 29, 23, 59, 59))
    assert budget.began("day", at) == calendar.timegm((2028, 2, 29, 0, 0, 0))
    assert budget.renews("day", at) == budget.renews("month", at) == calendar.timegm((2028, 3, 1, 0, 0, 0))
    december = calendar.timegm((2027, 12, 31, 5, 0, 0))
    assert budget.began("month", december) == calendar.timegm((2027, 12, 1, 0, 0, 0))
    assert budget.renews("month", december) == calendar.timegm((2028, 1, 1, 0, 0, 0))
    assert (budget.began("total", at), budget.renews("total", at)) == (0.0, None)


@given(st.floats(0, 4e9))
def test_a_window_holds_its_time_and_the_next_one_begins_where_it_ends(at: float) -> None:
    for window in ("day", "month"):
        start, end = budget.began(window, at), budget.renews(window, at)  # type: ignore[arg-type]
        assert end is not None
        assert start <= at < end
        assert budget.began(window, end) == end  # type: ignore[arg-type]


def test_a_request_counts_for_the_window_in_which_it_began() -> None:
    account = Account("run", "r", Budget(100, "day"), NOON)
    assert account.charge(number_at(NOON), 75) == "caution"
    tomorrow = account.at(NOON + DAY)
    assert (tomorrow.spent, tomorrow.told) == (0, "ok")
    assert tomorrow.charge(number_at(NOON), 100) is None
    assert tomorrow.charge(number_at(NOON + DAY), 100) == "critical"
    assert tomorrow.charge(number_at(NOON + DAY), 100) is None  # told once
    assert tomorrow.standing.percent == 200
    assert (tomorrow.standing.remaining, tomorrow.standing.can_proceed) == (0, False)


class Machine(RuleBasedStateMachine):
    """Any order of requests: what is spent is the sum of what ended, what is reserved of what did not."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.told: list[str] = []
        tell = lambda kind, data: self.told.append(data["level"])  # noqa: E731
        self.budgets = Budgets(None, None, tell, lambda: self.now)  # type: ignore[arg-type]
        self.budgets._accounts["run", "r"] = Account("run", "r", Budget(1000), self.now)
        self.flying: dict[int, int] = {}
        self.spent = 0
        self.number = number_at(NOON)

    @rule(estimate=st.integers(0, 600))
    def begin(self, estimate: int) -> None:
        self.number += 1
        broke = self.budgets.enter(self.number, "r", "", lambda: estimate)
        assert (broke is None) == (self.spent + sum(self.flying.values()) < 1000)
        assert self.budgets.enter(self.number, "r", "", lambda: 10**9) is broke  # as its parts do
        self.flying[self.number] = estimate if broke is None else 0

    @rule(cost=st.integers(0, 400), data=st.data())
    def end(self, cost: int, data: st.DataObject) -> None:
        if self.flying:
            number = data.draw(st.sampled_from(sorted(self.flying)))
            del self.flying[number]
            self.budgets.leave(number, "r", "", cost)
            self.spent += cost

    @invariant()
    def adds_up(self) -> None:
        standing = self.budgets.of("run", "r")
        assert standing is not None
        assert (standing.spent, standing.reserved) == (self.spent, sum(self.flying.values()))
        assert self.budgets.in_flight == len(self.flying)
        assert self.told == sorted(set(self.told), key=budget.LEVELS.index)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=30)


# -- with a database ----------------------------------------------------------------------------------------------


class Clock:
    now = NOON

    def __call__(self) -> float:
        return self.now


class Books:
    """A ledger and budgets on one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ledger = Ledger(store)
        self.clock = Clock()
        self.alerts: list[tuple[str, str, str]] = []
        self.budgets = Budgets(store, self.ledger, self._tell, self.clock)
        self._number = 0

    def _tell(self, kind: str, data: Mapping[str, Any]) -> None:
        assert kind == ALERT
        self.alerts.append((data["scope"], data["name"], data["level"]))

    def ask(self, cost: int, run: str = "", key: str = "", at: float | None = None) -> None:
        """A request that costs so much, from its beginning to its end."""
        self._number += 1
        number = number_at(self.clock.now if at is None else at) + self._number
        self.budgets.enter(number, run, key, lambda: cost)
        route = self.ledger.route("front door", "chat", "auto", "m", "m", "standard", "default; x", key)
        self.ledger.charged(Charge(number, "openai", cost, key=key, run=run))
        self.ledger.record(number, route, 200, "ok", None, False, Usage(1, 1), 0.1, 0.2, 1, 0, 0, "")
        self.budgets.leave(number, run, key, cost)

    def spent(self, scope: Any, name: str) -> int | None:
        standing = self.budgets.of(scope, name)
        return None if standing is None else standing.spent


@pytest.fixture
async def books(database: OpenStore) -> AsyncIterator[Books]:
    store = database()
    await store.open()
    made = Books(store)
    yield made
    await made.ledger.close()
    await store.close()


async def test_a_budget_counts_what_was_spent_before_it_was_set_and_after_a_restart(books: Books) -> None:
    books.ask(5, run="r", at=NOON - 40 * DAY)
    books.ask(7, run="r", at=NOON - DAY)
    books.ask(11, run="r", key="k")
    books.ask(13, key="k")
    standing = await books.budgets.set("run", "r", 100, "month")
    assert (standing.spent, standing.remaining, standing.percent) == (18, 82, Decimal("18.00"))
    await books.budgets.set("run", "other", 100)
    await books.budgets.for_key("k", budget.Budget(50, "day"))
    books.ask(17, run="r", key="k")
    assert [books.spent("run", "r"), books.spent("run", "other"), books.spent("key", "k")] == [35, 0, 41]
    await books.ledger.close()
    again = Books(books.store)
    await again.budgets.open()
    assert [again.spent("run", "r"), again.spent("run", "other"), again.spent("key", "k")] == [35, 0, None]
    await again.budgets.set("run", "r", 100, "total")
    assert again.spent("run", "r") == 40
    assert await again.budgets.remove("run", "r") is True
    assert await again.budgets.remove("run", "r") is False
    assert again.spent("run", "r") is None
    await again.budgets.for_key("k", None)
    assert [each.name for each in again.budgets.all()] == ["other"]


async def test_nothing_counts_twice_or_not_at_all_while_a_budget_is_made(books: Books) -> None:
    """Requests end at every moment of it: before, while their charges wait, while the books are read, after."""
    asked = 0

    async def keep_asking() -> None:
        nonlocal asked
        while True:
            books.ask(1, run="r")
            asked += 1
            await asyncio.sleep(0.002)  # or it would outrun the database

    busy = asyncio.create_task(keep_asking())
    for _ in range(5):
        await books.budgets.set("run", "r", 10**9)
        assert books.spent("run", "r") == asked
        await books.budgets.reread()
        assert books.spent("run", "r") == asked
    busy.cancel()
    await books.budgets.reread()
    assert books.spent("run", "r") == asked


async def test_a_clock_that_was_years_ahead_neither_spends_a_budget_for_ever_nor_leaves_it_unheeded(
    books: Books,
) -> None:
    books.clock.now = NOON + 1000 * DAY
    await books.budgets.set("run", "r", 100, "day")
    books.ask(90, run="r")
    assert books.spent("run", "r") == 90
    books.clock.now = NOON
    books.ask(5, run="r")
    assert books.spent("run", "r") == 5
    await books.budgets.reread()
    assert books.spent("run", "r") == 5
    await books.budgets.set("run", "r", 100, "month")
    assert books.spent("run", "r") == 5
    await books.budgets.set("run", "r", 100, "total")
    assert books.spent("run", "r") == 95


async def test_what_becomes_of_a_budget_while_all_are_read_anew_stays_so(books: Books) -> None:
    """One that is removed in that moment does not come back, and another amount is not the old one again."""
    for name in ("a", "b", "c"):
        await books.budgets.set("run", name, 100)
    reading = asyncio.create_task(books.budgets.reread())
    read, seen = books.store.read, 0

    async def slow(query: Any, **values: Any) -> Any:
        nonlocal seen
        seen += 1
        await asyncio.sleep(0.05)
        return await read(query, **values)

    books.store.read = slow  # type: ignore[method-assign]
    await asyncio.sleep(0.02)
    await asyncio.gather(
        books.budgets.remove("run", "a"),
        books.budgets.set("run", "b", 7),
        books.budgets.remove("run", "c"),
    )
    await reading
    assert seen
    books.ask(5, run="b")
    assert [(each.name, each.amount, each.spent) for each in books.budgets.all()] == [("b", 7, 5)]


async def test_very_many_budgets_are_read_without_a_batch_of_the_ledger_for_each(books: Books) -> None:
    for number in range(500):
        place: tuple[Any, str] = ("run", f"r{number}")
        books.budgets._accounts[place] = Account(*place, Budget(1000), NOON)
    insert, batches = books.store.insert, 0

    async def counted(batch: Any) -> None:
        nonlocal batches
        batches += 1
        await insert(batch)

    books.store.insert = counted  # type: ignore[method-assign]

    async def keep_asking() -> None:
        number = 0
        while True:
            books.ask(1, run=f"r{(number := number + 1) % 500}")
            await asyncio.sleep(0.0005)

    busy = asyncio.create_task(keep_asking())
    await books.budgets.reread()
    busy.cancel()
    await books.budgets.reread()
    assert batches < 50
    asked = books._number
    assert sum(each.spent for each in books.budgets.all()) == asked


async def test_a_new_amount_keeps_what_is_in_flight(books: Books) -> None:
    await books.budgets.set("run", "r", 100)
    assert books.budgets.enter(1, "r", "", lambda: 60) is None
    standing = await books.budgets.set("run", "r", 50)
    assert (standing.reserved, standing.can_proceed) == (60, False)
    books.budgets.leave(1, "r", "", 0)
    assert (await books.budgets.set("run", "r", 50)).reserved == 0


async def test_each_level_is_told_once_and_not_again_after_a_restart(books: Books) -> None:
    await books.budgets.set("run", "r", 100)
    for cost in (74, 1, 14, 1, 9, 1, 1):
        books.ask(cost, run="r")
    assert books.alerts == [("run", "r", level) for level in ("caution", "warning", "critical")]
    await books.ledger.close()
    again = Books(books.store)
    await again.budgets.open()
    again.ask(1, run="r")
    assert again.alerts == []


async def test_what_another_gateway_charges_is_learnt_and_told(books: Books) -> None:
    await books.budgets.set("run", "r", 100)
    other = Books(books.store)
    other._number = 1000
    other.ask(95, run="r")
    await other.ledger.close()
    assert books.spent("run", "r") == 0
    await books.budgets.reread()
    assert (books.spent("run", "r"), books.alerts) == (95, [("run", "r", "warning")])


# -- with a gateway -------------------------------------------------------------------------------------------------

USED = {"prompt_tokens": 100_000, "completion_tokens": 0}
TENTH = json.dumps(
    {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}], "usage": USED}
).encode()
"""An answer that costs a tenth of a dollar at a dollar per million tokens."""
Both = tuple[Gate, ScriptedWorker, ScriptedWorker]


@pytest.fixture
async def cloud() -> AsyncIterator[Both]:
    """A gateway whose callers belong to the run `r`, with a model that costs and one that does not."""
    with short_folder() as folder:
        async with ScriptedWorker().listening() as paid, ScriptedWorker().listening() as free:
            paid.usual = reply(TENTH)
            price = Price(input=100, output=100)
            models = {"cloud": remote(paid.url, price=price), "local": remote(free.url)}
            made = msgspec.structs.replace(config(models), roles={"standard": ["cloud", "local"], "paid": ["cloud"]})
            async with running_gateway(made, Path(folder)) as gate:
                for door in gate.gateway.doors:
                    plain = door.lane._caller
                    door.lane._caller = lambda headers, of=plain: msgspec.structs.replace(of(headers), run="r")  # type: ignore[method-assign]
                yield gate, paid, free


async def test_a_spent_budget_leaves_what_is_free_and_refuses_the_rest(
    cloud: Both, caplog: pytest.LogCaptureFixture
) -> None:
    gate, paid, _ = cloud
    await gate.gateway.budgets.set("run", "r", pico("0.2"), "day")
    for _ in range(2):
        assert (await gate.ask(http(chat(model="standard")))).header("x-rolecast-model") == "cloud"
    assert (await gate.ask(http(chat(model="standard")))).header("x-rolecast-model") == "local"
    refused = await gate.ask(http(chat(model="cloud")))
    assert (refused.status, refused.error["code"], refused.error["type"]) == (429, "budget_spent", "insufficient_quota")
    assert "The budget of run 'r' is spent: 0.2 of 0.2 dollars a day; it renews at " in refused.error["message"]
    assert "Here local would do." in refused.error["message"]
    assert 0 < int(refused.header("retry-after") or 0) <= DAY
    assert len(paid.requests) == 2
    assert [each.data["level"] for each in gate.gateway.events.recent() if each.event_type == ALERT] == ["critical"]
    assert "the budget of run 'r' is at 100.00 %: critical; it may ask only what is free" in caplog.text
    assert gate.gateway.budgets.in_flight == 0


async def test_requests_in_flight_count_by_what_they_may_cost(cloud: Both) -> None:
    gate, paid, _ = cloud
    held = Held(delta("a"))
    paid.usual = held
    await gate.gateway.budgets.set("run", "r", pico("0.01"))
    async with gate.client() as client:
        await client.send(http(chat(model="cloud", stream=True, max_tokens=20_000)))
        await client.head()
        standing = gate.gateway.budgets.of("run", "r")
        assert standing is not None
        assert standing.reserved > pico("0.02")
        assert (await gate.ask(http(chat(model="standard")))).header("x-rolecast-model") == "local"
        assert "reserved for requests in flight" in (await gate.ask(http(chat(model="cloud")))).error["message"]
        held.let_go.set()
        await asyncio.wait_for(_free(gate), 10)
    after = gate.gateway.budgets.of("run", "r")
    assert after is not None
    assert (after.reserved, gate.gateway.budgets.in_flight) == (0, 0)
    assert after.spent > 0


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ("", 1000),
        ('"max_tokens":7', 7),
        ('"max_tokens":7,"n":3', 21),
        ('"max_tokens":7,"n":3,"best_of":5', 35),
        ('"metadata":{"max_tokens":1},"max_tokens":9000', 9000),
        ('"max_tokens":1,"max_tokens":9000', 9000),
        ('"max_completion_tokens": 9000 , "max_tokens":1', 9000),
        ('"options":{"num_predict":9000}', 9000),
        ('"max_tokens":9e3', 9000),
        ('"max_tokens":9000.0', 9000),
        (r'"max_\u0074okens":9000', 9000),
        (r'"\u006dax_\u0074okens":9000,"\u006e":2', 18000),
        (r'"text":"\"max_tokens\":5"', 1000),
        ('"max_tokens":null,"n":null', 1000),
        ('"max_tokens":-1', 1000),
        ('"n":1000', 1000),
        ('"n":0', 1000),
        ('"metadata":{"n":0,"max_tokens":1},"n":2', 2000),
        ('"tools":[{"max_tokens":1}]', 1000),
        ('"options":{"num_predict":1}', 1),
        ('"extra_params":{"max_tokens":1}', 1),
        ('"n_predict":9000', 9000),
    ],
)
def test_what_an_answer_may_take_is_read_wherever_and_however_it_is_said(fields: str, tokens: int) -> None:
    assert spending._most_tokens(b"{%b}" % fields.encode()) == tokens


async def test_many_at_once_exceed_a_tiny_budget_by_one_of_them_at_most(cloud: Both) -> None:
    """However the body says how long answers may become, 64 at once are not let in side by side."""
    gate, paid, _ = cloud
    await gate.gateway.budgets.set("run", "r", pico("0.01"))
    bodies = [
        b'{"model":"cloud","metadata":{"max_tokens":"1"},"max_tokens":1,"max_tokens":20000,%b}',
        rb'{"model":"cloud","max_\u0074okens":20000,%b}',
        b'{"model":"cloud","max_tokens":5000,"n":4,%b}',
    ]
    said = b'"messages":[{"role":"user","content":"x"}]'
    answers = await asyncio.gather(*(gate.ask(http(bodies[each % 3] % said)) for each in range(64)))
    assert sorted({answer.status for answer in answers}) == [200, 429]
    assert len([answer for answer in answers if answer.status == 200]) == len(paid.requests) == 1
    assert gate.gateway.budgets.in_flight == 0


async def _free(gate: Gate) -> None:
    while gate.gateway.dispatch.active:
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("body", [{"model": "nobody"}, {"model": "cloud", "n": 3}, {"model": "paid", "stream": True}])
async def test_whatever_becomes_of_a_request_nothing_stays_reserved(cloud: Both, body: dict[str, Any]) -> None:
    gate, paid, _ = cloud
    paid.usual = reply(b'{"error":{"message":"no"}}', 500)
    await gate.gateway.budgets.set("run", "r", PICO)
    said = await gate.ask(http(chat(**body)))
    assert said.status >= 400
    standing = gate.gateway.budgets.of("run", "r")
    assert standing is not None
    assert (standing.spent, standing.reserved, gate.gateway.budgets.in_flight) == (0, 0, 0)


def admin(method: str, body: Any = None, query: str = "") -> bytes:
    return http(body, path=f"/admin/budgets{query}", method=method)


async def test_budgets_are_set_listed_and_removed_over_http(cloud: Both) -> None:
    gate, _, _ = cloud
    made = await gate.ask(admin("POST", b'{"name":"n","amount_usd":0.000000000001,"window":"month"}'))
    assert made.status == 200, made.body
    shown = json.loads(made.body, parse_float=Decimal)
    assert shown["amount_usd"] == Decimal("0.000000000001")
    assert (shown["scope"], shown["level"], shown["can_proceed"], shown["spent_usd"]) == ("run", "ok", True, 0)
    listed = (await gate.ask(admin("GET"), method="GET")).json["budgets"]
    assert [each["name"] for each in listed] == ["n"]
    assert (await gate.ask(admin("DELETE", query="?name=n"), method="DELETE")).json["status"] == "removed"
    assert (await gate.ask(admin("DELETE", query="?name=n"), method="DELETE")).status == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"name":"n","amount_usd":-1}', 422),
        (b'{"name":"n","amount_usd":"NaN"}', 422),
        (b'{"name":"n","amount_usd":"Infinity"}', 422),
        (b'{"name":"n","amount_usd":1e300}', 422),
        (b'{"name":"n","amount_usd":1e999999999}', 422),
        (b'{"name":"n","amount_usd":true}', 422),
        (b'{"name":"n"}', 422),
        (b'{"name":"","amount_usd":1}', 422),
        (b'{"name":"a\\u0000b","amount_usd":1}', 422),
        (b'{"name":"\\ud800","amount_usd":1}', 400),
        (b'{"name":"n","amount_usd":1,"window":"year"}', 422),
        (b'{"name":"n","amount_usd":1,"scope":"all"}', 422),
        (b'{"name":"n","amount_usd":', 400),
    ],
)
async def test_what_is_no_budget_is_refused_with_what_is_wrong(cloud: Both, body: bytes, status: int) -> None:
    gate, _, _ = cloud
    said = await gate.ask(admin("POST", body))
    assert said.status == status, said.body
    assert said.error["message"]
    assert gate.gateway.budgets.all() == []
