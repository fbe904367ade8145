"""Finds where people of a conversation are mentioned, and says which of them: by any of their names, as chats spell them.

Whole words in any case, with or without accents; a slip of the keyboard; possessives; letters held down (`annaaa`);
part of a line in scripts that put no blanks between words. A name that is also a word (Will, Rose) counts only where it
stands as a name does.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from rapidfuzz.distance import DamerauLevenshtein

from rolecast.avatars.conversation import Person
from rolecast.avatars.dataset.repeats import FREQUENT
from rolecast.privacy.names import COMMON, common, plain

WORD = re.compile(r"[^\W\d_]+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
"""Scripts whose words have no blanks between them, or particles at their end: Thai, Khmer, Japanese, Chinese, Korean."""
LEAST, LEAST_SLIP, LEAST_TWO_SLIPS = 2, 4, 8
"""Letters of a name that is looked for; that may have a slip; that may have two."""
LEAST_PART = 3
MOST_WORD = 40
_PARTICLES = frozenset(
    "van von der den de da di du la le del della dos das do al el bin ibn ben st mac mc zu zur zum of the and und e y".split()
)
_NO_NAMES = frozenset(
    """i me my you your we us he him his she her it they them dad mom mum mama papa mother father sister brother bro sis
    aunt uncle grandma grandpa wife husband boss team group family work home office school me myself unknown user admin
    bot guest customer support client friend mobile phone new old mr mrs ms miss dr prof""".split()
)
"""What contacts are called that is nobody's name."""
_TITLE = re.compile(
    r"(?:^|(?<=\W))(?:mr|mrs|ms|miss|mx|dr|prof|sir|aunt|auntie|uncle|cousin|herr|frau|herrn|tante|onkel|monsieur|madame|mme"
    r"|se\u00f1or|se\u00f1ora|sra?|don|do\u00f1a|t\u00eda|t\u00edo|dear|hi|hey|hello|hallo|hola|salut|yo|liebe|lieber|ask|tell|told|call|called|text|texted|with"
    r"|from|and|meet|met|miss|thanks|thx|ty|love|sorry|ok|okay|morning|night|bye|ping|see|saw|by|mit|von|und|para|con|avec"
    r"|birthday|like|than|poor|named|is)[.,]?\s\Z",
    re.IGNORECASE,
)
"""What stands before a name. A capital letter must follow."""
_SURE = re.compile(
    r"(?:^|(?<=\W))(?:mr|mrs|ms|dr|prof|aunt|auntie|uncle|cousin|ask|tell|told|text|texted|call|called|meet|met|hi|hey|hello"
    r"|thanks|thx|dear|named)[.,]?\s\Z",
    re.IGNORECASE,
)
"""The same, so sure that small letters will do for a name that is rarely a word."""
_ACTS = re.compile(
    r"(?:['\u2019]s?\s(?:place|house|birthday|party|mum|mom|dad|car|room|phone|number|brother|sister|wife|husband|new|flat)"
    r"|\s(?:said|says|told|asked|thinks|wants|wanted|called|texted|is|was|has|had|knows|likes|loves|went|came|sent|just"
    r"|hat|sagt|kommt|ist|war|dice|dijo|and I|and i|und ich)\b|,\s(?:you|can|could|are|did|do|have|what|where|when|how|will)\b)",
)
_OWNS = re.compile(r"['\u2019]s\b|['\u2019](?!\w)")
_HELD = re.compile(r"(.)\1{2,}")
_TWICE = re.compile(r"(.)\1+")
_ENDS = (
    "s",
    "a",
    "u",
    "y",
    "i",
    "e",
    "om",
    "em",
    "ou",
    "owi",
    "ovi",
    "ie",
    "in",
    "nin",
    "ka",
    "chen",
    "lein",
    "ito",
    "ita",
    "y",
    "ie",
)
"""What languages put behind a name."""
WORDS = COMMON | frozenset(
    """harper piper archer fletcher sawyer gardener sailor chandler usher mercer clay brook brooke river eve heather hazel olive rosemary fern jasmine holly laurel poppy
    willow aspen cedar robin jay wren martin colt ace rusty sandy misty skye teddy buck bud ernest lane penny victor constance patience prudence charity felicity
    verity honor honour sonny junior major sterling pierce wade ward vale abbot deacon dash flint garnet jasper jet jewel opal coral peach cherry apple plum
    clementine honey candy cookie sugar saffron bo beau happy bliss merry viola cat kitty bunny tiger bo gale guy trip skip chip dot bea mercy glory liberty justice
    royal story lyric cadence sage oak ash birch maple peony fleur belle precious treasure genesis nova star luna rain sunshine breeze drew tad wes sid lex con
    """.split()
)
"""Words that are names as well, in more detail than a request needs."""
_SAID_NO = frozenset(
    "may april june august hope faith art sunny summer autumn winter will can grant chance mark".split()
)


