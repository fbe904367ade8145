"""Keys in the database: made, changed, revoked, read. Works with and without a gateway beside it.

Every change counts up one number, which gateways look at: who sees it grown reads the rows that changed since.
"""

import asyncio
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial

import msgspec

from rolecast.access.budget import Budget
from rolecast.access.keys import Key, Limits, digest_of, id_of, new_secret
from rolecast.books.store import Query, Row, Step, Store, Value
from rolecast.errors import Conflict, NotFound

_LIMITS = Limits.__struct_fields__
_NAMES = (
    *("id", "name", "digest", "scopes", "models", *_LIMITS),
    *("budget", "budget_window", "created", "expires", "revoked", "used", "changed"),
)
_LATER = ("name", "scopes", "models", *_LIMITS, "budget", "budget_window", "expires", "revoked", "changed")
_ALL = ", ".join(_NAMES)
BUMP = Query("UPDATE keys_version SET number = number + 1 WHERE one = 1 RETURNING number")
VERSION = Query("SELECT number FROM keys_version WHERE one = 1")
COUNT = Query("SELECT count(*) FROM keys")
SINCE = Query(f"SELECT {_ALL} FROM keys WHERE changed > :number ORDER BY changed")  # noqa: S608  # our names
ALL = Query(f"SELECT {_ALL} FROM keys ORDER BY created, id LIMIT :most")  # noqa: S608
ONE = Query(f"SELECT {_ALL} FROM keys WHERE id = :id")  # noqa: S608
CALLED = Query("SELECT id FROM keys WHERE name = :name ORDER BY CASE WHEN revoked IS NULL THEN 0 ELSE 1 END LIMIT 2")
LIVE = Query("SELECT count(*) FROM keys WHERE revoked IS NULL AND (expires IS NULL OR expires > :now)")
PUT = Query(f"INSERT INTO keys ({_ALL}) VALUES ({', '.join(f':{name}' for name in _NAMES)})")  # noqa: S608
SET = Query(f"UPDATE keys SET {', '.join(f'{name} = :{name}' for name in _LATER)} WHERE id = :id")  # noqa: S608
FORGET = Query("DELETE FROM keys WHERE id = :id RETURNING id")
USED = Query("UPDATE keys SET used = :at WHERE id = :id AND (used IS NULL OR used < :at)")
MOST_SHOWN = 100_000

Steps = Generator[Step, list[Row], Key]
Edit = Callable[[Key], Key]
"""What becomes of a key; may raise, and then nothing does."""


class Made(msgspec.Struct, frozen=True):
    """A new key, and its secret, which is told once and kept nowhere."""

    key: Key
    secret: str


