"""PostgreSQL: a server that goes away and comes back, what is said about it, and a whole gateway on it."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from databases import PUT, Server, postgres
from live_gateway import LiveGateway, until

from rolecast import books, readiness
from rolecast.books import ledger as ledger_module
from rolecast.books import postgres as postgres_module
from rolecast.books.ledger import Ledger
from rolecast.books.postgres import PostgreSQL, own_words, shown, translated
from rolecast.books.store import Query, StoreError, change
from rolecast.config.schema import Config, Storage
from rolecast.errors import ConfigError
from rolecast.values import Usage

pytestmark = pytest.mark.anyio
__all__ = ["postgres"]  # a fixture

PASSWORD = "sesame-17"


@pytest.fixture
async def url(postgres: Server) -> str:
    return await postgres.database()


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgreSQL]:
    ready = PostgreSQL(url)
    await ready.open()
    yield ready
    await ready.close()


def append(ledger: Ledger, *numbers: int) -> None:
    route = ledger.route("front door", "chat", "auto", "m", "m", "standard", "default; x", "")
    for number in numbers:
        ledger.record(number, route, 200, "ok", None, False, Usage(10, 3), 0.1, 0.2, 1, 0, 0, "")


def name_in(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


async def happens(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


# -- a server that goes away --------------------------------------------------------------------------------


async def test_a_server_that_is_killed_costs_no_row_and_is_used_again_when_it_is_back(
    postgres: Server, store: PostgreSQL, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledger_module, "RETRY_S", 0.05)
    ledger = Ledger(store)
    append(ledger, 1, 2)
    await happens(lambda: ledger.written == 2)
    postgres.kill()
    try:
        append(ledger, 3, 4)
        await happens(lambda: ledger.trouble)
        assert ledger.trouble.startswith("the ledger cannot be written: it cannot be reached")
        for attempt in (ledger.tail, lambda: change(store, PUT, name="a", size=1)):
            with pytest.raises(StoreError, match=r"^The database cannot be used just now: it cannot be reached"):
                await attempt()
        append(ledger, 5)
    finally:
        postgres.start()
    await happens(lambda: ledger.written == 5)
    assert [int(r.id[4:], 16) for r in await ledger.tail()] == [5, 4, 3, 2, 1]
    assert ledger.trouble == ""
    assert [r.levelno for r in caplog.records if r.name == "rolecast.ledger"] == [logging.ERROR, logging.WARNING]
    await ledger.close()


async def test_a_server_that_hangs_holds_nobody_up_for_long(
    postgres: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "ANSWER_S", 0.2)
    monkeypatch.setattr(postgres_module, "CONNECT_S", 0.2)
    store = PostgreSQL(url)
    await store.open()
    with postgres.hanging():
        for attempt in (lambda: store.read(Query("SELECT 1")), lambda: change(store, PUT, name="a", size=1)):
            with pytest.raises(StoreError, match="it does not answer"):
                await attempt()
    assert await store.read(Query("SELECT 1")) == [(1,)]
    await store.close()


async def test_a_gateway_may_end_while_the_server_is_away(postgres: Server, url: str) -> None:
    store = PostgreSQL(url)
    await store.open()
    postgres.kill()
    try:
        async with asyncio.timeout(20):
            await store.close()
    finally:
        postgres.start()


async def test_connections_that_an_administrator_ends_are_made_anew(postgres: Server, store: PostgreSQL) -> None:
    for _ in range(2):
        await postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rolecast'")
        await happens_that_it_answers(store)


async def test_nothing_is_left_on_a_connection_that_a_pooler_may_give_to_somebody_else(store: PostgreSQL) -> None:
    ledger = Ledger(store)
    append(ledger, 1, 2)
    await ledger.close()
    assert len(await ledger.tail(5)) == 2
    await change(store, Query("DELETE FROM requests WHERE id = :one"), one=1)
    left = Query("SELECT name FROM pg_prepared_statements UNION SELECT mode FROM pg_locks WHERE locktype = 'advisory'")
    assert [await store.read(left) for _ in range(5)] == [[]] * 5


async def happens_that_it_answers(store: PostgreSQL) -> None:
    for _ in range(20):
        try:
            assert await store.read(Query("SELECT 1")) == [(1,)]
            return
        except StoreError:
            continue
    raise AssertionError("the store never came back")


# -- a start that cannot succeed ----------------------------------------------------------------------------


async def refusal(url: str) -> str:
    store = PostgreSQL(url)
    with pytest.raises(ConfigError) as caught:
        await store.open()
    await store.close()
    (problem,) = caught.value.problems
    assert PASSWORD not in problem
    return problem


async def test_what_keeps_a_database_from_being_used_is_said_with_what_to_do(postgres: Server, tmp_path: Path) -> None:
    await postgres.run(f"CREATE ROLE locked LOGIN PASSWORD '{PASSWORD}'")
    await postgres.run("CREATE ROLE guest LOGIN")
    database = name_in(await postgres.database())
    wrong = postgres.url("postgres", "locked:not-" + PASSWORD)
    assert "the user or the password is wrong; mend them in the URL" in await refusal(wrong)
    assert "it has no database of that name; make it" in await refusal(postgres.url("nowhere"))
    assert "this user may not do that there; let the user make tables" in await refusal(postgres.url(database, "guest"))
    away = f"postgresql://me:{PASSWORD}@/x?host={tmp_path}"
    assert "it cannot be reached (No such file or directory); start it" in await refusal(away)
    nobody = f"postgresql://me:{PASSWORD}@127.0.0.1:1/x"
    assert "it cannot be reached" in await refusal(nobody)
    assert "there is no machine of that name" in await refusal(f"postgresql://me:{PASSWORD}@nowhere.invalid/x")
    assert "its URL is not understood; write postgresql://" in await refusal(f"postgresql://me:{PASSWORD}@h:port/x")
    await postgres.run("CREATE TABLE requests (id TEXT)", database)
    assert "tables of the same names there; name a database of its own" in await refusal(postgres.url(database))
    right = PostgreSQL(postgres.url("postgres", f"locked:{PASSWORD}"))
    assert PASSWORD not in right.name


async def test_a_server_that_takes_no_writes_is_named_as_such(postgres: Server, url: str) -> None:
    await postgres.run(f"ALTER DATABASE {name_in(url)} SET default_transaction_read_only = on")
    assert "it is read-only; name the server that takes writes" in await refusal(url)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (f"postgresql://me:{PASSWORD}@db.example:5433/books", "postgresql://me@db.example:5433/books"),
        (f"postgres://me:{PASSWORD}@[::1]:5433/books", "postgresql://me@[::1]:5433/books"),
        (f"postgresql://db/books?user=me&password={PASSWORD}", "postgresql://db/books"),
        (f"postgresql://me:{PASSWORD}@/books?host=/run/pg", "postgresql://me@/run/pg/books"),
        (f"postgresql://me:a/{PASSWORD}@db/books", "postgresql://..."),
        (f"postgresql://me:1/{PASSWORD}@db/books", "postgresql://..."),
        (f"postgresql://me:1#{PASSWORD}@db/books", "postgresql://..."),
        (f"postgresql://me:1?{PASSWORD}@db/books", "postgresql://..."),
        (f"postgresql://me:a@{PASSWORD}@db/books", "postgresql://me@db/books"),
        (f"postgresql://me:[{PASSWORD}@db/books", "postgresql://..."),
        ("postgresql:///books", "postgresql:///books"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, name: str) -> None:
    assert shown(url) == name


def test_a_driver_that_is_not_installed_is_named_before_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(storage=Storage(url=f"postgresql://me:{PASSWORD}@db/books"))
    assert readiness.warnings(config) == []
    monkeypatch.setattr(books, "find_spec", lambda name: None)
    (line,) = readiness.warnings(config)
    assert line.startswith(
        "storage.url: the driver of PostgreSQL is not installed; run `pip install 'rolecast[postgres]'`"
    )
    with pytest.raises(ConfigError, match=r"pip install 'rolecast\[postgres\]'"):
        books.store_of(config)


def test_the_url_may_be_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(storage=Storage(url="env:BOOKS_URL"))
    monkeypatch.delenv("BOOKS_URL", raising=False)
    (line,) = readiness.warnings(config)
    assert line.startswith("storage.url: the environment variable BOOKS_URL is not set")
    with pytest.raises(ConfigError, match="BOOKS_URL is not set"):
        books.store_of(config)
    monkeypatch.setenv("BOOKS_URL", f" 'postgresql://me:{PASSWORD}@db/books' ")
    assert books.store_of(config).name == "postgresql://me@db/books"
    monkeypatch.setenv("BOOKS_URL", "mysql://me@db/books")
    (line,) = readiness.warnings(config)
    assert line == "storage.url: there is no such kind of database; use sqlite, postgresql, postgres"


def test_a_gateway_on_a_file_never_imports_the_driver_of_a_server() -> None:
    code = "import sys, rolecast.app, rolecast.cli, rolecast.books.sqlite; print('asyncpg' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


async def test_options_of_the_url_reach_the_server(postgres: Server, url: str) -> None:
    await postgres.run("CREATE SCHEMA mine", name_in(url))
    sizes = []
    for address in (url, f"{url}&search_path=mine"):
        store = PostgreSQL(address)
        await store.open()
        ledger = Ledger(store)
        append(ledger, len(sizes) + 1)
        await happens(lambda ledger=ledger: ledger.written == 1)
        sizes.append(len(await ledger.tail()))
        await store.close()
    assert sizes == [1, 1]  # each schema has tables of its own


# -- its SQL ------------------------------------------------------------------------------------------------


def test_named_parameters_become_numbered_ones_and_texts_stay() -> None:
    text = "SELECT ':a', ''':b', x::text FROM t WHERE a = :a AND b = :b_2 OR a < :a"
    assert translated(text) == ("SELECT ':a', ''':b', x::text FROM t WHERE a = $1 AND b = $2 OR a < $1", ("a", "b_2"))


def test_tables_are_made_in_the_words_of_the_server() -> None:
    assert own_words("(id INTEGER, b BLOB, c REAL, INTEGERS TEXT) hex16(q.id)") == (
        "(id BIGINT, b BYTEA, c DOUBLE PRECISION, INTEGERS TEXT) lpad(to_hex(q.id), 16, '0')"
    )


# -- a whole gateway ----------------------------------------------------------------------------------------

CONFIG = """
server: {port: 0}
models:
  tiny: {backend: fake, pinned: true}
