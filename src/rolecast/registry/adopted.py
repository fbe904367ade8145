"""Servers that registered by themselves and may answer requests: models that are joined to the configuration.

Only addresses that the configuration lists (`registry.backends`) are ever asked, whatever registers. A configured name
wins over an adopted one.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from msgspec.structs import replace

from rolecast.backends.remote import is_base
from rolecast.config import names
from rolecast.config.schema import Config, Model

log = logging.getLogger("rolecast.registry")

_NUMBERS = re.compile(r"[0-9*]+(?:\.[0-9*]+)+")
MOST = 256
"""So many are adopted; one more is only listed."""


class Adopted:
    """Models of servers that registered. `changed` is called after each change, and applies it as an edit does."""

    def __init__(self, changed: Callable[[], Awaitable[None]]) -> None:
        self._changed = changed
        self.models: dict[str, Model] = {}
        self._joined: dict[str, Model] = {}
        """Those that are in the configuration now, since a join begins with what it made before."""

    async def adopt(self, model_id: str, model: Model) -> None:
        """Let this model answer from now on, or by other settings than before."""
        if self.models.get(model_id) == model or (model_id not in self.models and len(self.models) >= MOST):
            return
        self.models[model_id] = model
        await self._changed()

    async def settle(self, prefix: str, models: Mapping[str, Model], allowed: Sequence[str]) -> None:
        """Let of all whose ids begin so these answer and no others; applied as one change, where one may be asked."""
        before = self.models
        others = {model_id: model for model_id, model in before.items() if not model_id.startswith(prefix)}
        self.models = dict(list((others | dict(models)).items())[:MOST])
        changed = [i for i in before.keys() | self.models.keys() if before.get(i) != self.models.get(i)]
        urls = {model.url for i in changed for model in (before.get(i), self.models.get(i)) if model is not None}
        if any(may_be_asked(url, allowed) for url in urls):
            await self._changed()

    async def drop(self, model_id: str) -> None:
        """Let it answer no more; what runs ends where it began."""
        if self.models.pop(model_id, None) is not None:
            await self._changed()

    def join(self, config: Config) -> Config:
        """The configuration with these, as far as it still allows their addresses."""
        if self._joined:
            own = {i: model for i, model in config.models.items() if self._joined.get(i) is not model}
            config = replace(config, models=own)
        known, allowed = names.table(config), config.registry.backends
        self._joined = {
            model_id: model
            for model_id, model in self.models.items()
            if model_id not in known and may_be_asked(model.url, allowed)
        }
        return replace(config, models={**config.models, **self._joined}) if self._joined else config


def may_be_asked(url: str, allowed: Sequence[str]) -> bool:
    """Whether a server at this address may be asked: its scheme, host and port are one that is listed.

    An asterisk stands for any part of a host or for any port; in an address of numbers, for numbers. Nothing is looked
    up.
    """
    if not is_base(url) or url.startswith("unix:"):
        return False
    parts = urlsplit(url)
    mine = f"{parts.scheme}://{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    return any(fnmatchcase(mine, entry) and _is_of_kind(parts.hostname or "", entry) for entry in map(_whole, allowed))


def _is_of_kind(host: str, entry: str) -> bool:
    """An entry of numbers, such as `10.0.0.*`, means addresses: no name that somebody else can register fits it."""
    numbers = entry.partition("://")[2].rpartition(":")[0]
    return _NUMBERS.fullmatch(numbers) is None or _NUMBERS.fullmatch(host) is not None


def _whole(entry: str) -> str:
    """The entry with its port, in lower case."""
    scheme, _, rest = entry.strip().lower().rstrip("/").partition("://")
    if not rest:
        scheme, rest = "http", scheme
    host, colon, port = rest.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = rest, "443" if scheme == "https" else "80"
    return f"{scheme}://{host.strip('[]')}:{port}".replace("[", "[[]")
