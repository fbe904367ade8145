"""Reads plain notation into sympy expressions, piece by piece. Nothing is evaluated that was not counted before.

Texts come from strangers. sympy's own parsers evaluate what they read, so none of them sees a text: known functions,
letters and numbers are put together here, and what would become large is refused before it is made.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import sympy as sp

MOST_CHARS = 600
MOST_TOKENS = 300
DEEPEST = 40
MOST_DIGITS = 120
"""Of a number as it is written."""
MOST_BITS = 20_000
"""Of a number that comes out."""
MOST_POWER = 2000
MOST_SYMBOLIC_POWER = 60
MOST_FACTORIAL = 500

Expr = Any
"""sympy has no types."""


class Unreadable(Exception):
    """This is no expression that is read here, or it would become too large."""


class Mode(NamedTuple):
    """How the notations are meant that people use in two ways."""

    log10: bool = False
    """`log` has the base 10, not e."""
    tight: bool = False
    """In `1/2x` the x stands below the line."""
    degrees: bool = False
    """`sin(30)` is of degrees."""


_TOKEN = re.compile(r"\s*(?:(\d+\.\d+|\d+|\.\d+)|([A-Za-z]+|π)|(\*\*|[-+*/^!%°()|,_\[\]]))")
_CONSTANTS = {"pi": sp.pi, "π": sp.pi, "e": sp.E, "i": sp.I, "oo": sp.oo, "inf": sp.oo, "infinity": sp.oo}
_GREEK = frozenset(["theta", "lambda", "alpha", "beta", "phi"])
_PRODUCTS = frozenset("abcxyz")
_TRIG: dict[str, Callable[..., Expr]] = {
    "sin": sp.sin,
    "cos": sp.cos,
    "tan": sp.tan,
    "cot": sp.cot,
    "sec": sp.sec,
    "csc": sp.csc,
}
_INVERSE: dict[str, Callable[..., Expr]] = {
    "sin": sp.asin,
    "cos": sp.acos,
    "tan": sp.atan,
    "cot": sp.acot,
    "sec": sp.asec,
    "csc": sp.acsc,
}
_ONE: dict[str, Callable[..., Expr]] = {
    **_TRIG,
    **{f"arc{name}": made for name, made in _INVERSE.items()},
    **{f"a{name}": made for name, made in _INVERSE.items()},
    "sinh": sp.sinh,
    "cosh": sp.cosh,
    "tanh": sp.tanh,
    "ln": sp.log,
    "sqrt": sp.sqrt,
    "cbrt": lambda x: _root(x, 3),
    "abs": sp.Abs,
    "floor": sp.floor,
    "ceil": sp.ceiling,
    "ceiling": sp.ceiling,
    "lg": lambda x: sp.log(x) / sp.log(10),
}


def _root(x: Expr, degree: Expr) -> Expr:
    return sp.real_root(x, degree) if x.is_number and x.is_real else sp.Pow(x, sp.Integer(1) / degree)


class Parser:
    """One reading of one text."""

    def __init__(self, tokens: list[str], mode: Mode) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._bars = 0
        self._mode = mode
        self.doubts: set[str] = set()

    def whole(self) -> Expr:
        """The expression, to the last piece."""
        found = self.sum()
        if self._at != len(self._tokens):
            raise Unreadable
        return found

    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, piece: str) -> bool:
        if self._next() != piece:
            return False
        self._at += 1
        return True

    def _must(self, piece: str) -> None:
        if not self._take(piece):
            raise Unreadable

    def sum(self) -> Expr:
        """Terms that are added."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise Unreadable
        found = self._product()
        while (sign := self._next()) in ("+", "-") and sign:
            self._at += 1
            term = self._product()
            found = bounded(found + (term if sign == "+" else -term))
        self._depth -= 1
        return found

    def _product(self) -> Expr:
        found = self._signed()
        while True:
            if self._take("*"):
                found = _times(found, self._signed())
            elif self._take("/"):
                found = _over(found, self._below())
            elif self._starts():
                found = _times(found, self._power())
            else:
                return found

    def _below(self) -> Expr:
        """What stands below the line."""
        found = self._signed()
        if self._starts():
            self.doubts.add("tight")
            while self._mode.tight and self._starts():
                found = _times(found, self._power())
        return found

    def _starts(self) -> bool:
        """Whether a factor follows that no sign stands before."""
        piece = self._next()
        if not piece:
            return False
        if piece[0].isdigit() or piece[0] == ".":
            return self._tokens[self._at - 1] in (")", "|")
        return piece[0].isalpha() or piece in ("(", "π") or (piece == "|" and not self._bars)

    def _signed(self) -> Expr:
        negative = False
        while self._next() in ("+", "-") and self._next():
            negative ^= self._next() == "-"
            self._at += 1
        found = self._power()
        return -found if negative else found

    def _power(self) -> Expr:
        base = self._postfix()
        return power(base, self._exponent()) if self._take("^") else base

    def _exponent(self) -> Expr:
        self._depth += 1
        if self._depth > DEEPEST:
            raise Unreadable
        found = self._signed()
        self._depth -= 1
        return found

    def _postfix(self) -> Expr:
        found = self._atom()
        while True:
            if self._take("!"):
                found = factorial(found)
            elif self._take("%"):
                found = found / 100
            elif self._take("°"):
                found = found * sp.pi / 180
            else:
                return found

    def _atom(self) -> Expr:
        piece = self._next()
        self._at += 1
        if not piece:
            raise Unreadable
        if piece[0].isdigit() or piece[0] == ".":
            return _number(piece)
        if piece in ("(", "["):
            found = self.sum()
            self._must(")" if piece == "(" else "]")
            return found
        if piece == "|":
            self._bars += 1
            found = sp.Abs(self.sum())
            self._must("|")
            self._bars -= 1
            return found
        if piece[0].isalpha():
            return self._named(piece)
        raise Unreadable

    def _named(self, piece: str) -> Expr:
        name = piece.lower()
        if name in _ONE:
            return self._applied(name)
        if name in _SEVERAL:
            return self._of_several(name)
        if name == "log":
            return self._logarithm()
        if name == "exp":
            return power(sp.E, self._argument())
        if name in _CONSTANTS and (len(piece) > 1 or piece in "eiπ"):
            return _CONSTANTS[name]
        if len(piece) == 1 or piece in _GREEK:
            return self._symbol(piece)
        raise Unreadable

    def _symbol(self, piece: str) -> Expr:
        if self._take("_"):
            closes = self._take("(")
            index = self._next()
            if not index.isalnum() or len(index) > 2:
                raise Unreadable
            self._at += 1
            if closes:
                self._must(")")
            piece = f"{piece}_{index}"
        return sp.Symbol(piece)

    def _applied(self, name: str) -> Expr:
        exponent = self._exponent() if self._take("^") else None
        made = _ONE[name]
        if exponent == -1 and name in _INVERSE:
            name, made, exponent = f"arc{name}", _INVERSE[name], None
        argument = self._argument()
        if name in _TRIG and argument.is_Rational and argument != 0:
            self.doubts.add("degrees")
            argument = argument * sp.pi / 180 if self._mode.degrees else argument
        found = bounded(made(argument))
        return found if exponent is None else power(found, exponent)

    def _argument(self) -> Expr:
        """In parentheses, or all factors up to the next function."""
        if self._take("("):
            found = self.sum()
            self._must(")")
            return found
        found = self._signed()
        while self._starts() and self._next().lower() not in (*_ONE, "log", "exp", *_SEVERAL) and self._next() != "(":
            found = _times(found, self._power())
        return found

    def _logarithm(self) -> Expr:
        if self._take("_"):
            base = self._atom()
            return bounded(sp.log(self._argument()) / sp.log(base))
        exponent = self._exponent() if self._take("^") else sp.Integer(1)
        self.doubts.add("log10")
        found = sp.log(self._argument())
        return power(found / sp.log(10) if self._mode.log10 else found, exponent)

    def _of_several(self, name: str) -> Expr:
        self._must("(")
        found = [self.sum()]
        while self._take(","):
            found.append(self.sum())
        self._must(")")
        return bounded(_SEVERAL[name](*found))


