#!/usr/bin/env python3
"""What writing the ledger costs a request: the same gateway with and without its books, in turns.

    ledger.py                       20 turns of each, 1,000 requests in a turn

Client, gateway and a fake model server share one process (inprocess.py). Counted is the CPU time of the loop's thread,
which bounds what can be answered, and of all threads, the writer's too. What client and server take without a gateway
is taken off, so the share is that of the gateway alone.
The bar: less than 5 % of what a gateway without books would do.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import asking
import inprocess
import uvloop

BAR = 0.05


async def main(turns: int, count: int) -> int:
    from rolecast.books import ledger
    from rolecast.books.journal import Journal

    kept = ledger.Ledger.record
    world = inprocess.World("")
    server = await world.loop.create_server(lambda: inprocess.Server(world), "127.0.0.1", 0)
    worker = server.sockets[0].getsockname()[1]
    way = asking.WAYS[asking.PASSED]
    flush = ledger.FLUSH_S, ledger.FLUSH_ROWS
    add = Journal.add_plain
    modes = ("with", "unjournaled", "without", "direct")
    loop: dict[str, list[float]] = {mode: [] for mode in modes}
    whole: dict[str, list[float]] = {mode: [] for mode in modes}

    def nothing(*_: object) -> None:
        """In place of what is left out."""

    async with inprocess.gateway(worker) as port:
        ledger.FLUSH_S, ledger.FLUSH_ROWS = flush
        for number in range(turns + 2):
            for mode in modes:
                ledger.Ledger.record = kept if mode in ("with", "unjournaled") else nothing  # type: ignore[assignment]
                Journal.add_plain = add if mode == "with" else nothing  # type: ignore[assignment]
                where = worker if mode == "direct" else port("")
                began = time.thread_time(), time.process_time()
                await world.ask(where, way, way.worker, events=0, size=1, count=count)
                await asyncio.sleep(2 * flush[0])  # its last rows are written
                if number >= 2:
                    loop[mode].append((time.thread_time() - began[0]) / count * 1e6)
                    whole[mode].append((time.process_time() - began[1]) / count * 1e6)
        shares = [_told("the loop, which answers", loop), _told("all threads, the writer's too", whole)]
        sys.stdout.flush()
        os._exit(int(shares[0] > BAR))


def _told(what: str, taken: dict[str, list[float]]) -> float:
    """Print what the books take there; their share of what the gateway does without them."""
    middle = {mode: statistics.median(found) for mode, found in taken.items()}
    without = middle["without"] - middle["direct"]
    share, journal = ((middle["with"] - middle[less]) / without for less in ("without", "unjournaled"))
    print(f"{what}: " + ", ".join(f"{mode} {value:.1f}" for mode, value in middle.items()) + " us of CPU a request")
    print(f"  the books take {share:.1%} of what the gateway does without them, the journal {journal:.1%}")
    return share


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
    os.environ["ROLECAST_HOME"] = tempfile.mkdtemp(prefix="rolecast-bench-")
    uvloop.run(main(options.turns, options.count))
