"""Equations, systems, inequalities, forms of expressions, values of functions, sequences."""

import itertools
import re
from itertools import product

import sympy as sp

from rolecast.proofs.claims import Claim, Either, Function, Many, Number, Region, Solutions, System
from rolecast.proofs.kinds.arithmetic import wordy
from rolecast.proofs.parser import Expr, Unreadable, whole
from rolecast.proofs.problem import ASK, THE, Made, Problem, kinds
from rolecast.proofs.reader import read as read_plain
from rolecast.proofs.reader import readings, split

_RELATION = re.compile(r"<=|>=|<|>")
HIGHEST_DEGREE = 12
_NOUN = re.compile(
    r"^(?:the )?(?:following )?(?:system(?: of (?:linear )?equations)?"
    r"|(?:simultaneous )?(?:quadratic |linear |cubic )?equations?):? "
)


def read(text: str) -> Expr:
    """The only reading; an expression that may be meant in two ways is unreadable here."""
    found = readings(wordy(text))
    if len(found) > 1:
        raise Unreadable
    return found[0]


def _halves(text: str) -> list[str]:
    sides = text.split("=")
    if len(sides) != 2 or _RELATION.search(text):
        raise Unreadable
    return sides


def equation(text: str) -> tuple[Expr, Expr]:
    """Both sides, which may be meant in one way alone. Raises Unreadable."""
    left, right = _halves(text)
    return read(left), read(right)


def solve(problem: Problem, text: str) -> Claim | None:
    """An equation in one unknown, or several equations."""
    parts = [part for part in split(re.sub(r"\band\b", ",", _NOUN.sub("", text))) if part]
    if len(parts) > 1:
        return system([equation(part) for part in parts])
    meanings = [claim for sides in _sides(parts[0]) if (claim := _solutions(*sides)) is not None]
    return Either(meanings) if len(meanings) > 1 else meanings[0] if meanings else None


def _sides(text: str) -> list[tuple[Expr, Expr]]:
    """Both sides of an equation, in the ways they may be meant."""
    left, right = _halves(text)
    return list(product(readings(wordy(left)), readings(wordy(right))))[:4]


def _solutions(left: Expr, right: Expr) -> Solutions | None:
    names = (left - right).free_symbols
    if len(names) != 1:
        return None
    name = names.pop()
    return Solutions(left, right, name, roots(left, right, name))


def roots(left: Expr, right: Expr, name: Expr) -> list[Expr] | None:
    """All solutions, where they are finitely many and known; None where not all are."""
    whole_of = sp.together(left - right)
    above, below = sp.fraction(whole_of)
    if above.is_polynomial(name) and below.is_polynomial(name):
        degree = sp.Poly(above, name).degree()
        if not 0 < degree <= HIGHEST_DEGREE:
            raise Unreadable
        found = sp.roots(sp.Poly(above, name))
        if sum(found.values()) != degree:
            return list(sp.Poly(above, name).nroots(n=30)) if not below.has(name) else None
        return [root for root in found if abs(sp.N(below.subs(name, root), 20)) > 1e-12]
    found_set = sp.solveset(left - right, name, sp.S.Reals)
    if isinstance(found_set, sp.FiniteSet):
        return list(found_set) or None
    if not found_set.has(sp.ConditionSet, sp.Complement, sp.Intersection) or found_set.has(sp.ImageSet):
        return None
    candidates = [each for each in sp.solve(left - right, name) if each.is_number and each.is_real]
    return [each for each in candidates if abs(sp.N((left - right).subs(name, each), 20)) < 1e-12] or None


def system(equations: list[tuple[Expr, Expr]]) -> Claim:
    """Several equations in as many unknowns."""
    names = sorted(set().union(*((left - right).free_symbols for left, right in equations)), key=str)
    if not 2 <= len(names) <= 5 or len(equations) != len(names):
        raise Unreadable
    if any(sp.Poly(sp.expand(left - right), *names).total_degree() > 3 for left, right in equations):
        raise Unreadable
    truths = sp.solve([left - right for left, right in equations], names, dict=True)
    if any(set(truth) != set(names) or any(value.free_symbols for value in truth.values()) for truth in truths):
        raise Unreadable
    return System(equations, names, truths)


def _system_of(problem: Problem, text: str) -> Claim | None:
    return solve(problem, text)


