"""What the child process of a job tells the gateway: JSON lines, written there and read here.

Believes nothing of what it reads: a line that is no note goes nowhere, and one without end costs no memory.
"""

import msgspec

from rolecast.errors import UNREADABLE
from rolecast.jobs.job import Progress, Report

LINE_BYTES = 64 * 1024


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a child: how far it is, or how it came out."""

    progress: Progress | None = None
    result: str | None = None
    error: str | None = None


class Reports:
    """What one child has told so far."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._decode = msgspec.json.Decoder(Note).decode
        self._partial = bytearray()
        self._is_lost = False
        """Whether the line that comes in is too long to be one of ours."""
        self.result: str | None = None
        self.error: str | None = None

    def feed(self, data: bytes) -> None:
        """Take a piece of its output, as it came."""
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._add(piece)
            if not self._is_lost:
                self._read(bytes(self._partial))
            self._partial.clear()
            self._is_lost = False
        self._add(rest)

    def _add(self, piece: bytes) -> None:
        self._is_lost = self._is_lost or len(self._partial) + len(piece) > LINE_BYTES
        if self._is_lost:
            self._partial.clear()
        else:
            self._partial += piece

    def _read(self, line: bytes) -> None:
        try:
            note = self._decode(line)
        except UNREADABLE:
            return
        if note.progress is not None:
            self._report(note.progress)
        self.result = note.result if note.result is not None else self.result
        self.error = note.error if note.error is not None else self.error
