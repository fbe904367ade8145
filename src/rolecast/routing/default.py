"""The default role of the kind of request: who answers when nothing else decided."""

from collections.abc import Iterator

from msgspec.structs import replace

from rolecast.config.schema import Config
from rolecast.decision import Choice, Facts
from rolecast.errors import BadRequest, BudgetSpent, Forbidden, ModelNotFound, RolecastError
from rolecast.routing.named import CONTEXT_EXCEEDED, Named, with_needs


class Default:
    """The default role of the kind of request: what `auto` means until something smarter decides.

    Where nobody of the role can do it, and somebody else here can, that one does: no model was asked for.
    """

    def __init__(self, named: Named, config: Config) -> None:
        self._named = named
        routing = config.routing
        self._roles = {"chat": routing.default, "completion": routing.default, "embeddings": routing.embeddings}
        self._config = config

    def decide(self, facts: Facts) -> Choice:
        """Its models. Raises ModelNotFound without such a role, BadRequest when nobody can do it."""
        role = self._roles.get(facts.kind, facts.kind)
        if role not in self._config.roles and facts.kind not in self._roles:
            return self._first_able(facts)
        if role not in self._config.roles:
            raise ModelNotFound(
                f"No model was named and no role {role!r} exists for {facts.kind}. Name a model, or add the role.",
                param="model",
            )
        if facts.kind == "embeddings":  # vectors of another role's models would mean something else
            return self._by(role, self._named.decide(replace(facts, name=role)), facts)
        try:
            choice = self._named.decide(replace(facts, name=role))
        except (BadRequest, Forbidden, BudgetSpent) as error:
            other = self._anybody(facts, well=error.code == CONTEXT_EXCEEDED)
            if other is None:
                raise
            return other
        if choice is not None and not self._named.suits(choice, facts):
            return self._anybody(facts, well=True) or self._by(role, choice, facts)
        return self._by(role, choice, facts)

    def _by(self, role: str, choice: Choice | None, facts: Facts) -> Choice:
        assert choice is not None  # a role was named
        reason = f"no model named, default role for {facts.kind}{with_needs(facts)}"
        return replace(choice, role=role, source="default", reason=reason)

    def _anybody(self, facts: Facts, *, well: bool) -> Choice | None:
        """Who else can do it: the first role that has somebody, else the first model; None when nobody can.

        `well` = only somebody who holds the prompt and can do what it would like; else those come first.
        """
        able = None
        reason = f"no model named, the default role has nobody for it{with_needs(facts)}"
        for choice in self._choices(facts):
            told = replace(choice, source="default", reason=reason)
            if self._named.serves_well(choice, facts):
                return told
            able = able or told
        return None if well else able

    def _choices(self, facts: Facts) -> Iterator[Choice]:
        """Of every role and then of every model those who can what the request cannot do without."""
        models = (i for i, model in self._config.models.items() if model.enabled and not model.hidden)
        for name in (*self._config.roles, *models):
            try:
                choice = self._named.decide(replace(facts, name=name))
            except RolecastError:
                continue
            if choice is not None:
                yield choice

    def _first_able(self, facts: Facts) -> Choice:
        """Of what has no role of its own: the first model that can do it."""
        able = [
            i for i, m in self._config.models.items() if m.enabled and not m.hidden and facts.kind in m.capabilities
        ]
        if not able:
            text = f"No model here has the capability {facts.kind}: add one with `capabilities: [{facts.kind}]`"
            raise ModelNotFound(f"{text}, and perhaps a role {facts.kind!r}.", param="model")
        able = list(self._named.among(able, facts))
        reason = f"no model named, first model for {facts.kind}"
        return Choice(able[0], source="default", reason=reason)
