"""The keys as a running gateway knows them: all in memory, and looked after once a second.

Several gateways may share a database: each looks whether a key was changed by another one. While the database cannot be
used the keys stay as they were last read, because refusing everybody would make a gateway of a database.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import msgspec

from rolecast.access.budget import Budget
from rolecast.access.keys import Key, digest_of
from rolecast.access.models import list_id, narrowed, reached
from rolecast.access.table import Edit, KeyTable, Made, keys_of
from rolecast.books.store import StoreError
from rolecast.config.names import Name
from rolecast.errors import Unauthorized
from rolecast.values import Rights

log = logging.getLogger("rolecast.keys")


LOOK_S = 1.0
"""A key that somebody else revoked opens nothing after so long, and what reading it takes."""
WRITE_S = 60.0
"""When keys were used is written so often."""
CLOSE_S = 5.0


class Held(msgspec.Struct, frozen=True, eq=False):
    """A key with what its holder may do, which is the same object as long as the key stays as it is."""

    key: Key
    rights: Rights


class Keyring:
    """All keys. Lives on one event loop; only `now` tells it the time."""

    def __init__(self, table: KeyTable, now: Callable[[], float] = time.time) -> None:
        self.table = table
        self.now = now
        self.changed: Callable[[], None] = lambda: None
        """Called whenever other keys open something than before: what was remembered of them is wrong."""
        self.tell: Callable[[str, Mapping[str, str]], object] = lambda *_: None
        """Told what is done to keys here, with the id and the name of each."""
        self.spends: Callable[[str, Budget | None], Awaitable[None]] | None = None
        """Told what a key may spend, whenever that is news; None = nothing in particular."""
        self._by_id: dict[str, Held] = {}
        self._by_digest: dict[bytes, Held] = {}
        self._lists: dict[str, tuple[str, ...]] = {}
        self._reached: dict[str, tuple[Mapping[str, Name], frozenset[str]]] = {}
        self._number = -1
        self._used: dict[str, float] = {}
        self._wrote_at = now()
        self._trouble = ""
        self._reading = asyncio.Lock()

    # -- who may come in ----------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many keys there are, whatever became of them: with one or more, everybody needs a key."""
        return len(self._by_id)

    def admit(self, secret: bytes) -> Rights | None:
        """What the holder of that secret may do; None = it is of no key. Raises Unauthorized for one that is over.

        Takes as long for every wrong secret: it is looked up by its digest, which nobody can steer.
        """
        digest = digest_of(secret)
        held = self._by_digest.get(digest)
        if held is None or not hmac.compare_digest(digest, held.key.digest):
            return None
        return self._living(held)

    def current(self, rights: Rights) -> Held:
        """The key behind these rights as it is now. Raises Unauthorized when it opens nothing any more."""
        held = self._by_id.get(rights.key)
        if held is None:
            raise Unauthorized("The API key was revoked.")
        self._living(held)
        return held

    def _living(self, held: Held) -> Rights:
        now = self.now()
        state = held.key.state(now)
        if state != "live":
            raise Unauthorized(f"The API key {'was revoked' if state == 'revoked' else 'has expired'}.")
        self._used[held.key.id] = now
        return held.rights

    def of(self, key_id: str) -> Key | None:
        """The key of that id, with its budget; None for keys of the configuration and for none."""
        held = self._by_id.get(key_id)
        return None if held is None else held.key

    # -- which models -------------------------------------------------------------------------------------

    def listed(self, rights: Rights) -> str:
        """A name for the list of models of a key that has one, for `reaches`."""
        name = list_id(rights.models)
        self._lists.setdefault(name, rights.models)
        return name

    def reaches(self, name: str, model_id: str, names: Mapping[str, Name]) -> bool:
        """Whether a list of that name has the model, by the names of the configuration that applies."""
        known = self._reached.get(name)
        if known is None or known[0] is not names:
            known = self._reached[name] = names, reached(self._lists.get(name, ()), names)
        return model_id in known[1]

    def reach(self, names: Mapping[str, Name], rights: Rights | None) -> Callable[[Name], Name | None]:
        """What a name means to the holder of a key: with the models alone that it may reach; None = nothing."""
        if rights is None or not rights.models:
            return lambda name: name if name.models else None
        listed = self.listed(rights)
        return lambda name: narrowed(name, lambda model_id: self.reaches(listed, model_id, names))

    # -- changes ------------------------------------------------------------------------------------------

    async def create(self, key: Key) -> Made:
        """As the table's, and known here at once. So are the others. Raise as they do."""
        made = await self.table.create(key)
        await self._done("key_created", made.key)
        return made

    async def change(self, key_id: str, edit: Edit) -> Key:
        return await self._done("key_changed", await self.table.change(key_id, edit))

    async def revoke(self, key_id: str) -> Key:
        return await self._done("key_revoked", await self.table.revoke(key_id))

    async def forget(self, key_id: str) -> Key:
        return await self._done("key_revoked", await self.table.forget(key_id))

    async def _done(self, what: str, key: Key) -> Key:
        with suppress(StoreError):  # it is done all the same, and `watch` reads it when that is possible
            await self.read()
        self.tell(what, {"key": key.id, "name": key.name})
        return key

    async def open(self) -> None:
        """Read all keys. Raises StoreError."""
        await self.read()

    async def read(self) -> None:
        """Read what changed since the last time. Raises StoreError."""
        async with self._reading:
            number = await self.table.version()
            if number == self._number:
                return
            rows = await self.table.rows_since(self._number)
            news = await asyncio.to_thread(keys_of, rows)
            await self._allow(news)
            self._take(news)
            if len(self._by_id) != await self.table.count():  # one was forgotten
                rows = await self.table.rows_since(-1)
                there = await asyncio.to_thread(keys_of, rows)
                gone = self._by_id.keys() - {key.id for key in there}
                for key_id in gone:
                    del self._by_digest[self._by_id.pop(key_id).key.digest]
                self._take(there)
            self._number = number
        kept = {list_id(held.rights.models): held.rights.models for held in self._by_id.values() if held.rights.models}
        self._lists = kept
        self._reached = {name: known for name, known in self._reached.items() if name in kept}
        self.changed()

    async def _allow(self, keys: list[Key]) -> None:
        """Have what they may spend heeded. Raises StoreError."""
        for key in keys if self.spends is not None else ():
            before = self._by_id.get(key.id)
            known = None if before is None else before.key.budget
            if key.budget != known and self.spends is not None:
                await self.spends(key.id, key.budget)

    def _take(self, keys: list[Key]) -> None:
        for key in keys:
            before = self._by_id.get(key.id)
            rights = key.rights
            if before is not None and before.rights == rights:
                rights = before.rights
            self._by_id[key.id] = self._by_digest[key.digest] = Held(key, rights)

    # -- once a second ------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Look after the keys for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.read()
                if self.now() - self._wrote_at >= WRITE_S or self.now() < self._wrote_at:  # or the clock went back
                    await self._write()
            except StoreError as error:
                self._note(error.message)
            except Exception:
                log.exception("the keys could not be looked after")
            else:
                self._note("")

    async def close(self) -> None:
        """Write down when keys were used last, if that is possible just now."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._write()
        except (StoreError, TimeoutError) as error:
            log.debug("when keys were used last is not written down: %s", error)

    async def _write(self) -> None:
        self._wrote_at = self.now()
        used, self._used = self._used, {}
        if used:
            try:
                await self.table.used(used)
            except StoreError:
                self._used = used | self._used
                raise

    def _note(self, why: str) -> None:
        before, self._trouble = self._trouble, why
        if why and not before and self._by_id:
            log.warning("keys are as they were: whether one was changed elsewhere is not known: %s", why)
        elif before and not why and self._by_id:
            log.info("the keys are looked after again")
