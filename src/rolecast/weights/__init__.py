"""What the weights on this machine mean for a model: their parts, the projector beside them, the context they hold.

Looks at names and headers only. Where weights come from and how they get here is `rolecast.sources`'.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from rolecast.config.schema import Model
from rolecast.errors import UNREADABLE, RolecastError
from rolecast.weights import folder, gguf
from rolecast.weights.gguf import Header

OLLAMA_PROJECTOR = "application/vnd.ollama.image.projector"
_BLOB = re.compile(r"sha256-[0-9a-f]{64}")
_SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.gguf)", re.IGNORECASE)
_MOST_PARTS = 999
_SIDE_NAME = re.compile(r"(?:^|[-._])(?:mmproj|imatrix)(?:[-._]|$)|^ggml-vocab-", re.IGNORECASE)
_PROJECTOR_NAME = re.compile(r"(?:^|[-._])mmproj(?:[-._]|$)", re.IGNORECASE)
_SCALES_ROPE = re.compile(r"--(?:rope-(?:scal|freq-)|yarn-)|\.context_length=")


Finder = Callable[[Model], Path | None]
"""Finds a model's weights on disk; None when they are absent."""


class _Layer(msgspec.Struct):
    mediaType: str = ""  # noqa: N815  # Ollama's spelling
    digest: str = ""


class _Manifest(msgspec.Struct):
    layers: list[_Layer] = []


def found(find: Finder, model: Model) -> Path | None:
    """The weights of a model by `find`; None when it needs none, and when they are absent or not what it means."""
    try:
        return find(model) if model.source else None
    except (RolecastError, OSError, RuntimeError):  # RuntimeError: ~ of a user who does not exist
        return None


def splits(name: str) -> tuple[str, ...]:
    """All parts of the split model that the file `name` belongs to, the first one first, or just `name`."""
    found = _SPLIT.fullmatch(name)
    if not found or not 1 <= int(found[3]) <= _MOST_PARTS:
        return (name,)
    every = tuple(f"{found[1]}-{i:05d}-of-{found[3]}{found[4]}" for i in range(1, int(found[3]) + 1))
    return every if name in every else (name,)


def parts(path: Path) -> list[Path]:
    """All files of the model that the file at `path` belongs to, whether they are there or not."""
    return [path.with_name(name) for name in splits(path.name)]


def missing_part(path: Path) -> str:
    """Which file of a split model is not beside the others: `part 2 of 3 (NAME)`; '' when all are there."""
    every = parts(path)
    for number, part in enumerate(every, 1):
        if not is_there(part):
            return f"part {number} of {len(every)} ({part.name})"
    return ""


def is_there(path: Path) -> bool:
    """Whether that is a regular file that may be looked at."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_projector_name(name: str) -> bool:
    """Whether a file is called as projectors are: all that a list of names can tell."""
    return name.lower().endswith(".gguf") and bool(_PROJECTOR_NAME.search(name.rpartition("/")[2]))


def is_side_file(name: str, header: Header | None) -> bool:
    """Whether that GGUF is no model but goes with one. The name decides only when there is no header to ask."""
    return bool(header.side if header else _SIDE_NAME.search(name.rpartition("/")[2]))


def projector(path: Path) -> Path | None:
    """The projector that lies beside these weights and belongs to them, or None. Reads each header once.

    It must fit the width of the model. In a folder of several models its name must be like the model's, too.
    Of several that fit the one with most words in common, then F16 before Q8_0; None when that leaves two.
    """
    model = gguf.known(path)
    if model is None or model.side:
        return None
    if _BLOB.fullmatch(path.name) and path.parent.name == "blobs":
        return _listed_projector(path)
    beside = {other: gguf.known(other) for other in _gguf_files(path.parent)}
    fitting = [
        other
        for other, header in beside.items()
        if header is not None and header.projects and header.projects_to in (0, model.embedding_length)
    ]
    others = {_words(other.name) for other, header in beside.items() if header is not None and not header.side}
    if len(others | {_words(path.name)}) > 1:
        fitting = [other for other in fitting if _words(other.name) & _words(path.name)]
    chosen = likest([other.name for other in fitting], path.name)
    return path.with_name(chosen) if chosen else None


def _listed_projector(path: Path) -> Path | None:
    """The projector that Ollama lists together with the weights in this blob."""
    manifests = (file for file in (path.parents[1] / "manifests").rglob("*") if is_there(file))
    for manifest in sorted(manifests):
        try:
            layers = msgspec.json.decode(manifest.read_bytes(), type=_Manifest).layers
        except (OSError, *UNREADABLE):
            continue
        blobs = {layer.digest.replace(":", "-"): layer.mediaType for layer in layers}
        listed = [name for name, kind in blobs.items() if kind == OLLAMA_PROJECTOR and _BLOB.fullmatch(name)]
        if path.name in blobs and listed and is_there(path.with_name(listed[0])):
            return path.with_name(listed[0])
    return None


def likest(projectors: Iterable[str], model: str) -> str:
    """The projector with most words of the model in its name, then F16 before Q8_0; '' when that leaves two."""
    words = _words(model)

    def fitness(name: str) -> tuple[int, int]:
        kinds = re.split(r"[-.]", name.lower())
        return len(words & _words(name)), 2 * ("f16" in kinds) + ("q8_0" in kinds)

    best = sorted(projectors, key=fitness, reverse=True)[:2]
    if len(best) == 2 and fitness(best[0]) == fitness(best[1]):
        return ""
    return next(iter(best), "")


def context(model: Model, path: Path | None) -> int:
    """Tokens of one slot that the model really has; 0 = not known.

    What its weights were trained on is the limit, unless arguments of the user's own stretch it. `context: 0`
    is all that they were trained on.
    """
    header = gguf.known(path) if path is not None else None
    trained = header.context_length if header is not None else folder.trained(path) if path is not None else 0
    if not trained or (model.binary and any(_SCALES_ROPE.search(word) for word in model.args)):
        return model.context
    return min(model.context or trained, trained)


def _gguf_files(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.suffix.lower() == ".gguf" and is_there(file))
    except OSError:
        return []


_NOT_NAMES = re.compile(r"b?f(?:16|32)|i?q\d.*|[kms]|xl|\d|mmproj|gguf|\d{5}|of", re.IGNORECASE)


def _words(name: str) -> frozenset[str]:
    """The words of a file name that say which model it is, without quantization and file type."""
    return frozenset(w for w in re.split(r"[-._]", name.lower()) if w and not _NOT_NAMES.fullmatch(w))
