"""Stretches of time as people write them: `7d`, `2026-11-01`, `2026-11-01T08:30Z`. Reads no clock."""

import re
from datetime import UTC, datetime

from rolecast.books.usage import Window
from rolecast.errors import BadRequest

_AGO = re.compile(r"(\d{1,9})\s*(s|m|h|d|w)", re.ASCII)
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SECONDS = re.compile(r"\d{9,12}(\.\d{1,6})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ].{1,32})?", re.ASCII)
FORMS = "7d (also s, m, h, w), a date such as 2026-11-01, or a time such as 2026-11-01T08:30Z"


def window(since: str, until: str, now: float) -> Window:
    """From then to then, `until` '' = now and a moment, so that what has just ended is within. Raises BadRequest."""
    begin = moment(since, now, "since")
    end = moment(until, now, "until") if until else now + 1
    if begin >= end:
        raise BadRequest(f"`since` ({since[:50]}) must be before `until` ({until[:50] or 'now'}).", param="since")
    return Window(begin, end)


def moment(text: str, now: float, name: str) -> float:
    """In seconds since 1970. Dates begin at midnight UTC; a time without a zone is UTC. Raises BadRequest."""
    said = text.strip()
    if ago := _AGO.fullmatch(said):
        return max(now - int(ago[1]) * _UNITS_S[ago[2]], 0.0)
    if _SECONDS.fullmatch(said):
        return float(said)
    try:
        if not _DATE.fullmatch(said):
            raise ValueError
        at = datetime.fromisoformat(said)
        return max((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp(), 0.0)
    except (ValueError, OverflowError):
        raise BadRequest(f"`{name}`: {text[:50]!r} is no time; use {FORMS}.", param=name) from None