def _number(piece: str) -> Expr:
    if len(piece) > MOST_DIGITS:
        raise Unreadable
    return sp.Rational(piece)


def _times(a: Expr, b: Expr) -> Expr:
    return bounded(a * b)


def _over(a: Expr, b: Expr) -> Expr:
    if b == 0:
        raise Unreadable
    return bounded(a / b)


def power(base: Expr, exponent: Expr) -> Expr:
    """`base ** exponent`, if that is no giant. Raises Unreadable."""
    if exponent.is_Rational and not exponent.is_Integer:
        if abs(exponent.p) > MOST_SYMBOLIC_POWER or exponent.q > MOST_SYMBOLIC_POWER:
            raise Unreadable
        if base.is_negative:
            raise Unreadable  # (-8)^(1/3) is -2 to some, and complex to others
    elif exponent.is_Integer:
        size = abs(int(exponent))
        numeric = base.is_Rational
        if size > (MOST_POWER if numeric else MOST_SYMBOLIC_POWER):
            raise Unreadable
        if numeric and size * max(abs(base.p).bit_length(), base.q.bit_length()) > MOST_BITS:
            raise Unreadable
        if base == 0 and exponent <= 0:
            raise Unreadable
    elif exponent.is_number and base.is_number and abs(exponent.evalf(5)) > MOST_POWER:
        raise Unreadable
    return bounded(sp.Pow(base, exponent))


