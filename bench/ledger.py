#!/usr/bin/env python3
"""What writing the ledger costs: the same gateway with and without its books, in turns.

    ledger.py                       10 turns of each, a second and a half in a turn
    ledger.py --parts               where it goes: the loop and the writer, the journal apart

Two gateways run, one of which writes no row; 16 connections ask them in turns, before a fake model server.
The bar: with the ledger a gateway answers at least 95 % of the requests per second that it answers without. Told are
the requests that were answered in a second, which anything else on the machine changes, and the CPU time that the
gateway took for one. A gateway is one process on one core, so that time bounds what it can answer: it decides.

`--parts` has client, gateway and server in one process (inprocess.py) and takes off what there is without a gateway.
What is left is the gateway's own part, so that shares are two to three times as large there: good to compare versions.
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asking
import inprocess
import uvloop

HERE = Path(__file__).resolve().parent
BAR = 0.05
LOAD = ("-c", "16", "--warmup", "0.3", "--model", "openai")


def nothing(*_: object) -> None:
    """In place of what is left out."""


# -- two gateways, asked from outside ------------------------------------------------------------------------


def side_by_side(turns: int) -> bool:
    """Print what both answer; whether the bar is met."""
    found: dict[str, dict[str, list[float]]] = {mode: {"req_s": [], "cpu_us": []} for mode in ("with", "without")}
    with contextlib.ExitStack() as stack:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            upstream = probe.getsockname()[1]
        stack.enter_context(_process([str(HERE / "upstream.py"), "--port", str(upstream)]))
        asked = {}
        for mode in found:
            child = stack.enter_context(_process([__file__, "--serve", mode, str(upstream)]))
            assert child.stdout is not None
            asked[mode] = child.pid, int(child.stdout.readline())
        for number in range(turns + 1):
            for mode in sorted(found, reverse=bool(number % 2)):
                pid, port = asked[mode]
                url = f"http://127.0.0.1:{port}/v1/chat/completions"
                argv = [sys.executable, HERE / "loadgen.py", url, *LOAD, "-d", "1.5", "--pid", str(pid)]
                said = json.loads(subprocess.run(argv, check=True, capture_output=True, timeout=30).stdout)
                assert not said["errors"], said
                if number:
                    found[mode]["req_s"].append(said["req_s"])
                    found[mode]["cpu_us"].append(said["cpu_us_per_request"])
    middle = {mode: {name: statistics.median(each) for name, each in told.items()} for mode, told in found.items()}
    for mode, told in middle.items():
        print(f"{mode:8} the ledger: {told['req_s']:8,.0f} requests/s, {told['cpu_us']:6.1f} us of CPU a request")
    one, other = middle["with"], middle["without"]
    answered, could = one["req_s"] / other["req_s"], other["cpu_us"] / one["cpu_us"]
    print(f"with it {answered:.1%} of the requests were answered; by CPU time it can answer {could:.1%}")
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    return could >= 1 - BAR


@contextlib.contextmanager
def _process(argv: list[str]) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen([sys.executable, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


async def serve(mode: str, upstream: int) -> None:
    """A gateway that says its port, until it is killed."""
    from rolecast.books import ledger

    flush = ledger.FLUSH_S, ledger.FLUSH_ROWS
    async with inprocess.gateway(upstream) as port:
        ledger.FLUSH_S, ledger.FLUSH_ROWS = flush
        if mode == "without":
            ledger.Ledger.record = nothing  # type: ignore[assignment]
        print(port(""), flush=True)
        await asyncio.Event().wait()


# -- the parts -------------------------------------------------------------------------------------------------


async def parts(turns: int, count: int) -> None:
    """Print what a request takes with its books, without the journal, and without both."""
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
        _told("the loop, which answers", loop)
        _told("all threads, the writer's too", whole)
        sys.stdout.flush()
        os._exit(0)  # nothing of the end is measured


def _told(what: str, taken: dict[str, list[float]]) -> None:
    """Print what the books take there, as a share of what the gateway does without them."""
    middle = {mode: statistics.median(found) for mode, found in taken.items()}
    without = middle["without"] - middle["direct"]
    share, journal = ((middle["with"] - middle[less]) / without for less in ("without", "unjournaled"))
    print(f"{what}: " + ", ".join(f"{mode} {value:.1f}" for mode, value in middle.items()) + " us of CPU a request")
    print(f"  the books take {share:.1%} of what the gateway does without them, the journal {journal:.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--count", type=int, default=1000, help="requests in a turn of --parts (default: %(default)s)")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(HERE.parent / "src"))
    with tempfile.TemporaryDirectory(prefix="rolecast-bench-") as home:
        os.environ["ROLECAST_HOME"] = home
        if options.serve:
            uvloop.run(serve(options.serve[0], int(options.serve[1])))
        elif options.parts:
            uvloop.run(parts(options.turns, options.count))
        else:
            sys.exit(int(not side_by_side(options.turns)))
