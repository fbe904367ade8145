"""Obeys the name in a request: a model's id, an alias, a role, a variant, or a word for a kind of model."""

import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

from msgspec.structs import replace

from rolecast.config import variants, words
from rolecast.config.names import Name, find, untagged
from rolecast.config.schema import Config
from rolecast.decision import Choice, Facts, Source
from rolecast.errors import (
    BadRequest,
    BudgetSpent,
    Forbidden,
    ModelNotAllowed,
    ModelNotFound,
    NotOffered,
    RolecastError,
    StaysHere,
    WorkerDown,
)
from rolecast.routing.abilities import LACKING, OF_KEY, OF_WHOEVER_ASKS, Can, stated_room
from rolecast.values import MEDIA

AUTO = ("", "auto")
ALIKE = 0.75
"""Names of which this part is the same are taken for one with a slip."""
MAX_NAMED = 8
"""So many models are named in an error."""
LEAST_ROOM = 512
"""Every model holds so many tokens."""
TOO_LONG = 2.0
"""A prompt of so many times the context is too long for sure, however roughly it was estimated."""
ANSWER_SHARE = 4
"""Of the answer that may be wanted so much counts at most: this part of the context."""
WITH_CONTEXT = ("chat", "completion")
"""Kinds of requests that are looked at for whether they fit."""
CONTEXT_EXCEEDED = "context_length_exceeded"
Room = Callable[[str], int | None]
"""Tokens that prompt and answer may have together, of a model by its id; None = not known."""
_ONE = ("model", "alias", "variant")
"""Kinds of names that mean one model, which is asked whatever it holds: its own error tells."""
_ONE_SOURCES: tuple[Source, ...] = ("explicit", "alias", "variant")

REFUSED: Mapping[str, Callable[..., RolecastError]] = {"local": StaysHere, "free": BudgetSpent}
"""What becomes of a request where nobody meets a need that comes from who asks."""

_SOURCES: Mapping[str, Source] = {"model": "explicit", "alias": "alias", "role": "role", "variant": "variant"}


