"""Weights that the user put somewhere: `file:` of a file, of one part of a split model, or of a folder.

Reads names and headers only, and never writes there.
"""

import stat
from pathlib import Path

from rolecast.config import paths
from rolecast.config.source import Source
from rolecast.errors import ConfigError, SourceError
from rolecast.sources import names, store
from rolecast.weights import converted, folder, gguf, is_there, missing_part, parts


def locate(source: Source) -> Path | None:
    """The (first) file of the model that the path means, or None; `absence` tells why.

    Raises SourceError when it has another hash than `sha256`.
    """
    path = paths.expanded(source.name)
    kind = _kind(path) if path else 0
    if path is None or not kind:
        return None
    if stat.S_ISDIR(kind):
        path = _only(path)
    if path is None or not stat.S_ISREG(_kind(path)) or missing_part(path):
        return None
    if folder.is_one(path) and folder.lacks(path.parent):
        return None
    path = parts(path)[0]
    if source.sha256 and (have := store.known_sha256(path)) != source.sha256:
        raise SourceError(f"{path} has sha256 {have}, expected {source.sha256}; correct sha256 or the file.")
    return path


def absence(source: Source) -> str:
    """Why there are no weights at that path, and what to do."""
    try:
        path = paths.expand(source.name)
    except ConfigError as error:
        return error.problems[0]
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        lost = next((each for each in reversed(path.parents) if not each.exists()), None)
        what = f"there is no folder {lost}" if lost else f"there is no file {path}"
        return f"{missing_part(path)} is missing; put it beside the others" if _has_other_part(path) else _mend(what)
    except OSError as error:
        return f"{path} cannot be read ({(error.strerror or str(error)).lower()}); correct the path or its rights"
    if stat.S_ISDIR(kind):
        return _absence_in_folder(path)
    if not stat.S_ISREG(kind):
        return f"{path} is not a regular file; name a GGUF file"
    if part := missing_part(path):
        return f"{part} is missing; put it beside the others"
    if folder.is_one(path) and (lacking := folder.lacks(path.parent)):
        return lacking
    return f"{path} has not the sha256 that is asked for; correct sha256 or the file"


def _mend(what: str) -> str:
    return f"{what}; correct the path, or put the file there"


def _has_other_part(path: Path) -> bool:
    return any(is_there(part) for part in parts(path))


def _absence_in_folder(place: Path) -> str:
    found = _files(place)
    if part := names.incomplete(found):
        return f"{part} is missing in {place}; put it beside the others"
    models = [each[0] for each in names.candidates(found)]
    if not models and is_there(place / folder.CONFIG):
        return folder.lacks(place)
    if not models:
        return (
            f"the folder {place} holds no GGUF file, no {converted.MODEL} and no {folder.CONFIG}; "
            "name the file of the model"
        )
    return f"the folder {place} holds no one clear model; name one of {', '.join(models[:10])}"


def _only(place: Path) -> Path | None:
    found = _files(place)
    for mark in (converted.MODEL, folder.CONFIG):  # a converted model has a config, too
        if not found and is_there(place / mark):
            return place / mark
    chosen = names.choose(found, "", lambda name: gguf.known(found[name]))
    return found[chosen[0]] if chosen else None


def _files(place: Path) -> dict[str, Path]:
    try:
        return {file.name: file for file in place.iterdir() if file.suffix.lower() == ".gguf"}
    except OSError:
        return {}


def _kind(path: Path) -> int:
    """The mode of what is there; 0 when nothing is, or it may not be looked at."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0
