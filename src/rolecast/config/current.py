"""The configuration that applies now, with what follows from it. The one thing that a reload replaces.

Everything that needs a setting while requests run asks here, so a reload is one assignment seen by all.
"""

from collections.abc import Mapping

from rolecast.config import names
from rolecast.config.names import Name
from rolecast.config.schema import Config


class Current:
    """A configuration, its table of names, and which models are answered by a stand-in."""

    __slots__ = ("config", "names", "stand_ins")

    config: Config
    names: dict[str, Name]
    stand_ins: Mapping[str, str]
    """Model that runs, by model that was asked for."""

    def __init__(self, config: Config, stand_ins: Mapping[str, str]) -> None:
        self.replace(config, stand_ins)

    def replace(self, config: Config, stand_ins: Mapping[str, str]) -> None:
        """Another configuration applies from now on."""
        self.config = config
        self.names = names.table(config)
        self.stand_ins = stand_ins

    def answerer_of(self, model_id: str) -> str:
        """The model that answers for this one: itself, or its stand-in."""
        return self.stand_ins.get(model_id, model_id)