def _solve_for(problem: Problem, text: str, name: str) -> Claim | None:
    claim = solve(problem, text) if text.count("=") == 1 else None
    if isinstance(claim, Solutions | Either):
        return claim if re.search(rf"(?<![A-Za-z]){name}(?![A-Za-z])", text) else None
    if claim is not None:
        return None
    left, right = equation(text)
    unknown = sp.Symbol(name)
    found = sp.solve(left - right, unknown)
    return Function("rearranging", found[0]) if len(found) == 1 else None


def _find_if(problem: Problem, name: str, text: str) -> Claim | None:
    return _solve_for(problem, text, name)


def _if_find(problem: Problem, text: str, name: str) -> Claim | None:
    return _solve_for(problem, text, name)


def _zeros(problem: Problem, text: str) -> Claim | None:
    text = re.sub(r"^(?:the )?(?:equation|function|polynomial|quadratic)(?: equation| function)?:? ", "", text)
    text = re.sub(r"^(?:y|[fgp]\(x\)) ?= ?", "", text)
    return solve(problem, text if "=" in text else f"{text} = 0")


def inequality(problem: Problem, text: str) -> Claim | None:
    """One relation, or two that bound the same."""
    parts = _RELATION.split(text)
    signs = _RELATION.findall(text)
    if not 2 <= len(parts) <= 3:
        return None
    sides = [read(part) for part in parts]
    names = set().union(*(side.free_symbols for side in sides))
    if len(names) != 1:
        return None
    name = names.pop()
    truth = sp.S.Reals
    for a, b, sign in zip(sides, sides[1:], signs, strict=False):
        relation = {"<": sp.Lt, ">": sp.Gt, "<=": sp.Le, ">=": sp.Ge}[sign](a, b)
        truth = sp.Intersection(truth, sp.solveset(relation, name, sp.S.Reals))
    if not isinstance(truth, sp.Interval | sp.Union | sp.FiniteSet) and truth not in (sp.S.Reals, sp.EmptySet):
        return None
    return Region(truth)


def _form(form: str) -> Made:
    def made(problem: Problem, text: str) -> Claim | None:
        found = readings(wordy(text))
        if not found[0].free_symbols:
            return Number("arithmetic", *found) if form == "" else None
        if form == "factored":
            found = [sp.factor(each) for each in found]
        elif form == "expanded":
            found = [sp.expand(each) for each in found]
        return Function("equality of expressions", *found, form=form)

    return made


def _at(problem: Problem, text: str, name: str, at: str) -> Claim | None:
    """The value of an expression where its unknown has one."""
    values = [each.subs(sp.Symbol(name), read(at)) for each in readings(wordy(text))]
    return Number("substitution", *values, rough=problem.rough) if all(v.is_number for v in values) else None


def _two_at(problem: Problem, text: str, first: str, a: str, second: str, b: str) -> Claim | None:
    values = [each.subs({sp.Symbol(first): read(a), sp.Symbol(second): read(b)}) for each in readings(wordy(text))]
    return Number("substitution", *values) if all(v.is_number for v in values) else None


def _function_at(problem: Problem, function: str, name: str, text: str, again: str, at: str) -> Claim | None:
    return _at(problem, text, name, at) if function == again else None


def _discriminant(problem: Problem, text: str) -> Claim | None:
    left, right = equation(text if "=" in text else f"{text} = 0")
    names = (left - right).free_symbols
    if len(names) != 1:
        return None
    poly = sp.Poly(left - right, *names)
    return Number("discriminant", sp.discriminant(poly)) if poly.degree() == 2 else None


def _term(problem: Problem, nth: str, kind: str, listed: str) -> Claim | None:
    terms = [read(part) for part in split(listed.replace("...", "").strip(" ,"))]
    n = whole(read(nth), 500)
    if len(terms) < 3 or not all(t.is_Rational for t in terms):
        return None
    if kind.lower() == "arithmetic":
        steps = {b - a for a, b in itertools.pairwise(terms)}
        return Number("sequence", terms[0] + (n - 1) * steps.pop()) if len(steps) == 1 else None
    if 0 in terms:
        return None
    ratios = {b / a for a, b in itertools.pairwise(terms)}
    return Number("sequence", terms[0] * ratios.pop() ** (n - 1)) if len(ratios) == 1 and n < 100 else None


