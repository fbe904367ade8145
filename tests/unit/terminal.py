"""A program on a real terminal, seen as a person sees it: what stands on the screen after all redrawing."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import pyte

DEADLINE_S = 40.0
"""Generous: it only bounds how long a failure takes to show."""
PASTE = "\x1b[200~{}\x1b[201~"
ALT_ENTER = "\x1b\r"
CTRL_C = "\x03"


class Terminal:
    """`python -m rolecast ...` on a pseudo-terminal; what scrolled off the top counts as seen."""

    def __init__(self, *args: str, env: Mapping[str, str], columns: int = 80, rows: int = 40) -> None:
        self._screen = pyte.HistoryScreen(columns, rows, history=5000)
        self._stream = pyte.ByteStream(self._screen)
        self._status: int | None = None
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            given = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
            argv = [sys.executable, "-m", "rolecast", *args]
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
                os.execve(sys.executable, argv, given | {"TERM": "xterm-256color"} | dict(env))
            finally:
                os._exit(127)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)

    @property
    def text(self) -> str:
        """Everything on the screen and above it, without the spaces at line ends."""
        above = ["".join(line[x].data for x in range(self._screen.columns)) for line in self._screen.history.top]
        return "\n".join(line.rstrip() for line in (*above, *self._screen.display)).rstrip()

    @property
    def title(self) -> str:
        return str(self._screen.title)

    def see(self, text: str, times: int = 1) -> str:
        """Wait until a text stands on the screen."""
        end = time.monotonic() + DEADLINE_S
        while self.text.count(text) < times:
            assert time.monotonic() < end, f"{text!r} is not {times} times on:\n{self.text}"
            assert self._take() or self.text.count(text) >= times, f"ended without {text!r}:\n{self.text}"
        return self.text

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def end(self) -> int:
        """Wait for its end; the exit code."""
        while self._take():
            pass
        self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status

    def _take(self) -> bool:
        """Show what was printed since; False at the end of everything."""
        if not select.select([self._fd], [], [], 0.1)[0]:
            return True
        try:
            printed = os.read(self._fd, 65536)
        except OSError:  # how Linux says that the other end has closed
            return False
        self._stream.feed(printed)
        if b"\x1b[6n" in printed:  # where is the cursor?
            self.type(f"\x1b[{self._screen.cursor.y + 1};{self._screen.cursor.x + 1}R")
        return bool(printed)
