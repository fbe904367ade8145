"""What of a valid configuration cannot work on this machine as it is now: weights, engines, variables, folders, memory.

Looks at the disk, the environment and the size of the memory; starts nothing and never uses the network.
"""

import asyncio
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from rolecast import backends, books, sources, weights
from rolecast.backends.hardware import hardware
from rolecast.backends.llamacpp_defaults import BITS
from rolecast.config import paths, secrets
from rolecast.config.edit import Change, Edit
from rolecast.config.schema import Config, Model
from rolecast.errors import ConfigError, RolecastError, SourceError
from rolecast.fleet.budget import budget
from rolecast.fleet.sizes import Sizes
from rolecast.footprint import Footprint
from rolecast.sources.here import weights_finder
from rolecast.telemetry import memory
from rolecast.values import size_text
from rolecast.weights import Finder, converted, folder, gguf
from rolecast.weights.gguf import Header

_GPUS = ("/dev/nvidia0", "/dev/kfd")
ALL_OF_IT = ", or 0 for all"
_GPU_ROOM = 8
"""A GPU has memory of its own, which nobody tells us: with one, only this many times the main memory is absurd."""


def warnings(config: Config, *, absent: bool = True) -> list[str]:
    """One sentence for each thing that will fail or be other than configured, beginning with its setting.

    `absent` = also name weights that are not here. Quick, but for files with `sha256`, which are read through once.
    """
    noted = secrets.notes(config)
    found = [f"{'.'.join(map(str, trail))}: {text}" for trail, text in noted]
    found += _folders(config)
    if not any(trail[0] == "storage" for trail, _ in noted):
        found += _database(config)
    keyless = {str(trail[1]) for trail, _ in noted if trail[0] == "models"}
    for model_id, model in config.models.items():
        if model.enabled:
            lines = list(_model(config, model, absent, model_id in keyless))
            if all(map(_is_remark, lines)):
                lines += _room_for(config, model_id, model)
            found += [f"models.{model_id}.{line}" for line in lines]
    return found


def _room_for(config: Config, model_id: str, model: Model) -> Iterator[str]:
    """Whether it will ever be loaded, whatever others do. What was learnt of it in runs is not known here."""
    backend = backends.get(model.backend)
    if not backend.spawns:
        return
    estimate = Sizes(weights_finder(config)).of(model_id, model, backend)
    reading = memory.read()
    alone = msgspec.structs.replace(reading, available=reading.total)
    most = budget(config.memory.budget, config.memory.gpu_budget, alone, Footprint())
    if estimate is None or estimate.most.within(most):
        return
    gpus = sum(need > there for need, there in zip(estimate.most.gpus, most.gpus, strict=False))
    needs, has = (place.gpus if gpus else (place.ram,) for place in (estimate.most, most))
    setting = "memory.gpu_budget" if gpus else "memory.budget"
    yield (
        f"memory: it takes up to {size_text(max(needs))}, and all models together get {size_text(max(has, default=0))} "
        f"({setting}), so it is never loaded; choose less context, fewer slots, less prompt_cache or smaller weights, "
        f"or raise {setting}"
    )


def hindrances(config: Config, model: Model) -> list[str]:
    """Only what would keep this model from running, each line beginning with the name of its setting."""
    return list(_model(config, model, absent=True, keyless=False, remarks=False))


class Readiness:
    """Refuses an edit that would end a model that works now for one that cannot run on this machine as it is.

    Finds the weights of the others meanwhile, so that nobody waits for that later.
    """

    def __init__(self, find: Finder, would_replace: Callable[[str, Model], bool]) -> None:
        self._find = find
        self._would_replace = would_replace

    async def prepare(self, edit: Edit) -> Change:
        """Also refuses sources that are none."""
        await asyncio.to_thread(self._look, edit)
        return Change()

    def _look(self, edit: Edit) -> None:
        problems = []
        for model_id, model in edit.config.models.items():
            try:
                source = sources.parse(model.source, model.sha256) if model.source else None
            except RolecastError as error:
                problems.append(f"models.{model_id}.source: {error.message}")
                continue
            if source is not None and model.enabled:
                weights.found(self._find, model)  # which remembers what it had to compute
        if problems := problems or list(self._breaks(edit)):
            raise ConfigError(problems)

    def _breaks(self, edit: Edit) -> Iterator[str]:
        for model_id, model in edit.config.models.items():
            if model.enabled and model_id not in edit.stand_ins and self._would_replace(model_id, model):
                for line in hindrances(edit.config, model):
                    yield f"models.{model_id}.{line} ({model_id} works now, and would not with this edit)"


def _folders(config: Config) -> Iterator[str]:
    places = {"storage.models": (config.storage.models, False)}
    if config.storage.url.startswith("sqlite:///"):
        places["storage.url"] = (config.storage.url.removeprefix("sqlite:///"), True)
    for setting, (text, is_file) in places.items():
        if not text:
            continue
        try:
            path = paths.expand(text, setting)
        except ConfigError as error:
            yield error.problems[0]
            continue
        folder = path.parent if is_file else path
        there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        if not there.is_dir():
            yield f"{setting}: {there} is not a folder; name another place"
        elif not os.access(there, os.W_OK | os.X_OK):
            yield f"{setting}: {there} cannot be written by this user; change its rights, or name another place"


