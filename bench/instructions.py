#!/usr/bin/env python3
"""How many instructions the gateway runs for a request and for an event of each kind of stream, counted by valgrind.

    instructions.py                      this checkout
    instructions.py --against REV        beside another version of itself
    instructions.py --only request,ollama --size 1

Times are worth little on a machine that does something else; instructions are the same on every run, to about one in
a hundred. Everything runs in one process (inprocess.py); what client and fake server take is measured without a
gateway and taken off. What the kernel does is not counted. Needs valgrind and a C compiler (Debian:
apt-get install valgrind gcc).

`one by one` = each event comes alone, as models write; `sixteen` = so many come in one read, as a busy gateway finds
them. Ratios are those to the stream that passes unread.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asking
import inprocess
from versions import source_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SIZES = {1: "one by one", 16: "sixteen"}
TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)
LIMIT_S = 900
BORDERS = """
#include <valgrind/callgrind.h>
void begin(void) { CALLGRIND_START_INSTRUMENTATION; }
void border(void) { CALLGRIND_DUMP_STATS; }
"""
REQUEST, HEARD = "request", "request:openai-heard"
"""Plain answers, passed on and heard for marks."""


def works(only: list[str], sizes: list[int]) -> list[str]:
    """What is measured; what client and fake server take comes first."""
    found = ["direct:request", REQUEST, HEARD] if REQUEST in only else []
    workers = sorted({asking.WAYS[name].worker for name in only if name != REQUEST})
    for size in sizes:
        found += [f"direct:stream:{worker}:{size}" for worker in workers]
        found += [f"stream:{name}:{size}" for name in only if name != REQUEST]
    return found


def library(folder: Path) -> Path:
    """What tells callgrind when to begin and where to part what it counts."""
    made = folder / "borders.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-x", "c", "-o", made, "-"], input=BORDERS.encode(), check=True)
    return made


def count(source: Path, work: list[str], number: int) -> dict[str, float]:
    """Instructions of a request or event by work; one that this version cannot do is missing."""
    with tempfile.TemporaryDirectory(prefix="rolecast-instructions-") as scratch:
        argv = [
            *("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={scratch}/out", "--quiet"),
            *(f"--log-file={scratch}/log", sys.executable, str(HERE / "inprocess.py"), str(source), *work),
            *("--count", str(number), "--borders", str(library(Path(scratch)))),
        ]
        env = os.environ | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": scratch}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=LIMIT_S)
        if done.returncode:
            raise SystemExit(f"The measured process ended with status {done.returncode}:\n{done.stderr[-2000:]}")
        dumps = sorted(Path(scratch).glob("out.*"), key=lambda path: int(path.suffix[1:]))
        parts = [int(TOTALS.search(path.read_text())[1]) for path in dumps]
    found: dict[str, float] = {}
    for line in done.stdout.splitlines():
        name, told = line.split(" ", 1)
        _, short, long = parts[: inprocess.BORDERS]
        parts = parts[inprocess.BORDERS :]
        if told.startswith("failed"):
            print(f"{name}: {told}", file=sys.stderr)
        else:
            found[name] = (long - short) / number
    return found


def own(found: dict[str, float], name: str, size: int) -> float | None:
    """What the gateway takes, without client and server; None where that was not measured."""
    if name in (REQUEST, HEARD):
        work, direct = name, "direct:request"
    else:
        work, direct = f"stream:{name}:{size}", f"direct:stream:{asking.WAYS[name].worker}:{size}"
    return found[work] - found[direct] if work in found and direct in found else None


def table(now: dict[str, float], then: dict[str, float] | None, only: list[str], sizes: list[int]) -> Iterator[str]:
    """The lines of the table: instructions, ratio to the stream that passes, ratio to the other version."""
    yield f"{'instructions of the gateway':34}{'now':>9}{'x passed':>10}" + (f"{'then':>9}{'ratio':>8}" if then else "")
    rows = [HEARD] if REQUEST in only else []
    for name in [*only[:1], *rows, *only[1:]] if only[0] == REQUEST else only:
        for size in sizes[:1] if name in (REQUEST, HEARD) else sizes:
            mine, passed = own(now, name, size), own(now, asking.PASSED, size)
            plain = {REQUEST: "a request", HEARD: "a request, heard for marks"}.get(name)
            title = plain or f"{asking.WAYS[name].title}, {SIZES.get(size, size)}"
            if mine is None:
                continue
            line = f"{title:34}{mine:9,.0f}{mine / passed if passed and not plain else '':>10.3}"
            if then:
                its = own(then, name, size)
                line += f"{its:9,.0f}{mine / its:8.3f}" if its else f"{'-':>9}{'-':>8}"
            yield line


def parse() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [REQUEST, *asking.WAYS]
    p.add_argument("--against", metavar="REV", help="a revision to compare with")
    p.add_argument("--only", default=",".join(every), help="default: %(default)s")
    p.add_argument("--size", type=int, action="append", help="events in a read; repeatable (default: 1 and 16)")
    p.add_argument("--count", type=int, default=1000, help="requests, and events of a stream (default: %(default)s)")
    p.add_argument("--json", type=Path, help="also write what was counted into this file")
    args = p.parse_args()
    args.only = args.only.split(",")
    args.size = args.size or list(SIZES)
    if unknown := set(args.only) - set(every):
        p.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(every)}")
    if args.size[0] < 1 or args.count < 1:
        p.error("--size and --count must be 1 or more")
    if lacking := [name for name in ("valgrind", "cc") if shutil.which(name) is None]:
        p.error(f"{' and '.join(lacking)} not installed; run: apt-get install valgrind gcc")
    return args


def main() -> int:
    args = parse()
    work = works(args.only, args.size)
    then = None
    if args.against:
        with tempfile.TemporaryDirectory(prefix="rolecast-source-") as scratch:
            then = count(source_of(args.against, Path(scratch) / "tree"), work, args.count)
    now = count(ROOT / "src", work, args.count)
    print(*table(now, then, args.only, args.size), sep="\n")
    if args.json:
        args.json.write_text(json.dumps({"now": now, "then": then}, indent=1) + "\n")
    return 0 if len(now) == len(work) else 1


if __name__ == "__main__":
    sys.exit(main())
