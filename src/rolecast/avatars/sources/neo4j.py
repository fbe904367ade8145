"""Somebody's Neo4j as the place where conversations are: read as they are kept there, or filled with imported ones."""

from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Literal, Self

from rolecast.avatars.conversation import Item, Message, Person, Speaker, Told, Wanted
from rolecast.avatars.finding import the_one
from rolecast.avatars.graph import follows, people
from rolecast.avatars.graph.connection import Connection
from rolecast.avatars.graph.put import Put, put
from rolecast.avatars.graph.shape import Shape
from rolecast.errors import SourceError

Kept = Literal["sent", "follows"]


class Neo4jGraph:
    """Conversations of a Neo4j 5 or later; which of the two known graphs it has is found out.

    Raises Invalid for what is no address. Its methods raise SourceError, with what to do, when there is no answer or
    there are no conversations.
    """

    def __init__(self, uri: str, user: str, password: str, database: str = "neo4j") -> None:
        self._connection = Connection(uri, user, password, database)
        self._shape: Shape | None = None

    async def kept(self) -> Kept:
        """How conversations are kept there: sent by people to chats, or following each other; what there is more of."""
        [(sent,)] = await self._connection.rows(people.COUNT)
        [(following,)] = await self._connection.rows(follows.COUNT)
        if not sent and not following:
            raise SourceError(
                f"The database {self._connection.database!r} of the Neo4j at {self._connection.where} has no "
                "conversations: neither (:Person)-[:SENT]->(:Message) nor (:Message {message, speaker}). Name the "
                "database that has them, or import some."
            )
        return "sent" if sent >= following else "follows"

    async def speakers(self) -> list[Speaker]:
        """Everybody who said something, who said most first."""
        found = await (await self._read()).speakers()
        return sorted(found, key=lambda each: (-each.messages, each.person.name, each.person.id))

    async def find(self, name: str) -> Person:
        """The one person of that name or id. Raises PersonNotFound, and Invalid with the candidates for several."""
        return the_one(name, await (await self._read()).people())

    async def messages(self, wanted: Wanted) -> AsyncIterator[Message]:
        """Chat by chat, each from its oldest message on. Ids and times are held in memory, texts are not."""
        shape = await self._read()
        async for message in shape.messages(await self._meant(wanted)):
            yield message

    async def people(self, wanted: Wanted) -> list[Person]:
        """Everybody in those chats."""
        shape = await self._read()
        return await shape.people_of(await self._meant(wanted))

    async def bring(self, items: Iterable[Item], told: Told) -> Put:
        """Write what a source gives, as people who send messages to chats; the same again changes nothing."""
        self._shape = None
        return await put(self._connection, items, told)

    async def close(self) -> None:
        """Hang up."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.close()

    async def _read(self) -> Shape:
        if self._shape is None:
            kind = people.Sent if await self.kept() == "sent" else follows.Follows
            self._shape = kind(self._connection)
        return self._shape

    async def _meant(self, wanted: Wanted) -> Wanted:
        if not wanted.person:
            return wanted
        person = await self.find(wanted.person)
        return Wanted(person.id, wanted.since, wanted.until, wanted.most)