roles: {standard: [tiny]}
storage: {url: "env:BOOKS_URL"}
"""


async def test_a_gateway_keeps_its_books_on_a_server_through_its_death_and_return(
    postgres: Server, tmp_path: Path
) -> None:
    name = name_in(await postgres.database())
    await postgres.run(f"CREATE ROLE keeper LOGIN PASSWORD '{PASSWORD}'")
    await postgres.run("GRANT ALL ON SCHEMA public TO keeper", name)
    url = postgres.url(name, f"keeper:{PASSWORD}")
    with LiveGateway(tmp_path, CONFIG, BOOKS_URL=url) as gateway:
        assert gateway.get("/admin/status").json["ledger"] == shown(url)
        for _ in range(3):
            assert gateway.chat("auto", "a secret word").status == 200
        rows = until(lambda: len(found := gateway.get("/admin/requests").json["requests"]) == 3 and found)
        assert {(r["model"], r["status"], r["role"]) for r in rows} == {("tiny", 200, "standard")}
        postgres.kill()
        try:
            assert gateway.chat("auto", "hello").status == 200  # models do not wait for books
            until(lambda: gateway.get("/health").json["status"] == "degraded")
            away = gateway.get("/admin/requests")
            assert (away.status, away.json["error"]["code"]) == (503, "store_unavailable")
        finally:
            postgres.start()
        until(lambda: gateway.get("/health").json["status"] == "healthy")
        assert len(gateway.get("/admin/requests").json["requests"]) == 4
        for text in (gateway.log(), str(gateway.get("/admin/status").json), str(away.json)):
            assert PASSWORD not in text
            assert "Traceback" not in text
        gateway.stop()
        gateway.start()
        assert len(gateway.get("/admin/requests").json["requests"]) == 4


def test_a_gateway_does_not_start_on_a_server_that_is_away(tmp_path: Path) -> None:
    gateway = LiveGateway(tmp_path, CONFIG, BOOKS_URL=f"postgresql://me:{PASSWORD}@127.0.0.1:1/books")
    with pytest.raises(AssertionError, match="the gateway ended while starting"):
        gateway.start()
    assert gateway.wait() == 1
    said = " ".join(gateway.log().split())
    assert "cannot use the database postgresql://me@127.0.0.1:1/books: it cannot be reached" in said
    assert "Traceback" not in said
    assert PASSWORD not in said
