"""Who was forgotten, and when: what was read of them before is never released, also when its making still runs.

A file beside the avatars. It holds digests of ids, and names nobody.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from rolecast.avatars.serving import card
from rolecast.config import paths
from rolecast.errors import NotFound

FILE = ".forgotten.json"


def note(folder: Path, ids: Iterable[str]) -> None:
    """Whoever has one of these ids is forgotten now. Raises Conflict where that cannot be written."""
    paths.make_private(folder)
    lock = os.open(folder / ".forgotten.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        card.write(folder / FILE, {**known(folder), **dict.fromkeys(map(_digest, ids), time.time())})
    finally:
        os.close(lock)


def known(folder: Path) -> Mapping[str, float]:
    """Who was forgotten, by digest, and when. Raises Conflict for a file that cannot be read: who, nobody knows."""
    try:
        return card.read(folder / FILE, dict[str, float])
    except NotFound:
        return {}


def among(folder: Path, people: Iterable[str] | None, since: float) -> bool:
    """Whether one of these people was forgotten after that time; None = nobody knows who they are, so they may be."""
    gone = {digest for digest, at in known(folder).items() if at >= since}
    return bool(gone) and (people is None or not gone.isdisjoint(map(_digest, people)))


def _digest(person: str) -> str:
    return hashlib.blake2b(person.encode("utf-8", "surrogatepass"), digest_size=16, person=b"forgotten").hexdigest()
