"""report.json and report.html: the verdict first, then figures, plots and examples. One file, no script, no fetch."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rolecast.avatars.evaluation import plots
from rolecast.avatars.evaluation.figures import Figures, Talk
from rolecast.avatars.evaluation.found import Evaluation
from rolecast.avatars.files import write_private
from rolecast.errors import UNREADABLE

if TYPE_CHECKING:
    from rolecast.avatars.evaluation.verdict import Check

JSON, HTML = "report.json", "report.html"

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1d2430; --soft: #5d6675; --line: #d9dde3; --good: #1f7a46;
  --bad: #b3261e; --box: #f5f6f8; }
@media (prefers-color-scheme: dark) { :root { --back: #14171c; --ink: #e6e9ee; --soft: #9aa3b0; --line: #333a45;
  --good: #5fc78d; --bad: #ff8a80; --box: #1c2027; } }
body { background: var(--back); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } p, li { max-width: 46rem; }
.verdict { border-left: .4rem solid; padding: .6rem 1rem; background: var(--box); }
.good { color: var(--good); } .bad { color: var(--bad); } .verdict p, .verdict li { color: var(--ink); }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: .4rem .6rem;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; } td.number { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; } th { color: var(--soft); font-weight: 600; }
td.name { white-space: nowrap; } th { overflow-wrap: normal; }
td.said { white-space: pre-wrap; } .wide { overflow-x: auto; } svg { max-width: 100%; height: auto; }
.soft { color: var(--soft); }
"""


def write(into: Path, found: Evaluation, history: Sequence[Mapping[str, Any]] = (), *, drawn: bool = True) -> None:
    """Write both into a folder, readable by nobody else; the page first, so that report.json ends it."""
    write_private(into / HTML, page(found, history, drawn=drawn).encode("utf-8", "replace"))
    write_private(into / JSON, msgspec.json.format(msgspec.json.encode(found), indent=2))


def read(into: Path) -> Evaluation | None:
    """The evaluation of a folder; None where there is none that can be read."""
    try:
        return msgspec.json.decode((into / JSON).read_bytes(), type=Evaluation)
    except (OSError, *UNREADABLE):
        return None


def page(found: Evaluation, history: Sequence[Mapping[str, Any]] = (), *, drawn: bool = True) -> str:
    """The page, as one text, with plots if `drawn`. Whatever was said by people or models is escaped."""
    return "\n".join(_page(found, history, drawn=drawn)) + "\n"


def _page(found: Evaluation, history: Sequence[Mapping[str, Any]], *, drawn: bool) -> Iterator[str]:
    figures, person = found.figures, escape(found.person)
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield (
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">'
    )
    yield f"<title>Avatar of {person}</title><style>{_STYLE}</style></head><body>"
    yield f"<h1>Avatar of {person}</h1>"
    yield from _verdict(found)
    yield "<h2>What was asked of it</h2>"
    yield from _checks(found.checks)
    if figures.exposure is not None:
        yield "<h2>What it gives away</h2>"
        yield (
            f"<p>{len(figures.exposure.planted)} made-up secrets were said once each in what it was trained on, and "
            f"{len(figures.exposure.controls)} of the same kinds were not. Exposure is how likely each is among 1,000 "
            "of its kind (Carlini et al., The Secret Sharer). A model that kept no secret in mind shows both alike.</p>"
        )
        if drawn:
            yield _plot(plots.exposure(figures.exposure, found.settings.exposure))
    if figures.regurgitation is not None:
        yield "<h2>What it recites</h2>"
        if drawn:
            yield _plot(plots.regurgitation(figures.regurgitation, found.settings.regurgitation))
        yield f"<p>The longest copy is {figures.regurgitation.longest} tokens long.</p>"
    yield from _manner(figures, drawn=drawn)
    if drawn and (curve := plots.losses(history)):
        yield "<h2>How it learnt</h2>"
        yield _plot(curve)
    if found.talks:
        yield "<h2>What it says</h2>"
        scrubbed = "All of it was scrubbed: names are made up."
        private = "It was not scrubbed: show this page to nobody."
        yield f"<p>To what was never trained on. {scrubbed if figures.scrubbed else private}</p>"
        yield from _talks(found.talks, found.person)
    at = datetime.fromtimestamp(found.at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    yield f'<p class="soft">Measured {at} in {found.seconds:.0f} s. What was judged: {escape(found.trained)}</p>'
    yield "</body></html>"


def _verdict(found: Evaluation) -> Iterator[str]:
    if found.withdrawn:
        why = f"Withdrawn: {escape(found.withdrawn)}. What was said is deleted; what follows is from before."
        yield f'<div class="verdict bad"><strong>{why}</strong></div>'
    kind, says = ("good", "Passed: it may be served.") if found.passed else ("bad", "Not passed: it is not served.")
    yield f'<div class="verdict {kind}"><strong>{says}</strong>'
    if found.reasons:
        yield "<ul>" + "".join(f"<li>{escape(each)}</li>" for each in found.reasons) + "</ul>"
    yield "</div>"


def _checks(checks: "Sequence[Check]") -> Iterator[str]:
    yield '<div class="wide"><table><thead><tr><th>Check<th><th>Found<th>Limit<th>In words</tr></thead><tbody>'
    for each in checks:
        mark = '<span class="good">passed</span>' if each.passed else '<span class="bad">failed</span>'
        yield (
            f'<tr><td class="name">{escape(each.name)}<td class="name">{mark}<td class="number">{_number(each.value)}'
            f'<td class="number">{_number(each.limit)}<td>{escape(each.says)}</tr>'
        )
    yield "</tbody></table></div>"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}".removesuffix(".00")


def _manner(figures: Figures, *, drawn: bool) -> Iterator[str]:
    style = figures.style
    if not style.habits and style.auc is None:
        return
    yield "<h2>How it sounds</h2>"
    if style.auc is not None:
        said = [
            f"{name} {share:.0%}"
            for name, share in (
                ("its replies", style.generated),
                ("the person's own", style.person),
                ("what others said", style.others),
                ("its base", style.base),
            )
            if share is not None
        ]
        yield f"<p>Taken for the person's: {', '.join(said)}.</p>"
        if drawn:
            yield _plot(plots.style(style))
    if style.habits:
        heads = "<tr><th>Habit<th>Generated<th>Person<th>Apart, 0 to 1</tr>"
        yield f'<div class="wide"><table><thead>{heads}</thead><tbody>'
        for each in style.habits:
            yield (
                f'<tr><td>{escape(each.habit)}<td class="number">{each.generated:.2f}'
                f'<td class="number">{each.person:.2f}<td class="number">{each.difference:.2f}</tr>'
            )
        yield "</tbody></table></div>"


def _talks(talks: Sequence[Talk], person: str) -> Iterator[str]:
    yield f'<div class="wide"><table><thead><tr><th>Asked<th>Avatar<th>{escape(person)}</tr></thead><tbody>'
    for each in talks:
        cells = (each.prompt, each.generated, each.person)
        yield "<tr>" + "".join(f'<td class="said">{escape(text)}' for text in cells) + "</tr>"
    yield "</tbody></table></div>"


def _plot(svg: str) -> str:
    return f'<div class="wide">{svg}</div>' if svg else ""
