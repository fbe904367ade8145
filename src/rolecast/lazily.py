"""Regular expressions that are compiled at their first use, or by `compile_all`, so that no start waits for them.

Some of ours take longer to compile than all the rest of a module to import.
"""

import re
from typing import Any, cast

_METHODS = ("search", "match", "fullmatch", "finditer", "findall", "split", "sub", "subn", "pattern", "flags", "groups")
_waiting: "list[_Later]" = []


def pattern(text: str, flags: int = 0) -> re.Pattern[str]:
    """What `re.compile` gives, but later; to be used by its methods only, not handed to functions of `re`."""
    return cast("re.Pattern[str]", _Later(text, flags))


def compile_all() -> None:
    """Compile all that are not yet. Takes a tenth of a second; other threads go on meanwhile."""
    while _waiting:
        _waiting.pop().compile()


class _Later:
    """Stands for a pattern: once it is compiled, its methods are the pattern's own."""

    def __init__(self, text: str, flags: int) -> None:
        self._text = text
        self._flags = flags
        _waiting.append(self)

    def compile(self) -> None:
        """Take over the methods of the compiled pattern."""
        compiled = re.compile(self._text, self._flags)
        for name in _METHODS:
            setattr(self, name, getattr(compiled, name))

    def __getattr__(self, name: str) -> Any:
        if name not in _METHODS:
            raise AttributeError(name)
        self.compile()
        return self.__dict__[name]
