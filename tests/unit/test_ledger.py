"""The books on a real SQLite file: batches, failures of the disk, reopening."""

import asyncio
import errno
import logging
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from rolecast.books import ledger as ledger_module
from rolecast.books import tables
from rolecast.books.ledger import Ledger
from rolecast.books.sqlite import ROWS_PER_STATEMENT, SQLite
from rolecast.errors import ConfigError
from rolecast.values import Usage

pytestmark = pytest.mark.anyio
MANY, FEW = ROWS_PER_STATEMENT


@asynccontextmanager
async def books(path: Path) -> AsyncIterator[Ledger]:
    store = SQLite(path)
    await store.open()
    ledger = Ledger(store)
    yield ledger
    await ledger.close()
    await store.close()


async def opened(path: Path) -> None:
    store = SQLite(path)
    try:
        await store.open()
    finally:
        await store.close()


def route(ledger: Ledger, model: str = "m", **columns: str) -> int:
    values = {"listener": "front door", "kind": "chat", "asked": "auto", "worker": model, "role": "standard"}
    return ledger.route(**{**values, "model": model, "route": "default; x", "key": "", **columns})


def record(ledger: Ledger, number: int, there: int, **values: Any) -> None:
    """A request that went well, but for `values`."""
    plain = {"status": 200, "outcome": "ok", "error": None, "stream": False, "usage": Usage(10, 3)}
    plain |= {"first_s": 0.0015, "total_s": 0.0025, "attempts": 1, "queue_us": 0, "load_us": 0, "client_id": ""}
    ledger.record(number, there, **{**plain, **values})


def append(ledger: Ledger, numbers: Any, model: str = "m") -> None:
    there = route(ledger, model)
    for number in numbers:
        record(ledger, number, there)


def on_disk(path: Path) -> int:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM requests").fetchone()[0])
    finally:
        connection.close()


async def written(ledger: Ledger, count: int) -> None:
    async with asyncio.timeout(20):
        while ledger.written < count:
            await asyncio.sleep(0.002)


@contextmanager
def disk_that_fails(ledger: Ledger) -> Iterator[None]:
    """Every write meets an error of SQLite, as on a file system that turned read-only."""
    connection = ledger._store._writer
    connection.execute("PRAGMA query_only=ON")
    try:
        yield
    finally:
        connection.execute("PRAGMA query_only=OFF")


@contextmanager
def disk_that_stalls(ledger: Ledger) -> Iterator[None]:
    """The writer's thread is stuck until the block ends."""
    go = threading.Event()
    ledger._store._jobs.put(lambda: go.wait() and None)
    try:
        yield
    finally:
        go.set()


async def test_a_row_is_read_back_as_it_was_meant(tmp_path: Path) -> None:
    async with books(tmp_path / "l.db") as ledger:
        there = route(ledger, "vendor/m:1", key="ab12cd34")
        lost = {"status": 503, "outcome": "error", "error": "worker_lost", "stream": True}
        late = {"attempts": 2, "queue_us": 1500, "load_us": 2500, "client_id": "trace-1"}
        record(ledger, 7, there, usage=Usage(10, 3, 4, counted=True), **lost, **late)
        record(ledger, 8, there)
        await written(ledger, 2)
        plain, noted = await ledger.tail()
        assert (noted.id, plain.id) == ("req_0000000000000007", "req_0000000000000008")
        assert (noted.model, noted.role, noted.key) == ("vendor/m:1", "standard", "ab12cd34")
        assert (noted.status, noted.outcome, noted.error, noted.stream) == (503, "error", "worker_lost", True)
        assert (noted.client_id, noted.cached_tokens, noted.attempts, noted.counted) == ("trace-1", 4, 2, True)
        assert (noted.queue_ms, noted.load_ms, noted.first_ms, noted.total_ms) == (1.5, 2.5, 1.5, 2.5)
        assert (plain.outcome, plain.error, plain.attempts, plain.client_id, plain.stream) == ("ok", "", 1, "", False)


async def test_rows_come_newest_first_and_as_many_as_asked(tmp_path: Path) -> None:
    async with books(tmp_path / "l.db") as ledger:
        append(ledger, range(1, 11))
        await written(ledger, 10)
        assert [int(r.id[4:], 16) for r in (await ledger.tail(3))] == [10, 9, 8]


async def test_rows_are_written_in_batches_of_their_own_accord(tmp_path: Path) -> None:
    async with books(tmp_path / "l.db") as ledger:
        batches: list[int] = []
        insert = ledger._store.insert
        ledger._store.insert = lambda batch: batches.append(len(batch[1][1])) or insert(batch)  # type: ignore[method-assign]
        append(ledger, range(1, 101))
        assert on_disk(tmp_path / "l.db") == 0  # nothing blocks the caller
        await written(ledger, 100)
        assert batches == [100]


