"""Words for numbers as numerals: `seventy-two` as 72, `two thirds` as (2/3)."""

import re

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
