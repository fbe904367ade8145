"""Measures the learned router: make bench-routing.

Prints the figures of cross-validation (`train.py` computed them, `compare.py` those of CLINC150), those of `test/`,
which no training ever sees, with 95 % intervals, and what a decision costs next to a MiniLM classifier and an LLM.
"""

import json
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402 - reads the variables above when it is imported
from corpus import HERE, Row, written  # noqa: E402
from measure import accuracy, calibration_error, interval  # noqa: E402
from noise import damage  # noqa: E402

from rolecast.routing.fewshot import Labels  # noqa: E402
from rolecast.routing.learned import Learned  # noqa: E402

PROMPT_BYTES = 2048
ROUNDS = 2000
BASELINES = {
    "mmlu_apgr": "0.674 TF-IDF ridge, 0.586 length, 0.487 chance",
    "mmlu_unseen_subject_apgr": "0.605 TF-IDF ridge",
    "gsm8k_apgr": "0.601 length, 0.548 TF-IDF ridge",
}

_COLD = """
import time, psutil, rolecast.routing  # the gateway has it already
me = psutil.Process()
rss = me.memory_info().rss; began = time.perf_counter(); used = time.process_time()
from rolecast.routing.learned import Learned
Learned.load().look("which came first, the chicken or the egg?").opinion("category")
print((time.perf_counter() - began) * 1e3, (time.process_time() - used) * 1e3, (me.memory_info().rss - rss) / 2**20)
"""


def main() -> None:
    model = Learned.load()
    print("## By cross-validation (training/router/report.json)\n")
    for head, figures in json.loads((HERE / "report.json").read_text()).items():
        for name, value in figures.items():
            if name != "recall":
                print(f"{head:<11} {name:<28} {value}  {BASELINES.get(name, '')}".rstrip())
    print("\n## On prompts that training never saw\n")
    hidden(model)
    print("\n## Labels from ten examples\n")
    few(model)
    print("\n## What a decision costs\n")
    cost(model)


def hidden(model: Learned) -> None:
    """The hand-written test sets: hits, calibration, changes under noise."""
    rows = written("test")
    for file, head in (
        ("categories", "category"),
        ("traps", "category"),
        ("domains", "domain"),
        ("tiers", "tier"),
        ("categories", "role"),
        ("categories", "tier"),
    ):
        some = [r for r in rows if r["file"] == file and r.get(head)]
        show(f"{file}: {head}", model, head, some)
    fooled = [r for r in rows if r["file"] == "traps" and r.get("wrong")]
    said = [model.look(r["text"]).opinion("category").label == r["wrong"] for r in fooled]
    print(f"{'traps: says what the trap suggests':<36} {np.mean(said):.3f}  (n {len(fooled)})")


def show(title: str, model: Learned, head: str, rows: list[Row]) -> None:
    """One head on one test set."""
    found = [model.look(r["text"]).opinion(head) for r in rows]
    right = np.array([o.label == r[head] for o, r in zip(found, rows, strict=True)])
    sure = np.array([o.sure for o in found])
    confidence = np.array([o.confidence for o in found])
    rng = random.Random(3)
    noisy = [model.look(damage(r["text"], 0.1, rng)).opinion(head) for r in rows]
    flips = np.array([a.label != b.label for a, b in zip(found, noisy, strict=True)])
    both = sure & np.array([o.sure for o in noisy])
    low, high = interval(accuracy, right)
    print(
        f"{title:<22} {right.mean():.3f} [{low:.3f}, {high:.3f}] (n {len(rows)})"
        f"  ece {calibration_error(confidence, right, 10):.3f}"
        f"  sure {sure.mean():.2f}, then right {right[sure].mean() if sure.any() else float('nan'):.3f}"
        f"  changed by 10 % noise {flips.mean():.3f}, of sure ones {flips[both].mean() if both.any() else 0:.3f}"
    )


def few(model: Learned) -> None:
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
    found = [labels.opinion(model.look(r["text"])) for r in tests]
    right = np.array([o.label == r["destination"] for o, r in zip(found, tests, strict=True)])
    sure = np.array([o.sure for o in found])
    low, high = interval(accuracy, right)
    print(
        f"destination {right.mean():.3f} [{low:.3f}, {high:.3f}] (n {len(tests)})  learned in {took:.0f} ms"
        f"  sure {sure.mean():.2f}, then right {right[sure].mean():.3f}"
    )


def cost(model: Learned) -> None:
    """Time of one decision on one core, memory and cold start, next to MiniLM and an LLM where the engine is here."""
    pool = " ".join(r["text"] for r in written("test")).encode()
    rng = random.Random(1)
    starts = [rng.randrange(len(pool) - PROMPT_BYTES) for _ in range(300)]
    texts = [pool[s : s + PROMPT_BYTES].decode("utf-8", "ignore") for s in starts]
    short = [r["text"] for r in written("test")][:300]
    for title, prompts in (("2 kB", texts), ("as typed", short)):
        print(
            timed(f"learned, {title}", [prompts[i % len(prompts)] for i in range(ROUNDS)], lambda t: decide(model, t))
        )
    cold = [subprocess.run([sys.executable, "-c", _COLD], capture_output=True, text=True, check=True) for _ in range(5)]
    figures = np.array([[float(x) for x in c.stdout.split()] for c in cold])
    wall, used, held = np.median(figures, axis=0)
    print(f"cold start, numpy included: {wall:.0f} ms, {used:.0f} ms of CPU; memory {held:.0f} MB")
    others(texts)


def decide(model: Learned, text: str) -> None:
    """All that routing asks of the model."""
    sight = model.look(text)
    for head in ("category", "role", "tier", "domain"):
        sight.opinion(head)
    sight.probability("difficulty")
    sight.probability("scope")


def timed(title: str, texts: list[str], act: object) -> str:
    """The middle and the slow end of the time per text."""
    took, used = [], []
    for text in texts:
        began, cpu = time.perf_counter(), time.process_time()
        act(text)  # type: ignore[operator]
        took.append((time.perf_counter() - began) * 1e3)
        used.append((time.process_time() - cpu) * 1e3)
    p50, p99 = np.percentile(took[len(took) // 10 :], [50, 99])
    return f"{title:<22} p50 {p50:.3f} ms  p99 {p99:.3f} ms  CPU p50 {np.median(used):.3f} ms"


def others(texts: list[str]) -> None:
    """A MiniLM classifier and an LLM router over the same prompts, where their weights were named."""
    named = {"MiniLM": os.environ.get("ROUTER_MINILM"), "LLM": os.environ.get("ROUTER_LLM")}
    for title, path in named.items():
        if not path:
            print(f"{title:<22} not measured: set ROUTER_{title.upper()} to a GGUF file")
            continue
        from rivals import asker

        print(timed(title, texts[: {"MiniLM": 20, "LLM": 4}[title]], asker(title, Path(path))))
        print(
            f"{'':<22} peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
        )


if __name__ == "__main__":
    main()
