"""The learned model of the router as a gateway has it: read in a thread, when the first request needs it.

It takes memory and a tenth of a second, which a gateway whose clients name their models never pays.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # numpy comes with it
    from rolecast.routing.learned import Learned

log = logging.getLogger("rolecast.routing")


class Mind:
    """Holds the model, once it was needed."""

    def __init__(self) -> None:
        self._model: Learned | None = None
        self._waking: asyncio.Task[Learned | None] | None = None
        self.asleep = True
        """Nobody needed it yet, or it is being read."""

    def __call__(self) -> "Learned | None":
        """The model; None before it is read, and where it cannot be."""
        return self._model

    async def wake(self) -> None:
        """Read the model, or wait until it is read. Raises nothing: without a model the next strategy decides."""
        if not self.asleep:
            return
        if self._waking is None:
            self._waking = asyncio.create_task(asyncio.to_thread(_read))
        self._model = await asyncio.shield(self._waking)
        self.asleep = False


def _read() -> "Learned | None":
    try:
        from rolecast.routing.learned import Learned
    except ImportError:
        log.warning("numpy is not installed, so the learned router cannot be asked: pip install 'rolecast[router]'")
        return None
    try:
        return Learned.load()
    except (OSError, ValueError) as error:
        log.warning("the learned router cannot be read, and is not asked: %s", error)
        return None
