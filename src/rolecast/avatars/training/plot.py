"""The loss of a training as a picture, for a file and for a terminal."""

from collections.abc import Sequence
from pathlib import Path

from rolecast.avatars.training.history import History

PICTURE = "loss.png"
_MARKS = " ▁▂▃▄▅▆▇█"


def smooth(values: Sequence[float], along: float = 0.9) -> list[float]:
    """The moving mean, each value weighing `1 - along` against those before it."""
    found: list[float] = []
    for value in values:
        found.append(value if not found else along * found[-1] + (1 - along) * value)
    return found


def draw(history: History, path: Path, title: str) -> None:
    """Write the losses against steps; the ending says PNG or SVG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes, rates = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    steps = [each.step for each in history.steps if each.loss is not None]
    losses = [each.loss for each in history.steps if each.loss is not None]
    axes.plot(steps, losses, color="#9db7d5", linewidth=0.8, label="each step")
    axes.plot(steps, smooth(losses), color="#1f5fa8", label="learnt, smoothed")
    held = [(each.step, each.held_out) for each in history.steps if each.held_out is not None]
    if held:
        axes.plot(*zip(*held, strict=True), color="#c2571a", marker="o", label="held out")
    axes.set_ylabel("loss (nats per token)")
    axes.set_title(title, parse_math=False)  # a name may have signs of money in it
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    rates.plot([each.step for each in history.steps], [each.rate for each in history.steps], color="#666666")
    rates.set_ylabel("rate")
    rates.set_xlabel("step")
    rates.set_ylim(bottom=0)
    rates.grid(alpha=0.25)
    figure.savefig(path, dpi=120)
    path.chmod(0o600)


def lines(history: History, width: int = 60, height: int = 8) -> list[str]:
    """The same for a terminal: bars of the mean loss of equal parts of the training, with held-out losses below."""
    losses = [each.loss for each in history.steps if each.loss is not None]
    if not losses:
        return []
    width = min(width, len(losses))
    parts = [losses[len(losses) * each // width : len(losses) * (each + 1) // width] for each in range(width)]
    means = [sum(each) / len(each) for each in parts]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    # The lowest bar has an eighth of a row: nothing is not a loss.
    eighths = [1 + round((each - low) / span * (8 * height - 1)) for each in means]
    found = []
    for row in range(height - 1, -1, -1):
        label = f"{high:7.3f} " if row == height - 1 else f"{low:7.3f} " if row == 0 else " " * 8
        found.append(label + "".join(_MARKS[min(8, max(0, each - 8 * row))] for each in eighths).rstrip())
    found.append(" " * 8 + f"1{f'step {history.steps[-1].step}':>{max(1, width - 1)}}")
    held = [each.held_out for each in history.steps if each.held_out is not None]
    if held:
        found.append("held out: " + " ".join(f"{each:.3f}" for each in held))
    return found
