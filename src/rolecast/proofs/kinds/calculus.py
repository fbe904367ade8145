"""Derivatives, integrals, limits and sums of series."""

import itertools
import re
from fractions import Fraction

import sympy as sp

from rolecast.proofs.claims import Antiderivative, Claim, Function, Number
from rolecast.proofs.kinds.arithmetic import wordy
from rolecast.proofs.parser import Expr, Unreadable, whole
from rolecast.proofs.problem import ASK, THE, Problem, kinds
from rolecast.proofs.reader import read, readings

_ORDER = {"first": 1, "second": 2, "third": 3, "fourth": 4, "2nd": 2, "3rd": 3, "1st": 1}
_WHY = "Differentiating it again gives another function."


def _bare(text: str) -> str:
    """Without the name of the function in front."""
    return wordy(re.sub(r"^(?:the function )?(?:[a-z]\([a-z]\)|y) ?= ?", "", text.strip()))


def _unknown(found: Expr, name: str | None = None) -> Expr:
    if name:
        return sp.Symbol(name)
    if len(found.free_symbols) != 1:
        raise Unreadable
    return next(iter(found.free_symbols))


def _derivatives(text: str, name: str | None, order: str | None) -> list[Expr]:
    times = _ORDER[(order or "first").lower()]
    return [sp.diff(each, _unknown(each, name), times) for each in readings(_bare(text))]


def _derivative(problem: Problem, order: str | None, text: str, name: str | None = None) -> Claim:
    found = _derivatives(text, name, order)
    return Function("differentiation", *found, why=_WHY) if found[0].free_symbols else Number("differentiation", *found)


def _differentiate(problem: Problem, text: str, name: str | None = None) -> Claim:
    return _derivative(problem, None, text, name)


def _d_of(problem: Problem, name: str, text: str) -> Claim:
    return _derivative(problem, None, text, name)


def _partial(problem: Problem, text: str, name: str) -> Claim:
    return _derivative(problem, None, text, name)


def _partial_first(problem: Problem, name: str, text: str) -> Claim:
    return _derivative(problem, None, text, name)


def _derivative_at(problem: Problem, order: str | None, text: str, name: str, at: str) -> Claim:
    found = [each.subs(sp.Symbol(name), read(at)) for each in _derivatives(text, name, order)]
    return Number("differentiation", *found, rough=problem.rough)


def _slope(problem: Problem, text: str, name: str, at: str) -> Claim:
    return _derivative_at(problem, None, text, name, at)


def _named_derivative(problem: Problem, function: str, name: str, text: str, again: str, marks: str) -> Claim | None:
    if function != again:
        return None
    found = [sp.diff(each, sp.Symbol(name), len(marks)) for each in readings(wordy(text))]
    return Function("differentiation", *found, why=_WHY)


def _named_at(problem: Problem, function: str, name: str, text: str, again: str, marks: str, at: str) -> Claim | None:
    if function != again:
        return None
    found = [
        sp.diff(each, sp.Symbol(name), len(marks)).subs(sp.Symbol(name), read(at)) for each in readings(wordy(text))
    ]
    if not found[0].is_number:
        return Function("differentiation", *found, why=_WHY)
    return Number("differentiation", *found)


def _antiderivative(problem: Problem, text: str, name: str | None = None) -> Claim:
    text = _bare(re.sub(r"^int\b", "", text.strip()))
    found = readings(text)
    unknown = _unknown(found[0], name)
    return Antiderivative(found, unknown)


def _definite(problem: Problem, low: str, high: str, text: str, name: str) -> Claim:
    unknown = sp.Symbol(name)
    a, b = (sp.sympify(read(wordy(end.strip("() ")) if end.strip() != "()" else end)) for end in (low, high))
    found = [_integral(each, unknown, a, b) for each in readings(_bare(text))]
    return Number("integration", *found, rough=problem.rough)


def _definite_words(problem: Problem, text: str, name: str | None, low: str, high: str) -> Claim:
    found = readings(_bare(re.sub(r"\s*d[a-z]$", "", text)))
    return _definite(problem, low, high, re.sub(r"\s*d[a-z]$", "", text), name or str(_unknown(found[0])))


