"""What completions of code share: answers that were given before, and who is typing right now."""

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from rolecast.errors import Conflict

MOST = 1000
OLDEST = 100
"""So many make room when there are `MOST`."""
CODE = "cancelled_by_newer"
Typist = tuple[str, str]
"""A key and a session of it."""


class Kept(msgspec.Struct, frozen=True):
    """A completion that was given before."""

    text: str
    reason: str
    found: dict[str, Any]
    """What was told of it."""


class _Typing(msgspec.Struct):
    task: "asyncio.Task[Any] | None"
    over: bool = False


class Keystrokes:
    """One per gateway; everything of it is forgotten with it."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Kept] = {}
        self._of: object = None
        self._typing: dict[Typist, _Typing] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def key(self, *parts: Any) -> bytes:
        """The digest of all that an answer depends on; no part of a text is kept."""
        return hashlib.blake2b(msgspec.json.encode(parts), digest_size=32).digest()

    def get(self, key: bytes, models: object) -> Kept | None:
        """What was given to the same before, while `models` are the same ones."""
        if self._of != models:
            self._kept.clear()
            self._of = models
        return self._kept.get(key)

    def keep(self, key: bytes, kept: Kept, models: object) -> None:
        """For the next time."""
        if self._of != models:
            return
        if len(self._kept) >= MOST:
            for oldest in list(self._kept)[:OLDEST]:
                del self._kept[oldest]
        self._kept[key] = kept

    @contextlib.contextmanager
    def of(self, typist: Typist) -> Iterator[None]:
        """The latest keystroke of somebody, while the block lasts: the one before is ended with 409, and its slot is
        free. Raises Conflict when another one follows. Nobody is ended who has no session."""
        if not typist[1]:
            yield
            return
        mine = _Typing(asyncio.current_task())
        before, self._typing[typist] = self._typing.get(typist), mine
        if before is not None and before.task is not None:
            before.over = True
            before.task.cancel()
        try:
            yield
        except asyncio.CancelledError:
            if not mine.over or mine.task is None or mine.task.uncancel() > 0:
                raise
            text = "A newer completion was asked for in this session, so this one was ended."
            raise Conflict(text, code=CODE) from None
        finally:
            if self._typing.get(typist) is mine:
                del self._typing[typist]
