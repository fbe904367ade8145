"""A continuation of code out of a model's mouth: fences, words of politeness and what it repeats are taken off.

All are filters of a stream, put one behind the other.
"""

import re
from typing import Protocol

from rolecast.tasks.code.fences import HELD, Fences

_POLITE = re.compile(r"(?i)(?:here|sure|certainly|of course|the|below|this|to|okay|ok)\b[^\n]*:\s*$")
_MAY_BE_POLITE = re.compile(r"(?i)(?:here|sure|cert|of c|the|belo|this|to |okay|ok)")
BLANKS = 2000
"""So many blanks are waited through for what follows them."""
TAILS = 60
"""So many last lines may be repeated."""


class Filter(Protocol):
    """Takes a text as it comes and gives on what belongs to the continuation."""

    @property
    def over(self) -> bool:
        """Nothing of what may still come belongs to it."""

    def read(self, text: str) -> str:
        """Some more; gives what of it belongs there for sure."""

    def end(self) -> str:
        """Nothing more comes; gives the rest."""


def unpadded(prefix: str) -> tuple[str, str]:
    """A text without the last space in front of the cursor, and that space.

    Tokens hold a word and the space before it. A model that is given the space ends its line, or puts another there.
    """
    return (prefix[:-1], " ") if prefix.endswith(" ") else (prefix, "")


class Unindented:
    """A continuation without the white space that stands before the cursor and of which the model was not told."""

    over = False

    def __init__(self, pad: str) -> None:
        self._pad = pad

    def read(self, text: str) -> str:
        """As `Filter` says."""
        if not (self._pad and text):
            return text
        pad, self._pad = self._pad, ""
        return text.removeprefix(pad)

    def end(self) -> str:
        """It holds nothing back."""
        return ""


class Unfenced:
    """What is in the fence, of an answer that begins with one or says so first; any other as it is."""

    def __init__(self, language: str) -> None:
        self._fences = Fences(language)
        self._held = ""
        self._plain: bool | None = None
        """None = not known yet."""

    def read(self, text: str) -> str:
        """Some more; gives what of it is code for sure."""
        if self._plain:
            return text
        if self._plain is None:
            text = self._held = self._held + text
            self._decide(self._held)
            if self._plain is None:
                return ""
            self._held = ""
        if self._plain:
            return text
        return self._fences.read(text)

    @property
    def over(self) -> bool:
        """Its fence was closed: what follows is talk."""
        return self._fences.blocks > 0 and not self._fences.open

    def end(self) -> str:
        """Nothing more comes; gives the rest. One that never came to a fence is given whole."""
        if self._plain:
            return ""
        if self._plain is None:
            return self._held
        rest = self._fences.end()
        return rest if self._fences.blocks else self._fences.said

    def _decide(self, held: str) -> None:
        bare = held.lstrip()
        if not bare:
            self._plain = len(held) > BLANKS or None
            return
        line, ended, _ = bare.partition("\n")
        if bare[0] in "`~":
            if ended or len(line) > HELD:
                self._plain = not line.startswith(("```", "~~~"))
            elif len(bare) >= 3:
                self._plain = None if bare.startswith(("```", "~~~")) else True
        elif not _MAY_BE_POLITE.match(bare):
            self._plain = len(bare) >= 5 or bool(ended) or None
        elif ended or len(line) > HELD:
            self._plain = not _POLITE.match(line)


class Unrepeated:
    """A continuation without the end of what it goes on from, where it begins by repeating that."""

    over = False

    def __init__(self, prefix: str) -> None:
        starts = [0, *(found.end() for found in re.finditer("\n", prefix))][-TAILS:]
        whole = prefix.rstrip(" \t")
        self._pad = prefix[len(whole) :]
        """White space in front of the cursor."""
        tails = (whole[start:].lstrip() for start in starts if start < len(whole))
        self._tails = sorted({tail for tail in tails if _tells(tail)}, key=len, reverse=True)
        self._held = ""
        self._decided = False

    def read(self, text: str) -> str:
        """Some more; gives what of it is new for sure."""
        if self._decided:
            return text
        self._held += text
        bare = self._held.lstrip()
        if not bare:
            return "" if len(self._held) <= BLANKS else self.end()
        if any(len(tail) + len(self._pad) > len(bare) and _same(tail, bare) for tail in self._tails):
            return ""
        return self.end()

    def end(self) -> str:
        """Nothing more comes; gives the rest."""
        if self._decided:
            return ""
        self._decided = True
        held, self._held = self._held, ""
        bare = held.lstrip()
        for tail in self._tails:
            if bare.startswith(tail):
                return _without(self._pad, bare[len(tail) :])
        return _without(self._pad, held)


def _same(tail: str, bare: str) -> bool:
    """Whether one begins like the other."""
    return tail.startswith(bare) or bare.startswith(tail)


def _without(pad: str, text: str) -> str:
    return text.removeprefix(pad) if pad else text


def _tells(tail: str) -> bool:
    """Whether repeating this is no chance: the line of the cursor, or something of length."""
    bare = tail.strip()
    return len(bare) >= (12 if tail.endswith("\n") else 3)
