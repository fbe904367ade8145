"""Number theory: divisors, primes, remainders, congruences, other bases."""

import re

import sympy as sp

from rolecast.proofs.claims import Claim, Factors, Finding, Form, Many, Number, Yes
from rolecast.proofs.parser import Unreadable, whole
from rolecast.proofs.problem import ASK, Problem, kinds
from rolecast.proofs.reader import read, split
from rolecast.proofs.said import Said

LARGEST = 10**15
"""Of numbers that are taken apart."""
_INT = r"(\d[\d,]{0,19})"
_ORDINAL = {
    "first": 1,
    "second": 2,
    "third": 3,
    "fourth": 4,
    "fifth": 5,
    "sixth": 6,
    "seventh": 7,
    "eighth": 8,
    "ninth": 9,
    "tenth": 10,
}


def integer(text: str) -> int:
    """A natural number with thousands. Raises Unreadable."""
    return whole(sp.Integer(text.replace(",", "").strip()), LARGEST)


def _listed(text: str) -> list[int]:
    parts = [p for p in split(re.sub(r"\band\b", ",", text).strip("()")) if p]
    if len(parts) < 2:
        raise Unreadable
    return [whole(read(part), LARGEST) for part in parts]


def _gcd(problem: Problem, text: str) -> Claim:
    return Number("divisors", sp.Integer(sp.gcd(_listed(text))))


def _lcm(problem: Problem, text: str) -> Claim:
    return Number("divisors", sp.Integer(sp.lcm(_listed(text))))


def _is_prime(problem: Problem, text: str) -> Claim:
    return Yes(
        "division",
        bool(sp.isprime(integer(text))),
        ("yes", "prime", "true"),
        ("not ", "no ", "no,", "no.", "composite", "false", "isn't"),
    )


def _divisible(problem: Problem, a: str, b: str) -> Claim:
    divisor = integer(b)
    if not divisor:
        raise Unreadable
    return Yes(
        "division",
        integer(a) % divisor == 0,
        ("yes", "divisible", "true"),
        ("not ", "no ", "no,", "no.", "false", "isn't"),
    )


def _factors(problem: Problem, text: str) -> Claim:
    n = integer(text)
    if n < 2:
        raise Unreadable
    return Factors(n)


def _remainder(problem: Problem, text: str, by: str) -> Claim:
    return Residue(_residue(text, integer(by)), integer(by))


def _residue(text: str, by: int) -> int:
    """Of a number or a power, which is never written out."""
    if by < 1:
        raise Unreadable
    match = re.fullmatch(r"\(?(-?\d+)\)?\s*\^\s*\(?(\d{1,18})\)?", text.strip())
    if match:
        return pow(int(match[1]), int(match[2]), by)
    found = read(text)
    if not found.is_Integer:
        raise Unreadable
    return int(found) % by


class Residue:
    """A remainder, perhaps written as a congruence."""

    by = "division"

    def __init__(self, truth: int, modulus: int) -> None:
        self._truth, self._modulus = truth, modulus

    def judge(self, said: Said) -> Finding:
        """`1`, or `x == 1 (mod 7)`."""
        text = re.sub(rf"\(?\s*mod(?:ulo)?\s*{self._modulus}\s*\)?", "", said.text)
        text = text.split("==")[-1]
        given = Said(text, frozenset(["when", "divided"])).values()[0].exprs[0]
        if given == self._truth:
            return Finding(True)
        if not given.is_Integer or (given - self._truth) % self._modulus == 0:
            return Finding(None)  # of the same class, though no remainder
        return Finding(False, "Dividing it again leaves another remainder.")


def _congruence(problem: Problem, left: str, right: str, modulus: str) -> Claim:
    m = integer(modulus)
    if not 1 < m <= 5000:
        raise Unreadable
    sides = read(left) - read(right)
    names = sides.free_symbols
    if len(names) != 1 or not sides.is_polynomial(*names):
        raise Unreadable
    poly = sp.Poly(sides, *names)
    coefficients = [int(c) for c in poly.all_coeffs() if c.is_Integer]
    if len(coefficients) != len(poly.all_coeffs()):
        raise Unreadable
    found = [x for x in range(m) if _horner(coefficients, x, m) == 0]
    if len(found) != 1:
        raise Unreadable
    return Residue(found[0], m)


def _horner(coefficients: list[int], x: int, m: int) -> int:
    value = 0
    for c in coefficients:
        value = (value * x + c) % m
    return value


def _modular_inverse(problem: Problem, a: str, m: str) -> Claim:
    try:
        return Residue(pow(integer(a), -1, integer(m)), integer(m))
    except ValueError:
        raise Unreadable from None


def _last_digit(problem: Problem, text: str) -> Claim:
    return Number("division", sp.Integer(_residue(text, 10)))


def _count_divisors(problem: Problem, text: str) -> Claim:
    return Number("divisors", sp.Integer(sp.divisor_count(integer(text))))


def _sum_divisors(problem: Problem, text: str) -> Claim:
    return Number("divisors", sp.Integer(sp.divisor_sigma(integer(text))))


def _divisors(problem: Problem, text: str) -> Claim:
    n = integer(text)
    return Many("divisors", [sp.Integer(d) for d in sp.divisors(n)]) if 0 < n <= 10**6 else _never()


def _never() -> Claim:
    raise Unreadable


def _totient(problem: Problem, text: str) -> Claim:
    return Number("divisors", sp.Integer(sp.totient(integer(text))))


def _nth_prime(problem: Problem, nth: str) -> Claim:
    n = _ORDINAL.get(nth.lower()) or integer(re.sub(r"\D", "", nth))
    return Number("primes", sp.Integer(sp.prime(whole(sp.Integer(n), 10**5))))


