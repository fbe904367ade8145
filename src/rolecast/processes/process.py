"""Child processes on this machine: started in a session of their own, watched, stopped as a tree.

Knows argv, environment, pipes and signals. Does not know what a model is, when to start or stop one, or HTTP.
A child ends when the gateway ends, even by SIGKILL: see `Launch.own_watch` and `watchdog.py`.
"""

import asyncio
import contextlib
import errno
import logging
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from socket import socket
from typing import cast

import psutil

from rolecast.errors import LoadFailed
from rolecast.processes import resident, strays
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
OOM_SCORE = "300"
"""When the machine has no memory left, Linux ends a worker, which comes back by itself, before the programs of a person
that take less than 30 % of it more."""
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
_NUMBERED = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Unless the user says otherwise, NVIDIA's cards have the numbers by which their driver tells of their memory."""


def environment(ours: Mapping[str, str], extra: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What a child may see: an allow-list of `ours` without anything named like a secret, then `extra`."""
    passed = {k: v for k, v in ours.items() if _PASSED.fullmatch(k) and not _SECRET.search(k)}
    return _NUMBERED | passed | _READABLE | {"ROLECAST_GATEWAY_PID": str(os.getpid())} | dict(extra)


class Course:
    """What is seen of one process from its start to its end: its output, and how it ended."""

    def __init__(self, output: Output, uds: str) -> None:
        loop = asyncio.get_running_loop()
        self.output = output
        self.exited: asyncio.Future[int] = loop.create_future()
        self.drained: asyncio.Future[None] = loop.create_future()
        self._uds = uds
        self._loop = loop
        self._paused = False  # asked of us, not of the pipe: Python 3.11.2's pipes cannot tell
        output.on_flushed = self._resume

    def printed(self, data: bytes) -> None:
        """Some more of its output has come."""
        if self.output.feed(data) and not self._paused:
            self._paused = True
            self.output_pipe().pause_reading()

    def _resume(self) -> None:
        if self._paused and not self.drained.done():
            self._paused = False
            self.output_pipe().resume_reading()

    def silent(self) -> None:
        """No more output can come."""
        if not self.drained.done():
            self.output.end()
            self.drained.set_result(None)
            if self.exited.done():
                self.close()

    def ended(self, pid: int, code: int) -> None:
        """It has ended, with this code, or a negative signal."""
        self.exited.set_result(code)
        signal_group(pid, signal.SIGKILL)  # nothing it started outlives it
        if self._uds:
            Path(self._uds).unlink(missing_ok=True)
        if self.drained.done():
            self.close()
        else:  # a grandchild that left the session may hold the pipe open for ever
            self._loop.call_later(DRAIN_S, self.close)

    def output_pipe(self) -> asyncio.ReadTransport:
        """Where its output comes from."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of its pipes."""
        raise NotImplementedError


class Child:
    """A running worker process with everything it started. Made by `spawn`."""

    def __init__(self, name: str, launch: Launch, pid: int, course: Course, mark: str = "") -> None:
        self.name = name
        self.pid = pid
        self._launch = launch
        self._course = course
        self._mark = mark
        self._clearing: asyncio.Future[None] | None = None
        with contextlib.suppress(OSError):  # not on Linux, or gone already
            Path(f"/proc/{pid}/oom_score_adj").write_text(OOM_SCORE, encoding="ascii")

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._course.exited.result() if self._course.exited.done() else None

    async def wait(self) -> int:
        """The exit code, negative for a signal, once the process has ended and its output was read.

        What it left in other sessions has been ended by then, too: it may hold the memory that the next one needs.
        """
        code = await asyncio.shield(self._course.exited)
        if self._mark:
            self._clearing = self._clearing or asyncio.ensure_future(self._clear())
            await asyncio.shield(self._clearing)
        await asyncio.shield(self._course.drained)
        await self._course.output.written()
        return code

    async def stop(self, grace_s: float) -> None:
        """Asks with its own `stop` and with SIGTERM, waits `grace_s` seconds after each, then kills the tree.

        Returns when it has ended.
        """
        tree = await asyncio.to_thread(self._tree)
        if self._launch.stop and self.returncode is None:
            await self._ask_in_its_way(tree)
            await asyncio.wait({self._course.exited}, timeout=grace_s)
        if self.returncode is None:
            signal_group(self.pid, signal.SIGTERM)
            await asyncio.wait({self._course.exited}, timeout=grace_s)
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
            signal_group(self.pid, signal.SIGKILL)
        for process in tree:
            try:
                process.kill()  # psutil refuses when the pid belongs to a newer process
            except psutil.Error:
                pass

    def tail(self, n: int) -> list[str]:
        """The last `n` lines it printed (at most 1,000 are kept), oldest first."""
        return self._course.output.tail(n)

    def follow(self, last: int = 0) -> AsyncIterator[str]:
        """The last `last` lines, then each new one until it ends; a slow reader loses the oldest."""
        return self._course.output.follow(last)

    def takes_requests(self) -> None:
        """From now on its output may quote them: only what `Launch.kept_output` allows is kept."""
        if self._launch.kept_output:
            self._course.output.keep_only(self._launch.kept_output)

    def rss_bytes(self) -> int:
        """Resident memory of the tree in bytes; 0 when it has ended. Blocks for a moment."""
        return 0 if self.returncode is not None else resident.tree_bytes(self.pid)

    def cpu_s(self) -> float | None:
        """Seconds that the tree has computed; None where its work is done elsewhere. Blocks for a moment."""
        return None if self._launch.stop else resident.tree_cpu_s(self.pid)

    async def _clear(self) -> None:
        if left := await asyncio.to_thread(strays.sweep_after, self._mark):
            log.info("processes that %s left behind when it ended, ended now: %d", self.name, len(left))

    def _tree(self) -> list[psutil.Process]:
        if self.returncode is not None:
            return []
        try:
            leader = psutil.Process(self.pid)
            return [leader, *leader.children(recursive=True)]
        except psutil.Error:
            return []


class _Pipes(Course, asyncio.SubprocessProtocol):
    """Callbacks of one child that was started anew. Its standard input is only held open.

    With `reports`, standard output is not text for people but goes there as it comes.
    """

    def __init__(self, output: Output, uds: str, reports: Reports | None) -> None:
        super().__init__(output, uds)
        self._reports = reports
        self._open = {OUT, ERR} if reports else {OUT}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self._reports is not None and fd == OUT:
            self._reports(data)
        else:
            self.printed(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open.discard(fd)
        if not self._open:
            self.silent()

    def process_exited(self) -> None:
        code = self._transport.get_returncode()
        self.ended(self._transport.get_pid(), -signal.SIGKILL if code is None else code)

    def output_pipe(self) -> asyncio.ReadTransport:
        return cast(asyncio.ReadTransport, self._transport.get_pipe_transport(ERR if self._reports else OUT))

    def close(self) -> None:
        self._transport.close()


def signal_group(pid: int, number: int) -> None:
    """Send the signal to a child and all that stayed in its group, if anybody is left."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # nobody left in the group


async def spawn(
    launch: Launch, *, name: str, log: Path, reports: Reports | None = None, given: socket | None = None
) -> Child:
    """Starts a process whose output goes to memory and to the file `log`. Raises LoadFailed when it cannot.

    With `reports` its standard output goes there instead, as it comes; only standard error is its log.
    `given` becomes its standard input, in place of a pipe that is only held open.
    """
    argv = launch.argv if launch.own_watch else (*_watched(launch.stop, launch.parting_s), *launch.argv)
    output = await open_output(name, log)
    # A container is what its own `stop` ends: what its client leaves, such as podman's conmon, tidies up after it.
    mark = "" if launch.own_watch or launch.stop else strays.child_mark()
    try:
        transport, pipes = await asyncio.get_running_loop().subprocess_exec(
            lambda: _Pipes(output, launch.endpoint.uds if launch.endpoint else "", reports),
            *argv,
            stdin=asyncio.subprocess.PIPE if given is None else given.fileno(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE if reports else asyncio.subprocess.STDOUT,
            env=environment(os.environ, launch.env) | strays.mark() | ({strays.CHILD_MARK: mark} if mark else {}),
            start_new_session=True,
        )
    except (OSError, ValueError) as e:
        output.end()
        await output.written()
        raise LoadFailed(f"cannot start {name!r}: {argv[0]} does not run: {e}") from e
    return Child(name, launch, transport.get_pid(), pipes, mark)


async def open_output(name: str, log: Path) -> Output:
    """Where the output of a process goes. Raises LoadFailed when its file cannot be written, but for a full disk."""
    try:
        return Output(await asyncio.to_thread(LogFile, log))
    except OSError as e:
        if e.errno not in NO_ROOM:
            raise LoadFailed(f"cannot start {name!r}: its log {log} cannot be written: {e.strerror}") from e
        return Output(None, e.strerror or str(e))


def _watched(stop: Sequence[str], parting_s: float = 0.0) -> tuple[str, ...]:
    """The watchdog in front of a command that does not end with the gateway by itself."""
    return (sys.executable, "-I", "-S", str(WATCHDOG), f"{parting_s:g}", str(len(stop)), *stop, "--")
