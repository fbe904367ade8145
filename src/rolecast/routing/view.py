"""A request as strategies see it: its facts, and what the learned model says of it, looked up once and only if asked.

Also tells, for choices and for people, what it is: task, tier, domain, difficulty, labels of the user's own.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from rolecast.config import labels
from rolecast.decision import Facts, Hints, Said, Seen

if TYPE_CHECKING:  # numpy comes with them
    from rolecast.routing.fewshot import Labels
    from rolecast.routing.learned import Learned, Opinion, Sight

Mind = Callable[[], "Learned | None"]
"""Gives the learned model; None as long as it is not loaded, or cannot be."""


QUESTIONS = ("category", "role", "tier", "domain")
"""What the learned model is asked of every request that is looked at."""


class View:
    """One request. Lives as long as the choice takes."""

    def __init__(self, facts: Facts, mind: Mind, own: "Mapping[str, Labels]") -> None:
        self.facts = facts
        self._mind = mind
        self._labels = own

    @cached_property
    def sight(self) -> "Sight | None":
        """The text as the learned model sees it; None without a text or a model, and of what it was not made for."""
        model = self._mind() if self.facts.text and not self.facts.background else None
        return model.look(self.facts.text) if model is not None else None

    @cached_property
    def _opinions(self) -> "dict[str, Opinion]":
        return {}

    def opinion(self, of: str) -> "Opinion | None":
        """What the model says of the category, role, tier, domain, or of a set of labels; None = it cannot say."""
        if self.sight is None:
            return None
        if of not in self._opinions:
            own = self._labels.get(of)
            if own is None and of not in self.sight.model.heads:
                return None
            self._opinions[of] = own.opinion(self.sight) if own is not None else self.sight.opinion(of)
        return self._opinions[of]

    def sure(self, of: str, least: float = 0.0) -> str:
        """The label, if the caller names it, or the model is sure of it and that at least so much; else ''."""
        if told := self._told(of):
            return told
        said = self.opinion(of)
        return said.label if said is not None and said.sure and said.confidence >= least else ""

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the user's own that are sure, by their set."""
        return {name: label for name in self._labels if (label := self.sure(name))}

    def _told(self, of: str) -> str:
        """What the caller says it is: its task, or a label that is a domain it forces; '' = nothing."""
        if of == "category":
            return labels.category(self.facts.hints.category)
        own, forced = self._labels.get(of), self.facts.hints.metadata.get("force_domain", "")
        if own is None or not forced:
            return ""
        return next((each for each in own.labels if labels.destination(each) == labels.destination(forced)), "")

    def likeliest(self, of: str) -> str:
        """What it is most like, also where the model is not sure; '' = nobody can tell."""
        said = self.opinion(of)
        return self.sure(of) or (said.label if said is not None else "")

    @property
    def difficulty(self) -> float:
        """How probably only a stronger model is right: what it gains to ask one; -1 = nobody can tell."""
        return -1.0 if self.sight is None else self.sight.probability("difficulty")

    @property
    def fails(self) -> float:
        """How probably a weak model is wrong, whoever else is; -1 = nobody can tell."""
        return -1.0 if self.sight is None else 1.0 - self.sight.probability("weak_right")

    @property
    def surest(self) -> float:
        """How probable the role is that it looks most like: what was not enough when nobody decided; 0 = no idea.

        Of what is taken for nonsense, or too vague to serve, as probable as that it is none.
        """
        said, scope = self.opinion("role"), self.opinion("scope")
        if said is None:
            return 0.0
        return said.confidence * (1.0 - scope.confidence) if scope is not None and scope.sure else said.confidence

    @cached_property
    def seen(self) -> Seen:
        """What there was to see of it, without its words."""
        facts = self.facts
        opinions = {of: said for of in (*QUESTIONS, *self._labels) if (said := self.opinion(of)) is not None}
        return Seen(
            kind=facts.kind,
            needs=tuple(sorted(facts.needs)),
            prefers=tuple(sorted(facts.prefers)),
            language=facts.language,
            tokens=facts.tokens,
            answer_tokens=facts.answer_tokens,
            turns=facts.turns,
            tools=facts.tools,
            images=facts.images,
            code=facts.code,
            schema=facts.schema,
            open_call=facts.open_call,
            background=facts.background,
            hints=_kept(facts.hints),
            opinions={of: Said(said.label, round(said.confidence, 4), said.sure) for of, said in opinions.items()},
            difficulty=round(self.difficulty, 4),
            fails=round(self.fails, 4),
        )


def _kept(hints: Hints) -> dict[str, str]:
    """What the caller said, as far as it is in words of ours: others of a caller are never written down."""
    own = {"category": hints.category, "channel": hints.channel, "type": hints.type, "prefer": hints.prefer}
    said = {**own, "force_domain": hints.metadata.get("force_domain", "")}
    return {name: word for name, word in said.items() if word in labels.HINTS[name]}
