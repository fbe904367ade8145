"""All jobs of a gateway: the one owner of their state. Starts, queues, tells, cancels and remembers them.

Everything runs on the event loop's thread, so nothing is locked. Knows nothing of any one kind.
"""

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path

import msgspec

from rolecast.books.store import Store
from rolecast.config import paths
from rolecast.config.edit import Change, Edit
from rolecast.errors import Internal, Invalid, RolecastError, ShuttingDown
from rolecast.jobs import logs
from rolecast.jobs.job import Attempt, Failed, Job, JobNotFound, Kind, Order, Progress, State
from rolecast.jobs.rows import KEPT, Rows, storable
from rolecast.telemetry.events import Tell, unheard

log = logging.getLogger("rolecast.jobs")

EVERY_S = 0.2
"""A follower is told at most so often."""


class _Entry:
    """One job with what this gateway does for it."""

    def __init__(self, job: Job, order: Order) -> None:
        self.job = job
        self.order = order
        self.task: asyncio.Task[str] | None = None
        self.ends_as: State | None = None
        """Set when it was told to end, which must be said once only: its child tidies up."""
        self.why = ""
        """Why it was told to end, when nobody asked for that."""
        self.changed = asyncio.Event()
        self.over = asyncio.Event()

    def show(self, job: Job) -> None:
        self.job = job
        self.changed.set()
        self.changed = asyncio.Event()
        if job.is_over:
            self.over.set()


