"""Conversations that clients let the gateway keep: written behind the back of answers, read before a request goes on.

The one place where what people and models wrote is stored. Bounded in number and in bytes: the oldest go first. Whose
key kept an answer alone can see it. Knows no dialect.
"""

import asyncio
import logging
import time
from collections.abc import Generator
from functools import partial

import msgspec

from rolecast.books.store import Query, Row, Step, Store, StoreError, Value
from rolecast.dialects.request import Request
from rolecast.dialects.thread import Kept, Thread
from rolecast.errors import BadRequest, NotFound
from rolecast.turn.gate import LOCAL
from rolecast.values import Chat

log = logging.getLogger("rolecast.memory")

KEPT = 10_000
KEPT_BYTES = 512 * 1000 * 1000
"""So many answers, and so many bytes of them, are kept; older ones are forgotten."""
SLACK = 100
"""One part in so many may be kept beyond that: to look for what is to be forgotten takes longer than to keep one."""
MOST_WAITING = 64 * 1000 * 1000
"""While the database cannot be used, so many bytes wait for it."""
DEEPEST = 1000
LARGEST = 64 * 1000 * 1000
"""So many answers, and so many bytes of them, are one conversation at most."""
CLOSE_S = 5.0

_COLUMNS = "id, previous, asked, answer, stays"
PUT = Query(
    "INSERT INTO responses (id, previous, key, at, size, asked, answer, stays) "
    "VALUES (:id, :previous, :key, :at, :size, :asked, :answer, :stays) ON CONFLICT (id) DO NOTHING"
)
ONE = Query(f"SELECT {_COLUMNS} FROM responses WHERE id = :id AND key = :key")  # noqa: S608  # our names
THREAD = Query(
    "WITH RECURSIVE thread (id, previous, depth, total) AS ("
    "SELECT id, previous, 1, size FROM responses WHERE id = :id AND key = :key "
    "UNION ALL SELECT r.id, r.previous, t.depth + 1, t.total + r.size FROM responses r "
    "JOIN thread t ON r.id = t.previous WHERE r.key = :key AND t.depth < :most AND t.total < :bytes) "
    "SELECT r.id, r.previous, r.asked, r.answer, r.stays FROM thread t JOIN responses r ON r.id = t.id "
    "ORDER BY t.depth DESC"
)
DELETE = Query("DELETE FROM responses WHERE id = :id AND key = :key RETURNING id")
PRUNE = Query(
    "DELETE FROM responses WHERE id IN (SELECT id FROM ("
    "SELECT id, ROW_NUMBER() OVER (ORDER BY at DESC, id) AS place, "
    "SUM(CAST(size AS REAL)) OVER (ORDER BY at DESC, id) AS total FROM responses) ranked "
    "WHERE place > :most OR total > :bytes)"
)


