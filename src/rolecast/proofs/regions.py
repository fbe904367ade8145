"""Sets of real numbers as people write them: `x > 3`, `-2 <= x < 5`, `(-oo, 1) cup (4, oo)`."""

import re

import sympy as sp

from rolecast.proofs.parser import Expr, Unreadable
from rolecast.proofs.reader import read, split

_RELATION = re.compile(r"(<=|>=|<|>)")
_INTERVAL = re.compile(r"([(\[])([^()\[\],]+(?:\([^()]*\)[^()\[\],]*)*),([^\[\],]+?)([)\]])$")


def region(text: str) -> Expr:
    """A set of real numbers. Raises Unreadable."""
    text = re.sub(r"^.*?(?:solution(?: set)?|answer)\s*(?:is|=|:)\s*", "", text, flags=re.IGNORECASE)
    text = re.sub(r"^\s*\{?\s*[a-z]\s*(?:in|\||:)\s*", "", text).strip().rstrip(".}").strip()
    if re.fullmatch(r"(?:all )?(?:the )?reals?(?: numbers?)?|r|all x", text.lower()):
        return sp.S.Reals
    if re.fullmatch(r"no (?:real )?solutions?|none|emptyset|empty set", text.lower()):
        return sp.EmptySet
    found = sp.EmptySet
    for part in (each for union in re.split(r"\bcup\b|\bor\b|\bU\b", text) for each in split(union)):
        pieces = [_stretch(piece.strip()) for piece in re.split(r"\band\b", part)]
        both = sp.Intersection(*pieces)
        found = sp.Union(found, sp.Union(*pieces) if both == sp.EmptySet else both)  # `x < 1 and x > 4` means or
    return found


def _stretch(text: str) -> Expr:
    if match := _INTERVAL.match(text):
        low, high = read(match[2]), read(match[3])
        return sp.Interval(low, high, match[1] == "(", match[4] == ")")
    parts = _RELATION.split(text)
    if len(parts) == 3:
        return _half_line(parts[0], parts[1], parts[2])
    if len(parts) == 5:
        return sp.Intersection(_half_line(*parts[:3]), _half_line(parts[2], parts[3], parts[4]))
    raise Unreadable


def _half_line(left: str, relation: str, right: str) -> Expr:
    a, b = read(left), read(right)
    if len(a.free_symbols) == 1 and a.is_Symbol and b.is_number:
        bound, turned = b, relation
    elif len(b.free_symbols) == 1 and b.is_Symbol and a.is_number:
        bound, turned = a, relation.translate(str.maketrans("<>", "><"))
    else:
        raise Unreadable
    if turned.startswith("<"):
        return sp.Interval(-sp.oo, bound, True, turned == "<")
    return sp.Interval(bound, sp.oo, turned == ">", True)
