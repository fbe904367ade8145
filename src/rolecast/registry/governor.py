"""How full the contexts of agents are, by what they say, and what they should do about it.

`judged` is the rule; the rest keeps what was said, one row for each agent, so that it survives a restart. Several
gateways on one database share the agents.
"""

from collections.abc import Generator
from typing import Literal
from uuid import uuid4

import msgspec

from rolecast.books.store import Query, Row, Step, Store, structs
from rolecast.errors import NotFound

TARGET, HARD_MAX = 0.5, 0.75
"""Shares of a context, where nothing else is said."""
MOST_AGENTS, MOST_SUMMARIES = 10_000, 1000
"""More are forgotten, the oldest first."""

Status = Literal["ok", "warning", "breach"]
Action = Literal["monitor_closely", "save_state_clear_resume"]


class Judgement(msgspec.Struct, frozen=True):
    """How full a context is, and what to do."""

    ratio: float
    status: Status
    action: Action | None


def judged(used: int, size: int, target: float = TARGET, hard_max: float = HARD_MAX) -> Judgement:
    """From `hard_max` on it is a breach, from `target` on a warning."""
    ratio = used / size
    if ratio >= hard_max:
        return Judgement(ratio, "breach", "save_state_clear_resume")
    if ratio >= target:
        return Judgement(ratio, "warning", "monitor_closely")
    return Judgement(ratio, "ok", None)


class Context(msgspec.Struct, frozen=True):
    """What an agent said last of its context, in tokens."""

    agent: str
    run: str
    used: int
    size: int
    target: float
    hard_max: float
    at: float
    """In seconds since 1970."""

    @property
    def judgement(self) -> Judgement:
        return judged(self.used, self.size, self.target, self.hard_max)


class Summary(msgspec.Struct, frozen=True):
    """A context that was summed up and given up."""

    id: str
    agent: str
    run: str
    why: str
    before: int
    """Tokens it had."""
    place: str
    """The file of the summary."""
    at: float


_CONTEXT = "agent, run, used, size, target, hard_max, at"
_SUMMARY = "id, agent, run, why, before, place, at"
PUT = Query(
    f"INSERT INTO agent_contexts ({_CONTEXT}) VALUES (:agent, :run, :used, :size, :target, :hard_max, :at) "  # noqa: S608  # our names
    "ON CONFLICT (agent) DO UPDATE SET run = excluded.run, used = excluded.used, size = excluded.size, "
    "target = excluded.target, hard_max = excluded.hard_max, at = excluded.at"
)
ONE = Query(f"SELECT {_CONTEXT} FROM agent_contexts WHERE agent = :agent")  # noqa: S608  # our names
ALL = Query(f"SELECT {_CONTEXT} FROM agent_contexts ORDER BY at DESC, agent LIMIT :most")  # noqa: S608  # our names
COUNT = Query("SELECT count(*) FROM agent_contexts")
FORGET = Query(
    "DELETE FROM agent_contexts WHERE agent NOT IN (SELECT agent FROM agent_contexts ORDER BY at DESC LIMIT :most)"
)
EMPTY = Query("UPDATE agent_contexts SET used = 0, at = :at WHERE agent = :agent")
SUMMED_UP = Query(
    f"INSERT INTO agent_summaries ({_SUMMARY}) VALUES (:id, :agent, :run, :why, :before, :place, :at)"  # noqa: S608  # our names
)
SUMMARIES = Query(f"SELECT {_SUMMARY} FROM agent_summaries ORDER BY at DESC, id LIMIT :most")  # noqa: S608  # our names
SUMMARIES_OF = Query(
    f"SELECT {_SUMMARY} FROM agent_summaries WHERE agent = :agent ORDER BY at DESC, id LIMIT :most"  # noqa: S608  # our names
)
SUMMARY_COUNT = Query("SELECT count(*) FROM agent_summaries")
FORGET_SUMMARIES = Query(
    "DELETE FROM agent_summaries WHERE id NOT IN (SELECT id FROM agent_summaries ORDER BY at DESC LIMIT :most) "
    "RETURNING place"
)


class Governor:
    """What agents say, kept. Every method raises StoreError while the database cannot be used."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def track(self, context: Context) -> Judgement:
        """An agent says how full its context is."""

        def work() -> Generator[Step, list[Row], None]:
            yield Step(PUT, msgspec.structs.asdict(context))
            ((count,),) = yield Step(COUNT, {})
            if count > MOST_AGENTS:
                yield Step(FORGET, {"most": MOST_AGENTS})

        await self._store.transact(work)
        return context.judgement

    async def context(self, agent: str) -> Context:
        """What that agent said last. Raises NotFound."""
        found = structs(Context, await self._store.read(ONE, agent=agent))
        if not found:
            raise _unknown(agent)
        return found[0]

    async def contexts(self, agent: str | None = None) -> list[Context]:
        """Of all, or of one; the newest first."""
        if agent is not None:
            return structs(Context, await self._store.read(ONE, agent=agent))
        return structs(Context, await self._store.read(ALL, most=MOST_AGENTS))

    async def clear(self, agent: str, now: float) -> Context:
        """Its context is empty again; what it was before. Raises NotFound."""

        def work() -> Generator[Step, list[Row], list[Row]]:
            before = yield Step(ONE, {"agent": agent})
            yield Step(EMPTY, {"agent": agent, "at": now})
            return before

        found = structs(Context, await self._store.transact(work))
        if not found:
            raise _unknown(agent)
        return found[0]

    async def summed_up(self, agent: str, run: str, why: str, place: str, now: float) -> tuple[Summary, list[str]]:
        """Its state is kept at `place`, and its context is empty again.

        Also the files of summaries that are too old to be listed. Raises NotFound.
        """
        number = str(uuid4())

        def work() -> Generator[Step, list[Row], tuple[int | None, list[str]]]:
            rows = yield Step(ONE, {"agent": agent})
            if not rows:
                return None, []
            before = structs(Context, rows)[0].used
            made = Summary(number, agent, run, why, before, place, now)
            yield Step(SUMMED_UP, msgspec.structs.asdict(made))
            yield Step(EMPTY, {"agent": agent, "at": now})
            ((count,),) = yield Step(SUMMARY_COUNT, {})
            old = (yield Step(FORGET_SUMMARIES, {"most": MOST_SUMMARIES})) if count > MOST_SUMMARIES else []
            return before, [path for (path,) in old]

        before, old = await self._store.transact(work)
        if before is None:
            raise _unknown(agent)
        return Summary(number, agent, run, why, before, place, now), old

    async def summaries(self, agent: str | None, most: int) -> list[Summary]:
        """The newest first."""
        most = min(most, MOST_SUMMARIES)
        if agent is None:
            return structs(Summary, await self._store.read(SUMMARIES, most=most))
        return structs(Summary, await self._store.read(SUMMARIES_OF, agent=agent, most=most))

    async def summary_count(self) -> int:
        """How many are kept."""
        ((count,),) = await self._store.read(SUMMARY_COUNT)
        return int(count)


def _unknown(agent: str) -> NotFound:
    text = f"No agent {agent[:200]!r} has said how full its context is; POST /track does."
    return NotFound(text, param="agent", code="agent_not_found")
