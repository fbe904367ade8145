"""Jobs over HTTP: list, start, look, cancel, follow, read the log. Knows no kind of job."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from rolecast.dialects.operation import EVENTS, TEXT, Query, told
from rolecast.jobs.job import Job
from rolecast.jobs.owner import Jobs
from rolecast.pages import asked
from rolecast.server.asgi import json_response

EXAMPLE = '{"kind":"pull","model":"NAME"}'
MAX_LOG_LINES = 5000
BREATH_S = 15.0
"""A sign of life is sent when nothing was to be told for so long: whoever waits sees that the gateway is there."""


BODY = {"kind": "pull", "model": "standard"}
ON_A_JOB = (404, 409, 415, 422, 502)
LINES = Query("lines", asked.Number, f"at most {MAX_LOG_LINES}")


class _JobWanted(msgspec.Struct):
    kind: str
    model: str


class JobPages:
    """`/admin/jobs` and what is below it."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def routes(self) -> list[Route]:
        return [
            Route("/admin/jobs", self.list, methods=["GET"]),
            Route("/admin/jobs", self.start, methods=["POST"]),
            Route("/admin/jobs/{id}", self.show, methods=["GET"]),
            Route("/admin/jobs/{id}/cancel", self.cancel, methods=["POST"]),
            Route("/admin/jobs/{id}/events", self.events, methods=["GET"]),
            Route("/admin/jobs/{id}/log", self.log, methods=["GET"]),
        ]

    @told("All jobs", "Jobs", answer="rolecast.pages.shapes:Jobs")
    async def list(self, request: Request) -> Response:
        """Those not over first, then the newest."""
        return json_response({"jobs": self._jobs.all()})

    @told("Start a job", "Jobs", body=_JobWanted, example=BODY, answer=Job, statuses=(200, 202), errors=ON_A_JOB)
    async def start(self, request: Request) -> Response:
        """202 for a new job, 200 for one that does the same already."""
        wanted = await asked.body(request, _JobWanted, EXAMPLE)
        job, is_new = self._jobs.start(wanted.kind, wanted.model)
        return json_response(job, 202 if is_new else 200)

    @told("One job", "Jobs", answer=Job, errors=(404,))
    async def show(self, request: Request) -> Response:
        return json_response(self._jobs.get(request.path_params["id"]))

    @told("Cancel a job", "Jobs", body=Any, example={}, optional=True, answer=Job, errors=(404, 415))
    async def cancel(self, request: Request) -> Response:
        """The job as it ended, when nothing of it runs any more; one that was over stays as it was."""
        asked.require_json(request, "{}")
        return json_response(await self._jobs.cancel(request.path_params["id"]))

    @told("Follow a job", "Jobs", answer=Job, media=EVENTS, errors=(404,))
    async def events(self, request: Request) -> Response:
        """Server-sent events, each the job as it is; the last is how it ended."""
        job = self._jobs.get(request.path_params["id"])
        return StreamingResponse(
            _events(self._jobs.follow(job.id)),
            media_type="text/event-stream",
            headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
        )

    @told("What a job printed", "Jobs", answer=str, media=TEXT, query=(LINES,), errors=(404,))
    async def log(self, request: Request) -> Response:
        """What it printed, as plain text."""
        lines = min(asked.number(request.query_params.get("lines", "200")), MAX_LOG_LINES)
        text = "".join(f"{line}\n" for line in await self._jobs.log(request.path_params["id"], lines))
        return Response(text, media_type="text/plain; charset=utf-8")


async def _events(jobs: AsyncIterator[Job]) -> AsyncIterator[bytes]:
    async for job in with_breaths(jobs):
        yield b": still here\n\n" if job is None else b"data: " + msgspec.json.encode(job) + b"\n\n"


async def with_breaths(jobs: AsyncIterator[Job]) -> AsyncIterator[Job | None]:
    """The same, and None whenever there was nothing to be told for a while."""
    following = aiter(jobs)
    while True:
        coming = asyncio.ensure_future(anext(following, None))
        try:
            while not (await asyncio.wait({coming}, timeout=BREATH_S))[0]:
                yield None
        finally:
            coming.cancel()
        if (job := coming.result()) is None:
            return
        yield job
