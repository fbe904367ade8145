"""Proves, before anybody is served, that the engine keeps adapters apart: that what one has read is no other's.

An engine that finds prompts again by their tokens alone lets one person's avatar go on with what another's has read:
the answer is fluent, and somebody else's. No error tells of it, so it is looked for at each start. What is compared is
how likely the next tokens are. Knows only how a question is put to the engine.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import exp
from typing import Any

Ask = Callable[[dict[str, Any]], Any]
"""Puts a body of `/v1/completions` to the engine, and gives its answer."""
Seen = Mapping[str, float]
"""The likeliest next tokens, with their probabilities."""

TOP = 20
QUESTIONS = (
    "the water of the people is on the way and they see it",
    "my first number has two parts so write down who called",
)
LOOKED_AT = 4
"""So many adapters are looked at for the two that differ most: how the engine keeps two apart is how it keeps all."""
ROUNDS = 2
"""So often everybody asks at the same time."""
NOISE = 0.02
"""So much two answers to the same differ by rounding alone, at most: tokens are computed in other company."""
NEAR = 0.25
"""An answer is somebody's own when it differs from that by less than this part of what it differs from the others'."""


class Mixed(Exception):
    """The engine mixes adapters."""


def prove(ask: Ask, count: int) -> None:
    """Ask with the two adapters that differ most (and with none, where there is one), alone and in turns.

    Raises Mixed when an answer is another's. Takes about twenty short prompts, however many adapters there are.
    """
    first, second = QUESTIONS
    adapters = [*range(min(count, LOOKED_AT)), None]
    alone = {one: _ask(ask, first, one, count, cached=False) for one in adapters}
    here, other = _pair(alone)
    own = {(one, first): alone[one] for one in (here, other)}
    own |= {(one, second): _ask(ask, second, one, count, cached=False) for one in (here, other)}

    def check(one: int | None, question: str, slot: int | None = None) -> None:
        found = _ask(ask, question, one, count, cached=True, slot=slot)
        theirs = own[other if one == here else here, question]
        if not is_own(found, own[one, question], theirs):
            raise Mixed(
                "the engine mixes its adapters: after another one had read the same prompt, an answer was not the one "
                "that this adapter gives alone. Nobody is served by it, because avatars would speak with each other's "
                "words; check `prompt_cache` (0), and take another release of the engine."
            )

    turns = [(other, first), (here, second), (here, first)]
    for slot in (0, None):
        for one, question in turns:
            check(one, question, slot)
    with ThreadPoolExecutor(len(own)) as threads:
        for _ in range(ROUNDS):
            list(threads.map(lambda each: check(*each), own))


def is_own(found: Seen, own: Seen, theirs: Seen) -> bool:
    """Whether what was found is what this one says alone, and nothing of what the other would say."""
    return distance(found, own) <= max(NOISE, NEAR * distance(own, theirs))


def distance(one: Seen, other: Seen) -> float:
    """How much probability would have to move to make one of the other: from 0 to 1."""
    return sum(abs(one.get(token, 0.0) - other.get(token, 0.0)) for token in {*one, *other}) / 2


def _pair(alone: Mapping[int | None, Seen]) -> Sequence[int | None]:
    """The two that differ most."""
    names = list(alone)
    pairs = ((one, other) for i, one in enumerate(names) for other in names[i + 1 :])
    return max(pairs, key=lambda pair: distance(alone[pair[0]], alone[pair[1]]))


def _ask(
    ask: Ask, question: str, adapter: int | None, count: int, *, cached: bool, slot: int | None = None
) -> dict[str, float]:
    body: dict[str, Any] = {
        "prompt": question,
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": TOP,
        "n_probs": TOP,
        "cache_prompt": cached,
        "lora": [{"id": i, "scale": 1.0 if i == adapter else 0.0} for i in range(count)],
    }
    if slot is not None:
        body["id_slot"] = slot
    answer = ask(body)
    try:
        top = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        return {str(each["id"]): exp(each["logprob"]) for each in top}
    except (KeyError, IndexError, TypeError) as error:
        raise Mixed(
            "the engine could not be asked whether it keeps adapters apart: its answer lacks the probabilities."
        ) from error
