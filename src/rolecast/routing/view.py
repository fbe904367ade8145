"""A request as strategies see it: its facts, and what the learned model says of it, looked up once and only if asked.

Also tells, for choices and for people, what it is: task, tier, domain, difficulty, labels of the user's own.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from rolecast.config.categories import CATEGORIES, TWINS
from rolecast.decision import Facts, Hints, Said, Seen

if TYPE_CHECKING:  # numpy comes with them
    from rolecast.routing.fewshot import Labels
    from rolecast.routing.learned import Learned, Opinion, Sight

Mind = Callable[[], "Learned | None"]
"""Gives the learned model; None as long as it is not loaded, or cannot be."""


HINTS: Mapping[str, frozenset[str]] = {
    "category": frozenset({*CATEGORIES, *TWINS}),
    "channel": frozenset({"CHAT", "CODE_TASK", "SYSTEM_HEALTH"}),
    "type": frozenset({"routing", "classification", "intent_detection", "asr_cleanup", "planning"}),
    "prefer": frozenset({"balanced", "quality", "speed", "cost"}),
    "force_domain": frozenset({"erp", "crm", "it_ops", "itops", "oa", "mold", "general"}),
}
"""What a caller may say of a request in words that are ours. Other words of a caller are never written down."""
QUESTIONS = ("category", "role", "tier", "domain")
"""What the learned model is asked of every request that is looked at."""


class View:
    """One request. Lives as long as the choice takes."""

    def __init__(self, facts: Facts, mind: Mind, labels: "Mapping[str, Labels]") -> None:
        self.facts = facts
        self._mind = mind
        self._labels = labels

    @cached_property
    def sight(self) -> "Sight | None":
        """The text as the learned model sees it; None without a text or a model."""
        model = self._mind() if self.facts.text else None
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
            self._opinions[of] = own.opinion(self.sight) if own is not None else self.sight.opinion(of)
        return self._opinions[of]

    def sure(self, of: str) -> str:
        """The label, if the model is sure of it; else ''."""
        said = self.opinion(of)
        return said.label if said is not None and said.sure else ""

    @property
    def difficulty(self) -> float:
        """How probably a weak model fails; -1 = nobody can tell."""
        return -1.0 if self.sight is None else 1.0 - self.sight.probability("difficulty")

    @property
    def surest(self) -> float:
        """How probable the role is that it looks most like: what was not enough when nobody decided; 0 = no idea."""
        said = self.opinion("role")
        return 0.0 if said is None else said.confidence

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
            hints=_kept(facts.hints),
            opinions={of: Said(said.label, round(said.confidence, 4), said.sure) for of, said in opinions.items()},
            difficulty=round(self.difficulty, 4),
        )


def _kept(hints: Hints) -> dict[str, str]:
    """What the caller said, as far as it is in words of ours."""
    own = {"category": hints.category, "channel": hints.channel, "type": hints.type, "prefer": hints.prefer}
    said = {**own, "force_domain": hints.metadata.get("force_domain", "")}
    return {name: word for name, word in said.items() if word in HINTS[name]}
