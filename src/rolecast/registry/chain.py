"""Who is asked, one after the other, once a provider was chosen: those that match and may be asked, then our own. Pure.

A request gets so many attempts in all (`retries.attempts`), and a chain has no more models. The last of them is one of
our own that does what is needed: nobody who registered can keep a request from being answered.
"""

from collections.abc import Sequence

import msgspec

from rolecast.errors import NotFound
from rolecast.registry.policy import Candidate, Selection, Wish, choose


class Chain(msgspec.Struct, frozen=True):
    """The models to ask, best first, and who was passed over before the first of them."""

    models: tuple[str, ...]
    skipped: tuple[Candidate, ...]
    """Better, but never asked from here; each says why."""


def chain_of(
    selection: Selection, own: Sequence[Candidate], wish: Wish, usual: Sequence[str] = (), attempts: int = 3
) -> Chain:
    """The chain for this selection. `own` are our models, `usual` those of them that answer when nobody is named."""
    matched = (selection.first, *selection.others)
    askable = [each.model_id for each in matched if each.model_id]
    first = next((at for at, each in enumerate(matched) if each.model_id), len(matched))
    others = [each for each in _substitutes(own, wish, usual) if each not in askable]
    kept = askable[: max(attempts - 1, 1)] if others else askable
    return Chain((*kept, *others)[:attempts], matched[:first])


def _substitutes(own: Sequence[Candidate], wish: Wish, usual: Sequence[str]) -> list[str]:
    """Our models that can answer a chat in the place of any other, within the same bounds, this machine's first."""
    others = msgspec.structs.replace(wish, model="", capability="chat", prefer_local=True)
    try:
        found = choose(own, others)
    except NotFound:
        return []
    rank = {model_id: at for at, model_id in enumerate(usual)}
    able = (found.first, *found.others)
    able = tuple(sorted(able, key=lambda each: (not each.local, not each.well, rank.get(each.model_id, len(rank)))))
    return [each.model_id for each in able]
