"""KV carry-over: what models have read of conversations is kept on disk while they are not loaded.

Owns the folder and its list. When to save and when to bring back is said by the fleet (`Keeper`) and by requests
(`Station.returning`); how, by `returning`; which, by `carried`. A list or a file that is damaged is a conversation that
is read anew, never an error.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from rolecast import weights
from rolecast.backends.slots import SlotFiles
from rolecast.config.edit import Change, Edit
from rolecast.config.memory import Memory
from rolecast.config.units import Bytes
from rolecast.fleet import shelf
from rolecast.fleet.carried import LEAST, Carried, Saved, allowed, marks
from rolecast.fleet.returning import Part, Returning
from rolecast.fleet.station import Station
from rolecast.weights import Finder

log = logging.getLogger("rolecast.fleet")

CLOSE_S = 5.0
"""What was saved is listed within this time when the gateway ends."""


class Carry:
    """The conversations of all models of this gateway: a `Keeper` of the fleet's workers."""

    def __init__(
        self,
        folder: Path,
        memory: Memory,
        find: Finder,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._setting = memory.conversations
        self._find = find
        self._now = now
        self._carried = Carried()
        self._allowed = 0
        self._tasks: set[asyncio.Task[None]] = set()
        """What is being listed."""
        self._looks: set[asyncio.Task[SlotFiles | None]] = set()
        self._writing = asyncio.Lock()

    @property
    def on(self) -> bool:
        """Whether anything may be kept."""
        return self._setting == "auto" or Bytes.parse(self._setting) > 0

    # -- a keeper -----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Read the list; what is not in it, not whole or too old goes. Without a folder nothing is kept."""
        if not self.on:
            await asyncio.to_thread(shelf.erase, self._folder)
            return
        try:
            self._carried = Carried(await asyncio.to_thread(shelf.opened, self._folder))
            await self._trim()
        except OSError as error:
            log.warning("conversations are not kept: %s cannot be used: %s", self._folder, error.strerror or error)
            self._setting = 0

    def configure(self, memory: Memory) -> None:
        """Another size holds from the next time that something is saved; none erases all at once."""
        self._setting = memory.conversations
        if not self.on:
            self._carried = Carried()
        self._later(self.open() if not self._allowed or not self.on else self._trim())

    def begins(self, station: Station) -> None:
        """Look, beside its load, what its conversations depend on; and have its requests ask for them."""
        station.keeps = None
        if self.on and station.backend.spawns:
            files = asyncio.create_task(asyncio.to_thread(self._files, station))
            self._looks.add(files)
            files.add_done_callback(self._looks.discard)
            keeps = station.keeps = Returning(self, station.model_id, files, looks=bool(self._carried or self._tasks))

            def found(looked: asyncio.Task[SlotFiles | None]) -> None:
                if (looked.cancelled() or looked.result() is None) and station.keeps is keeps:
                    station.keeps = None  # so that its requests pass by all of this

            files.add_done_callback(found)

    def loaded(self, station: Station) -> None:
        """It has something to keep from now on."""
        if station.keeps is not None:
            station.keeps.loaded = True

    @asynccontextmanager
    async def parting(self, station: Station) -> AsyncIterator[None]:
        """Save its conversations; list them once it has ended, and nobody writes any more."""
        keeps, pool = station.keeps, station.pool
        parts: list[Part] = []
        if keeps is not None and pool is not None and keeps.loaded and not keeps.parted and self.on:
            keeps.parted = True
            parts = await keeps.save(pool)
        try:
            yield
        finally:
            if keeps is not None and parts:
                self._later(keeps.keep(parts))

    def stays(self, station: Station) -> None:
        """It has all that was saved still, and more by the time that it ends."""
        if station.keeps is not None:
            station.keeps.parted = False

    def slept(self, station: Station) -> None:
        """There is nothing more to save, and a question would wake it."""
        if station.keeps is not None:
            station.keeps.parted = True

    async def close(self) -> None:
        """Wait until all that was saved is listed."""
        if lasting := {*self._tasks, *self._looks}:
            await asyncio.wait(lasting, timeout=CLOSE_S)

    async def prepare(self, edit: Edit) -> Change:
        """Nothing to refuse."""
        return Change(partial(self.configure, edit.config.memory))

    # -- shelves ------------------------------------------------------------------------------------------

    async def has(self, files: SlotFiles) -> bool:
        """Whether anything is kept that fits. Waits for what is being listed."""
        if self._tasks:  # another worker of the model has just ended, perhaps
            await asyncio.wait(self._tasks)
        return self._carried.has(files.identity)

    async def best(self, files: SlotFiles, wanted: tuple[int, ...], known: set[int], least: float) -> Saved | None:
        """The one to go on with. One that is damaged is removed, and the next best taken."""
        while (saved := self._carried.best(files.identity, wanted, known, least)) is not None:
            if await asyncio.to_thread(shelf.is_whole, self._folder, saved):
                return saved
            await self.give_up(saved)
        return None

    def part(self, files: SlotFiles, tokens: int) -> str | None:
        """A name, if what it will take is allowed."""
        return shelf.part_name(files.identity) if self.on and tokens * files.token_bytes <= self._allowed else None

    async def read(self, files: SlotFiles, part: str) -> tuple[int, ...]:
        """The marks of a conversation that was written just now."""
        tokens = await asyncio.to_thread(files.read, self._folder / part)
        return tuple(marks(tokens or ()))

    async def keep(self, files: SlotFiles, parts: list[Part]) -> None:
        """List what is worth it, and remove the oldest until all that is kept is within its size."""
        gone: list[str] = []
        for part in reversed(parts):  # the one that was used last is the youngest
            try:
                saved = await asyncio.to_thread(self._taken_over, files, part) if self.on else None
            except OSError as error:
                log.debug("a conversation is not kept: %s", error)
                saved = None
            if saved is None:
                gone += [part.name, part.name.removesuffix(shelf.PART) + shelf.KEPT]
            else:
                gone += [each.file for each in self._carried.put(saved)]
        await asyncio.to_thread(shelf.remove, self._folder, gone)
        await self._trim()

    def used(self, saved: Saved) -> None:
        """Written with the next change: to lose it costs nothing but its place in line."""
        self._carried.touch(saved.file, self._now())

    async def give_up(self, saved: Saved) -> None:
        """It is not asked for again, whoever is to blame."""
        self._carried.drop(saved.file)
        await asyncio.to_thread(shelf.remove, self._folder, [saved.file])
        await self._trim()

    # -- beside the loop ----------------------------------------------------------------------------------

    def _files(self, station: Station) -> SlotFiles | None:
        """What its backend can do for it. In a thread."""
        try:
            found = weights.found(self._find, station.model) if station.model.source else None
            return station.backend.slot_files(station.model, found)
        except Exception as error:  # of a file that is gone; whoever starts the worker says so
            log.debug("conversations of %s are not kept: %s", station.model_id, error)
            return None

    def _taken_over(self, files: SlotFiles, part: Part) -> Saved | None:
        """The conversation in that file under its lasting name; None for one that is not whole or not worth it.

        In a thread.
        """
        if not part.size or (self._folder / part.name).stat().st_size != part.size:
            return None
        tokens = files.read(self._folder / part.name)
        if tokens is None or len(tokens) < LEAST:
            return None
        name, size, checksum = shelf.settle(self._folder, part.name)
        return Saved(name, files.identity, tuple(marks(tokens)), len(tokens), size, checksum, self._now())

    async def _trim(self) -> None:
        """Look what is allowed by now, remove what is too much, and write the list."""
        async with self._writing:
            free = await asyncio.to_thread(shelf.free_bytes, self._folder)
            self._allowed = allowed(self._setting, free, self._carried.size)
            gone = [each.file for each in self._carried.trim(self._allowed, self._now())]
            await asyncio.to_thread(shelf.remove, self._folder, gone)
            try:
                await asyncio.to_thread(shelf.write, self._folder, list(self._carried))
            except OSError as error:  # what is on disk then is swept at the next start
                log.debug("the list of conversations cannot be written: %s", error)

    def _later(self, coroutine: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
