"""Words by which systems name a kind of model rather than a model: tiers, roles, categories, capabilities.

They stand for what this configuration has of the kind (`labels` says which roles). Whatever it calls by such a word
itself comes first: `names` is asked before. Chooses nothing; destructive commands do not look here.
"""

from collections.abc import Iterable, Mapping

from rolecast.config.labels import MEANS, spellings
from rolecast.config.names import Name, untagged
from rolecast.config.schema import Config


def find(config: Config, names: Mapping[str, Name], asked: str) -> Name | None:
    """What is meant by such a word: the models that list it, else a role, else the default role; None for no word.

    Two spellings of a category are one. A role is there with the models it has.
    """
    word = untagged(asked)
    if (name := own(config, names, word)) is not None:
        return name
    roles = next((MEANS[spelling] for spelling in spellings(word) if spelling in MEANS), None)
    return None if roles is None else first(config, names, (*roles, config.routing.default))


def own(config: Config, names: Mapping[str, Name], word: str) -> Name | None:
    """What this configuration itself calls by that word, or the models that list it as a capability."""
    written = spellings(word)
    for spelling in written:
        if spelling in names and _answers(config, names[spelling]):
            return names[spelling]
    able = [i for i, m in config.models.items() if m.enabled and not {*written}.isdisjoint(m.capabilities)]
    return Name(word, "role", tuple(able)) if able else None


def first(config: Config, names: Mapping[str, Name], roles: Iterable[str]) -> Name | None:
    """The first of these roles that is configured and has somebody who answers."""
    meant = (names[role] for role in roles if role in names)
    return next((name for name in meant if _answers(config, name)), None)


def _answers(config: Config, name: Name) -> bool:
    return any(config.models[model_id].enabled for model_id in name.models)
