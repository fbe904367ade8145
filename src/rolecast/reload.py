"""Applies an edited configuration to the running gateway, or refuses it as a whole.

Watches the file by its size and times, as editors replace files in many ways. Knows no part of the gateway:
it reads, compares, and lets the parts prepare and commit (`config/edit.py`).
"""

import asyncio
import logging
import stat
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

from rolecast import backends, readiness
from rolecast.config import load, located, notes, warnings
from rolecast.config.current import Current
from rolecast.config.difference import NONE, Difference, applicable, compare
from rolecast.config.edit import Change, Participant, edit_to, prepare
from rolecast.config.schema import Config
from rolecast.errors import BadRequest, ConfigError, Conflict, RolecastError, ShuttingDown
from rolecast.processes import supervisor
from rolecast.telemetry.events import Tell, unheard

log = logging.getLogger("rolecast.reload")

POLL_S = 0.5
"""An edit is read once the file has kept still for this long: half a file can be valid too."""

ATTEMPTS = 20
"""A file that is written to while it is read is read again so often."""


EARLIER = 10
"""So many configurations that applied before can be gone back to."""
STILL = "the file says otherwise still: its next edit, a reload or the next start applies it again"


class Report(msgspec.Struct, frozen=True):
    """What became of an edit: settings that apply now, those that wait for a restart, or why it was refused."""

    at: float
    applied: list[str] = []
    waiting: list[str] = []
    problems: list[str] = []
    warnings: list[str] = []
    """What is probably not meant, or cannot work on this machine now."""


class Reloader:
    """Reads the configuration again when its file changes or somebody asks."""

    def __init__(
        self,
        path: Path | None,
        current: Current,
        stand_ins: Callable[[Config], Mapping[str, str]],
        parts: Sequence[Participant],
        join: Callable[[Config], Config] = lambda config: config,
    ) -> None:
        self._path = path
        self._current = current
        self._stand_ins = stand_ins
        self._parts = parts
        self._join = join
        """Adds what is kept beside the file."""
        self._closing = False
        self._lock = asyncio.Lock()
        self._earlier: deque[Config] = deque(maxlen=EARLIER)
        """What applied before each edit of the file, the last one last."""
        self._edits = self._taken_back = 0
        """Edits of the file that applied, and those of them that were taken back."""
        self.last: Report | None = None
        self._untold = False
        """Whether `last` is of a reload that nobody asked for, and nobody has been told of it since."""
        self.tell: Tell = unheard
        """Called when an edit applies, or is refused."""

    async def reload(self) -> Report:
        """Apply the file as it is now. Raises ConfigError, with nothing changed, when that is not possible.

        When the watch was faster, the report is of what that applied.
        """
        report = await self._reload()
        if self._untold and self.last is not None and not (report.applied or report.problems):
            report = self.last = msgspec.structs.replace(self.last, waiting=report.waiting)
        self._untold = False
        return report

    async def rehearse(self) -> Report:
        """What a reload would change now, with nothing changed. Raises ConfigError where it would be refused."""
        path = self._file()
        async with self._lock:
            difference, doubts, change = await self._prepared(path)
            change.discard()
        return Report(time.time(), difference.applied, difference.waiting, warnings=doubts)

    async def roll_back(self) -> Report:
        """Apply what applied before the last edit of the file, which stays as it is. Once more: the one before that.

        Raises Conflict where nothing did, and ConfigError, with nothing changed, where it cannot apply any more.
        """
        async with self._lock:
            if not self._earlier:
                raise Conflict(self._why_no_earlier())
            config = await asyncio.to_thread(self._join, self._earlier[-1])
            difference = compare(self._current.config, config)
            await self._take_over(config)
            self._earlier.pop()
            self._taken_back += 1
            self._untold = False
            self.last = report = Report(time.time(), difference.applied, difference.waiting, warnings=[STILL])
        log.warning("the configuration before the last edit applies again; %s", STILL)
        self._tell([], difference)
        return report

    def _why_no_earlier(self) -> str:
        if not self._edits:
            return "There is nothing to go back to: no edit was applied since the gateway started."
        if self._edits > self._taken_back:
            return f"There is nothing left to go back to: the gateway keeps the last {EARLIER} edits; correct the file."
        return "There is nothing left to go back to: this is what the gateway started with."

    async def apply(self, config: Config) -> None:
        """Let this configuration apply from now on. Raises ConfigError, with nothing changed, when it cannot."""
        async with self._lock:
            await self._take_over(await asyncio.to_thread(self._join, config))

    async def renew(self) -> None:
        """Apply once more what applies: something on this machine has changed that it depends on, such as weights."""
        async with self._lock:
            try:
                await self._take_over(await asyncio.to_thread(self._join, self._current.config))
            except ConfigError as error:
                log.warning("what has changed on this machine is not used before the next reload: %s", error.message)
            except ShuttingDown:
                pass  # the next start sees it

    def close(self) -> None:
        """The gateway stops: nothing is changed any more, also not by an edit that is being prepared."""
        self._closing = True

    async def _reload(self) -> Report:
        path = self._file()
        async with self._lock:
            try:
                difference, doubts = await self._follow(path)
            except ConfigError as error:
                self.last = Report(time.time(), problems=list(error.problems))
                self._untold = False
                log.warning("the edit was refused, the configuration before it still applies: %s", error.message)
                # Places without values: some are secret.
                places = [problem.partition(": ")[0] for problem in error.problems[:10]]
                self.tell("config_refused", {"problems": len(error.problems), "places": places})
                raise
            report = Report(time.time(), difference.applied, difference.waiting, warnings=doubts)
            if (not self._untold and (self.last is not None or difference != NONE)) or difference.applied:
                self.last = report
        self._tell(doubts, difference)
        return report

    def _file(self) -> Path:
        if self._path is None:
            raise BadRequest("The gateway runs on its built-in configuration: there is no file to read again.")
        return self._path

    async def _follow(self, path: Path) -> tuple[Difference, list[str]]:
        """Take over what the file says; what that changed, and doubts about it. Raises ConfigError."""
        before = self._current.config
        difference, doubts, change = await self._prepared(path)
        change.commit()
        if difference.applied:
            self._earlier.append(before)
            self._edits += 1
        return difference, doubts

    async def _prepared(self, path: Path) -> tuple[Difference, list[str], Change]:
        """What the file says, as a change that is ready; what it changes, and doubts about it. Raises ConfigError."""
        try:
            wanted, doubts = await asyncio.to_thread(_read, path)
            wanted = await asyncio.to_thread(self._join, wanted)
            difference = compare(self._current.config, wanted)
            # Also when nothing differs: weights may have come, or the variable of a key.
            change = await self._ready(applicable(self._current.config, wanted), path)
        except (ConfigError, ShuttingDown):
            raise
        except (RolecastError, OSError, RuntimeError, ValueError) as error:
            raise ConfigError([f"{path}: {error}"], source=str(path)) from error
        return difference, doubts, change

    async def _take_over(self, config: Config) -> None:
        (await self._ready(config)).commit()

    async def _ready(self, config: Config, path: Path | None = None) -> Change:
        """That configuration, ready to apply in this turn of the loop."""
        stand_ins = await asyncio.to_thread(self._stand_ins, config)
        try:
            change = await prepare(self._parts, edit_to(config, stand_ins))
        except ConfigError as error:
            if path is None:
                raise
            raise ConfigError(await asyncio.to_thread(located, error.problems, path), source=str(path)) from error
        if self._closing:
            change.discard()
            raise ShuttingDown
        return change

    def _tell(self, doubts: list[str], difference: Difference) -> None:
        if difference != NONE:
            self.tell("config_applied", {"applied": difference.applied, "waiting": difference.waiting})
        if difference.applied:
            log.info("the edited configuration applies; changed: %s", ", ".join(difference.applied))
        if difference.waiting:
            log.warning("these settings take effect at the next start: %s", ", ".join(difference.waiting))
        for line in doubts if difference != NONE else ():
            log.warning("%s", line)

    async def watch(self) -> None:
        """Reload after each change of the file; a refused edit is tried again when it changes."""
        if self._path is None:
            return
        seen = await asyncio.to_thread(_signature, self._path)
        # Edited after this process began, perhaps before the file was read and perhaps after: read it once more.
        applied = None if seen is None or seen[2] > _birth_ns() else seen
        while True:
            await asyncio.sleep(POLL_S)
            before, seen = seen, await asyncio.to_thread(_signature, self._path)
            if seen in (applied, None) or seen != before:
                continue
            applied = seen
            try:
                self._untold = bool((await self._reload()).applied) or self._untold
            except ConfigError:
                pass  # told by `reload`
            except ShuttingDown:
                return
            except Exception:
                log.exception("the edited configuration could not be applied")


