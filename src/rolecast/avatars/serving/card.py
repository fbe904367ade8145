"""What the files of a released avatar say: which version answers, and what each version is and was made of.

`avatar.json` says who answers. `versions/N/version.json` says what N is, and is never changed once it is there.
`versions/N/lineage.json` says whose messages it has learnt from. All are written whole or not at all.
"""

import contextlib
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from rolecast.avatars.files import write_private
from rolecast.avatars.places import Place, root
from rolecast.config import paths
from rolecast.errors import UNREADABLE, Conflict, NotFound

Form = Literal["adapter", "model"]
"""An adapter over a base that several share, or a model by itself (a merged one, or one from scratch)."""
Format = Literal[1]
MOST_BYTES = 16 * 1024**2
"""Of a file with facts; a lineage has a number for each person, and an id for each message."""
MARK = ".changed"
"""A file beside the avatars that is another one after each change of any of them: one look tells."""
FORGOTTEN = "it learnt from somebody who was forgotten"
"""Why a version is withdrawn, to stand in a sentence."""
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
T = TypeVar("T")


class Version(msgspec.Struct, frozen=True, omit_defaults=True):
    """One released version."""

    number: int
    at: float
    """When it was released, in seconds since 1970."""
    form: Form
    file: str
    """The name of its GGUF, in its folder."""
    sha256: str
    """Of that file."""
    bytes: int
    speaks_as: str
    """Whose name its system prompt has: that of the examples that it was trained on."""
    base: str = ""
    """Of an adapter: the GGUF that it goes with, as a path from the folder of avatars."""
    base_name: str = ""
    passed: bool = True
    """What the gate said."""
    forced: bool = False
    """Whether it was released although the gate said no."""
    reasons: tuple[str, ...] = ()
    """Why the gate said no."""
    numbers: Mapping[str, float] = {}
    """What it was judged by."""


class Lineage(msgspec.Struct, frozen=True):
    """Whose messages a version has learnt from."""

    people: Mapping[str, int]
    """Examples by the id of everybody who wrote a message of them."""
    examples: int
    messages: tuple[str, ...] = ()
    """The ids of all messages, sorted."""
    judged_by: tuple[str, ...] | None = None
    """Who else wrote what it was judged by, which its report may show; None = nobody noted it."""


class Card(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which versions of an avatar answer."""

    name: str
    title: str
    """The person, for people."""
    person: str = ""
    """The person's id among the conversations."""
    current: int = 0
    """The version that answers; 0 = none does."""
    before: tuple[int, ...] = ()
    """Those that answered before, the last one last."""
    canary: int = 0
    """A version that answers a share of the conversations; 0 = none does."""
    share: float = 0.0
    withdrawn: tuple[int, ...] = ()
    """Versions that never answer again."""
    forgotten: tuple[int, ...] = ()
    """Those of them that learnt from somebody who was forgotten."""
    format: Format = 1


def read(path: Path, kind: type[T]) -> T:
    """What a file says. Raises NotFound without one, and Conflict for one that cannot be read or is none."""
    try:
        there = path.stat()
        if not stat.S_ISREG(there.st_mode) or there.st_size > MOST_BYTES:
            raise Conflict(f"{path} is no file of an avatar; move it away.")
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        raise NotFound(f"{path} is not there.") from None
    except (OSError, *UNREADABLE) as error:
        raise Conflict(f"{path} cannot be read ({str(error)[:200]}); mend it or move it away.") from error


def write(path: Path, value: object) -> None:
    """Write a file for its owner alone, whole or not at all. Raises Conflict when it cannot be written."""
    try:
        write_private(path, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
    except OSError as error:
        text = f"{path.parent} cannot be written ({error.strerror}); free some space, or mend its rights."
        raise Conflict(text) from error


def card(place: Place) -> Card:
    """Which versions answer. Raises NotFound for an avatar that was never released, and Conflict for a broken file."""
    try:
        found = read(place.card, Card)
    except NotFound:
        text = f"There is no released avatar {place.name!r}; `rolecast avatar list` shows those there are."
        raise NotFound(text, param="name") from None
    if found.name != place.name:
        raise Conflict(f"{place.card} is the file of the avatar {found.name[:100]!r}, not of this one; move it away.")
    return found


def version(place: Place, number: int) -> Version:
    """What that version is. Raises NotFound and Conflict, also for a file name that leads elsewhere."""
    found = read(place.version(number) / "version.json", Version)
    if found.number != number or not _FILE.fullmatch(found.file):
        raise Conflict(f"{place.version(number) / 'version.json'} is not of version {number}; move its folder away.")
    return found


def numbers(place: Place) -> list[int]:
    """The versions whose folders are there, oldest first."""
    try:
        there = list((place.folder / "versions").iterdir())
    except OSError:
        return []
    return sorted(int(each.name) for each in there if re.fullmatch(r"[1-9][0-9]{0,5}", each.name) and each.is_dir())


def released(base: Path | None = None) -> Iterator[Place]:
    """The folders of all avatars with a card, by name; what is no name of an avatar is passed by."""
    folder = base or root()
    try:
        there = sorted(each.name for each in folder.iterdir() if (each / "avatar.json").exists())
    except OSError:
        return
    for name in there:
        with contextlib.suppress(Exception):
            yield Place(name, folder)


def begun(base: Path | None = None) -> Iterator[Place]:
    """The folders of avatars that somebody began to make and nobody has released, by name."""
    folder = base or root()
    try:
        there = sorted(each.name for each in folder.iterdir() if (each / "work" / "people.json").exists())
    except OSError:
        return
    for name in there:
        with contextlib.suppress(Exception):
            if not (place := Place(name, folder)).card.exists():
                yield place


class _Judged(msgspec.Struct):
    passed: bool


def judged(place: Place) -> bool | None:
    """What the gate said of what was trained last, released or not; None = it was not asked, or cannot be read."""
    try:
        return read(place.evaluation / "report.json", _Judged).passed
    except (NotFound, Conflict):
        return None


@contextlib.contextmanager
def changing(place: Place) -> Iterator[None]:
    """Nobody else changes this avatar meanwhile: the command line and a gateway may both want to. Then it is told."""
    folder = place.folder.parent
    paths.make_private(place.folder)
    lock = os.open(place.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        write(folder / MARK, time.time_ns())
    finally:
        os.close(lock)


def signature(base: Path | None = None) -> tuple[int, int] | None:
    """What is another one after each change; None before the first."""
    try:
        found = ((base or root()) / MARK).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
