"""Answers in which tokens stand for private values, read as if they stood there themselves.

Between a worker's reader and whoever takes its events, as `speech` is. What tokens are, `rolecast.privacy` knows.
"""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from rolecast.dialects import Family, Reader, Telling
from rolecast.dialects.speech import Listener
from rolecast.privacy.restoring import Restorer
from rolecast.values import Defaults, Done, Event, Failure, Kind, Reasoning, Text, ToolCallDelta, Usage, Words


class Unveiled:
    """A family whose answers have their values back. `as_json` = the text of an answer is JSON."""

    def __init__(self, family: Family, values: Mapping[str, str], *, as_json: bool) -> None:
        self.kinds: frozenset[Kind] = family.kinds
        self._family = family
        self._values = values
        self._as_json = as_json

    def ask(self, words: Words, *, usage: bool) -> tuple[bytes, bytes]:
        """As the family does."""
        return self._family.ask(words, usage=usage)

    def fill(self, fields: dict[str, Any], kind: Kind, defaults: Defaults) -> None:
        """As the family does."""
        self._family.fill(fields, kind, defaults)

    def reader(self, *, streaming: bool) -> "Unveiling":
        """Reads one answer."""
        return Unveiling(self._family.reader(streaming=streaming), self._values, as_json=self._as_json)


class Unveiling:
    """One answer."""

    def __init__(self, reader: Reader, values: Mapping[str, str], *, as_json: bool) -> None:
        self._reader = reader
        self._values = values
        self._as_json = as_json
        self._plain = Restorer(values)
        self._held: dict[tuple[int, str, int], Restorer] = {}
        """What is held back of each text of each answer: what is said, what is thought, and each call."""

    def read(self, data: bytes) -> list[Event]:
        """What these bytes add."""
        return self._restored(self._reader.read(data))

    def end(self) -> list[Event]:
        """What was left when the answer ended."""
        return [*self._restored(self._reader.end()), *self._rest()]

    def told(self) -> Usage | None:
        """Counts that came before the end."""
        return self._reader.told() if isinstance(self._reader, Telling) else None

    def rest(self) -> list[Event]:
        """What is held back, when nothing follows."""
        inner = self._reader.rest() if isinstance(self._reader, Listener) else []
        return [*self._restored(inner), *self._rest()]

    def _restored(self, events: list[Event]) -> list[Event]:
        found: list[Event] = []
        for event in events:
            if isinstance(event, Text):
                said = self._of(event.choice, "text", 0).feed(event.text)
                found += [Text(said, event.choice)] if said else []
            elif isinstance(event, Reasoning):
                said = self._of(event.choice, "thought", 0).feed(event.text)
                found += [Reasoning(said, event.choice)] if said else []
            elif isinstance(event, ToolCallDelta):
                said = self._of(event.choice, "call", event.index).feed(event.arguments)
                if event.id or event.name or said:
                    found.append(replace(event, name=self._plain.whole(event.name), arguments=said))
            elif isinstance(event, Done):
                found += self._rest(event.choice)
                found.append(replace(event, stop=self._plain.whole(event.stop)) if event.stop else event)
            elif isinstance(event, Failure):
                found += self._rest()
                found.append(replace(event, message=self._plain.whole(event.message)))
            else:
                found.append(event)
        return found

    def _of(self, choice: int, what: str, index: int) -> Restorer:
        place = choice, what, index
        if place not in self._held:
            escaped = what == "call" or (what == "text" and self._as_json)
            self._held[place] = Restorer(self._values, escaped=escaped)
        return self._held[place]

    def _rest(self, choice: int | None = None) -> list[Event]:
        """What was held back of this answer; of all without one."""
        found: list[Event] = []
        for (of, what, index), restorer in self._held.items():
            if choice in (None, of) and (said := restorer.end()):
                if what == "text":
                    found.append(Text(said, of))
                elif what == "thought":
                    found.append(Reasoning(said, of))
                else:
                    found.append(ToolCallDelta(index, arguments=said, choice=of))
        return found
