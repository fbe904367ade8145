"""Formulas of plane and solid shapes, and of points."""

import re

import sympy as sp

from rolecast.proofs.claims import Claim, Many, Number
from rolecast.proofs.parser import Expr, Unreadable
from rolecast.proofs.problem import ASK, Made, Problem, kinds
from rolecast.proofs.reader import read, split
from rolecast.proofs.said import units

_UNIT = r"(?: ?(?:cm|mm|km|m|in|ft|units?|inch(?:es)?|feet|meters?|metres?|centimeters?|centimetres?|miles?|yards?))?"
_L = rf"(?:is |of |= ?)?(\d+(?:\.\d+)?|sqrt\(?\d+\)?|\d+/\d+){_UNIT}"
_WITH = r",? (?:with|whose|that has|having|of|if|when|given)(?: a| an| the| its)? "
_AND = r",?(?: and)?(?: a| an| the| its| whose)? "
_THE = r"(?:the )?"


def length(text: str) -> Expr:
    """Raises Unreadable for what is no length."""
    found = read(text)
    if not found.is_positive:
        raise Unreadable
    return found


def _formula(*shapes: str) -> Made:
    """A claim by formulas over lengths a, b, c in the order of the pattern's groups."""
    made = [read(shape) for shape in shapes]

    def claim(problem: Problem, *texts: str) -> Claim:
        if len(units(problem.words) - {"unit"}) > 1:
            raise Unreadable
        values = {sp.Symbol(name): length(text) for name, text in zip("abcd", texts, strict=False)}
        return Number("geometry", *(each.subs(values) for each in made), rough=problem.rough)

    return claim


def _leg(problem: Problem, hypotenuse: str, leg: str) -> Claim:
    h, a = length(hypotenuse), length(leg)
    if h <= a:
        raise Unreadable
    return Number("geometry", sp.sqrt(h**2 - a**2), rough=problem.rough)


def _leg_first(problem: Problem, leg: str, hypotenuse: str) -> Claim:
    return _leg(problem, hypotenuse, leg)


def _heron(problem: Problem, a: str, b: str, c: str) -> Claim:
    x, y, z = sorted((length(a), length(b), length(c)), key=sp.N)
    if sp.N(x + y - z) <= 0:
        raise Unreadable
    s = (x + y + z) / 2
    return Number("geometry", sp.sqrt(s * (s - x) * (s - y) * (s - z)), rough=problem.rough)


_POLYGONS = {
    "triangle": 3,
    "quadrilateral": 4,
    "pentagon": 5,
    "hexagon": 6,
    "heptagon": 7,
    "octagon": 8,
    "nonagon": 9,
    "decagon": 10,
    "dodecagon": 12,
}


def _sides(text: str) -> int:
    found = _POLYGONS.get(text.lower()) or int(re.sub(r"\D", "", text) or 0)
    if not 3 <= found <= 1000:
        raise Unreadable
    return found


def _angle_sum(problem: Problem, text: str) -> Claim:
    return Number("geometry", sp.Integer(180 * (_sides(text) - 2)), angle=True)


def _one_angle(problem: Problem, text: str) -> Claim:
    n = _sides(text)
    return Number("geometry", sp.Rational(180 * (n - 2), n), angle=True)


def _third_angle(problem: Problem, a: str, b: str) -> Claim:
    found = 180 - length(a) - length(b)
    if not found.is_positive:
        raise Unreadable
    return Number("geometry", found, angle=True)


def _points(*texts: str) -> list[list[Expr]]:
    found = [[read(part) for part in split(text)] for text in texts]
    if len({len(point) for point in found}) != 1 or not 2 <= len(found[0]) <= 3:
        raise Unreadable
    if any(not value.is_number for point in found for value in point):
        raise Unreadable
    return found


def _distance(problem: Problem, a: str, b: str) -> Claim:
    p, q = _points(a, b)
    return Number("geometry", sp.sqrt(sum((x - y) ** 2 for x, y in zip(p, q, strict=True))), rough=problem.rough)


def _midpoint(problem: Problem, a: str, b: str) -> Claim:
    p, q = _points(a, b)
    return Many("geometry", [(x + y) / 2 for x, y in zip(p, q, strict=True)], ordered=True)


def _slope(problem: Problem, a: str, b: str) -> Claim:
    (x1, y1), (x2, y2) = _points(a, b)
    if x1 == x2:
        raise Unreadable
    return Number("geometry", (y2 - y1) / (x2 - x1))


_TWO_POINTS = r"(?:the )?(?:points )?[A-Z]?\(([^()]+)\) (?:and|to) [A-Z]?\(([^()]+)\)"
_A = r"(?: a| an| the)?"

