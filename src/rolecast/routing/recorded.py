"""A request as it was written down: strategies see what was seen of it then, and its words are gone.

So a choice can be made once more by another configuration. Rules that look for words cannot fit, nor those that look
for `metadata` in words of the caller's own.
"""

from rolecast.decision import Facts, Hints, Said, Seen
from rolecast.routing.view import QUESTIONS, View


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
        self.seen = seen
        self.difficulty = seen.difficulty
        self.fails = seen.fails

    def opinion(self, of: str) -> Said | None:
        """What was said then; None for a question that nobody asked."""
        return self.seen.opinions.get(of)

    def odds(self, of: str) -> dict[str, float]:
        """Only the likeliest label was kept."""
        said = self.seen.opinions.get(of)
        return {said.label: said.confidence} if said is not None else {}

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the user's own that were sure then."""
        return {of: said.label for of, said in self.seen.opinions.items() if of not in QUESTIONS and said.sure}
