"""The languages of the world as people name them: in English, in themselves, by ISO 639, BCP 47 or NLLB code.

The table is data (`rolecast/data/languages.csv`: the codes and names of FLORES-200, and languages besides that only
language models know). Pure but for reading it once.
"""

import csv
import difflib
import functools
import re
import unicodedata
from collections.abc import Mapping
from importlib import resources

import msgspec

NEAR = 0.7
"""How alike a name must be to be offered in place of one that is unknown, from 0 to 1."""
MOST_OFFERED = 3
LONGEST = 60
"""No name has more characters."""
PLACES: Mapping[str, str] = {
    "AR": "Argentina", "AT": "Austria", "AU": "Australia", "BE": "Belgium", "BO": "Bolivia", "BR": "Brazil",
    "CA": "Canada", "CH": "Switzerland", "CL": "Chile", "CO": "Colombia", "DE": "Germany", "EG": "Egypt",
    "ES": "Spain", "FR": "France", "GB": "the United Kingdom", "IE": "Ireland", "IN": "India", "IT": "Italy",
    "MX": "Mexico", "MA": "Morocco", "NZ": "New Zealand", "PE": "Peru", "PT": "Portugal", "SA": "Saudi Arabia",
    "US": "the United States", "UY": "Uruguay", "VE": "Venezuela", "ZA": "South Africa", "419": "Latin America",
}  # fmt: skip
"""Where a language is spoken another way, by the codes of ISO 3166 and UN M49."""
_SPOKEN = {
    "brazilian portuguese": ("por_Latn", "BR"),
    "european portuguese": ("por_Latn", "PT"),
    "american english": ("eng_Latn", "US"),
    "british english": ("eng_Latn", "GB"),
    "mexican spanish": ("spa_Latn", "MX"),
    "latin american spanish": ("spa_Latn", "419"),
    "canadian french": ("fra_Latn", "CA"),
    "austrian german": ("deu_Latn", "AT"),
}
_REGION = re.compile(r"[A-Z]{2}|\d{3}")


class Language(msgspec.Struct, frozen=True):
    """One language in one script."""

    code: str
    """ISO 639-3 and ISO 15924, as NLLB writes it: `eng_Latn`."""
    name: str
    """In English."""
    own: str
    """In itself; '' = not known."""
    in_nllb: bool
    """Whether the NLLB models know it."""
    place: str = ""
    """The country whose way of speaking is meant; '' = any."""

    @property
    def shown(self) -> str:
        """For people and prompts: `Portuguese (Brazil)`."""
        place = PLACES.get(self.place, self.place)
        return f"{self.name} ({place.removeprefix('the ')})" if place else self.name


class UnknownLanguageError(ValueError):
    """A word that names no language; its text says what was perhaps meant."""


@functools.cache
def languages() -> Mapping[str, Language]:
    """All of them, by code."""
    return {row["code"]: Language(row["code"], row["name"], row["own_name"], bool(row["in_nllb"])) for row in _rows()}


def find(word: str) -> Language:
    """The language of that name or code. Raises UnknownLanguageError with the names that are most like it."""
    folded = _folded(word[: 2 * LONGEST])[:LONGEST]
    known = _names()
    if folded not in known and " ".join(turned := folded.split()[::-1]) in known:
        folded = " ".join(turned)  # Chinese Simplified
    if folded in known:
        return languages()[known[folded]]
    if folded in _SPOKEN:
        code, place = _SPOKEN[folded]
        return msgspec.structs.replace(languages()[code], place=place)
    tag, *subtags = re.split(r"[-_]", word.strip()[:LONGEST])
    script = next((each.title() for each in subtags if len(each) == 4 and each.isalpha()), "")
    region = next((each.upper() for each in subtags if _REGION.fullmatch(each.upper())), "")
    if 1 < len(tag) < 4 and (found := _of_tag(tag, script, region)):
        return found
    raise UnknownLanguageError(_unknown(word, folded))


def _of_tag(tag: str, script: str, region: str) -> Language | None:
    """The language of a tag, in that script if it is written in several."""
    known, folded = _names(), _folded(tag)
    whole = next((f"{folded} {part}" for part in map(_folded, (script, region)) if f"{folded} {part}" in known), folded)
    if whole not in known:
        return None
    found = languages()[known[whole]]
    if script and not found.code.endswith(script):
        other = languages().get(f"{found.code[:3]}_{script}")
        if other is None:
            return None
        found = other
    return msgspec.structs.replace(found, place=region if region in PLACES else "")


def _unknown(word: str, folded: str) -> str:
    shown = word.strip()[:LONGEST]
    near = difflib.get_close_matches(folded, [*_names(), *_SPOKEN], MOST_OFFERED, NEAR)
    offered = dict.fromkeys(languages()[_names()[name]].name if name in _names() else name.title() for name in near)
    if offered:
        return f"{shown!r} is no language known here; perhaps {' or '.join(offered)}"
    return f"{shown!r} is no language known here; write its English name or its code, as German, de or deu_Latn"


@functools.cache
def _rows() -> list[dict[str, str]]:
    text = resources.files("rolecast").joinpath("data", "languages.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@functools.cache
def _names() -> Mapping[str, str]:
    """The code of each name, folded."""
    found: dict[str, str] = {}
    for row in _rows():
        words = (row["code"], row["name"], row["own_name"], *row["tags"].split(), *row["also"].split(";"))
        for word in filter(None, map(_folded, words)):
            found.setdefault(word, row["code"])
    return found


def _folded(word: str) -> str:
    """Without case and accents, its parts apart by one space."""
    plain = unicodedata.normalize("NFKD", word.strip().replace("\u2019", "'"))
    plain = "".join(each for each in plain if not unicodedata.combining(each))
    return re.sub(r"[\s_-]+", " ", plain).casefold()
