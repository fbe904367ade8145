"""When to come back: how long the line in front of a model that is too busy needs to grow short.

Pure: numbers in, seconds out. Knows neither workers nor clocks; who asks knows the line, and how fast it moved lately.
"""

import math

UNKNOWN_S = 2.0
"""A request of a model that has answered nobody yet: a short answer of a small model."""
MOST_S = 3600.0
"""Nobody is told to wait for longer; until then everything may have changed."""


def seconds(waiting: int, slots: int, request_s: float, load_s: float = 0.0) -> float:
    """Whole seconds until half of this line is served, at least one.

    `request_s` is what a request took lately from its slot to its end (0 = not known), `load_s` what is left of a load
    that all wait for. A line of n before s slots that take r seconds moves by s places in r, so half of it needs
    n * r / (2 * s). Half, because with the first free place all who were refused would come back for it at once, and
    with the last one the slots would stand idle.
    """
    moves_s = max(1, waiting) * (request_s or UNKNOWN_S) / (2 * max(1, slots))
    return float(math.ceil(min(MOST_S, max(1.0, load_s + moves_s))))


def left_of_load(load_s: float, loading_for_s: float) -> float:
    """What is left of a load that takes `load_s` as a rule (0 = not known).

    One that is late, or of which nothing is known, is expected to take as long again as it is late: that guess is
    wrong by a factor of two at most, whenever the load ends.
    """
    return abs(load_s - loading_for_s)
