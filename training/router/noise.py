"""Damages a text as hurried typing does: for training on it, and for counting how many decisions it changes."""

import random

_NEAR = {
    "q": "wa", "w": "qes", "e": "wrd", "r": "etf", "t": "ryg", "y": "tuh", "u": "yij", "i": "uok", "o": "ipl",
    "p": "ol", "a": "qsz", "s": "awdx", "d": "sefc", "f": "drgv", "g": "fthb", "h": "gyjn", "j": "hukm", "k": "jil",
    "l": "kop", "z": "asx", "x": "zsdc", "c": "xdfv", "v": "cfgb", "b": "vghn", "n": "bhjm", "m": "njk",
}  # fmt: skip
"""The keys beside a key."""


def damage(text: str, share: float, rng: random.Random) -> str:
    """About `share` of the letters lost, doubled, swapped with the next one or replaced by a neighbour's key."""
    found: list[str] = []
    letters = list(text)
    i = 0
    while i < len(letters):
        c = letters[i]
        if not c.isalpha() or rng.random() >= share:
            found.append(c)
        else:
            way = rng.randrange(4)
            if way == 1:
                found.append(c + c)
            elif way == 2 and i + 1 < len(letters):
                found.append(letters[i + 1] + c)
                i += 1
            elif way == 3:
                found.append(rng.choice(_NEAR.get(c.lower(), c)))
        i += 1
    return "".join(found)


def careless(text: str, rng: random.Random) -> str:
    """The same text as somebody else would type it: other case, no punctuation, a few slips."""
    way = rng.randrange(4)
    if way == 0:
        text = text.lower().rstrip("?!. ")
    elif way == 1:
        text = text.upper() if len(text) < 200 else text
    return damage(text, rng.choice((0.04, 0.08, 0.12)), rng)
