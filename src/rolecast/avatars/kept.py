"""Conversations in our own database: imported, asked for page by page, forgotten.

An id is the same in each reading of an export, so what is there already is found again; only an edited text changes.
"""

import hashlib
import time
from collections.abc import AsyncIterator, Collection, Generator, Mapping, MutableMapping, Sequence
from functools import partial
from itertools import chain

import msgspec

from rolecast.avatars import kept_queries as sql
from rolecast.avatars.called import fold, is_called, like
from rolecast.avatars.conversation import Chat, Item, Message, Person, Speaker, Wanted
from rolecast.books.store import Row, Step, Store, Value, change
from rolecast.errors import Invalid, PersonNotFound

PAGE = 1000
"""Messages that are in memory at a time."""
UNKNOWN = -1e300
"""The time of a message whose source does not say it: before all others."""
_NEVER = 1e300
_tags = msgspec.json.Encoder().encode
_list = msgspec.json.Decoder(tuple[str, ...]).decode


class Added(msgspec.Struct, frozen=True):
    """What became of messages that were to be kept."""

    new: int = 0
    changed: int = 0
    """Known ones whose text, or time by more than a second, is another one now."""
    known: int = 0
    refused: int = 0
    """Of people who were forgotten."""


class Forgotten(msgspec.Struct, frozen=True):
    """What was deleted of a person: whatever was learnt of these messages is to be withdrawn."""

    person: Person
    ids: tuple[str, ...]
    """All ids that they had, in all sources."""
    messages: tuple[str, ...]


