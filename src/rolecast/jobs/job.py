"""What a job is, and what a kind of job has to know. Knows no kind, no process and no database."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from rolecast.errors import NotFound
from rolecast.values import size_text

State = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
"""`interrupted`: the gateway ended first. Without `ended_at` the next start takes it up again."""
ACTIVE: tuple[State, ...] = ("queued", "running")


class Progress(msgspec.Struct, frozen=True):
    """How far a job is: a step in a word or two, and `done` of `total` units of it; total 0 = not known."""

    step: str = ""
    done: int = 0
    total: int = 0
    unit: str = "bytes"
    note: str = ""
    """What else is to be known now, in a few words: `loss 2.31, 812 tokens/s`."""

    @property
    def whole(self) -> str:
        """All of it, for people: `92.9 MB`, `8 numbers`; '' when that is not known."""
        if not self.total:
            return ""
        return size_text(self.total) if self.unit == "bytes" else f"{self.total} {self.unit}"


Report = Callable[[Progress], None]


class Job(msgspec.Struct, frozen=True):
    """One job as it is now. Times in seconds since 1970."""

    id: str
    kind: str
    subject: str
    """What it is about: the id of a model."""
    state: State
    progress: Progress
    created_at: float
    started_at: float | None = None
    """When it began for the first time."""
    ended_at: float | None = None
    attempts: int = 0
    """How often it was begun; more than once when a gateway ended meanwhile."""
    error: str = ""
    """Why it has no result: what went wrong and what to do, in a sentence."""
    result: str = ""

    @property
    def is_over(self) -> bool:
        """Whether this gateway does no more for it."""
        return self.state not in ACTIVE


class Order(msgspec.Struct, frozen=True):
    """What is to be done. Two orders of a kind with the same `key` are one job, whoever they were asked for."""

    subject: str
    key: str


class Attempt(msgspec.Struct, frozen=True):
    """What a job that runs is given: where to report, and the file of its log."""

    job_id: str
    report: Report
    log: Path


class Kind(Protocol):
    """One kind of job."""

    at_once: int
    """So many run at the same time; the others wait in the order they were asked for."""
    resumes: bool
    """Whether one that was broken off by the end of a gateway goes on by itself with the next."""

    def order(self, subject: str) -> Order:
        """What is to be done for that subject. Raises RolecastError, for who asked, when it cannot be."""
        ...

    def obstacle(self, order: Order) -> str:
        """Why that makes no sense (any more), in a sentence; '' = it does. Asked again after every reload."""
        ...

    async def run(self, order: Order, attempt: Attempt) -> str:
        """Do it, and give the result. Raises Failed. Cancelled when the job is: then all of it must end."""
        ...


class Failed(Exception):
    """A job came to nothing; the text is its `error`."""


class JobNotFound(NotFound):
    """No job has that id (any more)."""

    code = "job_not_found"