async def test_a_long_batch_does_not_wait_for_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "FLUSH_S", 3600.0)
    async with books(tmp_path / "l.db") as ledger:
        append(ledger, range(ledger_module.FLUSH_ROWS + 1))
        await written(ledger, ledger_module.FLUSH_ROWS)


@pytest.mark.parametrize("count", [1, FEW - 1, FEW, FEW + 1, MANY - 1, MANY, 2 * MANY + FEW + 1])
async def test_every_row_of_a_batch_arrives(tmp_path: Path, count: int) -> None:
    async with books(tmp_path / "l.db") as ledger:
        append(ledger, range(1, count + 1))
    assert on_disk(tmp_path / "l.db") == count


async def test_rows_that_come_while_the_disk_is_slow_are_written_after_it(tmp_path: Path) -> None:
    async with books(tmp_path / "l.db") as ledger:
        with disk_that_stalls(ledger):
            append(ledger, range(1, 4))
            ledger._flush()
            append(ledger, range(4, 9))
            assert ledger.written == 0
        await written(ledger, 8)
        assert len(await ledger.tail()) == 8


async def test_a_disk_that_fails_costs_no_row_and_blocks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledger_module, "RETRY_S", 0.01)
    async with books(tmp_path / "l.db") as ledger:
        with disk_that_fails(ledger):
            record(ledger, 1, route(ledger), error="worker_lost")
            append(ledger, range(2, 4))
            async with asyncio.timeout(20):
                while "3 rows wait in memory" not in caplog.text:
                    await asyncio.sleep(0.002)
            append(ledger, range(4, 6), model="new")
            assert on_disk(tmp_path / "l.db") == 0
        await written(ledger, 5)
        assert [int(r.id[4:], 16) for r in (await ledger.tail())] == [5, 4, 3, 2, 1]
        assert (await ledger.tail())[-1].error == "worker_lost"
        assert ledger.lost == 0


@contextmanager
def full_disk(ledger: Ledger) -> Iterator[None]:
    """SQLite finds no room for another page, and rolls back by itself."""
    connection = ledger._store._writer
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count={pages}")
    try:
        yield
    finally:
        connection.execute("PRAGMA max_page_count=1000000")


@pytest.mark.parametrize("field", [10**20, -(10**20), "half \ud83d of a pair"])
async def test_a_row_that_sqlite_cannot_hold_costs_no_other_row(tmp_path: Path, field: object) -> None:
    async with books(tmp_path / "ledger.db") as ledger:
        there = route(ledger)
        record(ledger, 1, there)
        record(ledger, 2, there, usage=Usage(field, 3))
        append(ledger, range(3, 3 + 2 * MANY))
        await written(ledger, 2 + 2 * MANY)
        append(ledger, [5000])
        await written(ledger, 3 + 2 * MANY)
        assert ledger.trouble == ""
    assert on_disk(tmp_path / "ledger.db") == 2 + 2 * MANY


async def test_a_full_disk_is_named_once_and_its_end_once_and_the_rows_come_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledger_module, "RETRY_S", 0.001)
    monkeypatch.setattr(ledger_module, "RETRY_ROWS", 100)
    count = 3000  # more than fits into the pages that are there
    async with books(tmp_path / "l.db") as ledger:
        assert ledger.trouble == ""
        with full_disk(ledger):
            append(ledger, range(1, count + 1))
            async with asyncio.timeout(20):
                while not ledger.trouble:
                    await asyncio.sleep(0.002)
            assert ledger.trouble.startswith("the ledger cannot be written: the disk is full; ")
            tries: list[int] = []
            insert = ledger._store.insert
            ledger._store.insert = lambda batch: tries.append(len(batch[1][1])) or insert(batch)  # type: ignore[method-assign]
            async with asyncio.timeout(20):
                while len(tries) < 5:
                    await asyncio.sleep(0.002)
            assert max(tries) <= 100
        await written(ledger, count)
        assert on_disk(tmp_path / "l.db") == count
        assert ledger.trouble == ""
    (bad, good) = [r for r in caplog.records if r.name == "rolecast.ledger"]
    assert bad.levelno == logging.ERROR
    assert "the disk is full" in bad.getMessage()
    assert "the ledger is written again" in good.getMessage()


async def test_reading_the_books_does_not_hold_up_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with books(tmp_path / "l.db") as ledger:
        go, read = threading.Event(), ledger._store._read
        monkeypatch.setattr(ledger._store, "_read", lambda *asked: go.wait(20) and read(*asked))
        reading = asyncio.ensure_future(ledger.tail())
        await asyncio.sleep(0)  # the loop goes on while somebody reads a slow disk
        assert not reading.done()
        go.set()
        assert await reading == []