class Memory:
    """What was kept, for all dialects."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, tuple[Kept, str, float]] = {}
        self._writing: asyncio.Task[None] | None = None
        self._trouble = ""
        self._added = (KEPT, KEPT_BYTES)
        """So many answers and bytes were kept since older ones were forgotten; at the start nobody knows."""

    async def whole(self, thread: Thread, key: str) -> tuple[Chat, bool]:
        """The conversation that a request goes on with, and whether it must stay here.

        Raises NotFound for what is not kept, and StoreError.
        """
        before = await self._before(thread.follows, key) if thread.follows else []
        referred = {each: await self.get(each, key, param="input") for each in thread.refers}
        return thread.join(before, referred), any(each.stays for each in (*before, *referred.values()))

    async def recall(self, request: Request, key: str) -> None:
        """Put the conversation that it goes on with into the request, which stays where that does. Raises likewise."""
        assert request.thread is not None
        chat, stays = await self.whole(request.thread, key)
        request.take(chat)
        if stays:
            request.needs |= {LOCAL}
        request.body = msgspec.json.encode(chat.messages)  # for our own count, where a worker reports none

    async def get(self, name: str, key: str, *, param: str | None = None) -> Kept:
        """One answer. Raises NotFound and StoreError."""
        rows = await self._read(ONE, id=name, key=key)
        if not rows:
            raise _absent(name, param)
        return _kept(rows[0])

    async def delete(self, name: str, key: str) -> None:
        """Forget an answer. Raises NotFound and StoreError."""
        await self._settled()
        if not await self._store.transact(partial(_delete, name, key)):
            raise _absent(name, None)

    def keep(self, kept: Kept, key: str) -> None:
        """Keep an answer; returns at once. Who reads from now on sees it."""
        self._waiting[kept.id] = (kept, key, time.time())
        if self._trouble:
            self._drop_oldest()
        self._start()

    async def close(self) -> None:
        """Wait until all is written, a few seconds at most."""
        if self._waiting:
            self._start()
        if (writing := self._writing) is not None:
            await asyncio.wait({writing}, timeout=CLOSE_S)

    async def _before(self, name: str, key: str) -> list[Kept]:
        """The conversation up to that answer, oldest first."""
        param = "previous_response_id"
        bounds = {"most": DEEPEST, "bytes": LARGEST}
        kept = [_kept(row) for row in await self._read(THREAD, id=name, key=key, **bounds)]
        if not kept:
            raise _absent(name, param)
        if kept[0].previous and (len(kept) >= DEEPEST or sum(map(_size, kept)) >= LARGEST):
            most = f"{DEEPEST} answers or {LARGEST // 10**6} MB"
            raise BadRequest(f"The conversation of {name} has more than {most}: begin another one.", param=param)
        if missing := kept[0].previous:
            text = f"{name} goes on from {missing}, which is kept no more: send the whole conversation as `input`."
            raise NotFound(text, param=param, code="previous_response_not_found")
        return kept

    async def _read(self, query: Query, **values: str | int) -> list[Row]:
        await self._settled()
        return await self._store.read(query, **values)

    async def _settled(self) -> None:
        """Once more has been tried to write what waits."""
        if self._waiting:
            self._start()
        if self._writing is not None:
            await asyncio.wait({self._writing})

    def _start(self) -> None:
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, {}
                added = (
                    self._added[0] + len(batch),
                    self._added[1] + sum(_size(kept) for kept, _, _ in batch.values()),
                )
                forget = added[0] > KEPT // SLACK or added[1] > KEPT_BYTES // SLACK
                try:
                    await self._store.transact(partial(_steps, tuple(batch.values()), forget))
                except StoreError as error:
                    self._waiting = batch | self._waiting
                    self._note_trouble(error.message)
                    return
                except Exception as error:  # its words might quote what was to be kept
                    log.error("answers could not be kept: %s: %s", type(error).__name__, ", ".join(batch))
                else:
                    self._added = (0, 0) if forget else added
                    self._note_trouble("")
        finally:
            self._writing = None

    def _drop_oldest(self) -> None:
        excess = sum(_size(kept) for kept, _, _ in self._waiting.values()) - MOST_WAITING
        while excess > 0:
            excess -= _size(self._waiting.pop(next(iter(self._waiting)))[0])

    def _note_trouble(self, why: str) -> None:
        before, self._trouble = self._trouble, why
        if why and not before:
            log.warning("answers that are to be kept wait for the database: %s", why)
        elif before and not why:
            log.info("answers are kept again")


def _kept(row: Row) -> Kept:
    name, previous, asked, answer, stays = row
    return Kept(name, previous, asked, answer, bool(stays))


def _size(kept: Kept) -> int:
    return len(kept.asked) + len(kept.answer)


def _steps(batch: tuple[tuple[Kept, str, float], ...], forget: bool) -> Generator[Step, list[Row], None]:
    for kept, key, at in batch:
        size = _size(kept)
        place: dict[str, Value] = {"id": kept.id, "previous": kept.previous, "key": key, "at": at, "size": size}
        yield Step(PUT, {**place, "asked": kept.asked, "answer": kept.answer, "stays": int(kept.stays)})
    if forget:
        yield Step(PRUNE, {"most": KEPT, "bytes": float(KEPT_BYTES)})


def _delete(name: str, key: str) -> Generator[Step, list[Row], bool]:
    rows = yield Step(DELETE, {"id": name, "key": key})
    return bool(rows)


def _absent(name: str, param: str | None) -> NotFound:
    text = f"There is no response {name[:100]!r}: it was not kept (`store`), or deleted, or was too old."
    code = "previous_response_not_found" if param == "previous_response_id" else "response_not_found"
    return NotFound(text, param=param, code=code)
