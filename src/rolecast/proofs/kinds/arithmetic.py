"""Expressions without unknowns, percentages and rounding."""

import re

import sympy as sp

from rolecast.proofs.claims import Claim, Number
from rolecast.proofs.numerals import numbers
from rolecast.proofs.parser import Expr, Unreadable, whole
from rolecast.proofs.problem import ASK, THE, Problem, kinds
from rolecast.proofs.reader import read, readings

NUM = r"([-+]?[$€£]?\d[\d,]*(?:\.\d+)?(?:/\d+)?)"
_WORDS = (
    (r"\bto the power (?:of )?", "^"),
    (r"\braised to (?:the )?(?:power (?:of )?)?", "^"),
    (r"\bsquared\b", "^2"),
    (r"\bcubed\b", "^3"),
    (r"\b(?:the )?(?:positive )?square root of\b", " sqrt "),
    (r"\b(?:the )?cube root of\b", " cbrt "),
    (r"\bplus\b", "+"),
    (r"\bminus\b", "-"),
    (r"\b(?:times|multiplied by)\b", "*"),
    (r"\bdivided by\b", "/"),
    (r"(\d+) factorial\b", r"\1!"),
    (r"\b(?:the )?factorial of (\d+)", r"\1!"),
    (r"(?<=[\d)])\s*(?:degrees?|deg)\b", "°"),
    (r"(\([\d+/ ()]+\)|\d+/\d+) of\b", r"(\1) *"),
    (r"\b(?:one )?half of\b", "(1/2) *"),
    (r"(?<=\d)\s*x\s*(?=\d)", "*"),
    (r"\b(?:the )?absolute value of\b", " abs "),
    (r"(?<=\d)\s*(?:percent|per cent)\b", "%"),
    (r"%\s*of\b", "% *"),
    (r"\b(?:the )?natural log(?:arithm)? of\b", " ln "),
    (r"\blog base (\d+) of\b", r" log_\1 "),
)
_REPLACED = [(re.compile(pattern, re.IGNORECASE), put) for pattern, put in _WORDS]
_BY_WORDS = {"sum": "+", "product": "*", "difference": "-", "quotient": "/"}


def wordy(text: str) -> str:
    """Words of arithmetic as signs."""
    text = re.sub(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])", lambda m: m[0].replace(",", ""), numbers(text))
    for pattern, put in _REPLACED:
        text = pattern.sub(put, text)
    return re.sub(r"\s+", " ", text).strip()


_AMBIGUOUS = re.compile(
    r"\bof\b[^()]*(?:[-+]|\bplus\b|\bminus\b)"
    r"|\b(?:plus|minus)\b.*\b(?:times|multiplied|divided)\b|\b(?:times|multiplied|divided)\b.*\b(?:plus|minus)\b",
    re.IGNORECASE,
)
"""`half of 10 plus 4` and `2 plus 3 times 4`: who speaks of them may mean either."""


def _value(problem: Problem, text: str) -> Claim | None:
    if _AMBIGUOUS.search(text):
        return None
    found = readings(wordy(text))
    if any(each.free_symbols or not each.is_number for each in found) or not re.search(r"\d|π|pi|\be\b", text):
        return None
    if not re.search(r"[^\d.\s]", text.strip()):
        return None  # a bare number asks nothing
    return Number("arithmetic", *found, rough=problem.rough)


def _of_two(problem: Problem, word: str, a: str, b: str) -> Claim:
    first, second = number(a), number(b)
    if word.lower() == "difference":
        return Number("arithmetic", first - second, second - first)
    return Number("arithmetic", read(f"({first}) {_BY_WORDS[word.lower()]} ({second})"))


def number(text: str) -> Expr:
    """A number as problems write it, with a currency and thousands. Raises Unreadable."""
    found = read(re.sub(r"[$€£,]", "", text))
    if not found.is_Rational:
        raise Unreadable
    return found


def _what_percent(problem: Problem, part: str, total: str) -> Claim:
    return Number("percentage", 100 * number(part) / _not_zero(number(total)), percent=True, rough=problem.rough)


