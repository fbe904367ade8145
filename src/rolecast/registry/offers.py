"""Everybody whom a choice of a provider may fall on, as they stand just now: who registered, and our own models.

What seldom changes is kept until the configuration or a registration does; how they fare is asked each time. Contacts
nobody.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from urllib.parse import urlsplit

import msgspec

from rolecast.backends import reach
from rolecast.config.current import Current
from rolecast.config.loopback import is_loopback
from rolecast.config.names import Name, members
from rolecast.config.schema import Config, Model
from rolecast.decision import Card
from rolecast.registry.directory import PREFIX, Directory
from rolecast.registry.observed import Observed
from rolecast.registry.policy import Candidate, Wish, ranked
from rolecast.registry.providers import Provider
from rolecast.routing.abilities import LACKING, OF_WHOEVER_ASKS, Can, stated_room
from rolecast.statefile import Address
from rolecast.turn.plan import provider_of, rates_of

DOMAIN_PORT = "tlc_domain_classifier"
DOMAIN_WORDS = frozenset({"domain_classification", "tmd_extraction", "domain_validation"})
"""Capabilities of that port alone, whichever other ports its model has."""
_NOT_WELL = ("failed", "absent", "disabled")
_FEATURES = {"tools": "function_calling"}
"""Our word for an ability, where providers have another one."""
_LOOPBACK = ("127.0.0.1", "[::1]", "0.0.0.0", "[::]")  # shown, not bound


class Ours(msgspec.Struct, frozen=True):
    """Our own models as candidates, for one configuration."""

    of: Mapping[str, Name]
    """The table of names that it was made of."""
    models: Mapping[str, Candidate]


class Offers:
    """Candidates of this moment."""

    def __init__(
        self,
        current: Current,
        directory: Directory,
        observed: Observed,
        can: Can,
        card: Callable[[str], Card],
        bare_card: Callable[[str], Card],
        state: Callable[[str], str],
        places: Callable[[], Sequence[Address]],
    ) -> None:
        self._current = current
        self._directory = directory
        self._observed = observed
        self._can = can
        self._card = card
        self._bare_card = bare_card
        """The same without what failures just now add to the wait."""
        self._state = state
        self._places = places
        self._ours = Ours({}, {})
        self._registered: dict[str, list[Candidate]] = {}
        self._by_capability: dict[str, list[Candidate]] | None = None
        self._of = (-1, self._ours.of)

    async def ready(self) -> None:
        """Learn what a new configuration says; nothing to do as long as it is the same."""
        if self._ours.of is not self._current.names:
            names, config = self._current.names, self._current.config
            self._ours = Ours(names, await asyncio.to_thread(partial(_ours, config, names, self._can)))
        if self._of != (version := (self._directory.version, self._current.names)):
            self._of, self._registered, self._by_capability = version, {}, None

    def for_wish(self, wish: Wish) -> list[Candidate]:
        """All that may match it: whom an index finds, so that thousands of others cost nothing."""
        if wish.model:
            registered = self._of_model(wish.model)
            ours = [each for each in self._ours.models.values() if wish.model in each.names]
        else:
            registered = self._with_capability(wish.capability)
            ours = [each for each in self._ours.models.values() if wish.capability in each.capabilities]
        return [*self._now(registered), *self._told(self._now(ours), wish.capability)]

    def own(self, names: Iterable[str] = ()) -> list[Candidate]:
        """Our own models, or those of them with these ids, in that order."""
        models = self._ours.models
        chosen = [models[i] for i in names if i in models] if names else list(models.values())
        return self._told(self._now(chosen), "")

    def capabilities(self) -> list[str]:
        """All that some model here is for, or a registered provider says it is."""
        ours = {word for each in self._ours.models.values() for word in each.capabilities}
        return sorted(ours | set(self._indexed()))

    # -- who registered -----------------------------------------------------------------------------------

    def _of_model(self, model: str) -> list[Candidate]:
        found = self._registered.get(model)
        if found is None:
            found = [self._candidate(each) for each in self._directory.known.of_model(model)]
            if found:  # names that nobody serves are not kept: anybody may ask for any
                self._registered[model] = found
        return found

    def _with_capability(self, word: str) -> list[Candidate]:
        return self._indexed().get(word, [])

    def _indexed(self) -> dict[str, list[Candidate]]:
        if self._by_capability is None:
            found: dict[str, list[Candidate]] = {}
            for each in self._directory.known.active():
                candidate = self._candidate(each)
                for word in candidate.capabilities:
                    found.setdefault(word, []).append(candidate)
            self._by_capability = found
        return self._by_capability

    def _candidate(self, provider: Provider) -> Candidate:
        model_id, why_not = self._directory.model_of(provider)
        said = provider.metadata.get("capabilities")
        words = [word for word in said if isinstance(word, str)] if isinstance(said, list) else []
        free = not (provider.input_cost or provider.output_cost)
        return ranked(
            Candidate(
                name=provider.name,
                model=provider.model,
                endpoint=provider.endpoint,
                provider=provider.name,
                names=frozenset({provider.model}),
                local=free and _is_here(provider.endpoint),
                context=provider.context_window,
                features=frozenset(provider.features),
                capabilities=frozenset((*provider.features, *words)),
                input_cost=provider.input_cost,
                output_cost=provider.output_cost,
                latency_ms=provider.latency_ms,
                model_id=model_id,
                why_not=why_not,
            )
        )

    # -- how they fare ------------------------------------------------------------------------------------

    def _now(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The same as they stand; of those that are never asked nobody knows more than they said."""
        times = self._observed.look()
        return [self._as_it_is(each, times) if each.model_id else each for each in candidates]

    def _as_it_is(self, each: Candidate, times: Mapping[str, float]) -> Candidate:
        model_id = each.model_id
        if model_id not in self._current.config.models:  # an edit was faster
            return msgspec.structs.replace(each, model_id="", well=False, why_not="it was removed just now")
        card, bare = self._card(model_id), self._bare_card(model_id)
        p95 = times.get(self._current.answerer_of(model_id))
        now = msgspec.structs.replace(
            each,
            latency_ms=each.latency_ms if p95 is None else p95,
            observed=p95 is not None,
            wait_ms=(card.wait_s + card.load_s) * 1000,
            well=self._state(model_id) not in _NOT_WELL and card.wait_s <= bare.wait_s,
            context=each.context or bare.context,
        )
        return ranked(now)

    # -- our own ------------------------------------------------------------------------------------------

    def _told(self, ours: Iterable[Candidate], capability: str) -> list[Candidate]:
        """With the address of the port that looks like the model, else that of the front door."""
        places = self._places()
        return [msgspec.structs.replace(each, endpoint=_endpoint(each.model, capability, places)) for each in ours]


