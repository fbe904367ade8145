"""Whether two values, functions or sets are the same: True, False, or None where one cannot be sure."""

import re
from itertools import pairwise, permutations
from typing import NamedTuple

import sympy as sp

from rolecast.proofs.parser import Expr, Unreadable
from rolecast.proofs.reader import readings

EXACT = 1e-12
NEAR = 0.005
"""A decimal that is so near, as a part of the true value, may be rounded in a way of its own."""
ROUGHLY = 0.05
"""The same where the problem asks for an estimate."""
_DECIMAL = re.compile(r"[-+]?\s*(\d*)\.?(\d*)")
_TEN = re.compile(r"([-+]?[\d.]+)\s*\*\s*10\s*\^\s*\(?\s*([-+]?\d{1,3})\s*\)?")
_PIS = (sp.Rational(314, 100), sp.Rational(31416, 10000), sp.Rational(314159, 100000), sp.Rational(22, 7))
_POINTS = tuple(sp.Rational(n, 7) for n in (3, 9, 16, 25, -4, -11, -24, 2, 58))


class Value(NamedTuple):
    """A number as somebody wrote it."""

    exprs: tuple[Expr, ...]
    """All ways to read it."""
    places: int | None = None
    """Decimal places, of a plain decimal number; negative = it ends in front of the point."""
    decimal: bool = False
    """It has a point somewhere."""
    percent: bool = False
    degrees: bool = False


def value(text: str) -> Value:
    """Read a number or an expression. Raises Unreadable."""
    text = text.strip()
    number = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    percent = number.endswith("%")
    degrees = number.endswith("°")
    bare = number.rstrip("%° ")
    ten = _TEN.fullmatch(bare)
    places = None
    if match := _DECIMAL.fullmatch((ten[1] if ten else bare).strip()):
        places = len(match[2]) - (int(ten[2]) if ten else 0) if match[1] or match[2] else None
    return Value(tuple(readings(bare)), places, "." in bare, percent, degrees)


def number(truth: Expr, said: Value, *, rough: bool = False, percent: bool = False, angle: bool = False) -> bool | None:
    """Whether the number that was said is the true one. `percent`: the truth counts hundredths; `angle`: degrees."""
    verdicts = [_number(truth, expr, said, rough) for expr in _meant(said, percent=percent, angle=angle)]
    if True in verdicts:
        return True
    if None in verdicts or not verdicts:
        return None
    if percent and not said.percent and _number(truth / 100, said.exprs[0], said, rough):
        return None  # 0.25 for 25%
    return False


def _meant(said: Value, *, percent: bool, angle: bool) -> list[Expr]:
    found = list(said.exprs)
    if said.percent and not percent:
        found = [expr / 100 for expr in found]
    if said.degrees and not angle:
        found += [expr * sp.pi / 180 for expr in found]
    return found


def _number(truth: Expr, expr: Expr, said: Value, rough: bool) -> bool | None:
    if expr.free_symbols:
        return None
    if truth in (sp.oo, -sp.oo) or expr in (sp.oo, -sp.oo):
        return bool(truth == expr)
    true, given = complex(sp.N(truth, 25)), complex(sp.N(expr, 25))
    off = abs(true - given)
    if truth.is_Rational and expr.is_Rational:
        if truth == expr:
            return True
    elif off <= EXACT * max(1.0, abs(true)):
        return True
    return _rounded(truth, true, given, said, rough)


def _rounded(truth: Expr, true: complex, given: complex, said: Value, rough: bool) -> bool | None:
    """Whether a number that is not the very same is the true one in fewer digits."""
    off, part = abs(true - given), abs(true - given) / abs(true) if true else abs(given)
    endless = bool(not truth.is_Rational or set(sp.factorint(truth.q)) - {2, 5})
    if said.places is not None and (endless or rough or not 0 <= said.places < 2):
        nearly = [truth, *(truth.subs(sp.pi, other) for other in _PIS if truth.has(sp.pi))]
        if any(abs(complex(sp.N(near, 25)) - given) <= 0.5001 * 10.0**-said.places for near in nearly):
            figures = len(str(int(abs(given)))) * (abs(given) >= 1) + said.places
            if figures >= 3 or said.places >= 2 or rough:
                return True
            if figures == 2 or said.places > 0:
                return None
        if endless and said.places > 0 and off < 10.0**-said.places:
            return None  # cut off, not rounded
    if (said.decimal or not truth.is_Rational) and part < NEAR:
        return None
    return None if rough and part < ROUGHLY else False


