"""One zygote, as the gateway sees it: started, asked for copies, told of their ends. The other side of `zygote.py`.

Knows the socket between the two, and what becomes of copies when their zygote is gone: they go on, and their end is
seen by their pidfd. Does not know when a zygote is wanted; `forks` does.
"""

import asyncio
import errno
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import cast

import msgspec

from rolecast.errors import LoadFailed
from rolecast.processes import process
from rolecast.processes.output import Output
from rolecast.values import Launch

PROGRAM = "rolecast.processes.zygote"
ANY, CHECKED = "any", "checked"
"""Whether its module is asked if copies are safe."""
READY_S = 3.0
"""So long after its start a zygote is waited for; as a process of its own a worker would import as long."""
START_S = 60.0
"""One that is not ready by then never will be."""
COPY_S = 5.0
"""A copy takes milliseconds. A zygote that needs so long does not run."""
END_S = 1.0
MESSAGE_BYTES = 1 << 16


class Key(msgspec.Struct, frozen=True):
    """What a zygote has imported, and with which variables: libraries read theirs when they are loaded."""

    module: str
    env: tuple[tuple[str, str], ...]


class _Said(msgspec.Struct):
    """A message of a zygote: one of these fields, and `code` with `ended`."""

    ready: int = 0
    unfit: str = ""
    copy: int = 0
    failed: str = ""
    ended: int = 0
    code: int = 0


