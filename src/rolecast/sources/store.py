"""The folder of downloaded weights: where each source lives, locks, space, atomic arrival, list, removal.

Everything under the folder is ours: `SCHEME/NAME/VERSION/FILE.gguf` with a record `FILE.gguf.source.json`
beside it, `.locks/` and `.work/`. Knows nothing of the network or of other programs' caches.
"""

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from rolecast.errors import UNREADABLE, SourceError
from rolecast.sources import names
from rolecast.sources.names import Source
from rolecast.values import size_text
from rolecast.weights import folder as safetensors
from rolecast.weights import gguf

ROOM = 1.05
"""Space asked for, as a share of what is to be written: a full disk hurts more than weights."""
_RECORD = ".source.json"


class Progress(msgspec.Struct, frozen=True):
    """One step of a pull: 'waiting', 'downloading', 'trying again', 'unpacking', 'converting' or 'verifying'.

    `done` and `total` are bytes; total 0 = not known.
    """

    step: str
    done: int = 0
    total: int = 0


Report = Callable[[Progress], None]


class Stored(msgspec.Struct, frozen=True):
    """One model in the folder. `path` is its first file, `bytes` the size of all, `source` pulls it again."""

    name: str
    path: Path
    bytes: int
    source: str


class Arrival(msgspec.Struct, frozen=True):
    """Files of a pull that is under way, or was broken off. `changed_at` is the newest of them, in epoch seconds."""

    bytes: int
    changed_at: float


class _Record(msgspec.Struct):
    source: str
    sha256: str
    files: list[str]


def place(store: Path, *parts: str) -> Path:
    """The path of `parts` inside the folder. Raises SourceError when a link would lead out of it."""
    path = store.joinpath(*parts)
    if not path.resolve().is_relative_to(store.resolve()):
        raise SourceError(f"{path} leads out of the model folder {store}; remove the link and try again.")
    return path


def home(store: Path, source: Source) -> Path:
    """The folder of the files of a source; for pypi without a version, the newest one that is there."""
    if source.scheme in ("http", "https"):
        return place(store, "url", hashlib.sha256(source.name.encode()).hexdigest()[:16])
    base = place(store, source.scheme, *source.name.split("/"))
    if source.scheme != "pypi" or source.version:
        return place(store, source.scheme, *source.name.split("/"), source.version or "main")
    versions = [v for v in base.iterdir() if v.is_dir()] if base.is_dir() else []
    return max(versions, key=lambda v: [int(n) for n in re.findall(r"\d+", v.name)], default=base)


def web_name(url: str) -> str:
    """The file name a URL is stored under."""
    name = urlsplit(url).path.rpartition("/")[2]
    return name if names.is_safe(name) and name.lower().endswith(".gguf") else "model.gguf"


def is_file_inside(path: Path, root: Path) -> bool:
    """Whether `path`, links followed, is a regular file (never a pipe or device) inside `root`."""
    try:
        return stat.S_ISREG(path.stat().st_mode) and path.resolve().is_relative_to(root.resolve())
    except OSError:
        return False


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder that may change meanwhile: what vanishes on the way is passed over.

    (`Path.rglob` raises when another process removes a folder it has yet to enter.)
    """
    for base, _, files in os.walk(folder):
        yield from (Path(base, name) for name in files)


def size_of(path: Path) -> int:
    """Bytes of a file; 0 when it is gone."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def find(folder: Path, wanted: str, root: Path) -> Path | None:
    """The (first) file of the model meant among the GGUF files below `folder`, which lies in `root`."""
    kind = names.is_of_folder(wanted)
    found = called_below(folder, kind) if kind else gguf_below(folder)
    chosen = names.choose(found, wanted, lambda name: gguf.known(found[name]))
    if not chosen or not all(is_file_inside(found[name], root) for name in chosen):
        return None
    path = found[chosen[0]]
    return None if names.is_folder(wanted) and safetensors.lacks(path.parent) else path


