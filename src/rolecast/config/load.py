"""Finds, reads and validates the configuration: YAML first, environment last.

Knows how a problem gets its file and line. Knows no rule of its own: `shape` and `check` hold them.
"""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rolecast.config import filled, paths, presets
from rolecast.config.about import Backends
from rolecast.config.check import check
from rolecast.config.document import Document, Trail, parse, read_text
from rolecast.config.environment import override
from rolecast.config.schema import Config, Model
from rolecast.config.shape import Problem, build
from rolecast.errors import ConfigError

FILE = "rolecast.yaml"
MARKDOWN = (".md", ".markdown")
"""How the name of a file ends that another system wrote and that is read as it is."""


def find(env: Mapping[str, str] | None = None) -> Path | None:
    """The file that `load` would read: ROLECAST_CONFIG, ./rolecast.yaml, then the user's; None = embedded."""
    env = os.environ if env is None else env
    if named := env.get("ROLECAST_CONFIG"):
        return paths.expand(named, "ROLECAST_CONFIG")
    own = paths.expanded(env.get("XDG_CONFIG_HOME") or "~/.config")
    places = (Path(FILE), own / "rolecast" / FILE) if own else (Path(FILE),)
    return next((place for place in places if place.is_file()), None)


def load(
    path: Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    backends: Backends | None = None,
) -> Config:
    """The configuration in `path`, or in the file that `find` names, or the embedded default.

    `env` is the environment that overrides it (this process's by default); `backends` those that
    `backend:` may name (None = any, and none is asked). Raises ConfigError with every problem as
    `FILE:LINE: setting: what`.
    """
    env = os.environ if env is None else env
    place = path or find(env)
    if place is None:
        return read(presets.text("default"), name="default.yaml", env=env, backends=backends)
    return read(read_text(place), name=str(place), env=env, backends=backends)


def read(
    text: str,
    *,
    name: str = FILE,
    env: Mapping[str, str] | None = None,
    backends: Backends | None = None,
) -> Config:
    """The configuration in a YAML text; `name` is what problems call it. Raises ConfigError like `load`.

    Without `env` nothing overrides the text.
    """
    document = _document(text, name, backends)
    value = {} if document.value is None else document.value
    origins, env_problems = override(value, env or {})
    _add_stand_in(value)
    filled.fill(value, env)
    _fill_slots(value, backends or {})
    _fill_sources(value, backends or {})
    faults: list[Problem] = []
    config = build(Config, value, (), faults) or Config()
    if all(len(trail) > 1 for trail, _ in faults):  # else much is missed that is there under another name
        broken = {trail[:2] for trail, _ in faults} | {trail[:2] for _, trail, _ in document.faults}
        faults += [p for p in check(config, backends) if p[0][:2] not in broken]
    found = [(line, _line(name, line, trail, text)) for line, trail, text in document.faults]
    found += [_placed(name, document, origins, trail, text) for trail, text in faults]
    problems = [text for _, text in sorted(found, key=lambda item: item[0])] + env_problems
    if problems:
        raise ConfigError(problems, source=name)
    return config


def notes(path: Path | None, *, backends: Backends | None = None) -> list[str]:
    """What of a file of another system, which is read as it is, is other than it says; each with `FILE:LINE: `.

    Nothing of a file of ours. Raises ConfigError like `load`.
    """
    if path is None or path.suffix.lower() not in MARKDOWN:
        return []
    from rolecast.config.importers import direct

    return direct.read(read_text(path), name=str(path), backends=backends).notes


def _document(text: str, name: str, backends: Backends | None) -> Document:
    """The plain values of a file of ours, or of one of another system that is read as it is."""
    if not name.lower().endswith(MARKDOWN):
        return parse(text, name=name)
    from rolecast.config.importers import direct

    return direct.read(text, name=name, backends=backends).document


def _add_stand_in(value: Any) -> None:
    """A model of the embedded default can stand in for any configuration, also one that does not know it."""
    wanted = value.get("stand_in") if isinstance(value, dict) else None
    models = value.get("models") or {} if isinstance(value, dict) else {}
    if isinstance(wanted, str) and isinstance(models, dict) and wanted not in models:
        embedded = presets.model(wanted)
        if embedded is not None:
            value["models"] = {**models, wanted: embedded}


FOLDER = "config.json"
"""The file that stands for a folder of safetensors."""


def _fill_slots(value: Any, backends: Backends) -> None:
    """A model that says nothing of its slots has as many as its backend usually gives."""
    models = value.get("models") if isinstance(value, dict) else None
    for model in models.values() if isinstance(models, dict) else ():
        if not isinstance(model, dict) or model.get("parallel", 0) != 0 or model.get("parallel") is False:
            continue
        backend = model.get("backend", Model().backend)
        if isinstance(backend, str) and backend in backends:
            with contextlib.suppress(ConfigError):  # told by `check`
                model["parallel"] = backends[backend].slots


def _fill_sources(value: Any, backends: Backends) -> None:
    """A repository without a file means its folder, to a backend that runs folders."""
    models = value.get("models") if isinstance(value, dict) else None
    for model in models.values() if isinstance(models, dict) else ():
        if not isinstance(model, dict) or not isinstance(source := model.get("source"), str):
            continue
        backend = model.get("backend")
        if isinstance(backend, str) and backend in backends and source.startswith("hf:") and source.count("/") == 1:
            with contextlib.suppress(ConfigError):  # told by `check`
                if backends[backend].folders:
                    model["source"] = f"{source}/{FOLDER}"


def located(problems: Iterable[str], path: Path | None, env: Mapping[str, str] | None = None) -> list[str]:
    """The same sentences with `FILE:LINE: `, or the variable, before those that begin with a setting of that file.

    For what was only found when the configuration was used. `path` None = the embedded default.
    """
    env = os.environ if env is None else env
    try:
        name = str(path) if path else "default.yaml"
        document = _document(read_text(path) if path else presets.text("default"), name, None)
    except ConfigError:  # it has changed since
        return list(problems)
    origins, _ = override(document.value, env)
    places = sorted({*document.lines, *origins} - {()}, key=len, reverse=True)
    return [_found(name, document, origins, places, text) for text in problems]


def _found(name: str, document: Document, origins: Mapping[Trail, str], places: list[Trail], text: str) -> str:
    for trail in places:
        setting = ".".join(map(str, trail))
        if not text.startswith(setting) or text[len(setting) : len(setting) + 1] not in (":", "."):
            continue
        return f"{origins.get(trail) or f'{name}:{document.lines[trail]}'}: {text}"
    return text


_LAST = 1 << 30


def _placed(name: str, document: Document, origins: Mapping[Trail, str], trail: Trail, text: str) -> tuple[int, str]:
    """The problem with the variable or the line that caused it: of the setting, or of what holds it."""
    for length in range(len(trail), 0, -1):
        if variable := origins.get(trail[:length]):
            return _LAST, f"{variable}: {_setting(trail)}{text}"
        if line := document.lines.get(trail[:length]):
            return line, _line(name, line, trail, text)
    return 1, _line(name, 1, trail, text)


def _line(name: str, line: int, trail: Trail, text: str) -> str:
    return f"{name}:{line}: {_setting(trail)}{text}"


def _setting(trail: Trail) -> str:
    return ".".join(map(str, trail)) + ": " if trail else ""
