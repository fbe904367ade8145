"""Files of another system that are read as they are: Conductor's `SETTINGS.md`.

Gives what `config.document` gives of a YAML file, plain values with their lines, so all else is as for any file. What
cannot be meant so is a fault of its line here, where an import would note it.
"""

import msgspec

from rolecast.config.about import Backends
from rolecast.config.document import Document, Trail
from rolecast.config.importers import conductor_settings, settings_table
from rolecast.config.importers.draft import Draft
from rolecast.config.importers.section import shown
from rolecast.config.importers.settings_table import Settings
from rolecast.errors import ConfigError


class Direct(msgspec.Struct, frozen=True):
    """The values of such a file, and a sentence for each thing that is other than it says, with its line."""

    document: Document
    notes: list[str]


def read(text: str, *, name: str, backends: Backends | None = None) -> Direct:
    """What the file says in our settings. Raises ConfigError when it has no table of models."""
    settings = settings_table.read(text)
    faults = [(r.line, (), f"{r.place}: {r.text}") for r in settings.remarks if r.grave]
    if not settings.rows and not faults:
        reason = "there is no model in it; it needs a table with the columns Category/Area and Technical Model Name"
        raise ConfigError([f"{name}: {reason}"], source=name)
    draft = Draft(backends or {})
    for remark in settings.remarks:
        if not remark.grave:
            draft.note(remark.place, remark.text)
    conductor_settings.put(settings, draft)
    document = Document(draft.value(), _lines(settings), list(faults))
    return Direct(document, _notes(name, settings, draft))


def _lines(settings: Settings) -> dict[Trail, int]:
    """Where the settings come from: a model from its first row, what the table says as a whole from its header."""
    lines: dict[Trail, int] = {(): 1, ("models",): settings.line, ("roles",): settings.line}
    for row in settings.rows:
        if row.id:
            lines.setdefault(("models", row.id), row.line)
            for key in conductor_settings.keys(row):
                lines.setdefault(("roles", key), row.line)
    for section, setting, said in (("personas", "text", settings.persona), ("images", "url", settings.images)):
        if said is not None:
            lines |= {(section,): said.line, (section, setting): said.line}
    return lines


def _notes(name: str, settings: Settings, draft: Draft) -> list[str]:
    """The notes with the first line that each is about."""
    at = {remark.place: remark.line for remark in settings.remarks}
    at |= {f"{trail[0]}.{shown(trail[1])}": line for trail, line in _lines(settings).items() if len(trail) == 2}
    at |= {row.place: row.line for row in settings.rows}
    places = sorted(at, key=len, reverse=True)
    found = []
    for line in draft.notes():
        first = next((at[place] for place in places if line.startswith((f"{place}:", f"{place},"))), settings.line)
        found.append((first, f"{name}:{first}: {line}"))
    return [line for _, line in sorted(found, key=lambda item: item[0])]
