"""Whether a conversation stays with its model: it does, unless what is asked now surely needs more than before. Pure.

A conversation only rises (light, usual, heavy, code), so it changes its model at most so often for that, and cannot go
to and fro. What else may move it is the price, where the model that it is used to has an advantage (`price.HABIT`).
"""

from rolecast.decision import Bond, Choice, Facts

LEVELS = {"router": 0, "light": 0, "standard": 1, "heavy": 2, "reasoning": 2, "coding": 3}
"""Roles of the usual names; any other one is as good as the first of a kind of its own."""
LIGHT, USUAL, HEAVY, CODE = range(4)
CODING = ("code_completion", "code_generation", "code_review")
"""Categories that are the coding role's."""


REFUSED = "refused it"
"""How the reason of a choice ends whose model stepped in for one that cannot do what is asked."""


def is_firm(choice: Choice) -> bool:
    """Whether the next turn stays with this model: not if it stepped in for one that only failed just now.

    What a model refused stays in the conversation, so it would refuse the next turn too.
    """
    return choice.source not in ("fallback", "warm") or choice.reason.endswith(REFUSED)


def level(choice: Choice) -> int:
    """How much the request asks for, by the role that was decided and by what it surely is."""
    if choice.role == "coding" or choice.task in CODING:
        return CODE
    if choice.tier == "heavy" and choice.source == "default":  # a role that was decided says more than a tier
        return HEAVY
    return LEVELS.get(choice.role, USUAL)


def is_bound(facts: Facts) -> bool:
    """Whether the request goes on with something: its conversation had a turn before, or waits for a tool."""
    return facts.open_call or facts.turns != 1


def keeps(bond: Bond, choice: Choice, default: str) -> bool:
    """Whether this request may stay with the conversation's model, even where that is none of the role.

    Not when it surely asks for more than all before, when a rule says who answers, or when it is for another role of
    the user's own.
    """
    asked = level(choice)
    if asked == USUAL and choice.source == "default":
        asked = LIGHT  # nobody is sure that it is more
    if asked > bond.level:
        return False
    if bond.model == choice.model or bond.model in choice.alternatives:
        return True
    own = choice.role not in LEVELS and choice.role != default
    return choice.source != "rule" and not (own and choice.role != bond.role)
