"""The slots of an engine and what they have read, on disk and back: what a backend can say and do about it.

Only the protocol and its values. What is kept, for how long and for whom is the fleet's to decide.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:  # each start of a worker imports this package
    from rolecast.net.pool import Pool


class Slot(msgspec.Struct, frozen=True):
    """One slot of a running engine."""

    number: int
    busy: bool = False
    """Whether it answers a request now."""
    tokens: int = 0
    """Tokens of what it has read and written last."""
    used: int = -1
    """The later it was given a request, the larger; -1 = it never was."""


class SlotFiles(Protocol):
    """What the slots of one kind of engine have read, as files. Nothing of it raises but what the net raises."""

    identity: str
    """A digest of all that a file depends on: weights, engine and settings. With another one it is of no use."""
    token_bytes: float
    """Bytes that one token takes in a file, at most."""
    recalls: bool
    """Whether the engine keeps prompts beside its slots, too."""
    least_share: float
    """The part of a prompt that a slot must hold, or else the engine may give the request to another slot."""

    async def slots(self, pool: "Pool") -> Sequence[Slot]:
        """The slots as they are now; none when the engine cannot tell."""
        ...

    async def save(self, pool: "Pool", slot: int, name: str) -> int:
        """Write what the slot holds into the file of that name. The bytes that it has then; 0 = there is no such."""
        ...

    async def recall(self, pool: "Pool", tokens: Sequence[int]) -> int | None:
        """Have a prompt that the engine keeps beside its slots put into one, in place of what the idle ones hold.

        Gives that slot. What the engine does not keep it begins to read: so whoever waits stops waiting soon.
        """
        ...

    async def restore(self, pool: "Pool", slot: int, name: str) -> bool:
        """Read that file into the slot, in place of what it held. False = the engine did not take the file."""
        ...

    async def tokens(self, pool: "Pool", path: bytes, body: bytes) -> Sequence[int] | None:
        """The tokens of the prompt of that request, as the engine would read them; None for one that it cannot say."""
        ...

    def read(self, file: Path) -> Sequence[int] | None:
        """The tokens of a conversation in a file; None = it is not to be understood. Blocks. Raises OSError."""
        ...
