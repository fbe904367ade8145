"""Takes what is private out of a message: names become other names, everything else a word in brackets.

A made-up address would be learnt as if it were true, may be somebody's, and is drawn out of a model as easily as a real
one. `[email]` is one short pattern that a small model learns after a few examples, says nothing, and shows the
reader that something was there. Names are what sentences are built around, so people stay people: one pseudonym each.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rolecast.avatars.conversation import Person
from rolecast.avatars.dataset.clean import MOST, cleaned
from rolecast.avatars.dataset.free import private
from rolecast.avatars.dataset.mentions import Mentions
from rolecast.avatars.dataset.pseudonyms import pseudonyms
from rolecast.avatars.dataset.review import Review
from rolecast.privacy.names import WORD, plain

WORDS: Mapping[str, str] = {
    "keys": "[key]",
    "emails": "[email]",
    "ibans": "[account]",
    "cards": "[card]",
    "phones": "[phone]",
    "ips": "[ip]",
    "passwords": "[password]",
    "codes": "[code]",
    "answers": "[answer]",
    "addresses": "[address]",
    "coordinates": "[place]",
    "births": "[date]",
    "documents": "[number]",
    "plates": "[plate]",
    "handles": "[handle]",
    "health": "[illness]",
}
"""What stands for each kind."""
PLACEHOLDERS = frozenset(WORDS.values())
END = 600
"""Characters that stay of a longer text that somebody answered: what a reply is about is at its end."""
MOST_KNOWN = 5_000
"""Messages that are remembered: one is in the history of several examples."""


class Scrubbed(NamedTuple):
    """A message without what is private, and the ids of those that it mentions."""

    text: str
    people: tuple[str, ...] = ()


class Scrubber:
    """Scrubs the messages of one corpus. Notes every replacement in its review, and leaves what that wants kept."""

    def __init__(
        self, people: Iterable[Person], avatar: str, seed: int, review: Review, *, replaces: bool = True
    ) -> None:
        """`avatar` = the id of whose replies are learnt: their name stays, an avatar is called by it.

        `replaces` = False leaves every text as it is, and still tells who is mentioned.
        """
        self._replaces = replaces
        everybody = sorted(people, key=lambda each: each.id != avatar)
        self._avatar = avatar
        self._mentions = Mentions(everybody)
        taken = {
            plain(word[0]) for each in everybody for name in (each.name, *each.names) for word in WORD.finditer(name)
        }
        self.names = pseudonyms((each.id for each in everybody if each.id != avatar), taken, seed)
        """What everybody is called from now on, by their ids."""
        self._labels = {name: each.id for each in reversed(everybody) for name in (each.id, *each.names, each.name)}
        self._review = review
        self._known: dict[str, Scrubbed] = {}

    def label(self, name: str) -> str:
        """What a speaker is called from now on."""
        if not self._replaces:
            return name
        person = self._labels.get(name)
        if person is None:
            return self.scrub(name).text
        return name if person == self._avatar else self.names[person]

    def scrub(self, text: str) -> Scrubbed:
        """The message as it was typed, without what is private."""
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            typed = cleaned(text)
            found = self._known[text] = self._scrubbed(typed) if typed else Scrubbed("")
        return found

    def answered(self, text: str) -> Scrubbed:
        """What somebody said before a reply: of a long text its end, for it is answered and not learnt.

        More of it is looked through than is kept, so that nothing private is cut in two where it begins.
        """
        if len(text) <= MOST:
            return self.scrub(text)
        found = self.scrub(_end(text, MOST))
        return Scrubbed(_end(found.text, END), found.people)

    def _scrubbed(self, text: str) -> Scrubbed:
        if not self._replaces:
            return Scrubbed(text, tuple(dict.fromkeys(each.person for each in self._mentions.find(text))))
        spans = [(span.start, span.end, span.kind, WORDS[span.kind]) for span in private(text)]
        spans += self._review.wanted(text)
        people: dict[str, None] = {}
        for start, end, person in self._mentions.find(text):
            people[person] = None
            if person != self._avatar:
                spans.append((start, end, "names", styled(self.names[person], text[start:end])))
        if not spans:
            return Scrubbed(text, tuple(people))
        pieces: list[str] = []
        at = 0
        for start, end, kind, word in sorted(spans, key=lambda each: (each[0], -each[1])):
            if start < at or self._review.keeps(kind, text[start:end]):
                continue
            pieces += (text[at:start], word)
            at = end
            self._review.note(kind, text, start, end, word)
        return Scrubbed("".join((*pieces, text[at:])), tuple(people))


def _end(text: str, most: int) -> str:
    """So many characters of its end at most, from a whole word on where it has words."""
    if len(text) <= most:
        return text
    end = text[-most:]
    blank = re.search(r"\s", end[: most // 2])
    return end[blank.end() :] if blank else end


def styled(name: str, said: str) -> str:
    """A name in the case in which the one that it stands for was written: how somebody writes names is style."""
    if said.startswith("@"):
        return "@" + styled(name, said[1:])
    if said.islower():
        return name.lower()
    return name.upper() if len(said) > 2 and said.isupper() else name
