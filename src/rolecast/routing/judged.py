"""The learned strategy: what a small model in the package takes the request for decides which role answers."""

from rolecast.decision import Verdict
from rolecast.routing.view import View


class Judged:
    """Decides by category, role and tier, as far as the model is sure."""

    def __init__(self, min_confidence: float) -> None:
        self._least = min_confidence

    def decide(self, view: View) -> Verdict | None:
        """The role that the prompt is for."""
        said = view.opinion("role")
        if said is None or not said.sure or said.confidence < self._least:
            return None
        return Verdict(said.label, "learned", f"looks like {said.label}", said.confidence)
