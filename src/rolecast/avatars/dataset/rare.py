"""What of one message may be a secret, by its form alone: digits, user names, unusual words, other names."""

import re
from collections.abc import Collection, Iterator
from functools import lru_cache

from rolecast.avatars.dataset.words import CALENDAR, FREQUENT
from rolecast.privacy.names import common, plain

LEAST_DIGITS = 4
LEAST_LETTERS = 4
LEAST_WORDS = 4
"""Of a message in English, of which one is always a small one: `the`, `you`."""
MOST_OF_PHRASE = 4
"""Words of a short message."""
MOST_NAMES = 8
"""Of a message that are paired."""
_TOKEN = re.compile(r"@[\w.-]{3,64}|[^\W\d_]+(?:['\u2019-][^\W\d_]+)*|\d(?:[ .,:/_-]?\d)*|\[[a-z]+\]")
_HELD = re.compile(r"(.)\1{2,}")
_TIME = re.compile(r"(?:[01]?\d|2[0-3])[:.][0-5]\d")
"""Of a day: nobody's secret."""
_NOT_DIGITS = re.compile(r"\D")
_DIGITS = {"zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7"}
_DIGITS |= {"eight": "8", "nine": "9", "oh": "0", "null": "0", "eins": "1", "zwei": "2", "drei": "3", "vier": "4"}
_DIGITS |= {"sechs": "6", "sieben": "7", "acht": "8", "neun": "9"}
Where = list[tuple[int, int]]


class Rare:
    """What may be a secret, with where it stands."""

    __slots__ = ("_maybe", "_row", "company", "foreign", "names", "numbers", "phrase", "unusual")

    def __init__(self, text: str, spared: Collection[str]) -> None:
        """`spared` = words that recur by right, as pseudonyms."""
        self.numbers: dict[str, Where] = {}
        """Four digits and more, whatever is between them, also in words; what begins with an `@`."""
        self.unusual: dict[str, Where] = {}
        """Words that are none of the usual ones; all longer ones in a language whose usual words are not known."""
        self.names: dict[str, Where] = {}
        """Words with a capital letter within a sentence."""
        self.company: set[str] = set()
        """Words that say what a secret is about."""
        self.phrase = ""
        """A short message as a whole, where it is about something."""
        self.foreign = False
        """Whether most of its words are of a language that is not known."""
        self._row: list[tuple[str, int, int]] = []
        self._maybe: list[tuple[str, bool, int, int]] = []
        self._read(text, spared)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Names that stand together; none in languages that write all nouns so."""
        if not self.foreign:
            names = sorted(self.names)[:MOST_NAMES]
            yield from ((a, b) for i, a in enumerate(names) for b in names[i + 1 :])

    def _read(self, text: str, spared: Collection[str]) -> None:
        usual = total = frequent = 0
        starts = True
        for token in _TOKEN.finditer(text):
            said, (start, end) = token[0], token.span()
            if said[0] in "@[" or said[0].isdigit():
                self._number(said, start, end)
            else:
                word, is_usual, is_noise = _folded(said)
                total += len(word) > 1
                usual += is_usual and len(word) > 1
                frequent += word in FREQUENT
                if word not in spared:
                    within = not starts and said[0].isupper() and not said.isupper()
                    self._word(word, start, end, usual=is_usual or is_noise, within=within)
            starts = text[end : end + 1] in (".", "!", "?", "\n", ":")
        self._end_row()
        self.foreign = usual * 2 < total or (total >= LEAST_WORDS and not frequent)
        for word, is_usual, start, end in self._maybe:
            if self.foreign or not is_usual:
                self.unusual.setdefault(word, []).append((start, end))
        if self.company and total <= MOST_OF_PHRASE:
            self.phrase = " ".join(sorted(self.company))

    def _number(self, said: str, start: int, end: int) -> None:
        if said[0] == "@":
            self.numbers.setdefault(said.casefold(), []).append((start, end))
        elif said[0] != "[" and not _TIME.fullmatch(said) and len(digits := _NOT_DIGITS.sub("", said)) >= LEAST_DIGITS:
            self.numbers.setdefault(digits, []).append((start, end))

    def _word(self, word: str, start: int, end: int, *, usual: bool, within: bool) -> None:
        if (digit := _DIGITS.get(word)) is not None:
            self._row.append((digit, start, end))
        elif self._row:
            self._end_row()
        if len(word) > 2:
            if within and word not in CALENDAR:
                self.names.setdefault(word, []).append((start, end))
            if word not in FREQUENT:
                self.company.add(word)
        if len(word) >= LEAST_LETTERS:
            self._maybe.append((word, usual, start, end))

    def _end_row(self) -> None:
        """Digits in words that stood in a row are a number."""
        if len(self._row) >= LEAST_DIGITS:
            digits = "".join(digit for digit, _, _ in self._row)
            self.numbers.setdefault(digits, []).append((self._row[0][1], self._row[-1][2]))
        self._row = []


@lru_cache(maxsize=200_000)
def _folded(said: str) -> tuple[str, bool, bool]:
    """A word without case, accents and letters held down; whether it is a usual one, and whether it is a noise."""
    bare = plain(said).replace("\u2019", "").replace("'", "")
    word = _HELD.sub(r"\1", bare)
    return word, word in common() or bare in common(), len(set(word)) <= max(2, len(word) // 3)
