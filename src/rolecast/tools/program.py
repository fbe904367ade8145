"""A server of MCP that is a program of ours: its standard input and output as the SDK's streams, within bounds."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from mcp.shared.message import SessionMessage

from rolecast.processes.process import environment

TIED = Path(__file__).with_name("tied.py")
MOST_LINE = 4 * 1024**2
"""Bytes of a message; a server that sends a longer one is ended."""
MOST_NOISE = 10_000
"""So many lines in a row may be no message, as those of programs that print what they do."""
LAST_BYTES = 1000
GRACE_S = 1.0


class ProgramError(Exception):
    """It does not start, or does not speak MCP; the message is for people."""


class Program:
    """The transport of one start of it: an async context manager that gives the SDK's streams."""

    def __init__(self, command: Sequence[str], env: Sequence[tuple[str, str]], ended: Callable[[str], None]) -> None:
        self._command = command
        self._env = environment(os.environ, env)
        self._ended = ended
        self._context: Any = None
        self._tail = b""

    @property
    def last_words(self) -> str:
        """What it printed last on standard error."""
        return self._tail.decode("utf-8", "replace").strip()

    async def __aenter__(self) -> Any:
        self._context = self._streams()
        return await self._context.__aenter__()

    async def __aexit__(self, *exc: Any) -> Any:
        return await self._context.__aexit__(*exc)

    @asynccontextmanager
    async def _streams(self) -> AsyncIterator[Any]:
        if shutil.which(self._command[0], path=self._env.get("PATH")) is None:
            raise ProgramError(f"there is no program {self._command[0]!r} here; install it, or write its whole path")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(TIED), *self._command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._env,
            start_new_session=True,
            limit=MOST_LINE,
        )
        try:
            to_session, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
            outgoing, from_session = anyio.create_memory_object_stream[SessionMessage](0)
            tasks = [
                asyncio.create_task(self._read(process, to_session)),
                asyncio.create_task(_write(process, from_session, to_session)),
                asyncio.create_task(self._note(process)),
            ]
            try:
                yield incoming, outgoing
            finally:
                incoming.close()
                outgoing.close()
                for task in tasks:
                    task.cancel()
        finally:
            await asyncio.shield(_stop(process))

    async def _read(self, process: asyncio.subprocess.Process, to_session: Any) -> None:
        """Hand its messages on until it ends, or sends what is none."""
        assert process.stdout is not None
        why, noise = "the program ended", 0
        async with to_session:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                while True:
                    try:
                        line = await process.stdout.readline()
                    except ValueError:
                        why = f"the program sent a message of more than {MOST_LINE // 1024**2} MiB"
                        break
                    if not line:
                        break
                    try:
                        message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
                    except ValueError:
                        noise += 1
                        if noise > MOST_NOISE:
                            why = "the program does not speak MCP on its standard output"
                            break
                        await asyncio.sleep(0)
                        continue
                    noise = 0
                    await to_session.send(SessionMessage(message))
        self._ended(why)

    async def _note(self, process: asyncio.subprocess.Process) -> None:
        """Keep what it prints last, in case that it does not start."""
        assert process.stderr is not None
        while data := await process.stderr.read(65536):
            self._tail = (self._tail + data)[-LAST_BYTES:]


async def _write(process: asyncio.subprocess.Process, from_session: Any, to_session: Any) -> None:
    assert process.stdin is not None
    try:
        async with from_session:
            async for message in from_session:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(text.encode() + b"\n")
                await process.stdin.drain()
    except OSError:
        await to_session.aclose()  # it reads no more, so nobody may wait for an answer


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Close its input, then ask, then end it with all that it started."""
    assert process.stdin is not None
    process.stdin.close()
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        if number is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
        for _ in range(int(GRACE_S / 0.02)):
            if process.returncode is not None:
                break
            await asyncio.sleep(0.02)
        if process.returncode is not None and number is None:
            continue  # what it started may live on
    transport = getattr(process, "_transport", None)
    if transport is not None:  # a grandchild that left the session may hold the pipes open for ever
        transport.close()
