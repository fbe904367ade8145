"""Applies an edited configuration to the running gateway, or refuses it as a whole.

Watches the file by its size and times, as editors replace files in many ways. Knows no part of the gateway:
it reads, compares, and hands the result to `apply`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from rolecast import backends
from rolecast.config import load, warnings
from rolecast.config.current import Current
from rolecast.config.difference import applicable, compare
from rolecast.config.schema import Config
from rolecast.errors import BadRequest, ConfigError

log = logging.getLogger("rolecast.reload")

POLL_S = 0.5
"""An edit is read once the file has kept still for this long: half a file can be valid too."""

Apply = Callable[[Config, Mapping[str, str]], None]
"""Puts a configuration and its stand-ins into force. Raises ConfigError with nothing changed."""
StandIns = Callable[[Config], Mapping[str, str]]


class Report(msgspec.Struct, frozen=True):
    """What became of an edit: settings that apply now, those that wait for a restart, or why it was refused."""

    at: float
    applied: list[str] = []
    waiting: list[str] = []
    problems: list[str] = []


class Reloader:
    """Reads the configuration again when its file changes or somebody asks."""

    def __init__(self, path: Path | None, now: Current, apply: Apply, stand_ins: StandIns) -> None:
        self._path = path
        self._now = now
        self._apply = apply
        self._stand_ins = stand_ins
        self._lock = asyncio.Lock()
        self.last: Report | None = None

    async def reload(self) -> Report:
        """Apply the file as it is now. Raises ConfigError, with nothing changed, when that is not possible."""
        if self._path is None:
            raise BadRequest("The gateway runs on its built-in configuration: there is no file to read again.")
        async with self._lock:
            try:
                wanted, stand_ins = await asyncio.to_thread(self._read, self._path)
                difference = compare(self._now.config, wanted)
                self._apply(applicable(self._now.config, wanted), stand_ins)
            except ConfigError as error:
                self.last = Report(time.time(), problems=list(error.problems))
                log.warning("the edit was refused, the configuration before it still applies: %s", error.message)
                raise
            self.last = Report(time.time(), difference.applied, difference.waiting)
        if difference.applied:
            log.info("the edited configuration applies; changed: %s", ", ".join(difference.applied))
        if difference.waiting:
            log.warning("these settings take effect at the next start: %s", ", ".join(difference.waiting))
        return self.last

    async def watch(self) -> None:
        """Reload after each change of the file; a refused edit is tried again when it changes."""
        if self._path is None:
            return
        applied = seen = await asyncio.to_thread(_signature, self._path)
        while True:
            await asyncio.sleep(POLL_S)
            before, seen = seen, await asyncio.to_thread(_signature, self._path)
            if seen in (applied, None) or seen != before:
                continue
            applied = seen
            try:
                await self.reload()
            except ConfigError:
                pass  # told by `reload`
            except Exception:
                log.exception("the edited configuration could not be applied")

    def _read(self, path: Path) -> tuple[Config, Mapping[str, str]]:
        config = load(path, backends=backends.names())
        for line in warnings(config):
            log.warning("%s", line)
        return config, self._stand_ins(applicable(self._now.config, config))


def _signature(path: Path) -> tuple[int, int, int] | None:
    """What differs after an edit; None while there is no such file."""
    try:
        now = path.stat()
    except OSError:
        return None
    return now.st_ino, now.st_size, now.st_mtime_ns
