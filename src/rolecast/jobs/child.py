"""A job as a child process: it tells how far it is on its standard output, and what else it prints is its log."""

import asyncio
from pathlib import Path

from rolecast.errors import LoadFailed
from rolecast.jobs.job import Failed, Report
from rolecast.jobs.notes import Reports
from rolecast.processes import process
from rolecast.values import Launch

GRACE_S = 2.0
"""So long a job that is cancelled may tidy up before its processes are killed."""


async def run(launch: Launch, *, name: str, log: Path, report: Report) -> str:
    """Start it, wait for its end and give its result; when cancelled, all its processes are ended first.

    Raises Failed with the sentence that it gave, or with how it died.
    """
    reports = Reports(report)
    starting = asyncio.ensure_future(process.spawn(launch, name=name, log=log, reports=reports.feed))
    try:
        child = await asyncio.shield(starting)
    except LoadFailed as error:
        raise Failed(error.message) from error
    except asyncio.CancelledError:
        child = await starting
        await child.stop(0)
        raise
    try:
        code = await child.wait()
    finally:
        if child.returncode is None:
            await child.stop(GRACE_S)
    if code == 0 and reports.result is not None:
        return reports.result
    raise Failed(reports.error or _death(code, log))


def _death(code: int, log: Path) -> str:
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code} and without a result"
    return f"The process that did it {how}; its log is {log}."
