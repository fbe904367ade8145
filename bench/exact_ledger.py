#!/usr/bin/env python3
"""Whether the books are exact after a storm: mixed requests, clients that leave, kill -9 half-way, a restart.

    exact_ledger.py                       10,000 requests of 16 clients
    exact_ledger.py --requests 50000

Runs a gateway of its own with workers that are scripted. The bar: tokens and money of every answer that its client saw
complete are in the ledger as the worker reported them, to the unit; no such receipt is lost, none is there twice.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "unit"))

from ledger_storm import Storm


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rc") as folder:
        found = asyncio.run(Storm(Path(folder), options.requests, options.clients).run())
        left = list((Path(folder) / "data" / "journal").iterdir())
        log = (Path(folder) / "gateway.log").read_text()
    print(f"{options.requests} requests of {options.clients} clients in {found.seconds:.1f} s")
    print(f"  {found.completed} seen complete, {found.left} left by their clients, {found.rows} rows")
    print(f"  tokens: {found.tokens[0]} in the ledger, {found.tokens[1]} reported")
    print(f"  money:  {found.cost[0]} picodollars in the ledger, {found.cost[1]} billed")
    print(f"  lost: {len(found.lost)}, wrong: {len(found.wrong)}")
    for line in [*found.wrong[:10], *(line for line in log.splitlines() if "killed" in line)]:
        print(f"  {line}")
    exact = found.tokens[0] == found.tokens[1] and found.cost[0] == found.cost[1]
    return int(bool(found.lost or found.wrong or left or not exact))


if __name__ == "__main__":
    sys.exit(main())
