"""Turns the configuration of five other systems into a `rolecast.yaml`.

Knows which format a file is in. One file per format; adding one = a module with TITLE, REASONS, `fits` and `fill`,
and a row in FORMATS. Nothing of an imported file is ever executed, and what a format does not read is named here.
"""

from pathlib import Path
from typing import Any, Protocol

import msgspec

from rolecast.config.about import Backends
from rolecast.config.document import MAX_DEPTH, parse, read_text
from rolecast.config.importers import avatar, conductor_settings, litellm, llama_swap, slm_models
from rolecast.config.importers.draft import Draft, Found, Imported
from rolecast.config.importers.section import Section
from rolecast.config.load import read
from rolecast.errors import ConfigError

__all__ = ["Imported", "import_file"]


class Format(Protocol):
    """One foreign format."""

    TITLE: str
    REASONS: dict[str, str]
    """Why a key that `fill` does not read has no counterpart, where more can be said than that."""

    def fits(self, found: Found) -> bool:
        """Whether the file is in this format."""
        ...

    def fill(self, found: Found, draft: Draft) -> None:
        """Put what exists on our side into the draft; keys of `found.top` that it does not read are named."""
        ...


FORMATS: tuple[Format, ...] = (slm_models, conductor_settings, avatar, llama_swap, litellm)


def import_file(path: Path, backends: Backends) -> Imported:
    """A `rolecast.yaml` made from a foreign configuration, and what could not be carried over.

    `backends` are those that exist here.

    Raises ConfigError when the file cannot be read or is in no known format.
    """
    text = read_text(path)
    draft = Draft(backends)
    value = _value(path, text, draft)
    found = Found(path.name, text, value, Section(value, "", draft.note))
    for form in FORMATS:
        if form.fits(found):
            form.fill(found, draft)
            found.top.name_unread(form.REASONS)
            made = draft.finish(f"{form.TITLE} {path.name}")
            read(made.config_yaml, name=f"{path.name} as imported", backends=backends)
            return made
    titles = ", ".join(form.TITLE for form in FORMATS)
    problem = f"{path}: no format that can be imported; these can: {titles}. A rolecast.yaml needs no import"
    raise ConfigError([problem], source=str(path))


def _value(path: Path, text: str, draft: Draft) -> Any:
    """The plain values of YAML and JSON; None for Markdown."""
    if path.suffix.lower() in (".md", ".markdown"):
        return None
    if path.suffix.lower() == ".json":
        return _json(path, text)
    document = parse(text, name=str(path))
    for line, trail, fault in document.faults:
        draft.note(f"{path.name}:{line}", f"{'.'.join(map(str, trail))}: {fault}")
    return document.value


def _json(path: Path, text: str) -> Any:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as e:
        raise ConfigError([f"{path}: not JSON: {e}"], source=str(path)) from None
    except RecursionError:
        value = None
        depth = MAX_DEPTH + 1
    else:
        depth = _depth(value)
    if depth > MAX_DEPTH:
        raise ConfigError([f"{path}: nested deeper than {MAX_DEPTH} levels; write it flatter"], source=str(path))
    return value


def _depth(value: Any) -> int:
    """How deep lists and mappings are nested, counted level by level."""
    level, depth = [value], 0
    while level:
        depth += 1
        level = [x for v in level for x in (v.values() if isinstance(v, dict) else v if isinstance(v, list) else ())]
    return depth
