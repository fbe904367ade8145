#!/usr/bin/env python3
"""Compare Rolecast with other gateways, side by side on this machine, and say which bars it meets.

    run.py                      the whole comparison, under 16 minutes
    run.py --quick              the parts that the bars need, under 3 minutes
    run.py --targets direct,rolecast,nginx --only json_c1,json_c64 --rounds 6

All targets are started first, each pinned to the target CPU; the load generator and the fake upstream have
the other CPUs. The targets take turns within every part, in alternating order, and are compared with each
other within the same round only, so that changes of the machine's speed cancel out. A run that other work on
the machine disturbed is repeated while there is time. Raw results go to bench/results/<name>.json, the table
with its verdicts to latest.md, the plot to latest.png.
"""

import argparse
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import converted
import procfs
import report
import targets as table
from targets import Site, Target, Unavailable

RESULTS = table.HERE / "results"
STARTS = 3
CONVERTED_ROUNDS = 2
"""Two minutes each."""
MILLION, MILLION_LIMIT_S = 1_000_000, 120
REST_S = 12
"""Memory is read at rest, as before the load."""
LIMIT_S, QUICK_LIMIT_S = 700, 165
"""A further round begins only if it can end by then."""
DISTURBED, ATTEMPTS = 0.3, 3
"""A run during which other work took more cores than this is repeated, so often at most."""


@dataclass(frozen=True)
class Part:
    """One kind of load; `options` are loadgen's."""

    options: tuple[str, ...]
    paced: bool = False
    quick: bool = False
    slow: bool = True
    """Whether the slow targets take part; most finish nothing with 256 clients."""


PACED = ("--stream", "--warmup", "1")
PARTS = {
    "json_c1": Part(("-c", "1"), quick=True),
    "json_c16": Part(("-c", "16"), quick=True),
    "json_c64": Part(("-c", "64"), quick=True),
    "json_c256": Part(("-c", "256"), slow=False),
    "big_c16": Part(("-c", "16", "--pad", "20000")),
    "sse_c1": Part(("-c", "1", "--stream")),
    "sse_c16": Part(("-c", "16", "--stream"), quick=True),
    "paced_c64": Part(("-c", "64", *PACED), paced=True),
    "paced_c256": Part(("-c", "256", *PACED), paced=True, quick=True, slow=False),
}


