"""Chooses: a name is obeyed, else the strategies are asked in their order, else the default role answers.

A strategy says who should answer and why; which of those models can, and is worth it now, is found out here. Pure: the
same facts, configuration and cards give the same choice.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec.structs import replace

from rolecast.decision import Card, Choice, Consult, Facts, Ranked, Verdict
from rolecast.errors import RolecastError
from rolecast.routing import sticky
from rolecast.routing.default import Default
from rolecast.routing.named import AUTO, Named
from rolecast.routing.price import EVEN_S, Field, Price
from rolecast.routing.rules import Own
from rolecast.routing.view import View

Cast = Callable[[str], Card]
"""How a model stands just now, by its id."""
READ = ("chat", "completion")
"""Kinds of requests whose text is looked into."""
BY_ROLE: Sequence[str] = ("role", "rule")
"""How `Named` calls a name that stands for a role: one of its own, or a word for it."""
WEIGHED: Sequence[str] = ("default", "rule", "learned", "llm")
"""Sources of choices whose models are weighed; others have an order that means something."""
HELPED: Sequence[str] = ("learned", "llm")
"""Those of them that are opinions: a model of the default role may save a long load of the role's own. It may too
where only a title is wanted, and the like."""


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
        price: Price | None = None,
        fallback_role: str = "",
        *,
        cascades: bool = False,
    ) -> None:
        self._named = named
        self._default = default
        self._strategies = strategies
        self.see = see
        """A request as strategies see it."""
        self._reads = cascades or bool(strategies)
        self._price = price or Price()
        self._fallback_role = fallback_role
        """The default role: its models may step in for those of another role that would have to load."""
        self.local_rules: Sequence[Own] = ()
        """Rules for what may not leave this machine."""

    def reads(self, facts: Facts) -> bool:
        """Whether more than the name counts for this request, so that the rest of the facts is needed."""
        return self._reads and facts.kind in READ and self._named.leaves_open(facts)

    def stays(self, facts: Facts) -> bool:
        """Whether a rule says that this request may not leave this machine."""
        view = self.see(facts) if self.local_rules else None
        return view is not None and any(rule.fits(view) for rule in self.local_rules)

    def surely_fits(self, choice: Choice, facts: Facts) -> int:
        """A request like this one, of so many bytes, gets this choice without a look at how long it is."""
        return self._named.surely_fits(choice, facts)

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
                choice = self._weighed(self._told(self._default.decide(facts), view), view, cast)
                return replace(choice, consult=said.name, confidence=view.surest)
            if said is not None and (settled := self.settle(said, view, cast)) is not None:
                return settled
        choice = self._default.decide(facts)
        told = self._told(choice, view, Verdict("", choice.source, choice.reason, view.surest))
        return self._weighed(told, view, cast)

    def settle(self, said: Verdict, view: View, cast: Cast = Card) -> Choice | None:
        """The choice that follows from what was said; None when nobody of that name can do it."""
        try:
            choice = self._named.decide(replace(view.facts, name=said.name))
        except RolecastError:
            return None
        if choice is None or not self._named.suits(choice, view.facts):
            return None
        by_role = choice.source in BY_ROLE
        told = self._told(choice, view, said)
        helped = by_role and (said.source in HELPED or view.facts.background)
        return self._weighed(told, view, cast, by_role=by_role, helped=helped)

    def _weighed(self, choice: Choice, view: View, cast: Cast, *, by_role: bool = True, helped: bool = False) -> Choice:
        """The choice with its models by what they are worth now.

        `by_role` = it is for a role, not for one model or variant, so that a conversation's model may be another;
        `helped` = models of the default role may step in for those of the choice.
        """
        facts = view.facts
        if facts.kind not in READ or choice.source not in WEIGHED or not self._named.holds(choice.model, facts):
            return choice
        members = (choice.model, *choice.alternatives)
        used = self._used(choice, facts)
        if not (by_role or facts.open_call or used in members):
            used = ""
        if used and facts.open_call:
            rest = tuple(m for m in members if m != used)
            return replace(choice, model=used, alternatives=rest, reason=f"{choice.reason}, its tool call is open")
        others: tuple[str, ...] = ()
        if helped and choice.role != self._fallback_role:
            free = [m for m in self._named.behind(self._fallback_role) if m not in members and m != used]
            others = self._named.able(free, facts)
            if facts.prefers:
                others = tuple(m for m in others if not self._named.lacks(m, facts))
        last = frozenset(m for m in (*members, used) if m and self._named.lacks(m, facts)) if facts.prefers else _NONE
        field = Field(members, others, choice.equals, used, last)
        if len(members) + len(others) + (used not in members and used != "") < 2:
            return choice
        ranking, why = self._price.rank(field, view, cast)
        first, *behind = [ranked.model for ranked in ranking]
        moved = first == used and used not in members
        return replace(
            choice,
            model=first,
            role=facts.bond.role if moved and facts.bond is not None else choice.role,
            alternatives=tuple(behind),
            reason=f"{choice.reason}, {why}" if why else choice.reason,
            equals=_even(choice.equals, ranking, used) if choice.equals else (),
            ranking=ranking,
        )

    def _used(self, choice: Choice, facts: Facts) -> str:
        """The model that this conversation goes on with, if it may and can; else ''."""
        bond = facts.bond
        if bond is None or not sticky.is_bound(facts) or not self._named.able((bond.model,), facts):
            return ""
        stays = facts.open_call or (bond.firm and sticky.keeps(bond, choice, self._fallback_role))
        return bond.model if stays else ""

    def after(self, said: Verdict, facts: Facts, cast: Cast = Card) -> Choice:
        """The choice once the model that was to be asked has `said` something; the default's without a name.

        Raises as `choose`.
        """
        view = self.see(facts)
        if said.name and (settled := self.settle(said, view, cast)) is not None:
            return settled
        choice = self._weighed(self._told(self._default.decide(facts), view), view, cast)
        return replace(choice, reason=f"{said.reason}, {choice.reason}", confidence=view.surest)

    def _told(self, choice: Choice, view: View, said: Verdict | None = None) -> Choice:
        """The choice as it was said, with what the request is most like; `seen` says how sure that is."""
        return replace(
            choice,
            source=said.source if said is not None else choice.source,
            reason=said.reason if said is not None else choice.reason,
            confidence=said.confidence if said is not None else choice.confidence,
            task=view.likeliest("category"),
            tier=view.likeliest("tier"),
            domain=view.likeliest("domain"),
            difficulty=view.difficulty,
            seen=view.seen,
            labels=view.labels,
        )


_NONE: frozenset[str] = frozenset()


def _even(equals: Sequence[tuple[str, ...]], ranking: Sequence[Ranked], used: str) -> tuple[tuple[str, ...], ...]:
    """The equals that share requests just now: those that are worth about the same, but none of a conversation's."""
    worth = {ranked.model: ranked.worth_s for ranked in ranking}
    groups = []
    for group in equals:
        if used in group:
            continue
        best = max(worth[m] for m in group)
        if len(even := tuple(m for m in group if worth[m] > best - EVEN_S)) > 1:
            groups.append(even)
    return tuple(groups)


__all__ = ["AUTO", "READ", "Cast", "Router", "Strategy"]
