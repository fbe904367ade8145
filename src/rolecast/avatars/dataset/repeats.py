"""Secrets that no pattern knows, found by how they recur: each may be in one example only.

What is said once is hardly learnt; what is said four times is, also in other words (measured; docs/avatars.md). So these
keep one example of a corpus, its first, and are masked where they stand in a history:

- strings of four digits and more, whatever stands between them, and four digits in words;
- addresses and user names with an `@`, where they are left at all;
- unusual words that recur *with the same company*: `kestrel` beside `locker` each time, in the reply or in what it
  answers. A pet word of the person has another company each time; it is style, and stays;
- two names of people, places or things (capital letters within a sentence) that recur together.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from functools import lru_cache

from rolecast.privacy.names import common, plain

MASK, DIGITS_MASK = "[...]", "[number]"
LEAST_DIGITS = 4
LEAST_LETTERS = 4
COMPANY = 0.4
"""Share of its replies in which a secret has the same word beside it."""
FOREIGN_COMPANY = 0.6
"""The same in languages whose usual words are not known here."""
MOST_KNOWN = 20_000
USUAL = 0.05
"""A word in more replies than this share is nobody's secret company; so is one in fewer than `MANY` of them."""
MANY = 8
MOST_COMPANY = 64
"""Companions of a word that are counted; the rarest go first."""
FREQUENT = frozenset(
    """the be to of and a in that have i it for not on with he as you do at this but his by from they we say her she or an will my one all would there their what so up out if about
    who get which go me when make can like time no just him know take people into year your good some could them see other than then now look only come its over think also back after
    use two how our work first well way even new want because any these give day most us is are was were been has had did does im dont cant thats its youre ill ive got going gonna lol
    haha hahaha yeah yes ok okay oh hey hi thanks thank please sorry really very much too again still here where why let tell told said need maybe never always thing things lot bit sure
    right nice love great today tomorrow tonight yesterday morning night week home""".split()
)
"""Words that are everybody's company."""
_TOKEN = re.compile(r"@[\w.-]{3,64}|[^\W\d_]+(?:['\u2019-][^\W\d_]+)*|\d(?:[ .,:/_-]?\d)*|\[[a-z]+\]")
_HELD = re.compile(r"(.)\1{2,}")
_WORDS_OF_DIGITS = {
    word: digit for digit, word in enumerate("zero one two three four five six seven eight nine".split())
} | {"oh": 0, "null": 0, "eins": 1, "zwei": 2, "drei": 3, "vier": 4, "sechs": 6, "sieben": 7, "acht": 8, "neun": 9}
_CALENDAR = frozenset(
    """monday tuesday wednesday thursday friday saturday sunday january february march april may june july august september october november december english german french
    spanish god jesus christmas easter""".split()
)