def functions(truth: Expr, said: Expr) -> bool | None:
    """Whether two expressions have the same value wherever both are real, tried at points and with 30 digits."""
    names = sorted((truth - said).free_symbols | truth.free_symbols | said.free_symbols, key=str)
    if said.free_symbols - truth.free_symbols and truth.free_symbols:
        return None if len(said.free_symbols - truth.free_symbols) > 1 else _compared(truth, said, names)
    return _compared(truth, said, names)


def _compared(truth: Expr, said: Expr, names: list[Expr]) -> bool | None:
    same = other = 0
    for turn in range(len(_POINTS)):
        point = {name: _POINTS[(turn + 2 * index) % len(_POINTS)] + index for index, name in enumerate(names)}
        a, b = sp.N(truth.subs(point), 30), sp.N(said.subs(point), 30)
        if not (a.is_number and b.is_number and a.is_finite and b.is_finite):
            continue
        if abs(sp.im(a)) > EXACT or abs(sp.im(b)) > EXACT:
            continue
        near = abs(a - b) <= 1e-15 * max(1, abs(a))
        same += bool(near)
        other += bool(abs(a - b) > 1e-9 * max(1, abs(a))) and not near
    if same >= 3 and not other:
        return True
    if other >= 2 and not same:
        return False
    if other >= 2 and same <= 2 and (truth - said).is_polynomial():
        return False
    return None


def many(truths: list[Expr], said: list[Value], *, ordered: bool = False, rough: bool = False) -> bool | None:
    """Whether the same numbers were said, each as often."""
    if len(truths) != len(said):
        return False
    if ordered or len(truths) > 6:
        pairs = zip(_sorted(truths, ordered=ordered), said if ordered else _by_size(said), strict=True)
        return conjunction(number(truth, each, rough=rough) for truth, each in pairs)
    found = [
        conjunction(number(t, s, rough=rough) for t, s in zip(truths, turn, strict=True)) for turn in permutations(said)
    ]
    return True if True in found else None if None in found else False


def conjunction(verdicts: "object") -> bool | None:
    """False if one is, else None if one is, else True."""
    found = list(verdicts)  # type: ignore[call-overload]
    return False if False in found else None if None in found else True


def _sorted(truths: list[Expr], *, ordered: bool) -> list[Expr]:
    return truths if ordered else sorted(truths, key=lambda t: (float(sp.re(sp.N(t))), float(sp.im(sp.N(t)))))


def _by_size(said: list[Value]) -> list[Value]:
    try:
        return sorted(said, key=lambda v: (float(sp.re(sp.N(v.exprs[0]))), float(sp.im(sp.N(v.exprs[0])))))
    except TypeError:
        raise Unreadable from None


def sets(truth: Expr, said: Expr) -> bool | None:
    """Whether two sets of real numbers are the same."""
    try:
        if truth == said:
            return True
        differs = sp.SymmetricDifference(truth, said).doit()
        if differs == sp.EmptySet:
            return True
        edges = [*_edges(truth), *_edges(said)]
    except (TypeError, ValueError, NotImplementedError, AttributeError):
        return None
    points = sorted({sp.N(edge, 20) for edge in edges})
    between = [(a + b) / 2 for a, b in pairwise(points)]
    probes = [*edges, *between, *([points[0] - 1, points[-1] + 1] if points else [sp.Integer(0)])]
    for probe in probes:
        ours, theirs = truth.contains(probe), said.contains(probe)
        if {ours, theirs} == {sp.true, sp.false}:
            return False
    return None


def _edges(found: Expr) -> list[Expr]:
    return [edge for edge in found.boundary if edge.is_finite] if found.boundary.is_FiniteSet else []
