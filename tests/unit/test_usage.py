"""What was used in a stretch of time, on both databases, held to sums that are made here row by row."""

import math
import random
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from databases import OpenStore, database, postgres
from gateway import ScriptedWorker, chat, config, remote, reply, request, running_gateway, short_folder

from rolecast.books import usage
from rolecast.books.store import Store
from rolecast.books.usage import Bucket, By, Compared, Spread, Sums, Window
from rolecast.config.schema import Price
from rolecast.money import Rates, dollars
from rolecast.telemetry.metrics import BUCKETS_MS

pytestmark = pytest.mark.anyio
__all__ = ["database", "postgres"]  # fixtures

MINI = Compared("openai/gpt-4o-mini", Rates(150_000, 600_000, 75_000, 150_000))
NOBODY = Compared("nobody/nothing", None)
NOON = 1_795_003_200.0  # 2026-11-18T12:00Z
HOUR, DAY = 3600.0, 86_400.0
MIDNIGHT = NOON - DAY / 2
ALL = Window(0.0, 1e11)


class Made(NamedTuple):
    """One row of the ledger, from all of its tables."""

    number: int
    at: float = NOON
    model: str = "tiny"
    kind: str = "chat"
    listener: str = "front door"
    route: str = "role; asked for role coding"
    key: str = ""
    outcome: int = 0
    prompt: int = 0
    completion: int = 0
    cached: int = 0
    first_us: int = 1000
    total_us: int = 2000
    provider: str = "local"
    cost: int = 0
    run: str = ""
    task: str = ""
    microjoules: int | None = None
    measured: int = 0

    @property
    def routed(self) -> tuple[str, ...]:
        return (self.listener, self.kind, "auto", self.model, self.model, "", self.route, self.key)


@pytest.fixture
async def store(database: OpenStore) -> AsyncIterator[Store]:
    ready = database()
    await ready.open()
    yield ready
    await ready.close()


async def write(store: Store, rows: Sequence[Made]) -> None:
    routes = {routed: number for number, routed in enumerate(sorted({row.routed for row in rows}), 1)}
    charged = [row for row in rows if row.provider != "local" or row.cost or row.run]
    await store.insert(
        [
            ("routes", [(number, *routed) for routed, number in routes.items()]),
            (
                "requests",
                [
                    (r.number, routes[r.routed], r.at, 200 << 4 | r.outcome << 2, *r[8:10], r.first_us, r.total_us)
                    for r in rows
                ],
            ),
            ("notes", [(r.number, None, None, r.cached, 1, 0, 0) for r in rows if r.cached]),
            ("decisions", [(r.number, r.task, "", "", None, 0.5, "{}") for r in rows if r.task]),
            ("charges", [charge(r) for r in charged]),
            ("energy", [(r.number, r.microjoules, r.measured) for r in rows if r.microjoules is not None]),
        ]
    )


def charge(row: Made) -> tuple[Any, ...]:
    return (row.number, row.provider, row.cost, 0, row.key, row.run, "", "")


def nearest(times: list[int], percent: int) -> float | None:
    """The definition of the nearest rank."""
    return sorted(times)[math.ceil(percent * len(times) / 100) - 1] / 1000 if times else None


def summed(group: str, rows: Sequence[Made], rates: Rates) -> Sums:
    """The same by other means: one row after the other."""
    ok = [row for row in rows if row.outcome == 0]
    here = [row for row in rows if row.provider == "local"]
    costs = [
        rates.cost(r.prompt, r.completion, min(r.cached, r.prompt))
        for r in here
        if r.kind in ("chat", "completion") and r.outcome != 1
    ]
    known = [row for row in rows if row.microjoules is not None]
    fallbacks = [row for row in rows if row.route.startswith("fallback;")]
    return Sums(
        group=group,
        requests=len(rows),
        errors=sum(row.outcome == 1 for row in rows),
        cancelled=sum(row.outcome == 2 for row in rows),
        prompt_tokens=sum(row.prompt for row in rows),
        completion_tokens=sum(row.completion for row in rows),
        cached_tokens=sum(row.cached for row in rows),
        local_requests=len(here),
        local_tokens=sum(row.prompt + row.completion for row in here),
        cost_usd=dollars(sum(row.cost for row in rows)),
        avoided_usd=dollars(sum(costs)),
        fallbacks=len(fallbacks),
        fallbacks_to_cloud=sum(row.provider != "local" for row in fallbacks),
        energy_joules=Decimal(sum(row.microjoules or 0 for row in known)) / 1_000_000 if known else None,
        measured_joules=Decimal(sum(r.measured * (r.microjoules or 0) for r in known)) / 1_000_000 if known else None,
        first_ms=Spread(*(nearest([r.first_us for r in ok if r.first_us], p) for p in usage.PERCENTS)),
        total_ms=Spread(*(nearest([r.total_us for r in ok], p) for p in usage.PERCENTS)),
    )


