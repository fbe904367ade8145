"""Which model answers: the Strategy protocol and `choose`, a pure function over values.

Strategies are asked in the configured order; the first one that answers decides. This file holds the
table of names; learned and LLM strategies are files of their own. What a model can do is `abilities`',
who of several equals answers now is `spread`'s.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec.structs import replace

from rolecast.config import variants, words
from rolecast.config.names import Name, find, untagged
from rolecast.config.schema import Config
from rolecast.errors import BadRequest, ModelNotFound, NotOffered, WorkerDown
from rolecast.routing.abilities import LACKING, Can, declared
from rolecast.values import MEDIA, Choice, Facts, Source

AUTO = ("", "auto")
MAX_NAMED = 8
"""So many models are named in an error."""


_SOURCES: Mapping[str, Source] = {"model": "explicit", "alias": "alias", "role": "role", "variant": "variant"}


class Strategy(Protocol):
    """One way to decide; None means `I do not know, ask the next`."""

    def decide(self, facts: Facts) -> Choice | None: ...


class Named:
    """Obeys the name in the request: a model's id, an alias or a role."""

    def __init__(self, names: Mapping[str, Name], config: Config, can: Can) -> None:
        self._names = names
        self._config = config
        self._can = can
        self._defaults = variants.all_defaults(config)
        self._role_of: dict[str, str] = {}
        for name in names.values():
            for model_id in name.models if name.kind == "role" else ():
                self._role_of.setdefault(model_id, name.name)

    def decide(self, facts: Facts) -> Choice | None:
        if facts.kind in MEDIA and not self._enabled(facts):
            raise NotOffered(
                f"No model here does {facts.kind}. Configure one that a server elsewhere or a command of yours runs: "
                f"`backend: openai` with its `url` (or `backend: command`) and `capabilities: [{facts.kind}]`.",
                param="model",
            )
        if facts.name in AUTO:
            return None
        name = find(self._names, facts.name)
        if name is None and (name := words.find(self._config, self._names, facts.name)) is not None:
            choice = self._chosen(name, facts)
            reason = f"asked for the word {untagged(facts.name)}, which means {name.name}{_with_needs(facts)}"
            return replace(choice, source="rule", reason=reason)
        if name is None:
            if untagged(facts.name) in AUTO:
                return None
            if why := variants.hindrance(self._config, facts.name):
                raise ModelNotFound(f"{facts.name!r} cannot be used now: {why}.", param="model")
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
        return self._chosen(name, facts)

    def _chosen(self, name: Name, facts: Facts) -> Choice:
        """The models behind a name that can. Raises BadRequest without any."""
        able = self._preferred(self._able(name, facts), facts)
        if facts.kind == "embeddings":
            able = tuple(m for m in able if self._alike(able[0], m, name))
        role = name.name if name.kind == "role" else self._role_of.get(able[0], "")
        return Choice(
            able[0],
            role=role,
            source=_SOURCES[name.kind],
            reason=f"asked for {name.kind} {name.name}{_with_needs(facts)}",
            alternatives=able[1:],
            equals=tuple(group for each in name.equals if len(group := tuple(m for m in each if m in able)) > 1),
            defaults=self._defaults.get(name.name) if name.kind == "variant" else None,
        )

    def _able(self, name: Name, facts: Facts) -> tuple[str, ...]:
        """The models behind a name that can do what the request cannot do without. Raises BadRequest without any."""
        able = self._of_kind(name.models, facts)
        if not able:
            words = ", ".join(sorted({c for m in name.models for c in self._config.models[m].capabilities})) or "none"
            raise BadRequest(
                f"{facts.name!r} cannot do {facts.kind}: its capabilities are {words}. "
                + (_those(self._enabled(facts)) or f"No model here can: add one with `capabilities: [{facts.kind}]`."),
                param="model",
                code="wrong_capability",
            )
        for need in sorted(facts.needs):
            able = self._with(able, need)
            if not able:
                raise self._lacks(facts, need)
        return able

    def _enabled(self, facts: Facts) -> tuple[str, ...]:
        """All models here of the kind of the request."""
        return self._of_kind([i for i, m in self._config.models.items() if m.enabled], facts)

    def _of_kind(self, models: Sequence[str], facts: Facts) -> tuple[str, ...]:
        return tuple(m for m in models if facts.kind in self._config.models[m].capabilities)

    def _with(self, models: Sequence[str], need: str) -> tuple[str, ...]:
        """Those that can; where nobody is known to, those of whom nothing is known."""
        said = {m: self._can(m, need) for m in models}
        return tuple(m for m in models if said[m]) or tuple(m for m in models if said[m] is None)

    def _preferred(self, models: tuple[str, ...], facts: Facts) -> tuple[str, ...]:
        """The same models; those that cannot do what the request would like to have come last."""
        for need in sorted(facts.prefers):
            models = tuple(sorted(models, key=lambda m: self._can(m, need) is False))
        return models

    def _alike(self, one: str, other: str, name: Name) -> bool:
        """Whether their vectors can be compared: vectors of different models mean different things."""
        if one == other or any(one in group and other in group for group in name.equals):
            return True
        a, b = self._config.models[one], self._config.models[other]
        return a.source != "" and (a.source, a.sha256) == (b.source, b.sha256)

    def _lacks(self, facts: Facts, need: str) -> BadRequest:
        """No model behind that name can do it: says what is lacking and who here can."""
        candidates = self._enabled(facts)
        those = [m for m in candidates if all(self._can(m, n) for n in facts.needs)]
        able = _those(those) or "No model here can: send it without, or add a model that can."
        return BadRequest(
            f"{facts.name or 'auto'!r} {LACKING[need]}. {able}",
            param="model",
            code="wrong_capability",
        )


