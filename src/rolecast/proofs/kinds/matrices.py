"""Linear algebra: matrices and vectors that are written out."""

import re

import sympy as sp

from rolecast.proofs.claims import Claim, Finding, Many, Matrix, Number
from rolecast.proofs.parser import Expr, Unreadable
from rolecast.proofs.problem import ASK, Made, Problem, kinds
from rolecast.proofs.reader import matrix, vector
from rolecast.proofs.said import Said

_NAMED = re.compile(r"^(?:the )?(?:matrix |matrices |vectors? )?(?:[A-Za-z] ?= ?)?")


def _matrix(text: str) -> Expr:
    return matrix(_NAMED.sub("", text.strip()).strip())


def _square(text: str) -> Expr:
    found = _matrix(text)
    if not found.is_square or not all(entry.is_number for entry in found):
        raise Unreadable
    return found


def _number(figure: str) -> Made:
    def claim(problem: Problem, text: str) -> Claim:
        found = _matrix(text) if figure == "rank" else _square(text)
        return Number(
            "linear algebra",
            sp.Integer(found.rank()) if figure == "rank" else found.trace() if figure == "trace" else found.det(),
        )

    return claim


def _inverse(problem: Problem, text: str) -> Claim:
    found = _square(text)
    return Matrix("linear algebra", found.inv()) if found.det() != 0 else Singular()


class Singular:
    """A matrix without an inverse."""

    by = "linear algebra"

    def judge(self, said: Said) -> Finding:
        """Whoever gives one is wrong."""
        if re.search(r"singular|not invertible|no inverse|does not exist|doesn't exist|non-?invertible", said.lower):
            return Finding(True)
        said.matrix()
        return Finding(False, "The determinant is 0, so look again at whether there is an inverse.")


def _transpose(problem: Problem, text: str) -> Claim:
    return Matrix("linear algebra", _matrix(text).T)


def _eigenvalues(problem: Problem, text: str) -> Claim:
    found = _square(text)
    values = found.eigenvals()
    if sum(values.values()) != found.rows or found.rows > 4:
        raise Unreadable
    return Many("linear algebra", [value for value, times in values.items() for _ in range(times)], distinct_too=True)


def _of_two(problem: Problem, a: str, sign: str, b: str) -> Claim:
    first, second = _matrix(a), _matrix(b)
    try:
        found = first + second if sign == "+" else first - second if sign == "-" else first * second
    except (ValueError, TypeError, sp.ShapeError):
        raise Unreadable from None
    return Matrix("linear algebra", found)


def _product(problem: Problem, a: str, b: str) -> Claim:
    return _of_two(problem, a, "*", b)


def _sum(problem: Problem, a: str, b: str) -> Claim:
    return _of_two(problem, a, "+", b)


def _vectors(a: str, b: str) -> tuple[Expr, Expr]:
    u, v = (sp.Matrix(vector(_NAMED.sub("", text.strip()))) for text in (a, b))
    if u.shape != v.shape:
        raise Unreadable
    return u, v


def _dot(problem: Problem, a: str, b: str) -> Claim:
    u, v = _vectors(a, b)
    return Number("linear algebra", u.dot(v))


def _cross(problem: Problem, a: str, b: str) -> Claim:
    u, v = _vectors(a, b)
    if len(u) != 3:
        raise Unreadable
    return Matrix("linear algebra", u.cross(v))


def _norm(problem: Problem, text: str) -> Claim:
    return Number("linear algebra", sp.Matrix(vector(_NAMED.sub("", text.strip()))).norm(), rough=problem.rough)


_M = r"((?:the )?(?:matrix )?(?:[A-Za-z] ?= ?)?\[ ?\[.+?\] ?\])"
_V = r"((?:vectors? )?(?:[a-z] ?= ?)?[\[(<][^\[\]()<>]+[\])>])"
_OF = r"(?: of)?(?: the)?(?: following)?(?: matrix)?:? "

KIND = kinds(
    (rf"(?:{ASK})?(?:the )?(?:determinant|det){_OF}\(?{_M}\)?", _number("det")),
    (rf"(?:{ASK})?(?:the )?trace{_OF}{_M}", _number("trace")),
    (rf"(?:{ASK})?(?:the )?rank{_OF}{_M}", _number("rank")),
    (rf"(?:{ASK}(?:the )?inverse{_OF}|invert (?:the )?(?:matrix )?){_M}", _inverse),
    (rf"(?:{ASK}(?:the )?transpose{_OF}|transpose (?:the )?(?:matrix )?){_M}", _transpose),
    (rf"{ASK}(?:all )?(?:the )?eigenvalues{_OF}{_M}", _eigenvalues),
    (
        rf"(?:{ASK}|multiply )(?:the )?(?:matrix )?(?:product )?(?:of )?(?:the )?(?:matrices )?{_M} (?:and|by|times|with) {_M}",
        _product,
    ),
    (rf"(?:{ASK}(?:the )?(?:matrix )?sum of|add)(?: the)?(?: matrices)? {_M} (?:and|to) {_M}", _sum),
    (
        rf"(?:{ASK})?(?:the )?(?:matrix )?(?:product |sum )?:? ?(\[ ?\[.+?\] ?\]) ?([*+-]?) ?(\[ ?\[.+?\] ?\])(?: ?= ?\??)?",
        _of_two,
    ),
    (rf"{ASK}(?:the )?(?:dot|scalar|inner) product (?:of|between)(?: the)? {_V} and {_V}", _dot),
    (rf"{ASK}(?:the )?(?:cross|vector) product of(?: the)? {_V} (?:and|x) {_V}", _cross),
    (rf"{ASK}(?:the )?(?:magnitude|norm|length|euclidean norm) of(?: the)? vector {_V}", _norm),
)
