"""The folder of kept conversations: its list, its files, and what does not belong there.

Everything here blocks and is called in a thread. Decides nothing about which conversation is kept.
"""

import contextlib
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from rolecast.config import paths
from rolecast.errors import UNREADABLE
from rolecast.fleet.carried import Saved

INDEX = "index.json"
VERSION = 1
PIECE = 1 << 20
KEPT, PART = ".kv", ".part"
_OURS = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}\.(kv|part)|index\.json(\.part)?")
"""Files that we made. No other one is ever touched."""
_FILE = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}\.kv")


class _Index(msgspec.Struct):
    version: int
    saved: list[Saved]


def part_name(identity: str) -> str:
    """A new name for a file that is being written."""
    return f"{identity}-{secrets.token_hex(8)}{PART}"


def opened(folder: Path) -> list[Saved]:
    """What is listed there and whole by its size; all else of ours is removed. Makes the folder. Raises OSError."""
    paths.make_private(folder)
    folder.chmod(0o700)
    listed = [each for each in _listed(folder) if _is_there(folder, each)]
    keep = {INDEX, *(each.file for each in listed)}
    for file in folder.iterdir():
        if file.name not in keep and _OURS.fullmatch(file.name):
            file.unlink(missing_ok=True)
    return listed


def erase(folder: Path) -> None:
    """Remove all of ours, and the folder if nothing else is in it."""
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            if _OURS.fullmatch(file.name):
                file.unlink(missing_ok=True)
        folder.rmdir()


def write(folder: Path, saved: Iterable[Saved]) -> None:
    """Write the list, whole or not at all. Raises OSError."""
    part = folder / f"{INDEX}{PART}"
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(_Index(VERSION, list(saved))))
    part.replace(folder / INDEX)


def settle(folder: Path, part: str) -> tuple[str, int, int]:
    """Give a written file its lasting name; that, its size and its checksum. Raises OSError."""
    path, name = folder / part, part.removesuffix(PART) + KEPT
    path.chmod(0o600)
    size, checksum = path.stat().st_size, _checksum(path)
    path.replace(folder / name)
    return name, size, checksum


def is_whole(folder: Path, saved: Saved) -> bool:
    """Whether the file is what was written: an engine may end at one that is not."""
    try:
        return _is_there(folder, saved) and _checksum(folder / saved.file) == saved.checksum
    except OSError:
        return False


def remove(folder: Path, files: Iterable[str]) -> None:
    """Remove them, if they are there."""
    for file in files:
        with contextlib.suppress(OSError):
            (folder / file).unlink(missing_ok=True)


def free_bytes(folder: Path) -> int:
    """Of the disk that it lies on; 0 when nobody can tell."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def _listed(folder: Path) -> list[Saved]:
    try:
        index = msgspec.json.decode((folder / INDEX).read_bytes(), type=_Index)
    except (OSError, *UNREADABLE):
        return []
    return index.saved if index.version == VERSION else []


def _is_there(folder: Path, saved: Saved) -> bool:
    if not _FILE.fullmatch(saved.file):  # no path out of a file is opened
        return False
    try:
        info = (folder / saved.file).lstat()
    except OSError:
        return False
    return (info.st_mode & 0o170000) == 0o100000 and info.st_size == saved.size


def _checksum(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            found = zlib.crc32(piece, found)
    return found