def factorial(n: Expr) -> Expr:
    """n! of a small whole number. Raises Unreadable."""
    if not n.is_Integer or not 0 <= n <= MOST_FACTORIAL:
        raise Unreadable
    return sp.factorial(n)


def whole(n: Expr, most: int = 10**9) -> int:
    """A whole number of at most `most`. Raises Unreadable."""
    if not n.is_Integer or abs(n) > most:
        raise Unreadable
    return int(n)


def bounded(found: Expr) -> Expr:
    """The same, if no number in it is large and it is a value. Raises Unreadable."""
    if found.is_Rational and max(abs(found.p).bit_length(), found.q.bit_length()) > MOST_BITS:
        raise Unreadable
    if found in (sp.nan, sp.zoo):
        raise Unreadable
    return found


def _choose(n: Expr, k: Expr) -> Expr:
    return sp.binomial(whole(n, 2000), whole(k, 2000))


def _ordered(n: Expr, k: Expr) -> Expr:
    return sp.ff(whole(n, 1000), whole(k, 500))


_SEVERAL: dict[str, Callable[..., Expr]] = {
    "mixedfrac": lambda whole, above, below: whole + _over(above, below),
    "binom": _choose,
    "binomial": _choose,
    "comb": _choose,
    "perm": _ordered,
    "root": _root,
    "gcd": lambda *n: sp.gcd(list(map(whole, n))),
    "lcm": lambda *n: sp.lcm(list(map(whole, n))),
    "max": sp.Max,
    "min": sp.Min,
}


def tokens_of(text: str) -> list[str]:
    """The tokens of a text; letters that stand together are products of unknowns. Raises Unreadable."""
    if len(text) > MOST_CHARS:
        raise Unreadable
    found: list[str] = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or len(found) > MOST_TOKENS:
            raise Unreadable
        number, name, sign = match.groups()
        at = match.end()
        if name:
            found += _letters(name)
        elif number:
            found.append(number)
        else:
            found.append("^" if sign == "**" else sign)
    return found


_KNOWN = frozenset({*_ONE, *_SEVERAL, *_CONSTANTS, *_GREEK, "log", "exp"})


_LONE = ("x", "y", "t")


def _letters(name: str) -> list[str]:
    if len(name) == 1 or name.lower() in _KNOWN:
        return [name]
    for size in (6, 5, 4, 3, 2):  # `sinx`, `xsinx`
        if name[:size].lower() in _KNOWN and name[size:] in _LONE:
            return [name[:size], name[size:]]
        if name[-size:].lower() in _KNOWN and name[:-size] in (*_LONE, "a", "r"):
            return [name[:-size], name[-size:]]
    if name[0] in _LONE and len(name) > 3:
        return [name[0], *_letters(name[1:])]
    if name in ("xe", "te", "ex"):
        return list(name)
    if len(name) <= 3 and set(name) <= _PRODUCTS and name not in ("by", "cab", "bay"):
        return list(name)
    raise Unreadable
