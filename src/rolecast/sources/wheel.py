"""Takes single files out of a wheel without trusting it and without running anything in it.

Every file must be plain, named safely, of the size and SHA-256 that the wheel's RECORD states, and not blow
up when unpacked. Does not know where wheels come from.
"""

import base64
import csv
import hashlib
import io
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rolecast.errors import SourceError
from rolecast.sources import names
from rolecast.sources.store import Progress, Report

MAX_MEMBERS = 20_000
MAX_RATIO = 200
"""Unpacked bytes per packed byte; weights are about 1, text about 4."""
_RECORD_BYTES = 16 << 20
_SLACK = 1 << 20  # small files may compress better than MAX_RATIO


class Wheel:
    """An open wheel: its file names, and single files written out, checked."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self.name = name
        self._archive = archive
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise self.problem(f"it holds {len(members)} files, more than {MAX_MEMBERS}")
        self._members = {m.filename: m for m in members if not m.is_dir()}
        if len(self._members) != sum(not m.is_dir() for m in members):
            raise self.problem("it holds two files of one name")
        self._hashes = self._record()

    @property
    def files(self) -> list[str]:
        return list(self._members)

    def size(self, file: str) -> int:
        return self._members[file].file_size

    def extract(self, file: str, target: Path, report: Report = lambda _: None) -> str:
        """Write one file to `target` and give its SHA-256 as hex. Raises SourceError."""
        member = self._members[file]
        self._check(member)
        digest, done = hashlib.sha256(), 0
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._archive.open(member) as packed, target.open("wb") as out:
                while block := packed.read(1 << 20):
                    done += len(block)
                    if done > member.file_size:
                        raise self.problem(f"{file} is longer than it states")
                    digest.update(block)
                    out.write(block)
                    report(Progress("unpacking", done, member.file_size))
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as e:
            raise self.problem(f"{file} cannot be unpacked ({e})") from e
        if self._hashes.get(file) != digest.digest():
            raise self.problem(f"{file} is not what its RECORD states")
        return digest.hexdigest()

    def problem(self, what: str) -> SourceError:
        return SourceError(f"{self.name} cannot be used: {what}. Pull again or choose another package.")

    def _check(self, member: zipfile.ZipInfo) -> None:
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or member.flag_bits & 1:
            raise self.problem(f"{member.filename} is a link, special or encrypted")
        if not names.is_safe(member.filename):
            raise self.problem(f"the name {member.filename!r} leads elsewhere")
        if member.file_size > member.compress_size * MAX_RATIO + _SLACK:
            raise self.problem(f"{member.filename} would unpack to {member.file_size} bytes")

    def _record(self) -> dict[str, bytes]:
        paths = [f for f in self._members if f.endswith(".dist-info/RECORD") and f.count("/") == 1]
        if len(paths) != 1 or self._members[paths[0]].file_size > _RECORD_BYTES:
            raise self.problem("it has no usable RECORD")
        self._check(self._members[paths[0]])
        try:
            rows = csv.reader(io.StringIO(self._archive.read(paths[0]).decode()))
            pairs = [(row[0], row[1].partition("=")) for row in rows if len(row) == 3]
            return {
                path: base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
                for path, (algorithm, _, value) in pairs
                if algorithm == "sha256"
            }
        except (ValueError, csv.Error, zipfile.BadZipFile, zlib.error) as e:
            raise self.problem(f"its RECORD cannot be read ({e})") from e


@contextmanager
def opened(path: Path) -> Iterator[Wheel]:
    """The wheel at `path`. Raises SourceError when it is no zip file or breaks a limit."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as e:
        raise SourceError(f"{path.name} is not a wheel ({e}); pull again.") from e
    with archive:
        yield Wheel(archive, path.name)