def _inverse(problem: Problem, text: str) -> Claim | None:
    x, y = sp.Symbol("x"), sp.Symbol("y")
    found = sp.solve(read(text) - y, x)
    return Function("inverse function", found[0].subs(y, x)) if len(found) == 1 else None


def _sum_and_difference(problem: Problem, total: str, difference: str) -> Claim:
    a, b = read_plain(total), read_plain(difference)
    return Many("substitution", [(a + b) / 2, (a - b) / 2])


NUMBER = r"(-?\d+(?:\.\d+)?)"
_AT = r"(?:at|when|for|if|where|given(?: that)?|with) ([a-z]) ?= ?([^,]+?)"

KIND = kinds(
    (
        rf"(?:evaluate|{ASK}){THE}(?:the )?(?:expression )?(.+?),? (?:at|when|for|if|where|with) ([a-z]) ?= ?([^,=]+?)(?: and|,) ([a-z]) ?= ?([^,=]+)",
        _two_at,
    ),
    (
        rf"(?:evaluate|{ASK}){THE}(?:the )?(?:expression |function |polynomial )?(?:[a-z]\([a-z]\) ?= ?)?([^=]+?),? {_AT}",
        _at,
    ),
    (
        rf"(?:if|let|given(?: that)?|for|suppose) ([a-z])\(([a-z])\) ?= ?([^=]+?)[,.;]? (?:then )?{ASK}{THE}([a-z])\(([^()]+)\)",
        _function_at,
    ),
    (rf"{ASK}(?:the )?discriminant of (?:the )?(?:quadratic )?(?:equation |polynomial )?(.+)", _discriminant),
    (
        rf"{ASK}(?:the )?(\d+)(?:st|nd|rd|th) term (?:of|in) (?:the )?(arithmetic|geometric) (?:sequence|progression):? (.+)",
        _term,
    ),
    (rf"{ASK}(?:the )?inverse (?:function )?of (?:the function )?(?:f\(x\)|y) ?= ?(.+)", _inverse),
    (
        rf"the sum of two numbers is {NUMBER} and their difference is {NUMBER}[,.;]? (?:what are|find) the (?:two )?numbers",
        _sum_and_difference,
    ),
    (r"(?:simplify|rationalize|combine like terms:?)(?: the)?(?: expression| following)?:? (.+)", _form("")),
    (r"(?:expand|multiply out|expand and simplify)(?: the)?(?: expression| product)?:? (.+)", _form("expanded")),
    (
        r"(?:factor|factorise|factorize|factor out)(?: the)?(?: expression| polynomial| quadratic| trinomial)?:? (.+)",
        _form("factored"),
    ),
    (
        rf"(?:solve|find the solution(?: set)? (?:of|to)|{ASK}the solution(?: set)? (?:of|to))(?: the)?(?: inequality)?:? ([^=]*(?:<=|>=|<|>).+?)(?: for [a-z])?",
        inequality,
    ),
    (
        r"(?:find|what is|determine|compute) ([a-z]) (?:if|when|given(?: that)?|such that|where|in|from)(?: the equation)?:? (.+)",
        _find_if,
    ),
    (
        r"(?:if|given(?: that)?|suppose|let) (.+?)[,.;]? (?:then )?(?:find|what is|determine|solve for)(?: the value of)? ([a-z])",
        _if_find,
    ),
    (r"solve for ([a-z])(?: in)?:? (.+)", _find_if),
    (r"solve(?: the)?(?: following)?(?: \w+)?(?: equation)?:? (.+?),? for ([a-z])", _if_find),
    (
        r"(?:solve|find the solutions? (?:of|to))(?: the)?(?: following)? (?:system(?: of(?: linear| two| three)? ?equations)?|simultaneous equations|pair of equations):? (.+?)(?: for [a-z](?:(?:,| and| ,) ?[a-z])+)?",
        _system_of,
    ),
    (
        rf"(?:{ASK}|list )(?:all )?(?:of )?(?:the )?(?:real |complex )?(?:solutions?|roots?|zeros?) (?:of|to|for) (.+)",
        _zeros,
    ),
    (
        r"solve(?: the)?(?: following)?(?: (?:linear|quadratic|cubic|polynomial|exponential|logarithmic|rational|radical))?(?: equation)?s?:? (.+)",
        solve,
    ),
    (r"([^,]*[a-z][^,]*=[^,]*)", solve),
)