async def test_memory_is_bounded_while_the_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "RETRY_S", 0.01)
    monkeypatch.setattr(ledger_module, "MAX_PENDING", 10)
    async with books(tmp_path / "l.db") as ledger:
        with disk_that_fails(ledger):
            append(ledger, range(1, 26))
            async with asyncio.timeout(20):
                while not ledger.lost:
                    await asyncio.sleep(0.002)
        await written(ledger, 10)
        assert ledger.lost == 15
        assert [int(r.id[4:], 16) for r in (await ledger.tail())] == list(range(25, 15, -1))  # the oldest went


async def test_the_end_waits_for_what_is_pending_but_not_for_a_dead_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with books(tmp_path / "l.db") as ledger:
        append(ledger, range(1, 4))
        await ledger.close()
        assert on_disk(tmp_path / "l.db") == 3
        with disk_that_fails(ledger):
            append(ledger, range(4, 6))
            times = iter([0.0, *[1.0] * 3, *[11.0] * 99])
            monkeypatch.setattr(ledger, "_loop", _Clock(ledger._loop, times))
            await ledger.close()
            assert on_disk(tmp_path / "l.db") == 3


class _Clock:
    """The event loop with a clock of our own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, times: Iterator[float]) -> None:
        self._loop = loop
        self.time = times.__next__

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


async def test_routes_keep_their_numbers_over_a_restart(tmp_path: Path) -> None:
    async with books(tmp_path / "l.db") as ledger:
        append(ledger, [1])
        first = route(ledger, "m")
    async with books(tmp_path / "l.db") as ledger:
        assert route(ledger, "m") == first
        append(ledger, [2], model="later")
        assert route(ledger, "later") != first
    async with books(tmp_path / "l.db") as ledger:
        assert [r.model for r in (await ledger.tail())] == ["later", "m"]


async def test_among_very_many_keys_none_has_the_requests_of_another(tmp_path: Path) -> None:
    """Two hundred thousand places: in 32 bits several would share a number."""
    async with books(tmp_path / "l.db") as ledger:
        numbers = {route(ledger, key=f"{each:012x}") for each in range(200_000)}
        assert len(numbers) == 200_000
        assert all(0 <= number < 2**63 for number in numbers)
        there = route(ledger, key="0" * 12)
        ledger._new_routes = ledger._new_routes[:1]
        record(ledger, 1, there)
        await written(ledger, 1)
        assert [row.key for row in await ledger.tail()] == ["0" * 12]


async def test_a_reader_never_waits_for_the_writer(tmp_path: Path) -> None:
    async with books(tmp_path / "l.db") as ledger:
        append(ledger, [1])
        await written(ledger, 1)
        other = sqlite3.connect(tmp_path / "l.db", isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")  # somebody else writes
            append(ledger, [2])
            ledger._flush()
            assert len(await ledger.tail()) == 1
            other.execute("COMMIT")
        finally:
            other.close()
        await written(ledger, 2)


def modes(folder: Path) -> dict[str, int]:
    return {each.name: stat.S_IMODE(each.stat().st_mode) for each in [folder, *folder.iterdir()]}


async def test_the_file_and_those_beside_it_and_new_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    async with books(tmp_path / "new" / "er" / "l.db") as ledger:
        append(ledger, [1])
        await written(ledger, 1)
        assert modes(tmp_path / "new" / "er") == {"er": 0o700, "l.db": 0o600, "l.db-wal": 0o600, "l.db-shm": 0o600}
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


async def test_files_of_an_earlier_version_are_closed_to_others(tmp_path: Path) -> None:
    async with books(tmp_path / "l.db") as ledger:
        append(ledger, [1])
        await written(ledger, 1)
        for each in tmp_path.iterdir():
            each.chmod(0o644)
        async with books(tmp_path / "l.db"):
            assert set(modes(tmp_path).values()) == {0o700, 0o600}


def failure(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (failure(sqlite3.SQLITE_FULL), "the disk is full"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full"),
        (OSError(errno.EACCES, "Permission denied"), "Permission denied"),
        (failure(sqlite3.SQLITE_IOERR_WRITE), "the system takes no more into it, for a quota, a limit or a fault"),
        (failure(sqlite3.SQLITE_IOERR_READ), "what SQLite says"),
        (failure(sqlite3.SQLITE_BUSY_SNAPSHOT), "another program keeps it locked"),
        (failure(sqlite3.SQLITE_READONLY_DIRECTORY), "it is read-only"),
        (failure(sqlite3.SQLITE_NOTADB), "it is no SQLite database"),
    ],
)
def test_what_is_wrong_is_said_in_plain_words(tmp_path: Path, error: Exception, words: str) -> None:
    assert SQLite(tmp_path / "l.db").meaning(error) == words


async def test_a_full_disk_at_the_start_is_not_blamed_on_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(self: SQLite) -> None:
        raise failure(sqlite3.SQLITE_FULL)

    monkeypatch.setattr(SQLite, "_migrate", no_room)
    with pytest.raises(ConfigError, match="the disk is full; free some space there, or name a file on another disk"):
        await opened(tmp_path / "l.db")


@pytest.mark.parametrize("content", [b"SQLite format 3\0" + b"x" * 4096, b"hello\n" * 300])
async def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "l.db").write_bytes(content)
    with pytest.raises(ConfigError, match=r"storage\.url: cannot use .*l\.db as a database"):
        await opened(tmp_path / "l.db")
    assert (tmp_path / "l.db").read_bytes() == content


async def test_a_folder_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"storage\.url: cannot use"):
        await opened(tmp_path / "file" / "l.db")


async def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "l.db")
    connection.execute(f"PRAGMA user_version = {len(tables.scripts()) + 1}")
    connection.close()
    with pytest.raises(ConfigError, match="written by a newer Rolecast"):
        await opened(tmp_path / "l.db")


async def test_two_gateways_on_one_file_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "RETRY_S", 0.01)
    async with books(tmp_path / "l.db") as one, books(tmp_path / "l.db") as two:
        append(one, [1], model="a")
        await written(one, 1)
        append(two, [2], model="b")
        await written(two, 1)
        assert [r.model for r in (await one.tail())] == ["b", "a"]


EARLIER = """
CREATE TABLE routes (
    id INTEGER PRIMARY KEY, listener TEXT NOT NULL, kind TEXT NOT NULL, asked TEXT NOT NULL,
    model TEXT NOT NULL, worker TEXT NOT NULL, role TEXT NOT NULL, route TEXT NOT NULL, key TEXT NOT NULL
);
CREATE TABLE requests (
    id INTEGER PRIMARY KEY, route INTEGER NOT NULL REFERENCES routes (id), at REAL NOT NULL, bits INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    first_us INTEGER NOT NULL, total_us INTEGER NOT NULL
);
CREATE TABLE notes (
    id INTEGER PRIMARY KEY REFERENCES requests (id), error TEXT, client_id TEXT,
    cached_tokens INTEGER NOT NULL, attempts INTEGER NOT NULL, queue_us INTEGER NOT NULL, load_us INTEGER NOT NULL
);
CREATE VIEW ledger AS SELECT
    q.id AS number, printf('req_%016x', q.id) AS id, q.at,
    r.listener, r.kind, r.asked, r.model, r.worker, r.role, r.route,
    r.key, q.bits & 1 AS stream, q.bits >> 4 AS status,
    CASE (q.bits >> 2) & 3 WHEN 0 THEN 'ok' WHEN 1 THEN 'error' ELSE 'cancelled' END AS outcome,
    coalesce(n.error, '') AS error, q.prompt_tokens, q.completion_tokens,
    coalesce(n.cached_tokens, 0) AS cached_tokens, (q.bits >> 1) & 1 AS counted,
    coalesce(n.attempts, 1) AS attempts, coalesce(n.queue_us, 0) / 1000.0 AS queue_ms,
    coalesce(n.load_us, 0) / 1000.0 AS load_ms, q.first_us / 1000.0 AS first_ms, q.total_us / 1000.0 AS total_ms,
    coalesce(n.client_id, '') AS client_id
    FROM requests q JOIN routes r ON r.id = q.route LEFT JOIN notes n ON n.id = q.id;
