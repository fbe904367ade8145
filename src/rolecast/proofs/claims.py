"""What is known for certain of a problem, and how a final answer is held against it.

A claim says True, False or None (cannot tell). It raises Unreadable where it cannot read the answer.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import sympy as sp

from rolecast.proofs import same
from rolecast.proofs.parser import Expr, Unreadable
from rolecast.proofs.reader import read
from rolecast.proofs.said import Said


class Finding(NamedTuple):
    """`right`: None = cannot tell. `why`: for the model, without the right answer."""

    right: bool | None
    why: str = ""


class Claim(Protocol):
    """What is known of one problem."""

    by: str
    """How it is known, in a word or two."""

    def judge(self, said: Said) -> Finding:
        """Hold an answer against it. Raises Unreadable."""


class Number:
    """The answer is one number; several may be meant."""

    def __init__(self, by: str, *truths: Expr, percent: bool = False, rough: bool = False, angle: bool = False) -> None:
        self.by = by
        self._truths = truths
        self._percent, self._rough, self._angle = percent, rough, angle

    def judge(self, said: Said) -> Finding:
        """Any of the meanings, in any of the forms given."""
        if any(not truth.is_number or truth in (sp.nan, sp.zoo) for truth in self._truths):
            raise Unreadable
        if self._angle and re.search(r"\brad|π", said.lower):
            raise Unreadable
        said_values = said.values()
        found = [
            same.number(truth, each, rough=self._rough, percent=self._percent, angle=self._angle)
            for truth in self._truths
            for each in said_values
        ]
        exact = found[:: len(said_values)]
        if True in exact:
            return Finding(True)
        if True in found or None in found:  # a rounded form that is right behind an exact one that is not
            return Finding(None)
        return Finding(False, "Computing it again gives another number.")


class Function:
    """The answer is an expression; `form` says which of its forms is asked for."""

    def __init__(self, by: str, *truths: Expr, form: str = "", why: str = "") -> None:
        self.by = by
        self._truths = truths
        self._form = form
        self._why = why or "The answer is not equal to what is asked for at every point."

    def judge(self, said: Said) -> Finding:
        """Equal everywhere, and of the form."""
        answers = said.functions()
        found = [same.functions(truth, answer) for truth in self._truths for answer in answers]
        if True in found:
            answer = answers[found.index(True) % len(answers)]
            return _formed(self._form, self._truths[0], answer, said.text)
        return Finding(None) if None in found else Finding(False, self._why)


def _formed(form: str, truth: Expr, answer: Expr, text: str) -> Finding:
    if form == "factored" and answer.is_Add and "(" not in text and not sp.factor(truth).is_Add:
        return Finding(False, "The answer is equal to the expression but is not a product of factors.")
    if form == "expanded" and (answer.is_Pow or answer.is_Mul) and truth.is_Add:
        return Finding(False, "The answer is equal to the expression but is not multiplied out.")
    return Finding(True)


class Either:
    """A problem that may be meant in several ways."""

    def __init__(self, claims: Sequence[Claim]) -> None:
        self.by = claims[0].by
        self._claims = claims

    def judge(self, said: Said) -> Finding:
        """Right in one of them; wrong only in all."""
        found = [claim.judge(said) for claim in self._claims]
        return next((each for right in (True, None, False) for each in found if each.right is right), found[0])


class Antiderivative:
    """The derivative of the answer is the integrand."""

    by = "differentiation"

    def __init__(self, integrand: Sequence[Expr], name: Expr) -> None:
        self._integrand = integrand
        self._name = name

    def judge(self, said: Said) -> Finding:
        """A constant may be missing."""
        answers = [_real_logs(answer) for answer in said.functions(constant=True)]
        found = [same.functions(f, sp.diff(answer, self._name)) for f in self._integrand for answer in answers]
        if True in found:
            return Finding(True)
        return (
            Finding(None)
            if None in found
            else Finding(False, "Differentiating the answer does not give the integrand.")
        )


def _real_logs(found: Expr) -> Expr:
    """ln|u| as ln(u): their derivatives are the same."""
    return found.replace(
        lambda e: isinstance(e, sp.log) and isinstance(e.args[0], sp.Abs), lambda e: sp.log(e.args[0].args[0])
    )


class Solutions:
    """The answer is all values of an unknown that solve an equation."""

    by = "substitution"

    def __init__(self, left: Expr, right: Expr, name: Expr, truths: list[Expr] | None, *, some: bool = False) -> None:
        self._left, self._right, self._name = left, right, name
        self._truths = truths
        self._some = some

    def judge(self, said: Said) -> Finding:
        """Put each value in, then see whether one is missing."""
        if self._truths is not None and (found := self._none(said)) is not None:
            return found
        values = self._values(said)
        for each in values:
            if all(self._fails(expr) for expr in each.exprs) and not self._near(each):
                return Finding(False, self._shown(each.exprs[0]))
        if self._truths is None or any(each.exprs[0].free_symbols for each in values):
            return Finding(None)
        return self._complete(values)

    def _none(self, said: Said) -> Finding | None:
        assert self._truths is not None
        if not any(words in said.lower for words in ("no solution", "no real", "none", "emptyset", "does not exist")):
            return None
        real = [t for t in self._truths if t.is_real]
        return Finding(not real, "There is a solution.") if not real or "no " in said.lower else Finding(None)

    def _values(self, said: Said) -> list[same.Value]:
        named = said.named()
        if set(named) - {"", str(self._name)}:
            raise Unreadable
        return [each for values in named.values() for each in values]

    def _fails(self, expr: Expr) -> bool:
        """Whether it is certain that this is no solution."""
        if expr.free_symbols - {self._name} or expr.has(self._name):
            return False
        if self._truths is not None:
            return all(same.number(truth, same.Value((expr,))) is False for truth in self._truths)
        off = sp.N((self._left - self._right).subs(self._name, expr), 25)
        return bool(off.is_number and abs(off) > 1e-6 * max(1, abs(sp.N(self._left.subs(self._name, expr), 25))))

    def _near(self, each: same.Value) -> bool:
        return self._truths is not None and any(same.number(truth, each) is not False for truth in self._truths)

    def _complete(self, values: list[same.Value]) -> Finding:
        assert self._truths is not None
        distinct = _distinct(values)
        real = [t for t in self._truths if t.is_real]
        verdicts = [same.many(truths, distinct) for truths in (self._truths, real) if truths]
        if True in verdicts:
            return Finding(True)
        if None in verdicts or self._some:
            return Finding(True if self._some else None)
        return Finding(False, "The values given solve the equation, but there is another solution.")

    def _shown(self, expr: Expr) -> str:
        left, right = (sp.N(side.subs(self._name, expr), 6) for side in (self._left, self._right))
        if len(str(expr)) > 40 or not (left.is_number and right.is_number):
            return "The value given does not solve the equation."
        return f"With {self._name} = {expr} the left side is {_short(left)} and the right side is {_short(right)}."


def _short(found: Expr) -> str:
    return f"{float(found):.6g}" if found.is_real else str(found)


def _distinct(values: list[same.Value]) -> list[same.Value]:
    found: list[same.Value] = []
    for each in values:
        if all(each.exprs[0] != other.exprs[0] for other in found):
            found.append(each)
    return found


class System:
    """The answer is a value for each unknown of several equations."""

    by = "substitution"

    def __init__(self, equations: list[tuple[Expr, Expr]], names: list[Expr], truths: list[dict[Expr, Expr]]) -> None:
        self._equations, self._names, self._truths = equations, names, truths

    def judge(self, said: Said) -> Finding:
        """By names, or as points in the order of the alphabet."""
        if not self._truths:
            return Finding(True) if "no solution" in said.lower or "inconsistent" in said.lower else Finding(None)
        if (points := self._points(said)) is not None:
            return self._judge_points(points)
        named = said.named()
        if set(named) != {str(name) for name in self._names} or any(len(v) != 1 for v in named.values()):
            return self._partly(named)
        return self._judge_points([[named[str(name)][0] for name in self._names]], ordered=True)

    def _points(self, said: Said) -> list[list[same.Value]] | None:
        try:
            points = said.tuples()
        except Unreadable:
            return None
        return points if points and all(len(point) == len(self._names) for point in points) else None

    def _partly(self, named: dict[str, list[same.Value]]) -> Finding:
        """Values for some unknowns, or several: wrong only where one occurs in no solution."""
        for name in self._names:
            for each in named.get(str(name), []):
                if all(same.number(truth[name], each) is False for truth in self._truths):
                    return Finding(False, self._why)
        return Finding(None)

    def _judge_points(self, points: list[list[same.Value]], *, ordered: bool = False) -> Finding:
        verdicts = [[self._is(truth, point) for truth in self._truths] for point in points]
        if any(set(each) == {False} for each in verdicts):
            swapped = [point[::-1] for point in points]
            if not ordered and all(True in [self._is(truth, point) for truth in self._truths] for point in swapped):
                return Finding(None)
            return Finding(False, self._shown(points[0]) if len(points) == 1 else self._why)
        if all(True in each for each in verdicts) and len(points) == len(self._truths):
            return Finding(True)
        return Finding(None)

    def _is(self, truth: dict[Expr, Expr], point: list[same.Value]) -> bool | None:
        return same.conjunction(same.number(truth[name], each) for name, each in zip(self._names, point, strict=True))

    _why = "Putting the values into the equations does not make all of them true."

    def _shown(self, point: list[same.Value]) -> str:
        values = {name: each.exprs[0] for name, each in zip(self._names, point, strict=True)}
        for number, (left, right) in enumerate(self._equations, 1):
            a, b = sp.N(left.subs(values), 6), sp.N(right.subs(values), 6)
            if a.is_number and b.is_number and abs(a - b) > 1e-6:
                sides = f"the left side of equation {number} is {_short(a)} and the right side is {_short(b)}"
                return f"With these values {sides}."
        return self._why


class Region:
    """The answer is a set of real numbers."""

    by = "inequality"

    def __init__(self, truth: Expr) -> None:
        self._truth = truth

    def judge(self, said: Said) -> Finding:
        """The very same set, open and closed ends included."""
        right = same.sets(self._truth, said.region())
        return Finding(
            right, "A number near an end of the answer is wrongly in it or out of it." if right is False else ""
        )


class Matrix:
    """The answer is a matrix or a vector."""

    def __init__(self, by: str, truth: Expr) -> None:
        self.by = by
        self._truth = truth

    def judge(self, said: Said) -> Finding:
        """Entry by entry."""
        try:
            found = said.matrix()
        except Unreadable:
            if 1 not in self._truth.shape:
                raise
            lists = [each for each in said.lists() if len(each) == len(self._truth)]
            if not lists:
                raise
            found = sp.Matrix([each.exprs[0] for each in lists[0]])
        if 1 in self._truth.shape and found.shape == self._truth.shape[::-1]:
            found = found.T
        if found.shape != self._truth.shape:
            return Finding(False, "The answer has another number of rows or columns.")
        right = same.conjunction(_entry(a, b) for a, b in zip(self._truth, found, strict=True))
        return Finding(right, "An entry is not what computing it again gives.")


def _entry(truth: Expr, said: Expr) -> bool | None:
    if truth.free_symbols or said.free_symbols:
        return same.functions(truth, said)
    off = abs(complex(sp.N(truth - said, 25)))
    return True if off < same.EXACT else None if off < same.NEAR * max(1.0, abs(complex(sp.N(truth, 25)))) else False


class Many:
    """The answer is several numbers."""

    def __init__(self, by: str, truths: Sequence[Expr], *, ordered: bool = False, distinct_too: bool = False) -> None:
        self.by = by
        self._truths = list(truths)
        self._ordered = ordered
        self._distinct = list(dict.fromkeys(truths)) if distinct_too else self._truths

    def judge(self, said: Said) -> Finding:
        """Each number, in any order unless the order counts; equal ones may be told once if `distinct_too`."""
        found = [
            same.many(truths, values, ordered=self._ordered)
            for values in said.lists()
            for truths in (self._truths, self._distinct)
        ]
        if True in found:
            return Finding(True)
        return Finding(None) if None in found else Finding(False, "The numbers given are not those that are asked for.")


class Factors:
    """The answer is a product of primes, each as often as it divides the number."""

    by = "factors"

    def __init__(self, number: int) -> None:
        self._number = number

    def judge(self, said: Said) -> Finding:
        """`2^3 * 3`, or a list of the primes."""
        text = said.pieces()[0].replace(" x ", "*").replace("×", "*")
        parts = [part.strip() for part in text.replace(",", "*").replace("**", "^").split("*")]
        product = sp.Integer(1)
        composite = False
        for part in parts:
            prime, whole = read(part.partition("^")[0].strip("( )")), read(part)
            if not (prime.is_Integer and whole.is_Integer):
                raise Unreadable
            composite |= not sp.isprime(prime)
            product *= whole
        if product != self._number:
            primes = sorted(sp.factorint(self._number))
            listed = [str(prime) for prime in primes] == parts
            return Finding(None) if listed else Finding(False, "The product of the factors is another number.")
        return Finding(not composite, "Not all factors are prime.")


class Yes:
    """The answer is yes or no; `words` say the same."""

    def __init__(self, by: str, truth: bool, yes: Sequence[str], no: Sequence[str]) -> None:
        self.by = by
        self._truth = truth
        self._yes, self._no = yes, no

    def judge(self, said: Said) -> Finding:
        """What is said first counts; a `not` makes it the other."""
        text = f" {said.lower} "
        no = any(f" {word}" in text for word in self._no)
        yes = not no and any(f" {word}" in text for word in self._yes)
        if not (yes or no):
            raise Unreadable
        return Finding(yes == self._truth, "Trying to divide it shows otherwise.")


class Form:
    """The answer is a text in one form, such as a number in another base."""

    def __init__(self, by: str, reads: Callable[[str], object], truth: object) -> None:
        self.by = by
        self._reads = reads
        self._truth = truth

    def judge(self, said: Said) -> Finding:
        """Read by its own rule."""
        found = self._reads(said.text)
        if found is None:
            raise Unreadable
        return Finding(found == self._truth, "Converting it back gives another number.")
