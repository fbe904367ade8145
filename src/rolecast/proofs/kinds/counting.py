"""Discrete mathematics: choices, orders, subsets, graphs, and chances of fair dice and coins."""

import re
from collections import Counter

import sympy as sp

from rolecast.proofs.claims import Claim, Number
from rolecast.proofs.numerals import numbers
from rolecast.proofs.parser import Unreadable, power, whole
from rolecast.proofs.problem import ASK, Problem, kinds

_N = r"(\d{1,4}|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty)"
_OBJECTS = r"(?:distinct |different |distinguishable |unique )?(?:objects?|books?|people|persons?|items?|letters?|things?|students?|elements?|members?|balls?|cards?|players?|digits?|runners?|toppings?|flavou?rs?|candidates?|children|friends?|numbers?)"


def count(text: str) -> int:
    """A number as a numeral or a word. Raises Unreadable."""
    found = numbers(text)
    if not found.isdigit():
        raise Unreadable
    return whole(sp.Integer(found), 2000)


def _choose(problem: Problem, n: str, k: str) -> Claim:
    return Number("combinatorics", sp.binomial(count(n), count(k)))


def _choose_from(problem: Problem, k: str, n: str) -> Claim:
    return _choose(problem, n, k)


def _order(problem: Problem, n: str, k: str) -> Claim:
    return Number("combinatorics", sp.ff(count(n), min(count(k), 500)))


def _order_from(problem: Problem, k: str, n: str) -> Claim:
    return _order(problem, n, k)


def _arrange(problem: Problem, n: str) -> Claim:
    return Number("combinatorics", sp.factorial(whole(sp.Integer(count(n)), 500)))


def _circle(problem: Problem, n: str) -> Claim:
    return Number("combinatorics", sp.factorial(whole(sp.Integer(count(n) - 1), 500)))


def _subsets(problem: Problem, n: str) -> Claim:
    return Number("combinatorics", power(sp.Integer(2), sp.Integer(count(n))))


def _word(problem: Problem, word: str) -> Claim:
    found = sp.factorial(len(word))
    for times in Counter(word.lower()).values():
        found /= sp.factorial(times)
    return Number("combinatorics", found)


def _complete(problem: Problem, n: str) -> Claim:
    return Number("combinatorics", sp.binomial(count(n), 2))


def _tree(problem: Problem, n: str) -> Claim:
    return Number("combinatorics", sp.Integer(count(n) - 1))


