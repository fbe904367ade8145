#!/usr/bin/env python3
"""Streams in other dialects than their model's server speaks, beside the stream that goes on as it comes.

    converted.py [--rounds 6] [--duration 1.5] [--name converted]

All are asked of one gateway in turns, in alternating order, and compared within a round. Writes
results/<name>.json, .md and .png. `run.py` measures the same and puts the table into latest.md.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import asking
import targets as table
from targets import Site, Target

MOST_CPU, MOST_TTFT_MS = 4.0, 1.0
"""The bars: CPU time of an event against one that passes, and what the first event may come later."""
FAST, PACED, CROWD = "fast_c16", "paced_c16", "paced_c256"
OPTIONS = {
    FAST: ("-c", "16", "--stream"),
    PACED: ("-c", "16", "--stream", "--warmup", "1", "--events", "16"),  # short: a long one has three starts in a run
    CROWD: ("-c", "256", "--stream", "--warmup", "1"),
}


def streams(gateway: Target, site: Site) -> list[Target]:
    """A target for each dialect, served by the gateway that runs."""
    front = gateway.url.removesuffix(table.CHAT)
    found = []
    for name, way in asking.WAYS.items():
        base = f"http://127.0.0.1:{site.pas}" if way.surface == "pas" else front
        models = ("heard-fast", "heard-paced") if way.heard else gateway.models
        if way.worker == "anthropic":
            models = ("messages-fast", "messages-paced")
        found.append(Target(name, base + way.path, models=models, shares=gateway.name, dialect=name))
    return found


def measure(bench, rounds: int) -> None:
    """Measure all of them with the gateway of a running comparison; results go into its `converted`."""
    from run import Part, line

    gateway = bench.targets.get("rolecast")
    if gateway is None:
        return
    runs = bench.results["converted"] = []
    every = streams(gateway, bench.site)
    for round_no in range(rounds):
        for name, options in OPTIONS.items():
            for target in every if round_no % 2 == 0 else reversed(every):
                result = bench.load(target, Part(options, paced=name != FAST))
                runs.append({"dialect": target.name, "round": round_no, "part": name, "result": result})
                print(line(round_no, name, target.name, result), flush=True)
        bench.save()


# -- what it says ------------------------------------------------------------------------------------------------


def values(runs: list[dict], dialect: str, part: str, field: str) -> dict[int, float]:
    """Round -> value, where there is one."""
    found = {}
    for run in runs:
        value = run["result"]
        for key in field.split("."):
            value = (value or {}).get(key)
        if run["dialect"] == dialect and run["part"] == part and value is not None:
            found[run["round"]] = value
    return found


def compared(runs: list[dict], dialect: str) -> dict[str, float | None]:
    """What one dialect takes: medians, and medians of what it takes beside the passing stream of the same round."""

    def middle(found) -> float | None:
        found = list(found)
        return statistics.median(found) if found else None

    cpu, passed = (values(runs, name, FAST, "cpu_us_per_event") for name in (dialect, asking.PASSED))
    first, soonest = (values(runs, name, PACED, "first_ms.p50") for name in (dialect, asking.PASSED))
    crowd = [run["result"] for run in runs if run["dialect"] == dialect and run["part"] == CROWD]
    return {
        "events_s": middle(values(runs, dialect, FAST, "events_s").values()),
        "cpu_us": middle(cpu.values()),
        "ratio": middle(cpu[n] / passed[n] for n in cpu if passed.get(n)),
        "later_ms": middle(first[n] - soonest[n] for n in first if n in soonest),
        "crowd_s": middle(values(runs, dialect, CROWD, "events_s").values()),
        "streams": sum(result.get("requests", 0) for result in crowd),
        "lost": sum(result.get("lost", 0) for result in crowd),
        "errors": sum(run["result"].get("errors", 0) for run in runs if run["dialect"] == dialect),
    }


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def verdict(name: str, row: dict[str, float | None]) -> str:
    if None in (row["ratio"], row["later_ms"]) or not row["streams"]:
        return "not measured"
    good = row["ratio"] <= MOST_CPU and row["later_ms"] <= MOST_TTFT_MS and not row["lost"] and not row["errors"]
    return "-" if name == asking.PASSED else "pass" if good else "FAIL"


def section(results: dict) -> list[str]:
    """The table, in Markdown."""
    if not (runs := results.get("converted")):
        return []
    lines = [
        "## Streams in other dialects",
        "",
        (
            "128 pieces of text. Fast: 16 clients, as fast as possible. Paced: one piece each 5 ms. Ratio and delay "
            "are medians of those to the passing stream of the same round. Bars: at most "
            f"{MOST_CPU:g}x the CPU time of an event that passes, the first one at most {MOST_TTFT_MS:g} ms later "
            "(16 clients with paced streams of 16 pieces), and of 256 paced streams no piece lost."
        ),
        "",
        "| | events/s | CPU us/event | x passed | later, ms | 256 paced: events/s | streams | lost | errors | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, way in asking.WAYS.items():
        row = compared(runs, name)
        cells = [number(row[key]) for key in ("events_s", "cpu_us", "ratio", "later_ms", "crowd_s", "streams")]
        lines.append(
            f"| {way.title} | " + " | ".join([*cells, f"{row['lost']}", f"{row['errors']}", verdict(name, row)]) + " |"
        )
    return [*lines, ""]


def plot(results: dict, path: Path) -> None:
    """Three panels of bars. Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from report import COLORS

    rows = {way.title: compared(results["converted"], name) for name, way in asking.WAYS.items()}
    panels = (
        ("events/s, 16 fast streams (more is better)", "events_s", None),
        ("CPU us per event (less is better)", "cpu_us", None),
        ("x the CPU of an event that passes", "ratio", MOST_CPU),
    )
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.5), sharey=True)
    colors = [COLORS["nginx"], *[COLORS["rolecast"]] * (len(rows) - 1)]
    for axis, (title, key, bar) in zip(axes, panels, strict=True):
        bars = axis.barh(list(rows), [row[key] or 0 for row in rows.values()], color=colors)
        axis.bar_label(bars, [number(row[key]) for row in rows.values()], fontsize=8, padding=2)
        if bar:
            axis.axvline(bar, color="#9aa0a6", linestyle="--", linewidth=1)
        axis.set_title(title, fontsize=11)
        axis.margins(x=0.15)
        axis.grid(axis="x", alpha=0.3)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write(results: dict, folder: Path) -> int:
    """Write table and plot; 1 when a bar failed."""
    machine, name = results["machine"], results["name"]
    about = (
        f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']} GiB, {machine['kernel']}, Python "
        f"{machine['python']}. {results['settings']['rounds']} rounds of {results['settings']['seconds']} s; the "
        "gateway has one CPU, the load generator and the fake servers have the others. Other work on the machine took "
        f"{number(results.get('foreign_cpu'))} cores (median)."
    )
    text = ["# Measured: converted streams", "", about, "", *section(results), f"![Converted streams]({name}.png)", ""]
    (folder / f"{name}.md").write_text("\n".join(text))
    try:
        plot(results, folder / f"{name}.png")
    except ImportError:
        print("no plot: matplotlib is missing; install the dependency group `bench`", file=sys.stderr)
    print("\n".join(text))
    return int(any(verdict(each, compared(results["converted"], each)) == "FAIL" for each in asking.WAYS))


def main() -> int:
    import run

    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=6, help="default: %(default)s")
    p.add_argument("--duration", type=float, default=1.5, help="seconds per run (default: %(default)s)")
    p.add_argument("--name", default="converted", help="of the files in results (default: %(default)s)")
    args = p.parse_args()
    args.targets, args.quick = ["rolecast"], False
    run.RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bench = run.Bench(args, Site(Path(folder), *run.split_cpus()))
        bench.limit_s = 60.0 * args.rounds
        try:
            bench.upstream = bench.site.start_upstream()
            bench.prepare()
            bench.start_all()
            if "rolecast" not in bench.targets:
                return 1
            measure(bench, args.rounds)
        finally:
            for process in filter(None, [*bench.processes.values(), bench.upstream]):
                table.stop(process)
    others = [r["result"]["foreign_cpu"] for r in bench.results["converted"] if "foreign_cpu" in r["result"]]
    bench.results["foreign_cpu"] = statistics.median(others) if others else None
    bench.results["seconds"] = round(time.monotonic() - bench.began)
    bench.save()
    return write(json.loads((run.RESULTS / f"{args.name}.json").read_text()), run.RESULTS)


if __name__ == "__main__":
    sys.exit(main())
