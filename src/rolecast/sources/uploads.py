"""Files of weights that clients bring: streamed to the folder of weights, checked, and there whole or not at all.

A file is called by its SHA-256, so the same one is there once. Which model needs it, the variants know.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

from rolecast.config import paths
from rolecast.config.variants import Brought
from rolecast.errors import BadRequest, ModelNotFound, SourceError, TooLarge
from rolecast.sources import store
from rolecast.values import size_text
from rolecast.weights import gguf

_PIECE = 1 << 20
_LOOK = 64 << 20
"""The disk is asked for room whenever so much has come."""
_STALE_S = 3600.0
"""A part that nobody wrote to for so long was left by a process that was killed."""


class Uploads:
    """The files below `uploads` in the folder of weights."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        """Where the file of that hash is, or would be."""
        return self._folder / f"sha256-{sha256}.gguf"

    def model(self, start: str) -> Brought | None:
        """The model of the weights whose hash begins so; None when there are none, or more than one."""
        found = list(self._folder.glob(f"sha256-{start}*.gguf"))
        header = gguf.known(found[0]) if len(found) == 1 else None
        if header is None:
            return None
        able = ["chat", "completion"] if header.generates else ["embeddings"]
        return Brought(source=f"file:{found[0].absolute()}", capabilities=able)

    def check(self, sha256: str) -> None:
        """Raises BadRequest when no model can be made of that file, ModelNotFound when it is not here."""
        path = self.path(sha256)
        if not path.is_file():
            raise ModelNotFound(f"sha256:{sha256} is not here: bring it with POST /api/blobs/sha256:{sha256} first.")
        if len(list(self._folder.glob(f"sha256-{sha256[:16]}*.gguf"))) > 1:
            raise BadRequest("There are other weights whose hash begins like that of these; delete their model first.")
        try:
            header = gguf.read(path)
        except SourceError as error:
            raise BadRequest(f"sha256:{sha256} is no model: {error.message}", param="files") from None
        if header.side or header.split_count > 1:
            what = header.side or "one part of several"
            raise BadRequest(f"sha256:{sha256} is {what}, and no model by itself; bring a whole model in one file.")

    def begin(self, sha256: str, most: int, length: int) -> "Upload":
        """A file that is coming, of that many bytes (0 = not known). Raises SourceError without room for it."""
        if length > most:
            raise _too_large(most)
        try:
            paths.make_private(self._folder)
            self._sweep()
            store.require_space(self._folder, max(length, _LOOK), "The file")
            return Upload(self._folder / f"{sha256}.{uuid4().hex}.part", self.path(sha256), sha256, most)
        except OSError as error:
            raise _unwritable(self._folder, error) from error

    def drop(self, start: str) -> None:
        """Delete the file whose hash begins so; a process that has it open keeps it until it ends."""
        for path in self._folder.glob(f"sha256-{start}*.gguf"):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        for part in self._folder.glob("*.part"):
            with contextlib.suppress(OSError):
                if time.time() - part.stat().st_mtime > _STALE_S:
                    part.unlink(missing_ok=True)


class Upload:
    """One file that is coming. All of it blocks: call it from a thread."""

    def __init__(self, part: Path, target: Path, sha256: str, most: int) -> None:
        self._part, self._target, self._sha256, self._most = part, target, sha256, most
        self._digest = hashlib.sha256()
        self._done = self._looked = 0
        self._file = os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def write(self, data: bytes) -> None:
        """Some more of it. Raises TooLarge, and SourceError when the disk is full."""
        self._done += len(data)
        if self._done > self._most:
            raise _too_large(self._most)
        if self._done - self._looked > _LOOK:
            self._looked = self._done
            store.require_space(self._target.parent, _LOOK, "The file")
        try:
            self._digest.update(data)
            self._file.write(data)
        except OSError as error:
            raise _unwritable(self._target.parent, error) from error

    def finish(self) -> None:
        """It is complete: check it and put it in its place. Raises BadRequest when its hash is another."""
        if (have := self._digest.hexdigest()) != self._sha256:
            text = f"The file has sha256:{have}, and sha256:{self._sha256} was said; send it again"
            raise BadRequest(f"{text}.", code="invalid_value")
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._part.replace(self._target)
        except OSError as error:
            raise _unwritable(self._target.parent, error) from error

    def close(self) -> None:
        """The end, whatever became of it: nothing but a file in its place stays."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)


async def pieces(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces that are worth a thread's while."""
    held, size = [], 0
    async for data in stream:
        held.append(data)
        size += len(data)
        if size >= _PIECE:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"The file is larger than {size_text(most)} (server.limits.upload).")


def _unwritable(folder: Path, error: OSError) -> SourceError:
    reason = error.strerror or error
    return SourceError(f"{folder} cannot be written ({reason}). Free some space, or set storage.models to another.")
