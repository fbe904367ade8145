#!/usr/bin/env python3
"""What writing the ledger costs: the same gateway with and without its books, in turns.

    ledger.py                       10 turns of each, a second and a half in a turn
    ledger.py --parts               where it goes: the loop and the writer, the journal apart

A gateway that writes rows, or none, at a word, before a fake model server; 16 connections ask it. One process for both:
two of the same differ by as much as is looked for.
The bar: with the ledger a gateway answers at least 95 % of the requests per second that it answers without, as the
median of the pairs of turns. Told besides, since anything else on the machine changes that: the CPU time of a request,
of the loop, which alone decides how many can be answered, and of all threads, that of the database too.

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
LOAD = ("-c", "16", "--warmup", "0", "--model", "openai")


def nothing(*_: object) -> None:
    """In place of what is left out."""


# -- a gateway, asked from outside ---------------------------------------------------------------------------


def side_by_side(turns: int) -> bool:
    """Print what both answer; whether the bar is met."""
    found: dict[str, dict[str, list[float]]] = {
        mode: {"req_s": [], "loop_us": [], "all_us": []} for mode in ("with", "without")
    }
    with contextlib.ExitStack() as stack:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            upstream = probe.getsockname()[1]
        stack.enter_context(_process([str(HERE / "upstream.py"), "--port", str(upstream)]))
        child = stack.enter_context(_process([__file__, "--serve", str(upstream)]))
        assert child.stdin is not None
        assert child.stdout is not None
        url = f"http://127.0.0.1:{int(child.stdout.readline())}/v1/chat/completions"
        for number in range(turns + 1):
            for mode in sorted(found, reverse=bool(number % 2)):
                child.stdin.write(f"{mode}\n")
                child.stdin.flush()
                child.stdout.readline()
                argv = [sys.executable, HERE / "loadgen.py", url, *LOAD, "-d", "1.5"]
                before = _ran_ns(child.pid)
                said = json.loads(subprocess.run(argv, check=True, capture_output=True, timeout=30).stdout)
                assert not said["errors"], said
                if number:
                    found[mode]["req_s"].append(said["req_s"])
                    for name, ran, had in zip(("loop_us", "all_us"), _ran_ns(child.pid), before, strict=True):
                        found[mode][name].append((ran - had) / 1e3 / said["requests"])
    middle = {mode: {name: statistics.median(each) for name, each in told.items()} for mode, told in found.items()}
    for mode, told in middle.items():
        took = f"{told['loop_us']:5.1f} us of the loop, {told['all_us']:5.1f} of all threads"
        print(f"{mode:8} the ledger: {told['req_s']:8,.0f} requests/s, {took}")
    pairs = zip(found["with"]["req_s"], found["without"]["req_s"], strict=True)
    answered = statistics.median(one / other for one, other in pairs)
    could = middle["without"]["loop_us"] / middle["with"]["loop_us"]
    print(f"with it {answered:.1%} of the requests were answered; by the time of the loop it could be {could:.1%}")
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    return answered >= 1 - BAR


def _ran_ns(pid: int) -> tuple[int, int]:
    """How long the first thread of that process has run, which is its loop, and all."""
    tasks = Path(f"/proc/{pid}/task")
    ran = {each.name: int((each / "schedstat").read_text().split()[0]) for each in tasks.iterdir()}
    return ran[str(pid)], sum(ran.values())


@contextlib.contextmanager
def _process(argv: list[str]) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen([sys.executable, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


async def serve(upstream: int) -> None:
    """A gateway that says its port, and does as it is told, line by line, until it is killed."""
    from rolecast.books import ledger

    flush, kept = (ledger.FLUSH_S, ledger.FLUSH_ROWS), ledger.Ledger.record
    async with inprocess.gateway(upstream) as port:
        ledger.FLUSH_S, ledger.FLUSH_ROWS = flush
        print(port(""), flush=True)
        while mode := await asyncio.to_thread(sys.stdin.readline):
            ledger.Ledger.record = kept if mode.strip() == "with" else nothing  # type: ignore[assignment]
            print(mode.strip(), flush=True)


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
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(HERE.parent / "src"))
    with tempfile.TemporaryDirectory(prefix="rolecast-bench-") as home:
        os.environ["ROLECAST_HOME"] = home
        if options.serve:
            uvloop.run(serve(options.serve))
        elif options.parts:
            uvloop.run(parts(options.turns, options.count))
        else:
            sys.exit(int(not side_by_side(options.turns)))
