"""PostgreSQL as a store: a few connections, one of which writes at a time. Knows its SQL; knows nothing of requests.

Imported for a URL of PostgreSQL only, because asyncpg takes time and memory.
"""

import asyncio
import contextlib
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import asyncpg

from rolecast.books import postgres_errors as errors
from rolecast.books import tables
from rolecast.books.store import Batch, Row, Value, Work, check_values
from rolecast.errors import ConfigError
from rolecast.values import authority

T = TypeVar("T")

CONNECTIONS = 4
"""As many read at the same time; the writing one is among them."""
CONNECT_S = 5.0
ANSWER_S = 10.0
"""So long one statement may take; after that the server counts as away."""
ATTEMPTS = 20
"""So often a transaction is tried when other gateways change the rows that it looked at."""
MAKE_S = 600.0
"""So long one script of tables may take, and the wait for another gateway that makes them."""
LOCK = 7_646_317_270_523_129_203
"""Whoever makes tables holds the advisory lock of this number."""
_COLUMNS = """SELECT atttypid::regtype::text FROM pg_attribute
    WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
_PARAMETER = re.compile(r"'(?:[^']|'')*'|::|:([A-Za-z_]\w*)")
_HEX = re.compile(r"hex16\((.+?)\)")
_TYPES = {"INTEGER": "BIGINT", "REAL": "DOUBLE PRECISION", "BLOB": "BYTEA"}
_TYPE = re.compile(rf"\b({'|'.join(_TYPES)})\b")


class PostgreSQL:
    """One database on a server. Writes go one after the other in the order given; reads run beside them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = shown(url)
        self._pool: asyncpg.Pool | None = None
        self._turn = asyncio.Lock()
        """Held by who writes; it is handed on in the order of asking."""
        self._types: dict[str, list[str]] = {}
        """Of the columns of a table."""

    async def open(self) -> None:
        """Connect, and bring the tables up to date. Raises ConfigError."""
        with errors.usable(self.name):
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=0,  # those that it keeps in reserve it would make with noise in the log
                max_size=CONNECTIONS,
                init=_read_numbers,
                reset=_leave,
                timeout=CONNECT_S,
                command_timeout=ANSWER_S,
                statement_cache_size=0,  # poolers give each transaction another connection of theirs
                server_settings={"application_name": "rolecast"},
            )
            await self._migrate()

    async def probe(self) -> None:
        """Connect and go away again. Raises ConfigError."""
        with errors.usable(self.name):
            connection = await asyncpg.connect(self._url, timeout=CONNECT_S)
            await connection.close(timeout=CONNECT_S)

    async def insert(self, batch: Batch) -> None:
        """Append rows (all columns, in table order) per table as one transaction. A row whose key is there already, or
        that holds what PostgreSQL cannot, is left out."""
        async with self._turn:
            try:
                await self._append(batch, self._insert_rows)
            except errors.BAD_ROWS:
                await self._append(batch, self._insert_storable)

    async def read(self, query: str, **values: Value) -> list[Row]:
        """The rows of one SELECT, as of now."""
        check_values(values)
        text, names = translated(query)
        with errors.explained():
            connection, transaction = await self._begin("read_committed", readonly=True)
            async with transaction:
                return [tuple(row) for row in await connection.fetch(text, *(values[name] for name in names))]

    async def transact(self, work: Work[T]) -> T:
        """Run that transaction, again from its start when another gateway changed what it had seen."""
        with errors.explained():
            async with self._turn:
                for attempt in range(1, ATTEMPTS):
                    try:
                        return await self._run(work)
                    except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
                        await asyncio.sleep(random.uniform(0, 0.001 * 2 ** min(attempt, 7)))  # noqa: S311  # no secret
                return await self._run(work)

    async def wipe(self, tables: Sequence[str]) -> None:
        """Nothing: the files are the server's, and its vacuum takes what was deleted out of them."""

    def meaning(self, error: Exception) -> str:
        """What an error of PostgreSQL or the network says, in plain words without values."""
        return errors.meaning(error) or f"it refuses what was asked ({type(error).__name__})"

    async def close(self) -> None:
        """Finish what was asked for, and close."""
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._pool.close()
        except errors.FAILURES:
            self._pool.terminate()

    # -- parts ----------------------------------------------------------------------------------------------

    def _connected(self) -> Any:
        assert self._pool is not None, "open comes first"
        return self._pool

    async def _begin(self, isolation: str, *, readonly: bool = False) -> tuple[Any, contextlib.AsyncExitStack]:
        """A connection with a transaction that has begun, and what ends both.

        A connection that the server closed while it was idle shows that only now; then another one is taken.
        """
        for left in reversed(range(CONNECTIONS + 1)):
            async with contextlib.AsyncExitStack() as stack:
                connection = await stack.enter_async_context(self._connected().acquire())
                try:
                    await stack.enter_async_context(connection.transaction(isolation=isolation, readonly=readonly))
                except errors.BROKEN:
                    connection.terminate()
                    if not left:
                        raise
                else:
                    return connection, stack.pop_all()
        raise AssertionError("the loop returns or raises")

    async def _run(self, work: Work[T]) -> T:
        """One attempt. Serializable, as SQLite is: nobody changes a row between a look and a step that relies on it."""
        connection, transaction = await self._begin("serializable")
        async with transaction:
            steps = work()
            try:
                step = next(steps)
                while True:
                    check_values(step.values)
                    text, names = translated(step.query)
                    rows = await connection.fetch(text, *(step.values[name] for name in names))
                    step = steps.send([tuple(row) for row in rows])
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                steps.close()

    async def _append(self, batch: Batch, insert: Callable[[Any, str, Sequence[Row]], Awaitable[None]]) -> None:
        connection, transaction = await self._begin("read_committed")
        async with transaction:
            for table, rows in batch:
                await insert(connection, table, rows)

    async def _insert_rows(self, connection: Any, table: str, rows: Sequence[Row]) -> None:
        if not rows:
            return
        if table not in self._types:
            self._types[table] = [row[0] for row in await connection.fetch(_COLUMNS, table)]
        arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(self._types[table], 1))
        text = f"INSERT INTO {table} SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING"  # noqa: S608
        await connection.execute(text, *zip(*rows, strict=True))

    async def _insert_storable(self, connection: Any, table: str, rows: Sequence[Row]) -> None:
        """All but those that cannot be kept, which are found by halving."""
        try:
            async with connection.transaction():  # inside the other one: a point to come back to
                await self._insert_rows(connection, table, rows)
        except errors.BAD_ROWS:
            if len(rows) > 1:
                middle = len(rows) // 2
                await self._insert_storable(connection, table, rows[:middle])
                await self._insert_storable(connection, table, rows[middle:])

    async def _migrate(self) -> None:
        async with self._connected().acquire() as connection, connection.transaction():
            # Of gateways that start at once, the second finds the work done.
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK, timeout=MAKE_S)
            await connection.execute("CREATE TABLE IF NOT EXISTS rolecast_tables (version BIGINT PRIMARY KEY)")
            version = await connection.fetchval("SELECT coalesce(max(version), 0) FROM rolecast_tables")
            scripts = tables.scripts()
            if version > len(scripts):
                raise ConfigError([tables.newer(self.name, "database")])
            for number, script in enumerate(scripts[version:], version + 1):
                await connection.execute(own_words(script), timeout=MAKE_S)
                await connection.execute("INSERT INTO rolecast_tables VALUES ($1)", number)


