"""Finds numbers of payment cards and of bank accounts: their check digits must be right."""

import re
from collections.abc import Iterator

from rolecast.privacy.spans import Span

_RUN = re.compile(r"(?<![\w.-])\d(?:[ \u00a0-]?\d){11,}")
_FOURS = re.compile(r"(?<![\w.])\d{4}(?P<gap>[ \t\u00a0]{1,4}|[./_|]|\r?\n)\d{4}(?P=gap)\d{4}(?P=gap)\d{4}(?!\w|\.\d)")
"""As cards are printed, with anything between the groups."""
MOST_DIGITS = 19
"""Of a card."""
_CARD = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|3(?:0[0-5]|[689]\d)\d{11}|62\d{14,17}"
    r"|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{8,15}"
)
"""By the numbers that issuers have: Visa, Mastercard, American Express, Discover, JCB, Diners, UnionPay, Maestro."""


def cards(text: str) -> Iterator[Span]:
    """Numbers of cards, in groups or not; the last digit must be right (ISO/IEC 7812-1, annex B)."""
    for run in _RUN.finditer(text):
        start = run.start()
        places = [i for i in range(start, run.end()) if text[i].isdigit()]
        digits = "".join(str(int(text[i])) for i in places)
        first = 0
        while first < len(digits):  # other numbers may stand before and behind it, and other cards
            size = 0
            if not first or places[first] > places[first - 1] + 1:  # it begins where a group does
                near = places[first : first + MOST_DIGITS]
                size = _size(digits[first : first + MOST_DIGITS], [p - near[0] for p in near], text, near[0])
            if size:
                yield Span(places[first], places[first + size - 1] + 1, "cards")
            first += size or 1
    for fours in _FOURS.finditer(text):
        digits = "".join(str(int(sign)) for sign in fours[0] if sign.isdigit())
        if _CARD.fullmatch(digits) and _luhn(digits):
            yield Span(fours.start(), fours.end(), "cards")


def _size(digits: str, offsets: list[int], text: str, start: int) -> int:
    """How many of these digits are a card's; it must end where a group does."""
    for size in (16, 15, 14, 19, 18, 17, 13, 12):
        if size > len(digits) or not _CARD.fullmatch(digits[:size]) or not _luhn(digits[:size]):
            continue
        behind = text[start + offsets[size - 1] + 1 : start + offsets[size - 1] + 2]
        if not (behind.isalnum() or behind == "_"):
            return size
    return 0


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (1 + place % 2)
        total += number - 9 * (number > 9)
    return total % 10 == 0 and len(set(digits)) > 1


# -- bank accounts -----------------------------------------------------------------------------------------------

_IBAN = re.compile(r"(?<![^\W_])[A-Za-z]{2}\d{2}(?:[ \u00a0-]?[A-Za-z0-9]){11,34}")
_SIGNS = re.compile(r"[^A-Za-z0-9]")
_LENGTHS = """
    AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BI:27 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24 DE:22
    DJ:27 DK:18 DO:28 EE:20 EG:29 ES:24 FI:18 FK:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 GT:28 HR:21
    HU:28 IE:22 IL:23 IQ:23 IS:26 IT:27 JO:30 KW:30 KZ:20 LB:28 LC:32 LI:21 LT:20 LU:20 LV:21 LY:25 MC:27
    MD:24 ME:22 MK:19 MN:20 MR:27 MT:31 MU:30 NI:28 NL:18 NO:15 OM:23 PK:24 PL:28 PS:29 PT:25 QA:29 RO:24
    RS:22 RU:33 SA:24 SC:31 SD:18 SE:24 SI:19 SK:24 SM:27 SO:23 ST:25 SV:28 TL:23 TN:24 TR:26 UA:29 VA:22
    VG:24 XK:20 YE:30
"""
LENGTHS = {pair[:2]: int(pair[3:]) for pair in _LENGTHS.split()}
"""Characters of an account's number by its country (the registry of ISO 13616)."""


def ibans(text: str) -> Iterator[Span]:
    """International numbers of bank accounts whose check digits are right (ISO 13616: modulo 97)."""
    at = 0
    while (found := _IBAN.search(text, at)) is not None:
        end = _end(text, found)
        if end:
            yield Span(found.start(), end, "ibans")
        at = end or found.start() + 4  # what follows may begin in what was taken for its rest


def _end(text: str, found: re.Match[str]) -> int:
    """Where the account's number ends that begins there; 0 = it is none."""
    size = LENGTHS.get(found[0][:2].upper(), 0)
    places = [i for i in range(found.start(), found.end()) if text[i].isascii() and text[i].isalnum()]
    if not size or len(places) < size:
        return 0
    end = places[size - 1] + 1
    behind = text[end : end + 1]
    ends = not (behind.isalnum() or behind == "_")
    return end if ends and _checks(_SIGNS.sub("", text[found.start() : end]).upper()) else 0


def _checks(number: str) -> bool:
    turned = number[4:] + number[:4]
    return int("".join(str(int(sign, 36)) for sign in turned)) % 97 == 1
