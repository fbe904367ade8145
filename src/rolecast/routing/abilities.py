"""What a model can do besides its kind: see, hear, call tools, and how much it can read at once.

Asks the model that answers (a stand-in, if there is one): first what its backend knows of the weights, then
the words of the configuration. Reads no request and chooses nothing.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from rolecast import backends, weights
from rolecast.backends import reach
from rolecast.config.current import Current
from rolecast.config.edit import Change, Edit
from rolecast.config.names import Name
from rolecast.config.schema import Model
from rolecast.weights import gguf

Can = Callable[[str, str], bool | None]
"""Whether the model of that id can do this; None when nobody knows, as of a remote."""

LACKING = {
    "vision": "cannot take images, and this request holds some",
    "audio": "cannot take sound, and this request holds some",
    "video": "cannot take video, and this request holds some",
    "files": "cannot take files, and this request holds some",
    "insert": "cannot fill a gap before a suffix: its vocabulary has no marks for one that are known here",
    "speaking": "cannot answer with sound, as `modalities` asks",
    "functions": "knows no `functions`; send them as `tools`",
    "search": "cannot search the web, as `web_search_options` asks",
    "thinking": "does not think before it answers, as `think` asks: its chat template knows nothing of it",
    "tools": "cannot be made to call a tool, as `tool_choice` asks: its chat template knows no tools",
    "local": "is elsewhere, and this request may not leave this machine",
    "free": "costs money, and there is none left for this request",
}
"""The words for what a request may need, which are the words of `capabilities`, and what is said without."""


OF_WHOEVER_ASKS: Mapping[str, Callable[[Model], bool]] = {
    "local": lambda model: not reach.leaves(model),
    "free": reach.is_free,
}
"""Needs of a request that come from who asks, and how a model meets them."""

OF_KEY = "key:"
"""How the need of a key with a list of models begins; a name for the list follows."""
Reaches = Callable[[str, str, Mapping[str, Name]], bool]
"""Whether a list of that name has the model of that id, by these names."""


def declared(model: Model, need: str) -> bool:
    """Whether the configuration says that the model can do it."""
    return need in model.capabilities or (need == "tools" and model.tools)


def stated_room(model: Model) -> int | None:
    """The context that the configuration gives this model; None when it gives none."""
    return model.context if model.context != Model().context else None


def _tells_context(model: Model) -> bool:
    """Whether its command is told the context, so that it has the one that is configured."""
    return any("{context}" in word for word in model.command)


class Abilities:
    """What the models of the current configuration can do."""

    def __init__(self, current: Current, find: Callable[[Model], Path | None]) -> None:
        self._current = current
        self._find = find
        self.reaches: Reaches = lambda *_: False
        """Which models a key with a list of them may reach; the keys' own."""

    def can(self, model_id: str, need: str) -> bool | None:
        """Whether the model that answers for this one can do it; None = not known.

        A key may reach a name, too, that is judged by itself (`Name.guarded`).
        """
        if need.startswith(OF_KEY):
            return self.reaches(need[len(OF_KEY) :], model_id, self._current.names)
        model = self._current.config.models[self._current.answerer_of(model_id)]
        if (rule := OF_WHOEVER_ASKS.get(need)) is not None:
            return rule(model)
        said = self._said(model, need)
        return (declared(model, need) or None) if said is None else said

    def context(self, model_id: str) -> int | None:
        """Tokens that a request to this model may really have, by the weights that answer; None = not known."""
        model = self._current.config.models[self._current.answerer_of(model_id)]
        return weights.context(model, weights.found(self._find, model)) or None

    def room(self, model_id: str) -> int | None:
        """Tokens that prompt and answer may have together, for choices; None = not known.

        Of a server elsewhere only what its configuration says counts, not what stands for nothing said.
        """
        model = self._current.config.models[self._current.answerer_of(model_id)]
        if not backends.get(model.backend).spawns or (model.command and not _tells_context(model)):
            return stated_room(model)
        return self.context(model_id)

    def size(self, model_id: str) -> int | None:
        """Bytes of the weights that answer for this model; None = they are not here, or nobody knows."""
        model = self._current.config.models[self._current.answerer_of(model_id)]
        path = weights.found(self._find, model)
        headers = [gguf.known(part) for part in weights.parts(path)] if path else []
        return sum(header.tensor_bytes for header in headers if header) or None

    def marks(self, model_id: str) -> tuple[str, ...]:
        """The tokens around a gap that is to be filled, if it is us who must write them into the prompt; else none."""
        model = self._current.config.models[model_id]
        return backends.get(model.backend).marks(model, weights.found(self._find, model))

    def logits(self, model_id: str) -> bool:
        """Whether its scores of a ranking are logits."""
        model = self._current.config.models[model_id]
        return backends.get(model.backend).logits(model, weights.found(self._find, model))

    async def prepare(self, edit: Edit) -> Change:
        """Learn what the models can do before a request asks it; nothing to refuse."""
        await asyncio.to_thread(self.learn, edit.config.models.values())
        return Change()

    def learn(self, models: Iterable[Model]) -> None:
        """Read now, in a thread, what the weights of these models say, so that no request waits for the disk."""
        for model in models:
            if model.enabled:
                self._said(model, "tools")

    def words(self, model_id: str) -> list[str]:
        """The capabilities of the model that answers for this one, as a list shows them."""
        model = self._current.config.models[self._current.answerer_of(model_id)]
        said = {need: self.can(model_id, need) for need in LACKING if need not in ("tools", *OF_WHOEVER_ASKS)}
        kept = [word for word in model.capabilities if said.get(word) is not False]
        return [*kept, *(need for need, can in said.items() if can and need not in kept)]

    def _said(self, model: Model, need: str) -> bool | None:
        return backends.get(model.backend).can(model, weights.found(self._find, model), need)