def _endpoint(model_id: str, capability: str, places: Sequence[Address]) -> str:
    mine = [place for place in places if place.model == model_id]
    wants_domains = capability in DOMAIN_WORDS
    fitting = [place for place in mine if (place.name == DOMAIN_PORT) == wants_domains] or mine or places[:1]
    return shown(fitting[0].url) if fitting else ""


def shown(url: str) -> str:
    """The address as people write it: `localhost` for this machine."""
    scheme, _, rest = url.partition("://")
    host, _, port = rest.rpartition(":")
    return f"{scheme}://localhost:{port}" if host in _LOOPBACK else url


def _is_here(endpoint: str) -> bool:
    try:
        return is_loopback(urlsplit(endpoint).hostname or "")
    except ValueError:
        return False


def _ours(config: Config, names: Mapping[str, Name], can: Can) -> Mapping[str, Candidate]:
    """Every model in use that did not register. Reads the disk."""
    asked: dict[str, set[str]] = {}
    for name in names.values():
        for model_id in name.models:
            asked.setdefault(model_id, set()).add(name.name)
    roles: dict[str, set[str]] = {}
    for role, listed in config.roles.items():
        for model_id in members(listed):
            roles.setdefault(model_id, set()).add(role)
    return {
        model_id: _own(model_id, model, asked.get(model_id, set()), roles.get(model_id, set()), can)
        for model_id, model in config.models.items()
        if model.enabled and not model_id.startswith(PREFIX)
    }


def _own(model_id: str, model: Model, names: set[str], roles: set[str], can: Can) -> Candidate:
    words = [word for word in LACKING if word not in OF_WHOEVER_ASKS and can(model_id, word)]
    features = {_FEATURES.get(word, word) for word in words} | set(model.capabilities)
    local = not reach.leaves(model)
    rates = rates_of(model)
    free = reach.is_free(model)
    return ranked(
        Candidate(
            name=model_id,
            model=model_id,
            endpoint="",
            provider="local" if local else provider_of(model, away=True),
            names=frozenset({model_id, *names, *filter(None, [model.remote_model])}),
            local=local,
            context=stated_room(model) if not local else None,
            features=frozenset({*features, "streaming"}),
            capabilities=frozenset({*model.capabilities, *roles}),
            input_cost=rates.input if rates else 0 if free else None,
            output_cost=rates.output if rates else 0 if free else None,
            model_id=model_id,
        )
    )
