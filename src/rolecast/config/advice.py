"""What is allowed but probably not meant: settings without effect, open doors, secrets in plain sight.

Pure: a configuration in, sentences out.
"""

import contextlib
import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec

from rolecast.config import check_providers, check_routing, names, variants
from rolecast.config.about import About, Backends
from rolecast.config.check import ANYWHERE, is_loopback
from rolecast.config.schema import Config, Model
from rolecast.config.shape import meant
from rolecast.values import KINDS


def warnings(config: Config, backends: Backends | None = None) -> list[str]:
    """One sentence per oddity, each starting with the setting it is about. Without `backends` none is asked."""
    return [
        *_doors(config),
        *_vectors(config),
        *_circles(config, backends),
        *_shown(config),
        *check_providers.warnings(config),
        *check_routing.warnings(config),
        *(line for model_id, model in config.models.items() for line in _model(model_id, model, backends)),
    ]


def _doors(config: Config) -> Iterator[str]:
    server = config.server
    listeners = {f"server.listeners.{i}.host": x.host for i, x in enumerate(server.listeners) if x.host}
    for place, host in {"server.host": server.host, **listeners}.items():
        if not is_loopback(host):
            yield f"{place}: {host} lets other machines in; traffic is not encrypted, so put TLS in front"
    if any(not key.startswith(("env:", "sha256:")) for key in server.keys):
        yield "server.keys: a key stands in the file as plain text; prefer env:NAME or sha256:HEX"
    for setting in ("allowed_hosts", "allowed_origins"):
        if "*" in getattr(server, setting):
            yield f"server.{setting}: * lets any web page reach the models through the user's browser"


def _vectors(config: Config) -> Iterator[str]:
    """Vectors of different models cannot be compared, so one does not stand in for another."""
    for role, entries in config.roles.items():
        members = [m for m in names.members(entries) if "embeddings" in config.models[m].capabilities]
        first = next(iter(members), "")
        equals = next((e for e in entries if not isinstance(e, str) and first in e), [])
        source = config.models[first].source if first else ""
        others = [m for m in members[1:] if m not in equals and not (source and config.models[m].source == source)]
        if others:
            text = f"only {first} answers embeddings: vectors of {', '.join(others)} could not be compared with its own"
            yield f"roles.{role}: {text}; ask for those by name, or list the same model as equals: [[{first}, ...]]"


def _circles(config: Config, backends: Backends | None) -> Iterator[str]:
    """Remotes that are this gateway itself."""
    server = config.server
    doors = {(server.host, server.port), *((x.host or server.host, x.port) for x in server.listeners)}
    for model_id, model in config.models.items():
        idle = "url" in _about(model, backends).unused
        if not model.url or idle or not model.enabled:
            continue
        with contextlib.suppress(ValueError):
            url = urlsplit(model.url)
            port = url.port or {"http": 80, "https": 443}.get(url.scheme)
            if any(port == door and _is_reached(host, url.hostname or "") for host, door in doors):
                yield f"models.{model_id}.url: {model.url} is a port of this gateway, so requests would go in a circle"


def _is_reached(listens: str, name: str) -> bool:
    """Whether who calls that name arrives at a server that listens there."""
    own = is_loopback(name) or name.endswith(".localhost") or name.lower() == socket.gethostname().lower()
    return listens.strip("[]") == name or (own and (is_loopback(listens) or listens in ANYWHERE))


def _shown(config: Config) -> Iterator[str]:
    """Parameters of variants that only a model can have."""
    for name, variant in config.variants.items():
        for setting in variants.SHOWN:
            if getattr(variant.parameters, setting) is not None:
                yield (
                    f"variants.{name}.parameters.{setting}: has no effect, because a variant shares the worker of its "
                    f"model; set it there ({variants.SHOWN[setting]})"
                )


def _about(model: Model, backends: Backends | None) -> About:
    return (backends or {}).get(model.backend) or About()


def _model(model_id: str, model: Model, backends: Backends | None) -> Iterator[str]:
    place = f"models.{model_id}"
    defaults = {field.name: field for field in msgspec.structs.fields(Model)}
    about = _about(model, backends)
    for name in about.unused:
        field = defaults[name]
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        if getattr(model, name) != default:
            yield f"{place}.{name}: does nothing with backend {model.backend}"
    yield from (f"{place}.{setting}: {text}" for setting, text in about.doubts(model))
    if model.pinned and model.idle_timeout != defaults["idle_timeout"].default:
        yield f"{place}.idle_timeout: does nothing for a pinned model"
    if model.sleep and not model.pinned and 0 < model.idle_timeout <= model.sleep:
        yield f"{place}.sleep: does nothing, because idle_timeout is not longer: the model is unloaded before"
    yield from _address(place, model)
    if model.key and not model.key.startswith(("env:", "file:")):
        yield f"{place}.key: stands in the file as plain text; prefer env:NAME or file:PATH"
    for name, text in model.environment.items():
        if re.search(r"(?i)key|token|secret|passw|credential", name) and text and not text.startswith("env:"):
            yield f"{place}.environment.{name}: stands in the file as plain text; prefer env:NAME"
    for capability in model.capabilities:
        if capability not in KINDS and (hint := meant(capability, KINDS, 0.85)):
            yield f"{place}.capabilities: '{capability}' is a free word; did you mean '{hint}'?"


def _address(place: str, model: Model) -> Iterator[str]:
    """Slips in the base URL of a remote: the gateway itself adds the path of an endpoint to it."""
    path = model.url.rstrip("/")
    if re.search(r"/v\d+/v\d+$", path):
        yield f"{place}.url: ends in {path[path.rindex('/', 0, path.rindex('/')) :]}; write the version once"
    elif endpoint := re.search(r"/(chat/completions|completions|embeddings|models|messages)$", path):
        yield f"{place}.url: ends in {endpoint[0]}, which is added to it; give the part before"
