"""The one table of names a request may ask for: model ids, aliases, roles and variants.

Knows what each name stands for. Does not judge clashes (`check` does) and chooses nothing (routing does).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeVar

import msgspec

from rolecast.config import replicas
from rolecast.config.document import Trail
from rolecast.config.schema import Config, Variant

RESERVED = frozenset({"", "auto"})
"""Names that mean 'you decide'; nobody may carry them."""


LATEST = ":latest"
"""The tag that clients of Ollama put behind a name without one: both mean the same there."""
T = TypeVar("T")
_USABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class Name(msgspec.Struct, frozen=True):
    """A name and the models behind it, best first. A role lists its enabled models only."""

    name: str
    kind: Literal["model", "alias", "role", "variant"]
    models: tuple[str, ...]
    equals: tuple[tuple[str, ...], ...] = ()
    """Those of them that share the requests, group by group."""
    guarded: bool = False
    """Who may ask for it is judged by this name alone, not by its model: others share that, and are somebody else."""


def table(config: Config) -> dict[str, Name]:
    """Every name by itself. The id of a disabled model is there too, so that asking for it can say so.

    A hidden model has none: it is asked through what is made of it.
    """
    found: dict[str, Name] = {}
    for _, name in claims(config):
        if name.kind == "model" and config.models[name.name].hidden:
            continue
        if name.kind != "variant" or (name.models and name.name not in config.models):
            found.setdefault(name.name, name)
    for model_id, model in config.models.items():
        if not model.hidden:
            found.setdefault(model_id, Name(model_id, "model", (model_id,)))
    return found


def find(names: Mapping[str, T], asked: str) -> T | None:
    """What was asked for by that name: as it is written, or else without the tag, or with it."""
    return names.get(asked) or names.get(untagged(asked)) or names.get(f"{asked}{LATEST}")


def spelled(names: Mapping[str, T], asked: str) -> str:
    """How the name is written there that `find` would find; '' = it would find none."""
    return next((name for name in (asked, untagged(asked), f"{asked}{LATEST}") if name in names), "")


def untagged(asked: str) -> str:
    """The name without the tag that says nothing."""
    return asked.removesuffix(LATEST)


def members(role: Sequence[str | Sequence[str]]) -> tuple[str, ...]:
    """The models of a role, best first, whether they are equals of others or not."""
    return tuple(model for _, model in places(role))


def places(role: Sequence[str | Sequence[str]]) -> Iterator[tuple[Trail, str]]:
    """Each model of a role with its place in the list."""
    for i, entry in enumerate(role):
        if isinstance(entry, str):
            yield (i,), entry
        else:
            yield from (((i, j), model) for j, model in enumerate(entry))


def fault(name: str) -> str:
    """Why nothing can be called that, or ''. Names travel in HTTP headers, hence ASCII."""
    if name in RESERVED:
        return f"the name '{name}' is reserved: it asks Rolecast to choose; take another name"
    if not _USABLE.fullmatch(name):
        return f"the name {name!r} must be printable ASCII without spaces around it"
    return ""


def model_fault(name: str) -> str:
    """The same of a model, whose copies have names, too."""
    return fault(name) or replicas.fault(name)


def claims(config: Config) -> Iterator[tuple[Trail, Name]]:
    """Each name that an enabled model, a role or a variant takes, with the place that takes it; clashes included.

    A variant that leads to no model has none.
    """
    yield from _claimed(config)
    own = own_names(config)
    for variant in config.variants:
        line, base = lineage(own, config.variants, variant)
        models, equals = (base.models, base.equals) if base is not None else ((), ())
        guarded = any(config.variants[each].guarded for each in line)
        yield ("variants", variant), Name(variant, "variant", models, equals, guarded)


def own_names(config: Config) -> dict[str, Name]:
    """What each name means that is no variant's."""
    found: dict[str, Name] = {}
    for _, name in _claimed(config):
        found.setdefault(name.name, name)
    return found


def lineage(own: Mapping[str, Name], variants: Mapping[str, Variant], name: str) -> tuple[list[str], Name | None]:
    """The variants that this one is made of, itself first, and what the last of them is made of.

    `own` are the names of all else. None where a name leads nowhere, or back.
    """
    line = [name]
    while True:
        asked = variants[line[-1]].model
        if base := find(own, asked):
            return line, base
        lower = spelled(variants, asked)
        if not lower or lower in line:
            return line, None
        line.append(lower)


def _claimed(config: Config) -> Iterator[tuple[Trail, Name]]:
    """The names of models and roles."""
    enabled = {model_id for model_id, model in config.models.items() if model.enabled}
    for model_id in config.models:
        if model_id in enabled:
            yield ("models", model_id), Name(model_id, "model", (model_id,))
    for role, models in config.roles.items():
        able = tuple(m for m in members(models) if m in enabled)
        groups = (tuple(m for m in entry if m in enabled) for entry in models if not isinstance(entry, str))
        yield ("roles", role), Name(role, "role", able, tuple(group for group in groups if len(group) > 1))
    for model_id, model in config.models.items():
        for i, alias in enumerate(model.aliases if model.enabled else ()):
            yield ("models", model_id, "aliases", i), Name(alias, "alias", (model_id,))
