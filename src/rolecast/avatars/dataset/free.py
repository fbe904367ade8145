"""What chats hold that no form tells: secrets in sentences, addresses, birth dates, user names, numbers of documents.

The finders of `rolecast.privacy` guard requests, where a harmless word that is replaced makes an answer worse. Here it
costs a word of one example, and a secret that is missed is learnt: so these look for more.
"""

from collections.abc import Iterator

from rolecast.avatars.dataset.persons import PERSONS
from rolecast.avatars.dataset.rules import Rules
from rolecast.avatars.dataset.secrets import SECRETS
from rolecast.avatars.dataset.whereabouts import WHEREABOUTS, whole
from rolecast.privacy.finder import Finder
from rolecast.privacy.spans import Span

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
LEAST_DIGITS = 6
_FORMED = Finder(FORMS)
_FREE = Rules((*SECRETS, *WHEREABOUTS, *PERSONS))


def private(text: str) -> list[Span]:
    """All that is private in it but names, in order and apart."""
    found = _FORMED.find(text)
    found += (whole(text, span) if span.kind == "addresses" else span for span in _FREE.find(text))
    if sum(map(str.isdigit, text)) >= LEAST_DIGITS:
        found += _phones(text)
    return merged(found)


def _phones(text: str) -> Iterator[Span]:
    """Numbers that telephone companies of these countries give out."""
    from phonenumbers import Leniency, PhoneNumberMatcher

    for region in REGIONS:
        for found in PhoneNumberMatcher(text, region, leniency=Leniency.VALID):
            if sum(map(str.isdigit, found.raw_string)) >= LEAST_DIGITS + 2 or found.raw_string.startswith("+"):
                yield Span(found.start, found.end, "phones")


def merged(spans: list[Span]) -> list[Span]:
    """In order and apart: those that overlap become one."""
    found: list[Span] = []
    for span in sorted(spans):
        last = found[-1] if found else None
        if last is None or span.start >= last.end:
            found.append(span)
            continue
        kind = min(last.kind, span.kind, key=_RANK.__getitem__)
        found[-1] = Span(last.start, max(last.end, span.end), kind, last.told or span.told)
    return found
