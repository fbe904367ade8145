"""The durable record of every request. Rows are queued before the last byte of an answer is sent and
written in batches, so a killed gateway loses at most the last 50 ms. Holds no prompt and no answer."""

import asyncio
import hashlib
import logging

import msgspec

from rolecast.books.sqlite import Batch, Database, Row, meaning
from rolecast.values import Receipt

log = logging.getLogger("rolecast.ledger")

FLUSH_S = 0.05
FLUSH_ROWS = 5000
"""A batch is written after 50 ms, or sooner when it has grown this long. Few large batches, because each one
makes the writer's thread and the event loop contend for the interpreter."""
RETRY_S = 1.0
RETRY_ROWS = 5000
"""After a failure so many rows are tried: all that wait would be too much work to do in vain again and again."""
OUTCOMES = {"ok": 0, "error": 1, "cancelled": 2}
MAX_PENDING = 200_000
"""When the disk cannot keep up or fails, so many rows wait in memory; beyond that the oldest are dropped."""


class Ledger:
    """Appends requests and reads them back."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._rows: list[Row] = []
        self._notes: list[Row] = []
        self._new_routes: list[Row] = []
        self._routes: dict[Row, int] = {tuple(r[1:]): r[0] for r in database.query("SELECT * FROM routes")}
        self._timer: asyncio.TimerHandle | None = None
        self._writing = False
        self._loop = asyncio.get_running_loop()
        self._trouble = ""
        """Why the last batch could not be written."""
        self.written = 0
        self.lost = 0

    def route(self, columns: Row) -> int:
        """The number of a combination of listener, kind, asked, model, worker, role, route and key.

        All of these come from the configuration, so there are few; a new one is written with the
        first request that has it.
        """
        number = self._routes.get(columns)
        if number is None:
            # From its content, so that gateways that share the file agree without asking each other.
            digest = hashlib.blake2s("\0".join(columns).encode(), digest_size=4).digest()
            number = self._routes[columns] = int.from_bytes(digest, "big")
            self._new_routes.append((number, *columns))
        return number

    def append(self, row: Row) -> None:
        """Queue one row of `requests` (all columns in table order); returns at once."""
        self._rows.append(row)
        if self._timer is None and not self._writing:
            self._timer = self._loop.call_later(FLUSH_S, self._flush)
        elif len(self._rows) >= FLUSH_ROWS:
            self._crowd()

    def note(self, row: Row) -> None:
        """Queue what is rare about the request appended next: a row of `notes`."""
        self._notes.append(row)

    @property
    def trouble(self) -> str:
        """Why requests are not being recorded just now; empty when they are."""
        if not self._trouble:
            return ""
        lost = f" and {self.lost} are lost" if self.lost else ""
        return f"the ledger cannot be written: {self._trouble}; {len(self._rows)} rows wait in memory{lost}"

    async def tail(self, limit: int = 50) -> list[Receipt]:
        """The newest requests on disk, newest first."""
        columns = ", ".join(Receipt.__struct_fields__)
        rows = await self._db.read(f"SELECT {columns} FROM ledger ORDER BY number DESC LIMIT ?", (limit,))  # noqa: S608
        return [
            msgspec.convert(dict(zip(Receipt.__struct_fields__, r, strict=True)), Receipt, strict=False) for r in rows
        ]

    async def close(self) -> None:
        """Write what is pending and wait for it, ten seconds at most (a full disk must not block the exit)."""
        deadline = self._loop.time() + 10.0
        while (self._rows or self._writing) and self._loop.time() < deadline:
            if not self._writing:
                self._flush()
            await asyncio.sleep(0.005)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing or not self._rows:
            return
        most = RETRY_ROWS if self._trouble else len(self._rows) + len(self._notes)
        batch = (("routes", self._new_routes), ("requests", self._rows[:most]), ("notes", self._notes[:most]))
        self._new_routes, self._rows, self._notes = [], self._rows[most:], self._notes[most:]
        self._writing = True

        def done(error: Exception | None) -> None:
            self._loop.call_soon_threadsafe(self._flushed, batch, error)

        self._db.insert(batch, done)

    def _flushed(self, batch: Batch, error: Exception | None) -> None:
        self._writing = False
        (_, routes), (_, rows), (_, notes) = batch
        if error is not None:
            self._new_routes[:0], self._rows[:0], self._notes[:0] = routes, rows, notes
            self._drop_oldest()
            self._note_trouble(meaning(error, self._db.path))
            self._timer = self._loop.call_later(RETRY_S, self._flush)
            return
        self.written += len(rows)
        if len(self._rows) >= FLUSH_ROWS:
            self._flush()
            return
        if len(self._rows) < RETRY_ROWS:
            self._note_trouble("")
        if self._rows:
            self._timer = self._loop.call_later(FLUSH_S, self._flush)

    def _crowd(self) -> None:
        """Many rows wait: write them, unless that was tried just now or is under way; then there is an end to it."""
        if not self._writing and not self._trouble:
            self._flush()
        elif len(self._rows) > MAX_PENDING + FLUSH_ROWS:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        if (excess := len(self._rows) - MAX_PENDING) > 0:
            self.lost += excess
            del self._rows[:excess]
            del self._notes[: max(0, len(self._notes) - MAX_PENDING)]

    def _note_trouble(self, why: str) -> None:
        """Say once what is wrong, and once that it is well again."""
        before, self._trouble = self._trouble, why
        if why and why != before:
            log.error("%s, and are written when that is over", self.trouble)
        elif before and not why:
            lost = f"; {self.lost} rows were lost, because more than {MAX_PENDING} waited" if self.lost else ""
            log.warning("the ledger is written again, with the rows that had waited%s", lost)
