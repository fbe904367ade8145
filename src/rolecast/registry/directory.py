"""The registered providers of this gateway: written down before they count, and models where they may be asked.

A provider whose address `registry.backends` lists becomes the model `provider/NAME`, which answers like any other; no
key of ours goes to it. All others are told of and chosen, and never contacted. Gateways that share a database read each
other's providers when they start.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from rolecast.backends.remote import is_base
from rolecast.books.store import Store
from rolecast.config import names
from rolecast.config.current import Current
from rolecast.config.schema import Model, Price
from rolecast.registry import provider_table
from rolecast.registry.adopted import Adopted, may_be_asked
from rolecast.registry.providers import Provider, Providers

PREFIX = "provider/"
"""How the id of a model begins that is a registered provider."""
CENTS = 10_000
"""Picodollars per token that a cent per million tokens is."""
_TAILS = ("/chat/completions", "/completions")
_ABILITIES = ("vision", "embeddings", "audio", "video", "files", "rerank")
"""Features of providers that are words of `capabilities`."""

Tell = Callable[[str, Mapping[str, Any]], object]


class Directory:
    """Who registered. `tell` is told of each change."""

    def __init__(self, store: Store, adopted: Adopted, current: Current, tell: Tell) -> None:
        self._store = store
        self._adopted = adopted
        self._current = current
        self._tell = tell
        self._changing = asyncio.Lock()
        self.known = Providers()
        self.version = 0
        """Grows with each change."""

    async def open(self) -> None:
        """Begin with those that registered before this start. Raises StoreError."""
        self.known.restore(await provider_table.kept(self._store))
        self.version += 1

    async def adopt(self) -> None:
        """Make models of those that may be asked. For the start, once all ports are open: it applies as an edit."""
        await self._adopt()

    async def register(self, provider: Provider) -> tuple[Provider, Literal["registered", "updated"]]:
        """Take it in. Raises Conflict when there are too many, and StoreError, with nothing changed."""
        async with self._changing:
            fresh, action = self.known.registered(provider, time.time())
            await self._keep(fresh)
        self._tell("provider_registered", {"name": fresh.name, "model": fresh.model, "action": action})
        return fresh, action

    async def deactivate(self, name: str) -> Provider:
        """Choose it no more, until it registers again. Raises NotFound, and StoreError, with nothing changed."""
        async with self._changing:
            fresh = self.known.deactivated(name, time.time())
            await self._keep(fresh)
        self._tell("provider_deactivated", {"name": fresh.name, "model": fresh.model})
        return fresh

    def model_of(self, provider: Provider) -> tuple[str, str]:
        """The model that it is here; else '' and why it is none."""
        if (model_id := PREFIX + provider.name) in self._current.config.models:
            return model_id, ""
        if names.model_fault(model_id):
            return "", "its name cannot be that of a model"
        if not may_be_asked(base_of(provider.endpoint), self._current.config.registry.backends):
            return "", "registry.backends does not list its address"
        return "", "there are too many"

    async def _keep(self, provider: Provider) -> None:
        await provider_table.keep(self._store, provider)
        self.known.put(provider)
        self.version += 1
        await self._adopt()

    async def _adopt(self) -> None:
        """What of them may be asked is a model, also once an edit lists its address."""
        models = {
            PREFIX + each.name: model
            for each in self.known.active()
            if not names.model_fault(PREFIX + each.name) and (model := _as_model(each)) is not None
        }
        allowed = self._current.config.registry.backends
        first = {i: m for i, m in models.items() if may_be_asked(m.url, allowed)}
        await self._adopted.settle(
            PREFIX, first | models, allowed
        )  # where there are too many, those that may be asked stay


def base_of(endpoint: str) -> str:
    """The base URL of an endpoint, as it was given but for the path of a chat."""
    plain = endpoint.rstrip("/")
    return next((plain.removesuffix(tail) for tail in _TAILS if plain.endswith(tail)), plain)


def _as_model(provider: Provider) -> Model | None:
    """The model that asks it; None = its endpoint is no address."""
    url = base_of(provider.endpoint)
    if not is_base(url) or url.startswith("unix:"):
        return None
    abilities = [word for word in _ABILITIES if word in provider.features]
    return Model(
        backend="openai",
        url=url,
        provider=provider.name,  # nothing is filled in by it: that is done where a file is read
        remote_model=provider.model,
        context=provider.context_window,
        capabilities=["chat", "completion", *abilities],
        tools="function_calling" in provider.features,
        price=Price(input=provider.input_cost / CENTS, output=provider.output_cost / CENTS),
        description="A provider that registered here.",
    )