def _what_percent_of(problem: Problem, total: str, part: str) -> Claim:
    return _what_percent(problem, part, total)


def _whole_of(problem: Problem, part: str, share: str) -> Claim:
    return Number("percentage", 100 * number(part) / _not_zero(number(share)), rough=problem.rough)


def _change(problem: Problem, kind: str, before: str, after: str) -> Claim:
    a, b = number(before), number(after)
    found = 100 * (b - a) / _not_zero(a)
    wanted = kind.lower()
    if wanted.startswith(("decrease", "drop")):
        return Number("percentage", -found, abs(found), percent=True, rough=problem.rough)
    return Number("percentage", found, abs(found), percent=True, rough=problem.rough)


def _changed(problem: Problem, kind: str, base: str, share: str) -> Claim:
    part = number(share) / 100
    sign = -1 if kind.lower()[:2] in ("de", "re", "di", "lo") else 1
    return Number("percentage", number(base) * (1 + sign * part), rough=problem.rough)


def _more(problem: Problem, share: str, kind: str, base: str) -> Claim:
    return _changed(problem, "increase" if kind.lower() in ("more", "greater", "higher") else "decrease", base, share)


def _rounded(problem: Problem, text: str, places: str) -> Claim:
    return _to(
        number(text),
        int(
            {"one": "1", "two": "2", "three": "3", "four": "4", "1": "1", "2": "2", "3": "3", "4": "4"}[places.lower()]
        ),
    )


def _to_nearest(problem: Problem, text: str, unit: str) -> Claim:
    units = {
        "whole number": 0,
        "integer": 0,
        "ten": -1,
        "hundred": -2,
        "thousand": -3,
        "tenth": 1,
        "hundredth": 2,
        "thousandth": 3,
        "unit": 0,
    }
    return _to(number(text), units[unit.lower()])


def _to(found: Expr, places: int) -> Claim:
    scale = sp.Integer(10) ** places
    if (found * scale * 2).is_Integer and not (found * scale).is_Integer:
        raise Unreadable  # halves are rounded in two ways
    return Number("rounding", sp.floor(found * scale + sp.Rational(1, 2)) / scale)


def _not_zero(found: Expr) -> Expr:
    if found == 0:
        raise Unreadable
    return found


def _reduced(problem: Problem, above: str, below: str) -> Claim:
    return Number("arithmetic", sp.Rational(whole(read(above)), _not_zero(read(below))))


KIND = kinds(
    (rf"{ASK}?(?:the )?(sum|product|difference|quotient) (?:of|between) {NUM} and {NUM}", _of_two),
    (rf"(?:what percent(?:age)?|how many percent) of {NUM} is {NUM}", _what_percent_of),
    (rf"{NUM} is what percent(?:age)? of {NUM}", _what_percent),
    (rf"{ASK}{NUM} as a percent(?:age)? of {NUM}", _what_percent),
    (rf"{NUM} is {NUM}\s*(?:%|percent) of (?:what|which) number", _whole_of),
    (
        rf"{ASK}(?:the )?percent(?:age)? (increase|decrease|change|drop) (?:from|when going from) {NUM} to {NUM}",
        _change,
    ),
    (rf"(increase|decrease|reduce|discount|raise|lower) {NUM} by {NUM}\s*(?:%|percent)", _changed),
    (rf"{ASK}?{NUM}\s*(?:%|percent) (more|less|greater|lower|higher|smaller) than {NUM}", _more),
    (rf"round {NUM} (?:off )?to (one|two|three|four|1|2|3|4) decimal places?", _rounded),
    (
        rf"round {NUM} (?:off )?to the nearest (whole number|integer|unit|tenth|hundredth|thousandth|ten|hundred|thousand)",
        _to_nearest,
    ),
    (r"(?:simplify|reduce) (?:the )?fraction \(*(\d+)\)*\s*/\s*\(*(\d+)\)*", _reduced),
    (
        rf"(?:{ASK}|simplify |solve )?{THE}(?:the )?(?:expression |sum |product |following ?(?:expression)?)?:? ?(.+?)(?: equal(?:s| to)?)?(?: ?= ?\??)?",
        _value,
    ),
)
