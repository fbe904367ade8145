"""Conductor's categories: what a task may be called, and which role of a configuration it is for.

A category decides the model: the section `tasks` may name it; else it is that of a role of its name, or the one that
lists it. Else it goes to the role that it stands for, or to the default role, so every task has somebody who answers.
A task of the user's own is a category, too. Knows no prompt and judges no text.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from rolecast.config import labels, words
from rolecast.config.labels import CATEGORIES, EXTERNAL, GENERAL, TWINS
from rolecast.config.names import RESERVED, Name, find, table, untagged
from rolecast.config.schema import Config
from rolecast.values import Kind


class Category(msgspec.Struct, frozen=True):
    """A category as a configuration has it."""

    name: str
    """What replies call it."""
    asked: str
    """The name that requests of it ask for; '' = whoever the category stands for."""
    models: tuple[str, ...]
    """Who answers, best first."""
    kind: Kind = "chat"
    """What is wanted of them."""


class Categories:
    """The categories of one configuration."""

    def __init__(self, names: Mapping[str, Name], config: Config) -> None:
        self._names = names
        self._config = config
        self._default = names.get(config.routing.default)
        self._role_of: dict[str, str] = {}
        for word in self._in_order():
            for model_id in names[word].models:
                self._role_of.setdefault(model_id, labels.category(word))

    @classmethod
    def of(cls, config: Config) -> "Categories":
        """Those of this configuration."""
        return cls(table(config), config)

    def __iter__(self) -> Iterator[Category]:
        """All that somebody answers: the known ones, then the other roles."""
        own = [name for word in self._config.tasks if not labels.category(name := labels.task_of(word))]
        known = (self.find(name) for name in (*CATEGORIES, *own))
        roles = (n for n in self._names.values() if n.kind == "role" and not labels.category(n.name))
        others = (Category(n.name, n.name, n.models) for n in roles if n.name not in own)
        yield from (each for each in (*filter(None, known), *others) if self._talks(each))

    def find(self, word: str) -> Category | None:
        """The category of that name, however it is spelled; None = nobody knows it, or nobody can do it."""
        name = labels.category(word)
        if not name and words.task(self._config, word) is not None:
            name = labels.task_of(word)
        if name and (chosen := words.of_task(self._config, self._names, name)) is not None:
            return Category(name, chosen.name, chosen.models)
        if not name:
            other = find(self._names, word)
            return None if other is None or other.kind == "model" else Category(other.name, other.name, other.models)
        for spelled in labels.spellings(name):
            if (role := self._names.get(spelled)) is not None and role.models:
                return Category(name, role.name, role.models, self._kind(name, role.models))
        meant = words.own(self._config, self._names, name)
        if meant is None and name != EXTERNAL:
            meant = words.find(self._config, self._names, name)
        return None if meant is None else Category(name, "", meant.models, self._kind(name, meant.models))

    def of_model(self, asked: str) -> str:
        """What a request for that model, alias or role is for; '' and `auto` mean the default role."""
        name = self._default if untagged(asked) in RESERVED else find(self._names, asked)
        if name is None:
            return GENERAL
        if known := labels.category(name.name):
            return known
        return next((role for model in name.models if (role := self._role_of.get(model))), GENERAL)

    def all_of(self, model_id: str) -> list[str]:
        """Every category that the model is the first to answer, or a later one."""
        return [each.name for each in self if each.asked and model_id in each.models]

    def _in_order(self) -> Iterator[str]:
        """The roles that are categories, as the configuration has them."""
        return (role for role in self._config.roles if role in (*CATEGORIES, *TWINS))

    def _talks(self, category: Category) -> bool:
        models = (self._config.models.get(model_id) for model_id in category.models)
        return any(model is not None and category.kind in model.capabilities for model in models)

    def _kind(self, name: str, models: Sequence[str]) -> Kind:
        """Images of those who make them; what a language model says of an image is a chat."""
        paints = name == EXTERNAL and any("images" in self._config.models[model].capabilities for model in models)
        return "images" if paints else "chat"
