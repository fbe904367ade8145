"""Weights at a plain URL. No hub protocol; the hash, when there is one, comes from the configuration."""

from pathlib import Path

from rolecast.sources import fetch, store
from rolecast.sources.names import Source
from rolecast.sources.store import Report


def pull(source: Source, folder: Path, report: Report) -> Path:
    """Download the file into the model folder and give its path. Raises SourceError."""
    target = store.home(folder, source) / store.web_name(source.name)
    part = target.with_name(target.name + ".part")
    digest = fetch.download(fetch.Want(source.name, part, sha256=source.sha256), report)
    store.settle(part, target)
    store.record(target, source, digest)
    return target
