"""What the shell offers after Tab: models, roles, aliases, presets, from the configuration and the running gateway.

A completion never fails and never waits long: what cannot be learned in time is not offered.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

PATIENCE_S = 1.0


def presets(incomplete: str) -> list[str]:
    """Names of ready configurations."""
    from rolecast.config import presets as ready

    return [name for name in ready.names() if name.startswith(incomplete)]


def models(ctx: Any, incomplete: str) -> list[str]:
    """Ids and aliases of single models."""
    return _fitting(_models(ctx), incomplete)


def names(ctx: Any, incomplete: str) -> list[str]:
    """Everything that answers: `auto`, roles, ids, aliases and variants."""
    return _fitting(_names(ctx), incomplete)


def _fitting(found: Iterator[str], incomplete: str) -> list[str]:
    return list(dict.fromkeys(name for name in found if name.startswith(incomplete)))


def _names(ctx: Any) -> Iterator[str]:
    yield "auto"
    for config in _configurations(ctx):
        yield from config["roles"]
        yield from config["variants"]
    yield from _models(ctx)


def _models(ctx: Any) -> Iterator[str]:
    for config in _configurations(ctx):
        for model_id, aliases in config["models"].items():
            yield model_id
            yield from aliases


def _configurations(ctx: Any) -> Iterator[dict[str, Any]]:
    """Roles, variants, models with their aliases: of the gateway that is asked, else of the file that would start."""
    for learn in (_of_gateway, _of_file):
        found = None
        with suppress(Exception):  # whatever is wrong, Tab is not the place to say so
            found = learn(ctx.params)
        if found is not None:
            yield found
            return


def _of_gateway(given: dict[str, Any]) -> dict[str, Any]:
    from rolecast.cli.gateway import connect

    if given.get("config"):
        raise LookupError  # that file is meant
    with connect(given.get("url") or "", given.get("key") or "", timeout_s=PATIENCE_S) as gateway:
        status = gateway.status()
    models = {model.id: model.aliases for model in status.models}
    return {"roles": list(status.roles), "variants": [v.id for v in status.variants if v.models], "models": models}


def _of_file(given: dict[str, Any]) -> dict[str, Any]:
    from rolecast.cli import settings

    config = settings.choose(given.get("config")).config
    models = {i: model.aliases for i, model in config.models.items()}
    return {"roles": list(config.roles), "variants": list(config.variants), "models": models}
