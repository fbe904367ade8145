"""The beginning of a WhatsApp message: its style, and which number of its date is the day."""

import re
from datetime import date, datetime, time
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from rolecast.errors import Invalid

_MARK = "[\ufeff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
_MARKS = f"{_MARK}*"
_SPACE = "[ \u00a0\u2007\u2009\u202f\u3000]"
_HALVES = {
    "am": (
        "am a.m. 上午 凌晨 清晨 早上 午前 오전 ص ق.ظ. पूर्वाह्न म.पू. ก่อนเที่ยง sa öö π.μ. de. p.d. fm ap. vm. "
        "пр.об. дп пг dop. r.n. f.h."  # noqa: RUF001  # that is how they are written
    ),
    "pm": (
        "pm p.m. 下午 中午 晚上 午後 오후 م ب.ظ. अपराह्न म.उ. หลังเที่ยง ch ös μ.μ. du. m.d. em ip. nm. "
        "сл.об. пп ptg odp. pop. i.n. e.h."  # noqa: RUF001
    ),
}
"""How phones write the two halves of a day. Points and spaces in them are optional: `p. m.`"""
_HALF = "|".join(
    rf"{_SPACE}?".join(re.escape(letter) + r"\.?" for letter in word.replace(".", ""))
    for word in sorted(" ".join(_HALVES.values()).split(), key=len, reverse=True)
)
_DATE = (
    rf"(?P<date>\d{{1,4}}{_MARKS}(?P<mark>[./-]){_MARKS}[ ]?\d{{1,2}}{_MARKS}(?P=mark){_MARKS}[ ]?\d{{1,4}})"
    rf"\.?(?:{_SPACE}\u0433\.)?"
)
_BETWEEN = rf"{_MARKS}[,،]?{_MARKS}{_SPACE}+{_MARKS}(?:(?:um|at|a las|à|às|alle|om|kl\.?|klo){_SPACE})?"
_CLOCK = (
    rf"(?P<clock>(?:(?P<early>(?i:{_HALF})){_SPACE}?)?(?P<hour>\d{{1,2}})(?:[:.]|{_SPACE}h{_SPACE})(?P<minute>\d{{2}})"
    rf"(?:[:.](?P<second>\d{{2}}))?(?:{_SPACE}?(?P<half>(?i:{_HALF})))?)(?:{_SPACE}(?:ч|น)\.)?{_MARKS}"
)
_IPHONE = re.compile(rf"{_MARKS}\[{_DATE}{_BETWEEN}{_CLOCK}\]{_SPACE}?(?P<rest>.*)", re.DOTALL)
_ANDROID = re.compile(rf"{_MARKS}{_DATE}{_BETWEEN}{_CLOCK}{_SPACE}[-\u2013]{_SPACE}(?P<rest>.*)", re.DOTALL)
_AFTERNOON = frozenset(re.sub(r"\.", "", word) for word in _HALVES["pm"].split())
_GROUPS = ("date", "mark", "clock", "early", "second", "half", "rest")
_BEGINS = frozenset(b"[0123456789\xe2\xef\xd8\xd9\xdb\xe0")
"""First bytes of a header: a bracket, a digit of whatever script, or one of the marks."""
_BUDDHA = range(2400, 2700)
"""Years of Thai phones, which are 543 more than ours."""
ORDERS = {"dmy": (0, 1, 2), "mdy": (1, 0, 2), "ymd": (2, 1, 0)}
"""Where day, month and year are."""


class Style(NamedTuple):
    """How headers of one file are written, all of them alike."""

    bracket: bool
    mark: str
    """Between the numbers of a date."""
    seconds: bool
    halves: bool
    """Whether the clock has twelve hours."""


class Header(NamedTuple):
    """The first line of a message."""

    style: Style
    date: str
    clock: str
    rest: str
    """Who, and the first line of what they wrote."""

    def at(self, order: str) -> datetime | None:
        """Its time by a clock on the wall; None = there is no such time."""
        return _time(self.date, self.clock, order)


