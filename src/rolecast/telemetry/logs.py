"""Log lines: where they go, how they look, and the newest in memory for those who follow them."""

import asyncio
import json
import logging
import sys
from collections import deque
from collections.abc import AsyncIterator
from functools import partial

from rolecast.config.edit import Change, Edit
from rolecast.config.schema import Log


class _JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"ts": round(record.created, 3), "level": record.levelname.lower(), "logger": record.name}
        line["event"] = record.getMessage()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


MAX_WAITING_LINES = 1000


class LogRing(logging.Handler):
    """The newest log lines in memory, for `rolecast logs`; followers get new ones as they come."""

    def __init__(self, lines: int = 5000) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=lines)
        self._followers: set[asyncio.Queue[str | None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        self._lines.append(line)
        for follower in self._followers if self._loop is not None else ():
            self._loop.call_soon_threadsafe(_offer, follower, line)  # type: ignore[union-attr]

    def tail(self, count: int) -> list[str]:
        """The newest lines, oldest first."""
        return list(self._lines)[-count:] if count else []

    def end_following(self) -> None:
        """Let every follower finish; the gateway stops."""
        for follower in self._followers:
            follower.put_nowait(None)

    async def follow(self, count: int) -> AsyncIterator[str]:
        """The newest lines, then every new one; a slow reader loses lines rather than memory."""
        self._loop = asyncio.get_running_loop()
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._followers.add(queue)
        try:
            for line in self.tail(count):
                yield line
            while (new := await queue.get()) is not None:
                yield new
        finally:
            self._followers.discard(queue)


def _offer(queue: "asyncio.Queue[str | None]", line: str) -> None:
    if queue.qsize() < MAX_WAITING_LINES:
        queue.put_nowait(line)


class Logging:
    """Follows the level and the format that the configuration asks for; who logs requests is the doors' matter."""

    def __init__(self, applied: Log, ring: LogRing) -> None:
        self._applied = applied
        self._ring = ring

    async def prepare(self, edit: Edit) -> Change:
        """Nothing to refuse."""
        return Change(partial(self._apply, edit.config.log))

    def _apply(self, wanted: Log) -> None:
        if (wanted.level, wanted.format) != (self._applied.level, self._applied.format):
            configure_logging(wanted.level, wanted.format, self._ring)
        self._applied = wanted


def configure_logging(level: str, style: str, ring: LogRing) -> None:
    """Send all logs to stderr as text or JSON lines, and keep the newest in `ring`."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
    root = logging.getLogger()
    root.handlers[:] = [handler, ring]
    for each in root.handlers:
        each.setFormatter(_JsonFormatter() if style == "json" else text)
    root.setLevel(level.upper())
    logging.getLogger("uvicorn.access").handlers.clear()
    for noisy in ("uvicorn.error", "httpx2", "asyncio"):
        logging.getLogger(noisy).setLevel("WARNING")
