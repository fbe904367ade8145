"""Equalities of plain arithmetic in what a model wrote on the way: those that do not hold."""

import itertools
import re

import sympy as sp

from rolecast.proofs import same
from rolecast.proofs.parser import Unreadable
from rolecast.proofs.plain import plain
from rolecast.proofs.reader import read

MOST_LINES = 200
MOST_ERRORS = 5
_CHUNK = r"[-+(]?\s*(?:\d|\(|sqrt)(?:[\d\s.,+\-*/^()!%]|sqrt|π)*"
_LEADS = "so|then|gives?|get|have|thus|therefore|hence|calculate|compute|and|first|next|now|finally|is"
_LEFT = re.compile(
    rf"(?:^|[:;]|\b(?:{_LEADS}|step \d+)\b[:,]?)"
    rf"\s*({_CHUNK})$",
    re.IGNORECASE,
)
_RIGHT = re.compile(rf"^\s*({_CHUNK})(?=$|[;:~]|\s+[A-Za-z]{{2,}})")
_NOT_PLAIN = re.compile(r"^\s*(?:mod|base|r\b|remainder|or\b|x\b)", re.IGNORECASE)
_OPERATOR = re.compile(r"\d\s*[-+*/^!]|sqrt|\)\s*[-+*/^(]|\(")


def step_errors(work: str) -> list[str]:
    """Up to `MOST_ERRORS` equalities that are false, as they were written but in plain notation."""
    found: list[str] = []
    for line in work.splitlines()[:MOST_LINES]:
        if "=" not in line or len(line) > 400:
            continue
        text = re.sub(r"\*\*|__|^\s*(?:[-*•]|\d{1,2}[.)])\s+", "", line)
        sides = re.split(r"(?<![<>!=])=(?!=)", plain(text))
        for left, right in itertools.pairwise(sides):
            wrong = _wrong(left, right)
            if wrong and wrong not in found:
                found.append(wrong)
    return found[:MOST_ERRORS]


def _wrong(left: str, right: str) -> str:
    """The equality, if it is one of plain arithmetic and false."""
    a, b = _LEFT.search(left.rstrip()), _RIGHT.match(right.rstrip(" .,"))
    if not a or not b or _NOT_PLAIN.match(right[b.end() :]):
        return ""
    first, second = a[1].strip(), b[1].strip(" .,")
    if not _OPERATOR.search(first) and not _OPERATOR.search(second):
        return ""
    try:
        truth, said = read(re.sub(r"(?<=\d),(?=\d{3}\b)", "", first)), same.value(second)
    except (Unreadable, ArithmeticError, ValueError, TypeError):
        return ""
    if not truth.is_number or not truth.is_finite or said.exprs[0].free_symbols:
        return ""
    verdict = same.number(truth, same.Value(said.exprs, said.places, decimal=True))
    if verdict is False and abs(complex(sp.N(truth - said.exprs[0]))) > same.NEAR * abs(complex(sp.N(truth))):
        return f"{first} = {second}"
    return ""
