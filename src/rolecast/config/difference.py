"""What changed between two configurations, as the names of settings. No value is ever named: some are secret."""

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from rolecast.config.schema import Config

S = TypeVar("S", bound=msgspec.Struct)

AT_START = ("storage",)
"""The ledger's file and the folder of weights are opened once: these take effect at the next start only."""


class Difference(msgspec.Struct, frozen=True):
    """Settings that differ: those that apply at once, and those that wait for a restart."""

    applied: list[str]
    waiting: list[str]


NONE = Difference([], [])


def compare(old: Config, new: Config) -> Difference:
    """The settings that differ, each by its path; a model or role that came or went by its own."""
    changed = list(_changed(old, new, ()))
    waiting = [path for path in changed if _waits(path)]
    return Difference([path for path in changed if path not in waiting], waiting)


def applicable(old: Config, new: Config) -> Config:
    """The new configuration, but with the old values of what only a restart changes."""
    for path in AT_START:
        new = _with_old(new, old, path.split("."))
    return new


def _with_old(new: S, old: S, trail: list[str]) -> S:
    """`new` with the setting at `trail` as it is in `old`."""
    name, *rest = trail
    kept = _with_old(getattr(new, name), getattr(old, name), rest) if rest else getattr(old, name)
    return msgspec.structs.replace(new, **{name: kept})


def _waits(path: str) -> bool:
    return any(path == known or path.startswith(f"{known}.") for known in AT_START)


def _changed(old: Any, new: Any, trail: tuple[str, ...]) -> Iterator[str]:
    if old == new:
        return
    before, after = _parts(old, trail), _parts(new, trail)
    if before is None or after is None:
        yield ".".join(trail)
        return
    for name in {**before, **after}:
        here = (*trail, name)
        if name not in after:
            yield f"{'.'.join(here)} (removed)"
        elif name not in before:
            yield f"{'.'.join(here)} (added)"
        else:
            yield from _changed(before[name], after[name], here)


def _parts(value: Any, trail: tuple[str, ...]) -> dict[str, Any] | None:
    """The settings below this one; None for a single setting. Models, roles and variants are named by their file."""
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    return value if trail in (("models",), ("roles",), ("variants",)) else None
