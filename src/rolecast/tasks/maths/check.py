"""Asks the process beside the gateway what is to be thought of an answer. Imports no mathematics itself."""

import asyncio
import logging
from importlib.util import find_spec
from pathlib import Path

import msgspec

from rolecast.errors import RolecastError, UpstreamTimeout, WorkerDown
from rolecast.net import probe
from rolecast.processes.helper import Helper

log = logging.getLogger("rolecast.tasks")

CHECK_S = 5.0
"""A check that takes longer is ended."""
HUNG_S = 30.0
"""Beyond that, who has not answered hangs: checks wait for a turn for 20 s at most."""
SEEN_S = 1.0
IDLE_S = 120.0
VERIFIED, REFUTED, NOT_CHECKABLE = "verified", "refuted", "not_checkable"
INSTALL = "install rolecast[tasks]"
SLOW = "the check took too long"
DOWN = "the process that checks answers did not work"
MOST_CHARS = 200_000
"""Of an answer; the end of a longer one is checked."""


class Verdict(msgspec.Struct, frozen=True):
    """What a check came to."""

    verification: str = NOT_CHECKABLE
    reason: str = ""
    """Why it could not be checked."""
    checked_by: str = ""
    why: str = ""
    """What is wrong, for the model; does not hold the right answer."""
    step_errors: tuple[str, ...] = ()


class Checker:
    """Checks answers. Starts its process with the first check."""

    def __init__(self, log_file: Path, *, check_s: float = CHECK_S, idle_s: float = IDLE_S) -> None:
        self.helper = Helper("proofs", "rolecast.proofs.child", log_file, idle_s=idle_s)
        self._check_s = check_s

    async def check(self, problem: str, work: str) -> Verdict:
        """Never fails: what goes wrong is a reason why an answer was not checkable."""
        if find_spec("sympy") is None:
            return Verdict(reason=INSTALL)
        order = {"problem": problem, "work": work[-MOST_CHARS:], "seconds": self._check_s}
        for _ in range(2):  # a process that died is started again
            pid = self.helper.pid
            try:
                return await self._ask(order)
            except UpstreamTimeout:
                self.helper.kill()
                return Verdict(reason=SLOW)
            except WorkerDown:
                await self._seen_dead(pid)
            except (RolecastError, msgspec.MsgspecError):
                break
        log.warning("an answer could not be checked: %s; see %s", DOWN, self.helper.log_file)
        return Verdict(reason=DOWN)

    async def _ask(self, order: dict[str, object]) -> Verdict:
        async with self.helper as pool:
            found = await probe.fetch(pool, "POST", "/check", order, timeout_s=self._check_s + HUNG_S)
        if found.status != 200:
            raise RolecastError(DOWN)
        return msgspec.json.decode(found.body, type=Verdict)

    async def _seen_dead(self, pid: int) -> None:
        """Wait until the end of a process that broke off is known, so that the next use starts it again."""
        for _ in range(50):
            if not pid or self.helper.pid != pid:
                return
            await asyncio.sleep(SEEN_S / 50)

    async def close(self) -> None:
        """End the process."""
        await self.helper.close()
