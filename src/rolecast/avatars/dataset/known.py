"""The names of people as they are looked for: whole, in parts, in scripts without blanks, as user names."""

import re
import unicodedata
from collections.abc import Iterable

from rolecast.avatars.conversation import Person
from rolecast.avatars.dataset.words import NO_NAMES, PARTICLES
from rolecast.privacy.names import common, plain

WORD = re.compile(r"[^\W\d_]+")
LEAST, LEAST_PART = 2, 3
"""Letters of a name that is looked for; of a part of one that is looked for by itself."""
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
"""Scripts whose words have no blanks between them, or particles at their end: Thai, Japanese, Chinese, Korean."""
_CHUNKS = re.compile(r"[\s.,()]+")


def umlauts(word: str) -> str:
    """A word with `ae` for `\u00e4`, as it is typed where there is no such key."""
    return word.casefold().translate({228: "ae", 246: "oe", 252: "ue"})


class Known:
    """The names of a conversation's people, each with whose it is. One of several people is the first one's."""

    def __init__(self, people: Iterable[Person]) -> None:
        self.aliases: dict[tuple[str, ...], str] = {}
        """Whole names as words in small letters without accents, and whose they are."""
        self.parts: dict[str, str] = {}
        """Words that are a name by themselves."""
        self.of: dict[str, dict[str, None]] = {}
        """All words of each one's names."""
        self.short: set[str] = set()
        """Pieces of names that are none by themselves: `O`, `van`."""
        self.joined: dict[str, str] = {}
        """Whole names without blanks."""
        self.unspaced: dict[str, str] = {}
        self.handles: dict[str, str] = {}
        """User names: they have digits or signs in them."""
        for person in people:
            for name in (person.name, *person.names):
                self._add(unicodedata.normalize("NFC", name).strip(), person.id)
        self.longest = max(map(len, self.aliases), default=0)

    def _add(self, name: str, person: str) -> None:
        words = [m[0] for m in WORD.finditer(name)]
        bare = name.lstrip("@")
        marked = any(sign.isdigit() or sign in "_@#." for sign in name)
        if words and marked and len(bare) > LEAST_PART and " " not in bare:
            self.handles.setdefault(bare.casefold(), person)
            words = [word for word in words if len(word) > LEAST_PART and plain(word) not in common()]
        if self._add_unspaced(words, person) or not words:
            return
        if len(words) > 1:
            self.joined.setdefault("".join(map(plain, words)), person)
        for chunk in _CHUNKS.split(name):  # O'Brien is OBrien as well, Anna-Lena AnnaLena
            pieces = [plain(m[0]) for m in WORD.finditer(chunk)]
            if len(pieces) > 1 and len(joined := "".join(pieces)) > LEAST_PART:
                self.parts.setdefault(joined, person)
                self.of.setdefault(person, {})[joined] = None
        for form in dict.fromkeys((tuple(map(plain, words)), tuple(plain(umlauts(word)) for word in words))):
            self._add_words(form, person)

    def _add_unspaced(self, words: list[str], person: str) -> bool:
        """Whether it is a name of a script without blanks."""
        joined = "".join(words)
        if len(joined) < LEAST or not _UNSPACED.search(joined):
            return False
        for word in (*words, joined):
            if len(word) >= LEAST and _UNSPACED.search(word):
                self.unspaced.setdefault(word, person)
        if len(words) == 1 and len(joined) in (3, 4):  # surname and given name of one or two signs each
            self.unspaced.setdefault(joined[-2:], person)
        return True

    def _add_words(self, words: tuple[str, ...], person: str) -> None:
        if len(words) > 1 or (len(words[0]) >= LEAST and words[0] not in NO_NAMES):
            self.aliases.setdefault(words, person)
        least = LEAST if len(words) == 1 else LEAST_PART
        for word in words:
            if len(word) < LEAST_PART or word in PARTICLES:
                self.short.add(word)
            else:
                self.of.setdefault(person, {})[word] = None
            if len(word) >= least and word not in PARTICLES and word not in NO_NAMES:
                self.parts.setdefault(word, person)