def _database(config: Config) -> Iterator[str]:
    """What keeps the driver of a database on a server from being used. Whether the server answers, a start says."""
    if config.storage.url and not config.storage.url.startswith("sqlite:///"):
        try:
            books.store_of(config)
        except ConfigError as error:
            yield error.problems[0]


def _model(config: Config, model: Model, absent: bool, keyless: bool, *, remarks: bool = True) -> Iterator[str]:
    """What stands in the way of one model, each line beginning with the name of its setting.

    With `remarks` also what will be other than configured and does not stand in the way.
    """
    try:
        missing = backends.get(model.backend).missing(model)
    except RolecastError as error:
        missing = error.message
    if missing and not keyless:
        yield f"{_blamed(model, missing)}: {missing}"
    if not model.source:
        return
    try:
        source, store = sources.parse(model.source, model.sha256), paths.models(config.storage.models)
        path = sources.locate(source, store)
    except (RolecastError, OSError) as error:
        yield f"source: {error.problems[0] if isinstance(error, ConfigError) else error}"
        return
    if path is None:
        if absent:
            yield f"source: {sources.absence(source, store)}"
        return
    yield from _weights(model, path, remarks)


def _blamed(model: Model, missing: str) -> str:
    """The setting that a backend speaks of when it says what this machine lacks."""
    settings = ("key", "environment", "binary", "command", "stop", "script")
    if named := next((name for name in settings if f"`{name}`" in missing), ""):
        return named
    if variable := re.search(r"environment variable (\S+)", missing):
        told = secrets.PREFIX + variable[1]
        return "key" if model.key == told else "environment" if told in model.environment.values() else "backend"
    return next((name for name in settings if getattr(model, name)), "backend")


def _weights(model: Model, path: Path, remarks: bool) -> Iterator[str]:
    """What the headers of weights that are here say against the settings."""
    if converted.is_one(path) and backends.get(model.backend).translates:
        if lacking := converted.lacks(path.parent):
            yield f"source: {lacking}"
        return
    if folder.is_one(path) and backends.get(model.backend).about.folders:
        if remarks and 0 < folder.trained(path) < model.context:
            yield _beyond(model, folder.trained(path))
        return
    headers = []
    for part in weights.parts(path):
        try:
            headers.append(gguf.read(part))
        except SourceError as error:
            yield f"source: {error.message}"
            return
    first = headers[0]
    if first.side:
        yield f"source: {path.name} is {first.side}, and no model by itself; name the file of the model"
        return
    if first.split_count > len(headers):
        pattern = f"NAME-00001-of-{first.split_count:05d}.gguf"
        yield f"source: {path.name} is one of {first.split_count} parts; name them {pattern} and so on"
    tokens = weights.context(model, path)
    if remarks:
        yield from _remarks(model, path, first, tokens)
    yield from _memory(model, tokens, headers)


def _beyond(model: Model, tokens: int) -> str:
    trained = f"{model.context} is more than the {tokens} tokens that the weights were trained on"
    return f"context: {trained}, so {tokens} are used; write {tokens}{ALL_OF_IT}"


def _is_remark(line: str) -> bool:
    """Whether the model runs all the same."""
    return line.startswith("capabilities: ") or line.endswith(ALL_OF_IT)


def _remarks(model: Model, path: Path, first: Header, tokens: int) -> Iterator[str]:
    if not first.generates and {"chat", "completion"} & set(model.capabilities):
        what, word = ("ranks texts", "rerank") if first.ranks else ("makes embeddings", "embeddings")
        yield f"capabilities: {path.name} {what} and cannot write text; set capabilities: [{word}]"
    if "rerank" in model.capabilities and not first.ranks:
        yield f"capabilities: {path.name} has no head that ranks, so its scores would mean nothing; name a reranker"
    if tokens < model.context:
        yield _beyond(model, tokens)


def _memory(model: Model, tokens: int, headers: list[Header]) -> Iterator[str]:
    """Whether weights and context are far beyond the memory. An estimate from below: no false alarm."""
    size, room = sum(header.tensor_bytes for header in headers), _room(model)
    cache = _cache_bytes(model, tokens, headers[0])
    if size > room:
        yield f"source: the weights take {size_text(size)}, and this machine has {size_text(room)} of memory"
    elif size + cache > room:
        product = f"context times parallel is {tokens} x {model.parallel} tokens, which take about {size_text(cache)}"
        memory = f"this machine has {size_text(room)} of memory"
        yield f"context: {product} besides {size_text(size)} of weights, and {memory}"


def _cache_bytes(model: Model, tokens: int, header: Header) -> float:
    keys, values = (BITS.get(kind or "f16", 4.0) / 8 for kind in (model.cache_type_k, model.cache_type_v))
    kept = header.layout
    full = kept.keys * keys + kept.values * values
    window = kept.window_keys * keys + kept.window_values * values
    return (full * tokens + window * min(tokens, kept.window)) * model.parallel


def _room(model: Model) -> int:
    """Bytes of memory that this machine, or the container we run in, has for a model."""
    total = hardware().memory_bytes
    has_gpu = model.gpu_layers != 0 and any(Path(gpu).exists() for gpu in _GPUS)
    return total * _GPU_ROOM if has_gpu else total