class KeyTable:
    """All keys of a database, which is open. Every method raises StoreError."""

    def __init__(self, store: Store, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now

    async def all(self) -> list[Key]:
        """Every key, the oldest first."""
        rows = await self._store.read(ALL, most=MOST_SHOWN)
        return await asyncio.to_thread(keys_of, rows)  # there may be thousands

    async def get(self, name: str) -> Key:
        """The key of that id, or of that name if only one has it. Raises NotFound and Conflict."""
        if rows := await self._store.read(ONE, id=name):
            return _key(rows[0])
        found = await self._store.read(CALLED, name=name)
        if len(found) > 1:
            text = f"Several keys are called {name[:100]!r}; name it by its id, as `rolecast keys list` shows it."
            raise Conflict(text, param="id")
        if not found:
            text = f"There is no key {name[:100]!r}; `rolecast keys list` shows those there are."
            raise NotFound(text, param="id", code="key_not_found")
        return await self.get(found[0][0])

    async def create(self, key: Key) -> Made:
        """Keep this key under a secret, an id and a time of its own."""
        secret = new_secret()
        digest = digest_of(secret.encode())
        made = msgspec.structs.replace(key, id=id_of(digest), digest=digest, created=self._now())
        return Made(await self._store.transact(partial(_insert, made)), secret)

    async def change(self, key_id: str, edit: Edit) -> Key:
        """The key of that id as `edit` makes it. Raises what that does, NotFound, Conflict for one that is revoked."""
        return await self._store.transact(partial(_update, key_id, edit))

    async def revoke(self, key_id: str) -> Key:
        """The key opens nothing from now on; one that is revoked stays as it is. Raises NotFound."""
        at = self._now()
        return await self._store.transact(partial(_revoke, key_id, at))

    async def forget(self, key_id: str) -> Key:
        """Revoke it and leave nothing of it. Raises NotFound."""
        return await self._store.transact(partial(_forget, key_id))

    async def live(self) -> int:
        """How many keys open something now."""
        return int((await self._store.read(LIVE, now=self._now()))[0][0])

    async def version(self) -> int:
        """The number that grows with every change."""
        rows = await self._store.read(VERSION)
        return int(rows[0][0]) if rows else 0

    async def count(self) -> int:
        """How many keys there are, whatever became of them."""
        return int((await self._store.read(COUNT))[0][0])

    async def rows_since(self, number: int) -> list[Row]:
        """What changed after that number, for `keys_of`."""
        return await self._store.read(SINCE, number=number)

    async def used(self, at: Mapping[str, float]) -> None:
        """Note when keys were shown last, by their ids."""
        await self._store.transact(partial(_note, at))


def keys_of(rows: Sequence[Row]) -> list[Key]:
    """Rows as keys."""
    return [_key(row) for row in rows]


def _bump() -> Generator[Step, list[Row], int]:
    ((number,),) = yield Step(BUMP, {})
    return int(number)


def _insert(key: Key) -> Steps:
    yield Step(PUT, _values(key, (yield from _bump())))
    return key


def _update(key_id: str, edit: Edit) -> Steps:
    key = yield from _found(key_id)
    if key.revoked is not None:
        raise Conflict(f"The key {key.name or key.id!r} is revoked and stays so; make another one.", param="id")
    changed = edit(key)
    if changed != key:
        yield Step(SET, _values(changed, (yield from _bump()), _LATER) | {"id": key_id})
    return changed


def _revoke(key_id: str, at: float) -> Steps:
    key = yield from _found(key_id)
    if key.revoked is not None:
        return key
    revoked = msgspec.structs.replace(key, revoked=at)
    yield Step(SET, _values(revoked, (yield from _bump()), _LATER) | {"id": key_id})
    return revoked


def _forget(key_id: str) -> Steps:
    key = yield from _found(key_id)
    yield Step(FORGET, {"id": key_id})
    yield from _bump()
    return key


def _found(key_id: str) -> Steps:
    rows = yield Step(ONE, {"id": key_id})
    if not rows:
        text = f"There is no key {key_id[:100]!r}; `rolecast keys list` shows those there are."
        raise NotFound(text, param="id", code="key_not_found")
    return _key(rows[0])


def _note(at: Mapping[str, float]) -> Generator[Step, list[Row], None]:
    for key_id, moment in at.items():
        yield Step(USED, {"id": key_id, "at": moment})


def _values(key: Key, number: int, names: Sequence[str] = _NAMES) -> dict[str, Value]:
    limits = {name: getattr(key.limits, name) for name in _LIMITS}
    values: dict[str, Value] = {
        **{name: getattr(key, name) for name in ("id", "name", "digest", "created", "expires", "revoked", "used")},
        **limits,
        "scopes": " ".join(key.scopes),
        "models": msgspec.json.encode(key.models).decode(),
        "budget": key.budget.amount if key.budget is not None else None,
        "budget_window": key.budget.window if key.budget is not None else "total",
        "changed": number,
    }
    return {name: values[name] for name in names}


def _key(row: Row) -> Key:
    told = dict(zip(_NAMES, row, strict=True))
    budget = None if told["budget"] is None else Budget(told["budget"], told["budget_window"])
    return msgspec.convert(
        {name: told[name] for name in ("id", "name", "created", "expires", "revoked", "used")}
        | {
            "digest": bytes(told["digest"]),
            "scopes": tuple(told["scopes"].split()),
            "models": msgspec.json.decode(told["models"], type=tuple[str, ...]),
            "limits": Limits(**{name: told[name] for name in _LIMITS}),
            "budget": budget,
        },
        Key,
    )
