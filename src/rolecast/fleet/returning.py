"""One start of a worker whose slots can be kept: saves them before it ends, brings back what a request goes on with.

Knows which conversations the engine has in memory anyway, and which slots it must not touch. What lies on disk, and
what may, is `carry`'s. Nothing of it raises, and all of it is bounded in time: to read a prompt anew is always right.
"""

import asyncio
import logging
import sys
from collections import deque
from typing import Protocol

import msgspec

from rolecast.backends.slots import Slot, SlotFiles
from rolecast.errors import RolecastError
from rolecast.fleet.carried import BLOCK, LEAST, Saved, common, marks
from rolecast.net.pool import Pool

log = logging.getLogger("rolecast.fleet")

SAVE_S = 2.0
"""All that a worker has is saved within this time: somebody may wait for its memory."""
RECALL_S = 0.5
"""What is not in a slot within this time is not kept by the engine: it is being read anew."""
BRING_S = 2.0
"""To look for a conversation and bring it back may take so long; else it is read anew."""
MISSES = 64
"""After so many requests in a row with nothing to bring back, nobody looks any more until the next start."""
MOST_KNOWN = 1 << 16
SHORT, LONG = 2 * LEAST, 1 << 20
"""Bytes of a request that cannot hold a conversation worth keeping, and of one that is too large to be remembered."""
RECENT = 8
"""So many requests are remembered while a worker runs. An engine keeps what left a slot beside its slots, and only who
knows the prompt can ask for it: else the last thing that was asked, often a title or a summary, is all that stays."""
SAME_SHARE = 0.75
"""A request of which so much is the beginning of a later one is an earlier turn of it."""


class Part(msgspec.Struct, frozen=True):
    """A file that an engine was told to write."""

    name: str
    size: int = 0
    """Bytes of all of it; 0 = it was not written to its end."""


class Shelves(Protocol):
    """Where conversations lie."""

    async def has(self, files: SlotFiles) -> bool:
        """Whether anything is kept that fits."""
        ...

    async def best(self, files: SlotFiles, wanted: tuple[int, ...], known: set[int], least: float) -> Saved | None:
        """The one to go on with, checked; None when there is none."""
        ...

    def part(self, files: SlotFiles, tokens: int) -> str | None:
        """A name for a file of a conversation of so many tokens; None when there is no room for one."""
        ...

    async def read(self, files: SlotFiles, part: str) -> tuple[int, ...]:
        """The marks of a conversation that was written just now. Raises OSError."""
        ...

    async def keep(self, files: SlotFiles, parts: list[Part]) -> None:
        """Take over what was written, and remove what was not written to its end."""
        ...

    def used(self, saved: Saved) -> None:
        """It was brought back."""
        ...

    async def give_up(self, saved: Saved) -> None:
        """An engine did not take it."""
        ...


