#!/usr/bin/env python3
"""Turn raw results of run.py into a table, a verdict for every bar, and a plot. Measures nothing.

report.py results/NAME.json      writes latest.md and latest.png next to it
"""

import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import converted

TITLES = {
    "direct": "direct (no gateway)",
    "rolecast": "Rolecast",
    "rolecast_uds": "Rolecast, unix socket",
    "floor": "relay without work",
    "nginx": "nginx",
    "fastapi_httpx": "FastAPI + httpx",
    "litellm": "LiteLLM",
}
COLORS = {
    "direct": "#9aa0a6",
    "rolecast": "#d1495b",
    "rolecast_uds": "#f08a97",
    "floor": "#c9b458",
    "nginx": "#00798c",
    "fastapi_httpx": "#edae49",
    "litellm": "#66548a",
}
LOADS = [  # part, what it is called
    ("json_c1", "JSON, 1 client"),
    ("json_c16", "JSON, 16 clients"),
    ("json_c64", "JSON, 64 clients"),
    ("json_c256", "JSON, 256 clients"),
    ("big_c16", "20 kB bodies, 16 clients"),
    ("sse_c1", "fast streams, 1 client"),
    ("sse_c16", "fast streams, 16 clients"),
    ("paced_c64", "paced streams, 64 clients"),
    ("paced_c256", "paced streams, 256 clients"),
]
DELIVERED = 0.95
"""Share of the events a direct client gets in the same round that counts as keeping pace."""


class Measured:
    """The results of one comparison, asked by part, field and target."""

    def __init__(self, results: dict) -> None:
        self.results = results
        self.rounds: dict[tuple[str, str], dict[int, dict]] = {}
        for run in results["runs"]:
            self.rounds.setdefault((run["target"], run["part"]), {})[run["round"]] = run["result"]

    @property
    def names(self) -> list[str]:
        return list(self.results["targets"])

    def value(self, result: dict, field: str) -> float | None:
        found = result
        for key in field.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def values(self, target: str, part: str, field: str) -> dict[int, float]:
        """Round -> value, where there is one."""
        rounds = self.rounds.get((target, part), {})
        found = {n: self.value(r, field) for n, r in rounds.items()}
        return {n: v for n, v in found.items() if v is not None}

    def median(self, target: str, part: str, field: str) -> float | None:
        return middle(self.values(target, part, field).values())

    def ratio(self, target: str, base: str, part: str, field: str) -> float | None:
        """Median over the rounds both took part in of the target's value over the base's."""
        mine, theirs = self.values(target, part, field), self.values(base, part, field)
        return middle(mine[n] / theirs[n] for n in mine if theirs.get(n))

    def errors(self, target: str, part: str) -> int:
        return sum(r.get("errors", 0) for r in self.rounds.get((target, part), {}).values())

    def failure(self, target: str, part: str | None = None) -> str:
        """Why there is no number: the target's own failure, or that of its runs of this part."""
        info = self.results["targets"].get(target, {})
        if why := info.get("failed") or info.get("skipped"):
            return why
        runs = self.rounds.get((target, part or ""), {}).values()
        return next((r["failed"] for r in runs if "failed" in r), "")


def middle(values) -> float | None:
    values = list(values)
    return statistics.median(values) if values else None


@dataclass(frozen=True)
class Bar:
    """A promise about Rolecast: what is compared, the limit, and how it is computed from the results."""

    what: str
    limit: float
    at_least: bool
    unit: str
    compute: Callable[[Measured], float | None]
    part: str = ""
    base: str = ""

    def verdict(self, m: Measured) -> tuple[str, str, str]:
        """The limit, the measured value and `pass`, `FAIL` or `not measured`, as text."""
        sign = ">=" if self.at_least else "<="
        limit = f"{sign} {number(self.limit)}{self.unit}"
        value = self.compute(m)
        if value is None:
            why = m.failure("rolecast", self.part) or m.failure(self.base, self.part) or "not part of this run"
            return limit, f"- ({why})", "not measured" if not m.failure("rolecast", self.part) else "FAIL"
        measured = f"{number(value)}{self.unit}"
        good = value >= self.limit if self.at_least else value <= self.limit
        if self.part and (errors := m.errors("rolecast", self.part)):
            return limit, f"{measured}, {errors} errors", "FAIL"
        return limit, measured, "pass" if good else "FAIL"


