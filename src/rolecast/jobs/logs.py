"""The logs of jobs: a file for each, named by its id, so that no name from outside becomes a path."""

import os
from collections.abc import Iterable
from pathlib import Path

TAIL_BYTES = 1 << 20


def place(folder: Path, job_id: str) -> Path:
    """The file of that job."""
    return folder / f"{job_id}.log"


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a file, oldest first; of a long one only its last megabyte is looked at."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return text.splitlines()[-lines:] if lines > 0 else []


def remove(folder: Path, job_ids: Iterable[str]) -> None:
    """Remove the files of these jobs."""
    for job_id in job_ids:
        for file in folder.glob(f"{job_id}.log*"):
            file.unlink(missing_ok=True)


def prune(folder: Path, most: int) -> None:
    """Remove all but the newest files: jobs of a database that is used no more have no other end."""
    files = sorted(folder.glob("job_*.log*"), key=_age)
    for file in files[: max(0, len(files) - most)]:
        file.unlink(missing_ok=True)


def _age(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
