"""The learned strategy: what a small model in the package takes the request for decides who answers.

Labels of the user's own come first. Then a category leads to whoever the configuration has for it, else to a role, else
to a tier, else to the default role. An opinion that is not sure decides nothing.
"""

from typing import TYPE_CHECKING

from rolecast.config import labels
from rolecast.decision import Verdict
from rolecast.routing.known import Known
from rolecast.routing.view import View

if TYPE_CHECKING:  # numpy comes with it
    from rolecast.routing.learned import Opinion


class Judged:
    """Decides by labels, category, role and tier, as far as the model is sure."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._least = known.routing.min_confidence
        self._labels = {name: each.use for name, each in known.routing.labels.items() if each.use}

    def decide(self, view: View) -> Verdict | None:
        """Whoever the prompt is for."""
        return self._by_labels(view) or self._by_task(view)

    def _by_labels(self, view: View) -> Verdict | None:
        for name, uses in self._labels.items():
            said = view.opinion(name)
            if said is not None and said.sure and (use := uses.get(said.label)):
                return Verdict(use, "learned", f"looks like {said.label} of {name}, so {use}", said.confidence)
        return None

    def _by_task(self, view: View) -> Verdict | None:
        scope = view.opinion("scope")
        if scope is not None and scope.sure:
            return None
        task = self._sure(view, "category")
        if task is not None and (own := self._known.own(task.label)):
            why = f"looks like {task.label}"
            return Verdict(own, "learned", why if own == task.label else f"{why}, so {own}", task.confidence)
        if task is not None and task.label == labels.EXTERNAL:
            return None
        return self._by_role(view)

    def _by_role(self, view: View) -> Verdict | None:
        """By the role that the category stands for or that the model names, whichever is surer, and by the tier."""
        role, tier = self._sure(view, "role"), self._sure(view, "tier")
        tiered = tier.label if tier is not None else ""
        task = view.opinion("category")
        if task is not None and (not task.sure or task.label == labels.EXTERNAL):
            task = None
        size = "heavy" if view.facts.tools else _size(tiered, task)
        wanted = _role_of(task.label, size) if task is not None else ""
        by_task = _mass(task, wanted, size) if task is not None else 0.0
        if task is not None and by_task < self._least:
            task, size = None, "heavy" if view.facts.tools else tiered
        if task is not None and (role is None or role.label == wanted or role.confidence <= by_task):
            sureness = max(by_task, role.confidence if role is not None and role.label == wanted else 0.0)
            return self._to(wanted, size, task.label, sureness)
        if role is not None:
            if name := self._coder(view) if role.label == "coding" else "":
                return Verdict(name, "learned", f"looks like work for coding, so {name}", role.confidence)
            return self._to(role.label, size, f"work for {role.label}", role.confidence)
        if tier is not None and (name := self._known.role(size)):
            return Verdict(name, "learned", f"looks {size}", tier.confidence)
        return None

    def _to(self, role: str, size: str, what: str, sureness: float) -> Verdict:
        name = self._known.usual(_candidates(role, size))
        return Verdict(
            name, "learned", f"looks like {what}{f' and {size}' if name == size else ''}, so {name}", sureness
        )

    def _coder(self, view: View) -> str:
        """Who is here for the likeliest kind of code, where nobody is for all of them; '' = nobody."""
        if self._known.role(*labels.CODING):
            return ""
        said = view.opinion("category")
        return self._known.own(said.label) if said is not None and said.label in labels.CODE else ""

    def _sure(self, view: View, of: str) -> "Opinion | None":
        """What the model says, if it is sure enough for this configuration."""
        said = view.opinion(of)
        return said if said is not None and said.sure and said.confidence >= self._least else None


def _size(tier: str, task: "Opinion | None") -> str:
    """`light` or `heavy`, by the model or else by the category; '' = it may be either."""
    if task is not None and task.label in (*labels.CODE, *labels.DEEP):
        return "heavy"
    if not tier and task is not None and task.label in (labels.CHATTING, "translation"):
        return "light"
    return tier


def _role_of(category: str, size: str) -> str:
    """The role that a category stands for. To reason in general is for who reasons, unless it is light."""
    if category in labels.CODE:
        return "coding"
    if category in labels.DEEP or (category == labels.GENERAL and size != "light"):
        return "reasoning"
    return "standard"


def _mass(task: "Opinion", role: str, size: str) -> float:
    """How probable it is that the category is one of those that stand for that role: whether code is to be written or
    mended may be open where it is clear that it is code."""
    kin = (p for label, p in task.probabilities.items() if label != labels.EXTERNAL and _role_of(label, size) == role)
    return min(1.0, max(task.confidence, sum(kin)))


def _candidates(role: str, size: str) -> tuple[str, ...]:
    """The roles that would do, best first. What is ordinary goes by its size; without one it is the default role's."""
    return {
        "coding": tuple(labels.CODING),
        "reasoning": tuple(labels.REASONING),
        "router": ("router", "light"),
        "standard": (size,),
    }[role]