class Kept:
    """Conversations over a store that is open. It belongs to whoever opened it: `close` leaves it alone.

    Every method raises StoreError.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    # -- in ---------------------------------------------------------------------------------------------------------

    async def add(
        self, items: Sequence[Item], places: MutableMapping[str, int] | None = None, *, forgotten: bool = False
    ) -> Added:
        """Keep people, chats and messages, as one transaction.

        `places` counts the messages of each chat from one call to the next, where several are of one reading. With
        `forgotten`, people who were forgotten are known again.
        """
        places = {} if places is None else places
        messages = {each.id: each for each in items if isinstance(each, Message)}
        numbered: list[tuple[Message, int]] = []
        for each in messages.values():
            places[each.chat] = place = places.get(each.chat, 0) + 1
            numbered.append((each, place))
        people = {each.id: each for each in items if isinstance(each, Person)}
        chats = {each.id: each for each in items if isinstance(each, Chat)}
        added = await self._store.transact(partial(_add, people, chats, numbered, forgotten))
        twice = sum(isinstance(each, Message) for each in items) - len(messages)
        return msgspec.structs.replace(added, known=added.known + twice)

    async def alias(self, person: str, name: str) -> Person:
        """Let whoever is called `name`, or has that id, be that person too; who nobody is called yet, they are called.

        Raises PersonNotFound and Invalid for `person`.
        """
        one = await self.find(person)
        others = {each for each in await self._named(name) if each != one.id}
        if others:
            await self._store.transact(partial(_join, one.id, sorted(others)))
        else:
            await self._store.transact(partial(_name, one.id, [" ".join(name.split())]))
        return await self._person(one.id)

    async def apart(self, person_id: str) -> None:
        """Undo an alias: whoever has that id is a person by themselves again."""
        await change(self._store, sql.APART, id=person_id)

    async def forget(self, person: str) -> Forgotten:
        """Delete what that person wrote, with their names; no later import brings it back.

        Raises PersonNotFound, and Invalid for several of that name.
        """
        one = await self.find(person)
        ids, messages = await self._store.transact(partial(_forget, one.id, time.time()))
        return Forgotten(one, ids, messages)

    async def wipe(self) -> None:
        """Let nothing of who was forgotten stay in the files of the database, as far as it can see to that."""
        await self._store.wipe(sql.TABLES)

    # -- out --------------------------------------------------------------------------------------------------------

    async def speakers(self) -> list[Speaker]:
        """Everybody who said something, who said most first."""
        people = await self._everybody()
        moods: dict[str, tuple[set[str], set[str]]] = {}
        for person, personality, emotion in await self._store.read(sql.MOODS):
            for kind, said in zip(moods.setdefault(person, (set(), set())), (personality, emotion), strict=True):
                kind.update(filter(None, [said]))
        return [
            Speaker(
                people.get(person) or Person(person, person),
                messages,
                chats,
                None if first == UNKNOWN else first,
                None if last == UNKNOWN else last,
                *(tuple(sorted(each)) for each in moods.get(person, ((), ()))),
            )
            for person, messages, chats, first, last in await self._store.read(sql.SPEAKERS, unknown=UNKNOWN)
        ]

    async def find(self, name: str) -> Person:
        """The one person of that name or id. Raises PersonNotFound, and Invalid with the candidates for several."""
        ids = await self._named(name)
        if len(ids) == 1:
            return await self._person(ids[0])
        if ids:
            people = [await self._person(each) for each in ids]
            shown = ", ".join(f"{each.id} ({each.name})" for each in people[:10])
            raise Invalid(
                f"{name[:100]!r} is {len(ids)} people: {shown}; name one by their id, or join them as one person.",
                param="person",
            )
        raise PersonNotFound(await self._nobody(name), param="person")

    async def messages(self, wanted: Wanted) -> AsyncIterator[Message]:
        """Chat by chat, each from its oldest message on; memory does not grow with their number.

        Those at the same time come in the order in which their export had them. Where a time is asked for, messages
        without one are left out. Raises PersonNotFound and Invalid.
        """
        span = await self._span(wanted)
        start = await self._start(wanted.most, span)
        same: dict[str, str] = dict(await self._store.read(sql.SAME))
        for (chat,) in await self._store.read(sql.CHATS_OF, **span):
            last = start
            while rows := await self._page(chat, span["until"], last):
                for row in rows:
                    yield _message(row, same)
                own, _, _, at, place = rows[-1][:5]
                last = (at, place, own)
                if len(rows) < PAGE:
                    break

    async def people(self, wanted: Wanted) -> list[Person]:
        """Everybody in those chats, and those who are known without having written: others may name them."""
        span = await self._span(wanted)
        there = {each for (each,) in await self._store.read(sql.PEOPLE_OF, **span)}
        return [person for own, person in (await self._everybody()).items() if own in there]

    async def chats(self) -> list[Chat]:
        """All chats."""
        rows = await self._store.read(sql.CHATS)
        return [Chat(own, title, bool(group), zone) for own, title, group, zone in rows]

    async def state(self) -> Row:
        """Numbers of which one is another after each import, alias and forgetting that changed anything."""
        return (await self._store.read(sql.STATE))[0]

    async def close(self) -> None:
        """Nothing is held open."""

    # -- parts ------------------------------------------------------------------------------------------------------

    async def _named(self, name: str) -> list[str]:
        """The ids of all people who are called so; an id itself is nobody else's."""
        plain = name.replace("\0", "").encode("utf-8", "ignore").decode()
        rows = await self._store.read(sql.BY_ID, id=plain) or await self._store.read(sql.NAMED, folded=fold(plain))
        if rows:
            return [each for (each,) in rows]
        people = await self._everybody()  # `mira_sandoval`, as the avatar is called
        return sorted({each.id for each in people.values() if is_called(plain, (each.name, *each.names))})

    async def _nobody(self, name: str) -> str:
        """That nobody is called so, and who may be meant."""
        people = (await self._everybody()).values()
        if not people:
            return "No conversations are here yet; bring them in: `rolecast avatar import FILE`."
        names = [each for person in people for each in (person.name, *person.names)]
        if meant := like(name, names):
            return f"Nobody is called {name[:100]!r} in the conversations. Did you mean {' or '.join(meant)}?"
        most = ", ".join(each.person.name for each in (await self.speakers())[:5])
        return f"Nobody is called {name[:100]!r} in the conversations; who wrote most there: {most or 'nobody'}."

    async def _person(self, own: str) -> Person:
        return (await self._everybody())[own]

    async def _everybody(self) -> dict[str, Person]:
        """People with all their names, over all sources, by the id of who they are."""
        shown: dict[str, str] = {}
        names: dict[str, dict[str, None]] = {}
        for own, same, name, other in await self._store.read(sql.EVERYBODY):
            if own == same:
                shown[same] = name
            names.setdefault(same, {})[other or name] = None
            names[same][name] = None
        return {
            own: Person(own, shown.get(own, own), tuple(each for each in called if each != shown.get(own)))
            for own, called in names.items()
        }

    async def _span(self, wanted: Wanted) -> dict[str, Value]:
        """Whose chats, and the times between which the messages lie."""
        timed = wanted.since is not None or wanted.until is not None
        since = wanted.since if wanted.since is not None else (UNKNOWN / 2 if timed else UNKNOWN)
        until = wanted.until if wanted.until is not None else _NEVER
        person = (await self.find(wanted.person)).id if wanted.person else ""
        return {"person": person, "since": since, "until": until}

    async def _page(self, chat: str, until: Value, last: tuple[float, int, str]) -> list[Row]:
        at, place, message = last
        return await self._store.read(sql.PAGE, chat=chat, until=until, at=at, place=place, id=message, most=PAGE)

    async def _start(self, most: int, span: Mapping[str, Value]) -> tuple[float, int, str]:
        """Behind which message those that are wanted begin, over all chats: the newest that is one too many."""
        since = span["since"]
        assert isinstance(since, float | int), "it was made so"
        start = (since, -1, "")
        rows = await self._store.read(sql.NTH_NEWEST, **span, nth=most) if most else []
        return max(start, *rows) if rows else start


