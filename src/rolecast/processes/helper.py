"""A process of ours beside the gateway, for what it must not do itself: heavy packages, code that may take for ever.

Started with its first use, found by a unix socket in a private folder, ended when nobody has used it for a while, and
started again when it died. It speaks HTTP and says that it is ready by answering `GET /health` with 200.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Mapping
from pathlib import Path

from rolecast.errors import LoadFailed, RolecastError, WorkerDown
from rolecast.net import probe
from rolecast.net.pool import Pool
from rolecast.processes import process
from rolecast.processes.folder import remove_runtime_dir, runtime_dir
from rolecast.values import Endpoint, Launch

log = logging.getLogger("rolecast.helpers")

SOCKET = "helper.sock"
POLL_S = 0.02
GRACE_S = 2.0
LOOK_S = 5.0


class Helper:
    """One such process. Knows nothing of what it is for: `module` is run with the path of its socket as argument.

    `module` ties itself to the gateway (`lifeline.end_with_gateway`). `idle_s` 0 = it stays once it was started. `env`,
    `start_s` and `idle_s` may be changed; the next start and the next look at the clock heed it.
    """

    def __init__(
        self,
        name: str,
        module: str,
        log_file: Path,
        *,
        env: Mapping[str, str] | None = None,
        start_s: float = 30.0,
        idle_s: float = 300.0,
    ) -> None:
        self.name = name
        self._module = module
        self.log_file = log_file
        self.env = dict(env or {})
        self.start_s = start_s
        self.idle_s = idle_s
        self._child: process.Child | None = None
        self._pool: Pool | None = None
        self._folder: Path | None = None
        self._starting = asyncio.Lock()
        self._users = 0
        self._used = 0.0
        self._watch: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether it is there now."""
        return self._child is not None and self._child.returncode is None

    @property
    def pid(self) -> int:
        """Its process; 0 = it is not there."""
        return self._child.pid if self._child is not None and self.running else 0

    async def __aenter__(self) -> Pool:
        """Connections to it, while the block lasts; started first where it is not there. Raises WorkerDown."""
        self._users += 1
        try:
            async with self._starting:
                if self._pool is None or not (self.running and await asyncio.to_thread(self._can_be_found)):
                    await self._start()
            assert self._pool is not None
            return self._pool
        except BaseException:
            self._left()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._left()

    async def has_ended(self, within_s: float = 1.0) -> bool:
        """Whether it is not there any more, or will not be in a moment: asked when it broke a connection off."""
        if self._child is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._child.wait(), within_s)
        return not self.running

    def kill(self) -> None:
        """End it at once, with what it does just now; the next use starts it again."""
        if self._child is not None:
            self._child.kill()

    async def close(self) -> None:
        """End it."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        async with self._starting:
            await self._end()
        if self._folder is not None:
            await asyncio.to_thread(remove_runtime_dir, self._folder)
            self._folder = None

    def _can_be_found(self) -> bool:
        """Whether its socket is still there: who tidies folders of temporary files may take it."""
        return self._folder is not None and (self._folder / SOCKET).exists()

    def _left(self) -> None:
        self._users -= 1
        self._used = asyncio.get_running_loop().time()

    async def _start(self) -> None:
        await self._end()
        if self._folder is None or not await asyncio.to_thread(self._folder.is_dir):
            self._folder = await asyncio.to_thread(runtime_dir)
        endpoint = Endpoint(uds=str(self._folder / SOCKET), base="")
        argv = (sys.executable, "-P", "-m", self._module, endpoint.uds)
        launch = Launch(argv, endpoint, env=tuple(self.env.items()), own_watch=True)
        try:
            self._child = await process.spawn(launch, name=self.name, log=self.log_file)
        except LoadFailed as error:
            raise WorkerDown(error.message) from error
        self._pool = Pool(endpoint)
        await self._until_ready(self._child, self._pool)
        if self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._end_when_idle())

    async def _until_ready(self, child: process.Child, pool: Pool) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.start_s
        while loop.time() < deadline and child.returncode is None:
            try:
                if (await probe.fetch(pool, "GET", "/health", timeout_s=1.0)).status == 200:
                    return
            except RolecastError:
                pass
            await asyncio.sleep(POLL_S)
        said = "; ".join(child.tail(3))
        await self._end()
        raise WorkerDown(f"The helper {self.name} did not start; its log {self.log_file} says why ({said[-300:]}).")

    async def _end_when_idle(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(LOOK_S, self.idle_s) or LOOK_S)
            if self.idle_s and self._users == 0 and self.running and loop.time() - self._used >= self.idle_s:
                async with self._starting:
                    if self._users == 0:
                        await self._end()

    async def _end(self) -> None:
        pool, child = self._pool, self._child
        self._pool = self._child = None
        if pool is not None:
            pool.close()
        if child is not None:
            await child.stop(GRACE_S)