def gguf_below(folder: Path) -> dict[str, Path]:
    """Every GGUF file below a folder, by its path inside."""
    return {p.relative_to(folder).as_posix(): p for p in files_below(folder) if p.name.lower().endswith(".gguf")}


def called_below(folder: Path, name: str) -> dict[str, Path]:
    """Every file of that name, likewise."""
    return {p.relative_to(folder).as_posix(): p for p in files_below(folder) if p.name == name}


def located(store: Path, source: Source) -> Path | None:
    """The weights of a source when they are in the folder, complete, and of the wanted hash."""
    path = find(home(store, source), source.file, store)
    if path is None or not source.sha256:
        return path
    record = _read_record(path)
    known = record.sha256 if record else known_sha256(path)
    return path if known == source.sha256 else None


def sha256_of(path: Path, report: Report = lambda _: None) -> str:
    """SHA-256 of a file as hex; reports 'verifying'."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as f:
        while block := f.read(4 << 20):
            digest.update(block)
            done += len(block)
            report(Progress("verifying", done, total))
    return digest.hexdigest()


def known_sha256(path: Path) -> str:
    """The same, computed once as long as the file keeps its size and time."""
    now = path.stat()
    return _sha256_at(path, now.st_ino, now.st_size, now.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _sha256_at(path: Path, *_: int) -> str:
    return sha256_of(path)


def require_hash(path: Path, want: str, what: str, report: Report = lambda _: None) -> str:
    """Check a file's SHA-256 ('' = just compute it) and give it back; a file that fails is deleted."""
    have = sha256_of(path, report)
    if want and have != want:
        path.unlink()
        raise SourceError(
            f"{what} arrived damaged or changed: expected sha256 {want}, got {have}. The file was deleted; "
            "pull again, and if it repeats, check the expected hash."
        )
    return have


def require_space(folder: Path, size: int, what: str) -> None:
    """Raise SourceError, with the numbers, when `size` more bytes (and 5% room) do not fit on the disk."""
    at = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(at).free
    if size * ROOM > free:
        raise SourceError(
            f"{what} needs {size_text(size * ROOM)} in {folder}, but only {size_text(free)} is free. Free some "
            "space, or set storage.models to a folder on a larger disk."
        )


