"""Secrets that no pattern knows, found by how they recur: each may be in one example only.

What is said once is hardly learnt; what is said four times is, also in other words (measured; docs/avatars.md). So each
of these keeps one example of a corpus, its first, and is masked where it stands in a history:

- strings of four digits and more, whatever stands between them, and four digits in words;
- addresses and user names with an `@`, where they are left at all;
- unusual words that recur *with the same company*: `kestrel` beside `locker` each time, in the reply or in what it
  answers. A pet word of the person has another company each time; it is style, and stays;
- short replies as a whole, likewise: `under the flowerpot` to one question, in whatever words it is asked;
- two names of people, places or things (capital letters within a sentence) that recur together.
"""

from collections import Counter
from collections.abc import Collection, Iterator

from rolecast.avatars.dataset.rare import Rare

MASK, DIGITS_MASK = "[...]", "[number]"
COMPANY = 0.4
"""Share of its replies in which a secret has the same word beside it."""
FOREIGN_COMPANY = 0.6
"""The same in languages whose usual words are not known."""
MOST_KNOWN = 5_000
USUAL = 0.05
"""A word in more replies than this share is nobody's secret company; so is one in fewer than `MANY` of them."""
MANY = 8
MOST_COMPANY = 64
"""Companions of a word that are counted; the rarest go first."""


_PHRASE = "="


def _units(said: Rare) -> list[str]:
    """What of a message recurs as one thing: its unusual words, and all of a short one."""
    return [*said.unusual, *([_PHRASE + said.phrase] if said.phrase else ())]


class Repeats:
    """The secrets of a corpus that recur. Replies are counted, then the company of what recurs, then it is judged."""

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

    def read(self, text: str) -> Rare:
        """What of a message may be a secret."""
        return Rare(text, self._spared)

    def count(self, reply: Rare) -> None:
        """First: every reply."""
        self._replies += 1
        self._numbers.update(reply.numbers.keys())
        self._words.update(reply.company)
        self._unusual.update(_units(reply))
        if reply.foreign:
            self._foreign.update(_units(reply))
        self._pairs.update(reply.pairs())

    def meet(self, reply: Rare, answered: Rare) -> None:
        """Second: every reply again, with what it answers."""
        limit = self._usual
        for unit in _units(reply):
            if (count := self._unusual[unit]) < 2:
                continue
            near = reply.company | answered.company if count <= limit else answered.company  # pet words go in pairs
            own = reply.company if unit[0] == _PHRASE else {unit}
            beside = self._company.setdefault(unit, Counter())
            beside.update(each for each in near - own if self._words[each] <= limit)
            if len(beside) > MOST_COMPANY * 4:
                self._company[unit] = Counter(dict(beside.most_common(MOST_COMPANY)))

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

    def _secrets(self, said: Rare) -> Iterator[object]:
        yield from (digits for digits in said.numbers if self._numbers[digits] > 1)
        yield from (unit for unit in _units(said) if unit in self._capped)
        yield from (pair for pair in said.pairs() if self._pairs[pair] > 1)

    def allows(self, reply: Rare) -> bool:
        """Whether a reply may stay: the first with each of its secrets may."""
        secrets = list(self._secrets(reply))
        if not self._used.isdisjoint(secrets):
            return False
        self._used.update(secrets)
        return True

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
        pieces: list[str] = []
        done = 0
        for start, end, word in sorted(spans):
            if start >= done:
                pieces += (text[done:start], word)
                done = end
        return "".join((*pieces, text[done:]))