class Default:
    """The default role of the kind of request: what `auto` means until something smarter decides."""

    def __init__(self, named: Named, config: Config) -> None:
        self._named = named
        routing = config.routing
        self._roles = {"chat": routing.default, "completion": routing.default, "embeddings": routing.embeddings}
        self._config = config

    def decide(self, facts: Facts) -> Choice | None:
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
        reason = f"no model asked, default role for {facts.kind}{_with_needs(facts)}"
        return replace(choice, role=role, source="default", reason=reason)

    def _first_able(self, facts: Facts) -> Choice:
        """Of what has no role of its own: the first model that can do it."""
        able = [i for i, m in self._config.models.items() if m.enabled and facts.kind in m.capabilities]
        if not able:
            text = f"No model here has the capability {facts.kind}: add one with `capabilities: [{facts.kind}]`"
            raise ModelNotFound(f"{text}, and perhaps a role {facts.kind!r}.", param="model")
        reason = f"no model asked, first model for {facts.kind}"
        return Choice(able[0], source="default", reason=reason)


def _those(able: Sequence[str]) -> str:
    """Who can, as a sentence; '' when nobody can."""
    more = f" and {len(able) - MAX_NAMED} more" if len(able) > MAX_NAMED else ""
    return f"Here {', '.join(able[:MAX_NAMED])}{more} can." if able else ""


def _with_needs(facts: Facts) -> str:
    """What besides the name decided, for people."""
    return f", needs {' and '.join(sorted(facts.needs))}" if facts.needs else ""


def build(names: Mapping[str, Name], config: Config, can: Can | None = None) -> tuple[Strategy, ...]:
    """The strategies of this configuration in order; the default role comes last.

    `can` tells what a model can do; without it the configuration is believed.
    """
    named = Named(names, config, can or (lambda model_id, need: declared(config.models[model_id], need) or None))
    return (named, Default(named, config))


def choose(facts: Facts, strategies: Sequence[Strategy]) -> Choice:
    """The first answer wins. Raises ModelNotFound or BadRequest with what to do instead."""
    for strategy in strategies:
        if choice := strategy.decide(facts):
            return choice
    raise ModelNotFound("No strategy chose a model; name one.", param="model")


def shares(choice: Choice) -> list[Choice]:
    """The same choice with each of the first model's equals in front; empty when it has none."""
    order = (choice.model, *choice.alternatives)
    group = next((g for g in choice.equals if choice.model in g), ())
    found = []
    for i in range(len(group)):
        turned = (*group[i:], *group[:i])
        rest = (m for m in order if m not in group)
        found.append(replace(choice, model=turned[0], alternatives=(*turned[1:], *rest)))
    return found
