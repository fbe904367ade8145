"""What a configuration has of the names that strategies speak of: the first of several roles, or its own for a word."""

from collections.abc import Iterable, Mapping

from rolecast.config import words
from rolecast.config.names import Name
from rolecast.config.routing import Routing
from rolecast.config.schema import Config


class Known:
    """The names of one configuration."""

    def __init__(self, names: Mapping[str, Name], config: Config) -> None:
        self._names = names
        self._config = config

    @property
    def routing(self) -> Routing:
        return self._config.routing

    def role(self, *roles: str) -> str:
        """The first of these that is a role here with somebody who answers; '' = none."""
        found = words.first(self._config, self._names, (r for r in roles if self._is_role(r)))
        return found.name if found is not None else ""

    def usual(self, roles: Iterable[str]) -> str:
        """The same; without any of them the default role."""
        return self.role(*roles) or self._config.routing.default

    def own(self, word: str) -> str:
        """The name by which a request reaches what this configuration itself has for that word; '' = nothing."""
        found = words.own(self._config, self._names, word)
        return found.name if found is not None else ""

    def meant(self, word: str) -> str:
        """The name of whoever that word stands for here; '' = it stands for nobody."""
        found = words.find(self._config, self._names, word)
        return found.name if found is not None else ""

    def _is_role(self, name: str) -> bool:
        return name in self._names and self._names[name].kind == "role"
