"""Writes imported conversations into a Neo4j, as people who send messages to chats. The same again changes nothing."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from rolecast.avatars.conversation import Chat, Item, Message, Person, Told
from rolecast.avatars.graph.connection import Connection
from rolecast.avatars.graph.values import utc, words
from rolecast.errors import SourceError

BATCH = 1000
_CONSTRAINTS = (
    "CREATE CONSTRAINT rolecast_person IF NOT EXISTS FOR (n:Person) REQUIRE n.id IS UNIQUE",
    "CREATE CONSTRAINT rolecast_message IF NOT EXISTS FOR (n:Message) REQUIRE n.id IS UNIQUE",
    "CREATE CONSTRAINT rolecast_chat IF NOT EXISTS FOR (n:GroupChat) REQUIRE n.id IS UNIQUE",
)
_PEOPLE = "UNWIND $rows AS r MERGE (n:Person {id: r.id}) SET n += r.said"
_CHATS = "UNWIND $rows AS r MERGE (n:GroupChat {id: r.id}) SET n += r.said"
_KNOWN = "UNWIND $rows AS r MATCH (n:Message {id: r.id}) RETURN count(n)"
# An edge is looked for from the message on, which has one of each kind; a person has thousands.
_MESSAGES = (
    "UNWIND $rows AS r MERGE (m:Message {id: r.id}) SET m += r.said WITH m, r "
    "MATCH (p:Person {id: r.person}) MERGE (m)<-[:SENT]-(p) WITH m, r "
    "MATCH (c:GroupChat {id: r.chat}) MERGE (m)-[:SENT_TO]->(c)"
)
_MEMBERS = (
    "UNWIND $rows AS r MATCH (p:Person {id: r.person}) MATCH (c:GroupChat {id: r.chat}) MERGE (p)-[:MEMBER_OF]->(c)"
)
_REPLIES = (
    "UNWIND $rows AS r MATCH (m:Message {id: r.id}) MATCH (o:Message {id: r.reply_to}) MERGE (m)-[:REPLIES_TO]->(o)"
)


class Put(msgspec.Struct, frozen=True):
    """What was written."""

    people: int = 0
    chats: int = 0
    messages: int = 0
    new: int = 0
    """Messages that were not there before."""


class _Writer:
    def __init__(self, connection: Connection, told: Told) -> None:
        self._connection = connection
        self._told = told
        self.put = Put()
        self._people: list[dict[str, Any]] = []
        self._chats: list[dict[str, Any]] = []
        self._messages: list[dict[str, Any]] = []
        self._there: set[tuple[str, str]] = set()
        """People and chats that were written, by kind and id."""
        self._members: set[tuple[str, str]] = set()
        self._new_members: list[dict[str, Any]] = []

    async def add(self, item: Item) -> None:
        if isinstance(item, Person):
            names = [name for each in item.names if (name := words(each))]
            self._person(words(item.id), {"name": words(item.name), "names": names})
        elif isinstance(item, Chat):
            self._chat(words(item.id), {"name": words(item.title), "group": item.group})
        else:
            row = _row(item)
            self._messages.append(row)
            if ("person", row["person"]) not in self._there:
                self._person(row["person"], {})
            if ("chat", row["chat"]) not in self._there:
                self._chat(row["chat"], {})
            if (member := (row["person"], row["chat"])) not in self._members:
                self._members.add(member)
                self._new_members.append({"person": row["person"], "chat": row["chat"]})
        if max(len(self._people), len(self._chats), len(self._messages)) >= BATCH:
            await self.flush()

    def _person(self, person: str, said: dict[str, Any]) -> None:
        self._there.add(("person", person))
        self._people.append({"id": person, "said": said})

    def _chat(self, chat: str, said: dict[str, Any]) -> None:
        self._there.add(("chat", chat))
        self._chats.append({"id": chat, "said": said})

    async def flush(self) -> None:
        """People and chats first, as messages name them; replies last, as they may name one of the same batch."""
        people, chats, messages, members = self._people, self._chats, self._messages, self._new_members
        self._people, self._chats, self._messages, self._new_members = [], [], [], []
        for query, rows in ((_PEOPLE, people), (_CHATS, chats)):
            if rows:
                await self._connection.write(query, rows=rows)
        known = 0
        if messages:
            [(known,)] = await self._connection.rows(_KNOWN, rows=[{"id": each["id"]} for each in messages])
            await self._connection.write(_MESSAGES, rows=messages)
            await self._replies(messages)
        if members:
            await self._connection.write(_MEMBERS, rows=members)
        self.put = Put(
            self.put.people + len(people),
            self.put.chats + len(chats),
            self.put.messages + len(messages),
            self.put.new + len({each["id"] for each in messages}) - known,
        )
        self._told.progress(self.put.messages, 0)

    async def _replies(self, messages: Sequence[dict[str, Any]]) -> None:
        rows = [{"id": each["id"], "reply_to": each["reply_to"]} for each in messages if each["reply_to"]]
        if rows:
            await self._connection.write(_REPLIES, rows=rows)


def _row(message: Message) -> dict[str, Any]:
    """Only what is known is set, so that an import never takes away what somebody has added."""
    said: dict[str, Any] = {
        "body": words(message.text),
        "date": None if message.at is None else utc(message.at),
        "groupChat": words(message.chat),
        "personality_type": words(message.personality),
        "emotional_state": words(message.emotion),
        "relationship_type": words(message.relationship),
        "context_tags": [words(each) for each in message.tags],
    }
    return {
        "id": words(message.id),
        "person": words(message.person),
        "chat": words(message.chat),
        "reply_to": words(message.reply_to),
        "said": {name: value for name, value in said.items() if value not in (None, "", [])},
    }


async def put(connection: Connection, items: Iterable[Item], told: Told) -> Put:
    """Write what a source gives, in batches of a thousand; each is written whole or not at all.

    Raises SourceError when the database cannot be reached or may not be written; what was written stays, and doing it
    again goes on.
    """
    for each in _CONSTRAINTS:
        try:
            await connection.write(each)
        except SourceError:
            # Nodes of the same id are there, or it is not allowed: all still works, only slower.
            await connection.rows("RETURN 1")
    writer = _Writer(connection, told)
    for item in items:
        await writer.add(item)
    await writer.flush()
    return writer.put