def _integral(found: Expr, name: Expr, low: Expr, high: Expr) -> Expr:
    """The area, computed in two ways that must agree: as a whole and in two parts."""
    if found.free_symbols - {name} or not (low.is_number and high.is_number):
        raise Unreadable
    between = low + (high - low) * sp.Rational(37, 100) if high.is_finite and low.is_finite else sp.Integer(1)
    if low == high or (not high.is_finite and not low < 1) or (not low.is_finite and high.is_finite and not high > 1):
        between = (low if low.is_finite else high) + (1 if low.is_finite else -1)
    whole_of = sp.Integral(found, (name, low, high)).evalf(20)
    parts = sum(sp.Integral(found, (name, *ends)).evalf(20) for ends in ((low, between), (between, high)))
    if not (whole_of.is_finite and whole_of.is_real and abs(whole_of - parts) < 1e-13 * max(1, abs(whole_of))):
        raise Unreadable
    nearly = sp.Rational(*Fraction(str(whole_of)).limit_denominator(1000).as_integer_ratio())
    return nearly if abs(nearly - whole_of) < 1e-16 else whole_of


def _limit(problem: Problem, name: str, to: str, text: str) -> Claim:
    match = re.fullmatch(r"(.+?)\^?\(?([+-])\)?", to.strip())
    place, side = (match[1], match[2]) if match else (to, "")
    point = read(wordy(place.strip()))
    return Number("limit", *(_approached(each, sp.Symbol(name), point, side) for each in readings(wordy(text))))


def _limit_words(problem: Problem, text: str, name: str, to: str) -> Claim:
    return _limit(problem, name, to, text)


def _approached(found: Expr, name: Expr, point: Expr, side: str) -> Expr:
    if found.free_symbols - {name}:
        raise Unreadable
    value = sp.limit(found, name, point, side or "+")
    if not side and point.is_finite and sp.limit(found, name, point, "-") != value:
        raise Unreadable
    if not value.is_number or value.has(sp.AccumBounds):
        raise Unreadable
    return value


def _series(problem: Problem, name: str, low: str, high: str, text: str) -> Claim:
    index = sp.Symbol(name)
    a, b = read(low.strip("() ")), read(high.strip("() "))
    found = readings(wordy(text))[0]
    if found.free_symbols - {index} or not a.is_Integer:
        raise Unreadable
    if b.is_Integer:
        if not 0 <= b - a <= 2000:
            raise Unreadable
        return Number("summation", sum((found.subs(index, n) for n in range(int(a), int(b) + 1)), sp.Integer(0)))
    value = sp.summation(found, (index, a, b))
    if value.has(sp.Sum) or not value.is_finite:
        raise Unreadable
    return Number("summation", value)


def _series_words(problem: Problem, text: str, name: str, low: str, high: str) -> Claim:
    return _series(problem, name, low, high, text)


def _geometric(problem: Problem, listed: str) -> Claim:
    terms = [read(part) for part in re.split(r"\s*\+\s*", listed.replace("...", "").strip(" +"))]
    if len(terms) < 3 or 0 in terms or not all(t.is_Rational for t in terms):
        raise Unreadable
    ratios = {b / a for a, b in itertools.pairwise(terms)}
    ratio = ratios.pop()
    if ratios or abs(ratio) >= 1:
        raise Unreadable
    return Number("summation", terms[0] / (1 - ratio))


def _first_n(problem: Problem, count: str, kind: str) -> Claim:
    n = sp.Integer(whole(read(count), 10**9))
    sums = {"": n * (n + 1) / 2, "even": n * (n + 1), "odd": n * n}
    return Number(
        "summation", sums[re.sub(r"(?:positive|natural|counting|whole|integers|numbers| )", "", kind.lower())]
    )


_END = r"(?:\([^()]*(?:\([^()]*\)[^()]*)*\)|-?[\w.π]+)"
_DX = r"\s*,?\s*d([a-z])"
_OF = r"(?: of)?(?: the)?(?: function| expression)?:? "
_WRT = r"(?:,? with respect to ([a-z]))?"
_ORDERS = r"(?:(first|second|third|fourth|1st|2nd|3rd) )?"

