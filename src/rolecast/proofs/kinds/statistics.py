"""Figures of a list of numbers."""

import re
from collections import Counter
from collections.abc import Callable

import sympy as sp

from rolecast.proofs.claims import Claim, Many, Number
from rolecast.proofs.kinds.arithmetic import number
from rolecast.proofs.parser import Expr, Unreadable
from rolecast.proofs.problem import ASK, Problem, kinds
from rolecast.proofs.reader import split

MOST = 200


def _data(text: str) -> list[Expr]:
    text = re.sub(r",?\s*\band\b", ",", text.strip().strip("{}[]()"))
    found = [number(part) for part in split(text) if part]
    if not 2 <= len(found) <= MOST:
        raise Unreadable
    return found


def _mean(data: list[Expr]) -> Expr:
    return sum(data, sp.Integer(0)) / len(data)


def _variance(data: list[Expr], less: int) -> Expr:
    mean = _mean(data)
    return sum(((x - mean) ** 2 for x in data), sp.Integer(0)) / (len(data) - less)


def _median(data: list[Expr]) -> Expr:
    ordered, half = sorted(data), len(data) // 2
    return ordered[half] if len(data) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _figure(problem: Problem, which: str, text: str) -> Claim:
    data = _data(text)
    name = which.lower()
    one: dict[str, Callable[[list[Expr]], Expr]] = {
        "mean": _mean,
        "average": _mean,
        "arithmetic mean": _mean,
        "median": _median,
        "sum": lambda numbers: sum(numbers, sp.Integer(0)),
    }
    if name in one:
        return Number("statistics", one[name](data), rough=problem.rough)
    if name == "range":
        return Number("statistics", max(data) - min(data))
    if name == "geometric mean":
        return Number("statistics", sp.root(sp.prod(data), len(data)), rough=problem.rough)
    if name == "mode":
        counts = Counter(data)
        most = max(counts.values())
        modes = [x for x, times in counts.items() if times == most]
        if most == 1:
            raise Unreadable
        return Number("statistics", modes[0]) if len(modes) == 1 else Many("statistics", modes)
    return _spread(problem, name, data)


def _spread(problem: Problem, name: str, data: list[Expr]) -> Claim:
    """Of the whole population or of a sample: without the word, both are right."""
    less = (1,) if "sample" in name else (0,) if "population" in name else (0, 1)
    found = [_variance(data, each) for each in less]
    if "variance" not in name:
        found = [sp.sqrt(each) for each in found]
    return Number("statistics", *found, rough=problem.rough)


def _z_score(problem: Problem, x: str, mean: str, deviation: str) -> Claim:
    if number(deviation) <= 0:
        raise Unreadable
    return Number("statistics", (number(x) - number(mean)) / number(deviation), rough=problem.rough)


_WHICH = r"(mean|average|arithmetic mean|geometric mean|median|mode|range|(?:population |sample )?variance|(?:population |sample )?standard deviation)"
_DATA = r"(?:the )?(?:following )?(?:numbers?|data(?: set)?|dataset|values?|list|set|scores|sample|population)?(?: of)?(?: numbers| values)?:? ?"
_NUM = r"(-?\d+(?:\.\d+)?)"

KIND = kinds(
    (rf"(?:{ASK})?(?:the )?{_WHICH} (?:of|for) {_DATA}([\[{{(]?-?[\d.][-\d., and]*[\]}})]?)", _figure),
    (
        rf"{ASK}(?:the )?z-?\s?score (?:of|for) (?:a value of |x ?= ?)?{_NUM},? (?:if|when|with|given)(?: that)?(?: the)?(?: a)? mean (?:is|of|=)? ?{_NUM} and(?: the)?(?: a)? standard deviation (?:is|of|=)? ?{_NUM}",
        _z_score,
    ),
)
