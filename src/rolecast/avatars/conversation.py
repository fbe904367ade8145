"""What all sources give, whatever they read: people, chats and messages. Knows no format and no database."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Literal, Protocol

import msgspec


class Person(msgspec.Struct, frozen=True, omit_defaults=True):
    """Somebody who wrote or is in a chat. `id` is the same in each reading of the same source."""

    id: str
    name: str
    """As it is shown."""
    names: tuple[str, ...] = ()
    """What else they are called: nicknames, handles."""


class Chat(msgspec.Struct, frozen=True, omit_defaults=True):
    """One conversation of two or more."""

    id: str
    title: str = ""
    group: bool = False
    """Whether there are more than two in it."""
    zone: str = ""
    """In which zone its times were taken to be, where the source does not say; '' = it does."""


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message as it was sent. Its id is the same in each reading of the same source, and nobody else's."""

    id: str
    chat: str
    person: str
    """The id of who wrote it."""
    text: str
    at: float | None = None
    """Seconds since 1970; None = the source does not say."""
    reply_to: str = ""
    """The id of the message that it answers, where the source says so."""
    personality: str = ""
    emotion: str = ""
    relationship: str = ""
    tags: tuple[str, ...] = ()


Item = Person | Chat | Message


class Told(Protocol):
    """Hears of a reading: how far it is, and what could not be read."""

    def progress(self, done: int, total: int) -> None:
        """So many of so many bytes, or of whatever the source counts."""
        ...

    def skipped(self, where: str, why: str) -> None:
        """Something of the source is left out: `line 12`, and a reason in plain words without its text."""
        ...


class Reading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person must say of an export, because it does not itself."""

    zone: str = ""
    """Zone of times that have none (`Europe/Berlin`); '' = this machine's."""
    date_order: Literal["", "dmy", "mdy", "ymd"] = ""
    """Of dates in numbers; '' = found out, and asked for where both are possible."""
    me: str = ""
    """What the exports' owner is called, where they only say "me" or "user"."""
    forgotten: bool = False
    """Whether messages of people who were forgotten are brought in again."""


AS_IT_IS = Reading()
"""Nothing was said of it."""


class Source(Protocol):
    """One kind of export: a module of `sources` is one."""

    TITLE: str
    """For people: `WhatsApp chat`."""

    def fits(self, path: Path) -> bool:
        """Whether that file or folder is of this kind; looks at its beginning only."""
        ...

    def read(self, path: Path, told: Told, how: Reading = ..., /) -> Iterator[Item]:
        """All of it, people and chats before the messages that name them. Raises SourceError for no such export."""
        ...


class Wanted(msgspec.Struct, frozen=True):
    """Which conversations are wanted: those a person took part in. '' and None = without that limit."""

    person: str = ""
    """The name or id of somebody; a name is compared without case and accents."""
    since: float | None = None
    until: float | None = None
    """Seconds since 1970; the second is not included."""
    most: int = 10_000
    """So many messages at most, the newest of them; 0 = all."""


class Speaker(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much somebody said, for lists."""

    person: Person
    messages: int
    chats: int = 0
    first: float | None = None
    last: float | None = None
    personalities: tuple[str, ...] = ()
    emotions: tuple[str, ...] = ()


class Conversations(Protocol):
    """Where imported conversations are kept, or already are: our database, or somebody's Neo4j."""

    async def speakers(self) -> list[Speaker]:
        """Everybody who said something, who said most first."""
        ...

    async def find(self, name: str) -> Person:
        """The one person of that name or id. Raises PersonNotFound, and Invalid with the candidates for several."""
        ...

    def messages(self, wanted: Wanted) -> AsyncIterator[Message]:
        """Chat by chat, each from its oldest message on; memory does not grow with their number."""
        ...

    async def people(self, wanted: Wanted) -> list[Person]:
        """Everybody in those chats."""
        ...

    async def close(self) -> None: ...


Skipped = Callable[[str, str], None]
