"""The default role of the kind of request: who answers when nothing else decided."""

from msgspec.structs import replace

from rolecast.config.schema import Config
from rolecast.decision import Choice, Facts
from rolecast.errors import ModelNotFound
from rolecast.routing.named import Named, with_needs


class Default:
    """The default role of the kind of request: what `auto` means until something smarter decides."""

    def __init__(self, named: Named, config: Config) -> None:
        self._named = named
        routing = config.routing
        self._roles = {"chat": routing.default, "completion": routing.default, "embeddings": routing.embeddings}
        self._config = config

    def decide(self, facts: Facts) -> Choice:
        """Its models. Raises ModelNotFound without such a role, BadRequest when none of them can do it."""
        role = self._roles.get(facts.kind, facts.kind)
        if role not in self._config.roles and facts.kind not in self._roles:
            return self._first_able(facts)
        if role not in self._config.roles:
            raise ModelNotFound(
                f"No model was named and no role {role!r} exists for {facts.kind}. Name a model, or add the role.",
                param="model",
            )
        choice = self._named.decide(replace(facts, name=role))
        assert choice is not None
        reason = f"no model asked, default role for {facts.kind}{with_needs(facts)}"
        return replace(choice, role=role, source="default", reason=reason)

    def _first_able(self, facts: Facts) -> Choice:
        """Of what has no role of its own: the first model that can do it."""
        able = [i for i, m in self._config.models.items() if m.enabled and facts.kind in m.capabilities]
        if not able:
            text = f"No model here has the capability {facts.kind}: add one with `capabilities: [{facts.kind}]`"
            raise ModelNotFound(f"{text}, and perhaps a role {facts.kind!r}.", param="model")
        reason = f"no model asked, first model for {facts.kind}"
        return Choice(able[0], source="default", reason=reason)