KIND = kinds(
    (rf"{ASK}(?:the )?{_ORDERS}derivative{_OF}(.+?),? (?:at|when)(?: the point)? ([a-z]) ?= ?(.+)", _derivative_at),
    (
        rf"{ASK}(?:the )?slope of (?:the )?(?:tangent(?: line)? to |curve |the curve )*(?:the graph of )?(.+?) at ([a-z]) ?= ?(.+)",
        _slope,
    ),
    (rf"(?:{ASK})?(?:the )?partial derivative{_OF}(.+?) with respect to ([a-z])", _partial),
    (rf"{ASK}(?:the )?{_ORDERS}derivative{_OF}(.+?){_WRT}", _derivative),
    (rf"differentiate(?: the function)?:? (.+?){_WRT}", _differentiate),
    (rf"(?:{ASK})?\(*d\)?/\(?d([a-z])\)*\s*[\[(](.+)[\])](?: ?= ?\??)?", _d_of),
    (rf"(?:{ASK})?\(*∂\)?/\(?∂\s*([a-z])\)*\s*[\[(](.+)[\])]", _partial_first),
    (
        rf"(?:if|let|given(?: that)?|for) ([a-z])\(([a-z])\) ?= ?([^=]+?)[,.;]? (?:then )?{ASK}(?:the derivative )?([a-z])('+)\(\2\)",
        _named_derivative,
    ),
    (
        rf"(?:if|let|given(?: that)?|for) ([a-z])\(([a-z])\) ?= ?([^=]+?)[,.;]? (?:then )?{ASK}{THE}([a-z])('+)\(([^()]+)\)",
        _named_at,
    ),
    (
        rf"(?:{ASK}|integrate )?{THE}(?:definite )?(?:integral )?(?:of )?int\s*_\s*({_END})\s*\^\s*({_END})\s*(.+?){_DX}(?: ?= ?\??)?",
        _definite,
    ),
    (
        rf"(?:{ASK}(?:the )?(?:definite )?integral of|integrate) (.+?)(?:,? with respect to ([a-z]))? (?:from (?:[a-z] ?= ?)?|between )([^ ]+) (?:to|and) (?:[a-z] ?= ?)?([^ ]+)",
        _definite_words,
    ),
    (
        rf"(?:{ASK}|integrate )?{THE}(?:indefinite )?(?:integral )?(?:of )?int\s+(.+?){_DX}(?: ?= ?\??)?",
        _antiderivative,
    ),
    (
        rf"(?:{ASK}(?:the |an )?(?:indefinite integral|antiderivative|integral){_OF}|integrate(?: the function)?:? )(.+?)(?:{_DX}|,? with respect to ([a-z]))?",
        lambda p, text, a, b: _antiderivative(p, text, a or b),
    ),
    (
        rf"(?:{ASK})?{THE}(?:limit )?(?:of )?lim\s*_?\s*\(?\s*([a-z])\s*->\s*([^ ]+?)\s*\)?(?<!\^\()\s+(.+?)(?: ?= ?\??)?",
        _limit,
    ),
    (
        rf"(?:{ASK})?{THE}(?:limit )?(?:of )?lim\s*_\s*\(\s*([a-z])\s*->\s*([^()]+(?:\^\([+-]\))?)\)\s*(.+?)(?: ?= ?\??)?",
        _limit,
    ),
    (rf"{ASK}(?:the )?limit of (.+?) as ([a-z]) (?:approaches|goes to|tends to|->) ?(.+)", _limit_words),
    (rf"{ASK}(?:the )?limit as ([a-z]) (?:approaches|goes to|tends to|->) ?([^ ]+) of (.+)", _limit),
    (
        rf"(?:{ASK})?{THE}(?:sum )?(?:of )?sum\s*_\s*\(\s*([a-z])\s*=\s*([^()]+?)\)\s*\^\s*({_END})\s*(.+?)(?: ?= ?\??)?",
        _series,
    ),
    (
        rf"{ASK}(?:the )?sum of (.+?) (?:for|from|as) ([a-z])(?: ?= ?| from | goes from | runs from )(-?\d+) to (\w+)",
        _series_words,
    ),
    (rf"{ASK}(?:the )?sum of (?:the )?(?:infinite )?(?:geometric )?series:? (.+\+)", _geometric),
    (
        rf"{ASK}(?:the )?sum of (?:the )?first (\d+) ((?:positive |natural |counting |whole )*(?:even |odd )?(?:positive |natural )*(?:integers|numbers))",
        _first_n,
    ),
)
