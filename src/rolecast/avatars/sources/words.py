"""Texts, times and ids of exports: cleaned, on one clock, and the same in each reading."""

import contextlib
import hashlib
import math
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import BinaryIO
from zoneinfo import ZoneInfo

from rolecast.errors import Invalid

LONGEST = 1_000_000
"""Characters of a message that are kept."""
LINE = 64 * 1024**2
"""Bytes of a line, at most."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_LATEST = 253_402_300_800.0
"""The year 10000."""


def clean(text: str) -> str:
    """Text that any database keeps: no NUL or other control characters, no half character pairs, plain line ends."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.isprintable():
        text = _CONTROL.sub("", _paired(text))
    return text[:LONGEST].strip()


def _paired(text: str) -> str:
    """Two escaped halves of a character become it."""
    with contextlib.suppress(UnicodeError):
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    return text


def name_of(text: str) -> str:
    """A name on one line, without the marks that say in which direction it is written."""
    return " ".join(re.sub(r"[\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]", "", clean(text)).split())[:200]


def digest(*parts: str) -> str:
    """An id of what has none: 128 bits of all parts."""
    whole = b"\0".join(part.encode("utf-8", "replace") for part in parts)
    return hashlib.blake2b(whole, digest_size=16).hexdigest()


def lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers; what is longer than any line should be comes in pieces."""
    number = 0
    whole = True
    while line := file.readline(LINE):
        number += whole
        whole = line.endswith(b"\n")
        yield number, line


class Zone:
    """What local times mean. Raises Invalid for a zone that there is not."""

    def __init__(self, name: str) -> None:
        self._zone: tzinfo | None = None
        if name:
            try:
                self._zone = ZoneInfo(name)
            except (ValueError, OSError, LookupError) as error:  # zoneinfo's own is a LookupError
                raise Invalid(
                    f"{name[:100]!r} is no time zone; name one like `Europe/Berlin`.", param="zone"
                ) from error
        self.name = name or _local_name()

    def seconds(self, local: datetime) -> float:
        """Seconds since 1970 of a time with or without a zone."""
        return (local if local.tzinfo or not self._zone else local.replace(tzinfo=self._zone)).timestamp()

    def read(self, said: object) -> float | None:
        """A time as programs write it: ISO 8601, or seconds or milliseconds since 1970. None = it is none."""
        if isinstance(said, str):
            with contextlib.suppress(ValueError, OverflowError, OSError):
                return self.seconds(datetime.fromisoformat(said.strip()))
            with contextlib.suppress(ValueError):
                said = float(said)
        if isinstance(said, int | float) and not isinstance(said, bool):
            with contextlib.suppress(OverflowError):
                return seconds(float(said))
        return None


def seconds(number: float) -> float | None:
    """Seconds since 1970, told as those, milli-, micro- or nanoseconds. None = no time."""
    if not math.isfinite(number):
        return None
    while abs(number) >= _LATEST:
        number /= 1000
    return number


def later(at: float | None, before: float | None) -> float | None:
    """The time of what follows: some exports have an answer before its question, or no time of it."""
    known = [each for each in (at, before) if each]
    return max(known, default=None)


class Clock:
    """Keeps the order of messages that were sent within one tick of a source's clock: a millisecond apart each.

    Whoever sorts by time then sees them as they were said; minutes are all that some exports tell.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, int]] = {}

    def __call__(self, chat: str, at: float) -> float:
        last, count = self._last.get(chat, (math.nan, 0))
        count = count + 1 if at == last else 0
        self._last[chat] = (at, count)
        return at + count / 1000


def _local_name() -> str:
    """The zone of this machine by its name where that can be found, else its distance from UTC."""
    if named := os.environ.get("TZ", "").removeprefix(":"):
        return named
    with contextlib.suppress(OSError):
        _, found, name = str(Path("/etc/localtime").resolve()).partition("zoneinfo/")
        if found:
            return name
    return time.strftime("%z") if time.timezone or time.daylight else str(UTC)
