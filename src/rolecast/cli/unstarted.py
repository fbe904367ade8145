"""The choices of a configuration whose gateway does not run: all its parts are made and none is started.

So nothing is loaded, every model counts as one that is not, and the choices are those of a fresh gateway.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import TypeVar

from rolecast import app
from rolecast.cli.settings import Chosen
from rolecast.config.schema import Listener
from rolecast.dialects import any_shape
from rolecast.dialects.surfaces import hot_of
from rolecast.pages.routing import Routes, answer
from rolecast.turn.rehearsal import Routed
from rolecast.values import Caller

T = TypeVar("T")


class Unstarted:
    """One of them. Lives in an event loop."""

    def __init__(self, chosen: Chosen) -> None:
        gateway = app.Gateway(chosen.config, chosen.path)
        self.name = chosen.name
        self.plans = gateway.plans
        self.store = gateway.store
        self._rehearsal = gateway.rehearsal
        self._learn = gateway.abilities.learn
        self._cards = gateway.cards
        self._models = gateway.current.config.models
        self._hot = hot_of(Listener(port=0), gateway.current.config, lambda *_: None)

    async def learn(self) -> None:
        """Read what the weights that are here can do and how good they are, and the learned model."""
        able = asyncio.to_thread(self._learn, self._models.values())
        await asyncio.gather(able, self._cards.learn(), self.plans.mind.wake())

    async def answer(self, body: bytes) -> Routed | Routes:
        """As `POST /v1/route` would answer that body. Raises RolecastError."""
        return await answer(body, self._hot, Caller(), self._rehearsal, nullcontext)

    async def of(self, body: bytes) -> Routed:
        """The same of one request. Raises RolecastError."""
        return await self._rehearsal.of(*any_shape.read(body, self._hot), Caller())


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run that in an event loop of its own."""

    async def begun() -> T:
        return await work()

    return asyncio.run(begun())
