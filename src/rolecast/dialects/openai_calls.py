"""Which call a piece of a stream belongs to, on OpenAI's wire as servers of this field really write it.

The index says so. Some servers write 0 for every call, or none at all; others name a call again with each piece, or
give each piece another id. Knows nothing of what is called.
"""

import msgspec

from rolecast.errors import UNREADABLE
from rolecast.values import ToolCallDelta


class _Open:
    """A call of which pieces may still come."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class Calls:
    """The calls of one answer."""

    def __init__(self) -> None:
        self._at: dict[tuple[int, int], _Open] = {}
        """The newest call at each index that the server wrote, by choice."""
        self._taken: dict[int, set[int]] = {}

    def piece(self, index: int, call_id: str, name: str, arguments: str, choice: int) -> ToolCallDelta:
        """The same piece, with an index that no other call has; id and name once for each call."""
        call = self._at.get((choice, index))
        if call is None or _is_another(call, call_id, name):
            call = self._at[choice, index] = self._begun(index, choice)
        call_id, name = "" if call.id else call_id, "" if name == call.name else name
        call.id = call.id or call_id
        call.name += name
        call.arguments.append(arguments)
        return ToolCallDelta(call.index, call_id, name, arguments, choice)

    def _begun(self, index: int, choice: int) -> _Open:
        taken = self._taken.setdefault(choice, set())
        index = index if index not in taken else max(taken) + 1
        taken.add(index)
        return _Open(index)


def _is_another(call: _Open, call_id: str, name: str) -> bool:
    """Whether a piece begins another call, though its index is that of `call`. Only a name can begin one."""
    if not name or not call.name:
        return False
    if call_id and call.id:
        return call_id != call.id
    return _is_whole("".join(call.arguments))


def _is_whole(arguments: str) -> bool:
    try:
        msgspec.json.decode(arguments)
    except UNREADABLE:
        return False
    return True
