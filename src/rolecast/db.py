"""SQLite: tables, migrations and one writer thread. Knows SQL; knows nothing of requests.

The standard library's driver, not an ORM: ledger rows arrive by the ten thousand per second, and one
multi-row INSERT releases the interpreter for the whole batch where `executemany` would fight for it row by
row (docs/design.md has the figures). A server database by URL would be a second file with these methods.
"""

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

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


class Database:
    """One SQLite file in WAL mode. Writes go through one thread in the order given; reads run beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
            self._migrate()
            path.chmod(0o600)
        except (OSError, sqlite3.Error) as exc:
            raise ConfigError(
                [f"storage.url: cannot use {path} as a database ({exc}); name another file or move this one away"]
            ) from exc
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="rolecast-db", daemon=True)
        self._thread.start()

    def insert(self, batch: Batch, done: Callable[[Exception | None], None]) -> None:
        """Queue rows (all columns, in table order) per table as one transaction; `done` is called from the
        writer thread. A row whose id is there already is left out: it must not stop the others for ever."""

        def job() -> None:
            try:
                self._insert(batch)
            except sqlite3.Error as exc:
                done(exc)
            else:
                done(None)

        self._jobs.put(job)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one read on a connection of its own."""
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

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _insert(self, batch: Batch) -> None:
        self._writer.execute("BEGIN")
        try:
            for table, rows in batch:
                self._insert_rows(table, rows)
            self._writer.execute("COMMIT")
        except sqlite3.Error:
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
