"""The learned model of the router as a gateway has it: read in a thread, when the first request needs it.

It takes memory and a tenth of a second, which a gateway whose clients name their models never pays. Labels of the
user's own are learned with it, and again when an edit changes them.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from rolecast.config.routing import Labels as Wanted
from rolecast.config.routing import Routing

if TYPE_CHECKING:  # numpy comes with it
    from rolecast.routing.fewshot import Labels
    from rolecast.routing.learned import Learned

log = logging.getLogger("rolecast.routing")


class Mind:
    """Holds the model and the labels, once they were needed."""

    def __init__(self, routing: Routing | None = None) -> None:
        self._model: Learned | None = None
        self._labels: Mapping[str, Labels] = {}
        self._waking: asyncio.Task[None] | None = None
        self._follow(routing or Routing())

    def __call__(self) -> "Learned | None":
        """The model; None before it is read, and where it cannot be."""
        return self._model

    def labels(self) -> "Mapping[str, Labels]":
        """The user's own, as far as they could be learned."""
        return self._labels

    async def wake(self) -> None:
        """Read the model and learn the labels, or wait until it is done, also where no strategy needs them.

        Raises nothing: without a model the next strategy decides.
        """
        if self._done:
            return
        if self._waking is None:
            self._waking = asyncio.create_task(self._wake())
        await asyncio.shield(self._waking)

    async def prepare(self, routing: Routing) -> Callable[[], None]:
        """Learn the labels of another configuration, if the model is awake; gives what makes them apply."""
        if not self._done or self._model is None or routing.labels == self._wanted:
            return partial(self._follow, routing)
        return partial(self._follow, routing, await asyncio.to_thread(_learned, self._model, routing.labels))

    def _follow(self, routing: Routing, labels: "Mapping[str, Labels] | None" = None) -> None:
        """Want what this configuration wants. What is not learned yet is learned before the next request is read."""
        self._done = labels is not None or (self._model is not None and routing.labels == self._wanted)
        self._wanted: Mapping[str, Wanted] = routing.labels
        if labels is not None:
            self._labels = labels
        needed = "learned" in routing.strategies or any(rule.when.label for rule in routing.rules)
        self.asleep = needed and not self._done
        """A strategy will need it, and it is not read yet, or is being read."""

    async def _wake(self) -> None:
        try:
            wanted: Mapping[str, Wanted] | None = None
            while wanted is not self._wanted:  # an edit may come meanwhile
                wanted = self._wanted
                if self._model is None:
                    self._model = await asyncio.to_thread(_read)
                learned = await asyncio.to_thread(_learned, self._model, wanted) if self._model and wanted else {}
            self._labels = learned
        except Exception:
            log.exception("the learned router fails, and is not asked")
        finally:
            self._waking = None
            self._done, self.asleep = True, False


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


def _learned(model: "Learned", wanted: Mapping[str, Wanted]) -> "dict[str, Labels]":
    """Each set that its examples teach; another is left out with a line in the log that quotes none of them."""
    from rolecast.routing.fewshot import Labels

    found: dict[str, Labels] = {}
    for name, each in wanted.items():
        try:
            found[name] = Labels(name, model, each.examples, each.min_confidence)
        except ValueError as error:
            log.warning("routing.labels.%s is left out: %s", name, error)
    return found
