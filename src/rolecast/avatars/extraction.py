"""Conversations as examples: each reply of one person, with what was said before it. Streams, and cleans nothing."""

from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo
from itertools import pairwise
from pathlib import Path

import msgspec

from rolecast.avatars.conversation import Conversations, Message, Person, Told, Wanted
from rolecast.avatars.example import Example, Lineage, Said, writing
from rolecast.avatars.gaps import Gaps
from rolecast.avatars.settings import Extraction
from rolecast.avatars.threads import Thread, Threads, Turn
from rolecast.errors import Invalid

LOOK = 2048
"""Messages of a chat that are read before the first is threaded; its limit is learnt again after as many."""
HELD = 2048
"""Examples that wait until their thread is over, so that they can tell how long it is."""
TOLD_EVERY = 1000
BLANK, FIRST, OWN = "no text", "begins a conversation", "goes on after their own"
Put = Callable[[Example], None]


class Extracted(msgspec.Struct, frozen=True):
    """What was extracted. Times in seconds since 1970."""

    person: Person
    people: tuple[Person, ...]
    """Everybody in those chats, the person too."""
    path: str
    examples: int
    messages: int
    """All that were read, of everybody."""
    own: int
    """The person's."""
    chats: int
    threads: int
    first: float | None = None
    last: float | None = None
    left_out: Mapping[str, int] = msgspec.field(default_factory=dict)
    """What became no example, by reason: messages without text, turns of the person that answer nobody."""


def wanted_of(person: str, settings: Extraction, zone: tzinfo | None = None) -> Wanted:
    """What the settings ask for. Times without a zone are of that zone, None = the machine's.

    A date as `since` begins with its day, one as `until` ends with it. Raises Invalid for what is neither.
    """
    since = _moment(settings.since, "since", zone, whole_day=False)
    until = _moment(settings.until, "until", zone, whole_day=True)
    if since is not None and until is not None and since >= until:
        raise Invalid(f"Nothing lies between {settings.since} and {settings.until}; exchange them.", param="until")
    return Wanted(person, since, until, settings.most)


def _moment(text: str, name: str, zone: tzinfo | None, *, whole_day: bool) -> float | None:
    if not text:
        return None
    try:
        try:
            day = date.fromisoformat(text)
        except ValueError:
            at = datetime.fromisoformat(text)
        else:
            day += timedelta(days=whole_day)
            at = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - it gets its zone below
        if at.tzinfo is None:
            at = at.replace(tzinfo=zone) if zone is not None else at.astimezone()
        return at.timestamp()
    except (ValueError, OverflowError, OSError) as error:
        example = "2024-12-31 or 2024-12-31T18:00+01:00"
        raise Invalid(f"{text[:40]!r} is no date and no time; write it like {example}.", param=name) from error


async def extract(
    conversations: Conversations, wanted: Wanted, settings: Extraction, into: Path, told: Told
) -> Extracted:
    """Write an example for each turn in which the person answers somebody, in the order in which they were said.

    Memory does not grow with the number of messages. Raises PersonNotFound, Invalid when they answered nobody, and what
    the conversations raise; then a file that was there stays as it was.
    """
    person = await conversations.find(wanted.person)
    wanted = msgspec.structs.replace(wanted, person=person.id)
    people = await conversations.people(wanted)
    if all(each.id != person.id for each in people):
        people = [*people, person]
    with writing(into) as put:
        reading = _Reading(person, people, settings, put)
        stream = conversations.messages(wanted)
        try:
            async for message in stream:
                reading.add(message)
                if reading.messages % TOLD_EVERY == 0:
                    told.progress(reading.messages, 0)
        finally:
            if isinstance(stream, AsyncGenerator):  # what it holds open is let go of now, not when it is collected
                await stream.aclose()
        reading.end()
        told.progress(reading.messages, reading.messages)
        if not reading.examples:
            raise Invalid(_nothing(person, reading), param="person")
    return reading.extracted(into)


def _nothing(person: Person, reading: "_Reading") -> str:
    if not reading.messages:
        return f"There is no message of a chat with {person.name} in that span; choose another one, or import more."
    return (
        f"{person.name} answers nobody in these {reading.messages} messages, {reading.own} of them their own: "
        "there is nothing to learn from. Choose a longer span or more messages, or import chats with answers."
    )


