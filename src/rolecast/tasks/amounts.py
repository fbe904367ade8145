"""Amounts as people write them: `at most 50 words`, `exactly three items`, `5 steps`.

Pure: texts in, bounds out.
"""

import re

import msgspec

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_UPWARDS = r"at least|no fewer than|not less than|minimum(?: of)?|min\.?|more than|over"
_DOWNWARDS = r"at most|no more than|not more than|up to|maximum(?: of)?|max\.?|less than|fewer than|under|below|within"
_STRICT = ("more than", "over", "less than", "fewer than", "under", "below")
_NUMBER = rf"\d{{1,7}}|{'|'.join(NUMBERS)}"


class Amount(msgspec.Struct, frozen=True):
    """Bounds of a count, both within."""

    least: int = 0
    most: int = 10**9

    def holds(self, count: int) -> bool:
        """Whether so many are right."""
        return self.least <= count <= self.most

    def __str__(self) -> str:
        if self.least == self.most:
            return str(self.least)
        if self.most == ANY.most:
            return f"at least {self.least}"
        return f"{self.least} to {self.most}" if self.least else f"at most {self.most}"


ANY = Amount()


def amount(text: str, unit: str) -> Amount:
    """The first amount of `unit` (a regular expression) that a text names; without one any amount holds."""
    found = _pattern(unit).search(text)
    if found is None:
        return ANY
    number, sign = _number(found["number"]), (found["sign"] or "").lower()
    if found["to"]:
        return Amount(number, max(number, _number(found["to"])))
    strict = int(sign in _STRICT)
    if re.fullmatch(_UPWARDS, sign):
        return Amount(least=number + strict)
    if re.fullmatch(_DOWNWARDS, sign):
        return Amount(most=max(0, number - strict))
    if found["after"]:
        upwards = found["after"].lower() in ("or more", "minimum", "at least")
        return Amount(least=number) if upwards else Amount(most=number)
    return Amount(number, number)


def _pattern(unit: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?:\b(?P<sign>{_UPWARDS}|{_DOWNWARDS})\s+)?\b(?P<number>{_NUMBER})\b(?:\s*(?:-|\u2013|to|and)\s*(?P<to>{_NUMBER}))?"
        rf"[\s-]+(?:[^\W\d]+\s+){{0,2}}?(?:{unit})\b"
        r"(?:\s+(?P<after>or more|or less|or fewer|maximum|minimum|at most|at least))?",
        re.IGNORECASE,
    )


def _number(word: str) -> int:
    return int(word) if word.isdecimal() else NUMBERS.index(word.lower()) + 1