def _diagonals(problem: Problem, n: str) -> Claim:
    sides = count(n)
    if sides < 3:
        raise Unreadable
    return Number("combinatorics", sp.Integer(sides * (sides - 3) // 2))


def _die(problem: Problem, what: str) -> Claim:
    chances = {
        "even number": 3,
        "odd number": 3,
        "prime number": 3,
        "number greater than 4": 2,
        "number less than 3": 2,
    }
    word = re.sub(r"^an? ", "", what.strip().lower())
    hits = 1 if re.fullmatch(r"[1-6]", numbers(word)) else chances.get(word)
    if hits is None:
        raise Unreadable
    return Number("probability", sp.Rational(hits, 6), rough=problem.rough)


def _two_dice(problem: Problem, total: str) -> Claim:
    wanted = count(total)
    hits = sum(a + b == wanted for a in range(1, 7) for b in range(1, 7))
    return Number("probability", sp.Rational(hits, 36), rough=problem.rough)


def _heads(problem: Problem, k: str, n: str) -> Claim:
    flips = whole(sp.Integer(count(n)), 200)
    return Number("probability", sp.Rational(sp.binomial(flips, count(k)), 2**flips), rough=problem.rough)


def _all_heads(problem: Problem, n: str) -> Claim:
    return _heads(problem, n, n)


def _fibonacci(problem: Problem, n: str) -> Claim:
    """From 1, 1, 2; where the first is 0 the number is another, so both are right."""
    at = whole(sp.Integer(n), 500)
    return Number("sequence", sp.fibonacci(at), sp.fibonacci(at - 1))


_WAYS = r"(?:how many (?:different |distinct )?ways (?:are there to|can (?:you|we|one)|to)|(?:find|calculate|determine) the number of (?:different )?ways to|in how many (?:different )?ways can (?:you|we|one))"

KIND = kinds(
    (rf"(?:{ASK}|evaluate )?{_N} choose {_N}", _choose),
    (
        rf"{_WAYS} (?:choose|select|pick|form a (?:committee|team|group) of) (?:a (?:committee|team|group|subset) of )?{_N}(?: {_OBJECTS})? (?:from|out of|from among) (?:a (?:group|set|class) of )?{_N}(?: {_OBJECTS})?(?: (?:if|when|where) order does(?:n't| not) matter)?",
        _choose_from,
    ),
    (
        rf"how many (?:combinations|committees|teams) of {_N}(?: {_OBJECTS})? can be (?:formed|chosen|made|selected) from {_N}(?: {_OBJECTS})?",
        _choose_from,
    ),
    (
        rf"(?:{ASK}(?:the )?number of|how many) combinations of {_N}(?: {_OBJECTS})? taken {_N} at a time(?: are there)?",
        _choose,
    ),
    (
        rf"(?:{ASK}(?:the )?number of|how many) permutations of {_N}(?: {_OBJECTS})? taken {_N} at a time(?: are there)?",
        _order,
    ),
    (
        rf"{_WAYS} (?:arrange|order|line up) {_N}(?: {_OBJECTS})? (?:out of|chosen from|from) (?:a (?:group|set) of )?{_N}(?: {_OBJECTS})?",
        _order_from,
    ),
    (rf"{_WAYS} (?:arrange|order|line up|seat) {_N}(?: {_OBJECTS})? (?:around|at) a (?:round|circular) table", _circle),
    (rf"{_WAYS} (?:arrange|order|line up|permute) {_N} {_OBJECTS}(?: (?:in a (?:row|line)|on a shelf))?", _arrange),
    (
        rf"in how many (?:different )?ways can {_N} {_OBJECTS} be (?:arranged|ordered|lined up|seated)(?: in a (?:row|line)| on a shelf)?",
        _arrange,
    ),
    (rf"how many permutations (?:are there )?of {_N} (?:distinct |different ){_OBJECTS}(?: are there)?", _arrange),
    (rf"how many subsets (?:does|are there (?:of|in)) a set (?:with|of) {_N} elements?(?: have)?", _subsets),
    (rf"{ASK}(?:the )?number of subsets of a set (?:with|of) {_N} elements?", _subsets),
    (
        r"(?:how many (?:different |distinct )?(?:ways (?:can|to) (?:you )?(?:arrange )?|arrangements (?:are there )?of |permutations (?:are there )?of )|in how many ways can |find the number of (?:distinct )?(?:arrangements|permutations) of )(?:the |all )*letters (?:of|in) (?:the word )?[\"']?([A-Za-z]{2,20})[\"']?(?: be (?:arranged|rearranged))?",
        _word,
    ),
    (
        rf"how many edges (?:does|are there in) (?:a|the) complete graph (?:with|on) {_N} (?:vertices|nodes)(?: have)?",
        _complete,
    ),
    (rf"how many edges does a tree with {_N} (?:vertices|nodes) have", _tree),
    (rf"how many diagonals does (?:a|an) (?:convex )?(?:regular )?polygon with {_N} sides have", _diagonals),
    (
        rf"{ASK}(?:the )?(?:probability|chance) of (?:rolling|getting) (.+?) (?:on|with|when rolling) (?:a|one|a single) (?:fair )?(?:standard )?(?:six-sided |6-sided )?die",
        _die,
    ),
    (
        rf"{ASK}(?:the )?probability of (?:rolling|getting) (?:a sum of|a total of) {_N} (?:with|on|when rolling) two (?:fair )?(?:standard )?(?:six-sided |6-sided )?dice",
        _two_dice,
    ),
    (
        rf"{ASK}(?:the )?probability of (?:getting|flipping) exactly {_N} (?:heads?|tails?) (?:in|when flipping|from) {_N} (?:fair )?(?:coin )?(?:flips|tosses|coins)(?: of a fair coin)?",
        _heads,
    ),
    (rf"{ASK}(?:the )?probability of (?:getting|flipping) {_N} heads in a row(?: with a fair coin)?", _all_heads),
    (rf"{ASK}(?:the )?(\d+)(?:st|nd|rd|th) fibonacci number", _fibonacci),
)
