"""A picture of the replays: how long people waited, and what the machine did on one trace. Needs matplotlib."""

from collections.abc import Sequence
from pathlib import Path

from fleet_policy import NEVER
from fleet_report import Figures
from fleet_simulator import Result

COLOURS = {"fifo": "#9aa0a6", "lru-by-count": "#edae49", "llama-swap": "#00798c", "rolecast": "#d1495b"}
STATES = {"loading": "#edae49", "ready": "#c7d9dd", "unloading": "#9aa0a6"}
ANSWERS = "#d1495b"


def draw(rows: Sequence[Figures], shown: str, runs: dict[str, Result], path: Path) -> None:
    """Waits of all traces and policies above, below what each policy did on the trace `shown`. Raises ImportError."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, *below) = pyplot.subplots(
        1 + len(runs), 1, figsize=(11, 4 + 1.6 * len(runs)), height_ratios=[3, *([1] * len(runs))], layout="constrained"
    )
    _waits(above, rows)
    end_s = max(result.end_s for result in runs.values())
    for axes, (policy, result) in zip(below, runs.items(), strict=True):
        _spans(axes, result)
        axes.set_title(f"{policy} on the trace {shown}: loads yellow, answers red", fontsize=9, loc="left")
        axes.set_xlim(0, end_s)
    below[-1].set_xlabel("seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _waits(axes, rows: Sequence[Figures]) -> None:
    traces = list(dict.fromkeys(row.trace for row in rows))
    policies = list(dict.fromkeys(row.policy for row in rows))
    width = 0.8 / len(policies)
    for n, policy in enumerate(policies):
        of = {row.trace: row for row in rows if row.policy == policy}
        at = [i + n * width for i, name in enumerate(traces) if name in of]
        p95 = [of[name].wait_p95_s for name in traces if name in of]
        most = [of[name].wait_max_s for name in traces if name in of]
        axes.bar(at, [_finite(v) for v in p95], width, color=COLOURS.get(policy), label=policy)
        axes.plot(at, [_finite(v) for v in most], "_", color="black", label="longest" if n == 0 else None)
    axes.set_yscale("log")
    axes.set_ylabel("wait in seconds: 95th percentile, longest")
    axes.set_xticks([i + 0.4 - width / 2 for i in range(len(traces))], traces)
    axes.legend(ncols=len(policies) + 1, fontsize=8)


def _spans(axes, result: Result) -> None:
    names = sorted({name for name, *_ in result.spans})
    for row, name in enumerate(names):
        for state, colour in STATES.items():
            held = [(since, until - since) for n, s, since, until in result.spans if (n, s) == (name, state)]
            axes.broken_barh(held, (row - 0.4, 0.8), color=colour)
        answered = [r for r in result.requests if r.model == name and r.ended_s < NEVER]
        axes.broken_barh([(r.started_s, r.ended_s - r.started_s) for r in answered], (row - 0.15, 0.3), color=ANSWERS)
    axes.set_yticks(range(len(names)), names, fontsize=7)


def _finite(seconds: float) -> float:
    """A bar that can be drawn; one who waits for ever is off the scale."""
    return min(max(seconds, 0.1), 10_000.0)
