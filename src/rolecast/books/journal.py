"""Rows of the ledger that wait for the database, kept where the death of this process does not reach them.

A file of a fixed size that is mapped into memory and shared: what is copied into it belongs to the system, so that it
is still there when the gateway is killed, without a system call for each row. It is no protection from a loss of power.
The next gateway of the data folder writes what it finds into the database; rows have keys, so nothing counts twice.

The file has two halves. Rows go into one while those of the other are being written; then that one is emptied.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import mmap
import os
import stat
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO
from zlib import adler32

import msgspec

from rolecast.books.store import Batch, Row, Store
from rolecast.config import paths
from rolecast.errors import UNREADABLE

log = logging.getLogger("rolecast.ledger")

HALF = 4 * 1024 * 1024
"""Bytes of a half: 30,000 usual rows, far more than come while a batch is written."""
MAGIC = b"rcj2"
HEAD = 64
"""Bytes before the first half: the mark, and which database the rows are for."""
_DIGEST = 32
_SIZE = HEAD + 2 * HALF
SUFFIX = ".rows"
UNMADE_S = 60.0
"""A file that is not complete after so long never will be."""
_RECORD = Struct("II")
"""Length and checksum; a length of 0 is the end."""
_END = bytes(_RECORD.size)
_PLAIN = Struct("IqqdIqqqqq8x")
"""The row of a request that has no others, which most are: length, route, number, time, bits, tokens, times, and the
number again, with the end behind it. Everything is blank first and the last number is written last, so that a record
whose numbers differ is none. In this machine's own order, which is packed fastest."""
_PLAIN_SIZE = _PLAIN.size - _RECORD.size
_IS_PLAIN = 1 << 31
"""Set in the length of such a record."""
_PLAIN_LENGTH = (_PLAIN_SIZE - _RECORD.size) | _IS_PLAIN
_pack_plain = _PLAIN.pack_into
_CLOSED = -1
TABLES = ("routes", "requests", "notes", "decisions", "charges")
"""What rows may be of, by the first number of a record."""
ROUTES, REQUESTS, NOTES, DECISIONS, CHARGES = range(len(TABLES))
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[int, list[int | float | str | None]]]).decode
Record = Sequence[tuple[int, Row]]
"""Rows that are written, or lost, together; each with the number of its table."""


class Journal:
    """That file of this process. Every method but `open` and `close` only moves memory."""

    def __init__(self) -> None:
        self.trouble = ""
        """Why rows are not protected now; '' = they are, or it was never opened."""
        self._map: mmap.mmap | None = None
        self._path: Path | None = None
        self._file = -1
        self._active = 0
        self._here = HEAD
        """Where the next record begins."""
        self._room = _CLOSED
        """Where the last plain record of the active half may begin."""
        self._there = HEAD + HALF
        """Where the records of the other half end."""

    def open(self, folder: Path, store: str) -> None:
        """Make the file for rows of that database; when that cannot be, `trouble` says why, and that is all."""
        try:
            paths.make_private(folder)
            self._path = folder / f"{os.getpid()}-{os.urandom(6).hex()}{SUFFIX}"
            # It gets its name when it is ours and complete, or the next gateway would take it for a leftover.
            making = self._path.with_suffix(".new")
            self._file = os.open(making, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _fill(self._file, _head(store))
            self._map = mmap.mmap(self._file, _SIZE)
            making.rename(self._path)
            self._room = _room(0)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            self.trouble = f"{folder} cannot be used ({why})"
            log.warning("%s: rows that wait for the database are lost if the gateway is killed", self.trouble)
            self._discard()

    def add_plain(
        self, number: int, route: int, at: float, bits: int, prompt: int, completion: int, first_us: int, total_us: int
    ) -> None:
        """Keep the row of a request that has no others. Called for each, before its last byte goes out: a third of a
        microsecond. A kill in the middle of it leaves a record with two numbers, which is none."""
        here = self._here
        if here > self._room:
            self._full()
            return
        try:
            _pack_plain(
                self._map,  # type: ignore[arg-type]  # it is there where there is room
                here,
                _PLAIN_LENGTH,
                route,
                number,
                at,
                bits,
                prompt,
                completion,
                first_us,
                total_us,
                number,
            )
        except struct.error:  # nor does a database keep such a number
            return
        self._here = here + _PLAIN_SIZE

    def add(self, rows: Record) -> None:
        """Keep these rows: those of a request, or one that others need."""
        memory = self._map
        if memory is None:
            return
        try:
            data = _encode(rows)
        except (OverflowError, UnicodeError):  # nor does a database keep these
            return
        at = self._here
        end = at + 8 + len(data)
        if end + 8 > HEAD + HALF * (self._active + 1):
            self._full()
            return
        memory[at + 8 : end + 8] = data + _END
        _RECORD.pack_into(memory, at, len(data), adler32(data))  # last, so that half a record is none
        self._here = end

    def turn(self) -> None:
        """All rows that wait are about to be written: the next ones go into the other half, if it is empty."""
        other = 1 - self._active
        if self._there == HEAD + HALF * other:
            self._active, self._here, self._there = other, self._there, self._here
            if self._map is not None:
                self._room = _room(other)

    def written(self) -> None:
        """Those rows are in the database: what is not active is empty."""
        self._there = self._emptied(1 - self._active, self._there)

    def clear(self) -> None:
        """No row waits."""
        self._here = self._emptied(self._active, self._here)
        self.written()

    def close(self, *, kept: bool) -> None:
        """Let go of the file; with `kept` it stays for the next gateway."""
        if kept and self._map is not None:
            self._unmap()
            os.close(self._file)
        else:
            self._discard()

    def _emptied(self, half: int, end: int) -> int:
        """Its rows, which end there, are gone; where its next one begins."""
        start = HEAD + HALF * half
        if self._map is not None and end != start:
            self._map[start : start + 8] = _END
            if half == self._active:
                self.trouble = ""
        return start

    def _full(self) -> None:
        if not self.trouble and self._map is not None:
            self.trouble = "the journal of the ledger is full, because the database takes no rows"
            log.warning("%s: the next ones are lost if the gateway is killed", self.trouble)

    def _unmap(self) -> None:
        self._room = _CLOSED
        if self._map is not None:
            self._map.close()
            self._map = None

    def _discard(self) -> None:
        self._unmap()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._path is not None:
            for path in (self._path, self._path.with_suffix(".new")):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)


