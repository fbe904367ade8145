"""The variants that clients make: one small file each in the data folder, whose name is a hash of the variant's.

So no name becomes a path, and several gateways of one data folder never write over each other's variants. A file is
there whole or not at all. One that cannot be read stays as it is and hides nothing but itself.
"""

import contextlib
import hashlib
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import msgspec

from rolecast.config import names, paths, variants
from rolecast.config.schema import Config
from rolecast.config.variants import MOST_BYTES, Brought, Made
from rolecast.errors import UNREADABLE, Conflict, TooLarge

log = logging.getLogger("rolecast.variants")

MOST = 1000
"""So many are kept: each is read at a start and at a reload."""
MOST_TOTAL_BYTES = 64 * 1024**2
"""So much are all of them together: they lie in memory."""
_FILE_BYTES = MOST_BYTES + 4096
_STALE_S = 3600.0
"""A file that was being written for so long was left by a process that was killed."""


class _Kept(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    variant: Made


_decode = msgspec.json.Decoder(_Kept).decode


class MadeVariants:
    """The variants of one data folder."""

    def __init__(self, folder: Path, bring: Callable[[str], Brought | None] = lambda _: None) -> None:
        self._folder = folder
        self._bring = bring
        """The model of the weights that a client brought, by how their hash begins; None = they are not here."""
        self._told: set[str] = set()

    def join(self, config: Config) -> Config:
        """The configuration with what is kept here now. Says what cannot be read or used, once."""
        joined = self.joined(config)
        for name, why in variants.unusable(joined).items():
            self._tell(f"the variant {name!r} cannot be used: {why}")
        return joined

    def joined(self, config: Config) -> Config:
        """The same, and nothing is said of what cannot be used."""
        made = self.read()
        return variants.joined(config, made, self._brought(made))

    def _brought(self, made: Mapping[str, Made]) -> dict[str, Brought]:
        """The models that clients brought, as long as a variant is made of them."""
        ids = {variant.model: start for variant in made.values() if (start := variants.brought(variant.model))}
        found = {model_id: self._bring(start) for model_id, start in ids.items()}
        return {model_id: model for model_id, model in found.items() if model is not None}

    def read(self) -> dict[str, Made]:
        """All that are kept and can be read, by name."""
        found: dict[str, Made] = {}
        for path in self._files():
            try:
                there = path.stat()
                if not stat.S_ISREG(there.st_mode):  # a pipe would be waited for without end
                    raise ValueError("no file")
                if there.st_size > _FILE_BYTES:
                    raise ValueError(f"larger than {_FILE_BYTES} bytes")
                kept = _decode(path.read_bytes())
                if path != self._path(kept.name):
                    raise ValueError(f"not the file of the name {kept.name!r}")
                if fault := names.fault(kept.name):
                    raise ValueError(fault)
            except FileNotFoundError:
                continue  # another gateway has just deleted it
            except (OSError, ValueError, *UNREADABLE) as error:
                self._tell(f"{path} is no variant that can be read ({error}); mend it or delete it")
                continue
            found[kept.name] = kept.variant
        return found

    def keep(self, name: str, variant: Made) -> None:
        """Keep it, in place of one of that name. Raises TooLarge, and Conflict when there is no room."""
        data = msgspec.json.encode(_Kept(name, variant))
        if variants.size(variant) > MOST_BYTES:
            text = f"A variant may hold {MOST_BYTES} bytes of texts at most, and this one holds {len(data)}"
            raise TooLarge(f"{text}; its system prompt goes to the model with each request, so make it shorter.")
        path = self._path(name)
        others = [_size(other) for other in self._files() if other != path]
        if len(others) >= MOST or sum(others) + len(data) > MOST_TOTAL_BYTES:
            most = f"{MOST}, of {MOST_TOTAL_BYTES} bytes together"
            raise Conflict(f"No more variants can be kept ({most}, at most); delete one first.")
        part = path.with_suffix(f".{uuid4().hex}.part")
        try:
            paths.make_private(self._folder)
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise Conflict(
                f"{self._folder} cannot be written ({error.strerror}); free some space, or mend its rights."
            ) from error

    def forget(self, name: str) -> bool:
        """Delete it; whether it was there. Raises Conflict when its file cannot be deleted."""
        known = names.spelled(self.read(), name)
        if not known:
            return False
        try:
            self._path(known).unlink(missing_ok=True)
        except OSError as error:
            raise Conflict(f"{self._path(known)} cannot be deleted ({error.strerror}); mend its rights.") from error
        return True

    def _path(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"

    def _files(self) -> Iterator[Path]:
        """The files, oldest name first; what killed processes left is swept away."""
        try:
            there = sorted(self._folder.iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            self._tell(f"{self._folder} cannot be read ({error.strerror}), so its variants are not there")
            return
        for path in there:
            if path.suffix == ".json":
                yield path
            elif path.suffix == ".part":
                with contextlib.suppress(OSError):
                    if time.time() - path.stat().st_mtime > _STALE_S:
                        path.unlink(missing_ok=True)

    def _tell(self, text: str) -> None:
        if text not in self._told and len(self._told) < 10 * MOST:
            self._told.add(text)
            log.warning("%s", text)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # it has just been deleted