@lru_cache(maxsize=1000)
def translated(query: str) -> tuple[str, tuple[str, ...]]:
    """The text with `$1` in place of `:name`, and the names in the order of their numbers."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return found[0]
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PARAMETER.sub(number, query), tuple(names)


def own_words(script: str) -> str:
    """A script of tables in PostgreSQL's words."""
    return _TYPE.sub(lambda word: _TYPES[word[1]], _HEX.sub(r"lpad(to_hex(\1), 16, '0')", script))


def shown(url: str) -> str:
    """The URL for people: where and as whom, but no password, wherever one may stand."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or parse_qs(parts.query).get("host", [""])[0], parts.port
    except ValueError:
        return "postgresql://..."
    if url.count("@") > parts.netloc.count("@"):  # a password that is not spelled for URLs
        return "postgresql://..."
    user = f"{parts.username}@" if parts.username else ""
    return f"postgresql://{user}{authority(host, port) if host else ''}{parts.path}"


async def _read_numbers(connection: Any) -> None:
    """Sums and means, which PostgreSQL gives as decimals, become plain numbers."""

    def number(text: str) -> int | float:
        return int(text) if text.lstrip("-").isdigit() else float(text)

    await connection.set_type_codec("numeric", schema="pg_catalog", encoder=str, decoder=number)


async def _leave(connection: Any) -> None:
    """Nothing has to be undone between two uses: all that happens is in transactions."""
