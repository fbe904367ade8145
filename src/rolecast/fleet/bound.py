"""How long a request waits at most: the bound that the rules of `admission` and `queue` give. Pure arithmetic.

Holds while no worker fails, and no answer, load or end takes longer than is said here. It is a bound, not a forecast:
most requests wait a small part of it.
"""

from collections.abc import Sequence

import msgspec

from rolecast.fleet.admission import FRESH_S, Terms


class Sharer(msgspec.Struct, frozen=True):
    """One of the models that share the memory, with the longest that anything of it takes, in seconds."""

    service_s: float
    load_s: float
    unload_s: float = 0.0
    """From the end of its last answer until its memory is free."""
    parallel: int = 1


def begun_before(ahead: int, keys: int) -> int:
    """How many requests for its model begin before it, once it is overdue.

    `ahead` are those of its own key that wait already, `keys` are all that ask for this model at the time: they take
    turns, and each may be up to two ahead where they meet.
    """
    return ahead + (ahead + 2) * (keys - 1)


def longest_wait_s(
    own: Sharer, before: int, others: Sequence[Sharer], terms: Terms, *, classes: int = 1, lower: bool = False
) -> float:
    """Seconds from when a request comes until it has its slot; `before` it so many begin on its model.

    Others may pass it until it is overdue and its claim firm. What is under way then ends. After that every other model
    has one turn at most before each turn of its own: the change to it (the longest answer, its end, a load), and the
    turn. In a turn of its own all begin that are before it, or as many as have the time; so it may take more than one.
    Where `classes` of requests ask for its model, every second slot may go to a lower class than the highest; and of a
    `lower` one these are all that is certain, which the lower ones share.
    """
    everybody = (own, *others)
    turn_s = max(terms.turn_s, FRESH_S)
    firm_s = max(2 * terms.patience_s, terms.overdue_s)
    end_s = max(each.service_s for each in everybody) + max(each.unload_s for each in everybody)
    under_way_s = max(each.load_s for each in everybody) + turn_s + end_s
    cycle_s = sum(end_s + each.load_s + turn_s for each in everybody)
    shared = 2 * max(1, classes - 1) if lower else min(2, classes)
    turns = (before + 1) * shared if lower else _turns(own, (before + 1) * shared - 1, terms)
    return firm_s + under_way_s + turns * (cycle_s + firm_s)


def _turns(own: Sharer, before: int, terms: Terms) -> int:
    """In which of its turns it begins: a turn begins all slots at once, and again as often as answers end in it."""
    rounds = before // own.parallel + 1
    in_a_turn = rounds if not own.service_s else 1 + int(terms.turn_s / own.service_s)
    return -(-rounds // in_a_turn)
