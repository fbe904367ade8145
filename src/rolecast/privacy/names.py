# ruff: noqa: RUF001  # letters of other languages are meant
"""Finds names that somebody listed: whole words in any case, with or without accents, and with a slip of the keyboard.

A list has names of people and things as they are written, `Zoë Ångström`; the parts of a name are looked for by
themselves too. A part that is also a common word (Will, Rose) counts only where it stands as a name does.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

from rolecast.privacy.spans import Span

WORD = re.compile(r"(?<![\w@])[^\W\d_]+(?!\w)")
_LETTERS = str.maketrans({"ß": "ss", "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "ı": "i"})
_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
LEAST_PART = 3
"""Letters of a part of a name that is looked for by itself."""
LEAST_SLIP = 6
"""Letters of a word alone that may have a slip; beside another part of its name, fewer do."""
LEAST_SLIP_BESIDE = 4
MOST_WORD = 40
MOST_PARTS = 8
"""Of a name that are looked at together."""
_BETWEEN = re.compile(r"[ \t\u00a0]{1,2}|[-.,’'] ?|\. ?|\n")
_TITLE = re.compile(
    r"(?:mr|mrs|ms|miss|dr|prof|sir|herr|frau|herrn|fr|hr|monsieur|madame|m|mme|se\u00f1or|se\u00f1ora|sr|sra|dear|hi|hello|hallo|liebe|lieber)"
    r"\.?,?\s\Z",
    re.IGNORECASE,
)
_OWNS = re.compile(r"['’]s\b|['’](?!\w)")
_COMMON = """
    will mark may april june august rose grace hope faith joy dawn art bill jack pat rob sue frank rich grant
    chance drew chase hunter angel star sunny summer autumn winter violet lily daisy ivy iris ruby pearl amber
    crystal melody carol harmony destiny trinity christian dean duke earl king prince bishop pope baker cook
    miller smith taylor mason carter young old long short little small strong wise good best brown white black
    green gray grey gold silver wood woods hill stone rivers lake field forest park church house hall banks street
    ford bridges wells day knight page price cash love moon sun snow frost rain storm lamb fox wolf bird fish
    crane swan drake marsh moss reed bush berry rice bacon pepper sage basil ginger max guy gene pet van von der
    den das die und mit tag klein gross lang kurz jung alt neu schwarz weiss braun roth koch bauer fischer
    schneider schmied wagner richter kaiser vogel berg bach feld stein sommer sonntag freitag ernst frei ehrlich
    mut horn kern son do an bay win hand rock ray sky jade tanner cooper porter turner walker parker barber potter
    weaver cole dale glen heath cliff lance miles mike nick tony
