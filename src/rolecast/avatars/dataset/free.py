"""What chats hold that no form tells: secrets in sentences, addresses, birth dates, user names, numbers of documents.

The finders of `rolecast.privacy` guard requests, where a harmless word that is replaced makes an answer worse. Here it
costs a word of one example, and a secret that is missed is learnt: so these look for more.
"""

import re
from collections.abc import Iterator

from rolecast.avatars.dataset.persons import PERSONS
from rolecast.avatars.dataset.rules import Rules
from rolecast.avatars.dataset.secrets import SECRETS
from rolecast.avatars.dataset.whereabouts import WHEREABOUTS, whole
from rolecast.privacy.finder import Finder
from rolecast.privacy.spans import Span, merged

FORMS = ("keys", "emails", "ibans", "cards", "phones", "ips")
KINDS = (
    *FORMS,
    "passwords",
    "codes",
    "answers",
    "addresses",
    "coordinates",
    "births",
    "documents",
    "plates",
    "handles",
    "health",
)
"""Of two that overlap, the one named first gives its name."""
_RANK = {kind: rank for rank, kind in enumerate(KINDS)}
REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "IN", "AU")
"""In which numbers without a country's code are looked up."""
LEAST_DIGITS = 8
_DIGITS = re.compile(r"(?<![\w.,:$\u20ac\u00a3-])\+?\(?\d(?:[ ().\u00a0/-]{0,2}\d){7,17}(?![\w%])")
"""What may be a telephone's number."""
_FORMED = Finder(FORMS)
_FREE = Rules((*SECRETS, *WHEREABOUTS, *PERSONS))


def private(text: str) -> list[Span]:
    """All that is private in it but names, in order and apart."""
    found = _FORMED.find(text)
    found += (whole(text, span) if span.kind == "addresses" else span for span in _FREE.find(text))
    found = merged(found, _RANK)
    if phones := list(_phones(text, found)):
        found = merged([*found, *phones], _RANK)
    return found


def _phones(text: str, found: list[Span]) -> Iterator[Span]:
    """Numbers that telephone companies of these countries give out, among the digits that are nothing yet."""
    for run in _DIGITS.finditer(text):
        if sum(map(str.isdigit, run[0])) < LEAST_DIGITS or any(_overlap(run, span) for span in found):
            continue
        from phonenumbers import Leniency, PhoneNumberMatcher

        for region in REGIONS:
            for number in PhoneNumberMatcher(run[0], region, leniency=Leniency.VALID):
                yield Span(run.start() + number.start, run.start() + number.end, "phones")


def _overlap(run: re.Match[str], span: Span) -> bool:
    return run.start() < span.end and span.start < run.end()
