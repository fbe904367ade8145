"""What a configuration has of the names that strategies speak of: the first of several roles, or its own for a word."""

from collections.abc import Iterable, Mapping

from rolecast.config import words
from rolecast.config.names import Name
from rolecast.config.routing import Routing
from rolecast.config.schema import Config

MOST = 256
"""So many answers are kept of each kind: some words come from callers."""


class Known:
    """The names of one configuration, which never changes."""

    def __init__(self, names: Mapping[str, Name], config: Config) -> None:
        self._names = names
        self._config = config
        self._roles: dict[tuple[str, ...], str] = {}
        self._owns: dict[str, str] = {}

    @property
    def routing(self) -> Routing:
        return self._config.routing

    def role(self, *roles: str) -> str:
        """The first of these that is a role here with somebody who answers; '' = none."""
        if (known := self._roles.get(roles)) is not None:
            return known
        found = words.first(self._config, self._names, (r for r in roles if self._is_role(r)))
        name = found.name if found is not None else ""
        if len(self._roles) < MOST:
            self._roles[roles] = name
        return name

    def usual(self, roles: Iterable[str]) -> str:
        """The same; without any of them the default role."""
        return self.role(*roles) or self._config.routing.default

    def own(self, word: str) -> str:
        """The name by which a request reaches what this configuration itself has for that word; '' = nothing."""
        if (known := self._owns.get(word)) is not None:
            return known
        found = words.own(self._config, self._names, word)
        name = found.name if found is not None else ""
        if len(self._owns) < MOST:
            self._owns[word] = name
        return name

    def meant(self, word: str) -> str:
        """The name of whoever that word stands for here; '' = it stands for nobody."""
        found = words.find(self._config, self._names, word)
        return found.name if found is not None else ""

    def _is_role(self, name: str) -> bool:
        return name in self._names and self._names[name].kind == "role"