class Jobs:
    """Long work, supervised. `kinds` is what can be done here, `folder` where the logs of jobs are."""

    def __init__(self, store: Store, kinds: Mapping[str, Kind], folder: Path) -> None:
        self._rows = Rows(store, f"{socket.gethostname()}:{paths.home()}")
        self._kinds = kinds
        self._folder = folder
        self._entries: dict[str, _Entry] = {}
        """By id, oldest first."""
        self._is_closing = False
        self.tell: Tell = unheard
        """Called with each new state of a job."""

    # -- life -------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Remember the jobs of before, and go on with those that the end of the last gateway broke off."""
        for job, order in reversed(await self._rows.newest()):
            entry = self._entries[job.id] = _Entry(job, order)
            if job.ended_at is None:
                self._take_up(entry)
            else:
                entry.over.set()
        await asyncio.to_thread(logs.prune, self._folder, 2 * len(self._entries) + KEPT)
        self._advance()

    async def prepare(self, edit: Edit) -> Change:
        """Nothing to refuse: what makes no sense with the edit is cancelled, once all have taken it over."""

        def commit() -> None:
            asyncio.get_running_loop().call_soon(self._look_again)

        return Change(commit)

    def _look_again(self) -> None:
        for entry in self._active():
            if why := self._kinds[entry.job.kind].obstacle(entry.order):
                self._end(entry, "cancelled", why)

    async def close(self) -> None:
        """Stop what runs; the next gateway takes it up. Ends all following."""
        self._is_closing = True
        for entry in self._active():
            self._end(entry, "interrupted")
        if tasks := [entry.task for entry in self._entries.values() if entry.task and not entry.task.done()]:
            await asyncio.wait(tasks)
        await self._rows.close()

    # -- what others ask --------------------------------------------------------------------------------------

    def start(self, kind: str, subject: str) -> tuple[Job, bool]:
        """A job of that kind for that subject, and whether it is new: one that does the same already is given instead.

        Raises what the kind has against the subject, Invalid for an unknown kind, and ShuttingDown.
        """
        if kind not in self._kinds:
            raise Invalid(f"There is no kind of job {kind[:50]!r}; there is {', '.join(self._kinds)}.", param="kind")
        if self._is_closing:
            raise ShuttingDown
        order = self._kinds[kind].order(subject)
        for entry in self._active():
            if (entry.job.kind, entry.order.key) == (kind, order.key) and entry.ends_as is None:
                return entry.job, False
        job = Job(f"job_{secrets.token_hex(4)}", kind, order.subject, "queued", Progress(), created_at=time.time())
        entry = self._entries[job.id] = _Entry(job, order)
        self._change(entry, "queued")
        self._advance()
        self._forget_old()
        return entry.job, True

    def all(self) -> list[Job]:
        """Those not over, then those that are; the newest first."""
        jobs = [entry.job for entry in reversed(self._entries.values())]
        return sorted(jobs, key=lambda job: job.is_over)

    def newest(self) -> list[Job]:
        """The newest job of each kind for each subject, over or not."""
        return list({(entry.job.kind, entry.job.subject): entry.job for entry in self._entries.values()}.values())

    def get(self, job_id: str) -> Job:
        """The job of that id. Raises JobNotFound."""
        return self._entry(job_id).job

    async def cancel(self, job_id: str) -> Job:
        """End it, wait until nothing of it runs, and give how it ended; one that was over stays as it was.

        Raises JobNotFound.
        """
        entry = self._entry(job_id)
        self._end(entry, "cancelled")
        await entry.over.wait()
        return entry.job

    async def follow(self, job_id: str) -> AsyncIterator[Job]:
        """The job as it is now, then after each change, though not faster than somebody reads; ends with the job.

        Raises JobNotFound.
        """
        entry = self._entry(job_id)
        while True:
            changed, job = entry.changed, entry.job
            yield job
            if job.is_over:
                return
            await changed.wait()
            try:
                await asyncio.wait_for(entry.over.wait(), EVERY_S)
            except TimeoutError:
                pass

    async def log(self, job_id: str, lines: int) -> list[str]:
        """The last lines that it printed, oldest first. Raises JobNotFound."""
        self._entry(job_id)
        return await asyncio.to_thread(logs.tail, logs.place(self._folder, job_id), lines)

    # -- one job ----------------------------------------------------------------------------------------------

    def _entry(self, job_id: str) -> _Entry:
        if (entry := self._entries.get(job_id)) is None:
            raise JobNotFound(f"There is no job {job_id[:50]!r} (any more); `rolecast jobs` lists those there are.")
        return entry

    def _active(self) -> list[_Entry]:
        return [entry for entry in self._entries.values() if not entry.job.is_over]

    def _take_up(self, entry: _Entry) -> None:
        """A job that was not over when the last gateway ended."""
        job, kind = entry.job, self._kinds.get(entry.job.kind)
        did = "ran" if job.attempts else "waited"
        if kind is None or not kind.resumes:
            self._change(entry, "interrupted", error=f"The gateway ended while it {did}; start it again.")
        elif why := kind.obstacle(entry.order):
            self._change(entry, "interrupted", error=why)
        else:
            log.info("%s of %s goes on: the gateway ended while it %s", job.kind, job.subject, did)
            self._change(entry, "queued")

    def _advance(self) -> None:
        """Begin what may begin."""
        active = self._active()
        for name, kind in self._kinds.items():
            of_kind = [entry for entry in active if entry.job.kind == name]
            free = kind.at_once - sum(entry.task is not None for entry in of_kind)
            for entry in [entry for entry in of_kind if entry.task is None][: max(0, free)]:
                self._begin(entry, kind)

    def _begin(self, entry: _Entry, kind: Kind) -> None:
        self._change(entry, "running")
        job = entry.job
        attempt = Attempt(job.id, partial(self._report, entry), logs.place(self._folder, job.id))
        entry.task = asyncio.get_running_loop().create_task(kind.run(entry.order, attempt))
        entry.task.add_done_callback(partial(self._ended, entry))
        log.info("%s of %s begins (%s)", job.kind, job.subject, job.id)

    def _report(self, entry: _Entry, progress: Progress) -> None:
        if not entry.job.is_over and progress != entry.job.progress:
            entry.show(msgspec.structs.replace(entry.job, progress=progress))

    def _end(self, entry: _Entry, state: State, why: str = "") -> None:
        """Let it end in that state, unless it does already; `why` is told when nobody asked for it by name."""
        if entry.job.is_over or entry.ends_as is not None:
            return
        entry.ends_as, entry.why = state, why
        if entry.task is None:
            self._change(entry, state, error=why)
        else:
            entry.task.cancel()

    def _ended(self, entry: _Entry, task: "asyncio.Task[str]") -> None:
        """What ran is over, and with it all its processes."""
        if task.cancelled():
            self._change(entry, entry.ends_as or "cancelled", error=entry.why)
        elif (error := task.exception()) is None:
            self._change(entry, "done", result=task.result())
        elif isinstance(error, Failed | RolecastError):
            self._change(entry, "failed", error=str(error))
        else:
            log.error("%s failed", entry.job.id, exc_info=error)
            self._change(entry, "failed", error=Internal().message)
        job = entry.job
        log.info("%s of %s: %s%s", job.kind, job.subject, job.state, f"; {job.error}" if job.error else "")
        if not self._is_closing:
            self._advance()
            self._forget_old()

    def _change(self, entry: _Entry, state: State, *, error: str = "", result: str = "") -> None:
        """Another state, told and written down."""
        job, now = entry.job, time.time()
        begins = state == "running"
        waits = state in ("queued", "running") or (state == "interrupted" and self._is_closing)
        entry.show(
            msgspec.structs.replace(
                job,
                state=state,
                attempts=job.attempts + begins,
                started_at=now if begins and job.started_at is None else job.started_at,
                ended_at=None if waits else now,
                error=storable(error),
                result=storable(result),
            )
        )
        self._rows.write(entry.job, entry.order)
        told = {"id": job.id, "kind": job.kind, "subject": job.subject, "error": entry.job.error}
        self.tell(f"job_{state}", told)

    def _forget_old(self) -> None:
        over = [job_id for job_id, entry in self._entries.items() if entry.job.is_over]
        if old := over[:-KEPT]:
            for job_id in old:
                del self._entries[job_id]
            asyncio.get_running_loop().run_in_executor(None, logs.remove, self._folder, old)
