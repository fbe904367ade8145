"""The durable record of every request. Rows are queued before the last byte of an answer is sent and
written in batches; those that wait are in the journal too, so a killed gateway loses none. Holds no prompt and no
answer."""

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from rolecast.books import journal
from rolecast.books.journal import CHARGES, DECISIONS, NOTES, REQUESTS, ROUTES, Journal
from rolecast.books.receipt import Receipt
from rolecast.books.store import Batch, Query, Row, Store, StoreError, structs
from rolecast.decision import Choice
from rolecast.values import Usage

log = logging.getLogger("rolecast.ledger")

FLUSH_S = 0.05
FLUSH_ROWS = 5000
"""A batch is written after 50 ms, or sooner when it has grown this long. Few large batches, because each one
makes the writer's thread and the event loop contend for the interpreter."""
RETRY_S = 1.0
RETRY_ROWS = 5000
"""After a failure so many rows are tried: all that wait would be too much work to do in vain again and again."""
OUTCOMES: dict[str, int] = {"ok": 0, "error": 1, "cancelled": 2}
TAIL = Query(f"SELECT {', '.join(Receipt.__struct_fields__)} FROM ledger ORDER BY number DESC LIMIT :most")  # noqa: S608
ONE = Query("SELECT id FROM requests WHERE id = :number")
PATIENCE_S = 1.0
"""So long a row that is asked for may take to be written."""
WAITS = "That request is not in the database yet, because it cannot be written just now. Send this again later."
MAX_PENDING = 200_000
"""When the disk cannot keep up or fails, so many rows wait in memory; beyond that the oldest are dropped."""


class Charge(msgspec.Struct, frozen=True):
    """What a request cost and whom it is counted for, in the order of the table `charges`."""

    number: int
    provider: str
    """Who sends the bill; `local` = nobody."""
    cost: int
    """In picodollars, with all that was asked on the way."""
    written_tokens: int = 0
    key: str = ""
    """Id of the API key."""
    run: str = ""
    agent: str = ""
    fallback: str = ""
    """The model that was to answer first, where another one did."""