def header(line: bytes, style: Style | None = None) -> Header | None:
    """The header that a line is; None = it is none, or none in that style."""
    if not line or line[0] not in _BEGINS:
        return None
    text = line.decode("utf-8", "replace").rstrip("\r\n")
    if style is not None:
        found = (_IPHONE if style.bracket else _ANDROID).match(text)
    else:
        found = _IPHONE.match(text) or _ANDROID.match(text)
    if found is None:
        return None
    date, mark, clock, early, second, half, rest = found.group(*_GROUPS)
    own = Style(found.re is _IPHONE, mark, second is not None, half is not None or early is not None)
    if style is not None and own != style:
        return None
    return Header(own, date if date.isascii() else _plain(date), clock, rest)


def _plain(date: str) -> str:
    """Its numbers in our digits, without the marks that right-to-left phones put between them."""
    return "".join(str(int(each)) if each.isdigit() else each for each in re.sub(_MARK, "", date))


class Evidence:
    """Gathers what the dates of a file say about their order."""

    def __init__(self) -> None:
        self._possible = dict.fromkeys(ORDERS, True)
        self._last: dict[str, tuple[int, ...]] = {}
        self._back = dict.fromkeys(ORDERS, 0)
        """How often a date is earlier than the one before it, in that order."""
        self._one = True
        """Whether day and month are the same number throughout."""
        self._before = ""
        self._mark = ""

    def add(self, date: str) -> None:
        """The date of one more message."""
        if date == self._before:
            return
        self._before = date
        numbers, self._mark = _numbers(date)
        for order, places in ORDERS.items():
            day, month, year = (numbers[place] for place in places)
            self._possible[order] &= 1 <= month <= 12 and 1 <= day <= 31
            now = (year, month, day)
            self._back[order] += now < self._last.get(order, now)
            self._last[order] = now
        self._one &= numbers[0] == numbers[1]

    def order(self, asked: str, path: Path) -> str:
        """Which it is. Raises Invalid where two are possible and nobody said which."""
        if asked:
            return asked
        if len(self._before.split(self._mark, 1)[0]) == 4:
            return "ymd"
        possible = [order for order in ("dmy", "mdy") if self._possible[order]]
        if len(possible) == 1:
            return possible[0]
        if self._mark == "." and possible:  # nobody writes the month first with points
            return "dmy"
        if possible and self._back["dmy"] != self._back["mdy"]:  # a chat goes on, give or take a clock set back
            return min(possible, key=lambda order: self._back[order])
        if possible and self._one:
            return "dmy"
        raise Invalid(
            f"The dates of {path} can be read day first or month first; say which: `--date-order dmy` or `mdy`.",
            param="date_order",
        )


@lru_cache(maxsize=1024)
def _numbers(date: str) -> tuple[tuple[int, ...], str]:
    mark = next(each for each in date if not each.isdigit())
    return tuple(int(each) for each in date.split(mark)), mark


def _time(written: str, clock: str, order: str) -> datetime | None:
    day, at = _day(written, order), _clock(clock)
    return None if day is None or at is None else datetime.combine(day, at)


@lru_cache(maxsize=4096)
def _day(written: str, order: str) -> date | None:
    numbers, _ = _numbers(written)
    day, month, year = (numbers[place] for place in ORDERS[order])
    if year in _BUDDHA:
        year -= 543
    try:
        return date(year + 2000 if year < 100 else year, month, day)
    except ValueError:
        return None


@lru_cache(maxsize=8192)
def _clock(written: str) -> time | None:
    found = re.fullmatch(_CLOCK, written)
    assert found is not None, "a header matched it"
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"] or 0)
    if half := found["early"] or found["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if re.sub(rf"\.|{_SPACE}", "", half).lower() in _AFTERNOON else 0)
    try:
        return time(hour, minute, second)
    except ValueError:
        return None
