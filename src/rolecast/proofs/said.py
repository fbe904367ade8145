"""Reads the text of a final answer, with what people write around it: units, names, words for numbers."""

import re
from functools import cached_property

from rolecast.proofs.numerals import numbers
from rolecast.proofs.parser import Expr, Unreadable, tokens_of
from rolecast.proofs.plain import plain
from rolecast.proofs.reader import matrix, readings, split
from rolecast.proofs.regions import region
from rolecast.proofs.same import Value, value

_SCALE = re.compile(
    r"\b(hundreds?|thousands?|millions?|billions?|dozens?|scores?|pairs?|not|half|minus|between|at least|at most)\b",
    re.IGNORECASE,
)
_FILLERS = frozenset(
    re.findall(
        r"\w+",
        "the a an answer answers is are value values of it its result results solution solutions final exactly exact "
        "therefore so thus hence approximately approx about roughly around equals equal to be which we get have has "
        "there in total square squared cubic sq dollars dollar euros usd ways way combinations permutations "
        "arrangements subsets edges diagonals maximum minimum max min mean median mode variance standard deviation "
        "average area perimeter circumference volume surface derivative integral limit determinant trace rank slope "
        "distance length hypotenuse gcd lcm gcf sum product difference remainder quotient probability radians rad as "
        "for all real number numbers any constant arbitrary where with plus some points point at roots root "
        "eigenvalue eigenvalues local global absolute side third leg population sample function form simplified "
        "factored expanded decimal fraction degree degrees angle height radius diameter digit last inverse matrix "
        "midpoint prime factorization factors greatest common divisor least multiple simplest expression digits ",
    )
)
_WORD = re.compile(r"[A-Za-z]{2,}(?:'s)?")
_UNITS = {
    word: words[0]
    for words in (
        ("cm", "centimeter", "centimeters", "centimetre", "centimetres"),
        ("mm", "millimeter", "millimeters", "millimetre", "millimetres"),
        ("km", "kilometer", "kilometers", "kilometre", "kilometres"),
        ("m", "meter", "meters", "metre", "metres"),
        ("in", "inch", "inches"),
        ("ft", "foot", "feet"),
        ("yd", "yard", "yards"),
        ("mi", "mile", "miles"),
        ("kg", "kilogram", "kilograms"),
        ("g", "gram", "grams"),
        ("s", "sec", "second", "seconds"),
        ("unit", "units"),
    )
    for word in words
}
_UNIT = re.compile(
    rf"(?<=[\d)π])\s*(?:(?:square|sq\.?|cubic)\s+)?({'|'.join(sorted(_UNITS, key=len, reverse=True))})\b"
    r"(?:\s*\^\s*\(?[23]\)?)?(?!\s*[\d(*/+])"
)
_LONE_ROOT = re.compile(r"\(?\b(?:double|repeated|triple) root\b\)?|\(?(?:with )?multiplicity \d\)?")
_CONDITION = re.compile(r"(?:[,;(]|\s)\s*[A-Za-z]\s*(?:!=|[<>]=?)[^=]*$")
"""Where an expression holds: `x + 1, x != 1`."""
_SIDE_BY_SIDE = re.compile(r"=[^=]*[\d)]\s+[A-Za-z](?:_\w)?\s*=")
"""`x = 7 y = 3`, or a product that goes on."""
_CONSTANT = re.compile(r"\+\s*(?:C|c|K|k|const(?:ant)?)(?:_\(?\d\)?)?\b(?:\s*,?\s*(?:where|with)\b.*)?$")


def units(words: frozenset[str]) -> set[str]:
    """The units among words, each in one spelling."""
    return {_UNITS[word] for word in words & _UNITS.keys()}


