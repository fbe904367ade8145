"""What the errors of asyncpg, PostgreSQL and the network mean, and what to do about them.

What a server says may quote values of the rows, so none of its own words leave this file.
"""

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator

import asyncpg

from rolecast.books.store import Refused, StoreError, Unstorable
from rolecast.errors import ConfigError

_CLIENT_DATA_ERROR = asyncpg.exceptions._base.DataError  # noqa: SLF001  # hidden by the server's error of that name
BAD_ROWS = (asyncpg.DataError, _CLIENT_DATA_ERROR, asyncpg.IntegrityConstraintViolationError)
"""It is a row that cannot be kept, not the database that fails."""
BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what the driver says when the server has said goodbye to an idle connection
)
"""This connection is of no use any more; another one may be."""
FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_AWAY = "it cannot be reached"
_ODD_URL = "its URL is not understood"
_URL = "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with % codes for odd characters in a password"
_CONTENDED = "other gateways change the same rows all the time"
_MEANINGS: tuple[tuple[type[Exception], str, str], ...] = (
    (asyncpg.InvalidPasswordError, "the user or the password is wrong", "mend them in the URL"),
    (asyncpg.InvalidAuthorizationSpecificationError, "it does not let this user in", "name another user in the URL"),
    (asyncpg.InvalidCatalogNameError, "it has no database of that name", "make it, for example with `createdb NAME`"),
    (asyncpg.TooManyConnectionsError, "it has no connection left", "close some, or raise its max_connections"),
    (asyncpg.CannotConnectNowError, "it is starting or stopping", "try again in a moment"),
    (asyncpg.QueryCanceledError, "it takes too long", "look at the server"),
    (asyncpg.OperatorInterventionError, "it was stopped", "start it"),
    (asyncpg.DiskFullError, "its disk is full", "free some space there"),
    (asyncpg.InsufficientResourcesError, "it lacks memory or room", "give it more"),
    (asyncpg.InsufficientPrivilegeError, "this user may not do that there", "let the user make tables there"),
    (asyncpg.ReadOnlySQLTransactionError, "it is read-only", "name the server that takes writes"),
    (asyncpg.SerializationError, _CONTENDED, "try again"),
    (asyncpg.DeadlockDetectedError, _CONTENDED, "try again"),
    (asyncpg.DuplicateTableError, "another program has tables of the same names there", "name a database of its own"),
    (asyncpg.ClientConfigurationError, _ODD_URL, _URL),
    (TimeoutError, "it does not answer", "look at the server, or mend host and port in the URL"),
    (socket.gaierror, "there is no machine of that name", "mend the host in the URL"),
    (ssl.SSLError, "the two do not agree on TLS", "look at sslmode and the certificates"),
    (OSError, _AWAY, "start it, or mend host and port in the URL"),
    (asyncpg.PostgresConnectionError, _AWAY, "start it, or mend host and port in the URL"),
    (asyncpg.InterfaceError, _AWAY, "start it, or mend host and port in the URL"),
    (asyncpg.InternalClientError, _AWAY, "start it, or mend host and port in the URL"),
    (ValueError, _ODD_URL, _URL),  # a port that is none, and the like
)
"""What an error means and what to do; the first that fits. What is not here is a mistake in our own SQL."""


@contextlib.contextmanager
def usable(name: str) -> Iterator[None]:
    """What keeps the database of that name from being used at all, as a problem of the configuration."""
    try:
        yield
    except (*FAILURES, ValueError) as exc:
        why = meaning(exc) or f"it refuses what was asked ({type(exc).__name__})"
        then = next((then for kind, _, then in _MEANINGS if isinstance(exc, kind)), "name another database")
        raise ConfigError([f"storage.url: cannot use the database {name}: {why}; {then}"]) from None


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """What asyncpg raises, as errors of a store; mistakes in our own SQL stay what they are."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError:  # quotes the row
        raise Refused("The database holds something else already; look at it again and retry.") from None
    except (asyncpg.DataError, _CLIENT_DATA_ERROR):  # quotes the value
        raise Unstorable("A value does not fit its column.") from None
    except FAILURES as exc:
        if words := meaning(exc):
            raise StoreError(f"The database cannot be used just now: {words}.") from exc
        raise


def meaning(error: Exception) -> str:
    """Plain words; '' for a mistake in our own SQL."""
    words = next((words for kind, words, _ in _MEANINGS if isinstance(error, kind)), "")
    if words == _AWAY and "SSL" in str(error):
        return "it does not speak TLS, which the URL asks for"
    number = error.errno if isinstance(error, OSError) else None
    return f"{words} ({os.strerror(number)})" if words == _AWAY and number else words
