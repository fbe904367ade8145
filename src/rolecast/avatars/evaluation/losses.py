"""Loss on the person's unseen replies and on plain questions, of the avatar and of its base."""

import math
from collections import Counter
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


def measure(loaded: Loaded, held_out: Sequence[Example], learnt: Sequence[str] = ()) -> Losses:
    """All of them, in nats per token; of the base where there is one, else of counting tokens of `learnt`."""
    replies = [(before, loaded.reply(each.target_text)) for each in held_out if (before := loaded.prompt(each))]
    plain = [(before, loaded.reply(each.answer)) for each in questions() if (before := loaded.ask(each.question))]
    own, own_plain = _mean(loaded, replies), _mean(loaded, plain)
    if not loaded.adapted:
        return Losses(len(replies), own, None, own_plain, None, _counted(loaded.replies(learnt), replies))
    with loaded.as_base():
        base, base_plain = _mean(loaded, replies), _mean(loaded, plain)
    return Losses(len(replies), own, base, own_plain, base_plain)


def _counted(learnt: Sequence[Sequence[int]], pairs: Sequence[Pair]) -> float | None:
    """What knows only how often each token was learnt (Laplace: one more of each, and one for all that never was)."""
    counts = Counter(token for reply in learnt for token in reply)
    said = [token for _, reply in pairs for token in reply]
    if not counts or not said:
        return None
    total = math.log(counts.total() + len(counts) + 1)
    return sum(total - math.log(counts[token] + 1) for token in said) / len(said)


def _mean(loaded: Loaded, pairs: Sequence[Pair]) -> float | None:
    if not pairs:
        return None
    each = loaded.losses(pairs)
    return sum(loss for loss, _ in each) / sum(count for _, count in each)
