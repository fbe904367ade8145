"""How much each model takes, known before it is started: the backend's estimate, or what its settings say.

Looks at headers of files, and once per version of them. Admits and measures nothing.
"""

from pathlib import Path

import msgspec

from rolecast import weights
from rolecast.backends import Backend
from rolecast.config.schema import Model
from rolecast.config.units import Bytes
from rolecast.footprint import Estimate, Footprint
from rolecast.weights import Finder

AUTO = "auto"
Version = tuple[tuple[str, int, int], ...]
"""The files that an estimate rests on, with size and time of change."""


class Sizes:
    """Estimates by model, kept until its settings or its files change."""

    def __init__(self, find: Finder) -> None:
        self._find = find
        self._kept: dict[str, tuple[Model, Version, Estimate | None]] = {}

    def of(self, model_id: str, model: Model, backend: Backend) -> Estimate | None:
        """What a worker of that model takes; None when nobody knows before it runs.

        Reads headers the first time, about 10 ms for each file: ask once in a thread. Later it looks only whether
        the files are the same.
        """
        path = weights.found(self._find, model)
        version = _version(model, path)
        kept = self._kept.get(model_id)
        if kept is not None and kept[1] == version and (kept[0] is model or kept[0] == model):
            return kept[2]
        found = stated(model, backend.estimate(model, path))
        self._kept[model_id] = (model, version, found)
        return found


def stated(model: Model, estimated: Estimate | None) -> Estimate | None:
    """The estimate with `memory` of the settings in place of what it takes at most.

    Where a part is on GPUs, the size that is stated is spread as the estimate is.
    """
    if model.memory == AUTO:
        return estimated
    size = int(Bytes.parse(model.memory))
    if estimated is None:
        return Estimate((("stated", size),), Footprint(size), Footprint(size))
    whole = estimated.most.ram + sum(estimated.most.gpus)
    gpus = tuple(each * size // whole for each in estimated.most.gpus) if whole else ()
    most = Footprint(size - sum(gpus), gpus)
    return msgspec.structs.replace(estimated, loaded=_within(estimated.loaded, most), most=most)


def _within(one: Footprint, other: Footprint) -> Footprint:
    """The smaller of both, place by place."""
    return Footprint(
        min(one.ram, other.ram), tuple(min(each, most) for each, most in zip(one.gpus, other.gpus, strict=False))
    )


def _version(model: Model, path: Path | None) -> Version:
    """All files of the weights and what lies beside them: a projector may come or go."""
    if path is None:
        return ()
    named = (*model.adapters, *(() if model.projector in (AUTO, "none") else (model.projector,)))
    files = [path.parent, *weights.parts(path), *(Path(each).expanduser() for each in named)]
    return tuple(filter(None, map(_stamp, files)))


def _stamp(path: Path) -> tuple[str, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return str(path), found.st_size, found.st_mtime_ns
