"""What every part of the product may ask of the database, whichever it is. Knows no SQL dialect and no table.

Three ways in. `insert` appends rows at full speed and forgives those that cannot be kept: the ledger. `read` asks.
`transact` changes: all of it or nothing, one after the other, each seeing what the ones before it did. None of them
holds up the event loop.

A part writes its SQL as constants of its module, each a `Query`, in the words that SQLite and PostgreSQL share:
parameters are `:named`, `ON CONFLICT ... DO` and `RETURNING` are fine, `INSERT OR IGNORE`, `printf` and PRAGMA are not.
`LIKE` and the order of texts differ; what a parameter is must be clear, by a column beside it or `CAST(:x AS TEXT)`.
A test has both databases prepare every `Query` of the product. Its tables are a new file in `books/tables/`.
"""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from rolecast.errors import Conflict, Invalid, RolecastError

Value = int | float | str | bytes | None
"""What a column may hold: whole numbers of 64 bits, text without NUL, bytes. A bool is kept as 0 or 1, JSON as text."""
Row = tuple[Any, ...]
Batch = Sequence[tuple[str, Sequence[Row]]]
"""Rows per table, written together."""

T = TypeVar("T")


class Query(str):
    """One SQL statement that both databases understand."""

    __slots__ = ()


class Step(msgspec.Struct, frozen=True):
    """One statement of a transaction, with its values."""

    query: str
    values: Mapping[str, Value]


Work = Callable[[], Generator[Step, list[Row], T]]
"""A transaction as a generator function: it yields steps, is sent the rows of each, and returns what comes out of it.

It cannot await, so that nothing is held open over something slow; and it may be run again from its start when another
gateway was at the same rows, so it must change nothing but the database.
"""


class StoreError(RolecastError):
    """The database cannot be used just now; what was asked has not been done."""

    status, code = 503, "store_unavailable"


class Unstorable(Invalid):
    """A value that no column can hold: a number beyond 64 bits, NaN, text with NUL or half a surrogate pair."""

    code = "unstorable"


class Refused(Conflict):
    """The tables do not allow it: a key that is there already, a reference to nothing, a missing value."""

    code = "conflict"


class Store(Protocol):
    """One database. Every method but `insert` raises StoreError when it cannot be reached or is not well."""

    name: str
    """Where it is, for people: a path, or a URL without its password."""

    async def open(self) -> None:
        """Connect, and bring the tables up to date. Raises ConfigError with what is wrong and what to do."""
        ...

    async def probe(self) -> None:
        """Look whether it could be opened now, and change nothing. Raises ConfigError as `open` does."""
        ...

    async def insert(self, batch: Batch) -> None:
        """Append rows (all columns, in table order) as one transaction.

        A row whose key is there already, or that holds what the database cannot, is left out: it must not stop the
        others for ever. Raises whatever went wrong otherwise, for `meaning`; then none was written.
        """
        ...

    async def read(self, query: str, **values: Value) -> list[Row]:
        """The rows of one SELECT. It sees every transaction that was finished before it was asked for."""
        ...

    async def transact(self, work: Work[T]) -> T:
        """Run that transaction after those asked for before it; what it raises undoes all of it.

        Raises Refused and Unstorable too. One that has begun when its caller is cancelled is finished or undone.
        """
        ...

    async def wipe(self, tables: Sequence[str]) -> None:
        """Let nothing of what was deleted from these tables stay in the database's files, as far as it can see to that.

        Tables without references to each other, of a size that may be written anew.
        """
        ...

    def meaning(self, error: Exception) -> str:
        """What went wrong, in plain words without values."""
        ...

    async def close(self) -> None:
        """Finish what was asked for, and close. Whatever is asked for later raises StoreError."""
        ...


async def change(store: Store, query: str, **values: Value) -> list[Row]:
    """One statement as a transaction of its own; the rows that it RETURNs."""

    def work() -> Generator[Step, list[Row], list[Row]]:
        return (yield Step(query, values))

    return await store.transact(work)


def structs(kind: type[T], rows: Sequence[Row]) -> list[T]:
    """Rows as structs, for a SELECT that names their fields in their order; 0 and 1 become bools where due."""
    fields = kind.__struct_fields__  # type: ignore[attr-defined]
    return [msgspec.convert(dict(zip(fields, row, strict=True)), kind, strict=False) for row in rows]


def check_values(values: Mapping[str, Value]) -> None:
    """Raises Unstorable for what one of the databases could not keep, so that both refuse the same."""
    for name, value in values.items():
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise Unstorable(f"{name} is a number beyond 64 bits; use a smaller one.", param=name)
        if isinstance(value, float) and math.isnan(value):
            raise Unstorable(f"{name} is not a number; leave it out.", param=name)
        if isinstance(value, str) and ("\0" in value or (not value.isascii() and not _is_text(value))):
            raise Unstorable(f"{name} has a NUL or half a character pair in its text; leave it out.", param=name)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
