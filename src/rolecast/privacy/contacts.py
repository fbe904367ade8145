"""Finds addresses of mail and of machines, and telephone numbers."""

import ipaddress
import re
from collections.abc import Iterator

from rolecast.privacy.spans import Span

LOCAL, DOMAIN = 64, 253
"""Most characters on either side of the `@` (RFC 5321, 4.5.3.1)."""
_LOCAL = re.compile(r"[^\s<>()\[\]{},;:\"@\\|=]{1,64}")
"""Read backwards, as is the one for a sign that is written out: so it is found in one pass."""
_DOMAIN = re.compile(r"(?:[^\W_][\w-]{0,62}\.){1,8}(?:xn--[a-z0-9-]{2,30}|[^\W\d_]{2,24})", re.IGNORECASE)
_HOST = re.compile(r"\[(?:IPv6:)?[0-9A-Fa-f.:]{2,45}\]")
_LITERAL = re.compile(r"[(\[{]\s?at\s?[)\]}]|\s(?:at|AT)\s(?=[\w-]{1,63}\s?[(\[{]?\s?(?:dot|DOT)\b)")
"""How people write the sign where programs look for it."""
_SPELT = re.compile(
    r"\s?[\w-]{1,63}(?:\s?[(\[{]\s?dot\s?[)\]}]\s?[\w-]{1,63}|\.[\w-]{1,63}|\sdot\s[\w-]{1,63}){1,6}", re.IGNORECASE
)
_BEFORE = re.compile(r"\s?[\w.+-]{1,64}")
_TRIM = "'`*~.!?/&#"


def emails(text: str) -> Iterator[Span]:
    """Addresses of mail, also where the sign is written out: `ann [at] example [dot] org`."""
    at = text.find("@")
    while at >= 0:
        span = _email(text, at)
        if span is not None:
            yield span
        at = text.find("@", span.end if span is not None else at + 1)
    if "at" in text or "AT" in text:
        for sign in _LITERAL.finditer(text):
            before = _BEFORE.match(text[max(0, sign.start() - LOCAL - 1) : sign.start()][::-1])
            behind = _SPELT.match(text, sign.end(), sign.end() + DOMAIN)
            if before is not None and behind is not None:
                yield Span(sign.start() - len(before[0]), behind.end(), "emails")


def _email(text: str, at: int) -> Span | None:
    before = _LOCAL.match(text[max(0, at - LOCAL) : at][::-1])
    behind = _DOMAIN.match(text, at + 1, at + 1 + DOMAIN) or _HOST.match(text, at + 1, at + 60)
    if before is None or behind is None:
        return None
    local = before[0][::-1].lstrip(_TRIM)
    if not local or local.endswith("/"):
        return None
    return Span(at - len(local), behind.end(), "emails")


# -- telephones --------------------------------------------------------------------------------------------------

_RUN = re.compile(r"(?<![\w+@-])(?<!\d\.)(?:\+|\()?\d(?:[ ().\u00a0/\u2011\u2013-]{0,3}\d){5,34}(?![\w@])")
_GOES_ON = re.compile(r"[ ().\u00a0/\u2011\u2013-]{0,3}\d")
_SAYS_SO = re.compile(
    r"(?:tel|telefon|telephone|t[eé]l[eé]phone|tel[eé]fono|phone|mobile|mobil|handy|cell|fax|call|ring|dial|whatsapp|sms|text"
    r"|num[eé]ro|rufnummer|hotline|anruf\w*|erreich\w*|reach)\b[^\d\n]{0,24}\Z",
    re.IGNORECASE,
)
_DENIES = re.compile(
    r"(?:isbn|issn|doi|version|v|order|invoice|ticket|issue|rechnung|bestell\w*|id|nr|no|#|port|step|iso|din|rfc|sku|part)"
    r"\W{0,3}(?:is|no|nr|number|nummer)?\W{0,3}\Z",
    re.IGNORECASE,
)
_NORTH_AMERICA = re.compile(r"(?:1[ .-]?)?\(?[2-9]\d\d\)?[ .-]{1,2}[2-9]\d\d[ .-]\d{4}")
_DATE = re.compile(r"(?:\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{4})(?:\D|\Z)")
_MOBILE = re.compile(r"01[5-7]\d{8,9}|07\d{9}|0[67]\d{8}")
"""Of a country, without gaps: Germany, the United Kingdom, France."""
_TRUNK = re.compile(r"\(?0[1-9]\d{0,4}\)?[ /().-]{1,3}\d")
_DIGITS = re.compile(r"\D")
_GROUP = re.compile(r"[+(]?\d+\)?")
LOOK_BACK = 40
LEAST = 10
"""Digits of a number that is whole, where others follow it."""
MOST_GROUPS = 7
"""Of digits in a number."""


