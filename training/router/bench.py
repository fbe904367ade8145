"""Measures the learned router: make bench-routing, or `bench.py --json` for programs.

Prints the figures of cross-validation (`train.py` computed them, `compare.py` those of CLINC150), those of `test/`,
which no training ever sees, and what a decision costs next to a MiniLM classifier and an LLM: each with its 95 %
interval, what was asked of it, and what others reach. A figure that misses its bar is told, and is no error.
"""

import json
import os
import random
import sys
import time

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402 - reads the variables above when it is imported
from compare import clinc  # noqa: E402
from corpus import HERE, Row, written  # noqa: E402
from cost import cost  # noqa: E402
from figures import Figure, as_json, share  # noqa: E402
from heads import lesson  # noqa: E402
from measure import calibration_error, interval  # noqa: E402
from noise import damage  # noqa: E402

from rolecast.routing.fewshot import Labels  # noqa: E402
from rolecast.routing.learned import Learned, Opinion  # noqa: E402

APGR = {
    "mmlu_apgr": (0.70, "MMLU: APGR", "0.674 TF-IDF ridge, 0.586 length, 0.487 chance"),
    "mmlu_unseen_subject_apgr": (0.63, "MMLU: APGR, subjects never seen", "0.605 TF-IDF ridge"),
    "gsm8k_apgr": (0.62, "GSM8K: APGR", "0.601 length, 0.548 TF-IDF ridge"),
}
NOISE = 0.1
"""The share of letters that are damaged to see whether a decision holds."""
NOISY = 0.03
"""So few decisions should change then."""


def main() -> None:
    model = Learned.load()
    parts = (
        ("By cross-validation (training/router/report.json)", lambda: validated()),
        ("On prompts that training never saw", lambda: hidden(model)),
        ("Labels from ten examples", lambda: few(model)),
        ("CLINC150, by cross-validation", clinc),
        ("What a decision costs", lambda: cost(model)),
    )
    wanted = "--json" in sys.argv[1:]
    found: list[Figure] = []
    for title, measure in parts:
        if not wanted:
            print(f"\n## {title}\n", flush=True)
        for figure in measure():
            found.append(figure)
            if not wanted:
                print(figure.line(), flush=True)
    missed = [f.name for f in found if f.passes is False]
    if wanted:
        print(as_json(found))
    else:
        print(
            f"\n{sum(f.passes is True for f in found)} bars reached, {len(missed)} missed: {', '.join(missed) or '-'}"
        )


def validated() -> list[Figure]:
    """What `train.py` found."""
    report = json.loads((HERE / "report.json").read_text())
    found = [
        Figure(
            "difficulty",
            title,
            report["difficulty"][key],
            *report["difficulty"][f"{key}_interval"],
            bar=bar,
            baseline=others,
        )
        for key, (bar, title, others) in APGR.items()
    ]
    hard = report["difficulty"]
    limits = hard["ece_interval"]
    found.append(Figure("difficulty", "difficulty: calibration error", hard["ece"], *limits, bar=0.05, at_most=True))
    found.append(Figure("difficulty", "difficulty: AUROC", hard["auroc"], *hard.get("auroc_interval", ())))
    weak = report["weak_right"]
    limits = weak["ece_interval"]
    found.append(Figure("difficulty", "weak_right: calibration error", weak["ece"], *limits, bar=0.05, at_most=True))
    found.append(Figure("difficulty", "weak_right: AUROC", weak["auroc"], *weak["auroc_interval"]))
    domain = report["domain"]
    n = int((lesson("domain").source == "mmlu").sum())
    value, limits = domain["accuracy_mmlu"], domain.get("ece_mmlu_interval", ())
    found.append(Figure("domain", "21 domains, MMLU's questions", value, *share(value, n), n=n, bar=0.85))
    found.append(Figure("domain", "- calibration error", domain["ece_mmlu"], *limits, n=n, bar=0.05, at_most=True))
    for head in ("category", "role", "tier", "domain"):
        said = report[head]
        value, n = said["accuracy_written"], int((lesson(head).source == "written").sum())
        found.append(Figure(head, f"{head}, written prompts", value, *share(value, n), n=n))
        value, n = said["accuracy"], said["examples"]
        found.append(Figure(head, "- and public ones", value, *share(value, n), n=n))
        value, kept = said["accuracy_sure"], round(n * said["sure"])
        found.append(Figure(head, f"- of the {said['sure']:.0%} that are sure", value, *share(value, kept), n=kept))
        limits = said.get("ece_interval", ())
        found.append(Figure(head, "- calibration error", said["ece"], *limits, n=n, bar=0.05, at_most=True))
    return found