INSERT INTO routes VALUES (3134, 'front door', 'chat', 'auto', 'old', 'old', 'standard', 'default; x', '');
INSERT INTO requests VALUES (1, 3134, 1.5, 3200, 10, 3, 1500, 2500), (2, 3134, 1.5, 8052, 10, 0, 0, 2500);
INSERT INTO notes VALUES (2, 'worker_lost', NULL, 0, 2, 0, 0), (99, 'of a row that was dropped', NULL, 0, 1, 0, 0);
PRAGMA user_version = 1;
"""
"""A file as 0.1 made it."""


async def test_a_file_of_version_1_keeps_its_rows_and_takes_more(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "l.db")
    connection.executescript(EARLIER)
    connection.close()
    for number in (3, 4):
        async with books(tmp_path / "l.db") as ledger:
            append(ledger, [number], model="new")
            record(ledger, number + 10, route(ledger, "new"), error="busy")
    async with books(tmp_path / "l.db") as ledger:
        rows = await ledger.tail()
    assert [(r.id[-2:], r.model, r.error) for r in rows] == [
        ("0e", "new", "busy"), ("0d", "new", "busy"), ("04", "new", ""), ("03", "new", ""),
        ("02", "old", "worker_lost"), ("01", "old", ""),
    ]  # fmt: skip
    assert [(r.status, r.outcome, r.first_ms, r.total_ms) for r in rows[-2:]] == [
        (503, "error", 0.0, 2.5), (200, "ok", 1.5, 2.5),
    ]  # fmt: skip
