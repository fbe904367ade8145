"""The greatest and the least value of a function of one unknown, and where it has it."""

import re

import sympy as sp

from rolecast.proofs import same
from rolecast.proofs.claims import Claim, Finding
from rolecast.proofs.kinds.arithmetic import wordy
from rolecast.proofs.parser import Expr, Unreadable
from rolecast.proofs.problem import ASK, Made, Problem, kinds
from rolecast.proofs.reader import read
from rolecast.proofs.said import Said


class Optimum:
    """`places` and the value there; `wanted` says which is asked for, '' = either may be meant."""

    by = "critical points"

    def __init__(self, value: Expr, places: list[Expr], name: str, wanted: str) -> None:
        self._value, self._places, self._name, self._wanted = value, places, name, wanted

    def judge(self, said: Said) -> Finding:
        """A number, a point, or `5 at x = 2`."""
        match = re.search(rf"\b(?:at|when|where|for)\s+{self._name}\s*=\s*([^,;]+)$", said.text)
        if match:
            at = self._is_place(match[1], said)
            worth = (
                self._is_value(said.text[: match.start()], said)
                if re.search(r"[\dπ]", said.text[: match.start()])
                else True
            )
            return _finding(same.conjunction([at, worth]))
        if (point := _point(said)) is not None:
            places = [same.number(each, point[0]) for each in self._places]
            return _finding(
                same.conjunction(
                    [True if True in places else None if None in places else False, same.number(self._value, point[1])]
                )
            )
        if len(values := said.lists()[0]) == 2 and len(self._places) == 1:
            return _finding(self._both(values))
        is_place = self._is_place(said.text, said)
        named = re.match(rf"\s*\(?{self._name}\s*=", said.text) is not None
        if self._wanted == "place" or (named and not self._wanted):
            return _finding(is_place)
        is_value = self._is_value(said.text, said)
        if self._wanted == "value":
            return Finding(None) if named and is_place is not False else _finding(is_value)
        return _finding(True if is_value else None if None in (is_value, is_place) or is_place else False)

    def _both(self, values: list[same.Value]) -> bool | None:
        """Where it is and how much it is, in any order."""
        known = [self._places[0], self._value]
        verdicts = [[same.number(each, value) for each in known] for value in values]
        return False if [False, False] in verdicts else True if all(True in each for each in verdicts) else None

    def _is_place(self, text: str, said: Said) -> bool | None:
        return same.many(self._places, said.again(text).lists()[0])

    def _is_value(self, text: str, said: Said) -> bool | None:
        found = [same.number(self._value, each) for each in said.again(text).values()]
        return True if found[0] else None if True in found or None in found else False


_WHY = "The derivative there and the values at the ends say otherwise."


def _finding(right: bool | None) -> Finding:
    return Finding(right, _WHY if right is False else "")


def _point(said: Said) -> list[same.Value] | None:
    try:
        points = said.tuples()
    except Unreadable:
        return None
    return points[0] if len(points) == 1 and len(points[0]) == 2 else None


def _optimum(kind: str, text: str, name: str | None, low: str | None, high: str | None, wanted: str) -> Claim:
    found = read(wordy(re.sub(r"^(?:the )?(?:function )?(?:[a-zA-Z]\([a-z]\)|y) ?= ?", "", text.strip())))
    names = found.free_symbols
    if len(names) != 1 or (name and str(next(iter(names))) != name):
        raise Unreadable
    x = next(iter(names))
    least = kind.lower().startswith(("min", "least", "smallest", "lowest"))
    where = [read(end) for end in (low, high)] if low and high else []
    places = _critical(found, x, where) + where
    if not places:
        raise Unreadable
    values = {place: found.subs(x, place) for place in places}
    best = (min if least else max)(values.values(), key=lambda v: float(sp.N(v)))
    if not where and not _is_global(found, x, best, least):
        raise Unreadable
    return Optimum(best, [place for place, value in values.items() if sp.simplify(value - best) == 0], str(x), wanted)


def _critical(found: Expr, x: Expr, where: list[Expr]) -> list[Expr]:
    """Where the derivative is 0. Functions with gaps in their domain are not looked at."""
    domain = sp.Interval(*where) if where else sp.S.Reals
    if not found.is_polynomial(x) and sp.singularities(found, x, domain) != sp.EmptySet:
        raise Unreadable
    zeros = sp.solveset(sp.diff(found, x), x, domain)
    if not (isinstance(zeros, sp.FiniteSet) or zeros == sp.EmptySet):
        raise Unreadable
    return list(zeros)


def _is_global(found: Expr, x: Expr, best: Expr, least: bool) -> bool:
    ends = [sp.limit(found, x, end) for end in (sp.oo, -sp.oo)]
    return all(bool(end >= best if least else end <= best) for end in ends if end.is_extended_real) and all(
        e.is_extended_real for e in ends
    )


def _value_of(problem: Problem, kind: str, text: str, low: str | None = None, high: str | None = None) -> Claim:
    return _optimum(kind, text, None, low, high, "value")


def _either(problem: Problem, kind: str, text: str, low: str | None = None, high: str | None = None) -> Claim:
    return _optimum(kind, text, None, low, high, "")


def _place_of(problem: Problem, name: str, kind: str, text: str) -> Claim:
    return _optimum(kind, text, name, None, None, "place")


def _place_first(problem: Problem, name: str, text: str, kind: str) -> Claim:
    return _optimum(kind, text, name, None, None, "place")


def _place_verb(problem: Problem, name: str, kind: str, text: str) -> Claim:
    return _optimum(kind, text, name, None, None, "place")


_KIND = r"(maximum|minimum|max|min|greatest|largest|highest|smallest|least|lowest)"
_ON = r"(?:,? (?:on|over|in) (?:the )?(?:closed )?(?:interval )?\[([^,\[\]]+),([^,\[\]]+)\]|,? for ([^<>]+?)<=[^<>]+?<=(.+?))?"


def _with_ends(made: Made) -> Made:
    def claim(
        problem: Problem, kind: str, text: str, a: str | None, b: str | None, c: str | None, d: str | None
    ) -> Claim:
        return made(problem, kind, text, a or c, b or d)  # type: ignore[no-any-return]

    return claim


KIND = kinds(
    (
        rf"(?:{ASK}|for what|at what)(?:the )?(?:value of )?([a-z])(?:-value)? (?:that |which |does )?(maximi[sz]es|minimi[sz]es) (?:the function )?(.+)",
        _place_verb,
    ),
    (
        rf"(?:for|at) what (?:value of )?([a-z])(?:-value)? (?:does|is) (.+?) (?:have (?:its|a)|reach (?:its|a)|attain (?:its|a)|at (?:its|a))? ?{_KIND}(?: value)?",
        _place_first,
    ),
    (rf"{ASK}(?:the )?(?:absolute |global )?{_KIND} value of (?:the function )?(.+?){_ON}", _with_ends(_value_of)),
    (rf"{ASK}(?:the )?(?:absolute |global )?{_KIND} of (?:the function )?(.+?){_ON}", _with_ends(_either)),
    (rf"(maximi[sz]e|minimi[sz]e) (?:the function )?(.+?){_ON}", _with_ends(_either)),
)
