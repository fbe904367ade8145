"""Sessions as they are kept: who speaks in one, its turns, and a summary of those that no longer fit.

Knows the tables; decides nothing. Ids are any text.
"""

from collections.abc import Generator, Sequence
from functools import partial

import msgspec

from rolecast.books.store import Query, Row, Step, Store, Value, change

LOADED_BYTES = 8 * 1000 * 1000
"""So many bytes of the newest turns are read for a request: more than a context holds."""

KNOWN = Query("SELECT key, id, used FROM sessions ORDER BY used")
_HEAD = "id, began, used, persona, system, summary, summarized, last"
_STAYS = (
    "CASE WHEN stays <> 0 OR EXISTS (SELECT 1 FROM session_turns t WHERE t.key = :key AND t.session = :id "
    "AND t.number > sessions.summarized AND t.stays <> 0) THEN 1 ELSE 0 END"
)
HEAD = Query(f"SELECT {_HEAD}, {_STAYS} FROM sessions WHERE key = :key AND id = :id")  # noqa: S608  # our names
_TURN = "number, at, asked, answer, model, tokens, counted"
NEWEST = Query(
    f"SELECT {_TURN} FROM (SELECT {_TURN}, SUM(CAST(size AS REAL)) OVER (ORDER BY number DESC) AS total "  # noqa: S608  # our names
    "FROM session_turns WHERE key = :key AND session = :id AND number > :after) sized "
    "WHERE total <= :bytes ORDER BY number"
)
PAGE = Query(
    f"SELECT {_TURN} FROM session_turns WHERE key = :key AND session = :id AND number > :after "  # noqa: S608  # our names
    "ORDER BY number LIMIT :most"
)
COUNTS = Query(
    "SELECT COUNT(*), COALESCE(SUM(tokens), 0), COALESCE(SUM(size), 0) FROM session_turns "
    "WHERE key = :key AND session = :id"
)
BEGIN = Query(
    "INSERT INTO sessions (key, id, began, used, persona, system, summary, summarized, last) "
    "VALUES (:key, :id, :at, :at, :persona, :system, :none, 0, 0) ON CONFLICT (key, id) DO NOTHING RETURNING last"
)
NEXT = Query(
    "INSERT INTO sessions (key, id, began, used, persona, system, summary, summarized, last) "
    "VALUES (:key, :id, :at, :at, '', :none, :none, 0, 1) "
    "ON CONFLICT (key, id) DO UPDATE SET used = excluded.used, last = sessions.last + 1 RETURNING last"
)
PUT = Query(
    "INSERT INTO session_turns (key, session, number, at, asked, answer, size, model, tokens, counted, stays) "
    "VALUES (:key, :id, :number, :at, :asked, :answer, :size, :model, :tokens, '', :stays)"
)
COUNTED = Query(
    "UPDATE session_turns SET tokens = :tokens, counted = :counted WHERE key = :key AND session = :id "
    "AND number = :number"
)
OLDER = Query("DELETE FROM session_turns WHERE key = :key AND session = :id AND number <= :last")
SUMMARY = Query(
    "UPDATE sessions SET summary = :summary, summarized = :upto, stays = :stays "
    "WHERE key = :key AND id = :id AND summarized < :upto "
    "AND EXISTS (SELECT 1 FROM session_turns WHERE key = :key AND session = :id AND number = :upto)"
)
EMPTY = Query(
    "UPDATE sessions SET summary = :none, summarized = last, stays = 0 WHERE key = :key AND id = :id RETURNING last"
)
BACK = Query(
    "UPDATE sessions SET summary = CASE WHEN summarized > :after THEN :none ELSE summary END, "
    "stays = CASE WHEN summarized > :after THEN 0 ELSE stays END, "
    "summarized = CASE WHEN summarized > :after THEN 0 ELSE summarized END "
    "WHERE key = :key AND id = :id RETURNING last"
)
LATER = Query("DELETE FROM session_turns WHERE key = :key AND session = :id AND number > :after")
FORGET = Query("DELETE FROM sessions WHERE key = :key AND id = :id RETURNING last")
TURNS = Query("DELETE FROM session_turns WHERE key = :key AND session = :id")
_OLD = (
    "(SELECT key, id FROM (SELECT key, id, used, ROW_NUMBER() OVER (PARTITION BY key ORDER BY used DESC, id) AS place "
    "FROM sessions) ranked WHERE used < :before OR place > :most)"
)
OLD_TURNS = Query(f"DELETE FROM session_turns WHERE (key, session) IN {_OLD}")  # noqa: S608  # our names
OLD = Query(f"DELETE FROM sessions WHERE (key, id) IN {_OLD} RETURNING key, id")  # noqa: S608  # our names


class Head(msgspec.Struct, frozen=True):
    """A session without its turns. Times in seconds since 1970."""

    id: str
    began: float = 0.0
    used: float = 0.0
    persona: str = ""
    """The persona that speaks in it; '' = the usual one."""
    system: str = ""
    """Its own system prompt."""
    summary: str = ""
    """What was said in the turns up to `summarized`, where they no longer fit."""
    summarized: int = 0
    last: int = 0
    """The number of its last turn; 0 = there was none."""
    stays: bool = False
    """A turn that may be told again, or the summary, is of what was said under `local-only`."""


class Turn(msgspec.Struct, frozen=True):
    """What was asked and what was answered. `tokens` counts both, as `counted` has them; '' = estimated."""

    number: int
    at: float
    asked: str
    answer: str
    model: str = ""
    tokens: int = 0
    counted: str = ""


class Counts(msgspec.Struct, frozen=True):
    """How much of a session is kept."""

    turns: int
    tokens: int
    bytes: int


