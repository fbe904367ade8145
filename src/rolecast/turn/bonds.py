"""Which model answered a conversation last, where that was left to us. In memory, bounded; holds no word of it.

A conversation is known by a digest that `routing.facts` makes. What follows from its bond is `routing.sticky`'s.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection

from rolecast.decision import Bond, Choice
from rolecast.routing import sticky
from rolecast.turn.exchange import clock

MOST = 2048
"""So many are remembered; the one that was quiet for longest is forgotten first."""
KEPT_S = 3600.0
"""One that was quiet for so long is new again: what a model held of it is gone by then."""


class Bonds:
    """The bonds between conversations and models."""

    def __init__(self, now: Callable[[], float] = clock) -> None:
        self._now = now
        self._bonds: OrderedDict[str, tuple[float, Bond]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._bonds)

    def of(self, conversation: str) -> Bond | None:
        """Its bond; None for one that is not known, or not any more."""
        found = self._bonds.get(conversation)
        if found is None:
            return None
        at, bond = found
        if self._now() - at > KEPT_S:
            del self._bonds[conversation]
            return None
        return bond

    def note(self, conversation: str, model_id: str, choice: Choice) -> None:
        """That model answered a turn, by this choice; a model that stepped in for one that failed gets a loose bond.

        So the next turn is weighed anew, and goes back when the better one is there again.
        """
        before = self.of(conversation)
        firm = sticky.is_firm(choice)
        reached = sticky.level(choice)
        if before is not None:  # what had no choice, as inside a tool call, raises nothing: the next turn may still
            reached = max(reached, before.level) if choice.ranking else before.level
        self._bonds[conversation] = (self._now(), Bond(model_id, choice.role, reached, firm))
        self._bonds.move_to_end(conversation)
        if len(self._bonds) > MOST:
            self._bonds.popitem(last=False)

    def keep(self, models: Collection[str]) -> None:
        """Only these are there from now on."""
        for conversation in [c for c, (_, bond) in self._bonds.items() if bond.model not in models]:
            del self._bonds[conversation]