def against(base: str, part: str, field: str, what: str, limit: float, at_least: bool) -> Bar:
    return Bar(what, limit, at_least, "x", lambda m: m.ratio("rolecast", base, part, field), part=part, base=base)


def added_latency(m: Measured) -> float | None:
    """What Rolecast adds to the median answer of one client, over what nginx adds, of the same rounds."""
    mine, theirs, none = (m.values(name, "json_c1", "latency_ms.p50") for name in ("rolecast", "nginx", "direct"))
    return middle(
        (mine[n] - none[n]) / (theirs[n] - none[n]) for n in mine if n in theirs and n in none and theirs[n] > none[n]
    )


def growth(m: Measured) -> float | None:
    million, info = m.results.get("million"), m.results["targets"].get("rolecast", {})
    if not million or million["requests"] < 1_000_000 or "idle_mb" not in info:
        return None
    return (million["mb"]["rss"] / info["idle_mb"]["rss"] - 1) * 100


def start_time(m: Measured) -> float | None:
    return middle(m.results["targets"].get("rolecast", {}).get("start_s", []))


def idle_memory(m: Measured) -> float | None:
    return m.results["targets"].get("rolecast", {}).get("idle_mb", {}).get("rss")


BARS = [
    against("litellm", "json_c16", "req_s", "requests/s against LiteLLM, 16 clients", 100, True),
    against("nginx", "json_c64", "req_s", "requests/s against nginx, 64 clients", 0.6, True),
    against("fastapi_httpx", "json_c16", "req_s", "requests/s against FastAPI + httpx, 16 clients", 20, True),
    against("nginx", "json_c16", "cpu_us_per_request", "CPU per request against nginx, 16 clients", 2.5, False),
    against("nginx", "sse_c16", "events_s", "events/s against nginx, 16 fast streams", 0.8, True),
    against("direct", "paced_c256", "events_s", "events of 256 paced streams delivered", DELIVERED, True),
    against("nginx", "paced_c256", "first_ms.p50", "TTFT p50 against nginx, 256 paced streams", 3, False),
    Bar("added p50 against nginx, 1 client", 2, False, "x", added_latency, "json_c1", "nginx"),
    Bar("idle memory (RSS)", 60, False, " MB", idle_memory),
    Bar("growth of RSS after a million requests", 10, False, " %", growth),
    Bar("start to first healthy answer", 1.0, False, " s", start_time),
]


