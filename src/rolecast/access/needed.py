"""Whoever lets other machines in needs a key: an edit of the configuration, and the first one, is held to that.

The file alone does not tell, because keys may be in the database.
"""

from rolecast.access.keyring import Keyring
from rolecast.access.table import KeyTable
from rolecast.books.store import StoreError
from rolecast.config.check import exposed
from rolecast.config.edit import Change, Edit
from rolecast.config.schema import Config
from rolecast.errors import ConfigError

HOW = "make one with `rolecast keys create --scope admin`, set server.keys, or listen on 127.0.0.1"


class KeysNeeded:
    """Refuses an edit after which anybody could use the models, or nobody."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def prepare(self, edit: Edit) -> Change:
        """Raises ConfigError."""
        try:
            problems = await lacking(edit.config, self._keyring.table)
        except StoreError as error:
            problems = [f"{exposed(edit.config.server)[0][0]}: whether a key is there is not known: {error.message}"]
        if problems:
            raise ConfigError(problems)
        return Change()


async def lacking(config: Config, table: KeyTable) -> list[str]:
    """A problem for each address that lets other machines in, if no key opens the gateway. Raises StoreError."""
    problems = unkeyed(config)
    return [] if not problems or await table.live() else problems


def unkeyed(config: Config) -> list[str]:
    """The same where there is no database yet."""
    hosts = [] if config.server.keys else exposed(config.server)
    return [f"{setting}: '{host}' lets other machines in, and no key is set; {HOW}" for setting, host in hosts]
