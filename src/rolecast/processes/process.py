"""Child processes on this machine: started in a session of their own, watched, stopped as a tree.

Knows argv, environment, pipes and signals. Does not know what a model is, when to start or stop one, or HTTP.
A child ends when the gateway ends, even by SIGKILL: see `Launch.own_watch` and `watchdog.py`.
"""

import asyncio
import errno
import logging
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import psutil

from rolecast.errors import LoadFailed
from rolecast.processes import resident
from rolecast.processes.output import LogFile, Output
from rolecast.values import Launch

log = logging.getLogger("rolecast.processes")

WATCHDOG = Path(__file__).with_name("watchdog.py")
STOP_COMMAND_S = 15.0
"""A command that ends a container may wait for that container: Docker gives one ten seconds."""
OUT, ERR = 1, 2
Reports = Callable[[bytes], None]
"""Takes pieces of a child's standard output; must not raise."""
DRAIN_S = 1.0
"""How long output may still come after the exit before the pipe is closed."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""A model can do without its log file when the disk takes none."""

_PASSED = re.compile(
    r"(PATH|HOME|USER|LOGNAME|SHELL|TZ|TMPDIR|LANG|LANGUAGE|LC_\w+|LD_LIBRARY_PATH|DYLD_\w+|VIRTUAL_ENV"
    r"|PYTHON(PATH|HOME|UTF8|WARNINGS|DONTWRITEBYTECODE|PYCACHEPREFIX)"
    r"|(CUDA|NVIDIA|HIP|HSA|ROCR|ROCM|GGML|OMP|GOMP|KMP|MKL|OPENBLAS)_\w+)"
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_READABLE = {"PYTHONUNBUFFERED": "1"}
"""Who reads a child's output wants each line when it is printed."""


def environment(ours: Mapping[str, str], extra: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What a child may see: an allow-list of `ours` without anything named like a secret, then `extra`."""
    passed = {k: v for k, v in ours.items() if _PASSED.fullmatch(k) and not _SECRET.search(k)}
    return passed | _READABLE | {"ROLECAST_GATEWAY_PID": str(os.getpid())} | dict(extra)


class Child:
    """A running worker process with everything it started. Made by `spawn`."""

    def __init__(self, name: str, launch: Launch, transport: asyncio.SubprocessTransport, pipes: "_Pipes") -> None:
        self.name = name
        self.pid: int = transport.get_pid()
        self._launch = launch
        self._pipes = pipes

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._pipes.exited.result() if self._pipes.exited.done() else None

    async def wait(self) -> int:
        """The exit code, negative for a signal, once the process has ended and its output was read."""
        code = await asyncio.shield(self._pipes.exited)
        await asyncio.shield(self._pipes.drained)
        await self._pipes.output.written()
        return code

    async def stop(self, grace_s: float) -> None:
        """Asks with its own `stop` and with SIGTERM, waits `grace_s` seconds after each, then kills the tree.

        Returns when it has ended.
        """
        tree = await asyncio.to_thread(self._tree)
        if self._launch.stop and self.returncode is None:
            await self._ask_in_its_way(tree)
            await asyncio.wait({self._pipes.exited}, timeout=grace_s)
        if self.returncode is None:
            _signal_group(self.pid, signal.SIGTERM)
            await asyncio.wait({self._pipes.exited}, timeout=grace_s)
        if self.returncode is None:
            tree += await asyncio.to_thread(self._tree)
        self._kill(tree)
        await self.wait()

    async def _ask_in_its_way(self, tree: list[psutil.Process]) -> None:
        """Runs the command that ends it, within `STOP_COMMAND_S`. What goes wrong with that is seen in its log."""
        # Under the watchdog the command is its child.
        pid = str(tree[0 if self._launch.own_watch or len(tree) < 2 else 1].pid if tree else self.pid)
        argv = [word.replace("{pid}", pid) for word in self._launch.stop]
        try:
            if shutil.which(argv[0]) is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            asked = await asyncio.create_subprocess_exec(
                *_watched(()),  # or it would outlive a gateway that is killed meanwhile
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env=environment(os.environ, self._launch.env),
                start_new_session=True,
            )
        except OSError as e:
            log.warning("%s could not be stopped by its command: %s", self.name, e.strerror or e)
            return
        ended = asyncio.create_task(asked.wait())
        await asyncio.wait({ended}, timeout=STOP_COMMAND_S)
        if asked.returncode is None:
            log.warning("the command that stops %s did not end within %g s", self.name, STOP_COMMAND_S)
            assert asked.stdin is not None
            asked.stdin.close()
        elif asked.returncode:
            log.warning("the command that stops %s ended with code %d", self.name, asked.returncode)
        await ended

    def kill(self) -> None:
        """Kills the whole tree at once and does not wait."""
        self._kill(self._tree())

    def _kill(self, tree: Iterable[psutil.Process]) -> None:
        if self.returncode is None:
            _signal_group(self.pid, signal.SIGKILL)
        for process in tree:
            try:
                process.kill()  # psutil refuses when the pid belongs to a newer process
            except psutil.Error:
                pass

    def tail(self, n: int) -> list[str]:
        """The last `n` lines it printed (at most 1,000 are kept), oldest first."""
        return self._pipes.output.tail(n)

    def follow(self, last: int = 0) -> AsyncIterator[str]:
        """The last `last` lines, then each new one until it ends; a slow reader loses the oldest."""
        return self._pipes.output.follow(last)

    def takes_requests(self) -> None:
        """From now on its output may quote them: only what `Launch.kept_output` allows is kept."""
        if self._launch.kept_output:
            self._pipes.output.keep_only(self._launch.kept_output)

    def rss_bytes(self) -> int:
        """Resident memory of the tree in bytes; 0 when it has ended. Blocks for a moment."""
        return 0 if self.returncode is not None else resident.tree_bytes(self.pid)

    def _tree(self) -> list[psutil.Process]:
        if self.returncode is not None:
            return []
        try:
            leader = psutil.Process(self.pid)
            return [leader, *leader.children(recursive=True)]
        except psutil.Error:
            return []


class _Pipes(asyncio.SubprocessProtocol):
    """Callbacks of one child: output in, exit noticed. Its standard input is only held open.

    With `reports`, standard output is not text for people but goes there as it comes.
    """

    def __init__(self, output: Output, socket: str, reports: Reports | None) -> None:
        loop = asyncio.get_running_loop()
        self.output = output
        self.exited: asyncio.Future[int] = loop.create_future()
        self.drained: asyncio.Future[None] = loop.create_future()
        self._socket = socket
        self._reports = reports
        self._open = {OUT, ERR} if reports else {OUT}
        self._loop = loop
        self._paused = False  # asked of us, not of the pipe: Python 3.11.2's pipes cannot tell

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self.output.on_flushed = self._resume

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self._reports is not None and fd == OUT:
            self._reports(data)
        elif self.output.feed(data) and not self._paused:
            self._paused = True
            self._output_pipe().pause_reading()

    def _resume(self) -> None:
        if self._paused and not self.drained.done():
            self._paused = False
            self._output_pipe().resume_reading()

    def _output_pipe(self) -> asyncio.ReadTransport:
        return cast(asyncio.ReadTransport, self._transport.get_pipe_transport(ERR if self._reports else OUT))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open.discard(fd)
        if not self._open and not self.drained.done():
            self.output.end()
            self.drained.set_result(None)
            if self.exited.done():
                self._transport.close()

    def process_exited(self) -> None:
        code = self._transport.get_returncode()
        self.exited.set_result(-signal.SIGKILL if code is None else code)
        _signal_group(self._transport.get_pid(), signal.SIGKILL)  # nothing it started outlives it
        if self._socket:
            Path(self._socket).unlink(missing_ok=True)
        if self.drained.done():
            self._transport.close()
        else:  # a grandchild that left the session may hold the pipe open for ever
            self._loop.call_later(DRAIN_S, self._transport.close)


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # nobody left in the group


async def spawn(launch: Launch, *, name: str, log: Path, reports: Reports | None = None) -> Child:
    """Starts a process whose output goes to memory and to the file `log`. Raises LoadFailed when it cannot.

    With `reports` its standard output goes there instead, as it comes; only standard error is its log.
    """
    argv = launch.argv if launch.own_watch else (*_watched(launch.stop, launch.parting_s), *launch.argv)
    try:
        output = Output(await asyncio.to_thread(LogFile, log))
    except OSError as e:
        if e.errno not in NO_ROOM:
            raise LoadFailed(f"cannot start {name!r}: its log {log} cannot be written: {e.strerror}") from e
        output = Output(None, e.strerror or str(e))
    try:
        transport, pipes = await asyncio.get_running_loop().subprocess_exec(
            lambda: _Pipes(output, launch.endpoint.uds if launch.endpoint else "", reports),
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE if reports else asyncio.subprocess.STDOUT,
            env=environment(os.environ, launch.env),
            start_new_session=True,
        )
    except (OSError, ValueError) as e:
        await output.written()
        raise LoadFailed(f"cannot start {name!r}: {argv[0]} does not run: {e}") from e
    return Child(name, launch, transport, pipes)


def _watched(stop: Sequence[str], parting_s: float = 0.0) -> tuple[str, ...]:
    """The watchdog in front of a command that does not end with the gateway by itself."""
    return (sys.executable, "-I", "-S", str(WATCHDOG), f"{parting_s:g}", str(len(stop)), *stop, "--")