class _Reading:
    """One run over the messages."""

    def __init__(self, person: Person, people: Sequence[Person], settings: Extraction, put: Put) -> None:
        self._person = person
        self._people = people
        self._names = shown(person, people)
        self._settings = settings
        self._put = put
        self.examples = self.messages = self.own = self._chats = self._threads = 0
        self._first: float | None = None
        self._last: float | None = None
        self._left_out: Counter[str] = Counter()
        self._chat: str | None = None
        self._gaps = Gaps()
        self._threaded = Threads(gap=0, join=0)
        self._ahead: list[Message] = []
        self._held: deque[tuple[Example, Thread]] = deque()

    def add(self, message: Message) -> None:
        if message.chat != self._chat:
            self.end()
            self._begin(message.chat)
        self.messages += 1
        self.own += message.person == self._person.id
        if message.at is not None:
            self._first = message.at if self._first is None else min(self._first, message.at)
            self._last = message.at if self._last is None else max(self._last, message.at)
        if not message.text.strip():
            self._left_out[BLANK] += 1
            return
        self._ahead.append(message)
        if len(self._ahead) > LOOK:
            self._thread()

    def end(self) -> None:
        """The chat is over."""
        self._thread(last=True)
        for turn in self._threaded.end():
            self._turn(turn)
        while self._held:
            self._release()

    def extracted(self, path: Path) -> Extracted:
        return Extracted(
            person=self._person,
            people=tuple(self._people),
            path=str(path),
            examples=self.examples,
            messages=self.messages,
            own=self.own,
            chats=self._chats,
            threads=self._threads,
            first=self._first,
            last=self._last,
            left_out=dict(self._left_out),
        )

    def _begin(self, chat: str) -> None:
        self._chat = chat
        self._chats += 1
        self._gaps = Gaps()
        self._threaded = Threads(gap=self._settings.gap, join=self._settings.join)

    def _thread(self, *, last: bool = False) -> None:
        """The last of them stays, unless it is the last of all: the next pause begins with it."""
        ahead = self._ahead
        for one, other in pairwise(ahead):
            if one.at is not None and other.at is not None:
                self._gaps.add(other.at - one.at)
        self._threaded.gap = self._settings.gap or self._gaps.limit()
        for message in ahead if last else ahead[:-1]:
            for turn in self._threaded.add(message):
                self._turn(turn)
        self._ahead = [] if last else ahead[-1:]

    def _turn(self, turn: Turn) -> None:
        self._threads += turn.position == 0
        if turn.person != self._person.id:
            return
        before = turn.history(self._settings.context)
        if not before or before[-1].person == self._person.id:
            self._left_out[OWN if before else FIRST] += 1
            return
        self._held.append((self._example(turn, before), turn.thread))
        if len(self._held) > HELD:
            self._release()

    def _release(self) -> None:
        example, thread = self._held.popleft()
        whole = msgspec.structs.replace(example.metadata, total_length=thread.messages)
        self._put(msgspec.structs.replace(example, metadata=whole))
        self.examples += 1

    def _example(self, turn: Turn, before: Sequence[Turn]) -> Example:
        conditions = self._settings.metadata
        history = tuple(
            Said(self._named(each.person), each.text, each.emotion if conditions else "") for each in before
        )
        return Example(
            example_id=f"{turn.thread.id}_{turn.position}",
            input_text=f"[{history[-1].speaker}]: {history[-1].message}",
            target_text=turn.text,
            speaker_name=self._named(turn.person),
            personality_type=turn.personality if conditions else "",
            emotional_state=turn.emotion if conditions else "",
            relationship_type=turn.relationship if conditions else "",
            conversation_history=history,
            metadata=Lineage(
                sequence_id=turn.thread.id,
                position=turn.position,
                chat=self._chat or "",
                message_ids=tuple(each for part in (*before, turn) for each in part.ids),
                people=tuple(dict.fromkeys(part.person for part in (*before, turn))),
                at=turn.began if conditions else None,
            ),
        )

    def _named(self, person: str) -> str:
        """Somebody who is in the messages and not among the people has the id for a name."""
        return self._names.setdefault(person, _plain(person) or "somebody")


def shown(person: Person, people: Sequence[Person]) -> dict[str, str]:
    """Names by ids, no two alike, on one line: in a chat the name is all that tells two people apart."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for each in (person, *(other for other in people if other.id != person.id)):
        plain = _plain(each.name) or _plain(each.id) or "somebody"
        names[each.id] = next(name for name in _numbered(plain) if name not in taken)
        taken.add(names[each.id])
    return names


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name} ({number})"
        number += 1


def _plain(name: str) -> str:
    """Without line ends and control characters, and of a bounded length."""
    return " ".join("".join(each if each.isprintable() else " " for each in name).split())[:100]