"""
COMMON = frozenset(_COMMON.split())
"""Words that are names as well."""


@cache
def common() -> frozenset[str]:
    """English words, the thirty thousand most used ones: one of them is no slip of another word."""
    with ZipFile(Path(__file__).parent.parent / "data" / "router.npz") as file:
        data = BytesIO(file.read("spelling_words.npy")).getvalue()
    size = int.from_bytes(data[8:10], "little")  # of the head (NEP 1, version 1.0)
    return frozenset(data[10 + size :].decode().split("\n"))


def plain(word: str) -> str:
    """A word without accents, in lower case."""
    word = word.casefold().translate(_LETTERS)
    if word.isascii():
        return word
    return "".join(each for each in unicodedata.normalize("NFKD", word) if not unicodedata.combining(each))


def _spellings(word: str) -> set[str]:
    folded = unicodedata.normalize("NFC", word).casefold()
    return {plain(word), plain(folded.translate(_GERMAN))}


class Names:
    """A list of names, ready to be looked for."""

    def __init__(self, names: Iterable[str]) -> None:
        self._parts: dict[str, set[int]] = {}
        self._whole: dict[int, int] = {}
        """How many parts each name has, by its number."""
        for number, name in enumerate(dict.fromkeys(names)):
            words = [m[0] for m in WORD.finditer(unicodedata.normalize("NFC", name))]
            self._whole[number] = len(words)
            for word in words:
                for spelling in _spellings(word):
                    self._parts.setdefault(spelling, set()).add(number)
        self._slips: dict[str, set[str]] = {}
        for part in self._parts:
            if len(part) >= LEAST_SLIP_BESIDE:
                for form in _forms(part):
                    self._slips.setdefault(form, set()).add(part)

    def __bool__(self) -> bool:
        return bool(self._parts)

    def find(self, text: str) -> Iterator[Span]:
        """Where they stand."""
        group: list[re.Match[str]] = []
        known: dict[str, bool] = {}
        for word in WORD.finditer(text):
            said = word[0]
            if said not in known:
                known[said] = bool(self._meant(said))
            if known[said]:
                if group and not _BETWEEN.fullmatch(text, group[-1].end(), word.start()):
                    yield from self._judged(text, group)
                    group = []
                group.append(word)
            elif group:
                yield from self._judged(text, group)
                group = []
        if group:
            yield from self._judged(text, group)

    def _meant(self, word: str) -> set[str]:
        """The parts that this word may be, exactly or with a slip."""
        if len(word) > MOST_WORD:
            return set()
        said = plain(unicodedata.normalize("NFC", word))
        if said in self._parts:
            return {said}
        if len(said) < LEAST_SLIP_BESIDE or not word[0].isupper():
            return set()
        return {
            part
            for form in _forms(said)
            for part in self._slips.get(form, ())
            if part[0] == said[0] and _is_slip(said, part)
        }

    def _judged(self, text: str, group: list[re.Match[str]]) -> Iterator[Span]:
        """Which of these neighbouring words are names."""
        parts_of = {said: self._meant(said) for said in {word[0] for word in group}}
        meant = [parts_of[word[0]] for word in group]
        numbers = [{n for part in parts for n in self._parts[part]} for parts in meant]
        exact = [
            plain(unicodedata.normalize("NFC", word[0])) in parts for word, parts in zip(group, meant, strict=True)
        ]
        at = 0
        while at < len(group):
            end, shared = at + 1, numbers[at]
            while end < min(len(group), at + MOST_PARTS) and (also := shared & numbers[end]):
                shared, end = also, end + 1
            together = end - at > 1 and any(exact[at:end])
            if together or self._stands_alone(text, group[at], meant[at], exact=exact[at]):
                last = end if together else at + 1
                yield Span(group[at].start(), group[last - 1].end(), "names")
                at = last
            else:
                at += 1

    def _stands_alone(self, text: str, word: re.Match[str], meant: set[str], *, exact: bool) -> bool:
        said = plain(word[0])
        whole = any(self._whole[n] == 1 for part in meant for n in self._parts[part])
        if exact:
            if len(said) < LEAST_PART and not whole:
                return False
            if said not in COMMON:
                return whole or len(said) > LEAST_PART or word[0][0].isupper()
            if not word[0][0].isupper() or (word[0].isupper() and len(said) > 1):
                return False
            before = text[max(0, word.start() - 12) : word.start()]
            starts = not before.strip(" \t\"'([*>-") or before.rstrip()[-1:] in ".!?:\n" or "\n" in before[-2:]
            return bool(_TITLE.search(before)) or bool(_OWNS.match(text, word.end())) or not starts
        return len(said) >= LEAST_SLIP and said not in common() and word[0][1:].islower()


def _forms(word: str) -> set[str]:
    """The word, and with each of its letters left out: two words one slip apart share one (Garbe's SymSpell)."""
    return {word} | {word[:i] + word[i + 1 :] for i in range(len(word))}


def _is_slip(said: str, meant: str) -> bool:
    """Whether one letter is lost, doubled, wrong, or swapped with the next."""
    if abs(len(said) - len(meant)) > 1:
        return False
    i = next((i for i, (a, b) in enumerate(zip(said, meant, strict=False)) if a != b), min(len(said), len(meant)))
    a, b = said[i:], meant[i:]
    if len(a) == len(b):
        return a[1:] == b[1:] or (len(a) > 1 and a[0] == b[1] and a[1] == b[0] and a[2:] == b[2:])
    return a[1:] == b if len(a) > len(b) else a == b[1:]
