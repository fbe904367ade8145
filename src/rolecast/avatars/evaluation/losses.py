"""Loss on the person's unseen replies and on plain questions, of the avatar and of its base."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import msgspec

from rolecast.avatars.evaluation.figures import Losses
from rolecast.avatars.evaluation.loaded import Loaded
from rolecast.avatars.example import Example

Pair = tuple[list[int], list[int]]


class Question(msgspec.Struct, frozen=True):
    """A plain question with a plain answer: what a base can do and an avatar should not lose."""

    question: str
    answer: str


@cache
def questions() -> tuple[Question, ...]:
    """Those of the product. No rehearsal may ask one of them: what was practised does not show what was forgotten."""
    data = (files("rolecast.data") / "avatars" / "plain_questions.jsonl").read_bytes()
    return tuple(msgspec.json.decode(line, type=Question) for line in data.splitlines() if line.strip())


def measure(loaded: Loaded, held_out: Sequence[Example]) -> Losses:
    """All four, in nats per token; of the base only where there is one."""
    replies = [(before, loaded.reply(each.target_text)) for each in held_out if (before := loaded.prompt(each))]
    plain = [(before, loaded.reply(each.answer)) for each in questions() if (before := loaded.ask(each.question))]
    own, own_plain = _mean(loaded, replies), _mean(loaded, plain)
    if not loaded.adapted:
        return Losses(len(replies), own, None, own_plain, None)
    with loaded.as_base():
        base, base_plain = _mean(loaded, replies), _mean(loaded, plain)
    return Losses(len(replies), own, base, own_plain, base_plain)


def _mean(loaded: Loaded, pairs: Sequence[Pair]) -> float | None:
    if not pairs:
        return None
    each = loaded.losses(pairs)
    return sum(loss for loss, _ in each) / sum(count for _, count in each)
