"""How a worker ended: by itself, by a fault of its own, by somebody else, or because the system was short of memory.

Draws no conclusion: who is to blame is `turn/losses.py`'s, what follows for the model the machine's, and how much
memory it gets next time `shortage.py`'s and `learnt.py`'s.
"""

import re
import signal
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from rolecast.telemetry import cgroups

FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""Signals by which somebody else ends a worker: a person, a service manager, the system short of memory."""
SIGNALS = {int(number): number.name for number in signal.Signals}
BY_SIGNAL = 128
"""A shell, or the client of a container, ends with this and the number of the signal that ended what it ran."""


class Cause(StrEnum):
    EXITED = "exited"
    """By itself, with a code."""
    CRASHED = "crashed"
    """By a signal that stands for a fault of its own."""
    KILLED = "killed"
    """By somebody else, as far as can be told."""
    MEMORY = "memory"
    """By the system, which was short of memory."""
    ENDED = "ended"
    """By us, because it did not load in time, or answered no health check."""
    STOPPED = "stopped"
    """By us, for a reason of ours."""
    OUTRUN = "outrun"
    """By itself, because another program took its port before it did."""


class Death(msgspec.Struct, frozen=True):
    """The end of one worker."""

    cause: Cause
    text: str
    """A sentence for people, with its last words where they tell why."""
    certain: bool = True
    """False for one that was killed where the system would not tell if it had been for memory."""


class Kills:
    """The kernel's count of what it killed for want of memory, since somebody looked last."""

    def __init__(self, root: Path = cgroups.ROOT) -> None:
        self._root = root
        self.are_told = cgroups.tells_kills(root)
        """Whether this system counts them at all."""
        self.look()

    def look(self) -> None:
        """What was counted until now is nothing new; called every few seconds."""
        self._seen = cgroups.kills(self._root)

    def more(self) -> bool:
        """Whether there were more since; each time they account for one end."""
        before, self._seen = self._seen, cgroups.kills(self._root)
        return self._seen > before


def of(code: int, tail: Sequence[str], kills: Kills) -> Death:
    """What an exit code, negative for a signal, and the last lines of output tell."""
    number = -code if code < 0 else code - BY_SIGNAL
    if number not in SIGNALS:
        return Death(Cause.EXITED, f"its worker ended with code {code}{_words(tail) if code else ''}.")
    if number == signal.SIGKILL and kills.more():
        return Death(Cause.MEMORY, "its worker was ended by the system, which was short of memory.")
    text = f"its worker was killed by signal {number} ({SIGNALS[number]})"
    if number not in FROM_OUTSIDE:
        return Death(Cause.CRASHED, f"{text}{_words(tail)}.")
    return Death(Cause.KILLED, f"{text}.", code < 0 and (kills.are_told or number != signal.SIGKILL))


_POINTS_TO_HELP = re.compile(r"(?i)(run|see|try|use|for)\b.*--?help\b|usage:")
"""What programs say behind the reason, such as Docker's `Run 'docker run --help' for more information`."""
_STACK = re.compile(r"(#\d+ +)?0x[0-9a-f]+\b|\[New LWP \d+\]|\[Thread debugging|Using host libthread_db|\[Inferior ")
"""Lines of a stack that follow the reason of a crash."""


def _words(tail: Sequence[str]) -> str:
    """Its last words, without what only surrounds the reason; at most 300 characters."""
    said = [line.strip() for line in reversed(tail) if line.strip()]
    telling = (line for line in said if not (_POINTS_TO_HELP.match(line) or _STACK.match(line)))
    last = next(telling, said[0] if said else "")
    return f"; its last words: {last[:300]}" if last else ""
