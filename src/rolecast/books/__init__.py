"""What is written down durably, and where: the store, its drivers by the scheme of a URL, and the ledger.

A new kind of database = one file with the methods of `Store` and a row in `SCHEMES`.
"""

from collections.abc import Callable, Mapping

from rolecast.books.store import Store
from rolecast.config import paths
from rolecast.config.schema import Config
from rolecast.errors import ConfigError


def _sqlite(url: str) -> Store:
    from rolecast.books.sqlite import SQLite

    path = url.removeprefix("sqlite:///")
    return SQLite(paths.expand(path, "storage.url") if path else paths.database())


SCHEMES: Mapping[str, Callable[[str], Store]] = {"sqlite": _sqlite}
"""Drivers by the scheme of `storage.url`; each is imported when it is asked for."""


def store_of(config: Config) -> Store:
    """The database of `storage.url`, not opened yet. Raises ConfigError when the URL names none."""
    url = config.storage.url or "sqlite:///"
    driver = SCHEMES.get(url.partition("://")[0])
    if driver is None:
        raise ConfigError([f"storage.url: there is no such kind of database; use {' or '.join(SCHEMES)}"])
    return driver(url)
