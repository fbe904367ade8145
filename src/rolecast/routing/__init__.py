"""Which model answers: the Strategy protocol and `choose`, a pure function over values.

Strategies are asked in the configured order; the first one that answers decides. This file holds the
table of names; learned and LLM strategies are files of their own.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from rolecast.config.names import Name
from rolecast.config.schema import Config
from rolecast.errors import BadRequest, ModelNotFound, WorkerDown
from rolecast.values import Choice, Facts

AUTO = ("", "auto")


class Strategy(Protocol):
    """One way to decide; None means `I do not know, ask the next`."""

    def decide(self, facts: Facts) -> Choice | None: ...


class Named:
    """Obeys the name in the request: a model's id, an alias or a role."""

    def __init__(self, names: Mapping[str, Name], config: Config) -> None:
        self._names = names
        self._config = config

    def decide(self, facts: Facts) -> Choice | None:
        if facts.name in AUTO:
            return None
        name = self._names.get(facts.name)
        if name is None:
            raise ModelNotFound(
                f"The model {facts.name[:200]!r} does not exist here. GET /v1/models lists what does, or use 'auto'.",
                param="model",
            )
        if name.kind == "model" and not self._config.models[name.name].enabled:
            raise WorkerDown(
                f"The model {facts.name!r} is disabled in the configuration (enabled: false).",
                param="model",
                code="model_disabled",
            )
        able = self._able(name.models, facts.kind)
        if not able:
            raise BadRequest(
                f"{facts.name!r} cannot do {facts.kind}: its capabilities are {self._capabilities(name.models)}.",
                param="model",
                code="wrong_capability",
            )
        role = name.name if name.kind == "role" else self._role_of(able[0])
        reason = f"asked for {name.kind} {name.name}"
        source = {"model": "explicit", "alias": "alias", "role": "role"}[name.kind]
        return Choice(able[0], role=role, source=source, reason=reason, alternatives=able[1:])  # type: ignore[arg-type]

    def _able(self, models: Sequence[str], kind: str) -> tuple[str, ...]:
        return tuple(m for m in models if kind in self._config.models[m].capabilities)

    def _capabilities(self, models: Sequence[str]) -> str:
        return ", ".join(sorted({c for m in models for c in self._config.models[m].capabilities})) or "none"

    def _role_of(self, model: str) -> str:
        return next((role for role, models in self._config.roles.items() if model in models), "")


class Default:
    """The default role of the kind of request: what `auto` means until something smarter decides."""

    def __init__(self, named: Named, config: Config) -> None:
        self._named = named
        self._roles = {
            "chat": config.routing.default,
            "completion": config.routing.default,
            "embeddings": config.routing.embeddings,
        }
        self._config = config

    def decide(self, facts: Facts) -> Choice | None:
        role = self._roles[facts.kind]
        if role not in self._config.roles:
            raise ModelNotFound(
                f"No model was named and no role {role!r} exists for {facts.kind}. Name a model, or add the role.",
                param="model",
            )
        choice = self._named.decide(Facts(role, facts.kind))
        assert choice is not None
        reason = f"no model asked, default role for {facts.kind}"
        return Choice(choice.model, role=role, source="default", reason=reason, alternatives=choice.alternatives)


def build(names: Mapping[str, Name], config: Config) -> tuple[Strategy, ...]:
    """The strategies of this configuration in order; the default role comes last."""
    named = Named(names, config)
    return (named, Default(named, config))


def choose(facts: Facts, strategies: Sequence[Strategy]) -> Choice:
    """The first answer wins. Raises ModelNotFound or BadRequest with what to do instead."""
    for strategy in strategies:
        if choice := strategy.decide(facts):
            return choice
    raise ModelNotFound("No strategy chose a model; name one.", param="model")
