"""Weights that other programs have already downloaded: Hugging Face, LM Studio, Ollama. Reads only.

Knows their folder layouts. Names are confined to each cache after following links, and only regular files
count. Never goes to the network.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rolecast.config import paths
from rolecast.errors import UNREADABLE
from rolecast.sources import hf, store
from rolecast.sources.names import Source

_MANIFEST_BYTES = 1 << 20
_WEIGHTS = "application/vnd.ollama.image.model"


class _Layer(msgspec.Struct):
    mediaType: str = ""  # noqa: N815  # Ollama's spelling
    digest: str = ""
    size: int = 0


class _Manifest(msgspec.Struct):
    layers: list[_Layer] = []


def downloaded(source: Source) -> Path | None:
    """The weights of a Hugging Face repository in its cache, else in LM Studio's folders, or None."""
    for folder, root in places(source):
        if path := _checked(store.find(folder, source.file, root), source):
            return path
    return None


def places(source: Source) -> Iterator[tuple[Path, Path]]:
    """Folders where the files of a Hugging Face repository may lie, each with the cache that it must not leave.

    First the hub's cache (HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE or HF_HOME/hub), then LM Studio's folders, which
    keep no revisions and so have only the main one.
    """
    if snapshot := _snapshot(source):
        yield snapshot
    for root in ("~/.cache/lm-studio/models", "~/.lmstudio/models") if source.version in ("", "main") else ():
        if folder := paths.expanded(root):
            yield folder / source.name, folder


def _hub() -> Path | None:
    home = hf.cache_home()
    return home / "hub" if home else None


def _snapshot(source: Source) -> tuple[Path, Path] | None:
    set_cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    root = paths.expanded(set_cache) if set_cache else _hub()
    if root is None:
        return None
    repo = root / f"models--{source.name.replace('/', '--')}"
    revision = source.version or "main"
    reference = repo / "refs" / revision
    if store.is_file_inside(reference, root):
        revision = reference.read_text("utf-8", "replace")[:64].strip()
    safe = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", revision)
    return (repo / "snapshots" / revision, root) if safe else None


def ollama(source: Source) -> Path | None:
    """The weights of an Ollama model (OLLAMA_MODELS, else ~/.ollama/models), or None."""
    root = paths.expanded(os.environ.get("OLLAMA_MODELS") or "~/.ollama/models")
    if root is None:
        return None
    for layer in _ollama_layers(root, source):
        digest = re.fullmatch(r"sha256:([0-9a-f]{64})", layer.digest)
        if layer.mediaType != _WEIGHTS or not digest or source.sha256 not in ("", digest[1]):
            continue
        blob = root / "blobs" / f"sha256-{digest[1]}"
        if store.is_file_inside(blob, root) and blob.stat().st_size == layer.size:
            return blob
    return None


def _ollama_layers(root: Path, source: Source) -> Iterator[_Layer]:
    parts = source.name.split("/")
    if len(parts) == 1:
        parts = ["library", *parts]
    if len(parts) == 2:
        parts = ["registry.ollama.ai", *parts]
    manifest = root.joinpath("manifests", *parts, source.version or "latest")
    if not store.is_file_inside(manifest, root) or manifest.stat().st_size > _MANIFEST_BYTES:
        return
    try:
        yield from msgspec.json.decode(manifest.read_bytes(), type=_Manifest).layers
    except UNREADABLE:
        return


def _checked(path: Path | None, source: Source) -> Path | None:
    """The file, unless a hash is asked for and it has another. The hub names its blobs by hash."""
    if path is None or not source.sha256:
        return path
    name = path.resolve().name
    known = name if re.fullmatch(r"[0-9a-f]{64}", name) else store.known_sha256(path)
    return path if known == source.sha256 else None
