"""What each worker holds, with all it started: now, and the most it ever held. Blocks for a moment: use a thread."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from rolecast.footprint import Footprint
from rolecast.processes import resident
from rolecast.processes.running import Running
from rolecast.telemetry.gpus import Gpu

K = TypeVar("K")


class Weight(msgspec.Struct, frozen=True):
    """Of one worker."""

    now: Footprint = Footprint()
    """What is in memory, with pages of files."""
    private: Footprint = Footprint()
    """What of that the system could not drop, and so counts as used: what is taken from a budget's reading."""
    peak: Footprint = Footprint()
    """The most that each of its processes ever had. On GPUs, which tell no peaks, what it has now; and one on a GPU has
    read its weights through memory that it has given back, so of its RAM, too."""


def weigh(workers: Iterable[tuple[K, Running]], cards: Sequence[Gpu]) -> dict[K, Weight]:
    """Those that run. Of GPUs that do not tell their processes nothing is known."""
    return {key: _of(child, cards) for key, child in workers if child.returncode is None}


def _of(child: Running, cards: Sequence[Gpu]) -> Weight:
    tree = resident.tree(child.pid)
    held = [(card, sum(size for pid, size in card.processes or () if pid in tree.pids)) for card in cards]
    shared = sum(size for card, size in held if card.shares_ram)  # the driver's pages count as nobody's
    gpus = tuple(0 if card.shares_ram else size for card, size in held)
    gpus = gpus if any(gpus) else ()
    return Weight(
        now=Footprint(tree.rss + shared, gpus),
        private=Footprint(tree.private + shared, gpus),
        peak=Footprint((tree.rss if gpus or shared else tree.peak) + shared, gpus),
    )
