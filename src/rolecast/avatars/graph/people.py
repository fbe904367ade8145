"""Conversations as people who send messages to chats.

(:Person {id, name, phone, isMainUser}) -[:SENT]-> (:Message {id, body, date, isFromMe, groupChat})
  -[:SENT_TO]-> (:GroupChat {id, name}), and (:Person) -[:MEMBER_OF]-> (:GroupChat)

A message may be SENT_TO a Person instead: then the two have a chat. One that is sent to nothing belongs to what its
`groupChat` names, else to nobody but its sender: whom it was for cannot be known, and a guess would put words of one
conversation before an answer of another. Edges REPLIES_TO, which Rolecast writes, and FOLLOWS are replies.
"""

import heapq
from collections.abc import AsyncIterator, Mapping

from rolecast.avatars.conversation import Message, Person, Speaker, Wanted
from rolecast.avatars.graph.connection import Connection, Row
from rolecast.avatars.graph.order import UNKNOWN
from rolecast.avatars.graph.shape import Place, in_pieces, unique, within
from rolecast.avatars.graph.values import moment, numeral, tags, words

COUNT = "MATCH (:Person)-[:SENT]->(m:Message) RETURN count(m)"
_UNIQUE_MESSAGES = "MATCH (n:Message) RETURN count(n), count(DISTINCT n.id)"
_UNIQUE_PEOPLE = "MATCH (n:Person) RETURN count(n), count(DISTINCT n.id)"
_PEOPLE = "MATCH (p:Person) RETURN elementId(p), p.id, p.name, p.phone, p.names"
_SPEAKERS = (
    "MATCH (p:Person)-[:SENT]->(m:Message) OPTIONAL MATCH (m)-[:SENT_TO]->(c) "
    "RETURN elementId(p), count(DISTINCT m), count(DISTINCT c), min(m.date), max(m.date), "
    "collect(DISTINCT m.personality_type), collect(DISTINCT m.emotional_state)"
)
_SENT = (
    "MATCH (p)-[:SENT]->(m:Message) OPTIONAL MATCH (m)-[:SENT_TO]->(c) "
    "RETURN DISTINCT elementId(p), elementId(c), labels(c), m.groupChat"
)
_CHATS_OF_ONE = "UNWIND $people AS i MATCH (p:Person) WHERE elementId(p) = i WITH p " + _SENT
_CHATS_OF_ALL = "MATCH (p:Person) WITH p " + _SENT
_CHAT = "UNWIND $chats AS i MATCH (c:GroupChat) WHERE elementId(c) = i WITH c "
_MEMBERS = _CHAT + "MATCH (p:Person)-[:MEMBER_OF]->(c) RETURN DISTINCT elementId(p)"
_SENDERS = _CHAT + "MATCH (m:Message)-[:SENT_TO]->(c) MATCH (p:Person)-[:SENT]->(m) RETURN DISTINCT elementId(p)"
_FOUND = "RETURN elementId(m), elementId(p), elementId(c), labels(c), c.id, m.groupChat, m.date"
_IN_CHATS = _CHAT + "MATCH (m:Message)-[:SENT_TO]->(c) MATCH (p:Person)-[:SENT]->(m) " + _FOUND
_TO_PEOPLE = "MATCH (p:Person)-[:SENT]->(m:Message)-[:SENT_TO]->(c:Person) " + _FOUND
_TO_NOTHING = (
    "MATCH (p:Person)-[:SENT]->(m:Message) WHERE NOT (m)-[:SENT_TO]->() "
    "RETURN elementId(m), elementId(p), null AS target, null AS labels, null AS given, m.groupChat, m.date"
)
_TEXTS = (
    "UNWIND $ids AS i MATCH (m:Message) WHERE elementId(m) = i MATCH (p:Person)-[:SENT]->(m) "
    "OPTIONAL MATCH (m)-[:REPLIES_TO]->(r:Message) OPTIONAL MATCH (f:Message)-[:FOLLOWS]->(m) "
    "RETURN i, m.id, elementId(p), m.body, m.date, elementId(r), r.id, elementId(f), f.id, "
    "m.personality_type, m.emotional_state, m.relationship_type, m.context_tags"
)


