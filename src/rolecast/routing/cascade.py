"""A cascade: a small model answers first, a bigger one where the small one was not sure of its own words.

How sure that is, is the geometric mean of the probabilities of its first tokens. Pure.
"""

import math
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from rolecast.config.routing import Cascade
from rolecast.decision import Choice, Trial, Verdict
from rolecast.values import Chat

OPEN = ("default", "learned")
"""Sources of a choice that a cascade may stand in for: a rule of the user's and a model that was asked are heeded."""

HEAVY = "heavy"
"""Who answers where the chosen model is the one that tries."""


def trial(setting: Cascade, choice: Choice, settle: Callable[[Verdict], Choice | None]) -> tuple[Choice, Trial] | None:
    """Who answers first in place of `choice`, and how that is judged; None where nothing would be gained."""
    if not setting.enabled or choice.source not in OPEN:
        return None
    first = settle(Verdict(setting.first, "cascade", f"{setting.first} is asked first"))
    if first is None:
        return None
    small = (first.model, *first.alternatives)
    if setting.then or choice.model in small:
        name = setting.then or HEAVY
        then = settle(Verdict(name, "cascade", name))
    else:
        then = replace(choice, source="cascade", reason=choice.role or choice.model)
    if then is None:
        return None
    large = tuple(m for m in (then.model, *then.alternatives) if m not in small)
    if not large or then.model in small:
        return None
    # Each stands in for the other: an answer that nobody judged is better than none.
    then = replace(then, alternatives=(*large[1:], *small))
    equals = tuple(group for group in first.equals if first.model in group)
    first = replace(first, alternatives=large, equals=equals)
    models = next((group for group in equals), (first.model,))
    return first, Trial(int(setting.tokens), float(setting.min_confidence), setting.first, then, models)


def may_cascade(chat: Chat) -> bool:
    """Whether a chat may be answered twice: not with tools, in a call, or where the answer must fit a schema.

    Under a grammar most tokens have no choice, and a call is no text.
    """
    offers = bool(chat.tools) and chat.tool_choice != "none"
    in_call = bool(chat.messages) and (chat.messages[-1].role == "tool" or bool(chat.messages[-1].tool_calls))
    return not offers and not in_call and chat.answer_schema is None


def confidence(logprobs: Sequence[float]) -> float:
    """The geometric mean of the probabilities, from natural logarithms: exp(sum / n); 0 without any."""
    if not logprobs:
        return 0.0
    return math.exp(sum(min(0.0, each) for each in logprobs) / len(logprobs))
