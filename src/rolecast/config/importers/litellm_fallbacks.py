"""LiteLLM's fallbacks: which names stand behind which, from the two places that it reads them from."""

from typing import Any

from rolecast.config.importers.draft import Draft
from rolecast.config.importers.section import EMPTY, Section, kind, shown


class Fallbacks:
    """Names behind each public name, in order. Names that nobody has are told and left out."""

    def __init__(self, top: Section, known: set[str], draft: Draft) -> None:
        self._known, self._draft = known, draft
        self._rows: dict[str, list[str]] = {}
        self._rest: list[str] = []
        for name in ("router_settings", "litellm_settings"):
            section = top.section(name)
            self._read(f"{name}.fallbacks", section.take("fallbacks"))
            self._rest += self._usable(f"{name}.default_fallbacks", section.take("default_fallbacks"))

    def behind(self, name: str) -> list[str]:
        """The names to try after this one. The default ones are for names without a row of their own."""
        return [n for n in dict.fromkeys(self._rows.get(name) or self._rest) if n != name]

    def _read(self, place: str, rows: Any) -> None:
        for row in self._listed(place, [rows] if isinstance(rows, dict) else rows):
            if not isinstance(row, dict):
                self._draft.note(place, f"left out: expected {{NAME: [OTHER]}}, got {kind(row)}")
                continue
            for name, targets in row.items():
                usable = self._usable(f"{place}.{shown(name)}", targets)
                if name == "*":
                    self._rest += usable
                elif name in self._known:
                    self._rows.setdefault(name, []).extend(usable)
                else:
                    self._draft.note(f"{place}.{shown(name)}", "left out: no model of that name")

    def _listed(self, place: str, value: Any) -> list[Any]:
        if value not in EMPTY and not isinstance(value, list):
            self._draft.note(place, f"left out: expected a list, got {kind(value)}")
        return value if isinstance(value, list) else []

    def _usable(self, place: str, targets: Any) -> list[str]:
        found = []
        for target in self._listed(place, [targets] if isinstance(targets, str) else targets):
            if isinstance(target, dict):
                others = [shown(key) for key in target if key != "model"]
                self._draft.note(place, f"{', '.join(others) or 'settings'} left out; a request goes on as it came")
                target = target.get("model")
            if isinstance(target, str) and target in self._known:
                found.append(target)
            else:
                self._draft.note(place, f"'{shown(target)}' left out: no model of that name")
        return found
