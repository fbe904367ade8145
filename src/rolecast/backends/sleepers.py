"""How an engine is put to sleep and woken: what a backend can say and do about it.

Asleep its process lives, has given back most of its memory, and forgotten what it had read. When one sleeps, and who
may wake it, is the fleet's to decide. Two ways: an engine with a timer of its own, and one that is told.
"""

import asyncio
from pathlib import Path
from typing import Protocol

import msgspec

from rolecast.errors import WorkerDown
from rolecast.footprint import Footprint
from rolecast.net.pool import Pool
from rolecast.net.probe import fetch

ASK_S = 5.0
"""An answer to whether it sleeps comes within this time: it is no work."""
LOOK_S = 0.25
LATE_S = 10.0
"""An engine whose timer ran out falls asleep within this time, or something keeps it awake."""
LULL_S = 60.0
"""One that is told may take so long to bring its weights elsewhere."""


class Sleeper(Protocol):
    """One kind of engine. All of it raises RolecastError when the engine does not answer, or not as it should."""

    lead_s: float
    """`dozes` is to be begun so long before it shall sleep."""

    def beside(self, weights: Path | None) -> Footprint:
        """What it may hold asleep in a place besides what it holds there awake. Looks at files: blocks for a moment."""
        ...

    async def dozes(self, pool: Pool) -> bool:
        """While it still serves: wait until it has fallen asleep by itself, where it does so. False = it did not."""
        ...

    async def lull(self, pool: Pool) -> None:
        """Have it sleep now, nobody asking it; returns when it does."""
        ...

    async def sleeps(self, pool: Pool) -> bool:
        """Whether it sleeps. Wakes nobody."""
        ...

    async def wake(self, pool: Pool, within_s: float) -> None:
        """Have it wake; returns when it would answer."""
        ...


class _Props(msgspec.Struct):
    is_sleeping: bool = False


async def _is_sleeping(pool: Pool, path: str) -> bool:
    answer = await fetch(pool, "GET", path, timeout_s=ASK_S)
    if answer.status != 200:
        raise WorkerDown(f"GET {path} was answered with {answer.status}.")
    try:
        return msgspec.json.decode(answer.body, type=_Props).is_sleeping
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise WorkerDown(f"GET {path} was answered with something else than JSON.") from None


class ByTimer:
    """llama.cpp's server: falls asleep by itself after so many seconds without any task, and is woken by any.

    `GET /slots` is one; `/health`, `/props`, `/v1/models` and `/metrics` are none. It was given `timer_s`; what the
    fleet does shortly before it sleeps is a task, too, from which on the timer runs anew.
    """

    def __init__(self, timer_s: int) -> None:
        self.timer_s = timer_s
        self.lead_s = float(timer_s)

    def beside(self, weights: Path | None) -> Footprint:
        """Nothing: it keeps nothing."""
        return Footprint()

    async def dozes(self, pool: Pool) -> bool:
        """Set its timer back, and look when it has run out."""
        await _touch(pool, ASK_S)
        await asyncio.sleep(self.timer_s)
        until = asyncio.get_running_loop().time() + LATE_S
        while not await self.sleeps(pool):
            if asyncio.get_running_loop().time() > until:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    async def lull(self, pool: Pool) -> None:
        """It sleeps by now."""

    async def sleeps(self, pool: Pool) -> bool:
        return await _is_sleeping(pool, "/props")

    async def wake(self, pool: Pool, within_s: float) -> None:
        """The slots are told when the model is there again."""
        await _touch(pool, within_s)


class ByCommand:
    """vLLM's server with `--enable-sleep-mode`: told by `POST /sleep`, woken by `POST /wake_up`.

    Its weights go into RAM, which must have room for them. It must not be asked anything before it is woken.
    """

    lead_s = 0.0

    def beside(self, weights: Path | None) -> Footprint:
        """All of the weights, in RAM."""
        files = weights.parent.glob("*.safetensors") if weights is not None else ()
        return Footprint(sum(each.stat().st_size for each in files))

    async def dozes(self, pool: Pool) -> bool:
        """It waits to be told."""
        return True

    async def lull(self, pool: Pool) -> None:
        """Its answer may come before it is done."""
        await _told(pool, "/sleep?level=1", LULL_S)
        await self._until(pool, asleep=True, within_s=LULL_S)

    async def sleeps(self, pool: Pool) -> bool:
        return await _is_sleeping(pool, "/is_sleeping")

    async def wake(self, pool: Pool, within_s: float) -> None:
        """One that is awake is left alone."""
        if await self.sleeps(pool):
            await _told(pool, "/wake_up", within_s)
            await self._until(pool, asleep=False, within_s=within_s)

    async def _until(self, pool: Pool, *, asleep: bool, within_s: float) -> None:
        until = asyncio.get_running_loop().time() + within_s
        while await self.sleeps(pool) is not asleep:
            if asyncio.get_running_loop().time() > until:
                raise WorkerDown(f"It did not {'fall asleep' if asleep else 'wake'} within {within_s:g} s.")
            await asyncio.sleep(LOOK_S)


async def _touch(pool: Pool, within_s: float) -> None:
    """A task that does nothing; an engine that sleeps does it once it has woken."""
    answer = await fetch(pool, "GET", "/slots", timeout_s=within_s)
    if answer.status >= 500 and answer.status != 501:  # 501: it does not tell them, and that is an answer
        raise WorkerDown(f"GET /slots was answered with {answer.status}.")


async def _told(pool: Pool, path: str, within_s: float) -> None:
    answer = await fetch(pool, "POST", path, timeout_s=within_s)
    if answer.status != 200:
        raise WorkerDown(f"POST {path} was answered with {answer.status}.")