class New(msgspec.Struct, frozen=True):
    """A turn that is to be kept."""

    key: str
    id: str
    at: float
    asked: str
    answer: str
    model: str
    tokens: int
    stays: bool = False
    """It was said under `local-only`."""

    @property
    def size(self) -> int:
        """Bytes of its words."""
        return len(_bytes(self.asked)) + len(_bytes(self.answer))


async def known(store: Store) -> list[tuple[str, str, float]]:
    """Key, id and last use of all sessions, the one that was used last at the end. Raises StoreError."""
    return [(key, _text(name), used) for key, name, used in await store.read(KNOWN)]


async def head(store: Store, key: str, name: str) -> Head | None:
    """A session; None = there is none. Raises StoreError."""
    rows = await store.read(HEAD, key=key, id=_bytes(name))
    if not rows:
        return None
    _, began, used, persona, system, summary, summarized, last, stays = rows[0]
    return Head(name, began, used, persona, _text(system), _text(summary), summarized, last, bool(stays))


async def newest(store: Store, key: str, name: str, after: int) -> list[Turn]:
    """The newest turns behind that number, oldest first. Raises StoreError."""
    found = await store.read(NEWEST, key=key, id=_bytes(name), after=after, bytes=float(LOADED_BYTES))
    return [_turn(row) for row in found]


async def page(store: Store, key: str, name: str, after: int, most: int) -> list[Turn]:
    """So many turns behind that number, oldest first. Raises StoreError."""
    return [_turn(row) for row in await store.read(PAGE, key=key, id=_bytes(name), after=after, most=most)]


async def counts(store: Store, key: str, name: str) -> Counts:
    """How much of it is kept. Raises StoreError."""
    ((turns, tokens, size),) = await store.read(COUNTS, key=key, id=_bytes(name))
    return Counts(turns, int(tokens), int(size))


async def begin(store: Store, key: str, name: str, at: float, persona: str, system: str) -> bool:
    """Begin one; False = it is there already. Raises StoreError."""
    place, told = _place(key, name), _bytes(system)
    return bool(await change(store, BEGIN, **place, at=at, persona=persona, system=told, none=b""))


async def keep(store: Store, turns: Sequence[New], most: int) -> list[int]:
    """Add turns to their sessions, of which each keeps the newest `most`; their numbers. Raises StoreError."""
    return await store.transact(partial(_keep, tuple(turns), most))


async def counted(store: Store, key: str, name: str, number: int, tokens: int, by: str) -> None:
    """Note how many tokens a turn has for a model. Raises StoreError."""
    await change(store, COUNTED, key=key, id=_bytes(name), number=number, tokens=tokens, counted=by)


async def summarize(store: Store, key: str, name: str, summary: str, upto: int, *, stays: bool = False) -> None:
    """Keep the summary of the turns up to that one, unless they were deleted meanwhile. Raises StoreError."""
    told: dict[str, Value] = {"summary": _bytes(summary), "upto": upto, "stays": int(stays)}
    await change(store, SUMMARY, key=key, id=_bytes(name), **told)


async def clear(store: Store, key: str, name: str, after: int = 0) -> bool:
    """Delete its turns behind that number and a summary of any of them; whether there was such a session.

    Raises StoreError.
    """
    if after:
        return await store.transact(partial(_back, key, name, after))
    return await store.transact(partial(_delete, EMPTY, key, name))


async def forget(store: Store, key: str, name: str) -> bool:
    """Delete it with all its turns; whether it was there. Raises StoreError."""
    return await store.transact(partial(_delete, FORGET, key, name))


async def prune(store: Store, before: float, most: int) -> list[tuple[str, str]]:
    """Delete those that were not used since then, and of each key all but the `most` used last; which these were."""
    return await store.transact(partial(_prune, before, most))


def _keep(turns: tuple[New, ...], most: int) -> Generator[Step, list[Row], list[int]]:
    numbers: list[int] = []
    for turn in turns:
        place = _place(turn.key, turn.id)
        ((number,),) = yield Step(NEXT, {**place, "at": turn.at, "none": b""})
        words: dict[str, Value] = {"asked": _bytes(turn.asked), "answer": _bytes(turn.answer), "size": turn.size}
        more: dict[str, Value] = {"number": number, "at": turn.at, "model": turn.model, "tokens": turn.tokens}
        more["stays"] = int(turn.stays)
        yield Step(PUT, {**place, **words, **more})
        if number > most:
            yield Step(OLDER, {**place, "last": number - most})
        numbers.append(number)
    return numbers


def _delete(query: Query, key: str, name: str) -> Generator[Step, list[Row], bool]:
    values = _place(key, name)
    rows = yield Step(query, {**values, "none": b""} if query is EMPTY else values)
    yield Step(TURNS, values)
    return bool(rows)


def _back(key: str, name: str, after: int) -> Generator[Step, list[Row], bool]:
    values: dict[str, Value] = {**_place(key, name), "after": after}
    rows = yield Step(BACK, {**values, "none": b""})
    yield Step(LATER, values)
    return bool(rows)


def _prune(before: float, most: int) -> Generator[Step, list[Row], list[tuple[str, str]]]:
    values: dict[str, Value] = {"before": before, "most": most}
    yield Step(OLD_TURNS, values)
    rows = yield Step(OLD, values)
    return [(key, _text(name)) for key, name in rows]


def _place(key: str, name: str) -> dict[str, Value]:
    return {"key": key, "id": _bytes(name)}


def _turn(row: Row) -> Turn:
    number, at, asked, answer, model, tokens, by = row
    return Turn(number, at, _text(asked), _text(answer), model, tokens, by)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(raw: bytes) -> str:
    return bytes(raw).decode("utf-8", "surrogatepass")
