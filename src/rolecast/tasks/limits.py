"""Constraints of an answer that can be checked by counting: amounts, words to use or to avoid, capitals.

Pure: texts in, those that do not hold out. What is no constraint of that kind is judged by nobody.
"""

import re
from collections.abc import Callable, Iterator, Sequence

from rolecast.tasks.amounts import ANY, amount

LONGEST = 2000
"""Characters of a constraint that are read."""
Check = Callable[[str], bool]

_SENTENCE = re.compile(r"[^\s.!?\u3002\uff01\uff1f][^.!?\u3002\uff01\uff1f]*(?:[.!?\u3002\uff01\uff1f]+|$)")
_COUNTS: dict[str, Callable[[str], int]] = {
    r"words?": lambda text: len(text.split()),
    r"sentences?": lambda text: len(_SENTENCE.findall(text)),
    r"paragraphs?": lambda text: len([part for part in re.split(r"\n\s*\n", text) if part.strip()]),
    r"lines?": lambda text: len([line for line in text.splitlines() if line.strip()]),
    r"characters?|chars?": len,
}
_AVOID = re.compile(r"\b(?:avoid|without|never|no|not|n't|exclude|omit|leave out)\b|n't\b", re.IGNORECASE)
_USE = re.compile(r"\b(?:include|use|mention|contain|has|have|with)s?\b", re.IGNORECASE)
_QUOTED = re.compile(r'"([^"\n]{1,200})"|“([^”\n]{1,200})”|„([^“”\n]{1,200})[“”]|`([^`\n]{1,200})`')
_LOWER = re.compile(r"\b(?:all |only )?(?:lower[- ]?case|small letters)\b", re.IGNORECASE)
_UPPER = re.compile(r"\b(?:all[- ]caps|(?:all |only )?(?:upper[- ]?case|capital letters|capitals))\b", re.IGNORECASE)
_ALL = re.compile(
    r"\b(?:all|only|entire|whole|every)\w*|^\W*(?:in |use |write (?:in )?)?(?:lower|upper|capital)", re.IGNORECASE
)


def unmet(constraints: Sequence[str], text: str) -> list[str]:
    """Those that do not hold of this text."""
    return [each for each in constraints if not all(check(text) for check in checks(each))]


def checks(constraint: str) -> Iterator[Check]:
    """What can be checked of a constraint; maybe nothing."""
    constraint = constraint[:LONGEST]
    for unit, count in _COUNTS.items():
        bounds = amount(constraint, unit)
        if bounds != ANY:
            yield lambda text, count=count, bounds=bounds: bounds.holds(count(text.strip()))  # type: ignore[misc]
    yield from _quoted(constraint)
    if _ALL.search(constraint) and not _AVOID.search(constraint):
        if _LOWER.search(constraint):
            yield lambda text: text == text.lower()
        elif _UPPER.search(constraint):
            yield lambda text: text == text.upper()


def _quoted(constraint: str) -> Iterator[Check]:
    """Words in quotes, where the constraint says to use or to avoid them."""
    for found in _QUOTED.finditer(constraint):
        word = next(filter(None, found.groups()))
        here = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)
        before = constraint[: found.start()]
        if _AVOID.search(before):
            yield lambda text, here=here: here.search(text) is None  # type: ignore[misc]
        elif re.search(r"\b(?:begin|start)s?\b", before, re.IGNORECASE):
            yield lambda text, word=word: text.strip().lower().startswith(word.lower())  # type: ignore[misc]
        elif re.search(r"\b(?:end|finish)s?\b", before, re.IGNORECASE):
            yield lambda text, word=word: text.strip().lower().endswith(word.lower())  # type: ignore[misc]
        elif _USE.search(before):
            yield lambda text, here=here: here.search(text) is not None  # type: ignore[misc]