def anything(count: int, seed: int) -> list[Made]:
    """Rows of every kind, over three days."""
    draw = random.Random(seed)
    rows = []
    for number in range(1, count + 1):
        provider = draw.choice(["local", "local", "openai", "anthropic"])
        rows.append(
            Made(
                number,
                at=NOON + draw.choice([0.0, 0.25, HOUR - 0.001, HOUR, DAY / 2 - 0.0005, DAY / 2, DAY, 2.5 * DAY]),
                model=draw.choice(["tiny", "big", "gpt"]),
                kind=draw.choice(["chat", "completion", "embeddings"]),
                listener=draw.choice(["front door", "coder"]),
                route=draw.choice(["role; asked for it", "fallback; tiny failed", "fallbacks are fun; x"]),
                key=draw.choice(["", "ab12cd34", "ffff0000"]),
                outcome=draw.choice([0, 0, 0, 1, 2]),
                prompt=draw.choice([0, 7, 10**6]),
                completion=draw.randrange(300),
                cached=draw.choice([0, 5, 7]),
                first_us=draw.choice([0, draw.randrange(1, 10**6)]),
                total_us=draw.choice([1000, 1001, 2500, draw.randrange(10**9)]),
                provider=provider,
                cost=0 if provider == "local" else draw.randrange(10**15),
                run=draw.choice(["", "nightly", "it's; -- a run"]),
                task=draw.choice(["", "coding"]),
                microjoules=draw.choice([None, 0, draw.randrange(10**12)]),
                measured=draw.randrange(2),
            )
        )
    return rows


