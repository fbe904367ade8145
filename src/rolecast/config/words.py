"""Words by which systems name a kind of model rather than a model: tiers, roles, categories, capabilities.

They stand for what this configuration has of the kind (`labels` says which roles). Whatever it calls by such a word
itself comes first: `names` is asked before. Chooses nothing; destructive commands do not look here.
"""

from collections.abc import Iterable, Mapping

from rolecast.config.labels import MEANS, spellings
from rolecast.config.labels import task_of as category
from rolecast.config.names import Name, untagged
from rolecast.config.names import find as find_name
from rolecast.config.schema import Config
from rolecast.config.tasks import Task


def find(config: Config, names: Mapping[str, Name], asked: str) -> Name | None:
    """What is meant by such a word: the models that list it, else a role, else the default role; None for no word.

    Two spellings of a category are one. A role is there with the models it has.
    """
    word = untagged(asked)
    if (name := own(config, names, word)) is not None:
        return name
    roles = next((MEANS[spelling] for spelling in spellings(word) if spelling in MEANS), None)
    if roles is None and task(config, word) is not None:
        roles = ()  # a task of the user's own stands for no role
    return None if roles is None else first(config, names, (*roles, config.routing.default))


def own(config: Config, names: Mapping[str, Name], word: str) -> Name | None:
    """What this configuration itself calls by that word, or the models that list it as a capability.

    A task's model comes before all of these.
    """
    written = spellings(word)
    if (name := of_task(config, names, word)) is not None:
        return name
    for spelling in written:
        if spelling in names and _answers(config, names[spelling]):
            return names[spelling]
    able = [i for i, m in config.models.items() if m.enabled and not {*written}.isdisjoint(m.capabilities)]
    return Name(word, "role", tuple(able)) if able else None


def task(config: Config, word: str) -> Task | None:
    """What the section `tasks` says of the task of that name, however it is spelled there."""
    if not config.tasks:
        return None
    known = {category(key): each for key, each in config.tasks.items()}
    return known.get(category(word))


def of_task(config: Config, names: Mapping[str, Name], word: str) -> Name | None:
    """Who answers a task, where the section `tasks` says so and they can."""
    own = task(config, word)
    name = find_name(names, own.model) if own is not None and own.model else None
    return name if name is not None and _answers(config, name) else None


def first(config: Config, names: Mapping[str, Name], roles: Iterable[str]) -> Name | None:
    """The first of these roles that is configured and has somebody who answers."""
    meant = (names[role] for role in roles if role in names)
    return next((name for name in meant if _answers(config, name)), None)


def _answers(config: Config, name: Name) -> bool:
    return any(config.models[model_id].enabled for model_id in name.models)
