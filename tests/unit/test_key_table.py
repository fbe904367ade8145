"""Keys in both databases: made, changed, revoked, forgotten, and read by gateways that share them."""

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from databases import OpenStore, database, postgres
from msgspec.structs import replace

from rolecast.access import keys
from rolecast.access.keyring import Keyring
from rolecast.access.keys import Budget, Key, Limits
from rolecast.access.models import list_id, matches, reached
from rolecast.access.table import KeyTable, Made
from rolecast.access.wanted import NEW, KeyWanted, edited, wanted_of
from rolecast.books.store import Query, Store, StoreError
from rolecast.config.names import Name
from rolecast.errors import BadRequest, Conflict, Invalid, NotFound, Unauthorized

__all__ = ["database", "postgres"]  # fixtures
pytestmark = pytest.mark.anyio
ALL_OF_IT = Query("SELECT * FROM keys")


class Clock:
    """The wall's time, as a test wants it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def store(database: OpenStore) -> AsyncIterator[Store]:
    store = database()
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def table(store: Store) -> KeyTable:
    return KeyTable(store)


def named(name: str, **fields: object) -> Key:
    return replace(NEW, name=name, **fields)


FULL = named(
    "Ana's laptop; DROP TABLE keys; --",
    scopes=("use", "local-only"),
    models=("small-*", "fast"),
    limits=Limits(60, 10_000, 1000, 4),
    budget=Budget(5 * 10**12, "month"),
    expires=1_900_000_000.0,
)


async def test_a_key_comes_back_as_it_was_made_and_its_secret_is_nowhere_in_the_database(
    table: KeyTable, store: Store
) -> None:
    made = await table.create(FULL)
    assert await table.get(made.key.id) == made.key
    assert await table.get(FULL.name) == made.key
    assert await table.all() == [made.key]
    assert replace(made.key, id="", digest=b"", created=0.0) == FULL
    assert re.fullmatch(r"rk-[A-Za-z0-9_-]{43}", made.secret)
    assert made.key.digest == keys.digest_of(made.secret.encode())
    rows = str(await store.read(ALL_OF_IT))
    assert made.secret not in rows
    assert made.secret[3:] not in rows


async def test_what_is_revoked_stays_so_and_cannot_be_changed(table: KeyTable) -> None:
    made = await table.create(named("a"))
    revoked = await table.revoke(made.key.id)
    assert revoked.revoked is not None
    assert await table.revoke(made.key.id) == revoked
    with pytest.raises(Conflict, match="revoked and stays so"):
        await table.change(made.key.id, lambda key: replace(key, revoked=None))
    assert (await table.get(made.key.id)) == revoked


async def test_an_edit_that_raises_changes_nothing(table: KeyTable) -> None:
    made = await table.create(named("a"))
    number = await table.version()

    def edit(key: Key) -> Key:
        raise Invalid("no")

    with pytest.raises(Invalid):
        await table.change(made.key.id, edit)
    assert (await table.get("a"), await table.version()) == (made.key, number)


async def test_a_name_that_several_have_must_be_an_id(table: KeyTable) -> None:
    first, second = await table.create(named("a")), await table.create(named("a"))
    with pytest.raises(Conflict, match="by its id"):
        await table.get("a")
    assert await table.get(second.key.id) == second.key
    for name in ("nobody", "", "'; --", "x" * 10_000):
        with pytest.raises(NotFound) as caught:
            await table.get(name)
        assert caught.value.code == "key_not_found"
    await table.forget(first.key.id)
    assert await table.get("a") == second.key


async def test_only_keys_that_open_something_count_as_live(table: KeyTable, store: Store) -> None:
    clock = Clock()
    table = KeyTable(store, clock)
    made = [await table.create(named(f"k{i}")) for i in range(3)]
    await table.change(made[1].key.id, lambda key: replace(key, expires=clock.now + 10))
    await table.revoke(made[2].key.id)
    assert await table.live() == 2
    clock.now += 10
    assert await table.live() == 1


async def ring_of(store: Store, clock: Clock) -> Keyring:
    ring = Keyring(KeyTable(store, clock), clock)
    await ring.open()
    return ring


def admitted(ring: Keyring, made: Made) -> bool:
    try:
        return ring.admit(made.secret.encode()) is not None
    except Unauthorized:
        return False


async def test_gateways_that_share_a_database_see_what_each_other_does(database: OpenStore) -> None:
    clock = Clock()
    async with AsyncExitStack() as stack:
        stores = [database(), database()]
        for store in stores:
            await store.open()
            stack.push_async_callback(store.close)
        here, there = [await ring_of(store, clock) for store in stores]
        changes: list[str] = []
        there.changed = lambda: changes.append("changed")
        first = await here.create(named("first"))
        second = await here.create(named("second", models=("a",)))
        assert admitted(here, first)
        assert not admitted(there, first)
        await there.read()
        assert (admitted(there, first), admitted(there, second), changes) == (True, True, ["changed"])
        await there.read()
        assert changes == ["changed"]  # nothing is new

        before = here.admit(first.secret.encode())
        await there.change(second.key.id, lambda key: replace(key, models=("b",)))
        await here.read()
        assert here.admit(first.secret.encode()) is before  # what did not change is the same object
        assert here.admit(second.secret.encode()).models == ("b",)  # type: ignore[union-attr]

        await there.revoke(first.key.id)
        assert (admitted(there, first), admitted(here, first)) == (False, True)
        await here.read()
        assert not admitted(here, first)
        with pytest.raises(Unauthorized, match="revoked"):
            here.current(before)  # type: ignore[arg-type]

        await there.forget(second.key.id)
        third = await there.create(named("third"))
        await here.read()
        assert (len(here), admitted(here, second), admitted(here, third)) == (2, False, True)


@pytest.mark.parametrize("seed", range(2))
async def test_after_any_changes_gateways_know_what_the_table_says(store: Store, seed: int) -> None:
    chance, clock = random.Random(seed), Clock()  # no secret
    rings = [await ring_of(store, clock) for _ in range(3)]
    made: list[Made] = []
    for step in range(25):
        ring, clock.now = chance.choice(rings), clock.now + chance.choice((-5, 1, 30))
        living = [each for each in made if ring.of(each.key.id) is not None]
        what = chance.choice(("create", "change", "revoke", "forget")) if living else "create"
        one = chance.choice(living) if living else None
        try:
            if one is None or what == "create":
                expires = chance.choice((None, clock.now + 20))
                made.append(await ring.create(named(f"k{step}", expires=expires)))
            elif what == "change":
                models = (f"m{step}",)
                await ring.change(one.key.id, lambda key, models=models: replace(key, models=models))
            else:
                await (ring.revoke if what == "revoke" else ring.forget)(one.key.id)
        except (NotFound, Conflict):  # another gateway was there before
            pass
        if chance.random() < 0.5:
            continue
        there = {key.id: key for key in await ring.table.all()}
        for each in rings:
            await each.read()
            assert len(each) == len(there)
            for known in made:
                key = there.get(known.key.id)
                assert each.of(known.key.id) == key
                assert admitted(each, known) == (key is not None and key.state(clock.now) == "live")


async def test_a_gateway_looks_by_itself(database: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolecast.access.keyring.LOOK_S", 0.01)
    store = database()
    await store.open()
    ring = await ring_of(store, Clock())
    changed = asyncio.Event()
    ring.changed = changed.set
    watching = asyncio.create_task(ring.watch())
    try:
        made = await KeyTable(store).create(named("a"))
        async with asyncio.timeout(20):
            await changed.wait()
        assert admitted(ring, made)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await store.close()


async def test_a_key_that_expires_opens_nothing_from_that_moment_on(store: Store) -> None:
    clock = Clock()
    ring = await ring_of(store, clock)
    made = await ring.create(named("a", expires=clock.now + 60))
    rights = ring.admit(made.secret.encode())
    assert rights is not None
    clock.now += 59.9
    ring.current(rights)
    clock.now += 0.1
    with pytest.raises(Unauthorized, match="has expired"):
        ring.admit(made.secret.encode())
    with pytest.raises(Unauthorized, match="has expired"):
        ring.current(rights)


async def test_when_keys_were_used_is_written_now_and_then_and_only_forwards(store: Store) -> None:
    clock = Clock()
    ring = await ring_of(store, clock)
    made = await ring.create(named("a"))
    number = await ring.table.version()
    admitted(ring, made)
    assert (await ring.table.get("a")).used is None
    await ring.close()
    assert (await ring.table.get("a")).used == clock.now
    clock.now -= 3600  # somebody set the clock
    admitted(ring, made)
    await ring.close()
    assert (await ring.table.get("a")).used == clock.now + 3600
    assert await ring.table.version() == number


class Broken:
    """A database that went away."""

    name = "broken"

    async def read(self, query: str, **values: object) -> list[tuple[object, ...]]:
        raise StoreError("it is gone")

    async def transact(self, work: object) -> object:
        raise StoreError("it is gone")


async def test_while_the_database_is_away_keys_are_as_they_were_and_it_is_said_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rolecast.access.keyring.LOOK_S", 0.001)
    ring = await ring_of(store, Clock())
    made = await ring.create(named("a"))
    ring.table._store = Broken()  # type: ignore[assignment]
    looked = asyncio.Event()
    reads: list[int] = []
    table_version = ring.table.version

    async def version() -> int:
        reads.append(1)
        if len(reads) > 3:
            looked.set()
        return await table_version()

    monkeypatch.setattr(ring.table, "version", version)
    watching = asyncio.create_task(ring.watch())
    async with asyncio.timeout(20):
        await looked.wait()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert admitted(ring, made)
    assert len([r for r in caplog.records if "keys are as they were" in r.getMessage()]) == 1
    await ring.close()


async def test_ten_thousand_keys_are_read_and_found(store: Store) -> None:
    from rolecast.access.table import _NAMES, _values

    secrets = [f"rk-{i:043}" for i in range(10_000)]
    rows = []
    for i, secret in enumerate(secrets):
        digest = keys.digest_of(secret.encode())
        key = replace(NEW, id=keys.id_of(digest), digest=digest, name=f"k{i}", created=float(i))
        rows.append(tuple(_values(key, 1)[name] for name in _NAMES))
    await store.insert([("keys", rows)])
    ring = Keyring(KeyTable(store))
    await ring.open()
    assert len(ring) == 10_000
    assert all(ring.admit(secret.encode()) is not None for secret in secrets[::97])
    assert ring.admit(b"rk-" + b"x" * 43) is None


# -- words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("5/month", Budget(5 * 10**12, "month")),
        ("$0.10 / day", Budget(10**11, "day")),
        ("20", Budget(20 * 10**12, "total")),
        ("0.000001/total", Budget(10**6, "total")),
        ("0/day", Budget(0, "day")),
    ],
)
def test_budgets_are_read_exactly_and_written_as_they_were_meant(text: str, budget: Budget) -> None:
    assert keys.budget_of(text) == budget
    assert keys.budget_of(budget.text) == budget


@pytest.mark.parametrize(
    "text", ["", "five", "-1/day", "5/week", "1e3/day", "nan", "inf", "9" * 20, "\u0665/day", "5/day\n6"]
)
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        keys.budget_of(text)
    assert caught.value.param == "budget"


def test_expiries_are_times_from_now_or_the_end_of_a_day() -> None:
    now = 1_800_000_000.0
    assert keys.expiry_of("30d", now) == now + 30 * 86_400
    assert keys.expiry_of("90s", now) == now + 90
    assert keys.expiry_of("2027-01-31", now) == 1_801_440_000.0
    for text in ("", "soon", "0s", "-1d", "2020-01-01", "2027-13-01", "9999-12-31", "1" * 400 + "d", "never"):
        with pytest.raises(Invalid):
            keys.expiry_of(text, now)


def test_scopes_that_only_say_how_one_asks_let_one_ask() -> None:
    assert keys.scopes_of([]) == ("use",)
    assert keys.scopes_of(["raw", "local-only"]) == ("use", "local-only", "raw")
    assert keys.scopes_of(["admin"]) == ("admin",)
    assert keys.scopes_of(["use", "use"]) == ("use",)
    with pytest.raises(Invalid, match="There is no scope 'root'"):
        keys.scopes_of(["root"])


def test_what_is_said_of_a_key_is_checked_and_nothing_unknown_passes() -> None:
    for body in (
        b'{"scopes":["superuser"]}',
        b'{"id":"0123"}',
        b'{"user_role":"proxy_admin"}',
        b'{"requests_per_minute":-1}',
        b'{"requests_per_minute":1e99}',
        b'{"parallel":true}',
        b'{"name":"a\\nb"}',
        b'{"name":"' + b"x" * 300 + b'"}',
        b'{"models":["na\\u00efve"]}',
        b'{"models":[""]}',
        b'{"models":' + str(["m"] * 201).replace("'", '"').encode() + b"}",
        b'{"budget":5}',
        b"[]",
    ):
        with pytest.raises(Invalid):
            edited(NEW, wanted_of(body), 0.0)
    for body in (b"", b"{", b"\xff"):
        with pytest.raises(BadRequest):
            wanted_of(body)


def test_null_takes_a_bound_away_and_what_is_not_said_stays() -> None:
    key = edited(FULL, KeyWanted(budget=None, requests_per_minute=None, models=None), 0.0)
    assert key == replace(FULL, budget=None, models=(), limits=Limits(0, 10_000, 1000, 4))
    assert edited(FULL, KeyWanted(), 0.0) == FULL


# -- which models --------------------------------------------------------------------------------------------

NAMES = {
    name.name: name
    for name in (
        Name("small-1", "model", ("small-1",)),
        Name("small-2", "model", ("small-2",)),
        Name("large", "model", ("large",)),
        Name("gpt-4o", "alias", ("large",)),
        Name("fast", "role", ("small-1", "large")),
        Name("pirate", "variant", ("small-2",)),
    )
}


@pytest.mark.parametrize(
    ("patterns", "models"),
    [
        (["small-1"], {"small-1"}),
        (["small-*"], {"small-1", "small-2"}),
        (["gpt-4o"], {"large"}),
        (["fast"], {"small-1", "large"}),
        (["fast:latest"], {"small-1", "large"}),
        (["pirate", "large"], {"small-2", "large"}),
        (["*"], {"small-1", "small-2", "large"}),
        (["auto"], set()),
        (["SMALL-1", "small", "small-?", "[s]mall-1"], set()),
    ],
)
def test_a_name_in_a_list_stands_for_the_models_behind_it(patterns: list[str], models: set[str]) -> None:
    assert reached(patterns, NAMES) == models


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("a*c", "abc", True),
        ("a*c", "ac", True),
        ("a*a", "a", False),
        ("*b*", "abc", True),
        ("a*b*c", "a-c-b", False),
        ("**", "", True),
        ("", "", True),
        ("*" * 200, "a" * 200, True),
        ("*a" * 100, "a" * 99 + "b", False),
    ],
)
def test_a_star_stands_for_any_part(pattern: str, name: str, fits: bool) -> None:
    assert matches(pattern, name) == fits


def test_equal_lists_have_one_name() -> None:
    assert list_id(["a", "b"]) == list_id(("a", "b")) != list_id(["a\0b"[:1], "b", ""])


def test_a_list_means_what_the_configuration_of_now_says() -> None:
    ring = Keyring(KeyTable(Broken()))  # type: ignore[arg-type]
    rights = replace(FULL, id="x", models=("fast",)).rights
    listed = ring.listed(rights)
    assert ring.reaches(listed, "large", NAMES)
    assert not ring.reaches(listed, "large", {**NAMES, "fast": Name("fast", "role", ("small-1",))})
    assert not ring.reaches("another", "large", NAMES)
    assert ring.reach(NAMES, rights)(NAMES["fast"]) is NAMES["fast"]
    assert ring.reach(NAMES, rights)(NAMES["pirate"]) is None
    assert ring.reach(NAMES, replace(rights, models=("small-1",)))(NAMES["fast"]) == Name("fast", "role", ("small-1",))
