"""Events of a stream that are, but for one text, to the byte like one that was read before, as most of them are.

Such an event is not parsed again. Knows no dialect: that a text alone decides what an event says is found by reading
the event once more with another text in that place, and JSON around a string does not depend on what the string holds.
"""

from collections.abc import Callable, Sequence

import msgspec

from rolecast.errors import UNREADABLE
from rolecast.values import Event, Reasoning, Text

PROBE = "\x01 is no word"
"""No model writes this."""
TRIES = 8
"""So often an event is learnt; each time that this pays off allows for more."""
PAYS = 4
"""Events that must have been alike for what it costs to learn another one."""
_encode = msgspec.json.encode
_text = msgspec.json.Decoder(str).decode
_NONE = b"\n"
"""The beginning of no event."""


class Alike:
    """What is known of the events of one stream; `read` reads one as if nothing was known."""

    def __init__(self, read: Callable[[bytes], Sequence[Event]]) -> None:
        self._read = read
        self._head = _NONE
        self._tail = b""
        self._from = self._around = 0
        self._kind: type[Text | Reasoning] = Text
        self._choice = 0
        self._tries = TRIES * PAYS

    def again(self, event: bytes) -> Text | Reasoning | None:
        """What an event says that is like the one that was learnt; None for others."""
        if event.startswith(self._head) and event.endswith(self._tail) and len(event) > self._around:
            try:
                text = _text(event[self._from : len(event) - len(self._tail)])
            except UNREADABLE:  # more than a string stands there
                return None
            if text:
                self._tries += 1
                return self._kind(text, self._choice)
        return None

    def learn(self, event: bytes, said: Sequence[Event]) -> None:
        """Note an event that was read, if all it says is one text."""
        if self._tries < PAYS or len(said) != 1 or not isinstance(said[0], Text | Reasoning):
            return
        self._tries -= PAYS
        words = said[0]
        written = _encode(words.text)
        if event.count(written) != 1:  # it stands there in other letters, or twice
            return
        head, _, tail = event.partition(written)
        if list(self._read(head + _encode(PROBE) + tail)) == [type(words)(PROBE, words.choice)]:
            self._head, self._tail, self._kind, self._choice = head, tail, type(words), words.choice
            self._from, self._around = len(head), len(head) + len(tail)