class Ledger:
    """Appends requests and reads them back."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: list[Row] = []
        self._under_way: list[Row] = []
        """Those that are being written."""
        self._notes: list[Row] = []
        self._decisions: list[Row] = []
        self._charges: list[Row] = []
        self._beside: list[tuple[int, Row]] = []
        """What was queued of a request whose own row is still to come."""
        self._held = 0
        """So many read what the database has, and want it to stay as it is."""
        self._all = False
        """All that waited is being written."""
        self.journal = Journal()
        self._new_routes: list[Row] = []
        self._routes: dict[Row, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._trouble = ""
        """Why the last batch could not be written."""
        self.written = 0
        self.lost = 0

    async def open(self, folder: Path) -> None:
        """Write what killed gateways left in that folder, and protect our own rows there. The store must be open."""
        await journal.recover(folder, self._store)
        await asyncio.to_thread(self.journal.open, folder, self._store.name)

    def route(
        self, listener: str, kind: str, asked: str, model: str, worker: str, role: str, route: str, key: str
    ) -> int:
        """The number of that combination, for `record`.

        All of these are names of the configuration, or ids of keys, so their number is bounded; a new one is written
        with the first request that has it.
        """
        columns = (listener, kind, asked, model, worker, role, route, key)
        number = self._routes.get(columns)
        if number is None:
            # From its content, so that gateways that share the database agree without asking each other.
            # 63 bits: with half as many, two of a few thousand keys would soon meet, and one have the other's requests.
            digest = hashlib.blake2s("\0".join(columns).encode(), digest_size=8).digest()
            number = self._routes[columns] = int.from_bytes(digest, "big") >> 1
            self._new_routes.append((number, *columns))
            self.journal.add(((ROUTES, (number, *columns)),))
        return number

    def record(
        self,
        number: int,
        route: int,
        status: int,
        outcome: str,
        error: str | None,
        stream: bool,
        usage: Usage,
        first_s: float,
        total_s: float,
        attempts: int,
        queue_us: int,
        load_us: int,
        client_id: str,
    ) -> None:
        """Queue a request that is over; returns at once. `error` is a code, `first_s` 0 when no byte came."""
        cached = usage.cached_tokens
        prompt, completion = usage.prompt_tokens, usage.completion_tokens
        bits = status * 16 + OUTCOMES[outcome] * 4  # sums and products, which the interpreter does faster than shifts
        if usage.counted:
            bits += 2
        if stream:
            bits += 1
        at, first_us, total_us = time.time(), int(first_s * 1e6), int(total_s * 1e6)
        row = (number, route, at, bits, prompt, completion, first_us, total_us)
        self._rows.append(row)
        if error is not None or client_id or cached or attempts != 1 or queue_us or load_us:
            note = (number, error, client_id or None, cached, attempts, queue_us, load_us)
            self._notes.append(note)
            self._beside.append((NOTES, note))
        if self._beside:
            self.journal.add([(REQUESTS, row), *self._beside])
            self._beside = []
        else:
            self.journal.add_plain(number, route, at, bits, prompt, completion, first_us, total_us)
        if self._timer is None and self._writing is None:
            self._timer = self._loop.call_later(FLUSH_S, self._flush)
        elif len(self._rows) >= FLUSH_ROWS:
            self._crowd()

    def decided(self, number: int, choice: Choice) -> None:
        """Queue how that request was decided, to be written with its row; call it before `record`."""
        if (seen := choice.seen) is None:
            return
        difficulty = None if choice.difficulty < 0 else choice.difficulty
        told = (choice.task, choice.tier, choice.domain, difficulty, choice.confidence)
        row = (number, *told, msgspec.json.encode(seen).decode())
        self._decisions.append(row)
        self._beside.append((DECISIONS, row))

    def charged(self, charge: Charge) -> None:
        """Queue what that request cost, and for whom, to be written with its row; call it before `record`."""
        row = msgspec.structs.astuple(charge)
        self._charges.append(row)
        self._beside.append((CHARGES, row))

    @property
    def trouble(self) -> str:
        """Why requests are not being recorded just now; empty when they are."""
        if not self._trouble:
            return ""
        lost = f" and {self.lost} are lost" if self.lost else ""
        return f"the ledger cannot be written: {self._trouble}; {len(self._rows)} rows wait in memory{lost}"

    @property
    def unprotected(self) -> str:
        """Why rows that wait would be lost if this process was killed; empty when they would not."""
        why = self.journal.trouble
        return f"{why}: requests of the last moment are not recorded if the gateway is killed" if why else ""

    async def settled(self) -> None:
        """Wait until the rows that are queued now are written. Raises StoreError when they cannot be."""
        goal = self.written + self.lost + len(self._rows) + len(self._under_way)
        while self.written + self.lost < goal:
            if self._trouble:
                raise StoreError(WAITS)
            if not self._writing:
                self._flush()
            await asyncio.sleep(0.002)

    @asynccontextmanager
    async def still(self) -> AsyncIterator[frozenset[int]]:
        """Nothing of ours is written meanwhile; the numbers of the requests whose charges wait."""
        self._held += 1  # first, or a crowd of rows would be written one batch after the other, and never stand still
        try:
            while self._writing is not None:
                await asyncio.wait((self._writing,))
            yield frozenset(row[0] for row in self._charges)
        finally:
            self._held -= 1
            if not self._held and self._timer is None and self._rows:
                self._timer = self._loop.call_later(FLUSH_S, self._flush)

    async def tail(self, limit: int = 50) -> list[Receipt]:
        """The newest requests that are written, newest first. Raises StoreError."""
        return structs(Receipt, await self._store.read(TAIL, most=limit))

    async def holds(self, number: int) -> bool:
        """Whether there is such a request, also one whose row is not written yet. Raises StoreError.

        Also for one whose row waits for the database: what is kept of a request must not come before it.
        """
        if await self._store.read(ONE, number=number):
            return True
        deadline = self._loop.time() + PATIENCE_S
        while any(row[0] == number for rows in (self._rows, self._under_way) for row in rows):
            if self._trouble or self._loop.time() > deadline:
                raise StoreError(WAITS)
            await asyncio.sleep(0.005)
        return bool(await self._store.read(ONE, number=number))

    async def close(self) -> None:
        """Write what is pending and wait for it, ten seconds at most (a full disk must not block the exit)."""
        deadline = self._loop.time() + 10.0
        while (self._rows or self._writing) and self._loop.time() < deadline:
            if not self._writing:
                self._flush()
            await asyncio.sleep(0.005)

    def leave(self) -> None:
        """Nothing more comes: what could not be written stays in the journal, for the next start."""
        self.journal.close(kept=bool(self._rows or self._under_way))

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing or self._held or not self._rows:
            return
        most = RETRY_ROWS if self._trouble else len(self._rows) + len(self._notes)
        batch = (
            ("routes", self._new_routes),
            ("requests", self._rows[:most]),
            ("notes", self._notes[:most]),
            ("decisions", self._decisions[:most]),
            ("charges", self._charges[:most]),
        )
        self._new_routes, self._rows, self._notes = [], self._rows[most:], self._notes[most:]
        self._decisions, self._charges = self._decisions[most:], self._charges[most:]
        self._all = not self._rows
        if self._all:
            self.journal.turn()
        self._under_way = batch[1][1]
        self._writing = self._loop.create_task(self._write(batch))

    async def _write(self, batch: Batch) -> None:
        error: Exception | None = None
        try:
            await self._store.insert(batch)
        except Exception as exc:
            error = exc
        self._writing = None
        self._flushed(batch, error)

    def _flushed(self, batch: Batch, error: Exception | None) -> None:
        (_, routes), (_, rows), (_, notes), (_, decisions), (_, charges) = batch
        self._under_way = []
        if error is not None:
            self._new_routes[:0], self._rows[:0], self._notes[:0] = routes, rows, notes
            self._decisions[:0], self._charges[:0] = decisions, charges
            self._drop_oldest()
            self._note_trouble(self._store.meaning(error))
            self._timer = self._loop.call_later(RETRY_S, self._flush)
            return
        self.written += len(rows)
        if not self._rows:
            self.journal.clear()
        elif self._all:
            self.journal.written()
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
            del self._decisions[: max(0, len(self._decisions) - MAX_PENDING)]
            del self._charges[: max(0, len(self._charges) - MAX_PENDING)]

    def _note_trouble(self, why: str) -> None:
        """Say once what is wrong, and once that it is well again."""
        before, self._trouble = self._trouble, why
        if why and why != before:
            log.error("%s, and are written when that is over", self.trouble)
        elif before and not why:
            lost = f"; {self.lost} rows were lost, because more than {MAX_PENDING} waited" if self.lost else ""
            log.warning("the ledger is written again, with the rows that had waited%s", lost)
