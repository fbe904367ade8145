"""Avatar SLM's `config.json`: how to extract conversations, train a personal model and talk to it.

None of it is about serving, so nothing becomes a model; the embedded cast is written and each section noted.
Avatars are made with it as it is: `rolecast avatar full --settings config.json`.
"""

import re
from collections.abc import Iterator
from typing import Any

from rolecast.config.importers.draft import Draft, Found
from rolecast.config.importers.section import EMPTY, shown

TITLE = "Avatar SLM config.json"
REASONS: dict[str, str] = {}
_SECTIONS = {
    "neo4j": "where conversations are read from; the password is not repeated here",
    "extraction": "what is read from the conversations",
    "training": "how the personal model is trained",
    "inference": "sampling; send these settings with the request",
}
_SECRET = re.compile(r"passw|secret|token$|credential|api_?key|auth", re.IGNORECASE)


def fits(found: Found) -> bool:
    """Two of the four sections, or one of the two that only this format has."""
    if not isinstance(found.value, dict) or "models" in found.value:
        return False
    present = {name for name in _SECTIONS if isinstance(found.value.get(name), dict)}
    return len(present) > 1 or bool(present & {"neo4j", "extraction"})


def fill(found: Found, draft: Draft) -> None:
    """Note each section with its values, without secrets."""
    for name in list(found.top.names()):
        settings, about = found.top.take(name), _SECTIONS.get(name, "no counterpart")
        values = ", ".join(_shown("", settings)) if isinstance(settings, dict) else ""
        draft.note(shown(name), f"left out: {about}" + (f" ({values})" if values else ""))


def _shown(place: str, settings: dict[str, Any]) -> Iterator[str]:
    """Every setting below with its value; of a secret only the name."""
    for key, value in settings.items():
        name = f"{place}{shown(key)}"
        if isinstance(value, dict):
            yield from _shown(f"{name}.", value)
        elif _SECRET.search(key) or value in EMPTY:
            yield name
        else:
            yield f"{name} {re.sub('//[^/@ ]*@', '//', shown(value))}"
