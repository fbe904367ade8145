"""The tables of all parts: numbered files of SQL that every database runs once, in order.

A part adds its tables by the next number: `NNN_subject.sql` here, and nothing else. One that was released is never
edited. They are written in SQLite's words for types (INTEGER is 64 bits, REAL is double precision, TEXT, BLOB), which
another database replaces by its own, and `hex16(x)` writes a number as 16 hexadecimal digits.
"""

from functools import cache
from pathlib import Path


@cache
def scripts() -> tuple[str, ...]:
    """One script per version of the tables: the first makes version 1."""
    return tuple(path.read_text("utf-8") for path in sorted(Path(__file__).parent.glob("[0-9]*.sql")))


def newer(name: str, what: str) -> str:
    """Why a database is left alone whose tables have a version that we do not know."""
    return f"storage.url: {name} was written by a newer Rolecast; upgrade, or name another {what}"