class Copy(process.Course, asyncio.Protocol):
    """One copy: its output comes by a pipe, its end is told by the zygote, or seen here when that is gone."""

    def __init__(self, output: Output, uds: str, held: int) -> None:
        super().__init__(output, uds)
        self.pid = 0
        """0 = it has not begun."""
        self.asked: asyncio.Future[None] = self._loop.create_future()
        """Done when it has begun, and when it will not."""
        self._held = held
        """The other end of its standard input."""
        self._watch = -1
        """Its pidfd."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.ReadTransport, transport)

    def data_received(self, data: bytes) -> None:
        self.printed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.silent()

    def output_pipe(self) -> asyncio.ReadTransport:
        return self._transport

    def close(self) -> None:
        self._transport.close()

    def answered(self, pid: int = 0, watch: int = -1) -> None:
        """It is this process, or it will be none."""
        self.pid, self._watch = pid, watch
        if not self.asked.done():
            self.asked.set_result(None)

    async def given_up(self) -> None:
        """It has not begun, and must not: should it still, its standard input is closed. Its place is for another."""
        os.close(self._held)
        self._transport.close()
        await self.drained
        if self._uds:
            await asyncio.to_thread(Path(self._uds).unlink, missing_ok=True)
        await self.output.written()

    def has_ended(self, code: int) -> None:
        """It has ended with this code."""
        os.close(self._held)
        os.close(self._watch)
        self.ended(self.pid, code)

    def watch(self) -> None:
        """Nobody tells of its end any more: it is looked for here."""
        self._loop.add_reader(self._watch, self._found_ended)

    def _found_ended(self) -> None:
        self._loop.remove_reader(self._watch)
        code = -signal.SIGKILL  # how it ended is not ours to know,
        with suppress(ChildProcessError):  # unless we are the first process of a container, who gets the orphans
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            code = os.waitstatus_to_exitcode(status) if ended else code
        self.has_ended(code)


def _close_all(files: list[int]) -> None:
    for file in files:
        os.close(file)


class Brood:
    """A zygote with its copies. `on_end` is called once, when it can make no more."""

    def __init__(self, key: Key, way: str, log: Path, on_end: Callable[["Brood"], None]) -> None:
        self.key = key
        self.unfit = False
        """It has found that a copy of it would not be sound."""
        self.served = False
        """Whether it has made a copy."""
        self.pid = 0
        """Its process; 0 = none has been started yet."""
        self._retired = False
        self._way = way
        self._log = log
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._ready: asyncio.Future[bool] = self._loop.create_future()
        self._child: process.Child | None = None
        self._control: socket.socket | None = None
        self._asked: deque[Copy] = deque()
        self._copies: dict[int, Copy] = {}
        self._over = False

    @property
    def runs(self) -> bool:
        """Whether there is such a process."""
        return self._child is not None and self._child.returncode is None

    # -- life ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the process; it says by itself when it is ready."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._began = self._loop.time()
        self._loop.call_later(START_S, self._look)
        argv = (sys.executable, "-P", "-m", PROGRAM, self.key.module, self._way)
        launch = Launch(argv, env=self.key.env, own_watch=True)
        try:
            self._child = await process.spawn(launch, name="zygote", log=self._log, given=theirs)
        except LoadFailed:
            ours.close()
            self._end()
            return
        finally:
            theirs.close()
        self.pid = self._child.pid
        if self._over:  # meanwhile nobody wants it any more
            ours.close()
            self.kill()
            await self._child.wait()
            return
        self._control = ours
        self._loop.add_reader(ours.fileno(), self._read)

    def retire(self) -> None:
        """Make no more copies, and end with the last one."""
        self._retired = True
        self._leave()

    async def close(self) -> None:
        """End the process. Copies that still run go on."""
        self._end()
        if self._child is not None:
            await asyncio.wait({asyncio.ensure_future(self._child.wait())}, timeout=END_S)
            self.kill()
            await self._child.wait()

    def kill(self) -> None:
        """End the process at once; its copies are in groups of their own."""
        if self.runs:
            process.signal_group(self.pid, signal.SIGKILL)

    def _look(self) -> None:
        if not self._ready.done():
            self._give_up()

    def _give_up(self) -> None:
        """It does not do what it is there for."""
        self._end()
        self.kill()

    def _leave(self) -> None:
        if self._retired and not self._copies and not self._asked:
            self._end()

    def _end(self) -> None:
        """It makes no more copies, whoever ended it."""
        if self._over:
            return
        self._over = True
        if self._control is not None:
            self._loop.remove_reader(self._control.fileno())
            self._control.close()  # which ends it, if it still runs
        if not self._ready.done():
            self._ready.set_result(False)
        while self._asked:
            self._asked.popleft().answered()
        for copy in self._copies.values():
            copy.watch()
        self._copies.clear()
        self._on_end(self)

    # -- copies -------------------------------------------------------------------------------------------

    async def copy(self, launch: Launch, words: tuple[str, ...], *, name: str, log: Path) -> process.Child | None:
        """A worker as a copy; None when none can be had here. Raises LoadFailed when its log cannot be written."""
        if not self._ready.done():
            await asyncio.wait({self._ready}, timeout=self._began + READY_S - self._loop.time())
        message = msgspec.json.encode({"name": name, "words": words})
        if self._over or not self._ready.done() or len(message) > MESSAGE_BYTES:
            return None
        output = await process.open_output(name, log)
        try:
            copy = await self._ask(message, output, launch.endpoint.uds if launch.endpoint else "")
        except OSError:  # no files are left
            output.end()
            await output.written()
            return None
        await asyncio.wait({copy.asked}, timeout=COPY_S)
        if not copy.asked.done():
            self._give_up()
        if not copy.pid:
            await copy.given_up()
            return None
        self.served = True
        return process.Child(name, launch, copy.pid, copy)

    async def _ask(self, message: bytes, output: Output, uds: str) -> Copy:
        """Send the request, with the ends of two pipes: what it reads is held here, what it prints comes here."""
        with ExitStack() as stack:
            ends = [*os.pipe()]
            stack.callback(_close_all, ends)
            ends += os.pipe()
            reading, held, printed, printing = ends
            copy = Copy(output, uds, held)
            await self._loop.connect_read_pipe(lambda: copy, os.fdopen(printed, "rb", 0))
            ends[:] = [reading, printing]  # the other two are the copy's from here on
            try:
                if self._control is None or self._over:
                    raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
                socket.send_fds(self._control, [message], [reading, printing, printing])
                self._asked.append(copy)
            except OSError:
                copy.answered()
        return copy

    def _read(self) -> None:
        """Whatever the zygote has said since."""
        while not self._over:
            assert self._control is not None
            try:
                said, files, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 1)
            except BlockingIOError:
                return
            except OSError:
                said, files = b"", []
            if not said:
                self._end()
                return
            self._hear(msgspec.json.decode(said, type=_Said), files)

    def _hear(self, said: _Said, files: list[int]) -> None:
        for file in files:
            os.set_inheritable(file, False)
        if said.copy and self._asked and not files:  # there was no room for what would tell of its end
            process.signal_group(said.copy, signal.SIGKILL)
            self._asked.popleft().answered()
        elif said.copy and self._asked:
            copy = self._copies[said.copy] = self._asked.popleft()
            copy.answered(said.copy, files[0])
        elif said.failed and self._asked:
            self._asked.popleft().answered()
        elif said.ended and said.ended in self._copies:
            self._copies.pop(said.ended).has_ended(said.code)
        elif said.unfit:
            self.unfit = True
        elif said.ready and not self._ready.done():
            self._ready.set_result(True)
        self._leave()
