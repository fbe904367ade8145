"""Which examples teach which head: texts and labels, nothing fitted.

A question with one right label is learned from the prompts written here; the domain also from MMLU's subjects, the
difficulty from what two models really answered.
"""

import random
from typing import NamedTuple

import numpy as np
from corpus import Row, public, written
from numpy.typing import NDArray

LABELLED = ("category", "role", "tier", "domain")
SCOPE = "out_of_scope"
KINDS = {
    "mbpp": "code_generation",
    "code_completion": "code_completion",
    "gsm8k": "mathematical_reasoning",
    "math": "mathematical_reasoning",
    "trivia_qa": "question_answering",
    "natural_qa": "question_answering",
}
"""Kinds of public prompts that are a category of ours beyond doubt."""
MOST = 120
"""Of each such kind, so that they do not outweigh what was written for the category."""


class Lesson(NamedTuple):
    """Examples of one head."""

    texts: list[str]
    labels: NDArray[np.str_]
    source: NDArray[np.str_]
    """Where each comes from: written, mmlu or public."""


def lesson(head: str) -> Lesson:
    """All examples of a head that has labels."""
    rows = [(r["text"], r[head], "written") for r in written() if r.get(head)]
    if head == "category":
        rows += _by_kind()
    if head == "domain":
        rows += [(r["prompt"], r["domain"], "mmlu") for r in public("mmlu") if r["domain"]]
    return _made(rows)


def scope_lesson() -> Lesson:
    """What is out of scope, and everything else; bare terms, which have a domain and nothing else, are neither."""
    rows = [r for r in written() if is_out(r) or r.get("category")]
    return _made([(r["text"], SCOPE if is_out(r) else "in", "written") for r in rows])


def is_out(row: Row) -> bool:
    """Whether a written prompt was marked as nonsense, too vague, or nothing that a model could serve."""
    return row.get("note") == "out of scope"


def outcomes() -> tuple[list[Row], NDArray[np.float64], NDArray[np.float64]]:
    """Prompts of MMLU and GSM8K, and whether the weaker and the stronger model were right."""
    rows = [{**r, "set": name} for name in ("mmlu", "gsm8k") for r in public(name)]
    return (
        rows,
        np.array([r["weak_right"] for r in rows], float),
        np.array([r["strong_right"] for r in rows], float),
    )


def _by_kind() -> list[tuple[str, str, str]]:
    rng = random.Random(5)
    rows = public("prompts_by_kind")
    found = []
    for kind, category in KINDS.items():
        texts = sorted({r["prompt"] for r in rows if r["kind"] == kind})
        found += [(t, category, "public") for t in rng.sample(texts, min(MOST, len(texts)))]
    return found


def _made(rows: list[tuple[str, str, str]]) -> Lesson:
    texts, labels, source = zip(*rows, strict=True)
    return Lesson(list(texts), np.array(labels), np.array(source))