def _read(path: Path) -> tuple[Config, list[str]]:
    """What the file says, and doubts about it. Raises ConfigError."""
    wanted = _settled(path)
    doubts = located([*warnings(wanted, backends.table()), *readiness.warnings(wanted)], path)
    return wanted, [*notes(path, backends=backends.table()), *doubts]


def _settled(path: Path) -> Config:
    """The configuration in the file, read while nobody wrote to it."""
    for _ in range(ATTEMPTS):
        before = _signature(path)
        if before is None:
            raise ConfigError([f"{path}: is not there, or not a regular file"], source=str(path))
        config = load(path, backends=backends.table())
        if _signature(path) == before:
            return config
        time.sleep(POLL_S / 10)
    raise ConfigError([f"{path}: keeps changing while it is read; try again when it is complete"], source=str(path))


def _signature(path: Path) -> tuple[int, int, int] | None:
    """What differs after an edit; None while there is no regular file."""
    try:
        now = path.stat()
    except OSError:
        return None
    return (now.st_ino, now.st_size, now.st_mtime_ns) if stat.S_ISREG(now.st_mode) else None


def _birth_ns() -> int:
    """When this process began, in the clock of files; a little early, as the kernel rounds."""
    return int((psutil.Process().create_time() - 2) * 1e9)


class Reloads:
    """Reads the configuration again when a service manager, or `docker kill -s HUP`, says so; one after the other."""

    def __init__(self, reloader: Reloader) -> None:
        self._reloader = reloader
        self._running: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """Start one."""
        task = asyncio.create_task(self._reload())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _reload(self) -> None:
        supervisor.tell("reloading")
        try:
            report = await self._reloader.reload()
            if not (report.applied or report.waiting):
                log.info("the configuration was read again: nothing has changed")
        except RolecastError as error:
            if not isinstance(error, ConfigError):  # of those the reloader has told
                log.warning("the configuration was not read again: %s", error.message)
        finally:
            supervisor.tell("ready")
