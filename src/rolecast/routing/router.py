"""Chooses: a name is obeyed, else the strategies are asked in their order, else the default role answers.

A strategy says who should answer and why; which of those models can, and is worth it now, is found out here. Pure: the
same facts, configuration and cards give the same choice.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec.structs import replace

from rolecast.decision import Card, Choice, Consult, Facts, Verdict
from rolecast.errors import RolecastError
from rolecast.routing.default import Default
from rolecast.routing.named import AUTO, Named
from rolecast.routing.view import View

Cast = Callable[[str], Card]
"""How a model stands just now, by its id."""
READ = ("chat", "completion")
"""Kinds of requests whose text is looked into."""


class Strategy(Protocol):
    """One way to decide for a request that names nobody."""

    def decide(self, view: View) -> Verdict | Consult | None:
        """Who should answer; None means `I do not know, ask the next`."""


class Router:
    """Chooses by one configuration."""

    def __init__(
        self,
        named: Named,
        default: Default,
        strategies: Sequence[Strategy],
        see: Callable[[Facts], View],
        *,
        cascades: bool = False,
    ) -> None:
        self._named = named
        self._default = default
        self._strategies = strategies
        self.see = see
        """A request as strategies see it."""
        self._reads = cascades or bool(strategies)

    def reads(self, facts: Facts) -> bool:
        """Whether more than the name counts for this request, so that the rest of the facts is needed."""
        return self._reads and facts.kind in READ and self._named.leaves_open(facts)

    def choose(self, facts: Facts, cast: Cast = Card, view: View | None = None) -> Choice:
        """The choice. Raises ModelNotFound or BadRequest with what to do instead.

        `view` is given where the request is seen already, as one is that was written down.
        """
        if (choice := self._named.decide(facts)) is not None:
            return choice
        if not self.reads(facts):
            return self._default.decide(facts)
        view = view or self.see(facts)
        for strategy in self._strategies:
            said = strategy.decide(view)
            if isinstance(said, Consult):
                return replace(self._told(self._default.decide(facts), view), consult=said.name)
            if said is not None and (settled := self.settle(said, view, cast)) is not None:
                return settled
        return replace(self._told(self._default.decide(facts), view), confidence=view.surest)

    def settle(self, said: Verdict, view: View, cast: Cast = Card) -> Choice | None:
        """The choice that follows from what was said; None when nobody of that name can do it."""
        try:
            choice = self._named.decide(replace(view.facts, name=said.name))
        except RolecastError:
            return None
        if choice is None:
            return None
        choice = replace(choice, source=said.source, reason=said.reason, confidence=said.confidence)
        return self._told(choice, view)

    def after(self, said: Verdict, facts: Facts, cast: Cast = Card) -> Choice:
        """The choice once the model that was to be asked has `said` something; the default's without a name.

        Raises as `choose`.
        """
        view = self.see(facts)
        if said.name and (settled := self.settle(said, view, cast)) is not None:
            return settled
        choice = self._told(self._default.decide(facts), view)
        return replace(choice, reason=f"{said.reason}, {choice.reason}", confidence=view.surest)

    def _told(self, choice: Choice, view: View) -> Choice:
        """The choice with what the request is, as far as somebody is sure."""
        return replace(
            choice,
            task=view.sure("category"),
            tier=view.sure("tier"),
            domain=view.sure("domain"),
            difficulty=view.difficulty,
            seen=view.seen,
        )


__all__ = ["AUTO", "READ", "Cast", "Router", "Strategy"]
