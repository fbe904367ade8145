"""Which replies are learnt from, and which are held out. Pure; examples are rows here, without their texts."""

import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

LEAST_CONVERSATIONS = 10
"""With fewer, long ones are cut: nothing could be held out otherwise."""
BLOCKS = 20
LEAST_BLOCK = 8
"""Examples of a block."""


class Row(NamedTuple):
    """An example: its number in the file, its chat, its conversation, and when it was said (0 = not known)."""

    number: int
    chat: str
    conversation: str
    at: float


def newest(rows: Sequence[Row], most: int) -> list[Row]:
    """So many rows, the newest of each chat, chats taken evenly; all of them for 0. In the order they came."""
    if not most or len(rows) <= most:
        return list(rows)
    chats: dict[str, list[Row]] = {}
    for row in rows:
        chats.setdefault(row.chat, []).append(row)
    quota = _evenly({chat: len(each) for chat, each in chats.items()}, most)
    chosen: list[Row] = []
    for chat, each in chats.items():
        each.sort(key=lambda row: (row.at, row.number))
        chosen += each[len(each) - quota[chat] :]
    return sorted(chosen, key=lambda row: row.number)


def _evenly(sizes: dict[str, int], most: int) -> dict[str, int]:
    """How many each gives: all the same, but for those that have fewer."""
    left, quota = most, {}
    for rank, chat in enumerate(sorted(sizes, key=lambda each: (sizes[each], each))):
        quota[chat] = min(sizes[chat], left // (len(sizes) - rank))
        left -= quota[chat]
    return quota


def conversations(rows: Iterable[Row]) -> list[list[Row]]:
    """What must stay on one side, in order: whole conversations; few and long ones cut in blocks of neighbours."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.conversation, []).append(row)
    found = list(groups.values())
    if len(found) >= LEAST_CONVERSATIONS:
        return found
    size = max(LEAST_BLOCK, sum(map(len, found)) // BLOCKS)
    return [each[i : i + size] for each in found for i in range(0, len(each), size)]


def split(groups: Sequence[list[Row]], valid: float, test: float, seed: int) -> tuple[list[int], list[int], list[int]]:
    """The numbers of groups to train on, to validate with and to test with.

    Each held-out part gets at least one group where there are three, and never more than half of the examples.
    """
    order = list(range(len(groups)))
    random.Random(seed).shuffle(order)  # noqa: S311  # no secret
    total = sum(map(len, groups))
    parts: list[list[int]] = []
    for share in (valid, test):
        part: list[int] = []
        wanted, have = share * total, 0
        while share and len(order) > 1 and (not part or have < wanted):
            # The next that does not go far beyond what is wanted; the smallest where all do.
            pick = next((g for g in order if have + len(groups[g]) <= wanted * 1.2), None)
            if pick is None:
                pick = min(order, key=lambda g: (len(groups[g]), g))
                if part or len(groups[pick]) > total / 3:
                    break
            order.remove(pick)
            part.append(pick)
            have += len(groups[pick])
        parts.append(sorted(part))
    return sorted(order), parts[0], parts[1]