# -- transactions ---------------------------------------------------------------------------------------------------


def _add(
    people: Mapping[str, Person], chats: Mapping[str, Chat], messages: Sequence[tuple[Message, int]], anew: bool
) -> Generator[Step, list[Row], Added]:
    authors = {*people, *(each.person for each, _ in messages)}
    gone = yield from _gone(authors, anew)
    for own in sorted(authors - gone):  # in one order, so that two gateways never wait for each other
        person = people.get(own) or Person(own, own)
        yield Step(sql.PERSON, {"id": own, "name": person.name})
        if own in people:
            yield from _name(own, [person.name, *person.names])
    for chat in chats.values():
        about: dict[str, Value] = {"id": chat.id, "title": chat.title, "grouped": int(chat.group), "zone": chat.zone}
        yield Step(sql.CHAT, about)
    rows = [_values(message, place) for message, place in messages if message.person not in gone]
    times = yield from _put(rows)
    new = times.count(0)
    return Added(new, len(times) - new, len(rows) - len(times), len(messages) - len(rows))


def _gone(authors: Collection[str], anew: bool) -> Generator[Step, list[Row], set[str]]:
    """Who of them was forgotten. With `anew` they are known again, and it is nobody."""
    digests = {_digest(each): each for each in authors}
    gone = [digest for (digest,) in (yield Step(sql.GONE, {})) if digest in digests]
    if not anew:
        return {digests[digest] for digest in gone}
    for digest in gone:
        yield Step(sql.READMIT, {"person": digest})
    return set()


def _put(rows: Sequence[tuple[Value, ...]]) -> Generator[Step, list[Row], list[int]]:
    """How often each was changed that is not as it was; 0 = it is new."""
    times: list[int] = []
    whole = len(rows) - len(rows) % sql.MANY_ROWS
    for start in range(0, whole, sql.MANY_ROWS):
        part = chain.from_iterable(rows[start : start + sql.MANY_ROWS])
        times += [each for (each,) in (yield Step(sql.MANY, dict(zip(sql.MANY_NAMES, part, strict=True))))]
    for row in rows[whole:]:
        times += [each for (each,) in (yield Step(sql.ONE, dict(zip(sql.ONE_NAMES, row, strict=True))))]
    return times


def _values(message: Message, place: int) -> tuple[Value, ...]:
    """Its columns, in their order."""
    return (
        message.id,
        message.chat,
        message.person,
        UNKNOWN if message.at is None else message.at,
        place,
        message.text,
        message.reply_to,
        message.personality,
        message.emotion,
        message.relationship,
        _tags(message.tags).decode() if message.tags else "[]",
    )


def _name(person: str, names: Sequence[str]) -> Generator[Step, list[Row], None]:
    for name in dict.fromkeys(each for each in names if each):
        yield Step(sql.NAME, {"person": person, "name": name, "folded": fold(name)})


def _join(one: str, others: Sequence[str]) -> Generator[Step, list[Row], None]:
    for other in others:
        yield Step(sql.JOIN, {"one": one, "other": other})


def _forget(person: str, at: float) -> Generator[Step, list[Row], tuple[tuple[str, ...], tuple[str, ...]]]:
    ids = tuple(each for (each,) in (yield Step(sql.IDS, {"person": person})))
    messages: list[str] = []
    for own in ids:
        messages += [each for (each,) in (yield Step(sql.UNSAY, {"person": own}))]
        yield Step(sql.UNNAME, {"person": own})
        yield Step(sql.REMOVE, {"id": own})
        yield Step(sql.TOMBSTONE, {"person": _digest(own), "at": at})
    yield Step(sql.EMPTY_CHATS, {})
    return ids, tuple(messages)


def _message(row: Row, same: Mapping[str, str]) -> Message:
    own, chat, person, at, _, text, reply_to, personality, emotion, relationship, tags = row
    moment = None if at == UNKNOWN else at
    who = same.get(person, person)
    kept = _list(tags) if tags != "[]" else ()
    return Message(own, chat, who, text, moment, reply_to, personality, emotion, relationship, kept)


def _digest(person: str) -> str:
    """Tells a forgotten person when they come back, and says nobody's name."""
    return hashlib.blake2b(person.encode(), digest_size=16, person=b"forgotten").hexdigest()
