"""What an export consists of: one file, a folder of files, or a zip. Reads, never unpacks, and knows no format.

A zip is read in place, so that no name in it leads anywhere, and what comes out of it is counted while it does, because
sizes in its directory may lie.
"""

import codecs
import contextlib
import io
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self, TypeAlias

from rolecast.errors import ExportError

BEGINNING = 64 * 1024
"""Bytes of a file that are looked at to tell what it is."""
WHOLE = 2 * 1024**3
"""The largest file that is read into memory as a whole."""
RATIO = 100
"""So many times its own size may come out of a zip: text is packed to a tenth, a bomb to a thousandth."""
FREE = 256 * 1024**2
"""So much may come out of any zip."""
PASSES = 4
"""A file may be looked at, surveyed and read."""
Reader: TypeAlias = "io.BufferedReader[Any]"
MEMBERS = 200_000
"""Files of a folder or zip, at most."""
_BROKEN = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError)
"""What `zipfile` raises for one that is damaged, packed in a way that it does not know, or encrypted."""


class Bundle:
    """The regular files of a folder or zip by their names in it, or one file by its own. Links are left alone.

    Raises ExportError for what is not there, no regular file, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sizes: dict[str, int] = {}
        """Names and sizes in bytes, in order."""
        self._zip: zipfile.ZipFile | None = None
        self._infos: dict[str, zipfile.ZipInfo] = {}
        self._left = 0
        try:
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                self._of_folder()
            elif not stat.S_ISREG(mode):  # a pipe would never end
                raise ExportError(f"{path} is no regular file; name the file or folder of an export.")
            elif _is_zip(path):
                self._of_zip()
            else:
                self.sizes[path.name] = path.stat().st_size
        except OSError as error:
            raise unreadable(path, error) from error

    @property
    def is_zip(self) -> bool:
        return self._zip is not None

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(self.sizes.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._zip is not None:
            self._zip.close()

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Reader]:
        """One of them, to be read from its beginning; as UTF-8, whatever an editor or a shell made of it."""
        try:
            if self._zip is not None:
                with self._zip.open(self._infos[name]) as file, io.BufferedReader(_Counted(file, self)) as reader:
                    yield _readable(reader)
            else:
                path = self.path / name if self.path.is_dir() else self.path
                with path.open("rb") as plain:
                    yield _readable(plain)
        except _BROKEN as error:
            raise self._damaged(name, error) from error
        except OSError as error:
            raise unreadable(self.path, error) from error

    def read(self, name: str) -> bytes:
        """One of them as a whole, without a byte order mark."""
        if self.sizes[name] > WHOLE:
            raise ExportError(f"{name} in {self.path} is larger than 2 GB; export it in parts.")
        with self.open(name) as file:
            return file.read(WHOLE).removeprefix(b"\xef\xbb\xbf")

    def beginning(self, name: str) -> bytes:
        """What it begins with; nothing where it cannot be read."""
        with contextlib.suppress(ExportError), self.open(name) as file:
            return file.read(BEGINNING).removeprefix(b"\xef\xbb\xbf")
        return b""

    def take(self, count: int) -> None:
        """Note that so many bytes came out of the zip. Raises ExportError when that cannot be an export."""
        self._left -= count
        if self._left < 0:
            raise ExportError(f"{self.path} unpacks to far more than an export would; unpack it and name its folder.")

    def _of_folder(self) -> None:
        for folder, folders, names in os.walk(self.path):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                about = path.lstat()
                if stat.S_ISREG(about.st_mode):
                    self.sizes[path.relative_to(self.path).as_posix()] = about.st_size
                if len(self.sizes) > MEMBERS:
                    raise ExportError(f"{self.path} has more than {MEMBERS:,} files; name the folder of one export.")

    def _of_zip(self) -> None:
        try:
            self._zip = zipfile.ZipFile(self.path)
        except _BROKEN as error:
            raise self._damaged(self.path.name, error) from error
        infos = [each for each in self._zip.infolist() if not each.is_dir()]
        if len(infos) > MEMBERS:
            raise ExportError(f"{self.path} has more than {MEMBERS:,} files; it is no export of conversations.")
        for info in infos:
            parts = info.filename.split("/")
            if ".." not in parts and parts[0] != "__MACOSX" and not info.filename.startswith("/"):
                self.sizes[info.filename], self._infos[info.filename] = info.file_size, info
        self._left = PASSES * max(FREE, self.path.stat().st_size * RATIO)

    def _damaged(self, name: str, error: Exception) -> ExportError:
        if "encrypted" in str(error) or "password" in str(error):
            return ExportError(f"{self.path} is encrypted; unpack it and name its folder.")
        return ExportError(f"{name} in {self.path} is damaged; export it again.")


class _Counted(io.RawIOBase):
    def __init__(self, file: IO[bytes], bundle: Bundle) -> None:
        self._file, self._bundle = file, bundle

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        self._bundle.take(len(data))
        buffer[: len(data)] = data
        return len(data)


class _Recoded(io.RawIOBase):
    """UTF-16 as UTF-8, piece by piece."""

    def __init__(self, file: Reader) -> None:
        self._file, self._rest = file, b""
        self._decoder = codecs.getincrementaldecoder("utf-16")("replace")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            data = self._file.read(BEGINNING)
            self._rest = self._decoder.decode(data, final=not data).encode()
            if not data:
                break
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def _readable(file: Reader) -> Reader:
    marked = file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return io.BufferedReader(_Recoded(file)) if marked else file


def unreadable(path: Path, error: OSError) -> ExportError:
    """What the system says of a file, with what may help."""
    if isinstance(error, FileNotFoundError):
        return ExportError(f"{path} is not there; name the file or folder of an export.")
    hint = "copy it to where you can read it, or allow it (macOS: Full Disk Access)"
    then = hint if isinstance(error, PermissionError) else "copy it to another disk and try again"
    return ExportError(f"{path} cannot be read ({(error.strerror or str(error)).lower()}); {then}.")


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
