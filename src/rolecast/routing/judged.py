"""The learned strategy: what a small model in the package takes the request for decides which role answers."""

from collections.abc import Mapping, Sequence

from rolecast.config.names import Name
from rolecast.decision import Verdict
from rolecast.routing.view import View

MEANT: Mapping[str, Sequence[str]] = {
    "router": ("router", "light"),
    "standard": (),
    "reasoning": ("reasoning", "heavy"),
    "coding": ("coding", "heavy"),
}
"""The roles for what a request looks like, the first that is configured; what needs nothing special, and what has no
such role, is the default role's, whatever it is called."""


class Judged:
    """Decides by category, role and tier, as far as the model is sure."""

    def __init__(self, names: Mapping[str, Name], min_confidence: float, default: str) -> None:
        self._names = names
        self._least = min_confidence
        self._default = default

    def decide(self, view: View) -> Verdict | None:
        """The role that the prompt is for."""
        said = view.opinion("role")
        if said is None or not said.sure or said.confidence < self._least:
            return None
        name = next((n for n in MEANT[said.label] if n in self._names), self._default)
        return Verdict(name, "learned", f"looks like {said.label}", said.confidence)