async def recover(folder: Path, store: Store) -> int:
    """Write what gateways left that were killed into the database, and remove it; how many requests that were.

    Whatever cannot be read or written stays where it is, for the next start.
    """
    count = 0
    for path in await asyncio.to_thread(_left, folder):
        taken = await asyncio.to_thread(_take, path, _head(store.name))
        if taken is None:
            continue
        file, batch = taken
        with file:  # and with it the lock
            try:
                if any(rows for _, rows in batch):
                    await store.insert(batch)
                await asyncio.to_thread(path.unlink, missing_ok=True)
            except Exception as error:
                why = error.strerror if isinstance(error, OSError) else store.meaning(error)
                log.error("%s could not be written into the ledger and removed: %s", path, why)
                continue
            count += len(batch[REQUESTS][1])
    if count:
        log.warning("%d requests that a killed gateway had not written yet are in the ledger now", count)
    return count


def _left(folder: Path) -> list[Path]:
    """The files there, without those that never became one."""
    for path in folder.glob("*.new"):
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_mtime > UNMADE_S:
                path.unlink()
    return sorted(folder.glob(f"*{SUFFIX}"))


def _take(path: Path, head: bytes) -> tuple[BinaryIO, Batch] | None:
    """The file, locked, with its rows; None when it is another database's, or its gateway runs, or took it away.

    So it is for what is none of ours: a link, a pipe, a file without an end.
    """
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        about = os.fstat(file.fileno())
        if stat.S_ISREG(about.st_mode) and about.st_size <= _SIZE and path.exists():
            data = file.read()
            if data.startswith(head):
                return file, read(data)
    except OSError:  # it is locked
        pass
    file.close()
    return None


def read(data: bytes) -> Batch:
    """The rows of a journal, by table. What is torn or damaged ends a half."""
    found: tuple[list[Row], ...] = tuple([] for _ in TABLES)
    for half in (0, 1):
        at, end = HEAD + HALF * half, min(HEAD + HALF * (half + 1), len(data))
        while at + 8 <= end:
            length, checksum = _RECORD.unpack_from(data, at)
            plain, length = length & _IS_PLAIN, length & ~_IS_PLAIN
            if not length or at + 8 + length > end:
                break
            rows = _plain(data, at) if plain else _others(data[at + 8 : at + 8 + length], checksum)
            if rows is None:
                break
            for table, row in rows:
                if 0 <= table < len(TABLES):
                    found[table].append(tuple(row))
            at += 8 + length
    return list(zip(TABLES, found, strict=True))


def _plain(data: bytes, at: int) -> list[tuple[int, Sequence[Any]]] | None:
    """The row of such a record; None = it was never complete."""
    if at + _PLAIN_SIZE > len(data):
        return None
    _, route, number, ended, *rest, again = _PLAIN.unpack(data[at : at + _PLAIN_SIZE] + _END)
    return [(REQUESTS, (number, route, ended, *rest))] if number == again != 0 else None


def _others(record: bytes, checksum: int) -> list[tuple[int, Sequence[Any]]] | None:
    """The rows of any other record; None = it was never complete."""
    if adler32(record) != checksum:
        return None
    try:
        return [*_decode(record)]
    except UNREADABLE:
        return None


def _room(half: int) -> int:
    """Where the last plain record of that half may begin."""
    return HEAD + HALF * (half + 1) - _PLAIN.size


def _head(store: str) -> bytes:
    """What a file for that database begins with."""
    return MAGIC + hashlib.blake2s(store.encode(), digest_size=_DIGEST).digest()


def _fill(file: int, head: bytes) -> None:
    """Give it all its blocks now: memory without a block behind it cannot be written when the disk is full."""
    os.pwrite(file, head.ljust(HEAD, b"\0"), 0)
    at, end, blank = HEAD, _SIZE, bytes(1024 * 1024)
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, at, end - at)
        return
    while at < end:
        at += os.pwrite(file, blank[: end - at], at)
