"""Values of a graph as ours: times of any type, texts, ids. Pure; knows the driver's types by their methods only."""

import re
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any

_ZONE_NAME = re.compile(r"\[[^\]]*\]$")
_MILLISECONDS = 1e11
"""Numbers beyond this (the year 5138 in seconds) are milliseconds, or microseconds, or nanoseconds."""
_EARLIEST, _LATEST = -86_400.0, datetime(2200, 1, 1, tzinfo=UTC).timestamp()
_UNFIT = re.compile("[\ud800-\udfff\x00]")


def moment(value: Any) -> float | None:
    """Seconds since 1970 of a time: ISO 8601 text, the driver's or Python's types, a number. None where it is none.

    A time without a zone is UTC: what databases keep has lost its zone, not changed it.
    """
    if hasattr(value, "to_native"):  # neo4j.time, which counts nanoseconds
        try:
            value = value.to_native()
        except (ValueError, OverflowError):
            return None
    if isinstance(value, str):
        value = _of_text(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        try:
            return _possible(aware.timestamp())
        except (ValueError, OverflowError):
            return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _of_number(float(value)) if abs(value) < 1e300 else None
    return None


def _of_text(text: str) -> datetime | float | None:
    plain = _ZONE_NAME.sub("", text.strip())  # 2024-01-01T10:00+01:00[Europe/Berlin]
    try:
        return datetime.fromisoformat(plain)
    except ValueError:
        pass
    try:
        return float(plain)
    except ValueError:
        return None


def _of_number(number: float) -> float | None:
    if not isfinite(number):
        return None
    while abs(number) > _MILLISECONDS:
        number /= 1000
    return _possible(number)


def _possible(seconds: float) -> float | None:
    """The year 1 or 9999 is how somebody wrote `unknown`."""
    return seconds if _EARLIEST <= seconds <= _LATEST else None


def words(value: Any) -> str:
    """A text as it can be stored and shown; '' for None and for what is no text."""
    if isinstance(value, str):
        return _UNFIT.sub("", value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def tags(value: Any) -> tuple[str, ...]:
    """A list of words; a text is one of them, or several between commas."""
    several = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else ()
    return tuple(word for each in several if (word := words(each).strip()))


def utc(seconds: float) -> datetime:
    """A time as a parameter. Always in UTC: a zone of `zoneinfo` puts the driver an hour off, or ends it."""
    return datetime.fromtimestamp(seconds, UTC)


def numeral(element: str) -> int:
    """The number in an element id, which grows as nodes are made: `4:1e2f...:17` -> 17."""
    tail = element.rpartition(":")[2]
    return int(tail) if tail.isascii() and tail.isdigit() and len(tail) < 19 else 0