_MONTHS = frozenset("may april june august sunny summer autumn winter".split())


class Mention(NamedTuple):
    """Somebody, from `start` to before `end` of a text; `person` is an id."""

    start: int
    end: int
    person: str


class Mentions:
    """The people of a conversation, ready to be looked for. A name of several of them is the first one's."""

    def __init__(self, people: Iterable[Person]) -> None:
        self._aliases: dict[tuple[str, ...], str] = {}
        """Whole names of two words and more, and of one."""
        self._parts: dict[str, str] = {}
        """Words of names that are looked for by themselves."""
        self._unspaced: dict[str, str] = {}
        self._handles: dict[str, str] = {}
        self._short: set[str] = set()
        """Pieces of names that are none by themselves: `O`, `van`."""
        self._of: dict[str, dict[str, None]] = {}
        """The parts of each one's names."""
        self._joined: dict[str, str] = {}
        """Whole names without blanks."""
        everybody = list(people)
        for person in everybody:
            for name in (person.name, *person.names):
                self._add(name, person.id)
        self._by_letter: dict[str, list[str]] = {}
        for part in self._parts:
            if len(part) >= LEAST_SLIP and part not in _SAID_NO:
                self._by_letter.setdefault(part[0], []).append(part)
        self._longest = max((len(alias) for alias in self._aliases), default=0)
        whole = sorted(self._unspaced, key=len, reverse=True)
        self._cjk = re.compile("|".join(map(re.escape, whole))) if whole else None
        named = sorted(self._handles, key=len, reverse=True)
        self._named = (
            re.compile(rf"(?<![^\W_])@?(?:{'|'.join(map(re.escape, named))})(?![^\W_])", re.IGNORECASE)
            if named
            else None
        )
        self._who = lru_cache(maxsize=100_000)(self._slipped)

    def __bool__(self) -> bool:
        return bool(self._parts or self._unspaced or self._handles)

    def _add(self, name: str, person: str) -> None:
        name = unicodedata.normalize("NFC", name).strip()
        words = [m[0] for m in WORD.finditer(name)]
        if any(sign.isdigit() or sign in "_@#" for sign in name) and not name.isdigit() and len(name) > LEAST_PART:
            bare = name.lstrip("@")
            if any(map(str.isalpha, bare)):
                self._handles.setdefault(bare.casefold(), person)
        for word in words:
            if _UNSPACED.search(word):
                if len(word) >= LEAST:
                    self._unspaced.setdefault(word, person)
        if (joined := "".join(words)) and _UNSPACED.search(joined) and len(joined) >= LEAST:
            self._unspaced.setdefault(joined, person)
            if len(joined) in (3, 4) and not _UNSPACED.sub("", joined):  # the given name behind a surname of one sign
                self._unspaced.setdefault(joined[1:], person)
            return
        folded = [plain(word) for word in words]
        if not folded:
            return
        if len(folded) > 1:
            self._joined.setdefault("".join(folded), person)
        for chunk in re.split(r"[\s.,()]+", name):  # O'Brien is OBrien as well, Anna-Lena AnnaLena
            parts = [plain(m[0]) for m in WORD.finditer(chunk)]
            if len(parts) > 1 and len(whole := "".join(parts)) > LEAST_PART:
                self._parts.setdefault(whole, person)
                self._of.setdefault(person, {})[whole] = None
        for form in {tuple(folded), tuple(plain(_umlauts(word)) for word in words)}:
            if len(form) > 1 or (len(form[0]) >= LEAST and form[0] not in _NO_NAMES):
                self._aliases.setdefault(form, person)
            for part in form:
                if len(part) < LEAST_PART or part in _PARTICLES:
                    self._short.add(part)
                else:
                    self._of.setdefault(person, {})[part] = None
                if len(part) >= (LEAST if len(form) == 1 else LEAST_PART) and part not in _PARTICLES | _NO_NAMES:
                    self._parts.setdefault(part, person)

    def find(self, text: str) -> list[Mention]:
        """Where somebody is mentioned, in order and apart; the longest name first."""
        found: list[Mention] = []
        if self._cjk is not None and not text.isascii():
            found += (Mention(m.start(), m.end(), self._unspaced[m[0]]) for m in self._cjk.finditer(text))
        if self._named is not None:
            found += (
                Mention(m.start(), m.end(), self._handles[m[0].lstrip("@").casefold()])
                for m in self._named.finditer(text)
                if m[0].lstrip("@").casefold() in self._handles
            )
        found += self._in_words(text)
        found.sort(key=lambda each: (each.start, -each.end))
        apart: list[Mention] = []
        for each in found:
            if not apart or each.start >= apart[-1].end:
                apart.append(each)
        return apart

    def _in_words(self, text: str) -> Iterator[Mention]:
        words = list(_words(text))
        if not words:
            return
        meant = [self._who(word) if len(word) <= MOST_WORD else "" for _, _, word in words]
        if self._longest > 1 and any(meant):
            self._beside(text, words, meant)
        at = 0
        while at < len(words):
            if not meant[at]:
                at += 1
                continue
            size, person = self._whole(text, words, meant, at)
            if not size and at + 1 < len(words) and _is_beside(text, words[at][1], words[at + 1][0]):
                joined = plain(words[at][2]) + plain(words[at + 1][2])  # the blank is in a wrong place
                size, person = (2, self._joined[joined]) if joined in self._joined else (0, "")
            if size:
                yield Mention(words[at][0], words[at + size - 1][1], person)
            at += size or 1

    def _beside(self, text: str, words: list[tuple[int, int, str]], meant: list[str]) -> None:
        """A word with a slip that stands beside another part of the name: there less has to fit."""
        for at, (start, end, said) in enumerate(words):
            if meant[at] or len(said) < LEAST_SLIP or not said[0].isalpha() or plain(said) in FREQUENT:
                continue
            for other in (at - 1, at + 1, at + 2):
                if not (0 <= other < len(words) and meant[other]):
                    continue
                left, right = (words[other][1], start) if other < at else (end, words[other][0])
                if other == at + 2 and plain(words[at + 1][2]) not in self._short:
                    continue
                if other != at + 2 and not _is_beside(text, left, right):
                    continue
                person = self._parts[meant[other]]
                best = [
                    part
                    for part in self._of[person]
                    if part != meant[other] and DamerauLevenshtein.distance(plain(said), part, score_cutoff=1) <= 1
                ]
                if best and (said[0].isupper() or plain(said) not in common()):
                    meant[at] = best[0]
                    break

    def _whole(self, text: str, words: list[tuple[int, int, str]], meant: list[str], at: int) -> tuple[int, str]:
        """How many words of a name begin there, and whose it is; 0 = none does."""
        size = 1
        if self._longest > 1:
            beside = [meant[at]]
            while (
                size < self._longest
                and at + size < len(words)
                and _is_beside(text, words[at + size - 1][1], words[at + size][0])
                and (meant[at + size] or plain(words[at + size][2]) in self._short)
            ):
                beside.append(meant[at + size] or plain(words[at + size][2]))
                size += 1
            for length in range(size, 1, -1):
                if (person := self._aliases.get(tuple(beside[:length]))) is not None:
                    return length, person
            for length in range(size, 1, -1):  # a first and a last name without the one between, or swapped
                owners = {self._parts.get(part) for part in beside[:length] if part not in self._short}
                if len(owners) == 1 and len(set(beside[:length])) == length and (one := owners.pop()) is not None:
                    return length - (beside[length - 1] in self._short), one
        start, end, said = words[at]
        return (1, self._parts[meant[at]]) if self._is_name(text, start, end, said, meant[at]) else (0, "")

    def _is_name(self, text: str, start: int, end: int, said: str, part: str) -> bool:
        folded = plain(said)
        word = part in WORDS
        if _in_handle(text, start, end):
            return True
        if not word:
            # Two letters are initials and particles of many languages: only as they are written.
            if len(part) > LEAST or said[0].isupper() or text[start - 1 : start] == "@":
                return True
            return _SURE.search(text[max(0, start - 16) : start]) is not None or _ACTS.match(text, end) is not None
        if folded != part:
            return False
        if text[start - 1 : start] == "@":
            return True
        before = text[max(0, start - 16) : start]
        if said.islower():
            return part not in _SAID_NO and (_SURE.search(before) is not None or _OWNS.match(text, end) is not None)
        if said.isupper() and len(said) > 1:
            return _SURE.search(before) is not None and text[:start].upper() != text[:start]
        starts = not before.strip(" \t\"'([*>-\u2026") or before.rstrip()[-1:] in ".!?:\n\u2026" or "\n" in before[-2:]
        if starts:
            return bool(_ACTS.match(text, end) or _OWNS.match(text, end)) and part not in _MONTHS
        if part in _MONTHS:
            return (
                _SURE.search(before) is not None or _OWNS.match(text, end) is not None or bool(_ACTS.match(text, end))
            )
        return True

    def _slipped(self, said: str) -> str:
        """The part of a name that this word is, exactly or nearly; '' = none."""
        folded = plain(said)
        for form in (folded, plain(_umlauts(said))):
            if form in self._parts:
                return form
        if _HELD.search(folded):
            for form in (_HELD.sub(r"\1", folded), _HELD.sub(r"\1\1", folded)):
                if form in self._parts:
                    return form
            folded = _HELD.sub(r"\1", folded)
        if len(folded) < LEAST_SLIP or not folded:
            return ""
        near = self._by_letter.get(folded[0], ())
        if not near or folded in common() or folded in _NO_NAMES:
            return self._inflected(folded, near) if near and said[0].isupper() else ""
        if ending := self._inflected(folded, near):
            return ending
        best, least = "", 99
        for part in near:
            most = 2 if min(len(part), len(folded)) >= LEAST_TWO_SLIPS else 1
            if abs(len(part) - len(folded)) > most or (part in WORDS):
                continue
            if len(part) == LEAST_SLIP and len(folded) != len(part) and not said[0].isupper():
                continue
            apart = DamerauLevenshtein.distance(folded, part, score_cutoff=most)
            if apart <= most and apart < least:
                best, least = part, apart
        return best

    def _inflected(self, folded: str, near: Iterable[str]) -> str:
        """A name with an ending of its language: `Jonas` in `Jonasem`, `Anna` in `Annas`."""
        if folded in common():
            return ""
        for part in near:
            if part in WORDS:
                continue
            if folded.startswith(part) and folded[len(part) :] in _ENDS:
                return part
            if len(part) > LEAST_SLIP and part[-1] in "aeo\u0430\u043e\u044f" and folded.startswith(part[:-1]):
                if folded[len(part) - 1 :] in (
                    "i",
                    "e",
                    "u",
                    "y",
                    "o",
                    "ej",
                    "ou",
                    "\u0443",
                    "\u0435",
                    "\u044b",
                    "\u043e\u0439",
                    "\u0438",
                ):
                    return part
        return ""


def _words(text: str) -> Iterator[tuple[int, int, str]]:
    """Words as they are read, and where they stand; accents that are apart, and possessives, belong to what is before."""
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        yield from ((m.start(), m.end(), m[0]) for m in WORD.finditer(text))
        return
    for found in re.finditer(r"(?:[^\W\d_][\u0300-\u036f]*)+", text):
        yield found.start(), found.end(), unicodedata.normalize("NFC", found[0])


def _is_beside(text: str, end: int, start: int) -> bool:
    return end < start <= end + 2 and text[end:start].strip(" \u00a0-.'\u2019_") == ""


def _in_handle(text: str, start: int, end: int) -> bool:
    """Whether it is a piece of `jonas_weber` or `jonas99`: no word, so surely a name."""
    return text[end : end + 1] == "_" or text[start - 1 : start] == "_" or text[end : end + 1].isdigit()


def _umlauts(word: str) -> str:
    return word.casefold().translate({228: "ae", 246: "oe", 252: "ue"})
