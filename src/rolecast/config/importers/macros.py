"""Writes out llama-swap's macros, `${NAME}`, in every text of a file.

Knows which names stay: the port, and variables of the environment, whose values are not looked at.
"""

import re
from collections.abc import Mapping
from typing import Any

_MACRO = re.compile(r"\$\{([\w-]+)\}")
_MAX_TEXT = 64 * 1024
_MAX_FILE = 4 * 1024**2
_PASSES = 8
"""Macros may hold macros that were defined before them; deeper than this is a circle."""


class Expander:
    """Expands within one file; all results together are bounded. Raises ValueError beyond that."""

    def __init__(self) -> None:
        self._left = _MAX_FILE

    def value(self, value: Any, macros: Mapping[str, Any]) -> Any:
        """The value with the macros of all its texts written out; a text that is one macro gets its type."""
        if isinstance(value, str) and "${" in value:
            return self._text(value, macros)
        if isinstance(value, list):
            return [self.value(item, macros) for item in value]
        if isinstance(value, dict):
            return {key: self.value(item, macros) for key, item in value.items()}
        return value

    def _text(self, text: str, macros: Mapping[str, Any]) -> Any:
        for _ in range(_PASSES):
            alone = _MACRO.fullmatch(text)
            if alone and isinstance(macros.get(alone[1]), bool | int | float):
                return macros[alone[1]]
            expanded = self._once(text, macros)
            if expanded == text:
                break
            text = expanded
        return text

    def _once(self, text: str, macros: Mapping[str, Any]) -> str:
        size = len(text)

        def written_out(found: re.Match[str]) -> str:
            nonlocal size
            value = macros.get(found[1])
            new = found[0] if value is None or isinstance(value, list | dict) else str(value)
            size += len(new)
            self._left -= len(new)
            if size > _MAX_TEXT or self._left < 0:
                raise ValueError("its macros expand without end")
            return new

        return _MACRO.sub(written_out, text)


def unknown(text: str) -> list[str]:
    """What is still `${...}` in a text: variables of the environment and macros that nobody defined."""
    return list(dict.fromkeys(re.findall(r"\$\{[^{}]{1,80}\}", text)))