@contextlib.contextmanager
def lock(store: Path, source: Source, report: Report | None) -> Iterator[None]:
    """Hold the one right to change a source in this folder.

    When another process holds it: wait, and report 'waiting'; with no `report`, raise SourceError.
    """
    folder = place(store, ".locks")
    folder.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(f"{source.scheme}:{source.name}".encode()).hexdigest()[:16]
    with (folder / key).open("wb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if report is None:
                raise SourceError(f"{source.text} is being pulled now; try again when that is done.") from None
            report(Progress("waiting"))
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield  # the lock ends with the open file, also when this process is killed


@contextlib.contextmanager
def workshop(store: Path, source: Source) -> Iterator[Path]:
    """An empty folder on the same disk for the time of a pull; call it with the lock held."""
    folder = _workshop(store, source)
    shutil.rmtree(folder, ignore_errors=True)  # what a killed pull left behind
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _workshop(store: Path, source: Source) -> Path:
    key = hashlib.sha256(f"{source.scheme}:{source.name}".encode()).hexdigest()[:16]
    return place(store, ".work", key)


def settle(part: Path, target: Path, *, side: bool = False) -> None:
    """Move a complete, verified file to its place in one step, after checking that it is a model.

    Raises SourceError, with the file deleted, when it is no usable GGUF, or, unless `side` is what is wanted,
    one that only goes with a model.
    """
    try:
        what = gguf.read(part).side if target.name.lower().endswith(".gguf") else ""
        if what and not side:
            raise SourceError(f"{target.name} is {what}, and no model by itself; name the file of the model.")
    except SourceError:
        part.unlink()
        raise
    target.parent.mkdir(parents=True, exist_ok=True)
    with part.open("rb+") as f:
        os.fsync(f.fileno())
    part.replace(target)
    _sync_folder(target.parent)


def record(target: Path, source: Source, sha256: str, files: tuple[Path, ...] = ()) -> None:
    """Write down where the model whose first file is `target` came from."""
    relative = [f.name for f in files or (target,)]
    side = _record_path(target)
    fresh = side.with_name(side.name + ".part")
    fresh.write_bytes(msgspec.json.encode(_Record(source.text, sha256, relative)))
    fresh.replace(side)


def stored(store: Path) -> list[Stored]:
    """All models in the folder, by name."""
    found = []
    for side in files_below(store):
        if not side.name.endswith(_RECORD):
            continue
        path = side.with_name(side.name.removesuffix(_RECORD))
        entry = _read_record(path)
        files = _files(path, entry) if entry else []
        if entry and files and all(is_file_inside(f, store) for f in files):
            found.append(Stored(path.name, path, sum(map(size_of, files)), entry.source))
    return sorted(found, key=lambda s: (s.name, s.source))


def remove(store: Path, source: Source) -> int:
    """Delete the weights of a source from the folder, unfinished ones too, and give the bytes freed.

    Raises SourceError when it has none there or is being pulled; files elsewhere are never touched.
    """
    if source.scheme in ("file", "ollama"):
        raise SourceError(f"{source.text} was not downloaded by Rolecast; delete it where it came from.")
    with lock(store, source, None):
        folder = home(store, source)
        path = find(folder, source.file, store)
        files = _owned(path) if path else []
        files += unfinished(folder, source.file)
        if not files:
            raise SourceError(f"{source.text} is not in {store}, so nothing was removed. See `rolecast models`.")
        freed = sum(map(size_of, files))
        for file in files:
            file.unlink(missing_ok=True)
        _prune(store, {file.parent for file in files})
    return freed


def _owned(path: Path) -> list[Path]:
    """The files of the model whose first one is `path`, its record, and what was pulled for it alone."""
    entry, shared = _read_record(path), set[Path]()
    for side in path.parent.glob(f"*{_RECORD}"):
        other = side.with_name(side.name.removesuffix(_RECORD))
        if other != path and (theirs := _read_record(other)):
            shared.update(_files(other, theirs))
    own = {path.with_name(n) for n in names.splits(path.name)} | set(_files(path, entry) if entry else ())
    return [*(own - shared), _record_path(path)]


def arriving(source: Source, store: Path) -> Arrival | None:
    """What is there of a source that is not complete; None for nothing."""
    files = [*files_below(_workshop(store, source)), *unfinished(home(store, source), source.file)]
    seen = []
    for file in files:
        with contextlib.suppress(OSError):  # it vanishes when the pull goes on to its next step
            now = file.stat()
            seen.append((now.st_size, now.st_mtime))
    return Arrival(sum(size for size, _ in seen), max(time for _, time in seen)) if seen else None


def unfinished(folder: Path, wanted: str) -> list[Path]:
    """Parts of downloads that were broken off: `FILE.gguf.part` and its `.json`."""
    found = []
    for part in files_below(folder):
        if ".gguf.part" not in part.name and not (names.is_of_folder(wanted) and ".part" in part.name):
            continue
        name = part.relative_to(folder).as_posix().rpartition(".part")[0]
        beside = bool(names.is_of_folder(wanted)) and not name.endswith(".gguf")
        if not wanted or beside or any(f"/{n}".endswith(f"/{wanted}") for n in names.splits(name)):
            found.append(part)
    return found


def _prune(store: Path, folders: set[Path]) -> None:
    for folder in sorted(folders, reverse=True):
        while folder != store and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent  # climbs from each emptied folder


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + _RECORD)


def _read_record(path: Path) -> _Record | None:
    try:
        return msgspec.json.decode(_record_path(path).read_bytes(), type=_Record)
    except (OSError, *UNREADABLE):
        return None


def _files(path: Path, entry: _Record) -> list[Path]:
    return [path.with_name(name) for name in entry.files if names.is_safe(name) and "/" not in name]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
