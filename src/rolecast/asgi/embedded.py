"""A gateway in a thread of this process, which listens on unix sockets in a private folder instead of on its ports.

Knows when it has to run and where its listeners are to be found. Carrying requests to them is `bridge`'s.
"""

import asyncio
import atexit
import contextlib
import os
import socket
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from rolecast import backends
from rolecast.app import Gateway, serving
from rolecast.asgi.bridge import Bridge
from rolecast.config import load, presets, read
from rolecast.config.schema import Config
from rolecast.errors import ConfigError
from rolecast.processes.folder import remove_runtime_dir, runtime_dir
from rolecast.server.doors import Place, wanted
from rolecast.server.sockets import BACKLOG


class _Run:
    """One life of the gateway: begun, ready or failed, told to end, ended."""

    def __init__(self, config: Config) -> None:
        self.ready: Future[Mapping[int, str]] = Future()
        """The sockets by the port that the configuration names; it holds the error when the start failed."""
        self.ready.set_running_or_notify_cancel()  # so that nobody who stops waiting cancels it for all
        self.users = 0
        self._config = config
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        # It must not keep a program alive that has ended. Workers end with the process by themselves, as always.
        self.thread = threading.Thread(target=self._live, name="rolecast", daemon=True)
        self.thread.start()

    def end(self) -> None:
        """Let the requests finish, and wait until workers and gateway are gone."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        self.thread.join()

    def _live(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self.ready.done():
                raise
            self.ready.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        folder = runtime_dir()
        clear = partial(remove_runtime_dir, folder)
        atexit.register(clear)
        sockets: dict[int, str] = {}
        try:
            async with serving(Gateway(self._config, bind=partial(_bind, folder, sockets))):
                self.ready.set_result(sockets)
                await self._stop.wait()
        finally:
            clear()
            atexit.unregister(clear)


def _bind(folder: Path, sockets: dict[int, str], place: Place, beside: Sequence[socket.socket]) -> socket.socket:
    """A socket in the folder; nobody but this user can open it."""
    path = str(folder / f"{len(sockets)}.sock")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    sockets[place.listener.port] = path
    return sock


class Embedded:
    """A gateway that starts with the first app that is used, and ends with the last lifespan or with the process.

    `config` is a file or a configuration, `preset` the name of a ready one; without either, what `rolecast up` would
    use. ROLECAST_* variables apply as always. `allowed_hosts` are names besides those of `server.allowed_hosts`.
    Nothing is read before an app is used, and nothing is downloaded. `async with` keeps it running for a block, for an
    application whose own lifespan hides that of a mounted app. Raises ValueError when both are given.
    """

    def __init__(
        self,
        config: Config | Path | str | None = None,
        *,
        preset: str | None = None,
        allowed_hosts: Iterable[str] = (),
    ) -> None:
        if config is not None and preset is not None:
            raise ValueError("Give a configuration or a preset, not both.")
        self._source = config
        self._preset = preset
        self._hosts = list(allowed_hosts)
        self._run: _Run | None = None
        # Apps are called from loops in several threads (a test client has one of its own for each request).
        self._turn = threading.Lock()

    def app(self, port: int | None = None) -> Bridge:
        """The ASGI app of one port of the configuration; None is the front door. The port is not opened."""
        return Bridge(self, port)

    async def enter(self) -> None:
        """Start it, or join those who use it, until `leave`. Raises ConfigError when it cannot start."""
        run = await asyncio.to_thread(self._running, 1)
        try:
            await asyncio.wrap_future(run.ready)
        except BaseException:
            await self.leave()
            raise

    async def leave(self) -> None:
        """Go; the last one ends the gateway."""
        await asyncio.to_thread(self._let_go)

    async def __aenter__(self) -> Self:
        await self.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.leave()

    async def socket(self, port: int | None) -> str:
        """Where a port of the configuration really listens; starts what does not run. Raises ConfigError."""
        run = self._run
        if run is None or not run.ready.done() or run.ready.exception() or not run.thread.is_alive():
            run = await asyncio.to_thread(self._running)
            await asyncio.wrap_future(run.ready)
        found = run.ready.result()
        if port is None:
            return next(iter(found.values()))
        if port not in found:
            raise ConfigError([f"server.listeners: there is no port {port}; there are {', '.join(map(str, found))}"])
        return found[port]

    def _running(self, users: int = 0) -> _Run:
        with self._turn:
            run = self._run
            if run is None or not run.thread.is_alive() or (run.ready.done() and run.ready.exception()):
                run = self._run = _Run(self._configuration())
            run.users += users
            return run

    def _let_go(self) -> None:
        with self._turn:
            run = self._run
            if run is None:
                return
            run.users -= 1
            if run.users > 0:
                return
            self._run = None
        run.end()

    def _configuration(self) -> Config:
        if isinstance(self._source, Config):
            config = self._source
        elif self._preset is not None:
            name = f"{self._preset}.yaml"
            config = read(presets.text(self._preset), name=name, env=os.environ, backends=backends.table())
        else:
            config = load(Path(self._source) if self._source else None, backends=backends.table())
        ports = [listener.port for _, listener in wanted(config.server)]
        if len(set(ports)) < len(ports):
            raise ConfigError(["server.listeners: each port of an embedded gateway needs a number of its own"])
        hosts = [*config.server.allowed_hosts, *self._hosts]
        return msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, allowed_hosts=hosts))
