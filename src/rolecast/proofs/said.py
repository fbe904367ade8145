"""Reads the text of a final answer, with what people write around it: units, names, words for numbers."""

import re
from functools import cached_property

import sympy as sp

from rolecast.proofs.parser import Expr, Unreadable
from rolecast.proofs.plain import plain
from rolecast.proofs.reader import matrix, read, readings, split
from rolecast.proofs.same import Value, value

_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_NUMBERS = {word: str(number) for number, word in enumerate(_WORDS.split())} | {
    word: str(10 * number)
    for number, word in enumerate(["thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 3)
}
_ONE_WORD = rf"(?:{'|'.join(_NUMBERS)}|hundred|thousand|million)"
_NUMBER = re.compile(rf"\b(?:{'|'.join(_NUMBERS)})(?:(?:[- ]|\s+and\s+){_ONE_WORD})*\b", re.IGNORECASE)
_FRACTION_WORDS = re.compile(
    r"\b(\d+|a|an)[- ](half|halves|third|thirds|quarter|quarters|fourths?|fifths?|sixths?|eighths?|tenths?)\b",
    re.IGNORECASE,
)
_BELOW = {"hal": 2, "thi": 3, "qua": 4, "fou": 4, "fif": 5, "six": 6, "eig": 8, "ten": 10}
_SCALE = re.compile(
    r"\b(hundreds?|thousands?|millions?|billions?|dozens?|scores?|pairs?|not|half|minus|between|least|most)\b",
    re.IGNORECASE,
)
_FILLERS = frozenset(
    [
        "the",
        "a",
        "an",
        "answer",
        "answers",
        "is",
        "are",
        "value",
        "values",
        "of",
        "it",
        "its",
        "result",
        "results",
        "solution",
        "solutions",
        "final",
        "exactly",
        "exact",
        "therefore",
        "so",
        "thus",
        "hence",
        "approximately",
        "approx",
        "about",
        "roughly",
        "around",
        "equals",
        "equal",
        "to",
        "be",
        "which",
        "we",
        "get",
        "have",
        "has",
        "there",
        "in",
        "total",
        "square",
        "squared",
        "cubic",
        "sq",
        "unit",
        "units",
        "cm",
        "mm",
        "m",
        "km",
        "inch",
        "inches",
        "in",
        "ft",
        "feet",
        "foot",
        "meter",
        "meters",
        "metre",
        "metres",
        "centimeter",
        "centimeters",
        "centimetre",
        "centimetres",
        "kg",
        "g",
        "grams",
        "dollars",
        "dollar",
        "euros",
        "usd",
        "ways",
        "way",
        "combinations",
        "permutations",
        "arrangements",
        "subsets",
        "edges",
        "diagonals",
        "maximum",
        "minimum",
        "max",
        "min",
        "mean",
        "median",
        "mode",
        "variance",
        "standard",
        "deviation",
        "average",
        "area",
        "perimeter",
        "circumference",
        "volume",
        "surface",
        "derivative",
        "integral",
        "limit",
        "determinant",
        "trace",
        "rank",
        "slope",
        "distance",
        "length",
        "hypotenuse",
        "gcd",
        "lcm",
        "gcf",
        "sum",
        "product",
        "difference",
        "remainder",
        "quotient",
        "probability",
        "radians",
        "rad",
        "as",
        "for",
        "all",
        "real",
        "number",
        "numbers",
        "any",
        "constant",
        "arbitrary",
        "where",
        "with",
        "plus",
        "some",
        "points",
        "point",
        "at",
        "roots",
        "root",
        "eigenvalue",
        "eigenvalues",
        "local",
        "global",
        "absolute",
        "side",
        "third",
        "leg",
        "population",
        "sample",
        "function",
        "form",
        "simplified",
        "factored",
        "expanded",
        "decimal",
        "fraction",
        "degree",
        "degrees",
        "angle",
        "height",
        "radius",
        "diameter",
        "digit",
        "last",
        "inverse",
        "matrix",
        "midpoint",
        "prime",
        "factorization",
        "factors",
        "greatest",
        "common",
        "divisor",
        "least",
        "multiple",
        "simplest",
        "expression",
        "digits",
    ]
)
_WORD = re.compile(r"[A-Za-z]{2,}(?:'s)?")
_UNIT_POWER = re.compile(
    r"(?<=[\d)π ])\s*\b(cm|mm|m|km|ft|in|units?|inch(?:es)?|meters?|metres?)\s*\^\s*\(?[23]\)?", re.IGNORECASE
)
_UNIT = re.compile(r"(?<=[\d)π])\s+(?:m|g|s)(?=$|[\s.,;])")
_CONSTANT = re.compile(r"\+\s*(?:C|c|K|k|const(?:ant)?)(?:_\(?\d\)?)?\b(?:\s*,?\s*(?:where|with)\b.*)?$")


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
        text = _UNIT.sub("", _UNIT_POWER.sub(" ", self.text))
        text = re.sub(r"(?<=\d)\s*(?:degrees?|deg)\b", "°", text)
        text = re.sub(r"(?<=\d)\s*(?:percent|per cent)\b", "%", text)
        text = re.sub(r"\b(?:and|or)\b", ",", text, flags=re.IGNORECASE)
        text = re.sub(r"\b(?:is|are|equals|equal to)\b:?", "=", text, flags=re.IGNORECASE)
        text = re.sub(r"\b(?:approximately|approx\.?|about|roughly)\b", "~", text, flags=re.IGNORECASE)
        text = _WORD.sub(self._kept, text)
        text = re.sub(r"=\s*:|:\s*=|:", "=", text)
        text = re.sub(r"=\s*(?==)|=\s*~", lambda m: "~" if "~" in m[0] else "", text)
        return re.sub(r"\s+", " ", text).strip(" =~,.;")

    def _kept(self, match: re.Match[str]) -> str:
        word = match[0].lower()
        if word in _FILLERS or (word.removesuffix("'s") in self._words and not _is_maths(word)):
            return " "
        return match[0]

    def pieces(self) -> list[str]:
        """The answers it gives: its own last segments, the exact before the rounded."""
        first, *others = re.split(r"~", self.bare)
        exact = _right(first)
        return [part for part in (exact, *map(_right, others)) if part]

    def values(self) -> list[Value]:
        """The number it gives, as written and rounded. Raises Unreadable."""
        found, failed = [], 0
        for piece in self.pieces():
            try:
                found.append(value(piece))
            except Unreadable:
                failed += 1
        if not found:
            raise Unreadable
        return found

    def functions(self) -> list[Expr]:
        """The expression it gives, in all readings, without a constant of integration. Raises Unreadable."""
        pieces = self.pieces()
        if not pieces:
            raise Unreadable
        return readings(_CONSTANT.sub("", pieces[0]).strip())

    @property
    def has_constant(self) -> bool:
        """Whether it ends in a constant of integration."""
        return _CONSTANT.search(self.text) is not None

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
            name = match[1].split("_")[0] if match else name
            found.setdefault(name, []).extend(_several(match[2] if match else part))
        return found

    def matrix(self) -> Expr:
        """Raises Unreadable."""
        return matrix(_right(self.bare))

    def region(self) -> Expr:
        """The real numbers that an inequality or intervals tell. Raises Unreadable."""
        return region(re.sub(r"\b(?:reals?|numbers?)\b", " ", self.text) if "reals" not in self.text else self.text)


def _is_maths(word: str) -> bool:
    return word in {"sin", "cos", "tan", "ln", "log", "sqrt", "exp", "pi", "oo"}


def numbers(text: str) -> str:
    """Words for numbers as numbers."""
    text = _NUMBER.sub(_counted, text)
    return _FRACTION_WORDS.sub(
        lambda m: f"({1 if m[1].lower() in ('a', 'an') else m[1]}/{_BELOW[m[2][:3].lower()]})", text
    )


def _counted(match: re.Match[str]) -> str:
    """`one hundred and twenty` as 120; words that make no one number, such as `two and three`, each by itself."""
    words = re.findall(r"[a-z]+", match[0].lower())
    total, group, last = 0, 0, 1000
    for word in words:
        if word == "and":
            if last != 100:
                return _one_by_one(match[0])
        elif word == "hundred":
            group, last = group * 100, 100
        elif word in ("thousand", "million"):
            total, group, last = (total + group) * (1000 if word == "thousand" else 10**6), 0, 1000
        else:
            number = int(_NUMBERS[word])
            if not number < last or (last == 10 and number > 9):
                return _one_by_one(match[0])
            group, last = group + number, 10 if number >= 20 else 1
    return str(total + group)


def _one_by_one(text: str) -> str:
    return re.sub(r"[A-Za-z]+", lambda m: _NUMBERS.get(m[0].lower(), m[0]), text)


def _right(text: str) -> str:
    """What stands on the right of the last equals sign."""
    return split(text, "=")[-1].strip(" ,.;")


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


_RELATION = re.compile(r"(<=|>=|<|>)")
_INTERVAL = re.compile(r"([(\[])([^()\[\],]+(?:\([^()]*\)[^()\[\],]*)*),([^\[\],]+?)([)\]])$")


def region(text: str) -> Expr:
    """A set of real numbers. Raises Unreadable."""
    text = re.sub(r"^.*?(?:solution(?: set)?|answer)\s*(?:is|=|:)\s*", "", text, flags=re.IGNORECASE)
    text = re.sub(r"^\s*\{?\s*[a-z]\s*(?:in|\||:)\s*", "", text).strip().rstrip(".}").strip()
    if re.fullmatch(r"(?:all )?(?:the )?reals?(?: numbers?)?|r", text.lower()):
        return sp.S.Reals
    if re.fullmatch(r"no (?:real )?solutions?|none|emptyset|empty set", text.lower()):
        return sp.EmptySet
    found = sp.EmptySet
    for part in (each for union in re.split(r"\bcup\b|\bor\b|\bU\b", text) for each in split(union)):
        pieces = [_stretch(piece.strip()) for piece in re.split(r"\band\b", part)]
        both = sp.Intersection(*pieces)
        found = sp.Union(found, sp.Union(*pieces) if both == sp.EmptySet else both)  # `x < 1 and x > 4` means or
    return found


def _stretch(text: str) -> Expr:
    if match := _INTERVAL.match(text):
        low, high = read(match[2]), read(match[3])
        return sp.Interval(low, high, match[1] == "(", match[4] == ")")
    parts = _RELATION.split(text)
    if len(parts) == 3:
        return _half_line(parts[0], parts[1], parts[2])
    if len(parts) == 5:
        return sp.Intersection(_half_line(*parts[:3]), _half_line(parts[2], parts[3], parts[4]))
    raise Unreadable


def _half_line(left: str, relation: str, right: str) -> Expr:
    a, b = read(left), read(right)
    if len(a.free_symbols) == 1 and a.is_Symbol and b.is_number:
        bound, turned = b, relation
    elif len(b.free_symbols) == 1 and b.is_Symbol and a.is_number:
        bound, turned = a, relation.translate(str.maketrans("<>", "><"))
    else:
        raise Unreadable
    if turned.startswith("<"):
        return sp.Interval(-sp.oo, bound, True, turned == "<")
    return sp.Interval(bound, sp.oo, turned == ">", True)