def number(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def cell(m: Measured, target: str, part: str, *fields: str) -> str:
    """Medians joined by a slash; the reason when a target failed, a dash when it took no part."""
    if (target, part) not in m.rounds:
        return "-"
    values = [m.median(target, part, f) for f in fields]
    if not m.median(target, part, "requests"):
        return f"failed: {m.failure(target, part)}"
    text = " / ".join(map(number, values))
    errors = m.errors(target, part)
    return f"{text} ({errors} errors)" if errors else text


def rows(m: Measured, parts: list[str], fields: list[tuple[str, tuple[str, ...]]]) -> list[str]:
    """One table: a row per target, a column per part and group of fields."""
    present = [(p, title) for p, title in LOADS if p in parts and any((t, p) in m.rounds for t in m.names)]
    if not present:
        return []
    heads = [f"{title}: {what}" for _, title in present for what, _ in fields]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for name in m.names:
        if m.failure(name) and not any((name, p) in m.rounds for p, _ in present):
            cells = [f"failed: {m.failure(name)}"] + [""] * (len(heads) - 1)
        else:
            cells = [cell(m, name, p, *group) for p, _ in present for _, group in fields]
        lines.append(f"| {TITLES[name]} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def markdown(results: dict) -> str:
    m = Measured(results)
    machine, settings = results["machine"], results["settings"]
    lines = [
        "# Measured: Rolecast beside other gateways",
        "",
        (
            f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']} GiB, {machine['kernel']}, "
            f"Python {machine['python']}. Medians of {settings['rounds']} rounds of {settings['seconds']} s, "
            f"all targets in one run of {results.get('seconds', '?')} s; each target has one CPU, the load "
            "generator and the fake upstream have the others. The generator is a Python process: absolute "
            "numbers are floors, ratios count. Meanwhile other work on the machine took "
            f"{number(results.get('foreign_cpu'))} cores (median); it disturbed "
            f"{' of '.join(map(str, results.get('disturbed', '??')))} runs."
        ),
        "",
        "## Bars",
        "",
        "| What | Bar | Measured | Verdict |",
        "|---|---|---|---|",
        *(f"| {bar.what} | " + " | ".join(bar.verdict(m)) + " |" for bar in BARS),
        "",
        (
            "A ratio is the median of the rounds' ratios. A bar with errors in Rolecast's answers fails. "
            "Events count as delivered when every stream arrived whole and the rate is at least "
            f"{DELIVERED:.0%} of what a direct client got. Engine throughput: see engine.md."
        ),
        "",
        "![Requests, CPU, events and time to the first token](latest.png)",
        "",
        "## Answers in one piece",
        "",
        "Requests/s, and in the second column CPU microseconds per request.",
        "",
        *rows(
            m,
            ["json_c1", "json_c16", "json_c64", "json_c256", "big_c16"],
            [("req/s", ("req_s",)), ("CPU us", ("cpu_us_per_request",))],
        ),
        "Latency p50 / p99 in ms.",
        "",
        *rows(
            m,
            ["json_c1", "json_c16", "json_c64", "json_c256", "big_c16"],
            [("ms", ("latency_ms.p50", "latency_ms.p99"))],
        ),
        "## Streams",
        "",
        "128 events of about 220 bytes, as fast as possible or one each 5 ms.",
        "",
        *rows(
            m,
            ["sse_c1", "sse_c16", "paced_c64", "paced_c256"],
            [("events/s", ("events_s",)), ("CPU us/event", ("cpu_us_per_event",))],
        ),
        "Time to the first event p50 / p99 in ms, and streams finished per second.",
        "",
        *rows(
            m,
            ["sse_c1", "sse_c16", "paced_c64", "paced_c256"],
            [("TTFT", ("first_ms.p50", "first_ms.p99")), ("streams/s", ("req_s",))],
        ),
        *converted.section(results),
        *footprint(m),
        *ratios(m),
    ]
    return "\n".join(lines)


def footprint(m: Measured) -> list[str]:
    lines = [
        "## Footprint",
        "",
        "RSS / PSS in MB of the whole process tree.",
        "",
        "| | start s | idle MB | MB after the load | version |",
        "|---|---|---|---|---|",
    ]
    for name in m.names:
        info = m.results["targets"][name]
        if name in ("direct", "rolecast_uds"):
            continue
        memory = [
            " / ".join(number(info[key][kind]) for kind in ("rss", "pss")) if key in info else "-"
            for key in ("idle_mb", "after_mb")
        ]
        start = number(middle(info.get("start_s", []))) if not m.failure(name) else f"failed: {m.failure(name)}"
        lines.append(f"| {TITLES[name]} | {start} | {memory[0]} | {memory[1]} | {info.get('version', '')} |")
    if million := m.results.get("million"):
        mb = million["mb"]
        lines += ["", f"Rolecast after {million['requests']:,} requests: {mb['rss']} / {mb['pss']} MB."]
    return [*lines, ""]


def ratios(m: Measured) -> list[str]:
    """Rolecast over each other target, of the same rounds."""
    bases = [n for n in ("nginx", "fastapi_httpx", "litellm") if n in m.names]
    if "rolecast" not in m.names or not bases:
        return []
    fields = [("req_s", "requests/s"), ("cpu_us_per_request", "CPU per request"), ("latency_ms.p50", "p50")]
    lines = [
        "## Rolecast over the others",
        "",
        "| | " + " | ".join(f"{what} / {TITLES[b]}" for b in bases for _, what in fields) + " |",
        "|---|" + "---|" * (len(bases) * len(fields)),
    ]
    for part, title in LOADS:
        cells = [number(m.ratio("rolecast", b, part, f)) for b in bases for f, _ in fields]
        if any(c != "-" for c in cells):
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def plot(results: dict, path: Path) -> None:
    """Four panels of bars on a log scale. Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    m = Measured(results)
    figure, axes = plt.subplots(2, 2, figsize=(14, 9))
    labels = dict(LOADS)
    panels = [
        ("requests/s (more is better)", ["json_c1", "json_c16", "json_c64", "json_c256", "big_c16"], "req_s"),
        (
            "CPU us per request (less is better)",
            ["json_c1", "json_c16", "json_c64", "json_c256", "big_c16"],
            "cpu_us_per_request",
        ),
        (
            "SSE events/s (more is better)",
            ["sse_c1", "sse_c16", "paced_c64", "paced_c256"],
            "events_s",
        ),
        (
            "time to first event, p50 ms (less is better)",
            ["sse_c1", "sse_c16", "paced_c64", "paced_c256"],
            "first_ms.p50",
        ),
    ]
    for axis, (title, parts, field) in zip(axes.flat, panels, strict=True):
        parts = [p for p in parts if any(m.median(t, p, field) for t in m.names)]
        if not parts:
            axis.set_visible(False)
            continue
        width = 0.8 / max(1, len(m.names))
        for i, name in enumerate(m.names):
            values = [m.median(name, p, field) or 0 for p in parts]
            places = [x - 0.4 + (i + 0.5) * width for x in range(len(parts))]
            bars = axis.bar(places, values, width * 0.92, label=TITLES[name], color=COLORS[name])
            axis.bar_label(bars, [short(v) for v in values], fontsize=6.5, padding=1, rotation=90)
        axis.set_yscale("log")
        axis.margins(y=0.15)
        axis.set_title(title, fontsize=11)
        axis.set_xticks(range(len(parts)), [labels[p].replace(", ", "\n") for p in parts], fontsize=8)
        axis.grid(axis="y", which="major", alpha=0.3)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    legend = {label: handle for a in axes.flat for handle, label in zip(*a.get_legend_handles_labels(), strict=True)}
    if not legend:
        print("no plot: nothing was measured", file=sys.stderr)
        return
    figure.legend(legend.values(), legend, loc="upper center", ncols=len(legend), frameon=False, fontsize=10)
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def short(value: float) -> str:
    if not value:
        return ""
    return f"{value / 1000:.3g}k" if value >= 1000 else f"{value:.3g}"


def write(results: dict, folder: Path) -> int:
    """Write latest.md and latest.png, print the verdicts; 1 when a bar failed, else 0."""
    (folder / "latest.md").write_text(markdown(results))
    try:
        plot(results, folder / "latest.png")
    except ImportError:
        print("no plot: matplotlib is missing; install the dependency group `bench`", file=sys.stderr)
    m = Measured(results)
    failed = 0
    print()
    for bar in BARS:
        limit, measured, verdict = bar.verdict(m)
        failed += verdict == "FAIL"
        print(f"{verdict:12}  {bar.what}: {measured} (bar {limit})")
    print(f"\ntable: bench/{folder.name}/latest.md")
    return 1 if failed else 0


if __name__ == "__main__":
    source = Path(sys.argv[1])
    sys.exit(write(json.loads(source.read_text()), source.parent))
