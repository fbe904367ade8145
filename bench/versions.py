"""This checkout beside another version of itself, in turns: what a change costs on the hot path.

`python bench/versions.py --against REV` takes REV's source from git into a scratch folder and runs both gateways with
this Python, so dependencies are the same. Prints the median of each figure, and the median of the ratios of neighbours
in time: above 1 is better for the first three, below 1 for the others.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import procfs
import targets as table
from run import PARTS, split_cpus, wait_quiet
from targets import Site, Target

ROOT = table.HERE.parent
FIGURES = {
    "json_c1": ("req_s", "cpu_us_per_request"),
    "json_c16": ("req_s", "cpu_us_per_request"),
    "json_c64": ("req_s", "cpu_us_per_request"),
    "big_c16": ("req_s", "cpu_us_per_request"),
    "sse_c16": ("events_s", "cpu_us_per_event"),
    "paced_c256": ("events_s", "first_ms"),
}


def gateway(site: Site, name: str, source: Path) -> Target:
    """One version, with a port, configuration and home of its own."""
    folder = site.folder / name
    folder.mkdir()
    its = Site(folder, site.target_cpus, site.load_cpus, site.fast, site.paced, site.socket)
    target = table.rolecast(its)
    target.name = name
    target.paced_url = target.url
    target.env["PYTHONPATH"] = str(source)
    return target


def start(site: Site, target: Target) -> tuple[subprocess.Popen, dict[str, float]]:
    """The running gateway, with how long it took to answer and what it takes at rest."""
    began = time.perf_counter()
    process = table.spawn(target.argv, site.target_cpus, target.env, site.folder / f"{target.name}.log")
    table.wait_for(lambda: table.chat_answers(target), process, target.start_limit_s, target.name)
    seconds = time.perf_counter() - began
    time.sleep(3)
    return process, {"start_s": seconds, "idle_mb": procfs.memory_mb(process.pid)["rss"]}


def load(site: Site, target: Target, pid: int, part: str, seconds: float) -> dict[str, float]:
    options = [target.url, "-d", str(seconds), *PARTS[part].options, "--model", target.models[PARTS[part].paced]]
    argv = ["taskset", "-c", site.load_cpus, sys.executable, str(table.HERE / "loadgen.py"), *options]
    wait_quiet()
    done = subprocess.run([*argv, "--pid", str(pid)], capture_output=True, text=True, timeout=90, check=True)
    result = json.loads(done.stdout)
    return result | {"first_ms": (result["first_ms"] or {}).get("p50")}


def source_of(revision: str, folder: Path) -> Path:
    """The source tree of that revision, taken out of git into `folder`."""
    folder.mkdir()
    archive = subprocess.run(["git", "-C", ROOT, "archive", revision, "src"], stdout=subprocess.PIPE, check=True)
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder / "src"


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--against", default="HEAD~1", help="revision to compare with (default: %(default)s)")
    p.add_argument("--rounds", type=int, default=6)
    p.add_argument("--duration", type=float, default=1.0, help="seconds per run (default: %(default)s)")
    p.add_argument("--only", default=",".join(FIGURES), help="parts (default: %(default)s)")
    args = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="rolecast-versions-") as scratch:
        target_cpus, load_cpus = split_cpus()
        site = Site(Path(scratch), target_cpus, load_cpus)
        running = [site.start_upstream()]
        try:
            pair = {
                "now": gateway(site, "now", ROOT / "src"),
                "then": gateway(site, "then", source_of(args.against, site.folder / "source")),
            }
            processes = {}
            for name, target in pair.items():
                processes[name], rest = start(site, target)
                running.append(processes[name])
                print(f"{name}: {', '.join(f'{k} {v:.3g}' for k, v in rest.items())}", flush=True)
            print(f"{'':12}{'':22}{'now':>10}{'then':>10}{'ratio':>8}   ratios of each round")
            for part in args.only.split(","):
                compare(site, pair, processes, part, args)
        finally:
            for process in reversed(running):
                table.stop(process)
    return 0


def compare(site: Site, pair: dict[str, Target], processes: dict, part: str, args: argparse.Namespace) -> None:
    rounds: list[dict[str, dict]] = []
    for number in range(args.rounds):
        order = list(pair) if number % 2 else list(pair)[::-1]
        rounds.append({n: load(site, pair[n], processes[n].pid, part, args.duration) for n in order})
    for figure in FIGURES[part]:
        if any(figure not in r[n] or not r[n][figure] for r in rounds for n in pair):
            continue
        median = {n: statistics.median(r[n][figure] for r in rounds) for n in pair}
        ratios = [r["now"][figure] / r["then"][figure] for r in rounds]
        each = " ".join(f"{x:.2f}" for x in ratios)
        middle = statistics.median(ratios)
        print(f"{part:12}{figure:22}{median['now']:>10.4g}{median['then']:>10.4g}{middle:>8.3f}   {each}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
