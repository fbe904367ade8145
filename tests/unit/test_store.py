"""What every database does for the parts of the product: one suite for all drivers."""

import asyncio
import importlib
import math
import os
import sqlite3
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from databases import ADD, ALL, PILES, PUT, SIZE, OpenStore, database, postgres

from rolecast import books
from rolecast.books import tables
from rolecast.books.ledger import Ledger
from rolecast.books.pace import Past, recent
from rolecast.books.postgres import PostgreSQL, translated
from rolecast.books.sqlite import SQLite
from rolecast.books.store import Query, Refused, Row, Step, Store, StoreError, Unstorable, change, structs
from rolecast.errors import ConfigError
from rolecast.values import Usage

pytestmark = pytest.mark.anyio
__all__ = ["database", "postgres"]  # fixtures

Steps = Generator[Step, list[Row], Any]


@pytest.fixture(autouse=True)
def _more_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a part of the product had added a file of its own."""
    scripts = (*tables.scripts(), PILES)
    monkeypatch.setattr(tables, "scripts", lambda: scripts)


@pytest.fixture
async def store(database: OpenStore) -> AsyncIterator[Store]:
    ready = database()
    await ready.open()
    yield ready
    await ready.close()


async def test_what_a_finished_transaction_wrote_is_read_at_once(store: Store) -> None:
    assert await change(store, PUT, name="a", size=1) == []
    assert await store.read(SIZE, name="a") == [(1,)]
    assert await store.read(SIZE, name="b") == []


async def test_a_change_gives_the_rows_that_it_returns(store: Store) -> None:
    await change(store, PUT, name="a", size=1)
    assert await change(store, ADD, name="a", more=4) == [(5,)]
    assert await change(store, ADD, name="b", more=4) == []


async def test_a_transaction_decides_by_what_its_earlier_steps_gave(store: Store) -> None:
    def halve() -> Steps:
        ((size,),) = yield Step(SIZE, {"name": "a"})
        yield Step(ADD, {"name": "a", "more": -(size // 2)})
        yield Step(PUT, {"name": "b", "size": size // 2})
        return size

    await change(store, PUT, name="a", size=11)
    assert await store.transact(halve) == 11
    assert await store.read(ALL) == [("a", 6), ("b", 5)]


async def test_a_transaction_without_a_step_gives_what_it_returns(store: Store) -> None:
    def nothing() -> Steps:
        return "done"
        yield

    assert await store.transact(nothing) == "done"


async def test_what_fails_half_way_leaves_nothing_and_the_next_one_goes_on(store: Store) -> None:
    class Mistake(Exception):
        pass

    def own_mistake() -> Steps:
        yield Step(PUT, {"name": "a", "size": 1})
        raise Mistake

    def twice() -> Steps:
        yield Step(PUT, {"name": "b", "size": 1})
        yield Step(PUT, {"name": "b", "size": 2})

    def too_much() -> Steps:
        yield Step(PUT, {"name": "c", "size": 1})
        yield Step(ADD, {"name": "c", "more": 2**63})

    for work, error in ((own_mistake, Mistake), (twice, Refused), (too_much, Unstorable)):
        with pytest.raises(error):
            await store.transact(work)
    await change(store, PUT, name="d", size=1)
    assert await store.read(ALL) == [("d", 1)]


async def test_transactions_run_in_the_order_they_were_asked_for(store: Store) -> None:
    await change(store, PUT, name="a", size=0)
    sizes = await asyncio.gather(*(change(store, ADD, name="a", more=1) for _ in range(50)))
    assert sizes == [[(n,)] for n in range(1, 51)]


async def test_batches_and_transactions_keep_their_order(store: Store) -> None:
    batch = [("piles", [(f"p{n}", n, None, None, None) for n in range(200)])]
    _, grown = await asyncio.gather(store.insert(batch), change(store, ADD, name="p199", more=1))
    assert grown == [(200,)]


@pytest.mark.parametrize("stores", [1, 2])
async def test_no_increment_is_lost_however_many_write(database: OpenStore, stores: int) -> None:
    def add() -> Steps:
        ((size,),) = yield Step(SIZE, {"name": "a"})
        yield Step(Query("UPDATE piles SET size = :size WHERE name = 'a'"), {"size": size + 1})

    writers = [database() for _ in range(stores)]
    try:
        for writer in writers:
            await writer.open()
        await change(writers[0], PUT, name="a", size=0)
        await asyncio.gather(*(writer.transact(add) for writer in writers for _ in range(20)))
        assert await writers[0].read(SIZE, name="a") == [(20 * stores,)]
    finally:
        for writer in writers:
            await writer.close()


VALUES = Query("INSERT INTO piles (name, size, note, share, raw) VALUES (:name, :size, :note, :share, :raw)")
BACK = Query("SELECT size, note, share, raw FROM piles WHERE name = :name")


@pytest.mark.parametrize(
    "values",
    [
        {"size": 2**63 - 1, "note": "", "share": 0.1, "raw": b""},
        {
            "size": -(2**63),
            "note": 'it\'s :named, 100 % ünïcödé 🦊 \\ "$1"',
            "share": -1e-300,
            "raw": bytes(range(256)),
        },
        {"size": 0, "note": None, "share": None, "raw": None},
        {"size": True, "note": "x" * 100_000, "share": 1.7976931348623157e308, "raw": b"\0" * 100_000},
        {"size": 1, "note": '{"a":[1,null,"\\u0000"]}', "share": math.inf, "raw": b"\xff"},
    ],
)
async def test_values_come_back_as_they_were(store: Store, values: dict[str, Any]) -> None:
    await change(store, VALUES, name="a", **values)
    assert await store.read(BACK, name="a") == [tuple(values.values())]


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, "a\0b", "half \ud83d", math.nan])
async def test_what_no_column_can_hold_is_refused_by_the_name_of_the_value(store: Store, value: float | str) -> None:
    column = "note" if isinstance(value, str) else "size" if isinstance(value, int) else "share"
    values = {"name": "a", "size": 1, "note": "", "share": None, "raw": None} | {column: value}
    with pytest.raises(Unstorable, match=f"^{column} "):
        await change(store, VALUES, **values)
    with pytest.raises(Unstorable, match=f"^{column} "):
        await store.read(BACK, **{"name": "a", column: value})
    assert await store.read(ALL) == []


async def test_rows_that_cannot_be_kept_cost_no_other_row_of_their_batch(store: Store) -> None:
    bad: list[Row] = [("n", 2**63, None, None, None), ("s", 1, "\ud83d", None, None), ("z", None, None, None, None)]
    good: list[Row] = [(f"p{n:03}", n, None, n / 2, b"x") for n in range(120)]
    await store.insert([("piles", [*good[:60], *bad, *good[60:], good[7]])])
    assert await store.read(ALL) == [row[:2] for row in good]


async def test_an_empty_batch_is_nothing(store: Store) -> None:
    await store.insert([])
    await store.insert([("piles", [])])
    assert await store.read(ALL) == []


async def test_a_batch_that_fails_leaves_nothing(store: Store) -> None:
    with pytest.raises(Exception, match="nowhere") as caught:
        await store.insert([("piles", [("a", 1, None, None, None)]), ("nowhere", [(1,)])])
    assert store.meaning(caught.value)
    assert await store.read(ALL) == []


async def test_rows_become_structs(store: Store) -> None:
    class Pile(msgspec.Struct):
        name: str
        size: int
        big: bool

    await change(store, PUT, name="a", size=9)
    rows = await store.read(Query("SELECT name, size, CASE WHEN size > 5 THEN 1 ELSE 0 END FROM piles"))
    assert structs(Pile, rows) == [Pile("a", 9, True)]


async def test_sums_and_means_are_plain_numbers(store: Store) -> None:
    await store.insert([("piles", [(str(n), n, None, 0.5, None) for n in range(4)])])
    ((total, count, mean, shares),) = await store.read(
        Query("SELECT sum(size), count(*), avg(size), sum(share) FROM piles")
    )
    assert (total, count, mean, shares) == (6, 4, 1.5, 2.0)
    assert [type(each) for each in (total, count, mean, shares)] == [int, int, float, float]


async def test_a_reference_to_nothing_is_refused(database: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = (*tables.scripts(), "CREATE TABLE tops (pile TEXT NOT NULL REFERENCES piles (name));")
    monkeypatch.setattr(tables, "scripts", lambda: scripts)
    store = database()
    await store.open()
    try:
        with pytest.raises(Refused):
            await change(store, Query("INSERT INTO tops (pile) VALUES (:pile)"), pile="none")
        assert await store.read(Query("SELECT pile FROM tops")) == []
    finally:
        await store.close()


async def test_a_mistake_in_our_own_sql_is_no_fault_of_the_database(store: Store) -> None:
    read, write = Query("SELECT a FROM nowhere"), Query("UPDATE nowhere SET a = 1")
    for attempt in (lambda: store.read(read), lambda: change(store, write)):
        with pytest.raises(Exception, match="nowhere") as caught:
            await attempt()
        assert not isinstance(caught.value, StoreError | Refused | Unstorable)
    await change(store, PUT, name="a", size=1)


async def test_who_stops_waiting_leaves_the_store_as_it_was(store: Store) -> None:
    await change(store, PUT, name="a", size=1)
    count = Query(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :most) SELECT count(*) FROM n"
    )
    for asked in (store.read(count, most=300_000), change(store, ADD, name="a", more=1), store.read(SIZE, name="a")):
        waiting = asyncio.ensure_future(asked)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    ((before,),) = await store.read(SIZE, name="a")
    assert before in (1, 2)
    assert await change(store, ADD, name="a", more=1) == [(before + 1,)]


async def test_a_closed_store_refuses_whatever_is_asked_for(database: OpenStore) -> None:
    store = database()
    await store.open()
    waiting = [asyncio.ensure_future(change(store, PUT, name=str(n), size=n)) for n in range(3)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*waiting, return_exceptions=True)
    for attempt in (lambda: store.read(ALL), lambda: change(store, PUT, name="late", size=1)):
        with pytest.raises(StoreError):
            await attempt()
    again = database()
    await again.open()
    done = [n for n, each in enumerate(waiting) if not each.exception()]
    assert await again.read(ALL) == [(str(n), n) for n in done]
    await again.close()


async def test_many_read_while_one_writes(store: Store) -> None:
    await change(store, PUT, name="a", size=0)
    reads = [store.read(SIZE, name="a") for _ in range(30)]
    writes = [change(store, ADD, name="a", more=1) for _ in range(30)]
    results = await asyncio.gather(*(each for pair in zip(reads, writes, strict=True) for each in pair))
    assert all(0 <= rows[0][0] <= 30 for rows in results)


# -- the tables ---------------------------------------------------------------------------------------------


async def test_two_gateways_that_start_at_once_on_a_new_database_find_one_set_of_tables(database: OpenStore) -> None:
    stores = [database() for _ in range(6)]
    try:
        await asyncio.gather(*(store.open() for store in stores))
        for number, store in enumerate(stores):
            await change(store, PUT, name=str(number), size=1)
        assert len(await stores[0].read(ALL)) == 6
    finally:
        for store in stores:
            await store.close()


def test_the_files_of_tables_are_numbered_without_a_gap() -> None:
    names = sorted(path.name for path in Path(tables.__file__).parent.glob("*.sql"))
    assert [int(name.partition("_")[0]) for name in names] == list(range(1, len(names) + 1))


async def test_tables_that_came_later_join_those_that_are_there(
    database: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for script in ("", "CREATE TABLE later (id INTEGER PRIMARY KEY);\nINSERT INTO later VALUES (7);"):
        scripts = (*tables.scripts(), *filter(None, [script]))
        monkeypatch.setattr(tables, "scripts", lambda scripts=scripts: scripts)
        store = database()
        await store.open()
        await change(store, PUT, name=f"before {len(scripts)}", size=1)
        await store.close()
    store = database()
    await store.open()
    assert (await store.read(Query("SELECT id FROM later")), len(await store.read(ALL))) == ([(7,)], 2)
    await store.close()


async def test_a_script_that_fails_leaves_the_tables_as_they_were(
    database: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tables.scripts()
    with monkeypatch.context() as patched:
        patched.setattr(
            tables, "scripts", lambda: (*whole, "CREATE TABLE half (id INTEGER);\nCREATE TABLE half (id TEXT);")
        )
        failing = database()
        with pytest.raises(ConfigError, match=r"^configuration has 1 problem:\n  storage\.url: "):
            await failing.open()
        await failing.close()
    store = database()
    await store.open()
    with pytest.raises(Exception, match="half"):
        await store.read(Query("SELECT * FROM half"))
    await store.close()


async def test_a_database_of_a_newer_version_is_left_alone(
    database: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = database()
    await store.open()
    await store.close()
    monkeypatch.setattr(tables, "scripts", lambda: ())
    older = database()
    with pytest.raises(ConfigError, match="was written by a newer Rolecast; upgrade, or name another"):
        await older.open()
    await older.close()


# -- the SQL of the product ---------------------------------------------------------------------------------

SOURCE = Path(books.__file__).parent.parent


def queries() -> dict[str, Query]:
    """Every `Query` of the product, by its module and name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        if "Query(" in path.read_text("utf-8"):
            name = ".".join(("rolecast", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
            constants = vars(importlib.import_module(name)).items()
            found |= {f"{name}.{each}": query for each, query in constants if isinstance(query, Query)}
    return found


async def test_every_query_of_the_product_is_understood(store: Store) -> None:
    assert "rolecast.books.ledger.TAIL" in queries()
    for name, query in queries().items():
        try:
            if isinstance(store, PostgreSQL):
                connection, transaction = await store._begin("read_committed")
                async with transaction:
                    await connection.prepare(translated(query)[0])
            else:
                await store.read(Query(f"EXPLAIN {query}"), **dict.fromkeys(translated(query)[1]))
        except Exception as error:
            raise AssertionError(f"{name}: {error}") from error


# -- the ledger on each -------------------------------------------------------------------------------------


def record(ledger: Ledger, number: int, **values: Any) -> None:
    route = ledger.route("front door", "chat", "auto", "m", "w", "standard", "default; x", "ab12")
    plain = {"status": 200, "outcome": "ok", "error": None, "stream": False, "usage": Usage(10, 3)}
    plain |= {"first_s": 0.0015, "total_s": 0.0025, "attempts": 1, "queue_us": 0, "load_us": 0, "client_id": ""}
    ledger.record(number, route, **{**plain, **values})


async def written(ledger: Ledger, count: int) -> None:
    async with asyncio.timeout(30):
        while ledger.written < count:
            await asyncio.sleep(0.002)


async def test_a_request_is_read_back_as_it_went(store: Store) -> None:
    ledger = Ledger(store)
    record(ledger, 2**62, status=503, outcome="error", error="worker_lost", stream=True, client_id="trace 1")
    record(ledger, 2**62 + 1, usage=Usage(2**40, 7, 5, counted=True), attempts=3, queue_us=1500, load_us=2_500_000)
    record(ledger, 2**62 + 2, first_s=0.0, outcome="cancelled", status=499)
    await written(ledger, 3)
    cancelled, late, lost = await ledger.tail(3)
    assert lost.id == "req_4000000000000000"
    assert (lost.listener, lost.kind, lost.asked, lost.model, lost.worker) == ("front door", "chat", "auto", "m", "w")
    assert (lost.role, lost.route, lost.key) == ("standard", "default; x", "ab12")
    assert (lost.status, lost.outcome, lost.error, lost.stream) == (503, "error", "worker_lost", True)
    assert (lost.client_id, lost.attempts, lost.first_ms, lost.total_ms) == ("trace 1", 1, 1.5, 2.5)
    assert (late.prompt_tokens, late.completion_tokens, late.cached_tokens, late.counted) == (2**40, 7, 5, True)
    assert (late.attempts, late.queue_ms, late.load_ms, late.error, late.client_id) == (3, 1.5, 2500.0, "", "")
    assert (cancelled.outcome, cancelled.status, cancelled.first_ms) == ("cancelled", 499, 0.0)
    assert len(await ledger.tail(1)) == 1


async def test_the_newest_complete_answers_are_told_with_their_times_the_oldest_first(store: Store) -> None:
    ledger = Ledger(store)
    record(ledger, 2**62, outcome="error", status=503)
    record(ledger, 2**62 + 1, attempts=2)
    record(ledger, 1, usage=Usage(99, 99))  # of long ago
    record(ledger, 2**62 + 2, stream=True, usage=Usage(10, 3, 5), queue_us=1500, load_us=2_500_000, total_s=4.0)
    record(ledger, 2**62 + 3)
    await written(ledger, 5)
    assert await recent(store) == [
        Past("w", True, 10, 3, 5, first_s=0.0015, total_s=4.0, queue_s=0.0015, load_s=2.5),
        Past("w", False, 10, 3, 0, first_s=0.0015, total_s=0.0025, queue_s=0.0, load_s=0.0),
    ]


async def test_a_crowd_of_requests_is_written_whole_and_one_that_cannot_be_kept_costs_no_other(store: Store) -> None:
    ledger = Ledger(store)
    for number in range(1, 12_001):
        record(ledger, number, client_id=f"c{number}" if number % 3 else "")
    record(ledger, 20_000, usage=Usage(10**20, 0))
    record(ledger, 20_001, client_id="half \ud83d of a pair")
    record(ledger, 20_002, client_id="after it")
    await written(ledger, 12_003)
    assert ledger.trouble == ""
    assert await store.read(Query("SELECT count(*) FROM requests")) == [(12_002,)]
    assert [r.client_id for r in await ledger.tail(3)] == ["after it", "", ""]


async def test_two_gateways_on_one_database_write_beside_each_other(database: OpenStore) -> None:
    stores = [database(), database()]
    try:
        await asyncio.gather(*(store.open() for store in stores))
        ledgers = [Ledger(store) for store in stores]
        for number in range(1, 101):
            record(ledgers[number % 2], number)
        await asyncio.gather(*(written(ledger, 50) for ledger in ledgers))
        for ledger in ledgers:
            rows = await ledger.tail(200)
            assert [int(r.id[4:], 16) for r in rows] == list(range(100, 0, -1))
        assert await stores[0].read(Query("SELECT count(*) FROM routes")) == [(1,)]
    finally:
        for store in stores:
            await store.close()


# -- a disk that fails --------------------------------------------------------------------------------------


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[SQLite]:
    store = SQLite(tmp_path / "store.db")
    await store.open()
    yield store
    await store.close()


async def test_a_disk_without_room_undoes_a_transaction_whole_and_reads_go_on(file: SQLite) -> None:
    def much() -> Steps:
        yield Step(PUT, {"name": "first", "size": 1})
        for n in range(200):
            yield Step(VALUES, {"name": str(n), "size": n, "note": "x" * 5000, "share": None, "raw": None})

    await change(file, PUT, name="a", size=1)
    (pages,) = file._writer.execute("PRAGMA page_count").fetchone()
    file._writer.execute(f"PRAGMA max_page_count={pages + 5}")
    with pytest.raises(StoreError, match=r"^The database cannot be used just now: the disk is full\.$") as caught:
        await file.transact(much)
    assert caught.value.status == 503
    assert await file.read(ALL) == [("a", 1)]
    file._writer.execute("PRAGMA max_page_count=1000000")
    await file.transact(much)
    assert len(await file.read(ALL)) == 202


async def test_a_file_that_turned_read_only_is_named_as_such(file: SQLite) -> None:
    file._writer.execute("PRAGMA query_only=ON")
    with pytest.raises(StoreError, match="it is read-only"):
        await change(file, PUT, name="a", size=1)
    assert await file.read(ALL) == []


@pytest.mark.parametrize("linked", [False, True])
async def test_what_is_no_regular_file_is_refused_and_stays_as_it_was(tmp_path: Path, linked: bool) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    path = pipe
    if linked:
        path = tmp_path / "link"
        path.symlink_to(pipe)
    store = SQLite(path)
    with pytest.raises(ConfigError, match="no regular file; name another file"):
        await store.open()
    await store.close()
    assert pipe.stat().st_mode & 0o777 == 0o666


@pytest.mark.parametrize("other", [False, True])
async def test_a_file_that_was_moved_is_missed_until_it_is_back(file: SQLite, other: bool) -> None:
    away = file.path.with_name("away")
    file.path.rename(away)
    if other:
        file.path.touch()
    with pytest.raises(StoreError, match="moved or deleted; put it back"):
        await change(file, "INSERT INTO notes VALUES (1, NULL, NULL, 0, 1, 0, 0)")
    with pytest.raises(OSError) as failed:
        await file.insert([("notes", [(1, None, None, 0, 1, 0, 0)])])
    assert file.meaning(failed.value).startswith("it was moved")
    away.replace(file.path)
    await file.insert([("notes", [(1, None, None, 0, 1, 0, 0)])])
    assert len(await file.read("SELECT * FROM notes")) == 1


async def test_a_file_that_another_program_keeps_locked_is_waited_for_and_then_named(
    file: SQLite, tmp_path: Path
) -> None:
    file._writer.execute("PRAGMA busy_timeout=1")
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another program keeps it locked"):
            await change(file, PUT, name="a", size=1)
        assert await file.read(ALL) == []
    finally:
        other.close()
    await change(file, PUT, name="a", size=1)
