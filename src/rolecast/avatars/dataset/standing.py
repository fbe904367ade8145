"""Whether a word that may be a name stands as one does: what is before and behind it decides. Pure."""

import re

from rolecast.avatars.dataset.words import NAME_WORDS, NEVER_SMALL, SEASONS
from rolecast.privacy.names import plain

LOOK_BACK = 16
_SURE = re.compile(
    r"(?:^|(?<=\W))(?:mr|mrs|ms|dr|prof|aunt|auntie|uncle|cousin|ask|tell|told|text|texted|call|called|meet|met|hi|hey"
    r"|hello|thanks|thx|dear|named)[.,]?\s\Z",
    re.IGNORECASE,
)
"""What stands before a name, and before hardly anything else."""
_ACTS = re.compile(
    r"(?:['\u2019]s?\s(?:place|house|birthday|party|mum|mom|dad|car|room|phone|number|brother|sister|wife|husband|flat)"
    r"|\s(?:said|says|told|asked|thinks|wants|wanted|called|texted|is|was|has|had|knows|likes|loves|went|came|sent|just"
    r"|hat|sagt|kommt|ist|war|dice|dijo|and I|and i|und ich)\b"
    r"|,\s(?:you|can|could|are|did|do|have|what|where|when|how|will)\b)",
)
"""What people do, behind their name."""
_OWNS = re.compile(r"['\u2019]s\b|['\u2019](?!\w)")


def stands_as_name(text: str, start: int, end: int, part: str) -> bool:
    """Whether the word from `start` to before `end` is a name there; `part` = the part of a name that it may be."""
    said = text[start:end]
    if _is_in_handle(text, start, end) or text[start - 1 : start] == "@":
        return True
    if part not in NAME_WORDS:
        # Two letters are particles of many languages: in small ones only where a name must be.
        return len(part) > 2 or said[0].isupper() or _is_sure(text, start) or _ACTS.match(text, end) is not None
    if plain(said) != part:
        return False
    if said.islower():
        return part not in NEVER_SMALL and (_is_sure(text, start) or _OWNS.match(text, end) is not None)
    if said.isupper() and len(said) > 1:  # in a shouted line capitals say nothing
        return _is_sure(text, start) and not text[:start].isupper()
    acts = _ACTS.match(text, end) is not None or _OWNS.match(text, end) is not None
    if _starts(text, start):
        return acts and part not in SEASONS
    return part not in SEASONS or acts or _is_sure(text, start)


def stand_as_name(text: str, start: int, end: int, parts: list[str]) -> bool:
    """Whether neighbouring words are a whole name there: `he will grant` is no Will Grant."""
    if any(part not in NAME_WORDS for part in parts) or not text[start:end].islower():
        return True
    return _is_sure(text, start) or _OWNS.match(text, end) is not None


def _is_sure(text: str, start: int) -> bool:
    return _SURE.search(text[max(0, start - LOOK_BACK) : start]) is not None


def _starts(text: str, start: int) -> bool:
    """Whether a sentence begins there, so that its capital says nothing."""
    before = text[max(0, start - LOOK_BACK) : start]
    return not before.strip(" \t\"'([*>-\u2026") or before.rstrip()[-1:] in ".!?:\n\u2026" or "\n" in before[-2:]


def _is_in_handle(text: str, start: int, end: int) -> bool:
    """Whether it is a piece of `jonas_weber` or `jonas99`: no word, so surely a name."""
    return text[end : end + 1] == "_" or text[start - 1 : start] == "_" or text[end : end + 1].isdigit()
