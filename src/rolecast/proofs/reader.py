"""Reads texts in plain notation: expressions in all the ways they may be meant, lists, matrices, vectors."""

import re
from itertools import product

import sympy as sp

from rolecast.proofs.parser import Expr, Mode, Parser, Unreadable, tokens_of

_COMBINATION = re.compile(r"\b(C|P)\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)|\b(\d+)\s*(C|P)\s*(\d+)\b")


def _combined(match: re.Match[str]) -> str:
    kind, n, k = (match[1], match[2], match[3]) if match[1] else (match[5], match[4], match[6])
    return f" {'binom' if kind == 'C' else 'perm'}({n}, {k}) "


_POWERS_OF_TEN = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([+-]?\d{1,3})(?![\w.])")


def readings(text: str) -> list[Expr]:
    """All ways to read an expression, the likeliest first. Raises Unreadable."""
    text = _POWERS_OF_TEN.sub(r"(\1*10^(\2))", _COMBINATION.sub(_combined, text))
    tokens = tokens_of(text)
    if not tokens:
        raise Unreadable
    try:
        first = Parser(tokens, Mode())
        found = [first.whole()]
        for values in product(*((False, True) if name in first.doubts else (False,) for name in Mode._fields)):
            if any(values) and (other := Parser(tokens, Mode(*values)).whole()) not in found:
                found.append(other)
    except (ArithmeticError, TypeError, ValueError, RecursionError, AttributeError):
        raise Unreadable from None
    return found


def read(text: str) -> Expr:
    """The likeliest reading. Raises Unreadable."""
    return readings(text)[0]


def split(text: str, at: str = ",;") -> list[str]:
    """The parts of a text between signs that stand in no brackets."""
    parts, depth, start = [], 0, 0
    for index, sign in enumerate(text):
        depth += (sign in "([{") - (sign in ")]}")
        if sign in at and not depth:
            parts.append(text[start:index])
            start = index + 1
    return [part.strip() for part in [*parts, text[start:]]]


def matrix(text: str) -> Expr:
    """A matrix as a list of rows, `[[1, 2], [3, 4]]`. Raises Unreadable."""
    text = text.strip()
    if not re.match(r"[\[(]\s*[\[(]", text) or text[-1:] not in ("]", ")"):
        raise Unreadable
    rows = [[read(cell) for cell in split(_inside(row))] for row in split(text[1:-1])]
    if len({len(row) for row in rows}) != 1 or len(rows) > 8 or len(rows[0]) > 8:
        raise Unreadable
    return sp.Matrix(rows)


def vector(text: str) -> list[Expr]:
    """A list of values in brackets. Raises Unreadable."""
    found = [read(part) for part in split(_inside(text.strip()))]
    if not 2 <= len(found) <= 64:
        raise Unreadable
    return found


def _inside(text: str) -> str:
    text = text.strip()
    if len(text) < 3 or (text[0], text[-1]) not in (("[", "]"), ("(", ")"), ("<", ">")):
        raise Unreadable
    return text[1:-1]
