"""How much memory all workers of ours may take together just now. Pure: settings and a reading in, bytes out.

What others hold is what is used and not ours. So the budget falls when somebody else needs memory, and rises again
when it is given back. Who is started or ended for that is not decided here.
"""

from itertools import zip_longest

from rolecast.config.memory import share_of
from rolecast.config.units import Bytes
from rolecast.footprint import Footprint
from rolecast.telemetry.memory import Reading

MIB, GIB = 1 << 20, 1 << 30
RESERVE_BYTES, RESERVE_SHARE = 1 * GIB, 0.10
"""What `auto` leaves to the system and to all that grows: files that are read, the gateway, a browser."""
CARD_RESERVE_BYTES, CARD_RESERVE_SHARE = 256 * MIB, 0.05
"""The same of a GPU, where nobody keeps files."""
LARGEST_RESERVE = 0.25
"""A small machine is not reserved away: at most this part of it."""


def budget(setting: str | int, cards: str | int, reading: Reading, ours: Footprint) -> Footprint:
    """Bytes that all workers may take together now, with those that they have; nowhere below zero.

    `setting` is for the machine's memory and `cards` for each GPU: `auto`, a share such as `80%` of what exists, or a
    size. `ours` is what our workers hold of what the reading counts as used (`held`).
    """
    total, room = reading.total, reading.available + ours
    ram = _allowed(setting, total.ram, room.ram, _reserve(total.ram, RESERVE_BYTES, RESERVE_SHARE))
    if setting == "auto":  # a GPU that has the machine's memory may not use all of it
        ram = min([ram, *(gpu.total for gpu in reading.cards if gpu.shares_ram and gpu.total)])
    pairs = zip_longest(total.gpus, room.gpus, fillvalue=0)
    return Footprint(
        ram,
        tuple(
            _allowed(cards, whole, free, _reserve(whole, CARD_RESERVE_BYTES, CARD_RESERVE_SHARE))
            for whole, free in pairs
        ),
    )


def held(reading: Reading, measured: Footprint, admitted: Footprint) -> Footprint:
    """What our workers hold: as measured, but of a GPU that does not tell who holds it, what they were admitted with.

    So in a container, where the driver's processes have other numbers, our own models do not count as somebody else's.
    """
    used = reading.used.gpus
    pairs = zip_longest(used, measured.gpus[: len(used)], admitted.gpus[: len(used)], fillvalue=0)
    cards = tuple(
        seen if _tells(reading, number) else min(taken, promised)
        for number, (taken, seen, promised) in enumerate(pairs)
    )
    return Footprint(measured.ram, cards)


def _tells(reading: Reading, number: int) -> bool:
    return number < len(reading.cards) and reading.cards[number].processes is not None


def _allowed(setting: str | int, total: int, room: int, reserve: int) -> int:
    if setting == "auto":
        most = min(total, room) - reserve
    elif (share := share_of(setting)) is not None:
        most = min(int(total * share), room)
    else:
        most = min(Bytes.parse(setting), total, room)
    return max(0, most)


def _reserve(total: int, least: int, share: float) -> int:
    return min(max(least, int(share * total)), int(LARGEST_RESERVE * total))
