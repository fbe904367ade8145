"""Folders of a model on its way: written under another name and then renamed, so that one that is there is whole.

checkpoint_N/  best_model/  final_model/    each with what `Engine.save` writes, the tokenizer and training_config.json;
a checkpoint also has optimizer.safetensors and state.json.
"""

import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from rolecast.avatars.files import write_private
from rolecast.avatars.training.engine import Precision
from rolecast.avatars.training.history import History
from rolecast.errors import UNREADABLE, Invalid

STATE = "state.json"
BEST = "best_model"
FINAL = "final_model"
_NAME = re.compile(r"checkpoint_(\d+)")


class State(msgspec.Struct):
    """Where a training is: all that the loop knows."""

    fingerprint: str
    """Of data, settings and base: what goes on must be the same."""
    precision: Precision
    step: int = 0
    epoch: int = 0
    batch: int = 0
    """Batches of this epoch that are done."""
    order: list[list[int]] = []
    """The batches of this epoch."""
    best: float | None = None
    waited: int = 0
    tokens: int = 0
    seconds: float = 0.0
    words: dict[str, str] = {}
    """The engine's."""
    chance: list[object] = []
    """Python's random generator."""
    history: History = msgspec.field(default_factory=History)


def write(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder what `fill` writes, or leave it as it was. Raises Invalid when it cannot be written."""
    from safetensors import SafetensorError

    part = folder.with_name(f".{folder.name}.part")
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True, mode=0o700)
        fill(part)
        for each in part.iterdir():
            each.chmod(0o600)
            _settle(each)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        said = str(getattr(error, "strerror", None) or error)[:200]
        raise Invalid(
            f"{folder} could not be written ({said}). Make room on the disk; the same command then goes on from the "
            "last checkpoint."
        ) from error
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.replace(folder)
    _settle(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _settle(path: Path) -> None:
    """What is written is on the disk, also after a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def keep(into: Path, state: State, fill: Callable[[Path], None], most: int) -> Path:
    """Write a checkpoint, remove the oldest ones beyond `most`."""
    state.chance = list(random.getstate())

    def whole(part: Path) -> None:
        fill(part)
        write_private(part / STATE, msgspec.json.encode(state))

    folder = into / f"checkpoint_{state.step}"
    write(folder, whole)
    for _, old in sorted(_all(into))[:-most]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _all(into: Path) -> Iterator[tuple[int, Path]]:
    if into.is_dir():
        for each in into.iterdir():
            if (found := _NAME.fullmatch(each.name)) and each.is_dir():
                yield int(found[1]), each


def newest(into: Path, fingerprint: str) -> Iterator[tuple[Path, State]]:
    """Checkpoints of the same training, the newest first."""
    for _, folder in sorted(_all(into), reverse=True):
        try:
            state = msgspec.json.decode((folder / STATE).read_bytes(), type=State)
        except (OSError, *UNREADABLE):
            continue
        if state.fingerprint == fingerprint:
            yield folder, state


def clear(into: Path) -> bool:
    """Remove what another training left: its checkpoints and whatever was half written. Whether there was anything."""
    mend(into)
    left = [folder for folder in (*(each for _, each in _all(into)), into / BEST, into / FINAL) if folder.exists()]
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)
    return bool(left)


def mend(into: Path) -> None:
    """Put back what was being replaced when a process ended, remove what was half written."""
    for old in into.glob(".*.old"):
        folder = into / old.name[1 : -len(".old")]
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(folder)
    for part in into.glob(".*.part"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)


def restore_chance(state: State) -> None:
    """Python's random generator as it was."""
    version, words, gauss = state.chance
    random.setstate((version, tuple(words), gauss))  # type: ignore[arg-type]
