"""Variants of models: what each is made of, what it puts into a request, and which cannot be used.

Pure: a configuration in, values out. Those that clients make are kept by `made` and stand among the configured ones.
"""

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar

import msgspec
from msgspec.structs import asdict, replace

from rolecast.config import names
from rolecast.config.names import Name
from rolecast.config.sampling import SamplingSettings, drawn
from rolecast.config.schema import Config, Model, Parameters, Variant
from rolecast.values import Canary, Defaults, Message

MOST_BYTES = 1024**2
"""No variant is longer: its texts go to the model with each request."""
SHOWN: Mapping[str, str] = {
    "num_ctx": "context",
    "num_batch": "ubatch",
    "num_gpu": "gpu_layers",
    "main_gpu": "environment",
    "num_thread": "threads",
    "use_mmap": "mmap",
}
"""Parameters that an engine takes at its start, and the setting of the model that has their effect."""
_BROUGHT = re.compile(r"weights-([0-9a-f]{16})")


class Brought(Model, frozen=True):
    """A model whose weights a client brought. It is there as long as a variant is made of it."""


class Made(Variant, frozen=True):
    """A variant that a client made. A configured name wins over its own."""

    made_at: float = 0.0
    """Seconds since 1970."""


class Hidden(Model, frozen=True):
    """A model that is there for avatars: whoever leaves the model open does not get it."""

    hidden: ClassVar[bool] = True


class Served(Variant, frozen=True):
    """A released avatar. A configured name wins over its own."""

    guarded: ClassVar[bool] = True

    adapter: str = ""
    """The file of its adapter; '' = its model is its own."""
    version: str = ""
    """`avatar/john@2`."""
    canary: Canary | None = None
    controls: tuple[str, ...] = ()
    """What its model takes for marks between turns."""


def base(config: Config, name: str) -> str:
    """What a variant is made of in the end, as it is written there."""
    line, _ = names.lineage(names.own_names(config), config.variants, name)
    return config.variants[line[-1]].model


def flat(config: Config, name: str, own: Mapping[str, Name] | None = None) -> Variant:
    """The variant as one of what is no variant: what it does not say, those say that it is made of.

    `own` are the names of all else, for who has them at hand.
    """
    line, _ = names.lineage(names.own_names(config) if own is None else own, config.variants, name)
    found = config.variants[line[0]]
    for lower in line[1:]:
        found = over(found, config.variants[lower])
    return found


def over(upper: Variant, lower: Variant) -> Variant:
    """The one with what it does not say taken from the other, which it is made of."""
    return replace(
        upper,
        model=lower.model,
        system=upper.system or lower.system,
        messages=upper.messages or lower.messages,
        parameters=over_settings(upper.parameters, lower.parameters),
        license=upper.license or lower.license,
    )


def over_settings(upper: Parameters, lower: SamplingSettings) -> Parameters:
    """The one with what it does not say taken from the other."""
    said = {name: value for each in (lower, upper) for name, value in asdict(each).items() if value is not None}
    return Parameters(**said)


def all_defaults(config: Config) -> dict[str, Defaults]:
    """What each variant puts where a request says nothing; those that put nothing are left out."""
    own = names.own_names(config)
    found = {name: _with_avatar(defaults(flat(config, name, own)), config, name, own) for name in config.variants}
    return {name: each for name, each in found.items() if each != Defaults()}


def avatar(config: Config, name: str, own: Mapping[str, Name]) -> Served | None:
    """The avatar that a variant is, or is made of; None = there is none in it."""
    line, _ = names.lineage(own, config.variants, name)
    return next((found for each in line if isinstance(found := config.variants[each], Served)), None)


def _with_avatar(found: Defaults, config: Config, name: str, own: Mapping[str, Name]) -> Defaults:
    if (served := avatar(config, name, own)) is None:
        return found
    return replace(
        found, adapter=served.adapter, version=served.version, canary=served.canary, controls=served.controls
    )


def defaults(variant: Variant) -> Defaults:
    """What this one puts where a request says nothing."""
    messages = tuple(Message(each.role, each.content) for each in variant.messages)
    return replace(drawn(variant.parameters), system=variant.system, messages=messages)


def size(variant: Variant) -> int:
    """Bytes of its texts."""
    return len(msgspec.json.encode(variant))


def parameters(settings: Parameters) -> Iterator[tuple[str, str]]:
    """Each parameter as a Modelfile has it; one line for each text that ends the answer."""
    for name, value in asdict(settings).items():
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                yield name, msgspec.json.encode(each).decode()


def brought_id(sha256: str) -> str:
    """What the model of these weights is called."""
    return f"weights-{sha256[:16]}"


def brought(model_id: str) -> str:
    """How the hash of the weights of a model begins that a client brought; '' = it is another model."""
    found = _BROUGHT.fullmatch(model_id)
    return found[1] if found else ""


def joined(config: Config, made: Mapping[str, Made], models: Mapping[str, Brought]) -> Config:
    """The configuration with these in place of those that were made or brought before."""
    kept = {model_id: model for model_id, model in config.models.items() if not isinstance(model, Brought)}
    config = replace(config, models=kept | {key: model for key, model in models.items() if key not in kept})
    configured = {name: variant for name, variant in config.variants.items() if not isinstance(variant, Made)}
    added = {name: variant for name, variant in made.items() if not names.spelled(configured, name)}
    return replace(config, variants={**configured, **added})


def with_avatars(config: Config, bases: Mapping[str, Hidden], served: Mapping[str, Served]) -> Config:
    """The configuration with these avatars in place of those that were there before."""
    models = {model_id: model for model_id, model in config.models.items() if not isinstance(model, Hidden)}
    models = models | {model_id: model for model_id, model in bases.items() if model_id not in models}
    kept = {name: variant for name, variant in config.variants.items() if not isinstance(variant, Served)}
    taken = {*kept, *config.roles, *config.models, *(a for model in config.models.values() for a in model.aliases)}
    added = {
        name: variant
        for name, variant in served.items()
        if not names.spelled(dict.fromkeys(taken), name) and variant.model in models
    }
    return replace(config, models=models, variants={**kept, **added})


def hindrance(config: Config, asked: str) -> str:
    """Why the variant of that name cannot be asked for; '' = there is none, or it can."""
    name = names.spelled(config.variants, asked)
    return unusable(config).get(name, "") if name else ""


def unusable(config: Config) -> dict[str, str]:
    """The variants that nobody can ask for, and why. A configured one is always usable."""
    known, found = names.table(config), {}
    for name, variant in config.variants.items():
        taken = names.find(known, name)
        if taken is None:
            if brought(base(config, name)):
                found[name] = "its weights are not here any more; make it again"
                continue
            found[name] = f"it is made of '{base(config, name)}', which the configuration does not have, or not enabled"
        elif isinstance(variant, Made) and taken.kind != "variant":
            found[name] = f"its name is taken by the {taken.kind} '{taken.name}' of the configuration"
    return found