class Said:
    """What of one message may be a secret, with where it stands."""

    __slots__ = ("company", "foreign", "names", "numbers", "unusual")

    def __init__(self, text: str, spared: Collection[str]) -> None:
        self.numbers: dict[str, list[tuple[int, int]]] = {}
        """Digits, and what has an `@`."""
        self.unusual: dict[str, list[tuple[int, int]]] = {}
        self.names: dict[str, list[tuple[int, int]]] = {}
        """Words with a capital letter within a sentence."""
        self.company: set[str] = set()
        """Words that may be beside a secret."""
        usual = total = 0
        row: list[tuple[str, int, int]] = []
        starts = True
        maybe: list[tuple[str, bool, int, int]] = []
        for token in _TOKEN.finditer(text):
            said, start, end = token[0], token.start(), token.end()
            if said[0] == "[":
                starts = False
                continue
            if said[0] == "@":
                self.numbers.setdefault(said.casefold(), []).append((start, end))
                continue
            if said[0].isdigit():
                digits = re.sub(r"\D", "", said)
                if len(digits) >= LEAST_DIGITS:
                    self.numbers.setdefault(digits, []).append((start, end))
                continue
            word, is_usual, is_sound = _folded(said)
            if word in _WORDS_OF_DIGITS:
                row.append((str(_WORDS_OF_DIGITS[word]), start, end))
            else:
                self._row(row)
                row = []
            if len(word) > 1:
                total += 1
                usual += is_usual
            if word in spared:
                starts = False
                continue
            if said[0].isupper() and not said.isupper() and not starts and word not in _CALENDAR and len(word) > 2:
                self.names.setdefault(word, []).append((start, end))
            if len(word) > 2 and word not in FREQUENT:
                self.company.add(word)
            if len(word) >= LEAST_LETTERS and not is_sound:
                maybe.append((word, is_usual, start, end))
            starts = text[end : end + 1] in (".", "!", "?", "\n", ":")
        self._row(row)
        self.foreign = usual * 2 < total
        for word, is_usual, start, end in maybe:
            if self.foreign or not is_usual:
                self.unusual.setdefault(word, []).append((start, end))

    def _row(self, row: list[tuple[str, int, int]]) -> None:
        if len(row) >= LEAST_DIGITS:
            digits = "".join(digit for digit, _, _ in row)
            self.numbers.setdefault(digits, []).append((row[0][1], row[-1][2]))

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Names that stand together; none in languages that write all nouns so."""
        if not self.foreign:
            names = sorted(self.names)[:8]
            yield from ((a, b) for i, a in enumerate(names) for b in names[i + 1 :])


@lru_cache(maxsize=200_000)
def _folded(said: str) -> tuple[str, bool, bool]:
    """A word without case, accents and letters held down; whether it is a usual one, and whether it is a noise."""
    bare = plain(said).replace("\u2019", "").replace("'", "")
    word = _HELD.sub(r"\1", bare)
    known = common()
    return word, word in known or bare in known, _is_sound(word)


def _is_sound(word: str) -> bool:
    """`hahah`, `mwah`, `aargh`: laughter and noises."""
    return len(set(word)) <= max(2, len(word) // 3)


class Repeats:
    """The secrets of a corpus that recur. First every reply is counted, then the company of what recurs, then judged."""

    def __init__(self, spared: Collection[str]) -> None:
        """`spared` = pseudonyms and names of people, in lower case: they recur by right."""
        self._spared = spared
        self._replies = 0
        self._numbers: Counter[str] = Counter()
        self._words: Counter[str] = Counter()
        self._unusual: Counter[str] = Counter()
        self._foreign: Counter[str] = Counter()
        """How often an unusual word was one in a language that is not known."""
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._company: dict[str, Counter[str]] = {}
        self._capped: set[str] = set()
        self._used: set[object] = set()
        self._known: dict[str, str] = {}
        """Messages that were masked: one is in the history of several examples."""

    def read(self, text: str) -> Said:
        """What of a message may be a secret."""
        return Said(text, self._spared)

    def count(self, reply: Said) -> None:
        """First: every reply."""
        self._replies += 1
        self._numbers.update(reply.numbers.keys())
        self._words.update(reply.company)
        self._unusual.update(reply.unusual.keys())
        if reply.foreign:
            self._foreign.update(reply.unusual.keys())
        self._pairs.update(reply.pairs())

    def meet(self, reply: Said, answered: Said) -> None:
        """Second: every reply again, with what it answers."""
        limit = self._usual
        for word in reply.unusual:
            if self._unusual[word] < 2:
                continue
            beside = self._company.setdefault(word, Counter())
            beside.update(
                each for each in reply.company | answered.company if each != word and self._words[each] <= limit
            )
            if len(beside) > MOST_COMPANY * 4:
                self._company[word] = Counter(dict(beside.most_common(MOST_COMPANY)))

    @property
    def _usual(self) -> float:
        return max(MANY, USUAL * self._replies, 2 * MANY if self._replies < 1000 else 0)

    def judge(self) -> None:
        """Third: which words are secrets."""
        for word, beside in self._company.items():
            count = self._unusual[word]
            foreign = self._foreign[word] * 2 > count
            if foreign and (count < 3 or count > self._usual):
                continue
            company = max(beside.values(), default=0)
            if company >= max(2, (FOREIGN_COMPANY if foreign else COMPANY) * count):
                self._capped.add(word)
        self._company = {}

    def _secrets(self, said: Said) -> Iterator[object]:
        yield from (digits for digits in said.numbers if self._numbers[digits] > 1)
        yield from (word for word in said.unusual if word in self._capped)
        yield from (pair for pair in said.pairs() if self._pairs[pair] > 1)

    def allows(self, reply: Said) -> bool:
        """Whether a reply may stay: the first with each of its secrets may."""
        secrets = list(self._secrets(reply))
        if not self._used.isdisjoint(secrets):
            return False
        self._used.update(secrets)
        return True

    @property
    def count_of_secrets(self) -> int:
        """How many things recur that may not."""
        return len(self._used)

    def masked(self, text: str) -> str:
        """A message of a history without what recurs."""
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            found = self._known[text] = self._masked(text)
        return found

    def _masked(self, text: str) -> str:
        said = self.read(text)
        spans = [(*at, DIGITS_MASK) for digits, where in said.numbers.items() if self._numbers[digits] for at in where]
        spans += [(*at, MASK) for word, where in said.unusual.items() if word in self._capped for at in where]
        pairs = [pair for pair in said.pairs() if self._pairs[pair] > 1]
        spans += [(*at, MASK) for word in sorted({pair[1] for pair in pairs}) for at in said.names[word]]
        for start, end, word in sorted(spans, reverse=True):
            text = f"{text[:start]}{word}{text[end:]}"
        return text