KIND = kinds(
    (rf"{ASK}{_THE}area of{_A} circle{_WITH}radius {_L}", _formula("pi a^2")),
    (rf"{ASK}{_THE}area of{_A} circle{_WITH}diameter {_L}", _formula("pi a^2 / 4")),
    (rf"{ASK}{_THE}circumference of{_A} circle{_WITH}radius {_L}", _formula("2 pi a")),
    (rf"{ASK}{_THE}circumference of{_A} circle{_WITH}diameter {_L}", _formula("pi a")),
    (rf"{ASK}{_THE}area of{_A} (?:right )?triangle{_WITH}base {_L}{_AND}height {_L}", _formula("a b / 2")),
    (rf"{ASK}{_THE}area of{_A} right triangle{_WITH}legs (?:of length )?{_L} and {_L}", _formula("a b / 2")),
    (
        rf"{ASK}{_THE}area of{_A} triangle{_WITH}(?:sides|side lengths)(?: of length)? {_L},(?: and)? {_L},? and {_L}",
        _heron,
    ),
    (
        rf"{ASK}{_THE}area of{_A} equilateral triangle{_WITH}(?:side|sides|side length)(?: of length)? {_L}",
        _formula("sqrt(3) a^2 / 4"),
    ),
    (
        rf"{ASK}{_THE}area of{_A} rectangle{_WITH}(?:length|width|base|sides) {_L}{_AND}(?:width |length |height )?{_L}",
        _formula("a b"),
    ),
    (
        rf"{ASK}{_THE}perimeter of{_A} rectangle{_WITH}(?:length|width|sides) {_L}{_AND}(?:width |length )?{_L}",
        _formula("2 (a + b)"),
    ),
    (rf"{ASK}{_THE}area of{_A} square{_WITH}(?:side|sides|side length)(?: of length)? {_L}", _formula("a^2")),
    (rf"{ASK}{_THE}perimeter of{_A} square{_WITH}(?:side|sides|side length)(?: of length)? {_L}", _formula("4 a")),
    (
        rf"{ASK}{_THE}(?:length of the )?diagonal of{_A} square{_WITH}(?:side|side length)(?: of length)? {_L}",
        _formula("sqrt(2) a"),
    ),
    (
        rf"{ASK}{_THE}(?:length of the )?diagonal of{_A} rectangle{_WITH}(?:length|width|sides) {_L}{_AND}(?:width |length )?{_L}",
        _formula("sqrt(a^2 + b^2)"),
    ),
    (rf"{ASK}{_THE}area of{_A} parallelogram{_WITH}base {_L}{_AND}height {_L}", _formula("a b")),
    (
        rf"{ASK}{_THE}area of{_A} trapezoid{_WITH}(?:bases|parallel sides)(?: of length)? {_L} and {_L}{_AND}height {_L}",
        _formula("(a + b) c / 2"),
    ),
    (
        rf"{ASK}{_THE}(?:length of the )?hypotenuse of{_A} right triangle{_WITH}legs (?:of length |of lengths )?{_L} and {_L}",
        _formula("sqrt(a^2 + b^2)"),
    ),
    (
        rf"{ASK}{_THE}hypotenuse if the legs (?:of a right triangle )?(?:are|measure) {_L} and {_L}",
        _formula("sqrt(a^2 + b^2)"),
    ),
    (
        rf"{ASK}{_THE}(?:length of the )?(?:other|missing|second) leg of{_A} right triangle{_WITH}hypotenuse {_L}{_AND}(?:one )?leg {_L}",
        _leg,
    ),
    (rf"{ASK}{_THE}volume of{_A} sphere{_WITH}radius {_L}", _formula("4 pi a^3 / 3")),
    (rf"{ASK}{_THE}surface area of{_A} sphere{_WITH}radius {_L}", _formula("4 pi a^2")),
    (rf"{ASK}{_THE}volume of{_A} cylinder{_WITH}radius {_L}{_AND}height {_L}", _formula("pi a^2 b")),
    (
        rf"{ASK}{_THE}(?:total )?surface area of{_A} (?:closed )?cylinder{_WITH}radius {_L}{_AND}height {_L}",
        _formula("2 pi a (a + b)"),
    ),
    (rf"{ASK}{_THE}volume of{_A} cone{_WITH}radius {_L}{_AND}height {_L}", _formula("pi a^2 b / 3")),
    (
        rf"{ASK}{_THE}volume of{_A} cube{_WITH}(?:side|sides|edge|side length|edge length)(?: of length)? {_L}",
        _formula("a^3"),
    ),
    (
        rf"{ASK}{_THE}surface area of{_A} cube{_WITH}(?:side|sides|edge|side length|edge length)(?: of length)? {_L}",
        _formula("6 a^2"),
    ),
    (
        rf"{ASK}{_THE}volume of{_A} (?:cuboid|box|rectangular prism){_WITH}(?:dimensions|sides|length) {_L}(?:,| by| x)(?: width| and)? ?{_L},?(?: by| x| and)?(?: height)? {_L}",
        _formula("a b c"),
    ),
    (
        rf"{ASK}{_THE}sum of (?:the )?(?:interior )?angles (?:of|in){_A} (?:regular |convex )*({'|'.join(_POLYGONS)}|polygon with \d+ sides|\d+-gon|\d+-sided polygon)",
        _angle_sum,
    ),
    (
        rf"{ASK}{_THE}(?:measure of )?(?:each|one|an) interior angle of{_A} regular ({'|'.join(_POLYGONS)}|polygon with \d+ sides|\d+-gon|\d+-sided polygon)",
        _one_angle,
    ),
    (
        rf"(?:two angles of a triangle (?:are|measure)) (\d+)(?:°| degrees)? and (\d+)(?:°| degrees)?[,.;]? (?:{ASK}{_THE}(?:measure of the )?third(?: angle)?)",
        _third_angle,
    ),
    (rf"{ASK}{_THE}distance (?:between|from) {_TWO_POINTS}", _distance),
    (
        rf"{ASK}{_THE}midpoint (?:of|between)(?: the (?:line )?segment)?(?: (?:from|joining|connecting|with endpoints))? {_TWO_POINTS}",
        _midpoint,
    ),
    (rf"{ASK}{_THE}slope of the line (?:passing )?(?:through|joining|between|connecting) {_TWO_POINTS}", _slope),
)
