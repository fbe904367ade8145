"""The line of those who wait for one worker: who stands where, who leaves, who waited too long.

Pure, on plain deques: the path of a request looks at their length alone. Knows no worker.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec


class Waiter(msgspec.Struct):
    """A request in line. `holds` is False for a plain load, which takes no slot.

    `again` counts the workers that went away under it: who lost more of them waits in front of who lost fewer.
    `alone` marks one that nothing may run beside, so that it shows who ends the workers.
    """

    ticket: Any
    deadline: float
    holds: bool = True
    again: int = 0
    alone: bool = False


def join(line: deque[Waiter], waiter: Waiter) -> None:
    """Stand in line: at its end, or in front of all who lost fewer workers."""
    line.insert(sum(x.again >= waiter.again for x in line) if waiter.again else len(line), waiter)


def leave(line: deque[Waiter], ticket: Any) -> None:
    """Whoever has this ticket gives up."""
    take(line, lambda waiter: waiter.ticket is ticket)


def take(line: deque[Waiter], whom: Callable[[Waiter], bool]) -> list[Waiter]:
    """Take these out of the line; the others keep their order."""
    taken = [waiter for waiter in line if whom(waiter)]
    if taken:
        left = [waiter for waiter in line if not whom(waiter)]
        line.clear()
        line.extend(left)
    return taken


def next_deadline(line: deque[Waiter]) -> float:
    """When the first of a line that is not empty has waited too long."""
    return min(waiter.deadline for waiter in line)
