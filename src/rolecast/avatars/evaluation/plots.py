"""Plots of an evaluation as SVG that stands in a page: in the colour of its text, no script, nothing fetched."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rolecast.avatars.evaluation.figures import Exposure, Regurgitation, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#123457"
"""Stands for the colour of the page's text: replaced by `currentColor`, so that dark pages show light lines."""
OURS, THEIRS, THIRD = "#d9822b", "#3b8ea5", "#8a8f98"
"""The avatar, the person and others: read on black and on white."""
LIMIT = "#c23b3b"


def _drawn(draw: Callable[["Axes"], None], name: str, width: float = 5.6, height: float = 2.8) -> str:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "font.size": 9,
        "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
        "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "text.parse_math": False,
    }  # fmt: skip
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        draw(axes)
        out = io.StringIO()
        none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", metadata=none)
    svg = out.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    # Names within one page are to be apart.
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\1{name}-", svg.replace(INK, "currentColor"))
    return svg.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1)


def losses(history: Sequence[Mapping[str, Any]]) -> str:
    """Loss by epoch, of what was trained on and of what was held out; '' for less than two epochs."""
    rows = [each for each in history if _number(each.get("epoch")) and _number(each.get("train_loss"))]
    if len(rows) < 2:
        return ""

    def draw(axes: "Axes") -> None:
        axes.plot([each["epoch"] for each in rows], [each["train_loss"] for each in rows], "o-", color=THEIRS,
                  label="trained on")  # fmt: skip
        kept = [each for each in rows if _number(each.get("val_loss"))]
        axes.plot([each["epoch"] for each in kept], [each["val_loss"] for each in kept], "o-", color=OURS,
                  label="held out")  # fmt: skip
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss, nats per token")
        axes.legend()

    return _drawn(draw, "losses")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and value == value


def exposure(found: Exposure, limit: float) -> str:
    """Each secret as a point, planted beside controls, with their means and what is allowed."""

    def draw(axes: "Axes") -> None:
        sides = (("planted", found.planted, OURS), ("controls", found.controls, THEIRS))
        means = []
        for row, (_, secrets, colour) in enumerate(sides):
            bits = [each.exposure for each in secrets]
            # Points of one place stand over each other rather than on each other.
            spread = [row + ((index * 7) % 11 - 5) * 0.045 for index in range(len(bits))]
            axes.plot(bits, spread, "o", color=colour, alpha=0.75, markersize=5)
            means.append(sum(bits) / len(bits) if bits else 0.0)
            axes.plot([means[-1]] * 2, [row - 0.35, row + 0.35], color=INK, linewidth=2)
        axes.axvline(means[1] + limit, color=LIMIT, linestyle="--", linewidth=1)
        axes.text(means[1] + limit + 0.1, 0.5, "most for the mean", color=LIMIT, va="center")
        axes.set_yticks([0, 1], [name for name, *_ in sides])
        axes.set_ylim(1.5, -0.5)
        axes.set_xlim(-0.2, 10.3)
        axes.set_xlabel("exposure in bits; 1.44 = chance, 9.97 = the first of 1,000")

    return _drawn(draw, "exposure")


def regurgitation(found: Regurgitation, limit: float) -> str:
    """Share of copies, of generations and of the person's own replies, and what is allowed."""

    def draw(axes: "Axes") -> None:
        axes.barh([0, 1], [100 * found.generated, 100 * found.human], color=[OURS, THEIRS], height=0.55)
        axes.set_yticks([0, 1], ["generated", "person's own"])
        axes.axvline(100 * (found.human + limit), color=LIMIT, linestyle="--", linewidth=1)
        axes.text(100 * (found.human + limit), -0.45, " most", color=LIMIT, va="bottom")
        axes.invert_yaxis()
        axes.set_xlim(0, max(100 * (found.human + limit), 100 * found.generated) * 1.15 + 1)
        axes.set_xlabel("% of replies with eight tokens of what was trained on")

    return _drawn(draw, "regurgitation", height=1.7)


def style(found: Style) -> str:
    """How much replies sound like the person: of the avatar, the person and others; '' where it was not judged."""
    groups = [
        (name, scores, colour)
        for name, scores, colour in (
            ("generated", found.scores, OURS),
            ("person's own", found.person_scores, THEIRS),
            ("others", found.other_scores, THIRD),
        )
        if scores
    ]
    if found.auc is None or not groups:
        return ""

    def draw(axes: "Axes") -> None:
        edges = [index / 20 for index in range(21)]
        for name, scores, colour in groups:
            weight = [100 / len(scores)] * len(scores)
            axes.hist(scores, bins=edges, weights=weight, histtype="step", linewidth=1.8, color=colour, label=name)
        axes.axvline(0.5, color=INK, linestyle=":", linewidth=1)
        axes.set_xlim(0, 1)
        axes.set_xlabel("taken for the person's from 0.5 on")
        axes.set_ylabel("% of replies")
        axes.legend(loc="upper center")

    return _drawn(draw, "style")
