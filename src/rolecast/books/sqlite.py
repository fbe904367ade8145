"""SQLite as a store: one thread that writes, a few that read. Knows its SQL; knows nothing of requests.

The standard library's driver, not an ORM: ledger rows arrive by the ten thousand per second, and one
multi-row INSERT releases the interpreter for the whole batch where `executemany` would fight for it row by
row (docs/design.md has the figures).
"""

import asyncio
import contextlib
import errno
import os
import queue
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TypeVar

from rolecast.books import tables
from rolecast.books.store import Batch, Refused, Row, StoreError, Value, Work, check_values
from rolecast.config import paths
from rolecast.errors import ConfigError

T = TypeVar("T")

ROWS_PER_STATEMENT = (250, 25)
"""Many rows are inserted by so many at a time, the rest by so many, and what is left then one by one. At each statement
the interpreter changes hands: with fewer, the event loop is held up less. 250 rows take 0.4 MB, for each table."""
READERS = 4
"""Reads that run at the same time; a thread for each is there from the first time that so many do."""
PATIENCE_S = 10.0
"""So long another program may keep the file locked."""
CHECKPOINT_MS = 1000
"""So long who reads may hold up that the write-ahead log is emptied; nobody writes meanwhile."""
FULL = "the disk is full"
GONE = "it was moved or deleted; put it back, or start the gateway again"
REFUSED = "the system takes no more into it, for a quota, a limit or a fault"
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


_OURS = (0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE)
"""Not the file's fault: a statement that is none, a table that is not there."""
_ZEROS = (
    "CREATE TABLE wiping AS WITH RECURSIVE pages(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM pages WHERE n < ?) "
    "SELECT zeroblob(?) FROM pages"
)
_ANEW = (
    "CREATE TABLE wiping AS SELECT * FROM {table} ORDER BY rowid",
    "DELETE FROM {table}",
    "INSERT INTO {table} SELECT * FROM wiping ORDER BY rowid",
    "DROP TABLE wiping",
)
"""The pages that a table leaves are overwritten, those of its indexes too."""
_HEX = re.compile(r"hex16\((.+?)\)")


