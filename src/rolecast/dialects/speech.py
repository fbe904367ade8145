"""What models write into their text, as events: thoughts, calls of tools and text, in place of text alone.

Between a worker's reader and whoever takes its events. Which marks there are, `rolecast.speech` knows.
"""

from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from rolecast.dialects import Family, Reader, Telling
from rolecast.speech import NO_OFFER, Offer, Piece, Speech, begins_within
from rolecast.values import Chat, Defaults, Done, Event, Failure, Kind, Reasoning, Text, ToolCallDelta, Usage, Words

PLAIN_ENDS = frozenset({"stop", "eos", ""})
"""Reasons for an end that say nothing of calls."""
MOST_TEXT = 2**20
"""A longer piece stays as it is: reading it would hold up everybody."""
SWITCHES = ("enable_thinking", "thinking")
"""Variables of chat templates that turn thinking off."""


def offer_of(chat: Chat) -> Offer:
    """What may be called in the answer to this chat."""
    if not chat.tools or chat.tool_choice == "none":
        return NO_OFFER
    return Offer({tool.name: bytes(tool.parameters) for tool in chat.tools}, bare=chat.answer_schema is None)


def thinks_not(think: Any, *variables: Any) -> bool:
    """Whether thinking is off, by the request, else by the first of these variables for the template that tells."""
    if think is not None:
        return think is False
    for each in variables:
        if isinstance(each, Mapping) and (said := [each[name] for name in SWITCHES if name in each]):
            return said[0] is False
    return False


def new_call_id() -> str:
    """The id of a call that had none."""
    return f"call_{token_hex(12)}"


class Heard:
    """A family whose answers are parted. `opened` = they begin within thoughts."""

    def __init__(self, family: Family, offer: Offer, *, opened: bool) -> None:
        self.kinds: frozenset[Kind] = family.kinds
        self._family = family
        self._offer = offer
        self._opened = opened

    def ask(self, words: Words, *, usage: bool) -> tuple[bytes, bytes]:
        """As the family does."""
        return self._family.ask(words, usage=usage)

    def fill(self, fields: dict[str, Any], kind: Kind, defaults: Defaults) -> None:
        """As the family does."""
        self._family.fill(fields, kind, defaults)

    def reader(self, *, streaming: bool) -> "Listener":
        """Reads one answer."""
        return Listener(self._family.reader(streaming=streaming), self._offer, opened=self._opened, whole=not streaming)


class _Voice:
    """One answer of several."""

    def __init__(self, speech: Speech) -> None:
        self.speech = speech
        self.places: dict[int, int] = {}
        """Where the worker's own calls stand among all, by the index that it gave them."""
        self.calls = 0
        self.over = False

    def speaks_on(self, text: str) -> bool:
        """Whether this text is no more than text, as most are; then it is taken note of."""
        if "<" in text or "`" in text or not self.speech.idle:
            return False
        self.speech.passed()
        return True

    def place(self, index: int) -> int:
        """Where a call of the worker's own stands."""
        if index not in self.places:
            self.places[index] = self.calls
            self.calls += 1
        return self.places[index]


class Listener:
    """One answer, read into events and parted."""

    def __init__(self, reader: Reader, offer: Offer, *, opened: bool, whole: bool) -> None:
        self._reader = reader
        self._offer = offer
        self._opened = opened
        self._whole = whole
        self._voices: dict[int, _Voice] = {}

    def read(self, data: bytes) -> list[Event]:
        """What these bytes add."""
        return self._heard(self._reader.read(data))

    def end(self) -> list[Event]:
        """What was left when the answer ended."""
        return [*self._heard(self._reader.end()), *self.rest()]

    def told(self) -> Usage | None:
        """Counts that came before the end."""
        return self._reader.told() if isinstance(self._reader, Telling) else None

    def rest(self) -> list[Event]:
        """What is held back, when nothing follows."""
        found: list[Event] = []
        for choice, voice in self._voices.items():
            if not voice.over:
                found += self._over(voice, choice)
                if voice.speech.called:
                    found.append(Done("tool_calls", choice))
        return found

    def _heard(self, events: list[Event]) -> list[Event]:
        found: list[Event] = []
        for event in events:
            if type(event) is Text and (known := self._voices.get(event.choice)) and known.speaks_on(event.text):
                found.append(event)
            elif isinstance(event, Text) and len(event.text) <= MOST_TEXT:
                voice = self._voice(event.choice, event.text)
                found += self._events(voice, voice.speech.feed(event.text), event.choice)
            elif isinstance(event, Reasoning):
                self._voice(event.choice).speech.told_apart()
                found.append(event)
            elif isinstance(event, ToolCallDelta):
                place = self._voice(event.choice).place(event.index)
                call = ToolCallDelta(place, event.id, event.name, event.arguments, event.choice)
                found.append(event if place == event.index else call)
            elif isinstance(event, Done):
                voice = self._voice(event.choice)
                found += self._over(voice, event.choice)
                called = voice.speech.called and event.reason in PLAIN_ENDS
                found.append(Done("tool_calls", event.choice) if called else event)
            else:
                if isinstance(event, Failure):
                    found += self.rest()
                found.append(event)
        return found

    def _voice(self, choice: int, text: str = "") -> _Voice:
        voice = self._voices.get(choice)
        if voice is None:
            opened = self._opened or (self._whole and begins_within(text))
            voice = self._voices[choice] = _Voice(Speech(self._offer, opened=opened))
        return voice

    def _over(self, voice: _Voice, choice: int) -> list[Event]:
        voice.over = True
        return self._events(voice, voice.speech.end(), choice)

    def _events(self, voice: _Voice, pieces: list[Piece], choice: int) -> list[Event]:
        found: list[Event] = []
        for piece in pieces:
            if piece.kind == "text":
                found.append(Text(piece.text, choice))
            elif piece.kind == "thought":
                found.append(Reasoning(piece.text, choice))
            else:
                found.append(ToolCallDelta(voice.calls, new_call_id(), piece.name, piece.text, choice))
                voice.calls += 1
        return found
