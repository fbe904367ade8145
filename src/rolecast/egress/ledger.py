"""The egress ledger: a chain in the database, written before anything leaves. Entries that come together are one write.

Knows the table and when it is written; what an entry means is `chain`'s.
"""

import asyncio
import socket
from collections.abc import Generator, Sequence
from functools import partial

import msgspec

from rolecast.books.store import Query, Row, Step, Store, structs
from rolecast.config import paths
from rolecast.egress.chain import BEGINNING, FIELDS, Entry, sealed

_COLUMNS = ", ".join(FIELDS)
_VALUES = ", ".join(f":{name}" for name in FIELDS)
HEAD = Query("SELECT seq, hash FROM egress WHERE place = :place ORDER BY seq DESC LIMIT 1")
ADD = Query(f"INSERT INTO egress ({_COLUMNS}) VALUES ({_VALUES})")  # noqa: S608  # our names
SOME = Query(
    f"SELECT {_COLUMNS} FROM egress WHERE (place > :place OR (place = :place AND seq > :seq)) "  # noqa: S608
    "ORDER BY place, seq LIMIT :most"
)
NEWEST = Query(
    f"SELECT {_COLUMNS} FROM egress WHERE at_us >= :since ORDER BY at_us DESC, seq DESC LIMIT :most"  # noqa: S608
)
HEADS = Query(
    "SELECT e.place, e.seq, e.hash FROM egress e "
    "WHERE e.seq = (SELECT max(m.seq) FROM egress m WHERE m.place = e.place) ORDER BY e.place"
)
PAGE = 2000
"""Entries that are read at once."""
MOST_AT_ONCE = 500
"""Entries of one transaction."""


def here() -> str:
    """This gateway, as entries name it."""
    return f"{socket.gethostname()}:{paths.home()}"


class EgressLedger:
    """Writes the chain of one gateway."""

    def __init__(self, store: Store, place: str = "") -> None:
        self._store = store
        self.place = place or here()
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def write(self, entry: Entry) -> None:
        """Returns once it is in the database. Raises StoreError and its kin; then it is not, or may not be."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, written))
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())
        await written

    async def close(self) -> None:
        """Wait until all is written."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
                wanted = [(entry, written) for entry, written in batch if not written.done()]  # others were given up
                error: BaseException | None = None
                try:
                    await self._store.transact(partial(_chained, self.place, [entry for entry, _ in wanted]))
                except Exception as caught:  # each of those who wait is told
                    error = caught
                for _, written in wanted:
                    if not written.done():
                        written.set_exception(error) if error is not None else written.set_result(None)
        finally:
            self._writing = None


def _chained(place: str, entries: Sequence[Entry]) -> Generator[Step, list[Row], None]:
    """Add these behind the newest that is there, whoever wrote it."""
    rows = yield Step(HEAD, {"place": place})
    seq, previous = rows[0] if rows else (0, BEGINNING)
    for entry in entries:
        seq += 1
        entry = sealed(msgspec.structs.replace(entry, place=place, seq=seq), previous)
        previous = entry.hash
        yield Step(ADD, msgspec.structs.asdict(entry))


async def newest(store: Store, most: int, since_us: int = 0) -> list[Entry]:
    """The newest first, of all gateways. Raises StoreError."""
    return structs(Entry, await store.read(NEWEST, since=since_us, most=most))


async def everything(store: Store) -> list[Entry]:
    """All entries, by place and number. Raises StoreError."""
    found: list[Entry] = []
    place, seq = "", -1
    while rows := structs(Entry, await store.read(SOME, place=place, seq=seq, most=PAGE)):
        found += rows
        place, seq = rows[-1].place, rows[-1].seq
    return found


async def heads(store: Store) -> list[tuple[str, int, str]]:
    """Place, number and hash of the newest entry of each gateway. Raises StoreError."""
    return [(place, seq, mark) for place, seq, mark in await store.read(HEADS)]
