"""The kinds of jobs there are, by name; a new one is a file and a row here."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from rolecast.config.current import Current
from rolecast.jobs.job import Kind
from rolecast.jobs.pull import Pull


def kinds(current: Current, weights: Path, arrived: Callable[[], Awaitable[None]]) -> Mapping[str, Kind]:
    """All of them, for a gateway that keeps its weights in that folder and is told when some arrived."""
    return {"pull": Pull(current, weights, arrived)}
