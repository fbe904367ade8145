"""Runs one function in a process of its own, within bounds of time, processor and memory. Knows not what it does."""

import asyncio
import ctypes
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

MEMORY_BYTES = 1024**3
"""Address space; what Python and sympy take is about 100 MB of it."""
MOST_ANSWER = 64 * 1024
_PR_SET_PDEATHSIG = 1


async def boxed(work: Callable[[], bytes], seconds: float) -> bytes | None:
    """What `work` gives in a fork of this process; None = it was not done in time, or died."""
    reads, writes = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # our only other thread waits for the gateway to end
        pid = os.fork()
    if not pid:
        _inside(work, writes, seconds)
    os.close(writes)
    try:
        return await asyncio.wait_for(_all_of(reads), seconds) or None
    except TimeoutError:
        return None
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)  # noqa: ASYNC222  # it is dead


async def _all_of(pipe: int) -> bytes:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(pipe, "rb", 0))
    try:
        return await reader.read(MOST_ANSWER)
    finally:
        transport.close()


def _inside(work: Callable[[], bytes], writes: int, seconds: float) -> NoReturn:
    """The fork: never comes back."""
    try:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)
        _shut(writes)
        _limit(seconds)
        os.write(writes, work()[:MOST_ANSWER])
    except BaseException:  # whatever it was, it must be quiet: an error may quote a prompt
        os._exit(1)
    os._exit(0)


def _shut(writes: int) -> None:
    """Nothing is open but the pipe; what is printed goes nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.closerange(3, writes)
    os.closerange(writes + 1, min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 4096))


def _limit(seconds: float) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    whole = int(seconds) + 1
    for what, most in (
        (resource.RLIMIT_CPU, whole),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        try:
            resource.setrlimit(what, (most, most))
        except (ValueError, OSError):  # macOS takes no bound of memory
            pass
