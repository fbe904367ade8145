#!/usr/bin/env python3
"""Replay traces of many models in little memory, in virtual time, under Rolecast's rules and those of others.

    fleet.py [--json] [--plot [FILE]] [--policy NAME ...] [TRACE ...]

Rolecast takes part with the machine that the gateway itself runs on (`rolecast.fleet.machine`). Traces are names of
bundled ones or files of your own (see fleet_workload.py). Exit status: 1 when a bar is missed, 2 for a wrong trace.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

import fleet_peers
import fleet_report as report
import msgspec
from fleet_policy import Policy
from fleet_rolecast import Rolecast
from fleet_simulator import Result, replay
from fleet_workload import FOLDER, Trace, read

PICTURE = Path(__file__).parent / "results" / "fleet.png"


def count(trace: Trace) -> int:
    """What somebody who may only count would allow: as many models as fit when they are of middling size."""
    sizes = sorted(spec.size_bytes for spec in trace.models)
    return max(1, trace.budget_bytes // sizes[len(sizes) // 2])


POLICIES = {
    report.ORDER: fleet_peers.Fifo,
    report.COUNT: lambda trace: fleet_peers.LruByCount(trace, count(trace)),
    "llama-swap": fleet_peers.Overtaking,
    report.OURS: Rolecast,
}


def chosen(names: list[str]) -> list[Trace]:
    """The traces that are named, or all that are bundled. Raises ValueError, OSError."""
    bundled = {path.stem: path for path in sorted(FOLDER.glob("*.jsonl"))}
    unknown = [name for name in names if name not in bundled and not Path(name).is_file()]
    if unknown:
        raise ValueError(f"{unknown[0]} is no file and no bundled trace; there are {', '.join(bundled)}")
    return [read(bundled.get(name, Path(name))) for name in names or bundled]


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("traces", nargs="*", metavar="TRACE", help="names or files; all bundled ones without any")
    parser.add_argument("--policy", action="append", choices=list(POLICIES), help="only these; may be repeated")
    parser.add_argument("--json", action="store_true", help="print figures and bars as JSON")
    parser.add_argument("--plot", nargs="?", type=Path, const=PICTURE, metavar="FILE", help=f"draw to {PICTURE.name}")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Replay, tell, judge."""
    asked = options(arguments)
    try:
        traces = chosen(asked.traces)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    began_s = time.process_time()
    rows, runs = [], {}
    for trace in traces:
        for name in asked.policy or POLICIES:
            policy: Policy = POLICIES[name](trace)
            runs[trace.name, name] = result = replay(trace, policy)
            promise = policy.promise_s if isinstance(policy, Rolecast) else None
            rows.append(report.figures(trace, name, result, promise))
    bars = report.bars(rows)
    if asked.json:
        print(msgspec.json.format(msgspec.json.encode({"figures": rows, "bars": bars})).decode())
    else:
        print(report.table(rows, {trace.name: trace.about.about for trace in traces}))
        print(f"\n{report.verdicts(bars)}\n\n{time.process_time() - began_s:.1f} s of CPU time")
    if asked.plot:
        plot(asked.plot, rows, runs, traces)
    return 0 if all(bar.met for bar in bars) else 1


def plot(path: Path, rows: list[report.Figures], runs: dict[tuple[str, str], Result], traces: list[Trace]) -> None:
    """Draw, or say what is missing for it."""
    shown = next((trace.name for trace in traces if trace.name == report.TEAM), traces[0].name)
    try:
        import fleet_picture

        fleet_picture.draw(rows, shown, {policy: run for (name, policy), run in runs.items() if name == shown}, path)
    except ImportError:
        print("No picture: matplotlib is missing; install it with `pip install matplotlib`.", file=sys.stderr)
    except OSError as error:
        print(f"No picture: {error}", file=sys.stderr)
    else:
        print(f"The picture is in {path}.", file=sys.stderr)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `fleet.py | head` is no error
    sys.exit(main())