def _primes_between(problem: Problem, low: str, high: str) -> Claim:
    a, b = integer(low), integer(high)
    return Many("primes", list(map(sp.Integer, sp.primerange(a, b + 1)))) if 0 <= a < b <= 500 else _never()


def _count_primes(problem: Problem, high: str) -> Claim:
    n = integer(high)
    if sp.isprime(n):
        raise Unreadable
    return Number("primes", sp.Integer(sp.primepi(whole(sp.Integer(n), 10**6))))


def _digit_sum(problem: Problem, text: str) -> Claim:
    return Number("digits", sp.Integer(sum(map(int, str(integer(text))))))


_BASES = {"binary": 2, "octal": 8, "hexadecimal": 16, "hex": 16, "decimal": 10}


def _base(word: str) -> int:
    return _BASES.get(word.lower()) or integer(re.sub(r"\D", "", word) or "0")


def _convert(problem: Problem, text: str, to: str) -> Claim:
    return _in_base(integer(text), _base(to))


def _convert_from(problem: Problem, base: str, text: str, to: str | None = None) -> Claim:
    base_of, base_to = _base(base), _base(to or "decimal")
    try:
        return _in_base(int(text, base_of), base_to)
    except ValueError:
        raise Unreadable from None


def _in_base(n: int, base: int) -> Claim:
    if not 2 <= base <= 16:
        raise Unreadable

    def reads(text: str) -> int | None:
        last = re.split(r"=|\bis\b|:", text)[-1].strip().lower()
        last = (
            re.sub(r"_\(?\w+\)?$|\(?(?:base|in) .*$|^0[xbo]", "", last).replace(" ", "").replace(",", "").strip("() .")
        )
        try:
            return int(last, base)
        except ValueError:
            return -1 if last.isdigit() else None  # digits that this base has not

    return Form("conversion", reads, n)


_LIST = r"([\d,() ]+(?:(?:,? and |, ?)\d[\d,]*)+)"
_TO = r"(binary|octal|hexadecimal|hex|decimal|base \d{1,2})"

KIND = kinds(
    (
        rf"(?:{ASK})?(?:the )?(?:gcd|gcf|hcf|greatest common (?:divisor|factor)|highest common factor)(?: \(\w+\))?(?: of)? ?\(?{_LIST}\)?",
        _gcd,
    ),
    (
        rf"(?:{ASK})?(?:the )?(?:lcm|least common (?:multiple|denominator)|lowest common multiple)(?: \(\w+\))?(?: of)? ?\(?{_LIST}\)?",
        _lcm,
    ),
    (
        rf"(?:is|determine (?:whether|if)|check (?:whether|if)) {_INT} (?:is )?(?:a )?prime(?: number)?(?: or not| or composite)?",
        _is_prime,
    ),
    (rf"(?:is|determine (?:whether|if)) {_INT} (?:is )?divisible by {_INT}", _divisible),
    (rf"(?:{ASK})?(?:the )?prime factori[sz]ation of {_INT}", _factors),
    (
        rf"(?:factori[sz]e|factor|write|express) {_INT} (?:into|as a product of) (?:its )?prime(?:s| factors| numbers)",
        _factors,
    ),
    (rf"{ASK}(?:the )?remainder (?:when|of|if) ([\d^() -]+?) (?:is )?divided by {_INT}", _remainder),
    (rf"(?:{ASK})?([\d^()+* -]+?) ?\(?\s*(?:mod|modulo) {_INT}\)?(?: ?= ?\??)?", _remainder),
    (
        rf"(?:solve|find x|{ASK}x|solve the (?:linear )?congruence|solve for x)(?: such that| if| where|:)? (.+?) ?== ?(.+?) ?\(?\s*mod(?:ulo)? {_INT}\s*\)?(?: for x)?",
        _congruence,
    ),
    (rf"{ASK}(?:the )?(?:modular |multiplicative )+inverse of {_INT} (?:\(?mod(?:ulo)?) {_INT}\)?", _modular_inverse),
    (rf"{ASK}(?:the )?(?:last|units?|ones) digit of ([\d^() ]+)", _last_digit),
    (rf"how many (?:positive )?(?:divisors|factors) does {_INT} have", _count_divisors),
    (rf"{ASK}(?:the )?number of (?:positive )?(?:divisors|factors) of {_INT}", _count_divisors),
    (rf"{ASK}(?:the )?sum of (?:all )?(?:the )?(?:positive )?(?:divisors|factors) of {_INT}", _sum_divisors),
    (rf"(?:list|{ASK})(?:all )?(?:the )?(?:positive )?(?:divisors|factors) of {_INT}", _divisors),
    (rf"{ASK}(?:euler'?s )?(?:the )?(?:euler'?s )?(?:totient|phi)(?: function)?(?: of)? ?\(?{_INT}\)?", _totient),
    (rf"{ASK}(?:the )?(\d+(?:st|nd|rd|th)|{'|'.join(_ORDINAL)}) prime(?: number)?", _nth_prime),
    (rf"(?:list|{ASK})(?:all )?(?:the )?primes?(?: numbers)? between {_INT} and {_INT}", _primes_between),
    (rf"how many primes?(?: numbers)? (?:are there )?(?:are )?(?:less than|below|under) {_INT}", _count_primes),
    (rf"{ASK}(?:the )?sum of (?:the )?digits of {_INT}", _digit_sum),
    (rf"(?:convert|write|express) {_INT}(?: from decimal)? (?:to|in|into) {_TO}", _convert),
    (rf"{ASK}{_INT} in {_TO}", _convert),
    (
        rf"(?:convert )?(?:the )?(binary|octal|hexadecimal|hex)(?: number)? ([0-9a-fA-F]{{1,24}}) (?:to|in|into) {_TO}",
        _convert_from,
    ),
)