class Said:
    """A final answer. `words` are those of the problem, which may stand in it as units do."""

    def __init__(self, text: str, words: frozenset[str] = frozenset()) -> None:
        self.text = numbers(plain(text))
        self._words = words

    def again(self, text: str) -> "Said":
        """A part of it, read in the same way."""
        return Said(text, self._words)

    @cached_property
    def lower(self) -> str:
        """For answers in words."""
        return self.text.lower()

    @cached_property
    def bare(self) -> str:
        """Without words and units that mean nothing here. Raises Unreadable where one is left that might."""
        if _SCALE.search(self.text):
            raise Unreadable
        text = _LONE_ROOT.sub("", self.text)
        text = re.sub(r"(?<=\d)\s*(?:degrees?|deg)\b", "°", text)
        text = re.sub(r"(?<=\d)\s*(?:percent|per cent)\b", "%", text)
        text = re.sub(r"\b(?:and|or)\b", ",", text, flags=re.IGNORECASE)
        text = re.sub(r"\b(?:is|are|equals|equal to)\b:?", "=", text, flags=re.IGNORECASE)
        text = re.sub(r"\b(?:approximately|approx\.?|about|roughly)\b", "~", text, flags=re.IGNORECASE)
        text = _WORD.sub(self._kept, text)
        text = re.sub(r"=\s*:|:\s*=|:", "=", text)
        text = re.sub(r"=\s*(?==)|=\s*~", lambda m: "~" if "~" in m[0] else "", text)
        return _trimmed(re.sub(r"\s+", " ", text), " =~,;")

    def _kept(self, match: re.Match[str]) -> str:
        word = match[0].lower()
        if word in _UNITS:
            return match[0]
        if word in _FILLERS or (word.removesuffix("'s") in self._words and not _is_maths(word)):
            return " "
        return match[0]

    def pieces(self) -> list[str]:
        """The answers it gives: its own last segments, the exact before the rounded."""
        return self._pieces_of(self.bare)

    @staticmethod
    def _pieces_of(text: str) -> list[str]:
        first, *others = text.split("~")
        exact = _right(first)
        return [part for part in (exact, *map(_right, others)) if part]

    def values(self) -> list[Value]:
        """The number it gives, as written and rounded. Raises Unreadable."""
        found, failed = [], 0
        for piece in self.pieces():
            try:
                found.append(value(self._counted(piece)))
            except Unreadable:
                failed += 1
        if not found:
            raise Unreadable
        return found

    def _counted(self, text: str) -> str:
        """A number without its unit. Raises Unreadable for a unit that is not the problem's: it may be converted."""
        used = {_UNITS[unit] for unit in _UNIT.findall(text)} - {"unit"}
        if used - units(self._words):
            raise Unreadable
        return _UNIT.sub("", text)

    def functions(self, *, constant: bool = False) -> list[Expr]:
        """The expression it gives, in all readings; `constant` = without one of integration. Raises Unreadable."""
        text = _CONDITION.sub("", self.bare)
        if "!=" in text:
            raise Unreadable
        pieces = self._pieces_of(text)
        if not pieces:
            raise Unreadable
        return readings((_CONSTANT.sub("", pieces[0]) if constant else pieces[0]).strip())

    def lists(self) -> list[list[Value]]:
        """The numbers it gives, in every way to tell them apart. Raises Unreadable."""
        text = self.bare
        found: list[list[Value]] = []
        whole = _right(text) if "," in _right(text) else text
        for candidate in (text, _unwrapped(whole), re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)):
            try:
                found.append([each for part in split(candidate) if part.strip() for each in _several(part)])
            except Unreadable:
                continue
        if not found:
            raise Unreadable
        return found

    def tuples(self) -> list[list[Value]]:
        """Points such as `(1, 2), (3, 4)`. Raises Unreadable."""
        found = []
        for part in split(self.bare):
            part = _right(part)
            if not (part.startswith("(") and part.endswith(")")):
                raise Unreadable
            found.append([value(each) for each in split(part[1:-1])])
        return found

    def named(self) -> dict[str, list[Value]]:
        """Values by the unknown they are given for; '' = for none. Raises Unreadable."""
        found: dict[str, list[Value]] = {}
        name = ""
        for part in split(self.bare):
            if not part:
                continue
            match = re.match(r"\s*([A-Za-z](?:_\w)?)\s*(?:=|->)(.*)", part)
            if match is None and re.search(r"[A-Za-z(^]", part.partition("=")[0]) and "=" in part:
                raise Unreadable  # an equation that is still to be solved
            if _SIDE_BY_SIDE.search(part):
                raise Unreadable
            name = match[1].split("_")[0] if match else name
            found.setdefault(name, []).extend(_several(match[2] if match else part))
        return found

    def matrix(self) -> Expr:
        """Raises Unreadable."""
        return matrix(_right(self.bare))

    def region(self) -> Expr:
        """The real numbers that an inequality or intervals tell. Raises Unreadable."""
        return region(self.text)


def _is_maths(word: str) -> bool:
    """Whether it may be a part of an expression: a function, or unknowns side by side."""
    try:
        return bool(tokens_of(word))
    except Unreadable:
        return False


def _right(text: str) -> str:
    """What stands on the right of the last equals sign."""
    return _trimmed(split(text, "=")[-1], " ,;")


def _trimmed(text: str, signs: str) -> str:
    """Without such signs and dots at its ends; the dot of `.5` stays."""
    text = text.strip(signs + ".") if re.match(rf"[{re.escape(signs)}]*\.(?!\d)", text) else text.strip(signs)
    return text.rstrip(signs + ".")


def _unwrapped(text: str) -> str:
    text = text.strip()
    if len(text) > 2 and (text[0], text[-1]) in (("{", "}"), ("(", ")"), ("[", "]")):
        return text[1:-1]
    return text


def _several(text: str) -> list[Value]:
    """One value, or two of a `±`."""
    text = _right(text)
    text = re.split("~", text)[0] or text
    parts = split(text)
    if len(parts) == 1 and "," in text:
        parts = split(_unwrapped(text))
        if parts == [text]:
            raise Unreadable
    if len(parts) > 1:
        return [each for part in parts for each in _several(part)]
    if text.count("±") == 1:
        return [value(text.replace("±", sign)) for sign in "+-"]
    return [value(text)]