class _Chats:
    """The chats of somebody, by keys: what they are sent to, or who wrote them."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.groups: list[str] = []
        self.direct = self.loose = False

    def add(self, sender: str, target: str | None, labels: list[str] | None, group: object) -> None:
        key = _key(sender, target, labels, group)
        if key in self.keys:
            return
        self.keys.add(key)
        if target is None:
            self.loose = True
        elif "Person" in (labels or ()):
            self.direct = True
        else:
            self.groups.append(target)


class Sent:
    """Reads such a graph."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[str, Person] | None = None

    async def people(self) -> list[Person]:
        """Everybody, also who said nothing."""
        return list((await self._people()).values())

    async def speakers(self) -> list[Speaker]:
        """Everybody who said something."""
        people = await self._people()
        return [
            Speaker(
                person=people[element],
                messages=messages,
                chats=chats,
                first=moment(first),
                last=moment(last),
                personalities=tuple(sorted(filter(None, map(words, personalities)))),
                emotions=tuple(sorted(filter(None, map(words, emotions)))),
            )
            for element, messages, chats, first, last, personalities, emotions in await self._connection.rows(_SPEAKERS)
            if element in people
        ]

    async def people_of(self, wanted: Wanted) -> list[Person]:
        """Everybody who said something there, and all members."""
        people = await self._people()
        chats = await self._chats(wanted.person)
        found: dict[str, None] = {}
        for query in (_SENDERS, _MEMBERS):
            async for rows in self._connection.pieces(query, chats=chats.groups):
                found.update(dict.fromkeys(element for (element,) in rows))
        for query, asked in ((_TO_PEOPLE, chats.direct), (_TO_NOTHING, chats.loose)):
            if asked:
                async for rows in self._connection.pieces(query):
                    for _, sender, target, labels, _, group, _ in rows:
                        if _key(sender, target, labels, group) in chats.keys:
                            found.update(dict.fromkeys(each for each in (sender, target) if each in people))
        return [people[each] for each in found if each in people]

    async def messages(self, wanted: Wanted) -> AsyncIterator[Message]:
        """Chat by chat, each by time; those of one time in the order in which they were made."""
        people = await self._people()
        named = await unique(self._connection, _UNIQUE_MESSAGES)
        places = await self._places(wanted)
        for piece in in_pieces(places):
            rows = await self._connection.rows(_TEXTS, ids=[each.element for each in piece])
            found: dict[str, Row] = {}
            for row in rows:
                found.setdefault(row[0], row)
            for each in piece:
                if each.element in found:  # what was deleted meanwhile is not there
                    yield _message(each, found[each.element], people, named=named)

    async def _people(self) -> Mapping[str, Person]:
        """By what the database calls them."""
        if self._known is None:
            named = await unique(self._connection, _UNIQUE_PEOPLE)
            self._known = {}
            for element, given, name, phone, names in await self._connection.rows(_PEOPLE):
                mine = (words(given) if named else "") or element
                others = [each for each in (words(phone), *tags(names)) if each]
                shown = words(name).strip() or (others[0] if others else mine)
                self._known[element] = Person(mine, shown, tuple(dict.fromkeys(others)))
        return self._known

    async def _chats(self, person: str) -> _Chats:
        chats = _Chats()
        if person:
            elements = [element for element, each in (await self._people()).items() if each.id == person]
            pieces = self._connection.pieces(_CHATS_OF_ONE, people=elements)
        else:
            pieces = self._connection.pieces(_CHATS_OF_ALL)
        async for rows in pieces:
            for row in rows:
                chats.add(*row)
        return chats

    async def _places(self, wanted: Wanted) -> list[Place]:
        """What is wanted, in order; the chat that began first in front. Memory grows with `wanted.most`."""
        chats = await self._chats(wanted.person)
        asked = [(_IN_CHATS, bool(chats.groups)), (_TO_PEOPLE, chats.direct), (_TO_NOTHING, chats.loose)]
        heap: list[tuple[float, int, str, str]] = []
        names: dict[str, str] = {}
        for query in (query for query, needed in asked if needed):
            parameters = {"chats": chats.groups} if query is _IN_CHATS else {}
            async for rows in self._connection.pieces(query, **parameters):
                for element, sender, target, labels, given, group, date in rows:
                    key = _key(sender, target, labels, group)
                    at = moment(date)
                    if key not in chats.keys or not within(at, wanted):
                        continue
                    key = names.setdefault(key, (words(given) if given is not None and target else "") or key)
                    entry = (UNKNOWN if at is None else at, numeral(element), element, key)
                    if wanted.most and len(heap) >= wanted.most:
                        heapq.heappushpop(heap, entry)
                    else:
                        heapq.heappush(heap, entry)
        return _in_order(heap)


def _in_order(found: list[tuple[float, int, str, str]]) -> list[Place]:
    began: dict[str, float] = {}
    for at, _, _, chat in found:
        began[chat] = min(at, began.get(chat, at))
    found.sort(key=lambda each: (began[each[3]], each[3], each[0], each[1], each[2]))
    seen: set[str] = set()
    places: list[Place] = []
    for _, _, element, chat in found:
        if element not in seen:  # sent to two chats, or by two people
            seen.add(element)
            places.append(Place(element, "", chat))
    return places


def _key(sender: str, target: str | None, labels: list[str] | None, group: object) -> str:
    if target is None:
        return f"group:{name}" if (name := words(group)) else f"from:{sender}"
    if "Person" in (labels or ()):
        return "direct:" + " ".join(sorted((sender, target)))
    return target


def _message(place: Place, row: Row, people: Mapping[str, Person], *, named: bool) -> Message:
    (_, given, sender, text, at, answered, its_id, before, its_own, personality, emotion, relationship, context) = row
    replied, called = (answered, its_id) if answered else (before, its_own)
    return Message(
        id=(words(given) if named else "") or place.element,
        chat=place.chat,
        person=people[sender].id if sender in people else sender,
        text=words(text),
        at=moment(at),
        reply_to=((words(called) if named else "") or replied) if replied else "",
        personality=words(personality),
        emotion=words(emotion),
        relationship=words(relationship),
        tags=tags(context),
    )
