"""An edit of the configuration, and how the parts of the gateway take it over: all of them, or none.

Each part prepares a change: that may take its time and may refuse, and nobody sees anything of it. When all have
prepared theirs, every change is committed in one turn of the event loop, which cannot fail; else every one that was
prepared is discarded. No part looks at another while it commits, so their order means nothing.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from rolecast.config import names
from rolecast.config.names import Name
from rolecast.config.schema import Config

log = logging.getLogger("rolecast.config")


class Edit(msgspec.Struct, frozen=True):
    """A configuration that is to apply, with what follows from it and several parts need."""

    config: Config
    stand_ins: Mapping[str, str]
    """Model that runs, by model that was asked for."""
    names: dict[str, Name]


def edit_to(config: Config, stand_ins: Mapping[str, str]) -> Edit:
    """The edit after which this configuration applies."""
    return Edit(config, stand_ins, names.table(config))


def _nothing() -> None:
    """What there is to do for a part that only has a word in it."""


class Change(msgspec.Struct, frozen=True):
    """What one part has prepared. One of the two is called, once; neither raises."""

    commit: Callable[[], None] = _nothing
    discard: Callable[[], None] = _nothing


class Participant(Protocol):
    """A part of the gateway that depends on the configuration."""

    async def prepare(self, edit: Edit) -> Change:
        """Make ready for this edit, on the loop, with what is slow in a thread. Raises ConfigError to refuse it."""


async def prepare(parts: Sequence[Participant], edit: Edit) -> Change:
    """The changes of all these parts as one. Raises what the first one refuses with, with nothing left behind."""
    changes: list[Change] = []
    try:
        for part in parts:
            changes.append(await part.prepare(edit))  # noqa: PERF401  # a refusal must find those before it
    except BaseException:  # also when whoever waits for it is cancelled
        _discard(changes)
        raise
    return Change(lambda: _all(change.commit for change in changes), lambda: _discard(changes))


def _discard(changes: list[Change]) -> None:
    _all(change.discard for change in reversed(changes))


def _all(steps: Iterable[Callable[[], None]]) -> None:
    """Every one of them, whatever becomes of another."""
    for step in steps:
        try:
            step()
        except Exception:
            log.exception("a part of the gateway could not follow an edit of the configuration")