def hidden(model: Learned) -> list[Figure]:
    """The hand-written test sets: hits, calibration, changes under noise."""
    rows = written("test")
    found: list[Figure] = []
    for file, head in (
        ("categories", "category"),
        ("traps", "category"),
        ("domains", "domain"),
        ("tiers", "tier"),
        ("categories", "role"),
        ("categories", "tier"),
    ):
        some = [r for r in rows if r["file"] == file and r.get(head)]
        found += shown(f"{file}: {head}", model, head, some, gated=file == "categories" and head == "category")
    fooled = [r for r in rows if r["file"] == "traps" and r.get("wrong")]
    value = float(np.mean([model.look(r["text"]).opinion("category").label == r["wrong"] for r in fooled]))
    n = len(fooled)
    return [*found, Figure("test", "traps: says what the trap suggests", value, *share(value, n), n)]


def shown(title: str, model: Learned, head: str, rows: list[Row], *, gated: bool) -> list[Figure]:
    """One head on one test set."""
    said = [model.look(r["text"]).opinion(head) for r in rows]
    rng = random.Random(3)
    noisy = [model.look(damage(r["text"], NOISE, rng)).opinion(head) for r in rows]
    found = hits(title, said, [r[head] for r in rows], 0.90 if gated else None)
    changed = np.array([a.label != b.label for a, b in zip(said, noisy, strict=True)])
    both = np.array([a.sure and b.sure for a, b in zip(said, noisy, strict=True)])
    for name, some, bar in (
        ("- changed by 10 % noise", np.ones(len(rows), bool), NOISY if gated else None),
        ("- of sure ones", both, None),
    ):
        value, n = float(changed[some].mean()) if some.any() else 0.0, int(some.sum())
        found.append(Figure("test", name, value, *share(value, n), n, bar, at_most=True))
    return found


def hits(title: str, said: list[Opinion], truth: list[str], bar: float | None = None) -> list[Figure]:
    """How often opinions are right, how calibrated they are, and how often they are sure."""
    right = np.array([o.label == label for o, label in zip(said, truth, strict=True)])
    sure = np.array([o.sure for o in said])
    confidence = np.array([o.confidence for o in said])
    value, n = float(right.mean()), len(said)
    found = [Figure("test", title, value, *share(value, n), n, bar)]
    if sure.any():
        kept, value = int(sure.sum()), float(right[sure].mean())
        found.append(Figure("test", f"- of the {sure.mean():.0%} that are sure", value, *share(value, kept), kept))
    limits = interval(lambda c, r: calibration_error(c, r, 10), confidence, right)
    found.append(Figure("test", "- calibration error", calibration_error(confidence, right, 10), *limits, n))
    return found


def few(model: Learned) -> list[Figure]:
    """The six destinations, learned from ten examples each."""
    examples: dict[str, list[str]] = {}
    rows = written("destinations")
    for row in rows:
        if row["file"] == "examples":
            examples.setdefault(row["destination"], []).append(row["text"])
    began = time.perf_counter()
    labels = Labels("destination", model, examples)
    took = (time.perf_counter() - began) * 1e3
    tests = [r for r in rows if r["file"] == "test"]
    said = [labels.opinion(model.look(r["text"])) for r in tests]
    found = hits("six destinations, ten examples each", said, [r["destination"] for r in tests])
    return [*found, Figure("test", "- learned in", took, unit="ms")]


if __name__ == "__main__":
    main()
