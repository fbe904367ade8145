"""Texts without what a model takes for a mark of its own: nobody ends a turn, or begins another, by writing so."""

import re
from collections.abc import Iterable
from typing import Any


class Marks:
    """The tokens by which a model tells turns apart, as texts."""

    def __init__(self, marks: Iterable[str]) -> None:
        found = sorted({each for each in marks if each}, key=len, reverse=True)
        self._any = re.compile("|".join(map(re.escape, found))) if found else None

    def __bool__(self) -> bool:
        return self._any is not None

    def without(self, text: str) -> str:
        """The text without them; where what is left of one would be another, a space stands in their places."""
        if self._any is None:
            return text
        bare = self._any.sub("", text)
        return self._any.sub(" ", text) if self._any.search(bare) else bare

    def without_in(self, said: Any) -> Any:
        """The same for all texts of a JSON value, but for names of its fields."""
        if isinstance(said, str):
            return self.without(said)
        if isinstance(said, list):
            return [self.without_in(each) for each in said]
        if isinstance(said, dict):
            return {name: self.without_in(each) for name, each in said.items()}
        return said
