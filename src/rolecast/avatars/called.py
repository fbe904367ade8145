"""How names of people are compared: without case, accents and spaces at their ends."""

import difflib
import unicodedata
from collections.abc import Iterable


def fold(name: str) -> str:
    """`  José  MÜLLER` and `jose muller` are the same name."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
    return " ".join("".join(each for each in plain if not unicodedata.combining(each)).split())


def is_called(name: str, names: Iterable[str]) -> bool:
    """Whether it is one of those names, `jose_muller` for `José Müller` too."""
    wanted = {fold(name), fold(name).replace("_", " ")} - {""}
    return any(wanted & {fold(each), fold(each).replace("_", " ")} for each in names)


def like(name: str, names: Iterable[str], most: int = 5) -> list[str]:
    """Those names that may have been meant: with a word in common, or spelled nearly so."""
    wanted = fold(name)
    folded: dict[str, str] = {}
    for each in names:
        folded.setdefault(fold(each), each)
    shared = [each for each in folded if set(each.split()) & set(wanted.split())]
    near = difflib.get_close_matches(wanted, folded, most, 0.6)
    return [folded[each] for each in dict.fromkeys([*near, *shared])][:most]
