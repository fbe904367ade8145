"""The pass-through lane of a model that is made of a hidden one: the answer names the one that was asked.

An engine writes its own name into each event. It is exchanged where it stands; nothing is parsed.
"""

from rolecast.net.connection import Headers, KnownAnswer
from rolecast.turn.exchange import Exchange
from rolecast.turn.passage import Passage


class Renamed(Passage):
    """`old` and `new` are fields of JSON as an engine writes them: `"model":"NAME"`."""

    def __init__(self, exchange: Exchange, old: bytes, new: bytes) -> None:
        super().__init__(exchange)
        self._old, self._new = old, new
        self._begun = b""
        """The end of what came, which may be the beginning of the name."""

    def on_head(self, status: int, headers: Headers) -> None:
        super().on_head(status, headers)
        self._length = None  # it will be another one

    def on_body(self, parts: list[bytes], last: bool) -> None:
        self.chunks += len(parts) - 1
        data = (self._begun + b"".join(parts)).replace(self._old, self._new)
        keeps = 0 if last else _begins(data, self._old)
        self._begun = data[len(data) - keeps :]
        super().on_body([data[: len(data) - keeps]], last)

    def on_end(self) -> None:
        if self._begun:  # an answer that ends with its connection
            rest, self._begun = self._begun, b""
            super().on_body([rest], True)
        super().on_end()

    def on_whole(self, head: KnownAnswer, body: bytes) -> None:
        super().on_whole(head, body.replace(self._old, self._new))


def _begins(data: bytes, word: bytes) -> int:
    """How many of the last bytes may be the beginning of that word."""
    for count in range(min(len(word) - 1, len(data)), 0, -1):
        if data.endswith(word[:count]):
            return count
    return 0
