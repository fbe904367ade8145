"""Conversations as messages that follow each other.

(:Message {message, speaker, timestamp, personality_type, emotional_state, relationship_type, context_tags})
  -[:FOLLOWS]-> (:Message)

A chat is what hangs together. Messages that follow nothing are one chat by time, so that a graph without edges can be
read, too. People are their names.
"""

from collections.abc import AsyncIterator, Iterator

from rolecast.avatars.conversation import Message, Person, Speaker, Wanted
from rolecast.avatars.graph.connection import Connection, Row
from rolecast.avatars.graph.order import UNKNOWN, Chains, Conversation, newest
from rolecast.avatars.graph.shape import Place, in_pieces, unique, within
from rolecast.avatars.graph.values import moment, tags, words

LOOSE = "loose"
_ALL = "MATCH (m:Message) WHERE m.speaker IS NOT NULL AND m.message IS NOT NULL "
COUNT = _ALL + "RETURN count(m)"
_UNIQUE = _ALL + "RETURN count(m), count(DISTINCT m.id)"
_NODES = _ALL + "RETURN elementId(m), m.speaker, m.timestamp, CASE WHEN $named THEN m.id END"
_EDGES = "MATCH (a:Message)-[:FOLLOWS]->(b:Message) RETURN elementId(a), elementId(b)"
_TEXTS = (
    "UNWIND $ids AS i MATCH (m:Message) WHERE elementId(m) = i RETURN i, m.speaker, m.message, m.timestamp, "
    "m.personality_type, m.emotional_state, m.relationship_type, m.context_tags"
)
_SPEAKERS = _ALL + (
    "RETURN m.speaker, count(m), min(m.timestamp), max(m.timestamp), "
    "collect(DISTINCT m.personality_type), collect(DISTINCT m.emotional_state)"
)


class Follows:
    """Reads such a graph."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def people(self) -> list[Person]:
        """Everybody who said something."""
        return [each.person for each in await self.speakers()]

    async def speakers(self) -> list[Speaker]:
        """Everybody, with what they said; how many conversations they are in is not counted, and 0."""
        return [
            Speaker(
                person=Person(name, name),
                messages=count,
                first=moment(first),
                last=moment(last),
                personalities=tuple(sorted(filter(None, map(words, personalities)))),
                emotions=tuple(sorted(filter(None, map(words, emotions)))),
            )
            for speaker, count, first, last, personalities, emotions in await self._connection.rows(_SPEAKERS)
            if (name := words(speaker))
        ]

    async def people_of(self, wanted: Wanted) -> list[Person]:
        """Everybody who said something in those conversations."""
        chains = await self._read()
        names: dict[str, None] = {}
        for each in _of(chains, wanted.person):
            names.update(dict.fromkeys(chains.speakers[number] for number in each.order))
        return [Person(name, name) for name in names if name]

    async def messages(self, wanted: Wanted) -> AsyncIterator[Message]:
        """Conversation by conversation. What a message follows, it replies to."""
        chains = await self._read()
        for piece in in_pieces(_places(chains, wanted)):
            rows = await self._connection.rows(_TEXTS, ids=[each.element for each in piece])
            found = {element: row for element, *row in rows}
            for each in piece:
                if row := found.get(each.element):  # what was deleted meanwhile is not there
                    yield _message(each, row)

    async def _read(self) -> Chains:
        named = await unique(self._connection, _UNIQUE)
        chains = Chains()
        async for rows in self._connection.pieces(_NODES, named=named):
            for element, speaker, at, name in rows:
                chains.add(element, words(speaker), moment(at), words(name))
        async for rows in self._connection.pieces(_EDGES):
            for one, other in rows:
                chains.follow(one, other)
        chains.turned()
        return chains


def _of(chains: Chains, person: str) -> Iterator[Conversation]:
    """The conversations that somebody took part in; all for ''."""
    for each in chains.conversations():
        if not person or any(chains.speakers[number] == person for number in each.order):
            yield each


def _places(chains: Chains, wanted: Wanted) -> Iterator[Place]:
    """What is wanted of them, in order, the conversation that began first in front."""
    conversations = list(_of(chains, wanted.person))
    conversations.sort(key=lambda each: (each.loose, chains.times[each.order[0]]))
    times = ((chains.times[number], number) for each in conversations for number in each.order)
    keep = newest(((at, number) for at, number in times if within(_known(at), wanted)), wanted.most)
    for each in conversations:
        chat = LOOSE if each.loose else chains.ids[each.order[0]]
        for number in each.order:
            if number in keep:
                before = each.before.get(number)
                reply_to = "" if before is None else chains.ids[before]
                yield Place(chains.elements[number], chains.ids[number], chat, reply_to)


def _known(at: float) -> float | None:
    return None if at == UNKNOWN else at


def _message(place: Place, row: Row | list[object]) -> Message:
    speaker, text, at, personality, emotion, relationship, context = row
    return Message(
        id=place.id,
        chat=place.chat,
        person=words(speaker),
        text=words(text),
        at=moment(at),
        reply_to=place.reply_to,
        personality=words(personality),
        emotion=words(emotion),
        relationship=words(relationship),
        tags=tags(context),
    )
