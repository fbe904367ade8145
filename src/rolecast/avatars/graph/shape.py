"""What the two ways of keeping conversations in a graph have in common."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol

import msgspec

from rolecast.avatars.conversation import Message, Person, Speaker, Wanted
from rolecast.avatars.graph.connection import PIECE, Connection


class Place(msgspec.Struct, frozen=True):
    """A message that is wanted, before its text is read."""

    element: str
    """What the database calls it."""
    id: str
    """'' = not known before its text is read."""
    chat: str
    reply_to: str = ""
    """The id of the message that it follows, where edges say so."""


class Shape(Protocol):
    """One way of keeping conversations in a graph."""

    async def people(self) -> list[Person]:
        """Everybody."""
        ...

    async def speakers(self) -> list[Speaker]:
        """Everybody who said something, in any order."""
        ...

    async def people_of(self, wanted: Wanted) -> list[Person]:
        """Everybody in the chats of `wanted.person`, which is an id or ''."""
        ...

    def messages(self, wanted: Wanted) -> AsyncIterator[Message]:
        """Chat by chat, each in order."""
        ...


def within(at: float | None, wanted: Wanted) -> bool:
    """Whether a time is in the wanted span; no time is in none but the endless one."""
    if at is None:
        return wanted.since is None and wanted.until is None
    return (wanted.since is None or at >= wanted.since) and (wanted.until is None or at < wanted.until)


async def unique(connection: Connection, query: str) -> bool:
    """Whether each node has an `id` of its own; the query counts nodes and their ids. Else the database's own is it."""
    [(nodes, ids)] = await connection.rows(query)
    return bool(nodes == ids)


def in_pieces(places: Iterable[Place]) -> Iterable[Sequence[Place]]:
    """So many as are asked for at once."""
    piece: list[Place] = []
    for each in places:
        piece.append(each)
        if len(piece) == PIECE:
            yield piece
            piece = []
    if piece:
        yield piece
