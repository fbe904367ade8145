"""The owner of jobs: queue, progress, cancelling, what is remembered; with jobs that do what a test says."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from databases import OpenStore, database, postgres
from gateway import until

from rolecast.books.store import Query, StoreError, change
from rolecast.config.edit import edit_to
from rolecast.config.schema import Config
from rolecast.errors import Invalid, NotFound, ShuttingDown
from rolecast.jobs import logs, rows
from rolecast.jobs.job import Attempt, Failed, Job, JobNotFound, Order, Progress
from rolecast.jobs.notes import LINE_BYTES, Reports
from rolecast.jobs.owner import Jobs

__all__ = ["database", "postgres"]  # fixtures

pytestmark = pytest.mark.anyio


class Errand:
    """A kind of job that waits for the test. `gone` are the subjects that make no sense any more."""

    at_once = 2

    def __init__(self, *, resumes: bool = True) -> None:
        self.resumes = resumes
        self.gone: set[str] = set()
        self.running: dict[str, Attempt] = {}
        self.begun: list[str] = []
        self.left: list[str] = []
        self.results: dict[str, asyncio.Future[str]] = {}

    def order(self, subject: str) -> Order:
        if subject in self.gone:
            raise NotFound(f"There is no {subject}.")
        return Order(subject, subject.lower())

    def obstacle(self, order: Order) -> str:
        return f"There is no {order.subject} any more." if order.subject in self.gone else ""

    async def run(self, order: Order, attempt: Attempt) -> str:
        self.begun.append(order.subject)
        self.running[order.subject] = attempt
        self.results[order.subject] = asyncio.get_running_loop().create_future()
        try:
            return await self.results[order.subject]
        finally:
            del self.running[order.subject]
            self.left.append(order.subject)

    def end(self, subject: str, result: str | Exception) -> None:
        future = self.results[subject]
        future.set_exception(result) if isinstance(result, Exception) else future.set_result(result)


Opened = Callable[..., contextlib.AbstractAsyncContextManager[Jobs]]


@pytest.fixture
def opened(database: OpenStore, tmp_path: Path) -> Opened:
    """The jobs of a gateway, whose database is the same each time."""

    @contextlib.asynccontextmanager
    async def jobs(errand: Errand) -> AsyncIterator[Jobs]:
        store = database()
        await store.open()
        owner = Jobs(store, {"errand": errand}, tmp_path / "logs")
        await owner.open()
        try:
            yield owner
        finally:
            await owner.close()
            await store.close()

    return jobs


@pytest.fixture
def errand() -> Errand:
    return Errand()


async def ended(jobs: Jobs, job: Job) -> Job:
    return [each async for each in jobs.follow(job.id)][-1]


async def test_a_job_is_followed_from_its_start_to_its_result(opened: Opened, errand: Errand) -> None:
    async with opened(errand) as jobs:
        job, is_new = jobs.start("errand", "tea")
        assert (job.state, job.attempts, is_new) == ("running", 1, True)
        seen = []
        async for each in jobs.follow(job.id):
            seen.append(each)
            if len(seen) == 1:
                await until(lambda: errand.running)
                for done in range(1, 101):
                    errand.running["tea"].report(Progress("boiling", done, 100, "degrees"))
            elif len(seen) == 2:
                errand.end("tea", "a cup")
        assert [each.state for each in seen] == ["running", "running", "done"]  # what came at once is told once
        assert seen[1].progress == Progress("boiling", 100, 100, "degrees")
        assert (seen[-1].result, seen[-1].error) == ("a cup", "")
        assert seen[-1].created_at <= (seen[-1].started_at or 0) <= (seen[-1].ended_at or 0)
        assert [each async for each in jobs.follow(job.id)] == [seen[-1]]


async def test_a_dialect_tells_a_pull_as_lines_of_json(opened: Opened, errand: Errand) -> None:
    """How a dialect has its own progress: it starts the job, or joins one that runs, and follows."""

    async def lines(jobs: Jobs, subject: str) -> AsyncIterator[bytes]:
        job, _ = jobs.start("errand", subject)
        async for each in jobs.follow(job.id):
            if each.is_over:
                told: dict[str, Any] = {"error": each.error} if each.error else {"status": "success"}
            else:
                told = {"status": each.progress.step, "total": each.progress.total, "completed": each.progress.done}
            yield json.dumps(told).encode() + b"\n"

    async with opened(errand) as jobs:
        readers = [asyncio.ensure_future(_all(lines(jobs, "tea"))) for _ in range(2)]
        await until(lambda: errand.running)
        errand.running["tea"].report(Progress("downloading", 5, 9))
        await asyncio.sleep(0)
        errand.end("tea", "here")
        first, second = await asyncio.gather(*readers)
        assert errand.begun == ["tea"]
        assert first == second
        assert json.loads(first[-1]) == {"status": "success"}


async def _all(lines: AsyncIterator[bytes]) -> list[bytes]:
    return [line async for line in lines]


async def test_two_starts_of_the_same_are_one_job_and_of_another_are_two(opened: Opened, errand: Errand) -> None:
    async with opened(errand) as jobs:
        first, _ = jobs.start("errand", "tea")
        again, is_new = jobs.start("errand", "TEA")
        other, _ = jobs.start("errand", "coffee")
        assert (again.id, is_new) == (first.id, False)
        assert other.id != first.id
        await until(lambda: "tea" in errand.running)
        errand.end("tea", "x")
        await ended(jobs, first)
        assert jobs.start("errand", "tea")[1]  # after its end it is another job


async def test_what_cannot_run_now_waits_in_the_order_it_was_asked_for(opened: Opened, errand: Errand) -> None:
    async with opened(errand) as jobs:
        started = [jobs.start("errand", name)[0] for name in "abcde"]
        assert [job.state for job in started] == ["running", "running", "queued", "queued", "queued"]
        assert (await jobs.cancel(started[3].id)).state == "cancelled"  # while it waited
        for name in "bac":
            await until(lambda name=name: name in errand.running)
            errand.end(name, "x")
        await until(lambda: list(errand.running) == ["e"])
        await ended(jobs, started[2])
        assert errand.begun == ["a", "b", "c", "e"]
        assert [(job.subject, job.state) for job in jobs.all()] == [
            ("e", "running"),
            ("d", "cancelled"),
            ("c", "done"),
            ("b", "done"),
            ("a", "done"),
        ]


@pytest.mark.parametrize("begun", [True, False])
async def test_a_cancelled_job_is_over_when_nothing_of_it_runs(opened: Opened, errand: Errand, begun: bool) -> None:
    async with opened(errand) as jobs:
        job, _ = jobs.start("errand", "tea")
        if begun:
            await until(lambda: errand.running)
        both = await asyncio.gather(jobs.cancel(job.id), jobs.cancel(job.id))
        assert {each.state for each in both} == {"cancelled"}
        assert not errand.running
        assert (both[0].error, (await jobs.cancel(job.id))) == ("", both[0])


async def test_a_job_that_is_cancelled_when_it_is_just_done_is_done(opened: Opened, errand: Errand) -> None:
    async with opened(errand) as jobs:
        job, _ = jobs.start("errand", "tea")
        await until(lambda: errand.running)
        errand.end("tea", "a cup")
        await ended(jobs, job)
        assert (await jobs.cancel(job.id)).state == "done"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Failed("The kettle is broken; buy another."), "The kettle is broken; buy another."),
        (NotFound("There is no water."), "There is no water."),
        (ValueError("secret"), "Something went wrong inside the gateway; its log has the details."),
        (Failed("bytes \udcff and \0"), "bytes ? and "),
    ],
)
async def test_a_job_that_fails_says_why(opened: Opened, errand: Errand, error: Exception, said: str) -> None:
    async with opened(errand) as jobs:
        job, _ = jobs.start("errand", "tea")
        await until(lambda: errand.running)
        errand.end("tea", error)
        assert ((await ended(jobs, job)).state, jobs.get(job.id).error) == ("failed", said)
    async with opened(errand) as jobs:
        assert jobs.get(job.id).error == said


async def test_what_there_is_not_is_refused_by_name(opened: Opened, errand: Errand) -> None:
    errand.gone = {"milk"}
    async with opened(errand) as jobs:
        with pytest.raises(Invalid, match=r"There is no kind of job 'dance'; there is errand\."):
            jobs.start("dance", "tea")
        with pytest.raises(NotFound, match="There is no milk"):
            jobs.start("errand", "milk")
        for asked in (jobs.cancel("job_0"), anext(jobs.follow("job_0")), jobs.log("job_0", 5)):
            with pytest.raises(JobNotFound, match="`rolecast jobs` lists"):
                await asked
        assert jobs.all() == []
    with pytest.raises(ShuttingDown):
        jobs.start("errand", "tea")


# -- restarts -----------------------------------------------------------------------------------------------------


async def test_the_next_gateway_goes_on_with_what_ran_and_what_waited(opened: Opened, errand: Errand) -> None:
    async with opened(errand) as jobs:
        before = [jobs.start("errand", name)[0] for name in "abcd"]
        follower = asyncio.ensure_future(ended(jobs, before[0]))
        await until(lambda: len(errand.running) == 2)
        await jobs.cancel(before[1].id)
        await until(lambda: "c" in errand.running)
    assert (await follower).state == "interrupted"
    assert not errand.running
    after = Errand()
    async with opened(after) as jobs:
        states = {job.subject: (job.state, job.attempts) for job in jobs.all()}
        assert states == {"a": ("running", 2), "c": ("running", 2), "d": ("queued", 0), "b": ("cancelled", 1)}
        assert jobs.get(before[0].id).started_at == before[0].started_at
        await until(lambda: len(after.running) == 2)
        after.end("a", "done after all")
        assert (await ended(jobs, before[0])).result == "done after all"


async def test_what_cannot_go_on_is_left_as_broken_off(opened: Opened, errand: Errand) -> None:
    async with opened(errand) as jobs:
        job, _ = jobs.start("errand", "tea")
        await until(lambda: errand.running)
    forgetful = Errand(resumes=False)
    async with opened(forgetful) as jobs:
        told = jobs.get(job.id)
        assert (told.state, told.error) == ("interrupted", "The gateway ended while it ran; start it again.")
    async with opened(errand) as jobs:  # which is the end of it
        assert (jobs.get(job.id).state, errand.begun) == ("interrupted", ["tea"])


async def test_what_makes_no_sense_any_more_is_not_taken_up(opened: Opened, errand: Errand) -> None:
    async with opened(errand) as jobs:
        job, _ = jobs.start("errand", "tea")
    errand.gone = {"tea"}
    async with opened(errand) as jobs:
        assert (jobs.get(job.id).state, jobs.get(job.id).error) == ("interrupted", "There is no tea any more.")


async def test_what_makes_no_sense_after_a_reload_is_cancelled_with_the_reason(opened: Opened, errand: Errand) -> None:
    async with opened(errand) as jobs:
        started = [jobs.start("errand", name)[0] for name in ("tea", "coffee", "milk")]
        await until(lambda: len(errand.running) == 2)
        errand.gone = {"tea", "milk"}
        nothing = Config()
        (await jobs.prepare(edit_to(nothing, {}))).commit()
        for job in (started[0], started[2]):
            over = await ended(jobs, job)
            assert (over.state, over.error) == ("cancelled", f"There is no {job.subject} any more.")
        assert list(errand.running) == ["coffee"]


async def test_a_job_of_a_kind_that_is_unknown_now_is_left_alone(
    opened: Opened, errand: Errand, database: OpenStore
) -> None:
    async with opened(errand) as jobs:
        job, _ = jobs.start("errand", "tea")
    store = database()
    await store.open()
    await change(store, Query("UPDATE jobs SET kind = 'dance'"))
    await store.close()
    async with opened(errand) as jobs:
        assert jobs.get(job.id).state == "interrupted"


async def test_gateways_that_share_a_database_leave_each_other_s_jobs_alone(
    opened: Opened, errand: Errand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with opened(errand) as jobs:
        job, _ = jobs.start("errand", "tea")
        await until(lambda: errand.running)
        await until(lambda: jobs._rows._writing is None)
        monkeypatch.setenv("ROLECAST_HOME", str(tmp_path / "another"))
        async with opened(Errand()) as others:
            assert others.all() == []
        assert jobs.get(job.id).state == "running"


async def test_many_jobs_that_are_over_are_bounded_here_and_in_the_database(
    opened: Opened, errand: Errand, database: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def quick(order: Order, attempt: Attempt) -> str:
        attempt.log.parent.mkdir(exist_ok=True)
        attempt.log.write_text(order.subject)
        return ""

    monkeypatch.setattr(errand, "run", quick)
    async with opened(errand) as jobs:
        for number in range(1000):
            last, _ = jobs.start("errand", f"cup {number}")
            await ended(jobs, last)
        assert len(jobs.all()) == rows.KEPT
        assert jobs.all()[0].id == last.id
    store = database()
    await store.open()
    assert await store.read(Query("SELECT count(*) FROM jobs")) == [(rows.KEPT,)]
    await store.close()
    async with opened(errand) as jobs:
        assert len(jobs.all()) == rows.KEPT
        assert jobs.all()[0].subject == "cup 999"
    await until(lambda: len(list((tmp_path / "logs").iterdir())) <= rows.KEPT)


async def test_jobs_run_while_the_database_cannot_be_used_and_are_written_when_it_can(
    opened: Opened, errand: Errand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rows, "RETRY_S", 0.001)
    tries = 0

    async def away(*_: Any) -> None:
        nonlocal tries
        tries += 1
        raise StoreError("The database cannot be used just now: the disk is full.")

    async with opened(errand) as jobs:
        store = jobs._rows._store
        healthy = store.transact
        monkeypatch.setattr(store, "transact", away)
        job, _ = jobs.start("errand", "tea")
        await until(lambda: errand.running and tries > 3)
        errand.end("tea", "a cup")
        assert (await ended(jobs, job)).state == "done"
        warned = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert ["the disk is full" in r.getMessage() for r in warned] == [True]
        monkeypatch.setattr(store, "transact", healthy)
    async with opened(errand) as jobs:
        assert (jobs.get(job.id).state, jobs.get(job.id).result) == ("done", "a cup")


# -- what a child tells -------------------------------------------------------------------------------------------


def test_only_notes_are_read_of_what_a_child_prints_however_it_comes() -> None:
    seen: list[Progress] = []
    reports = Reports(seen.append)
    good = b'{"progress":{"step":"x","done":3,"total":9,"unit":"bytes"}}\n'
    garbage = [
        b"hello\n",
        b"\xff\xfe\n",
        b"[" * 5000 + b"\n",
        b'{"progress":7}\n',
        b'{"progress":{"done":-1e400}}\n',
        b"\n",
    ]
    text = b"".join([good, *garbage, b'{"result":"there"}\n', good])
    for cut in range(1, 200):
        reports.feed(text[:cut])
        reports.feed(text[cut:])
    assert len(seen) == 2 * 199
    assert set(seen) == {Progress("x", 3, 9)}
    assert (reports.result, reports.error) == ("there", None)


def test_a_line_without_end_costs_no_memory_and_the_next_one_is_read() -> None:
    seen: list[Progress] = []
    reports = Reports(seen.append)
    for _ in range(100):
        reports.feed(b"x" * LINE_BYTES)
        assert len(reports._partial) <= LINE_BYTES
    reports.feed(b'{"progress":{"step":"no"}}\n{"progress":{"step":"yes"}}\n')
    assert [each.step for each in seen] == ["yes"]


def test_a_log_is_read_from_its_end(tmp_path: Path) -> None:
    path = logs.place(tmp_path, "job_1")
    assert logs.tail(path, 5) == []
    path.write_bytes(b"".join(b"line %d \xff\n" % n for n in range(200_000)))
    assert logs.tail(path, 2) == ["line 199998 \ufffd", "line 199999 \ufffd"]
    assert logs.tail(path, 0) == []
