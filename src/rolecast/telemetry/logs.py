"""Log lines: where they go, how they look, and the newest in memory for those who follow them."""

import asyncio
import json
import logging
import re
import sys
from collections import deque
from collections.abc import AsyncIterator
from functools import partial

from rolecast.config.edit import Change, Edit
from rolecast.config.schema import Log
from rolecast.telemetry.requests import MOST_CHARS, RequestLog

MOST_EVENT, MOST_EXCEPTION = 4000, 8000
"""So many characters of a message, of an exception: a line stays below the 16 KiB at which Docker cuts one in two."""
_UNSEEN = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What JSON leaves as it is and a terminal or a reader of lines obeys: controls, ends of lines, turned text."""


class _JsonFormatter(logging.Formatter):
    """One JSON object per line. A record's `fields` become fields of the line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        line["event"] = record.getMessage()[:MOST_EVENT]
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)[-MOST_EXCEPTION:]
        return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(line, ensure_ascii=False))


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
    """Follows what the configuration asks for; the access lines of pages are the doors' matter."""

    def __init__(self, applied: Log, ring: LogRing, requests: RequestLog) -> None:
        self._applied = applied
        self._ring = ring
        self._requests = requests
        requests.wanted = applied.requests

    async def prepare(self, edit: Edit) -> Change:
        """Nothing to refuse."""
        return Change(partial(self._apply, edit.config.log))

    def _apply(self, wanted: Log) -> None:
        if (wanted.level, wanted.format) != (self._applied.level, self._applied.format):
            configure_logging(wanted.level, wanted.format, self._ring)
        self._requests.wanted = wanted.requests
        self._applied = wanted


def _without_query(record: logging.LogRecord) -> bool:
    """A line of uvicorn's about a page, without the query of its path: people put anything there."""
    if isinstance(record.args, tuple) and len(record.args) == 5:
        client, method, path, *rest = record.args
        record.args = (client, method, str(path).partition("?")[0][:MOST_CHARS], *rest)
    return True


def configure_logging(level: str, style: str, ring: LogRing) -> None:
    """Send all logs to stderr as text or JSON lines, and keep the newest in `ring`."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
    root = logging.getLogger()
    root.handlers[:] = [handler, ring]
    for each in root.handlers:
        each.setFormatter(_JsonFormatter() if style == "json" else text)
    set_levels(level)
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.filters[:] = [_without_query]


def set_levels(level: str) -> None:
    """Let our own loggers tell from `level` on, and those of libraries only what is wrong.

    At their debug level parsers and clients write a line for each step, some with what they read, which may be a
    prompt.
    """
    root = logging.getLogger()
    root.setLevel(level.upper())
    root.setLevel(max(root.level, logging.WARNING))
    for ours in ("rolecast", "uvicorn.access"):
        logging.getLogger(ours).setLevel(level.upper())
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
