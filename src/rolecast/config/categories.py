"""Conductor's categories: what a task may be called, and which role of a configuration it is for.

A category decides the model by a role of its name. What is no role here goes to the default role, so every task has
somebody who answers. Knows no prompt and judges no text.
"""

from collections.abc import Iterator, Mapping

import msgspec

from rolecast.config.names import RESERVED, Name, find, table, untagged
from rolecast.config.schema import Config

GENERAL = "general_reasoning"
CHATTING = "conversational_chat"
EXTERNAL = "image_generation"
"""Made by no model of text: only a role of that name answers it."""
CATEGORIES = (
    GENERAL,
    CHATTING,
    "code_completion",
    "code_generation",
    "mathematical_reasoning",
    "translation",
    "creative_writing",
    "instruction_following",
    "summarization",
    "question_answering",
    "scientific_research",
    "legal_analysis",
    "code_review",
    "long_context",
    EXTERNAL,
)
"""By the names that replies use."""
TWINS = {
    "code_review_debugging": "code_review",
    "legal_document_analysis": "legal_analysis",
    "long_context_tasks": "long_context",
}
"""As a table of models spells them, and as replies do."""


class Category(msgspec.Struct, frozen=True):
    """A category as a configuration has it."""

    name: str
    """What replies call it."""
    asked: str
    """The name that requests of it ask for; '' = the default role."""
    models: tuple[str, ...]
    """Who answers, best first."""


class Categories:
    """The categories of one configuration."""

    def __init__(self, names: Mapping[str, Name], config: Config) -> None:
        self._names = names
        self._config = config
        self._default = names.get(config.routing.default)
        self._role_of: dict[str, str] = {}
        for word in self._in_order():
            for model_id in names[word].models:
                self._role_of.setdefault(model_id, TWINS.get(word, word))

    @classmethod
    def of(cls, config: Config) -> "Categories":
        """Those of this configuration."""
        return cls(table(config), config)

    def __iter__(self) -> Iterator[Category]:
        """All that somebody answers: the known ones, then the other roles."""
        known = (self.find(name) for name in CATEGORIES)
        roles = (n for n in self._names.values() if n.kind == "role" and _plain(n.name) not in _KNOWN)
        others = (Category(n.name, n.name, n.models) for n in roles)
        yield from (each for each in (*filter(None, known), *others) if self._talks(each))

    def find(self, word: str) -> Category | None:
        """The category of that name, however it is spelled; None = nobody knows it, or nobody can do it."""
        plain = _plain(word)
        name = TWINS.get(plain, plain)
        if name not in _KNOWN:
            other = find(self._names, word)
            return None if other is None or other.kind == "model" else Category(other.name, other.name, other.models)
        for spelled in (name, *(twin for twin, engine in TWINS.items() if engine == name)):
            if (role := self._names.get(spelled)) is not None and role.models:
                return Category(name, role.name, role.models)
        if name == EXTERNAL:
            return None
        return Category(name, "", self._default.models if self._default else ())

    def of_model(self, asked: str) -> str:
        """What a request for that model, alias or role is for; '' and `auto` mean the default role."""
        name = self._default if untagged(asked) in RESERVED else find(self._names, asked)
        if name is None:
            return GENERAL
        if (plain := _plain(name.name)) in _KNOWN:
            return TWINS.get(plain, plain)
        return next((role for model in name.models if (role := self._role_of.get(model))), GENERAL)

    def all_of(self, model_id: str) -> list[str]:
        """Every category that the model is the first to answer, or a later one."""
        return [each.name for each in self if each.asked and model_id in each.models]

    def _in_order(self) -> Iterator[str]:
        """The roles that are categories, as the configuration has them."""
        return (role for role in self._config.roles if role in _KNOWN)

    def _talks(self, category: Category) -> bool:
        models = (self._config.models.get(model_id) for model_id in category.models)
        return any(model is not None and "chat" in model.capabilities for model in models)


_KNOWN = frozenset(CATEGORIES) | frozenset(TWINS)


def _plain(word: str) -> str:
    """As a key is made of the words of a table."""
    return word.strip().lower().replace(" ", "_").replace("/", "_")
