"""Conversations that the gateway keeps for a client: what a dialect says of them, and what is written down.

Knows neither where they are kept nor how any dialect writes them.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from rolecast.values import Chat


class Kept(msgspec.Struct, frozen=True):
    """An answer that was kept, with what was asked for it: what a later request can go on from."""

    id: str
    previous: str
    """The answer before it; '' = it began the conversation."""
    asked: bytes
    """JSON of what this request added."""
    answer: bytes
    """JSON of the answer."""
    stays: bool = False
    """It was made under `local-only`, so that who goes on from it is held to the same."""


class Thread(Protocol):
    """One request's place in a conversation."""

    follows: str
    """The id of the answer that it goes on from; '' = of none."""
    refers: frozenset[str]
    """Ids of the answers that it takes something from."""

    def join(self, before: Sequence[Kept], referred: Mapping[str, Kept]) -> Chat:
        """The whole conversation, with what was kept before, oldest first. Raises BadRequest."""
        ...

    def kept(self) -> Kept | None:
        """What is to be kept, once the answer is complete; None = nothing."""
        ...