def group_of(row: Made, by: By) -> str:
    if by == "hour":
        return usage._began(row.at // HOUR * HOUR)
    if by == "day":
        return usage._began(row.at // DAY * DAY)
    return str(getattr(row, by))


async def test_every_sum_and_every_percentile_is_right_to_the_row(store: Store) -> None:
    rows = anything(400, seed=16)
    await write(store, rows)
    assert MINI.rates is not None
    for window, key in ((ALL, None), (Window(NOON + 0.25, NOON + DAY), None), (ALL, "ab12cd34"), (ALL, "")):
        held = [r for r in rows if window.since <= r.at < window.until and key in (None, r.key)]
        for by in usage.BYS:
            found = await usage.report(store, window, MINI, by, key)
            assert found.total == summed("", held, MINI.rates)
            names = {group_of(row, by) for row in held}
            expected = [summed(name, [r for r in held if group_of(r, by) == name], MINI.rates) for name in names]
            assert sorted(found.groups, key=by_name) == sorted(expected, key=by_name)
            counts = [each.requests for each in found.groups]
            in_time = found.groups == sorted(found.groups, key=by_name)
            assert in_time if by in usage.STEPS_S else counts == sorted(counts, reverse=True)
            assert found.left_out == 0
        times = [row.total_us / 1000 for row in held if row.outcome == 0]
        for bucket, below in zip(found.histogram, [None, *found.histogram], strict=False):
            least = -1.0 if below is None else below.most_ms or 0.0
            most = math.inf if bucket.most_ms is None else bucket.most_ms
            assert bucket.count == sum(least < time <= most for time in times)
        assert sum(bucket.count for bucket in found.histogram) == len(times)


def by_name(each: Sums) -> str:
    return each.group


@pytest.fixture
async def small_and_large(store: Store) -> Store:
    """A store with amounts of very different sizes."""
    rows = [
        Made(1, MIDNIGHT, "m", key="k1", provider="openai", cost=1_000_001, run="r1", prompt=10, completion=3),
        Made(2, MIDNIGHT + 30, "m", prompt=7, completion=1, cached=5),
        Made(3, MIDNIGHT + 70, "n", provider="openai", cost=2, run="r1", route="fallback; m failed"),
        Made(4, MIDNIGHT + 3700, "m", outcome=1, run="r2"),
        Made(5, MIDNIGHT + DAY, "n", key="k1", outcome=2, provider="xai", cost=10**18),
    ]
    await write(store, rows)
    return store


async def test_sums_are_made_by_whatever_is_asked_for(small_and_large: Store) -> None:
    whole = (await usage.report(small_and_large, ALL, NOBODY)).total
    assert (whole.requests, whole.errors, whole.cancelled, whole.fallbacks) == (5, 1, 1, 1)
    assert (whole.prompt_tokens, whole.completion_tokens, whole.cached_tokens) == (17, 4, 5)
    assert whole.cost_usd == Decimal("1000000.000001000003")
    by = {
        name: {
            each.group: (each.requests, each.cost_usd)
            for each in (await usage.report(small_and_large, ALL, NOBODY, name)).groups
        }
        for name in usage.BYS
    }
    most, rest = Decimal(1_000_000), dollars(1_000_003)
    assert by["provider"] == {"local": (2, 0), "openai": (2, rest), "xai": (1, most)}
    assert by["model"] == {"m": (3, dollars(1_000_001)), "n": (2, most + dollars(2))}
    assert by["key"] == {"": (3, dollars(2)), "k1": (2, most + dollars(1_000_001))}
    assert by["run"] == {"": (2, most), "r1": (2, rest), "r2": (1, 0)}
    assert by["task"] == {"": (5, whole.cost_usd)}
    assert list(by["hour"].values()) == [(3, rest), (1, 0), (1, most)]
    assert list(by["day"].values()) == [(4, rest), (1, most)]


async def test_a_span_holds_its_beginning_and_not_its_end(small_and_large: Store) -> None:
    middle = (await usage.report(small_and_large, Window(MIDNIGHT + 30, MIDNIGHT + 70), NOBODY)).total
    assert (middle.requests, middle.cached_tokens) == (1, 5)
    day = Window(MIDNIGHT, MIDNIGHT + DAY)
    assert (await usage.report(small_and_large, day, NOBODY, key="k1")).total.requests == 1
    later = await usage.report(small_and_large, Window(MIDNIGHT + 2 * DAY, 1e11), NOBODY, "model")
    assert (later.total.requests, later.groups) == (0, [])


async def test_nothing_was_used_where_there_is_no_row(store: Store) -> None:
    found = await usage.report(store, ALL, MINI, "model")
    assert (found.total, found.groups, found.left_out, found.histogram) == (Sums(avoided_usd=Decimal(0)), [], 0, [])
    facts = await usage.facts(store, ALL, MINI)
    assert (facts.total_cost_usd, facts.cost_per_request, facts.requests_per_provider) == (0, 0, {})


async def test_money_is_exact_beyond_what_a_binary_fraction_holds(store: Store) -> None:
    await write(store, [Made(n, provider="openai", cost=9_007_199_254_740_993) for n in range(1, 101)])
    facts = await usage.facts(store, ALL, MINI)
    assert facts.total_cost_usd == Decimal("900719.9254740993")
    assert facts.cost_per_request == Decimal("9007.199254740993")
    assert facts.cost_per_provider == {"openai": Decimal("900719.9254740993")}


async def test_what_was_not_paid_is_told_by_the_prices_of_now_and_not_at_all_without(store: Store) -> None:
    rows = [
        Made(1, prompt=1000, completion=200, cached=400),
        Made(2, prompt=50, completion=7, kind="embeddings"),  # no chat model would have been paid for it
        Made(3, prompt=50, completion=0, outcome=1),  # nor for an error
        Made(4, prompt=1000, completion=200, provider="openai", cost=7),
        Made(5, prompt=10, completion=5, outcome=2),  # what came of it before the client left
    ]
    await write(store, rows)
    found = (await usage.report(store, ALL, MINI)).total
    assert found.avoided_usd == Decimal("0.00009") + Decimal("0.00003") + Decimal("0.00012") + Decimal("0.0000045")
    assert (await usage.report(store, ALL, NOBODY)).total.avoided_usd is None
    assert (await usage.report(store, ALL, NOBODY)).compared_with == ""


async def test_the_facts_of_a_window_are_those_of_its_rows(store: Store) -> None:
    rows = [
        Made(1, at=NOON - 61, prompt=1, completion=1),
        Made(2, at=NOON - 60, prompt=10, completion=5, microjoules=1_500_000, measured=1, total_us=2500),
        Made(3, at=NOON - 1, prompt=10, completion=6, provider="openai", cost=5 * 10**6, route="fallback; tiny died"),
        Made(4, at=NOON, prompt=1, completion=1),
    ]
    await write(store, rows)
    facts = await usage.facts(store, Window(NOON - 60, NOON), MINI)
    assert facts.total_requests == 2
    assert facts.total_tokens == 31
    assert facts.local_tokens == 15
    assert facts.requests_per_provider == {"local": 1, "openai": 1}
    assert facts.cost_per_provider == {"local": Decimal(0), "openai": Decimal("0.000005")}
    assert facts.cost_per_request == Decimal("0.0000025")
    assert facts.fallbacks_to_cloud == 1
    assert facts.energy_joules == Decimal("1.5")
    assert facts.latency_ms == Spread(2.0, 2.5, 2.5, 2.5)
    assert facts.histogram == [Bucket(2.5, 2)]


async def test_of_too_many_groups_those_with_most_requests_are_told_and_the_rest_is_counted(store: Store) -> None:
    runs = [f"run {n}" for n in range(usage.MOST_GROUPS + 5)]
    await write(store, [Made(n, run=run) for n, run in enumerate([*runs, "run 1003"], 1)])
    found = await usage.report(store, ALL, MINI, "run")
    assert (len(found.groups), found.left_out, found.total.requests) == (usage.MOST_GROUPS, 5, len(runs) + 1)
    assert (found.groups[0].group, found.groups[0].requests) == ("run 1003", 2)


async def test_only_rows_of_that_time_are_looked_at(database: OpenStore) -> None:
    store = database()
    await store.open()
    try:
        await write(store, [Made(n, at=NOON + n) for n in range(5000)])
        question = f"EXPLAIN {'' if type(store).__name__ == 'PostgreSQL' else 'QUERY PLAN '}{usage.HISTOGRAM}"
        plan = str(await store.read(question, since=NOON + 10, until=NOON + 20, key=None))
        assert "requests_in_time" in plan or "Seq Scan" not in plan
    finally:
        await store.close()


def test_the_buckets_are_those_of_the_metrics() -> None:
    assert all(f"<= {int(bound * 1000)} " in usage.HISTOGRAM for bound in BUCKETS_MS)


async def test_what_fell_back_to_the_cloud_is_told_with_what_it_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolecast.backends.reach.is_loopback", lambda host: False)  # a cloud that is on this machine
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as here, ScriptedWorker().listening() as cloud:
            models = {
                "m": remote(here.url),
                "big": remote(cloud.url, provider="openai", price=Price(input=15.0, output=60.0)),
            }
            setting = msgspec.structs.replace(config(models), roles={"standard": ["m", "big"]})
            async with running_gateway(setting, Path(folder)) as gate:
                await gate.ask(request(chat(model="standard")))
                here.script.append(reply(b'{"error":{"message":"no","code":"x"}}', 500))
                answer = await gate.ask(request(chat(model="standard")))
                assert (answer.status, answer.header("x-rolecast-model")) == (200, "big")
                await gate.rows()
                facts = await usage.facts(gate.gateway.store, ALL, MINI)
    used = answer.json["usage"]
    assert facts.total_requests == 2
    assert facts.requests_per_provider == {"local": 1, "openai": 1}
    assert facts.fallbacks_to_cloud == 1
    assert facts.local_tokens == used["total_tokens"]  # both workers say the same
    assert facts.total_tokens == 2 * used["total_tokens"]
    cost = Decimal("0.00000015") * used["prompt_tokens"] + Decimal("0.0000006") * used["completion_tokens"]
    assert facts.total_cost_usd == cost
    assert facts.avoided_usd == cost  # by the same prices
    assert facts.cost_per_provider == {"local": Decimal(0), "openai": cost}
