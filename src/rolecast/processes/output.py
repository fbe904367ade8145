"""What a worker prints: the last lines in memory, all of it in a rotated file, and live for followers.

Knows nothing of processes. Memory is bounded: lines, their length, followers and the backlog of the file.
Disk writes happen in a thread, so a slow disk slows the worker's output, never the event loop.
"""

import asyncio
import os
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from rolecast.config import paths

KEPT_LINES = 1000
LINE_BYTES = 4096
FILE_BYTES = 5_000_000
BACKLOG_BYTES = 1_000_000
"""Output waiting for the disk above which the reader of the pipe must pause."""


LEFT_OUT = b" [...]"
"""In place of the rest of a line that may quote a request."""


class LogFile:
    """An append-only file of at most `FILE_BYTES`, private to its owner; one older is kept as `NAME.1`."""

    def __init__(self, path: Path) -> None:
        paths.make_private(path.parent)
        self._path = path
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size

    def write(self, data: bytes) -> None:
        """Appends, after moving a full file aside. Raises OSError when the disk is full."""
        if self._size and self._size + len(data) > FILE_BYTES:
            os.close(self._fd)
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._open()
        while data:
            written = os.write(self._fd, data)
            self._size += written
            data = data[written:]

    def close(self) -> None:
        os.close(self._fd)


class Output:
    """The merged output of one worker."""

    def __init__(self, file: LogFile | None, trouble: str = "") -> None:
        self._file = file
        self._trouble = ""
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._partial = bytearray()
        self._backlog = bytearray()
        self._flushing: asyncio.Task[None] | None = None
        self._followers: list[tuple[deque[str], asyncio.Event]] = []
        self._ended = False
        self._kept: re.Pattern[bytes] | None = None
        self.on_flushed: Callable[[], None] = lambda: None
        """Called when the backlog is on disk, so that a paused reader can go on."""
        if trouble:
            self._note_trouble(trouble)

    def feed(self, data: bytes) -> bool:
        """Takes a chunk as it came from the pipe; True asks the reader to pause until `on_flushed`."""
        if self._kept is None:
            self._store(data)
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._add_partial(piece)
            self._end_line()
        self._add_partial(rest)
        return len(self._backlog) > BACKLOG_BYTES

    def keep_only(self, pattern: str) -> None:
        """From now on only what matches at the start of a line is kept, in memory and in the file.

        Of a match with a named group only that group is.
        """
        self._kept = re.compile(pattern.encode())

    def end(self) -> None:
        """No more output comes: the last, unfinished line counts as a line and followers end."""
        if self._partial:
            self._end_line()
        self._ended = True
        for _, news in self._followers:
            news.set()
        if self._flushing is None:
            self._close_file()

    async def written(self) -> None:
        """Returns when all output is in the file. Call it after `end`."""
        if self._flushing is not None:
            await asyncio.wait({self._flushing})

    def tail(self, n: int) -> list[str]:
        """The last `n` lines, oldest first."""
        return list(self._lines)[-n:] if n > 0 else []

    async def follow(self, last: int = 0) -> AsyncIterator[str]:
        """The last `last` lines, then each new one until the worker ends; a slow reader loses the oldest."""
        waiting: deque[str] = deque(self.tail(last), maxlen=KEPT_LINES)
        news = asyncio.Event()
        self._followers.append((waiting, news))
        try:
            while True:
                while waiting:
                    yield waiting.popleft()
                if self._ended:
                    return
                news.clear()
                await news.wait()
        finally:
            self._followers = [f for f in self._followers if f[0] is not waiting]

    def _add_partial(self, piece: bytes) -> None:
        self._partial += piece[: LINE_BYTES - len(self._partial)]

    def _end_line(self) -> None:
        if self._kept is not None:
            found = self._kept.match(self._partial)
            if found is None:
                self._partial.clear()
                return
            part = found[found.lastgroup or 0].rstrip()
            if len(part) < len(self._partial.rstrip()):
                self._partial[:] = part + LEFT_OUT
            self._store(self._partial + b"\n")
        self._emit()

    def _store(self, data: bytes | bytearray) -> None:
        self._backlog += data
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().create_task(self._flush())

    def _emit(self) -> None:
        line = self._partial.decode(errors="replace").rstrip("\r")
        self._partial.clear()
        self._lines.append(line)
        for waiting, news in self._followers:
            waiting.append(line)
            news.set()

    async def _flush(self) -> None:
        try:
            while self._backlog:
                chunk = bytes(self._backlog)
                self._backlog.clear()
                if self._file is not None:
                    await self._write(self._file, chunk)
        finally:
            self._flushing = None
            if self._ended:
                self._close_file()
            self.on_flushed()

    async def _write(self, file: LogFile, chunk: bytes) -> None:
        """A full disk must not end the model: lines stay in memory, and the file goes on when there is room again."""
        if self._trouble:
            chunk = f"[lines are missing here: {self._trouble}]\n".encode() + chunk
        try:
            await asyncio.to_thread(file.write, chunk)
        except OSError as e:
            self._note_trouble(e.strerror or str(e))
        else:
            self._trouble = ""

    def _note_trouble(self, why: str) -> None:
        if why != self._trouble:
            self._trouble = why
            self._lines.append(f"the log file cannot be written: {why}; lines are kept in memory only")

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
