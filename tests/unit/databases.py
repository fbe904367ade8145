"""Databases for tests: one place per kind, where a test may open as many stores as it wants."""

from collections.abc import Callable
from pathlib import Path

from rolecast.books.sqlite import SQLite
from rolecast.books.store import Query, Store

OpenStore = Callable[[], Store]
"""Another store on the same database, not opened yet."""

PILES = "CREATE TABLE piles (name TEXT PRIMARY KEY, size INTEGER NOT NULL, note TEXT, share REAL, raw BLOB);"
"""A table of the tests' own, beside those of the product."""
PUT = Query("INSERT INTO piles (name, size) VALUES (:name, :size)")
ADD = Query("UPDATE piles SET size = size + :more WHERE name = :name RETURNING size")
SIZE = Query("SELECT size FROM piles WHERE name = :name")
ALL = Query("SELECT name, size FROM piles ORDER BY name")


def sqlite(folder: Path) -> OpenStore:
    """A file of its own in that folder."""
    return lambda: SQLite(folder / "store.db")
