"""SQLite: tables, migrations, one writer thread and one for reads. Knows SQL; knows nothing of requests.

The standard library's driver, not an ORM: ledger rows arrive by the ten thousand per second, and one
multi-row INSERT releases the interpreter for the whole batch where `executemany` would fight for it row by
row (docs/design.md has the figures). A server database by URL would be a second file with these methods.
"""

import asyncio
import contextlib
import errno
import os
import queue
import shutil
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

from rolecast.config import paths
from rolecast.errors import ConfigError

Row = tuple[Any, ...]
Batch = Sequence[tuple[str, Sequence[Row]]]
"""Rows per table, written together."""

MIGRATIONS = (
    """
    -- A request is eight numbers: what repeats is in `routes`, what is rare in `notes`. Read the view `ledger`.
    CREATE TABLE routes (
        id INTEGER PRIMARY KEY, listener TEXT NOT NULL, kind TEXT NOT NULL, asked TEXT NOT NULL,
        model TEXT NOT NULL, worker TEXT NOT NULL, role TEXT NOT NULL, route TEXT NOT NULL, key TEXT NOT NULL
    );
    CREATE TABLE requests (
        id INTEGER PRIMARY KEY, route INTEGER NOT NULL REFERENCES routes (id), at REAL NOT NULL,
        bits INTEGER NOT NULL,  -- status << 4 | outcome << 2 | counted << 1 | stream
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
    """,
)
"""One script per schema version; `PRAGMA user_version` counts how many ran. Never edit one that shipped."""

ROWS_PER_STATEMENT = 50
FULL = "the disk is full"
FULL_BYTES = 64 * 1024
"""With less than this SQLite cannot add a page to its files, though it may say something else than `full`."""
_MEANINGS = {
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_BUSY: "another program keeps it locked",
    sqlite3.SQLITE_LOCKED: "another program keeps it locked",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database",
}
_NEXT = {
    FULL: "free some space there, or name a file on another disk",
    "it is read-only": "name a file that this user can write",
    "another program keeps it locked": "end that program, or name another file",
}


def meaning(error: Exception, path: Path) -> str:
    """What an error of SQLite or the system says about the file, in plain words."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if isinstance(error, OSError):
        return FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _is_full(path.parent):
        return FULL
    return _MEANINGS.get(code, str(error))


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < FULL_BYTES
    except OSError:
        return False


class Database:
    """One SQLite file in WAL mode, for its owner alone. Writes go through one thread in the order given; reads run
    beside it, in another."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            paths.make_private(path.parent)
            _make_private_file(path)
            self._writer = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
            self._migrate()
        except (OSError, sqlite3.Error) as exc:
            why = meaning(exc, path)
            then = _NEXT.get(why, "name another file or move this one away")
            raise ConfigError([f"storage.url: cannot use {path} as a database: {why}; {then}"]) from exc
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="rolecast-db", daemon=True)
        self._thread.start()
        self._readers = ThreadPoolExecutor(1, "rolecast-db-read")

    def insert(self, batch: Batch, done: Callable[[Exception | None], None]) -> None:
        """Queue rows (all columns, in table order) per table as one transaction; `done` is called from the
        writer thread. A row whose id is there already, or that holds what SQLite cannot, is left out: it must not
        stop the others for ever."""

        def job() -> None:
            try:
                self._write(batch)
            except Exception as exc:  # whatever it is, the next batch needs this thread
                done(exc)
            else:
                done(None)

        self._jobs.put(job)

    async def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one read beside the event loop, after those that were asked for before it."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.query, sql, parameters)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one read here and now, on a connection of its own. Blocks; see `read`."""
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()

    def close(self) -> None:
        """Finish queued writes and close."""
        self._jobs.put(None)
        self._thread.join(timeout=30)
        self._writer.close()
        self._readers.shutdown(wait=False, cancel_futures=True)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _write(self, batch: Batch) -> None:
        try:
            self._insert(batch, self._insert_rows)
        except (OverflowError, ValueError):  # a number beyond 64 bits, or a text that is none
            self._insert(batch, self._insert_storable)

    def _insert(self, batch: Batch, insert: Callable[[str, Sequence[Row]], None]) -> None:
        self._writer.execute("BEGIN")
        try:
            for table, rows in batch:
                insert(table, rows)
            self._writer.execute("COMMIT")
        except Exception:
            if self._writer.in_transaction:  # a full disk has rolled it back already
                self._writer.execute("ROLLBACK")
            raise

    def _insert_rows(self, table: str, rows: Sequence[Row]) -> None:
        if not rows:
            return
        one = f"({','.join('?' * len(rows[0]))})"
        # Two texts per table, of a fixed size: the driver keeps every statement it has seen, with all its slots.
        many = f"INSERT OR IGNORE INTO {table} VALUES {','.join([one] * ROWS_PER_STATEMENT)}"  # noqa: S608  # our table names
        whole = len(rows) - len(rows) % ROWS_PER_STATEMENT
        for start in range(0, whole, ROWS_PER_STATEMENT):
            part = rows[start : start + ROWS_PER_STATEMENT]
            self._writer.execute(many, list(chain.from_iterable(part)))
        self._writer.executemany(f"INSERT OR IGNORE INTO {table} VALUES {one}", rows[whole:])  # noqa: S608

    def _insert_storable(self, table: str, rows: Sequence[Row]) -> None:
        for row in rows:
            with contextlib.suppress(OverflowError, ValueError):
                self._insert_rows(table, [row])

    def _migrate(self) -> None:
        db = self._writer
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA busy_timeout=10000")
        db.execute("PRAGMA cache_size=-1024")  # rows are only appended: few pages are in use
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise ConfigError(
                [f"storage.url: {self.path} was written by a newer Rolecast; upgrade, or name another file"]
            )
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            db.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")


def _make_private_file(path: Path) -> None:
    """The file, readable by its owner alone before anything is in it; SQLite gives those beside it the same mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for each in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        if each.exists():
            each.chmod(0o600)
