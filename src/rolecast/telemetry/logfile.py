"""The log file of a detached gateway, kept from growing without bound.

The file is what the gateway was given as stdout and stderr, so nobody can be asked to open another one. A full
file is copied and then emptied in place: its descriptors append, so whoever writes goes on at the new end. Knows
nothing of what is logged; the logs of workers are `processes/output.py`'s.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
from pathlib import Path
from typing import BinaryIO

log = logging.getLogger("rolecast.logfile")

FILE_BYTES = 10_000_000
STDERR = 2
BYTES_PER_LINE = 512
"""So much is read from the end of a file for each line of it that is asked for."""
NO_LINK = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
"""A link may lead to a file that is not ours."""
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def trim(path: Path, limit: int = FILE_BYTES) -> bool:
    """Copy a file of more than `limit` bytes to `NAME.1` and empty it; tells whether that was done.

    Of a file that grew unwatched the newest 2 * `limit` bytes are copied. Raises nothing: a file that cannot be
    copied, say because the disk is full, stays as it is until the next try.
    """
    try:
        source = os.open(path, NO_LINK)
    except OSError:
        return False
    try:
        return _trim(source, path.with_name(path.name + ".1"), limit)
    except OSError:
        return False
    finally:
        os.close(source)


def _trim(source: int, older: Path, limit: int) -> bool:
    fcntl.flock(source, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of two at once one would copy what the other has emptied
    size = os.fstat(source).st_size
    if size <= limit:
        return False
    part = older.with_name(older.name + ".part")
    part.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(part, NEW_FILE, 0o600), "wb") as copy:
            os.lseek(source, max(0, size - 2 * limit), os.SEEK_SET)
            _copy(source, copy)
            part.replace(older)
            _copy(source, copy)  # what came meanwhile; from here to the next line is all that can be lost
            os.ftruncate(source, 0)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return True


def _copy(source: int, copy: BinaryIO) -> None:
    """Everything up to the present end, on its way to the disk: a failure to write shows here."""
    with os.fdopen(source, "rb", buffering=0, closefd=False) as reader:
        shutil.copyfileobj(reader, copy)
    copy.flush()


def is_ours(path: Path) -> bool:
    """Whether our own stderr goes to that very file and appends, so that it may be emptied under our feet."""
    try:
        ours, named = os.fstat(STDERR), path.stat(follow_symlinks=False)
        appends = fcntl.fcntl(STDERR, fcntl.F_GETFL) & os.O_APPEND
    except OSError:
        return False
    return bool(appends) and os.path.samestat(ours, named)


async def keep_bounded(path: Path, every_s: float = 60.0) -> None:
    """Trim the file from time to time, as long as it is where our own stderr goes; off the event loop's thread."""
    while True:
        await asyncio.sleep(every_s)
        if not await asyncio.to_thread(is_ours, path):
            return
        if await asyncio.to_thread(trim, path):
            log.info("this log was full; what was in it is in %s.1", path)


def tail(path: Path, count: int) -> list[str]:
    """The last lines of a text file, read from its end: a log may be large. Raises OSError."""
    found: list[str] = []
    with path.open("rb") as file:
        size, read = file.seek(0, os.SEEK_END), BYTES_PER_LINE * count
        while count and len(found) <= count:  # the first of them may be half of one
            file.seek(max(0, size - read))
            found = file.read(size).decode("utf-8", "replace").splitlines()
            if read >= size:
                break
            read *= 4
    return found[-count:] if count else []