def phones(text: str) -> Iterator[Span]:
    """Numbers of telephones: with a country's code, as they are dialled in a country, or called a telephone number."""
    at = 0
    while (run := _RUN.search(text, at)) is not None:
        before = text[max(0, run.start() - LOOK_BACK) : run.start()]
        said = _SAYS_SO.search(before) is not None
        denied = not said and _DENIES.search(before) is not None
        groups = [(m.start() + run.start(), m.end() + run.start()) for m in _GROUP.finditer(run[0])]
        at, first = run.end(), 0
        goes_on = _GOES_ON.match(text, at) is not None
        while first < len(groups):  # other numbers may stand before and behind it
            if first and goes_on and first + MOST_GROUPS > len(groups):
                at = groups[first][0]  # its end may be behind what was looked at
                break
            found = _phone(text, groups[first : first + MOST_GROUPS], said=said, denied=denied)
            said = denied = False
            if found is not None:
                at = max(at, found.end)
                yield found
            first = next(
                (i for i in range(first + 1, len(groups)) if found is None or groups[i][0] >= found.end), len(groups)
            )


def _phone(text: str, groups: list[tuple[int, int]], *, said: bool, denied: bool) -> Span | None:
    """The longest number of a telephone that begins with the first of these groups."""
    start = groups[0][0]
    sign = text[start]
    if sign not in "+(0" and not said:
        known = None if denied else _NORTH_AMERICA.match(text, start, groups[-1][1])
        ends = known.end() if known is not None else -1
        return Span(start, ends, "phones") if any(end == ends for _, end in groups) else None
    if start > 1 and text[start - 1] == "." and text[start - 2].isdigit():
        return None
    ends_before = _next(text, groups) if len(groups) > 1 else 0
    for _, end in reversed(groups):
        number = text[start:end]
        if ends_before and end > ends_before:
            continue
        digits = _DIGITS.sub("", number)
        if not 7 <= len(digits) <= 15 or _DATE.match(number):
            continue
        abroad = sign == "+" or (number.startswith("00") and len(digits) >= 10 and digits[2] != "0")
        if abroad or said:
            return Span(start, end, "phones", told=not abroad)
        if denied:
            continue
        if _NORTH_AMERICA.fullmatch(number) or _MOBILE.fullmatch(number) or _is_dialled(number, len(digits)):
            return Span(start, end, "phones")
    return None


def _next(text: str, groups: list[tuple[int, int]]) -> int:
    """Where another number begins behind one that is whole without it; 0 = none does."""
    for i in range(1, len(groups)):
        begin = groups[i][0]
        if text[begin] in "(023456789" and len(_DIGITS.sub("", text[groups[0][0] : begin])) >= LEAST:
            for _, end in groups[i + 1 :]:
                number = text[begin:end]
                if _NORTH_AMERICA.fullmatch(number) or _is_dialled(number, len(_DIGITS.sub("", number))):
                    return begin
    return 0


def _is_dialled(said: str, digits: int) -> bool:
    """Whether it begins with the area, and is in groups as numbers are dialled, and no list of single digits."""
    if not (9 <= digits <= 13 and _TRUNK.match(said)) or "." in said[:3]:
        return False
    groups = re.split(r"\D+", said.strip("()"))
    return len(groups) <= 6 and len(groups[0]) >= 2 and max(map(len, groups[1:]), default=0) >= 2


# -- machines ----------------------------------------------------------------------------------------------------

_FOUR = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_MANY = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{2,39}(?:(?:\d{1,3}\.){3}\d{1,3})?(?![\w:])")
_VERSION = re.compile(r"\b(?:version|ver|release|v)\W{0,2}\Z", re.IGNORECASE)


def ips(text: str) -> Iterator[Span]:
    """Addresses of machines, but for those that every machine has."""
    for found in _FOUR.finditer(text):
        if not _VERSION.search(text[max(0, found.start() - 10) : found.start()]) and _is_somewhere(found[0]):
            yield Span(found.start(), found.end(), "ips")
    if text.count(":") > 1:
        for found in _MANY.finditer(text):
            if found[0].count(":") > 1 and _is_somewhere(found[0]):
                yield Span(found.start(), found.end(), "ips")


def _is_somewhere(said: str) -> bool:
    try:
        address = ipaddress.ip_address(said)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or said.startswith("255."))
