"""Which sessions were used lately, by key: their ids and when, nothing of what was said in them. In memory, bounded."""

import time
from collections import OrderedDict
from collections.abc import Mapping

MOST = 1000
"""So many sessions of one key are remembered; the one that was used least lately is forgotten first."""


class Sessions:
    """The sessions that requests named. Whose key named one alone can see it; '' = no key is needed."""

    def __init__(self) -> None:
        self._used: dict[str, OrderedDict[str, float]] = {}

    def note(self, key: str, session: str) -> None:
        """A request of this session is asked of a model."""
        used = self._used.setdefault(key, OrderedDict())
        used[session] = time.time()
        used.move_to_end(session)
        if len(used) > MOST:
            used.popitem(last=False)

    def of(self, key: str) -> Mapping[str, float]:
        """The sessions of a key and when each was used last, in seconds since 1970; that one comes last."""
        return self._used.get(key) or {}

    def forget(self, key: str, session: str) -> bool:
        """Forget one; whether it was known."""
        used = self._used.get(key)
        return used is not None and used.pop(session, None) is not None
