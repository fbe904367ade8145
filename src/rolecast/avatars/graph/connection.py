"""A Neo4j through its official driver: queries with parameters, a limit on time, and errors that say what to do."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from rolecast.errors import Invalid, RolecastError, SourceError

SCHEMES = ("bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc")
CONNECT_S = 10.0
ANSWER_S = 120.0
"""For each piece of an answer, kept here: not every server keeps the limit that it is told."""
PIECE = 1000
"""Rows of a piece."""
Row = tuple[Any, ...]


class Connection:
    """Asks one database. Nothing is sent before the first question. Raises Invalid for what is no address of a Neo4j.

    All its questions raise SourceError when there is no answer, with what to do about it.
    """

    def __init__(self, uri: str, user: str, password: str, database: str = "neo4j") -> None:
        try:
            parts = urlsplit(uri.strip())
            known, host, port = parts.scheme in SCHEMES, parts.hostname, parts.port or 7687
        except ValueError:
            known, host, port = False, None, 0
        if not known or not host or "@" in parts.netloc:
            raise Invalid(
                "That is no address of a Neo4j. It looks like bolt://localhost:7687 (or bolt+s://, neo4j://, "
                "neo4j+s://); user and password have settings of their own.",
                param="neo4j_uri",
            )
        self.where = f"{host}:{port}"
        self.database = database
        self._uri, self._user, self._password = uri.strip(), user, password
        self._driver: Any = None

    async def rows(self, query: str, /, **parameters: Any) -> list[Row]:
        """A whole answer, for those that are known to be short."""
        return [row async for piece in self._pieces(query, parameters) for row in piece]

    async def pieces(self, query: str, /, **parameters: Any) -> AsyncIterator[list[Row]]:
        """An answer piece by piece, as it arrives."""
        async for piece in self._pieces(query, parameters):
            yield piece

    async def write(self, query: str, /, **parameters: Any) -> None:
        """Change something: all of the query or nothing."""
        driver, neo4j = self._opened()
        try:
            async with (
                asyncio.timeout(ANSWER_S),
                driver.session(database=self.database) as session,
                await session.begin_transaction() as transaction,
            ):
                await (await transaction.run(query, parameters)).consume()
                await transaction.commit()
        except (neo4j.exceptions.DriverError, neo4j.exceptions.Neo4jError, OSError) as error:
            raise self._explained(error, neo4j.exceptions) from error

    async def close(self) -> None:
        """Hang up."""
        driver, self._driver = self._driver, None
        if driver is not None:
            await driver.close()

    async def _pieces(self, query: str, parameters: Mapping[str, Any]) -> AsyncIterator[list[Row]]:
        driver, neo4j = self._opened()
        session = driver.session(database=self.database, default_access_mode=neo4j.READ_ACCESS, fetch_size=PIECE)
        try:
            async with asyncio.timeout(ANSWER_S):
                result = await session.run(query, dict(parameters))
            while True:
                async with asyncio.timeout(ANSWER_S):
                    records = await result.fetch(PIECE)
                if not records:
                    return
                yield [tuple(each.values()) for each in records]
        except (neo4j.exceptions.DriverError, neo4j.exceptions.Neo4jError, OSError) as error:
            raise self._explained(error, neo4j.exceptions) from error
        finally:
            await session.close()

    def _opened(self) -> tuple[Any, Any]:
        try:
            import neo4j
            import neo4j.exceptions
        except ImportError as error:
            raise SourceError(
                "Conversations in a Neo4j are read with its driver, which is not installed: "
                "pip install 'rolecast[graph]'."
            ) from error
        if self._driver is None:
            logging.getLogger("neo4j").addHandler(logging.NullHandler())  # what it logs is told by our errors
            try:
                self._driver = neo4j.AsyncGraphDatabase.driver(
                    self._uri,
                    auth=(self._user, self._password),
                    connection_timeout=CONNECT_S,
                    connection_acquisition_timeout=CONNECT_S * 2,
                    notifications_min_severity="OFF",  # hints that a label is not there: that is what was asked
                    telemetry_disabled=True,
                    user_agent="rolecast",
                )
            except (neo4j.exceptions.DriverError, ValueError) as error:
                raise Invalid(f"No connection to a Neo4j can be made with these settings: {error}") from error
        return self._driver, neo4j

    def _explained(self, error: Exception, kinds: Any) -> RolecastError:
        """What went wrong, in words of ours: the server's may quote what was asked and what it found."""
        code = getattr(error, "code", "") or ""
        server = f"The Neo4j at {self.where}"
        if isinstance(error, TimeoutError):
            said = f"{server} did not answer within {ANSWER_S:.0f} s. Look at its load and log, then try again."
        elif isinstance(error, kinds.AuthError) or ".Security." in code:
            said = self._refused(server, code)
        elif "DatabaseNotFound" in code:
            said = f"{server} has no database {self.database!r}. Name another one; Neo4j's own is called `neo4j`."
        elif "SyntaxError" in code or "ProcedureNotFound" in code:
            said = f"{server} does not understand Cypher as Neo4j 5 and later do; update it. ({code})"
        elif isinstance(error, kinds.ServiceUnavailable | kinds.SessionExpired | OSError):
            said = self._unreached(server, str(error))
        else:
            said = f"{server} could not do it ({code or type(error).__name__}). Its log says more; then try again."
        return SourceError(said)

    def _refused(self, server: str, code: str) -> str:
        if code.endswith("Forbidden"):
            return (
                f"{server} does not let {self._user!r} do that in {self.database!r}. Ask for the right to, or use ours."
            )
        if code.endswith("AuthenticationRateLimit"):
            return f"{server} refuses {self._user!r} for a while after too many wrong passwords. Wait, then try again."
        if code.endswith("CredentialsExpired"):
            return f"{server} wants a new password for {self._user!r} first; set it in Neo4j's browser."
        return (
            f"{server} refuses {self._user!r} with that password. Set NEO4J_USERNAME and NEO4J_PASSWORD, "
            "or `neo4j_user` and `neo4j_password`, to what it was set up with."
        )

    def _unreached(self, server: str, said: str) -> str:
        if "looks like HTTP" in said:
            return f"{server} speaks HTTP on that port. Bolt has another one, 7687 unless it was changed."
        if "DNS" in said or "resolve address" in said:
            return f"There is no host of that name for a Neo4j: {self.where}. Look at the address."
        if "encrypt" in said or "SSL" in said or "certificate" in said.lower():
            return (
                f"{server} does not speak encrypted there, or its certificate is unknown here. Use bolt:// without "
                "encryption, or bolt+ssc:// for a certificate of its own."
            )
        return (
            f'{server} cannot be reached. Start it, or look at the address; with an empty address (`--neo4j ""`, or '
            '`neo4j_uri=""` in Python) the conversations that Rolecast itself keeps are used.'
        )