class Returning:
    """What is known of the slots of one start of a worker, besides what the engine knows."""

    def __init__(
        self, shelves: Shelves, model_id: str, files: "asyncio.Task[SlotFiles | None]", *, looks: bool
    ) -> None:
        self._shelves = shelves
        self._model_id = model_id
        self._files = files
        self._known: set[int] = set()
        """Marks of prompts that this engine was given, so it has them in a slot or in its own cache."""
        self._restored: dict[int, int] = {}
        """Slots that were filled, and how far their engine had counted then: until it counts on, nobody has come."""
        self._bringing = asyncio.Semaphore(1)
        self._recent: deque[tuple[bytes, bytes]] = deque(maxlen=RECENT)
        self._looks = MISSES if looks else 0
        """How many more requests with nothing to bring back are looked up."""
        self.brought = 0
        """Conversations that were brought back."""
        self.loaded = self.parted = False

    def asked(self, path: bytes, body: bytes) -> bool:
        """Note a request before it is sent. Whether `bring` shall be awaited before: it may go on with one of ours."""
        if len(body) < SHORT:
            return False
        if len(body) <= LONG:
            self._recent.append((path, body))
        return self._looks > 0

    # -- before it ends -----------------------------------------------------------------------------------

    async def save(self, pool: Pool) -> list[Part]:
        """Have its conversations saved, those first that were used last, as far as that goes in `SAVE_S`."""
        parts: list[Part] = []
        try:
            async with asyncio.timeout(SAVE_S):
                files = await asyncio.shield(self._files)
                if files is None:
                    return parts
                slots = await files.slots(pool)
                for slot in sorted(slots, key=lambda slot: -slot.used):
                    if not slot.busy:
                        await self._save(files, pool, slot, parts)
                if not any(slot.busy for slot in slots):
                    await self._save_others(files, pool, parts)
        except TimeoutError:
            log.info("conversations of %s were not all saved within %g s", self._model_id, SAVE_S)
        except (RolecastError, OSError) as error:
            log.debug("conversations of %s are not saved: %s", self._model_id, error)
        self._recent.clear()
        return parts

    async def _save(self, files: SlotFiles, pool: Pool, slot: Slot, parts: list[Part]) -> None:
        """Save one slot, if it is worth it and there is room; notes in `parts` what may lie on disk by then."""
        name = self._shelves.part(files, slot.tokens) if slot.tokens >= LEAST else None
        if name is None:
            return
        parts.append(Part(name))
        parts[-1] = Part(name, await files.save(pool, slot.number, name))

    async def _save_others(self, files: SlotFiles, pool: Pool, parts: list[Part]) -> None:
        """Save conversations that the engine keeps beside its slots, as far as their requests are remembered."""
        asked = _distinct(self._recent)
        if not files.recalls or len(asked) <= len(parts):  # the newest ones are what the slots hold
            return
        held = [await self._shelves.read(files, part.name) for part in parts if part.size]
        for path, body in asked:
            tokens = await files.tokens(pool, path, body)
            wanted = tuple(marks(tokens or ()))
            if len(wanted) * BLOCK < LEAST or any(common(each, wanted) >= len(wanted) - 1 for each in held):
                continue
            held.append(wanted)
            try:
                async with asyncio.timeout(RECALL_S):
                    number = await files.recall(pool, tokens or ())
            except TimeoutError:
                return
            if number is not None:
                await self._save(files, pool, Slot(number, tokens=len(tokens or ())), parts)

    async def keep(self, parts: list[Part]) -> None:
        """Take over what was saved; the engine must not be writing any more."""
        files = self._files.result() if self._files.done() and not self._files.cancelled() else None
        if files is not None and parts:
            await self._shelves.keep(files, parts)

    # -- when a conversation comes back -------------------------------------------------------------------

    async def bring(self, pool: Pool, path: bytes, body: bytes) -> None:
        """Put into a slot what this request goes on with, if that lies on disk and not in the engine."""
        self._looks -= 1
        try:
            async with asyncio.timeout(BRING_S), self._bringing:
                files = await asyncio.shield(self._files)
                if files is None or not await self._shelves.has(files):
                    self._looks = 0
                elif await self._bring(files, pool, path, body):
                    self._looks = MISSES
        except (TimeoutError, RolecastError, OSError) as error:
            log.debug("a conversation of %s is read anew: %s", self._model_id, error)

    async def _bring(self, files: SlotFiles, pool: Pool, path: bytes, body: bytes) -> bool:
        tokens = await files.tokens(pool, path, body)
        if tokens is None or len(tokens) < LEAST:
            return False
        wanted = tuple(marks(tokens))
        known = set(self._known)
        self._learn(wanted)
        saved = await self._shelves.best(files, wanted, known, files.least_share * len(tokens) / BLOCK)
        slot = await self._seat(files, pool) if saved is not None else None
        if saved is None or slot is None:
            return False
        taken = False
        try:
            taken = await files.restore(pool, slot.number, saved.file)
        finally:
            # Also when the engine died of it, or the next one would, too. A client that left is no reason.
            if not taken and not isinstance(sys.exception(), asyncio.CancelledError):
                await self._shelves.give_up(saved)
        if not taken:
            return False
        self._restored[slot.number] = slot.used
        self.brought += 1
        self._shelves.used(saved)
        log.info("%s goes on with a conversation of %d tokens", self._model_id, saved.tokens)
        return True

    def _learn(self, wanted: tuple[int, ...]) -> None:
        """The engine is about to read this."""
        if len(self._known) > MOST_KNOWN:
            self._known.clear()
        self._known.update(wanted)

    async def _seat(self, files: SlotFiles, pool: Pool) -> Slot | None:
        """An idle slot that nobody misses: one that was never used, else the one that has been idle longest.

        What that one holds is saved before. None when all are busy.
        """
        idle = [slot for slot in await files.slots(pool) if not slot.busy]
        filled = [slot for slot in idle if self._restored.get(slot.number) == slot.used]
        free = [slot for slot in idle if slot not in filled] or filled
        # The engine gives a request that fits nowhere to the first slot that was never used: so we take the last one.
        chosen = min(free, key=lambda slot: (slot.used, -slot.number), default=None)
        if chosen is not None and chosen.used >= 0 and chosen not in filled:
            parts: list[Part] = []
            try:
                await self._save(files, pool, chosen, parts)
                for part in parts:  # what it held is about to be on disk alone
                    self._known.difference_update(await self._shelves.read(files, part.name))
            finally:
                await self._shelves.keep(files, parts)
        return chosen


def _distinct(recent: deque[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The newest first, without those that are earlier turns of a newer one."""
    found: list[tuple[bytes, bytes]] = []
    for path, body in reversed(recent):
        part = body[: int(len(body) * SAME_SHARE)]
        if not any(path == other and newer.startswith(part) for other, newer in found):
            found.append((path, body))
    return found