class SQLite:
    """One SQLite file in WAL mode, for its owner alone. Writes go through one thread in the order given; reads run
    beside it, in others."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="rolecast-db", daemon=True)
        self._writer: sqlite3.Connection
        self._file = (0, 0)
        """Which file we write into, whatever has its name now."""
        self._readers = ThreadPoolExecutor(READERS, "rolecast-db-read")
        self._mine = threading.local()
        self._reading: list[sqlite3.Connection] = []
        self._closed = False

    async def open(self) -> None:
        """Open the file, made when it is not there, and bring its tables up to date. Raises ConfigError."""
        self._thread.start()
        with self._usable():
            await self._in_writer(self._open)

    async def probe(self) -> None:
        """Look into the file, when it is there. Raises ConfigError."""
        if self.path.exists():
            with self._usable():
                await asyncio.get_running_loop().run_in_executor(self._readers, self._read, "PRAGMA user_version", {})

    async def insert(self, batch: Batch) -> None:
        """Append rows (all columns, in table order) per table as one transaction. A row whose id is there already, or
        that holds what SQLite cannot, is left out."""
        await self._in_writer(lambda: self._write(batch))

    async def read(self, query: str, **values: Value) -> list[Row]:
        """The rows of one SELECT, as of now."""
        check_values(values)
        self._refuse_when_closed()
        with self._explained():
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, query, values)

    async def transact(self, work: Work[T]) -> T:
        """Run that transaction in the writer's thread."""
        with self._explained():
            return await self._in_writer(lambda: self._transact(work))

    async def wipe(self, tables: Sequence[str]) -> None:
        """Let no byte of what was deleted from these tables stay in the files, as far as nobody reads them now."""
        with self._explained():
            await self._in_writer(lambda: self._wipe(tables))

    def meaning(self, error: Exception) -> str:
        """What an error of SQLite or the system says about the file, in plain words."""
        code = _code(error)
        if isinstance(error, OSError):
            return FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
        if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _is_full(self.path.parent):
            return FULL
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_WRITE:
            return REFUSED
        return _MEANINGS.get(code, str(error))

    async def close(self) -> None:
        """Finish what was asked for, and close."""
        self._closed = True
        self._jobs.put(None)
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 30)
        await asyncio.to_thread(self._readers.shutdown, cancel_futures=True)
        for connection in self._reading:
            connection.close()

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as exc:
            why = self.meaning(exc)
            then = _NEXT.get(why, "name another file or move this one away")
            raise ConfigError([f"storage.url: cannot use {self.path} as a database: {why}; {then}"]) from exc

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise StoreError("The database is closed; the gateway is stopping.")

    # -- in the writer's thread -----------------------------------------------------------------------------

    async def _in_writer(self, job: Callable[[], T]) -> T:
        """What `job` gives, after those that were asked for before it. One not begun when we are cancelled never is."""
        self._refuse_when_closed()
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(job())
            except BaseException as exc:  # whatever it is, the next one needs this thread
                future.set_exception(exc)

        self._jobs.put(run)
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # an idle thread keeps no batch in memory
        with contextlib.suppress(AttributeError):  # it was never opened
            self._writer.close()

    def _open(self) -> None:
        paths.make_private(self.path.parent)
        _make_private_file(self.path)
        self._file = _identity(self.path)
        self._writer = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=PATIENCE_S)
        self._writer.execute("PRAGMA cache_size=-1024")  # rows are only appended: few pages are in use
        _share(self._writer)
        self._writer.execute("PRAGMA synchronous=NORMAL")
        self._writer.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten
        self._migrate()

    def _migrate(self) -> None:
        db = self._writer
        with self._transaction():  # so that of two gateways that start at once, the second finds the work done
            (version,) = db.execute("PRAGMA user_version").fetchone()
            scripts = tables.scripts()
            if version > len(scripts):
                raise ConfigError([tables.newer(self.name, "file")])
            for script in scripts[version:]:
                for statement in _statements(_HEX.sub(r"printf('%016x', \1)", script)):
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {len(scripts)}")

    def _write(self, batch: Batch) -> None:
        try:
            self._insert(batch, self._insert_rows)
        except (OverflowError, ValueError):  # a number beyond 64 bits, or a text that is none
            self._insert(batch, self._insert_storable)

    def _insert(self, batch: Batch, insert: Callable[[str, Sequence[Row]], None]) -> None:
        with self._transaction():
            for table, rows in batch:
                insert(table, rows)

    def _insert_rows(self, table: str, rows: Sequence[Row]) -> None:
        if not rows:
            return
        width, start = len(rows[0]), 0
        for count in ROWS_PER_STATEMENT:
            while len(rows) - start >= count:
                part = rows[start : start + count]
                self._writer.execute(_insertion(table, width, count), list(chain.from_iterable(part)))
                start += count
        if start < len(rows):
            self._writer.executemany(_insertion(table, width, 1), rows[start:])

    def _insert_storable(self, table: str, rows: Sequence[Row]) -> None:
        for row in rows:
            with contextlib.suppress(OverflowError, ValueError):
                self._insert_rows(table, [row])

    def _transact(self, work: Work[T]) -> T:
        self._writer.execute("PRAGMA foreign_keys=ON")  # not for batches: one orphan would stop the rows beside it
        try:
            with self._transaction():
                return self._run(work)
        finally:
            self._writer.execute("PRAGMA foreign_keys=OFF")

    def _run(self, work: Work[T]) -> T:
        steps = work()
        try:
            step = next(steps)
            while True:
                check_values(step.values)
                step = steps.send(self._writer.execute(step.query, step.values).fetchall())
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            steps.close()

    def _wipe(self, tables: Sequence[str]) -> None:
        """Overwrite the free pages, write the tables anew, and empty the write-ahead log.

        `secure_delete` is not enough: a page that was split keeps copies of rows, and a file written without it more.
        """
        (free,) = self._writer.execute("PRAGMA freelist_count").fetchone()
        (page,) = self._writer.execute("PRAGMA page_size").fetchone()
        with self._transaction():
            self._writer.execute(_ZEROS, (free, page - 96))  # a row fills a page
            self._writer.execute("DROP TABLE wiping")
            for table in tables:
                for statement in _ANEW:
                    self._writer.execute(statement.format(table=table))
        self._writer.execute(f"PRAGMA busy_timeout={CHECKPOINT_MS}")
        try:
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.OperationalError as exc:
            if _code(exc) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):  # the next checkpoint does it
                raise
        finally:
            self._writer.execute(f"PRAGMA busy_timeout={int(PATIENCE_S * 1000)}")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it or nothing. Takes the right to write at once, so that nobody writes between a look and a change."""
        if _identity(self.path) != self._file:  # what is written now, nobody would find
            raise OSError(errno.ESTALE, GONE)
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:  # a full disk has rolled it back already
                self._writer.execute("ROLLBACK")
            raise

    # -- in a reader's thread --------------------------------------------------------------------------------

    def _read(self, query: str, values: Mapping[str, Value]) -> list[Row]:
        connection: sqlite3.Connection | None = getattr(self._mine, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                f"file:{self.path}?mode=ro", uri=True, timeout=PATIENCE_S, check_same_thread=False, isolation_level=None
            )
            connection.execute("PRAGMA cache_size=-1024")
            self._mine.connection = connection
            self._reading.append(connection)
        return connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """What SQLite raises, as errors of a store; mistakes in our own SQL stay what they are."""
        try:
            yield
        except sqlite3.IntegrityError as exc:
            raise Refused("The database holds something else already; look at it again and retry.") from exc
        except (OSError, sqlite3.Error) as exc:
            if not isinstance(exc, OSError) and _code(exc) in _OURS:
                raise
            raise StoreError(f"The database cannot be used just now: {self.meaning(exc)}.") from exc


@lru_cache
def _insertion(table: str, width: int, count: int) -> str:
    """A few texts per table, always the same: the driver keeps every statement it has seen, with all its slots."""
    row = f"({','.join('?' * width)})"
    return f"INSERT OR IGNORE INTO {table} VALUES {','.join([row] * count)}"  # noqa: S608  # our table names


def _share(connection: sqlite3.Connection) -> None:
    """Let others read while we write. SQLite does not wait its turn for this one by itself."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as exc:
            if _code(exc) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, which `executescript` would run outside our transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _code(error: Exception) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def _identity(path: Path) -> tuple[int, int]:
    try:
        now = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (now.st_dev, now.st_ino)


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < FULL_BYTES
    except OSError:
        return False


def _make_private_file(path: Path) -> None:
    """The file, readable by its owner alone before anything is in it; SQLite gives those beside it the same mode."""
    if path.exists() and not path.is_file():  # a device would be opened, and taken from all others
        raise OSError(errno.EINVAL, "it is no regular file")
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for each in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        if each.is_file() and (each == path or not each.is_symlink()):
            each.chmod(0o600)
