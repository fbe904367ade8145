"""Builds the router's model file from the data with a fixed seed and prints how good it is: make train-router.

Every figure is by cross-validation over what the model learns from; the prompts of `test/` are read once, at the end.
"""

import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402 - the libraries read the variables above when they are imported
from corpus import HERE, public, written  # noqa: E402
from difficulty import fit_difficulty  # noqa: E402
from fit import SEED, Copies, Fitted, Space, Words, both, cross_validate, damaged, fit, temperature, unscaled  # noqa: E402
from heads import LABELLED, lesson, scope_lesson  # noqa: E402
from matrix import Floats  # noqa: E402
from measure import accuracy, calibration_error, within  # noqa: E402

from rolecast.routing.features import BUCKETS  # noqa: E402
from rolecast.routing.learned import FORMAT, MODEL  # noqa: E402

STRENGTH = 0.3
SURE = 0.9
"""An opinion is one if opinions of at least its confidence were right this often in cross-validation."""

Report = dict[str, Any]


def main() -> None:
    began = time.time()
    words = Words.load(HERE / "data" / "words.npz")
    space = Space(everything(), words)
    report: Report = {}
    heads: list[tuple[str, Fitted, float]] = []
    with ProcessPoolExecutor(2) as pool:
        tasks = {name: pool.submit(labelled, name, space) for name in ("category", "domain", "role", "tier", "scope")}
        hard = pool.submit(fit_difficulty, space)
        for name in (*LABELLED, "scope"):
            fitted, threshold, report[name] = tasks[name].result()
            heads.append((name, fitted, threshold))
            print(name, json.dumps(report[name]), f"{time.time() - began:.0f} s", flush=True)
        found = hard.result()
    for name, fitted, report[name] in found.heads:  # the last: they have columns of their own besides
        heads.append((name, fitted, 0.0))
        print(name, json.dumps(report[name]), f"{time.time() - began:.0f} s", flush=True)
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else MODEL
    write(target, space, heads, found.parts)
    (HERE / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, {time.time() - began:.0f} s")


def everything() -> list[str]:
    """All texts that say how rare a bucket is; their labels are not looked at."""
    found = [r["text"] for r in written()]
    for name in ("mmlu", "gsm8k", "clinc150", "prompts_by_kind"):
        found += [r["prompt"] for r in public(name)]
    return found


def labelled(name: str, space: Space) -> tuple[Fitted, float, Report]:
    """A head for labels: the columns, the threshold below which it is no opinion, and the figures."""
    texts, labels, source = lesson(name) if name != "scope" else scope_lesson()
    known = sorted(set(labels.tolist())) if name != "scope" else ["in", "out_of_scope"]
    truth = np.searchsorted(known, labels)
    rows = space.rows(texts)
    hand = np.flatnonzero(source == "written") if name == "domain" else np.arange(len(texts))
    slips = damaged([texts[i] for i in hand])
    if name != "category":  # what category gains by more than one copy, others would not be worth their time
        slips = slips[: len(hand)]
    more = Copies(space.rows(slips), np.resize(hand, len(slips)))
    strength = STRENGTH * 2 / (1 + len(slips) / len(hand))
    judged = cross_validate(rows, more, truth, known, strength)
    right = judged.probabilities.argmax(1) == truth
    confidence = judged.probabilities.max(1)
    figures: Report = {"examples": len(texts), "accuracy": round(accuracy(right), 4)}
    figures["ece"] = round(calibration_error(confidence, right), 4)
    figures["ece_interval"] = within(calibration_error, confidence, right)
    for each in sorted(set(source.tolist())):
        some = source == each
        figures[f"accuracy_{each}"] = round(accuracy(right[some]), 4)
        figures[f"ece_{each}"] = round(calibration_error(confidence[some], right[some]), 4)
        figures[f"ece_{each}_interval"] = within(calibration_error, confidence[some], right[some])
    figures["recall"] = {k: round(accuracy(right[truth == i]), 3) for i, k in enumerate(known)}
    model = fit(*both(rows, more, truth, np.arange(len(truth))), known, strength)
    model = model._replace(temperature=temperature(judged.scores, truth))
    if name == "scope":
        return model._replace(labels=["out_of_scope"]), 0.5, figures
    threshold = sure_from(confidence, right)
    figures["threshold"] = threshold
    figures["sure"] = round(accuracy(confidence >= threshold), 4)
    figures["accuracy_sure"] = round(accuracy(right[confidence >= threshold]), 4)
    if len(known) == 2:
        # One column says both: the second label's; the first has none.
        model = model._replace(
            weights=np.hstack((np.zeros_like(model.weights), model.weights)),
            bias=np.concatenate((np.zeros_like(model.bias), model.bias)),
        )
    return model, threshold, figures


def sure_from(confidence: np.ndarray, right: np.ndarray) -> float:
    """The least confidence, in steps of 0.05, from which on opinions are right in SURE of the cases."""
    for step in range(4, 20):
        kept = confidence >= step / 20
        if kept.any() and right[kept].mean() >= SURE:
            return step / 20
    return 0.95


def write(path: Path, space: Space, heads: list[tuple[str, Fitted, float]], parts: dict[str, Any]) -> None:
    """The model file: numbers only. Sparse weights are int8, each column with a scale of its own."""
    weights: Floats = np.hstack([unscaled(f.weights) for _, f, _ in heads])
    sparse_part, dense = weights[:BUCKETS], weights[BUCKETS:]
    scale = np.maximum(np.quantile(np.abs(sparse_part), 0.99999, axis=0), 1e-9).astype(np.float32) / 127
    about: Report = {"format": FORMAT, "seed": SEED, "heads": []}
    start = 0
    for name, fitted, threshold in heads:
        about["heads"].append(
            {
                "name": name,
                "labels": fitted.labels,
                "start": start,
                "temperature": fitted.temperature,
                "threshold": threshold,
                "split": fitted.weights.shape[1] > len(fitted.labels),
            }
        )
        start += fitted.weights.shape[1]
    np.savez(
        path,
        about=np.frombuffer(json.dumps(about).encode(), np.uint8),
        table=np.clip(np.rint(sparse_part / scale), -127, 127).astype(np.int8),
        scale=scale,
        rarity=space.idf.astype(np.float16),
        dense=dense.astype(np.float32),
        bias=np.concatenate([f.bias for _, f, _ in heads]).astype(np.float32),
        word_hashes=space.words.hashes,
        word_vectors=space.words.vectors,
        **parts,
        **space.spelling.parts(),
    )


if __name__ == "__main__":
    main()
