"""The configuration that applies now, with what follows from it. The one thing that a reload replaces.

Everything that needs a setting while requests run asks here, so a reload is one assignment seen by all.
"""

from collections.abc import Mapping
from functools import partial

from rolecast.config.edit import Change, Edit
from rolecast.config.names import Name
from rolecast.config.schema import Config


class Current:
    """A configuration, its table of names, and which models are answered by a stand-in."""

    __slots__ = ("config", "names", "stand_ins")

    config: Config
    names: dict[str, Name]
    stand_ins: Mapping[str, str]
    """Model that runs, by model that was asked for."""

    def __init__(self, edit: Edit) -> None:
        self._replace(edit)

    async def prepare(self, edit: Edit) -> Change:
        """Nothing to refuse: it was read and checked before."""
        return Change(partial(self._replace, edit))

    def _replace(self, edit: Edit) -> None:
        self.config, self.names, self.stand_ins = edit.config, edit.names, edit.stand_ins

    def answerer_of(self, model_id: str) -> str:
        """The model that answers for this one: itself, or its stand-in."""
        return self.stand_ins.get(model_id, model_id)
