"""How the steps write a file, for its owner alone and whole or not at all; how files go, and who works on an avatar."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rolecast.config.paths import make_private


def write_private(path: Path, data: bytes) -> None:
    """Write a file that nobody else may read, by way of a temporary name: after a loss of power it is old or new."""
    make_private(path.parent)
    part = path.with_name(f"{path.name}.{os.urandom(6).hex()}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def erase(folder: Path) -> None:
    """Delete a folder, or empty the one on another disk that a link leads to. Raises OSError for what stays."""
    try:
        for each in list(folder.iterdir()) if folder.is_dir() else ():
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each)
            else:
                each.unlink(missing_ok=True)
        if not folder.is_symlink():
            folder.rmdir()
    except FileNotFoundError:
        pass


@contextmanager
def making(folder: Path) -> Iterator[None]:
    """While an avatar is made. Raises BlockingIOError where another process makes it already."""
    lock = os.open(folder / ".making.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)
