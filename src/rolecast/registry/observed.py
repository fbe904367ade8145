"""How long answers of each model took lately, by the ledger: the p95 that a choice goes by before any promise.

Read in the background and seldom; a choice takes what is known and waits for nothing.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping

from rolecast.books.store import Query, Store, StoreError

log = logging.getLogger("rolecast.registry")

DAY_S = 86_400.0
MOST = 5000
"""Answers that are looked at, the newest."""
LEAST = 5
"""Fewer tell nothing of what most take."""
FRESH_S = 10.0
"""What was read so lately is not read again."""
LATELY = Query(
    "SELECT r.worker, q.total_us FROM requests q JOIN routes r ON r.id = q.route"
    " WHERE q.id >= :since AND (q.bits & 12) = 0 ORDER BY q.id DESC LIMIT :most"
)
"""Complete answers of all models. Ids grow with time, so that older rows are never looked at."""


class Observed:
    """The p95 of each worker in milliseconds, whole answers, waiting and loading included."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._read_at = -math.inf
        self._reading: asyncio.Task[None] | None = None
        self.p95_ms: Mapping[str, float] = {}

    def look(self) -> Mapping[str, float]:
        """What is known; what is old is read again meanwhile, for the next."""
        if self._reading is None and self._clock() - self._read_at >= FRESH_S:
            self._reading = asyncio.get_running_loop().create_task(self._refresh())
        return self.p95_ms

    async def read(self) -> None:
        """Read it now. Raises StoreError."""
        since = int((time.time() - DAY_S) * 1000) << 20
        times: dict[str, list[float]] = {}
        for worker, total_us in await self._store.read(LATELY, since=since, most=MOST):
            times.setdefault(str(worker), []).append(int(total_us) / 1000)
        self.p95_ms = {worker: p95(found) for worker, found in times.items() if len(found) >= LEAST}

    async def close(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _refresh(self) -> None:
        try:
            await self.read()
        except StoreError as error:
            log.debug("the times of earlier answers are not known: %s", error.message)
        finally:
            self._read_at = self._clock()
            self._reading = None


def p95(values: list[float]) -> float:
    """The value that 95 in 100 do not exceed: nearest rank."""
    return sorted(values)[(95 * len(values) + 99) // 100 - 1]
