"""Jobs in the database: read once at the start, written whenever one changes its state.

Writing happens behind the back of the jobs, newest state only: while the database cannot be used they run all the
same, and their rows are written when it can.
"""

import asyncio
import logging
from collections.abc import Generator
from functools import partial

import msgspec

from rolecast.books.store import Query, Row, Step, Store, StoreError, structs
from rolecast.jobs.job import Job, Order

log = logging.getLogger("rolecast.jobs")

KEPT = 200
"""So many jobs that are over are kept; older ones are forgotten."""
RETRY_S = 1.0
CLOSE_S = 5.0


class Kept(msgspec.Struct, frozen=True):
    """A row of the table."""

    id: str
    place: str
    kind: str
    subject: str
    key: str
    state: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    attempts: int
    step: str
    done: int
    total: int
    unit: str
    error: str
    result: str


_NAMES = Kept.__struct_fields__
_LATER = ("state", "started_at", "ended_at", "attempts", "step", "done", "total", "unit", "error", "result")
PUT = Query(
    f"INSERT INTO jobs ({', '.join(_NAMES)}) VALUES ({', '.join(f':{n}' for n in _NAMES)}) "  # noqa: S608  # our names
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{n} = excluded.{n}' for n in _LATER)}"
)
NEWEST = Query(
    f"SELECT {', '.join(_NAMES)} FROM jobs WHERE place = :place "  # noqa: S608  # our names
    "ORDER BY CASE WHEN ended_at IS NULL THEN 0 ELSE 1 END, created_at DESC LIMIT :most"
)
PRUNE = Query(
    "DELETE FROM jobs WHERE place = :place AND ended_at IS NOT NULL AND id NOT IN "
    "(SELECT id FROM jobs WHERE place = :place AND ended_at IS NOT NULL ORDER BY created_at DESC LIMIT :most)"
)


class Rows:
    """The rows of one gateway."""

    def __init__(self, store: Store, place: str) -> None:
        self._store = store
        self._place = place
        self._waiting: dict[str, Kept] = {}
        self._writing: asyncio.Task[None] | None = None
        self._trouble = ""

    async def newest(self) -> list[tuple[Job, Order]]:
        """Those not over, then the newest that are; none while the database cannot be used."""
        try:
            rows = structs(Kept, await self._store.read(NEWEST, place=self._place, most=2 * KEPT))
        except StoreError as error:
            log.warning("what jobs there were is not known: %s", error.message)
            return []
        return [(_job(row), Order(row.subject, row.key)) for row in rows]

    def write(self, job: Job, order: Order) -> None:
        """Keep the job as it is now; returns at once."""
        self._waiting[job.id] = _row(job, order, self._place)
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def close(self) -> None:
        """Wait until all is written, a few seconds at most."""
        if (writing := self._writing) is not None:
            await asyncio.wait({writing}, timeout=CLOSE_S)
            writing.cancel()

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, {}
            try:
                await self._store.transact(partial(_steps, tuple(batch.values()), self._place))
            except StoreError as error:
                self._waiting = batch | self._waiting
                self._note_trouble(error.message)
                await asyncio.sleep(RETRY_S)
            except Exception:
                log.exception("these jobs could not be written down: %s", ", ".join(batch))
            else:
                self._note_trouble("")
        self._writing = None

    def _note_trouble(self, why: str) -> None:
        before, self._trouble = self._trouble, why
        if why and not before:
            log.warning("jobs go on, but would be forgotten if the gateway ended now: %s", why)
        elif before and not why:
            log.info("jobs are written down again")


def _steps(rows: tuple[Kept, ...], place: str) -> Generator[Step, list[Row], None]:
    for row in rows:
        yield Step(PUT, msgspec.structs.asdict(row))
    yield Step(PRUNE, {"place": place, "most": KEPT})


def _row(job: Job, order: Order, place: str) -> Kept:
    fields = {name: getattr(job, name) for name in Job.__struct_fields__ if name != "progress"}
    told = {name: storable(getattr(job.progress, name)) for name in ("step", "unit")}
    counts = {name: max(0, min(getattr(job.progress, name), 2**63 - 1)) for name in ("done", "total")}
    texts = {name: storable(fields[name]) for name in ("error", "result")}
    return Kept(**{**fields, **texts, **told, **counts}, place=place, key=order.key)


def _job(row: Kept) -> Job:
    fields = {name: getattr(row, name) for name in Job.__struct_fields__ if name != "progress"}
    return msgspec.convert(
        {**fields, "progress": {"step": row.step, "done": row.done, "total": row.total, "unit": row.unit}}, Job
    )


def storable(text: str) -> str:
    """Text as every database keeps it: messages may quote names of files, which are any bytes."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
