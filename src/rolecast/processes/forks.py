"""Workers as copies of zygotes, which need no imports: a `Starter` that keeps them ready.

A zygote is there before the first worker needs it, one for each environment. Where there is none, and none can be had,
a worker is started as a process of its own, and whoever asked for it does not see the difference. Knows nothing of
models, and of their modules only the names.
"""

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from pathlib import Path

from rolecast.config.edit import Change, Edit
from rolecast.processes import process
from rolecast.processes.brood import ANY, CHECKED, Brood, Key
from rolecast.processes.running import Running
from rolecast.values import Launch

log = logging.getLogger("rolecast.processes")

LOG = "zygote~.log"
"""No model's log is called so: there is no such sign in their names."""
MOST = 2
"""Zygotes at a time. Models that set an environment of their own beyond that are started as new processes."""
TRIES = 3
"""So many that ended without having been of use, one after the other, are enough."""


class Forks:
    """The zygotes of this gateway, and the way workers are started. Everything runs on the event loop's thread."""

    def __init__(self, way: str, logs: Path) -> None:
        self._way = way
        self._log = logs / LOG
        self._broods: dict[Key, Brood] = {}
        self._leaving: set[Brood] = set()
        self._losses: dict[Key, int] = {}
        self._unfit: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._closing = False

    @property
    def pids(self) -> list[int]:
        """The processes of the zygotes, for who counts memory; their copies are workers."""
        return [brood.pid for brood in (*self._broods.values(), *self._leaving) if brood.runs]

    async def __call__(self, launch: Launch, *, name: str, log: Path) -> Running:
        """Start a worker, as a copy where that can be. Raises LoadFailed when it cannot be started."""
        if launch.forkable and (brood := self._brood(key(launch))) is not None:
            child = await brood.copy(launch, words(launch), name=name, log=log)
            if child is not None:
                return child
        return await process.spawn(launch, name=name, log=log)

    async def prepare(self, edit: Edit) -> Change:
        """Another setting is heeded with the next start, and zygotes that are of no use any more end."""
        return Change(partial(self._follow, edit.config.memory.zygote))

    def _follow(self, way: str) -> None:
        if way != self._way:
            self._way = way
            self._retire(list(self._broods))
        self._losses.clear()
        self._unfit.clear()
        self._changed.set()

    async def keep_ready(self, launches: Callable[[], Awaitable[Iterable[Launch]]]) -> None:
        """Keep a zygote for each of these that may come; they are asked for again after an edit, or a loss."""
        while True:
            self._changed.clear()
            wanted = Counter(key(launch) for launch in await launches() if launch.forkable)
            self._retire([each for each in self._broods if each not in wanted])
            for each, _ in wanted.most_common(MOST):
                self._brood(each)
            await self._changed.wait()

    async def close(self) -> None:
        """End all zygotes; nothing is started by them any more."""
        self._closing = True
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*(brood.close() for brood in (*self._broods.values(), *self._leaving)))
        if self._tasks:  # of those that ended just now
            await asyncio.wait(self._tasks)

    def _brood(self, wanted: Key) -> Brood | None:
        """The zygote of that kind, started where it is not there; None when there is to be none."""
        if found := self._broods.get(wanted):
            return found
        useless = wanted.module in self._unfit or self._losses.get(wanted, 0) >= TRIES
        if useless or self._closing or not self._is_wanted() or len(self._broods) >= MOST:
            return None
        way = ANY if self._way == "on" else CHECKED
        brood = self._broods[wanted] = Brood(wanted, way, self._log, self._ended)
        self._see_to(brood.start())
        return brood

    def _see_to(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _is_wanted(self) -> bool:
        return self._way != "off" and sys.platform == "linux"

    def _retire(self, keys: Iterable[Key]) -> None:
        for each in keys:
            brood = self._broods.pop(each)
            self._leaving.add(brood)
            brood.retire()

    def _ended(self, brood: Brood) -> None:
        self._leaving.discard(brood)
        self._see_to(brood.close())  # its process has yet to end
        if self._closing or self._broods.get(brood.key) is not brood:
            return
        del self._broods[brood.key]
        if brood.unfit:
            self._unfit.add(brood.key.module)
            log.info("workers are started without a zygote: copies of %s are not safe here", brood.key.module)
            return
        losses = self._losses[brood.key] = 0 if brood.served else self._losses.get(brood.key, 0) + 1
        log.warning("the zygote (pid %d) ended%s", brood.pid, "; no other is tried" if losses >= TRIES else "")
        self._changed.set()


def key(launch: Launch) -> Key:
    """What a zygote of that worker has imported, and its variables."""
    return Key(launch.argv[launch.argv.index("-m") + 1], launch.env)


def words(launch: Launch) -> tuple[str, ...]:
    """What the module is given."""
    return launch.argv[launch.argv.index("-m") + 2 :]