class Named:
    """Obeys the name in the request: a model's id, an alias or a role."""

    def __init__(self, names: Mapping[str, Name], config: Config, can: Can, room: Room | None = None) -> None:
        self._names = names
        self._config = config
        self._can = can
        self._room = room or (lambda model_id: stated_room(config.models[model_id]))
        self._defaults = variants.all_defaults(config)
        self._role_of: dict[str, str] = {}
        for name in names.values():
            for model_id in name.models if name.kind == "role" else ():
                self._role_of.setdefault(model_id, name.name)

    def leaves_open(self, facts: Facts) -> bool:
        """Whether nobody is named."""
        return facts.name in AUTO or (untagged(facts.name) in AUTO and find(self._names, facts.name) is None)

    def decide(self, facts: Facts) -> Choice | None:
        """The models of that name that can do it, best first; None when nobody is named. Raises RolecastError."""
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
            reason = f"asked for the word {untagged(facts.name)}, which means {name.name}{with_needs(facts)}"
            return replace(choice, source="rule", reason=reason)
        if name is None:
            if untagged(facts.name) in AUTO:
                return None
            if why := variants.hindrance(self._config, facts.name):
                raise ModelNotFound(f"{facts.name!r} cannot be used now: {why}.", param="model")
            near = get_close_matches(facts.name[:200], self._names, 1, ALIKE)
            meant = f"; did you mean {near[0]!r}?" if near else "."
            raise ModelNotFound(
                f"The model {facts.name[:200]!r} does not exist here{meant} "
                "GET /v1/models lists what does, or use 'auto'.",
                param="model",
            )
        if name.kind == "model" and not self._config.models[name.name].enabled:
            raise WorkerDown(
                f"The model {facts.name!r} is disabled in the configuration (enabled: false).",
                param="model",
                code="model_disabled",
            )
        return self._chosen(name, facts)

    def able(self, models: Sequence[str], facts: Facts) -> tuple[str, ...]:
        """Those of these models that are enabled, can do it and hold the prompt; maybe none."""
        there = tuple(m for m in models if m in self._config.models and self._config.models[m].enabled)
        try:
            able = self._able(Name("", "role", there), facts) if there else ()
            return tuple(m for m in able if self.holds(m, facts))
        except (BadRequest, Forbidden, BudgetSpent):
            return ()

    def among(self, models: Sequence[str], facts: Facts) -> tuple[str, ...]:
        """Those of these models that can do what the request cannot do without. Raises as `decide` without any."""
        return self._able(Name("", "role", tuple(models)), facts)

    def behind(self, role: str) -> tuple[str, ...]:
        """The enabled models of a role, best first."""
        name = self._names.get(role)
        return name.models if name is not None and name.kind == "role" else ()

    def lacks(self, model_id: str, facts: Facts) -> bool:
        """Whether it surely cannot do what the request would like to have."""
        return any(self._can(model_id, need) is False for need in facts.prefers)

    def _chosen(self, name: Name, facts: Facts) -> Choice:
        """The models behind a name that can. Raises BadRequest without any."""
        able = self._able(name, facts)
        also = with_needs(facts)
        if name.kind not in _ONE and facts.tokens > LEAST_ROOM:
            fitting = self._roomy(able, facts)
            also += ", a model that holds the prompt" if len(fitting) < len(able) else ""
            able = fitting
        able = self._preferred(able, facts)
        if facts.kind == "embeddings":
            able = tuple(m for m in able if self._alike(able[0], m, name))
        role = name.name if name.kind == "role" else self._role_of.get(able[0], "")
        return Choice(
            able[0],
            role=role,
            source=_SOURCES[name.kind],
            reason=f"asked for {name.kind} {name.name}{also}",
            alternatives=able[1:],
            equals=tuple(group for each in name.equals if len(group := tuple(m for m in each if m in able)) > 1),
            defaults=self._defaults.get(name.name) if name.kind == "variant" else None,
            guarded=name.name if name.guarded else "",
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
            if name.guarded and need.startswith(OF_KEY):
                able = able if self._can(name.name, need) else ()
            else:
                able = self._with(able, need)
            if not able:
                raise self._lacks(facts, need)
        return able

    def _roomy(self, able: tuple[str, ...], facts: Facts) -> tuple[str, ...]:
        """Those that hold the prompt. When none does, all, the largest first: an estimate is no proof.

        Raises BadRequest for a prompt that cannot be meant for any of them.
        """
        if fitting := tuple(m for m in able if self.holds(m, facts)):
            return fitting
        rooms = {m: self._room(m) or 0 for m in able}
        if facts.tokens > TOO_LONG * max(rooms.values()):
            raise self._too_long(facts, max(rooms.values()))
        return tuple(sorted(able, key=lambda m: -rooms[m]))

    def holds(self, model_id: str, facts: Facts) -> bool:
        """Whether a model can have the prompt and some of the answer, as far as is known.

        Engines end an answer where the context ends, and clients ask for more than they need: so not all of it counts.
        """
        room = self._room(model_id) if facts.tokens > LEAST_ROOM else None
        return room is None or facts.tokens + min(facts.answer_tokens, room // ANSWER_SHARE) <= room

    def suits(self, choice: Choice, facts: Facts) -> bool:
        """Whether one of these models holds the prompt and can do what it would like, or nobody here does."""
        if facts.tokens <= LEAST_ROOM and not facts.prefers:
            return True
        if self.serves_well(choice, facts):
            return True
        others = (m for m in self._enabled(facts) if all(self._can(m, need) is not False for need in facts.needs))
        return not any(self._fulfils(m, facts) for m in others)

    def serves_well(self, choice: Choice, facts: Facts) -> bool:
        """Whether one of these models holds the prompt and can do what it would like, as far as is known."""
        return any(self._fulfils(m, facts) for m in (choice.model, *choice.alternatives))

    def _fulfils(self, model_id: str, facts: Facts) -> bool:
        return self.holds(model_id, facts) and all(self._can(model_id, wish) is not False for wish in facts.prefers)

    def surely_fits(self, choice: Choice, facts: Facts) -> int:
        """A request of so many bytes can be answered by each of these models, and by one of them whatever it holds.

        A token is a byte at least.
        """
        if facts.kind not in WITH_CONTEXT or choice.source in _ONE_SOURCES:
            return sys.maxsize
        rooms = [self._room(m) for m in (choice.model, *choice.alternatives)]
        known = [room for room in rooms if room is not None]
        if not known:
            return sys.maxsize
        if len(set(rooms)) == 1:  # there is nothing to choose, but it may be far too long
            return int(TOO_LONG * known[0])
        return min(known) - min(known) // ANSWER_SHARE

    def _enabled(self, facts: Facts) -> tuple[str, ...]:
        """All models here of the kind of the request."""
        return self._of_kind([i for i, m in self._config.models.items() if m.enabled and not m.hidden], facts)

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

    def _too_long(self, facts: Facts, most: int) -> BadRequest:
        """No model behind that name holds it: says how much they hold, and who here holds most."""
        rooms = {m: room for m in self._enabled(facts) if (room := self._room(m)) is not None}
        largest = max(rooms, key=lambda m: rooms[m], default="")
        who = f"Here {largest} holds most, up to {rooms[largest]}. " if largest and rooms[largest] > most else ""
        holds = largest and rooms[largest] >= facts.tokens
        who += "Ask for it, or shorten the prompt." if holds else "Shorten it, or add a model that holds more."
        asked = facts.name or "auto"
        text = f"The prompt has about {facts.tokens} tokens, and {asked!r} has a context of {most} tokens at most."
        return BadRequest(f"{text} {who}", param="messages", code=CONTEXT_EXCEEDED)

    def _lacks(self, facts: Facts, need: str) -> RolecastError:
        """No model behind that name can do it: says what is lacking and who here can."""
        candidates = self._enabled(facts)
        those = [m for m in candidates if all(self._can(m, n) for n in facts.needs)]
        if need.startswith(OF_KEY):
            able = f"It may ask for {', '.join(those[:MAX_NAMED])}." if those else "None of its models is here."
            return ModelNotAllowed(f"This key may not ask for {facts.name or 'auto'!r}. {able}", param="model")
        if need in REFUSED:
            able = f"Here {', '.join(those[:MAX_NAMED])} would do. " if those else "No model here would do. "
            return REFUSED[need](f"{facts.name or 'auto'!r} {LACKING[need]}. {able}".rstrip(), param="model")
        able = _those(those) or "No model here can: send it without, or add a model that can."
        return BadRequest(
            f"{facts.name or 'auto'!r} {LACKING[need]}. {able}",
            param="model",
            code="wrong_capability",
        )


def _those(able: Sequence[str]) -> str:
    """Who can, as a sentence; '' when nobody can."""
    more = f" and {len(able) - MAX_NAMED} more" if len(able) > MAX_NAMED else ""
    return f"Here {', '.join(able[:MAX_NAMED])}{more} can." if able else ""


def with_needs(facts: Facts) -> str:
    """What besides the name decided, for people."""
    needs = sorted(need for need in facts.needs if not need.startswith(OF_KEY))
    return f", needs {' and '.join(needs)}" if needs else ""


def permitted(choice: Choice, needs: frozenset[str], can: Can) -> Choice:
    """Of a choice that was made without looking at who asks the models that they may have. Raises without any."""
    asking = [need for need in needs if need in OF_WHOEVER_ASKS or need.startswith(OF_KEY)]
    if not asking:
        return choice

    def may(model_id: str, need: str) -> bool:
        return bool(can((need.startswith(OF_KEY) and choice.guarded) or model_id, need))

    able = tuple(m for m in (choice.model, *choice.alternatives) if all(may(m, need) for need in asking))
    if not able:
        need = next((n for n in sorted(asking) if not may(choice.model, n)), asking[0])
        said = LACKING.get(need, "may not be asked with this key")
        raise REFUSED.get(need, ModelNotAllowed)(f"{choice.model!r} {said}.", param="model")
    equals = tuple(group for each in choice.equals if len(group := tuple(m for m in each if m in able)) > 1)
    return replace(choice, model=able[0], alternatives=able[1:], equals=equals)