class Bench:
    """The running targets and what was measured so far."""

    def __init__(self, args: argparse.Namespace, site: Site) -> None:
        self.args, self.site = args, site
        self.began = time.monotonic()
        self.limit_s = QUICK_LIMIT_S if args.quick else LIMIT_S - MILLION_LIMIT_S
        self.targets: dict[str, Target] = {}
        self.processes: dict[str, subprocess.Popen] = {}
        self.upstream: subprocess.Popen | None = None
        self.results = {
            "name": args.name,
            "machine": procfs.machine() | {"python": platform.python_version()},
            "settings": {"rounds": args.rounds, "seconds": args.duration, "quick": args.quick},
            "targets": {},
            "runs": [],
        }

    def save(self) -> None:
        (RESULTS / f"{self.args.name}.json").write_text(json.dumps(self.results, indent=1) + "\n")

    # --- starting ---------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make every target ready to start; what cannot run here is noted and left out."""
        for name in self.args.targets:
            info = self.results["targets"][name] = {}
            try:
                if name == "rolecast_uds":
                    target = table.rolecast_uds(self.targets["rolecast"])
                else:
                    target = table.TABLE[name](self.site)
                self.targets[name] = target
                info["version"] = target.version
            except Unavailable as e:
                info["skipped"] = str(e)
                print(f"{name}: skipped: {e}", flush=True)
            except KeyError:
                info["skipped"] = "rolecast is not among the targets"

    def start_all(self) -> None:
        for name, target in list(self.targets.items()):
            info = self.results["targets"][name]
            try:
                if target.argv:
                    self.start(target, info)
                elif target.shares and not table.chat_answers(target):
                    raise Unavailable(f"{name} gave no healthy answer")
            except Unavailable as e:
                info["failed"] = str(e)
                del self.targets[name]
                print(f"{name}: FAILED: {e}\n{self.log_tail(name)}", flush=True)

    def start(self, target: Target, info: dict) -> None:
        """Start it, several times if it is quick to start; note the times and what it costs when idle."""
        info["start_s"] = []
        for attempt in range(1 if target.slow else STARTS):
            if attempt:
                table.stop(self.processes.pop(target.name))
            wait_quiet()
            log = self.site.folder / f"{target.name}.log"
            process = table.spawn(target.argv, self.site.target_cpus, target.env, log)
            self.processes[target.name] = process
            ready = table.wait_for(lambda: table.chat_answers(target), process, target.start_limit_s, target.name)
            info["start_s"].append(round(ready, 3))
        time.sleep(1.5)
        settle(process.pid)
        if process.poll() is not None:
            raise Unavailable(f"{target.name} ended with status {process.returncode} after its first answer")
        info["idle_mb"] = procfs.memory_mb(process.pid)
        print(f"{target.name}: started in {info['start_s']} s, idle {info['idle_mb']} MB", flush=True)
        if target.slow:
            self.freeze(target.name)

    def log_tail(self, name: str) -> str:
        log = self.site.folder / f"{name}.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""

    def freeze(self, name: str) -> None:
        """Stop a slow target's process, so that its backlog cannot disturb the others' turns."""
        os.killpg(self.processes[name].pid, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        os.killpg(self.processes[name].pid, signal.SIGCONT)
        settle(self.processes[name].pid)

    # --- measuring --------------------------------------------------------------------------------

    def measure(self) -> None:
        first = time.monotonic()
        for round_no in range(self.args.rounds):
            longest = (time.monotonic() - first) / max(1, round_no)
            if time.monotonic() - self.began + longest > self.limit_s and round_no:
                print(f"no time for more than {round_no} of {self.args.rounds} rounds", flush=True)
                break
            self.results["settings"]["rounds"] = round_no + 1
            for part_name in self.args.only:
                part = PARTS[part_name]
                order = list(self.targets.values())
                for target in order if round_no % 2 == 0 else reversed(order):
                    if target.slow and (not part.slow or round_no >= self.args.slow_rounds):
                        continue
                    if part.paced and not target.models[1]:
                        continue
                    result = self.load(target, part)
                    self.results["runs"].append(
                        {"target": target.name, "round": round_no, "part": part_name, "result": result}
                    )
                    print(line(round_no, part_name, target.name, result), flush=True)
            self.save()
        for name, process in self.processes.items():
            self.results["targets"][name]["after_mb"] = procfs.memory_mb(process.pid)

    def load(self, target: Target, part: Part) -> dict:
        """One run of the load generator against one target, the least disturbed of a few attempts."""
        process = self.processes.get(target.shares or target.name)
        seconds = self.args.duration * (1.5 if part.paced or target.slow else 1)
        url = target.paced_url if part.paced and target.paced_url else target.url
        options = [url, "-d", str(seconds), *part.options, "--model", target.models[part.paced]]
        if target.dialect:
            options += ["--dialect", target.dialect]
        if process:
            options += ["--pid", str(process.pid)]
        results = []
        for _ in range(ATTEMPTS):
            if target.slow:
                self.thaw(target.name)
            wait_quiet()
            results.append(self.generate(options, process))
            if target.slow:
                self.freeze(target.name)
            late = time.monotonic() - self.began > 0.8 * self.limit_s
            if results[-1].get("foreign_cpu", 1) <= DISTURBED or late:
                break
        return min(results, key=lambda r: r.get("foreign_cpu", 99))

    def generate(self, options: list[str], process: subprocess.Popen | None) -> dict:
        pids = [p.pid for p in (process, self.upstream) if p]

        def ours() -> float:
            children = resource.getrusage(resource.RUSAGE_CHILDREN)
            return sum(map(procfs.cpu_s, pids)) + children.ru_utime + children.ru_stime + time.process_time()

        argv = [sys.executable, str(table.HERE / "loadgen.py"), *options]
        foreign, t0 = procfs.busy_s() - ours(), time.perf_counter()
        try:
            done = subprocess.run(
                ["taskset", "-c", self.site.load_cpus, *argv], capture_output=True, text=True, timeout=60
            )
            result = json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            return {"failed": "the load generator did not end within 60 s"}
        except ValueError:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            return {"failed": f"the load generator failed: {last[:120]}"}
        foreign = procfs.busy_s() - ours() - foreign
        result["foreign_cpu"] = round(max(0.0, foreign / (time.perf_counter() - t0)), 2)
        if not result["requests"]:
            result["failed"] = "no answer finished in time"
        return result

    def reach_a_million(self) -> None:
        """Go on asking Rolecast until it has answered a million requests; note its memory at rest after that."""
        target = self.targets.get("rolecast")
        if not target or self.args.quick:
            return
        count = sum(r["result"].get("requests", 0) for r in self.results["runs"] if r["target"].startswith("rolecast"))
        end, process = time.monotonic() + MILLION_LIMIT_S, self.processes["rolecast"]
        while count < MILLION and time.monotonic() < end:
            result = self.generate([target.url, "-c", "64", "-d", "8", "--warmup", "0"], process)
            if result.get("failed"):
                break
            count += result["requests"]
        time.sleep(REST_S)
        self.results["million"] = {"requests": count, "mb": procfs.memory_mb(process.pid)}
        print(f"rolecast after {count} requests: {self.results['million']['mb']} MB", flush=True)


def settle(pid: int, timeout_s: float = 15) -> None:
    """Wait until a process has done what it still had to do."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        before = procfs.cpu_s(pid)
        time.sleep(0.3)
        if procfs.cpu_s(pid) - before < 0.05:
            return


def wait_quiet(limit: float = 0.25, timeout_s: float = 1.5) -> None:
    """Give other work on the machine a moment to end."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        before = procfs.busy_s()
        time.sleep(0.15)
        if (procfs.busy_s() - before) / 0.15 < limit:
            return


def line(round_no: int, part: str, target: str, r: dict) -> str:
    if "req_s" not in r:
        return f"{round_no} {part:10} {target:14} FAILED: {r['failed']}"
    latency, first = r["latency_ms"] or {}, r["first_ms"] or {}
    cells = [
        f"{r['req_s']:>9} req/s",
        f"p50 {latency.get('p50')} p99 {latency.get('p99')} ms",
        f"TTFT {first.get('p50')} ms, {r['events_s']} events/s" if r["stream"] else "",
        f"us/req {r.get('cpu_us_per_request', '-')}",
        f"us/event {r.get('cpu_us_per_event', '-')}" if r["stream"] else "",
        f"errors {r['errors']} {r.get('error_samples', '')}" if r["errors"] else "",
        f"FAILED: {r['failed']}" if "failed" in r else "",
        f"(generator {r['loadgen_cpu']}, others {r['foreign_cpu']} cores)",
    ]
    return f"{round_no} {part:10} {target:14} " + "  ".join(filter(None, cells))


def split_cpus() -> tuple[str, str]:
    """One CPU for the target, the others for load and upstream; with a single CPU all share it."""
    cpus = sorted(os.sched_getaffinity(0))
    return str(cpus[0]), ",".join(map(str, cpus[1:] or cpus))


def parse() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, help="rounds of the fast targets (4; 2 with --quick)")
    p.add_argument("--slow-rounds", type=int, help="rounds of litellm and fastapi_httpx (2; 1 with --quick)")
    p.add_argument("--duration", type=float, help="seconds per run (1.5; 1 with --quick)")
    p.add_argument("--quick", action="store_true", help="only what the bars need, fewer and shorter rounds")
    p.add_argument("--only", default="", help=f"parts, of {','.join(PARTS)}")
    p.add_argument("--targets", default=",".join(table.NAMES), help="default: %(default)s")
    p.add_argument("--name", default=time.strftime("%Y%m%d-%H%M%S"), help="of the raw results' file")
    args = p.parse_args()
    args.rounds = args.rounds or (2 if args.quick else 4)
    args.slow_rounds = args.slow_rounds or (1 if args.quick else 2)
    args.duration = args.duration or (1.0 if args.quick else 1.5)
    args.only = args.only.split(",") if args.only else [n for n, q in PARTS.items() if q.quick or not args.quick]
    args.targets = args.targets.split(",")
    for given, allowed in ((args.only, PARTS), (args.targets, table.NAMES)):
        if unknown := set(given) - set(allowed):
            p.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(allowed)}")
    return args


def main() -> int:
    args = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the targets are stopped too
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        site = Site(Path(folder), *split_cpus())
        bench = Bench(args, site)
        try:
            bench.upstream = site.start_upstream()
            bench.prepare()
            bench.start_all()
            bench.measure()
            if not args.quick:
                converted.measure(bench, CONVERTED_ROUNDS)
            bench.reach_a_million()
        finally:
            for process in filter(None, [*bench.processes.values(), bench.upstream]):
                table.stop(process)
    bench.results["seconds"] = round(time.monotonic() - bench.began)
    others = [r["result"]["foreign_cpu"] for r in bench.results["runs"] if "foreign_cpu" in r["result"]]
    if others:
        bench.results["foreign_cpu"] = round(statistics.median(others), 2)
        bench.results["disturbed"] = sum(o > DISTURBED for o in others), len(others)
    bench.save()
    return report.write(bench.results, RESULTS)


if __name__ == "__main__":
    sys.exit(main())
