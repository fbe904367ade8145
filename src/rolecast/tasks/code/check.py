"""Has the syntax of code checked, in the process of `rolecast.syntax`. A check that fails stands in nobody's way."""

import asyncio
import logging

import msgspec

from rolecast.config import paths
from rolecast.errors import UNREADABLE, RolecastError, UpstreamTimeout
from rolecast.net import probe
from rolecast.processes.helper import Helper
from rolecast.syntax.parsers import LONGEST, Found

log = logging.getLogger("rolecast.tasks")

TIMEOUT_S = 3.0
"""Code that takes longer to read is not checked."""
WAIT_S = 10.0
"""Who waits longer for a turn goes without a check."""
IDLE_S = 120.0
MODULE = "rolecast.syntax.worker"
_decode = msgspec.json.Decoder(Found).decode


class CodeCheck:
    """Asks the parsers. One text at a time, so that one that takes too long is the only one that is ended."""

    def __init__(self) -> None:
        self.helper = Helper("syntax", MODULE, paths.worker_logs() / "syntax.log", idle_s=IDLE_S)
        self._turn = asyncio.Lock()

    async def check(self, code: str, language: str) -> Found:
        """The first error of code, and whether there was a parser for it. Raises nothing."""
        if len(code) > LONGEST:
            return Found(False, why=f"it is longer than {LONGEST // 1024} KiB")
        try:
            await asyncio.wait_for(self._turn.acquire(), WAIT_S)
        except TimeoutError:
            return Found(False, why="too many checks at once")
        try:
            try:
                async with self.helper as pool:
                    body = {"code": code, "language": language}
                    answer = await probe.fetch(pool, "POST", "/parse", body, timeout_s=TIMEOUT_S)
                return _decode(answer.body)
            except asyncio.CancelledError:
                self.helper.kill()  # or it might go on for nobody
                raise
            except UpstreamTimeout:
                await self._end()
                return Found(False, why="its parser took too long")
            except (RolecastError, *UNREADABLE, OSError) as error:
                log.warning("the syntax of an answer was not checked: %s", type(error).__name__)
                await self._end()
                return Found(False, why="its parser could not be asked")
        finally:
            self._turn.release()

    async def _end(self) -> None:
        """End the process now, so that the next check finds none, or a new one."""
        self.helper.kill()
        for _ in range(100):
            if not self.helper.running:
                return
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """End the process, if it runs."""
        await self.helper.close()
