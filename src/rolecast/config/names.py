"""The one table of names a request may ask for: model ids, aliases and roles.

Knows what each name stands for. Does not judge clashes (`check` does) and chooses nothing (routing does).
"""

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from rolecast.config.document import Trail
from rolecast.config.schema import Config

RESERVED = frozenset({"", "auto"})
"""Names that mean 'you decide'; nobody may carry them."""


_USABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class Name(msgspec.Struct, frozen=True):
    """A name and the models behind it, best first. A role lists its enabled models only."""

    name: str
    kind: Literal["model", "alias", "role"]
    models: tuple[str, ...]


def table(config: Config) -> dict[str, Name]:
    """Every name by itself. The id of a disabled model is there too, so that asking for it can say so."""
    found: dict[str, Name] = {}
    for _, name in claims(config):
        found.setdefault(name.name, name)
    for model_id in config.models:
        found.setdefault(model_id, Name(model_id, "model", (model_id,)))
    return found


def fault(name: str) -> str:
    """Why nothing can be called that, or ''. Names travel in HTTP headers, hence ASCII."""
    if name in RESERVED:
        return f"the name '{name}' is reserved: it asks Rolecast to choose; take another name"
    if not _USABLE.fullmatch(name):
        return f"the name {name!r} must be printable ASCII without spaces around it"
    return ""


def claims(config: Config) -> Iterator[tuple[Trail, Name]]:
    """Each name that an enabled model or a role takes, with the place that takes it; clashes included."""
    enabled = {model_id for model_id, model in config.models.items() if model.enabled}
    for model_id in config.models:
        if model_id in enabled:
            yield ("models", model_id), Name(model_id, "model", (model_id,))
    for role, models in config.roles.items():
        yield ("roles", role), Name(role, "role", tuple(m for m in models if m in enabled))
    for model_id, model in config.models.items():
        for i, alias in enumerate(model.aliases if model.enabled else ()):
            yield ("models", model_id, "aliases", i), Name(alias, "alias", (model_id,))
