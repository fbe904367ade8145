"""What is written down durably, and where: the store, its drivers by the scheme of a URL, and the ledger.

A new kind of database = one file with the methods of `Store`, and a row in `SCHEMES`.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec

from rolecast.books.store import Store
from rolecast.config import paths, secrets
from rolecast.config.schema import Config
from rolecast.errors import ConfigError

SETTING = "storage.url"


def _sqlite(url: str) -> Store:
    from rolecast.books.sqlite import SQLite

    path = url.removeprefix("sqlite:///")
    return SQLite(paths.expand(path, SETTING) if path else paths.database())


def _postgresql(url: str) -> Store:
    if find_spec("asyncpg") is None:
        how = "run `pip install 'rolecast[postgres]'`, or keep everything in a file by sqlite:///PATH"
        raise ConfigError([f"{SETTING}: the driver of PostgreSQL is not installed; {how}"])
    from rolecast.books.postgres import PostgreSQL

    return PostgreSQL(url)


SCHEMES: Mapping[str, Callable[[str], Store]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "postgres": _postgresql,
}
"""Drivers by the scheme of `storage.url`; each is imported when it is asked for."""


def store_of(config: Config) -> Store:
    """The database of `storage.url`, not opened yet.

    Raises ConfigError when the URL names none, or its driver or variable is missing. Shows no URL: it may hold a
    password.
    """
    url = config.storage.url or "sqlite:///"
    if url.startswith(secrets.PREFIX):
        url = secrets.read(url, SETTING, sent=False, what="URL").value
    driver = SCHEMES.get(url.partition("://")[0])
    if driver is None:
        raise ConfigError([f"{SETTING}: there is no such kind of database; use {', '.join(SCHEMES)}"])
    return driver(url)
