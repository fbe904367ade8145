"""A request as it was written down: strategies see what was seen of it then, and its words are gone.

So a choice can be made once more by another configuration. Rules that look for words cannot fit, nor those that look
for `metadata` in words of the caller's own.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import msgspec

from rolecast.decision import Facts, Hints, Seen
from rolecast.routing.view import QUESTIONS, View

if TYPE_CHECKING:  # numpy comes with it
    from rolecast.routing.learned import Opinion


class _Opinion(msgspec.Struct, frozen=True):
    """As `learned.Opinion`, of which only the likeliest label was kept."""

    head: str
    label: str
    confidence: float
    sure: bool
    probabilities: Mapping[str, float]


def facts_of(seen: Seen) -> Facts:
    """The facts that were kept, of a request that named nobody."""
    return Facts(
        "auto",
        seen.kind,
        needs=frozenset(seen.needs),
        prefers=frozenset(seen.prefers),
        language=seen.language,
        tokens=seen.tokens,
        answer_tokens=seen.answer_tokens,
        turns=seen.turns,
        tools=seen.tools,
        images=seen.images,
        code=seen.code,
        schema=seen.schema,
        open_call=seen.open_call,
        background=seen.background,
        hints=Hints(
            category=seen.hints.get("category", ""),
            channel=seen.hints.get("channel", ""),
            type=seen.hints.get("type", ""),
            prefer=seen.hints.get("prefer", ""),
            metadata=seen.hints,
        ),
    )


class Recorded(View):
    """One request of the past."""

    def __init__(self, seen: Seen) -> None:
        super().__init__(facts_of(seen), lambda: None, {})
        self._kept = self.seen = seen

    def opinion(self, of: str) -> "Opinion | None":
        """What was said then; None for a question that nobody asked."""
        said = self._kept.opinions.get(of)
        if said is None:
            return None
        kept = _Opinion(of, said.label, said.confidence, said.sure, {said.label: said.confidence})
        return cast("Opinion", kept)

    @property
    def difficulty(self) -> float:
        """As it was judged then."""
        return self._kept.difficulty

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the user's own that were sure then."""
        return {of: said.label for of, said in self._kept.opinions.items() if of not in QUESTIONS and said.sure}

    @property
    def fails(self) -> float:
        """As it was judged then."""
        return self._kept.fails
