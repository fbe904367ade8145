"""How hard a prompt is: whether the weaker model is right, and how much more often the stronger one is.

Learned from what Mixtral-8x7B (weak) and GPT-4 (strong) really answered to MMLU and GSM8K, as RouteLLM published it.
Each question gets two columns: one for prompts with answers to choose from, learned from MMLU; one for all others,
learned from GSM8K and, with less weight, from MMLU's questions without their answers.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from fit import SEED, Fitted, Space
from heads import outcomes
from matrix import Floats, look, shapes
from measure import apgr, auroc, calibration_error, cpt, within
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, KFold

from rolecast.routing.features import BUCKETS, SHAPE, clip
from rolecast.routing.form import FORM, form, parted
from rolecast.routing.hardness import MEANING_PULL, near, vector

FOLDS = 5
STIFFNESS = 15.0
POINTS = 512
WIDTH = 0.7
"""Of the Gaussian, in middle squared distances between points."""
POINT_PULL = 3.0**0.5
EXAM_PULL, OPEN_PULL = 0.07, 0.1
"""How strongly shape and form count beside words, by the column."""
STRIPPED = 2500
"""So many of MMLU's questions also teach, without their answers, the column of prompts that have none ..."""
STRIPPED_WEIGHT = 0.1
"""... each counting so much beside one of GSM8K."""

Report = dict[str, Any]
Column = NDArray[np.float64]


class Lessons(NamedTuple):
    """Prompts of one kind as rows, and what both models made of them."""

    rows: sparse.csr_matrix
    weak: Column
    strong: Column
    groups: NDArray[Any]
    weight: Column


class Dense(NamedTuple):
    """What the dense part needs to be computed for a prompt: `rolecast.routing.hardness` has it from the file."""

    mean: Floats
    scale: Floats
    points: Floats
    width: float
    whiten: Floats
    """Makes of the nearness to points a product that approximates the kernel's."""


class Hard(NamedTuple):
    """Both heads, each with its columns for exams, then for the rest."""

    heads: list[tuple[str, Fitted, Report]]
    parts: dict[str, NDArray[Any]]


def fit_difficulty(space: Space) -> Hard:
    """`weak_right`, how probably the weaker model is right, and `difficulty`, how probably only the stronger one is.

    The second decides who is asked: a question that both get wrong is no reason to ask the stronger one.
    """
    exam, open_, dense = lessons(space)
    sums = open_.groups == "gsm8k"
    parts = [list(folds(each, KFold(FOLDS, shuffle=True, random_state=SEED))) for each in (exam, open_)]
    heads: list[tuple[str, Fitted, Report]] = []
    columns: list[Fitted] = []
    wide = space.words.vectors.shape[1] + SHAPE
    for name, label, target, truth_of in (
        ("weak_right", "weak_right", sure_of, lambda all_: all_.weak),
        ("difficulty", "needs_stronger", gain_of, lambda all_: all_.strong * (1 - all_.weak)),
    ):
        scores = [judged(exam, parts[0], target), judged(open_, parts[1], target)[sums]]
        truths = [truth_of(exam), truth_of(some(open_, sums))]
        odds = np.concatenate([calibrated(*pair) for pair in zip(scores, truths, strict=True)])
        truth = np.concatenate(truths)
        report: Report = {
            "auroc": round(auroc(odds, truth), 4),
            "auroc_interval": within(auroc, odds, truth),
            "ece": round(calibration_error(odds, truth), 4),
            "ece_interval": within(calibration_error, odds, truth),
        }
        if target is gain_of:
            unseen = judged(exam, list(folds(exam, GroupKFold(FOLDS))), target)
            report |= told("mmlu_apgr", scores[0], exam)
            report["mmlu_cpt50"] = round(cpt(scores[0], exam.weak, exam.strong, 0.5), 3)
            report |= told("mmlu_unseen_subject_apgr", unseen, exam)
            report |= told("gsm8k_apgr", scores[1], some(open_, sums))
        own = [
            sloped(ridge(each, target), *platt(score, right))
            for each, score, right in zip((exam, open_), scores, truths, strict=True)
        ]
        columns += own
        heads.append((name, _head(label, own, wide), report))
    return Hard(heads, _parts(dense, columns))


def lessons(space: Space) -> tuple[Lessons, Lessons, Dense]:
    """The prompts of both kinds, and the dense part that they share."""
    found, weak, strong = outcomes()
    texts = [r["prompt"] for r in found]
    exam = np.flatnonzero([r["set"] == "mmlu" for r in found])
    sums = np.flatnonzero([r["set"] == "gsm8k" for r in found])
    drawn = np.random.default_rng(SEED).permutation(exam)[:STRIPPED]
    asked = [parted(texts[i].encode())[0].decode() for i in drawn]
    all_texts = [*(texts[i] for i in exam), *(texts[i] for i in sums), *asked]
    seen = look(space.mended(all_texts))
    rest = np.hstack((shapes(seen), np.stack([form(clip(t)[0]).numbers for t in all_texts])))
    mean, scale = rest.mean(0), 1 / (rest.std(0) + 0.02)
    place = vector(space.words.mean(seen), rest, mean, scale)
    dense = _dense(place[: len(exam)], mean, scale)
    buckets = space.rows(all_texts)[:, :BUCKETS]
    n, m = len(exam), len(sums)
    nearness = near(place[:n] @ dense.points.T, (place[:n] ** 2).sum(1)[:, None], (dense.points**2).sum(1), dense.width)
    first = _rows(buckets[:n], place[:n] * _pulls(place, EXAM_PULL), nearness @ dense.whiten * POINT_PULL)
    second = _rows(buckets[n:], place[n:] * _pulls(place, OPEN_PULL))
    subjects = np.array([r.get("subject", "gsm8k") for r in found])
    order = np.concatenate((sums, drawn))
    weight = np.where(np.arange(len(order)) < m, 1.0, STRIPPED_WEIGHT)
    return (
        Lessons(first, weak[exam], strong[exam], subjects[exam], np.ones(n)),
        Lessons(second, weak[order], strong[order], subjects[order], weight),
        dense,
    )


def _dense(place: Floats, mean: Floats, scale: Floats) -> Dense:
    points = place[np.random.default_rng(SEED).permutation(len(place))[:POINTS]].astype(np.float16).astype(np.float32)
    lengths = (points**2).sum(1)
    apart = lengths[:, None] + lengths - 2 * points @ points.T
    width = WIDTH * float(np.median(apart))
    values, axes = np.linalg.eigh(np.exp(-np.maximum(apart, 0) / width).astype(np.float64) + 1e-4 * np.eye(POINTS))
    return Dense(mean, scale, points, width, (axes / np.sqrt(values)).astype(np.float32))


def _pulls(place: Floats, pull: float) -> Floats:
    """How strongly each number of a place counts in the linear part; meaning as much as each block of words."""
    found = np.full(place.shape[1], pull, np.float32)
    found[: -SHAPE - FORM] = 1 / MEANING_PULL
    return found


def _rows(buckets: sparse.csr_matrix, *dense: Floats) -> sparse.csr_matrix:
    return sparse.hstack([buckets, sparse.csr_matrix(np.hstack(dense))]).tocsr().astype(np.float32)


def some(all_: Lessons, which: NDArray[np.bool_]) -> Lessons:
    """Some of the prompts."""
    return Lessons(*(column[which] for column in all_))


def gain_of(all_: Lessons) -> Column:
    """What orders prompts: right more often by the stronger model."""
    return all_.strong - all_.weak


def sure_of(all_: Lessons) -> Column:
    """Whether the weaker model is right, as 1 and -1."""
    return all_.weak * 2 - 1


def folds(all_: Lessons, split: Any) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Parts to learn from and to judge by."""
    grouped = {"groups": all_.groups} if isinstance(split, GroupKFold) else {}
    yield from split.split(all_.weak, **grouped)


def judged(all_: Lessons, parts: list[Any], target: Callable[[Lessons], Column]) -> Column:
    """The score of every prompt by a model that has not seen it; none that was seen without its answers, either."""
    found = np.zeros(len(all_.weak))
    for train, test in parts:
        found[test] = ridge(some(all_, train), target).scores(all_.rows[test])[:, 0]
    return found


def ridge(all_: Lessons, target: Callable[[Lessons], Column]) -> Fitted:
    """One column by least squares."""
    machine = Ridge(alpha=STIFFNESS, solver="sparse_cg", tol=2e-3).fit(all_.rows, target(all_), all_.weight)
    weights: Floats = machine.coef_.astype(np.float32)[:, None]
    return Fitted(["gain"], weights, np.array([machine.intercept_], np.float32), 1.0)


def platt(score: Column, truth: Column) -> tuple[float, float]:
    """Slope and shift that make probabilities of scores (Platt 1999)."""
    machine = LogisticRegression(C=1e4).fit(score[:, None], truth)
    return float(machine.coef_[0, 0]), float(machine.intercept_[0])


def calibrated(score: Column, truth: Column) -> Column:
    """Probabilities, each by what the other half of the prompts taught."""
    half = np.random.default_rng(SEED).random(len(truth)) < 0.5
    found = np.zeros(len(truth))
    for mine, other in ((half, ~half), (~half, half)):
        slope, shift = platt(score[other], truth[other])
        found[mine] = 1 / (1 + np.exp(-(score[mine] * slope + shift)))
    return found


def sloped(column: Fitted, slope: float, shift: float) -> Fitted:
    """The same column with its calibration in the weights."""
    return column._replace(weights=column.weights * np.float32(slope), bias=column.bias * np.float32(slope) + shift)


def told(name: str, score: Column, all_: Lessons) -> Report:
    """APGR and the interval that it lies in."""
    return {
        name: round(apgr(score, all_.weak, all_.strong), 4),
        f"{name}_interval": within(apgr, score, all_.weak, all_.strong),
    }


def _head(label: str, columns: list[Fitted], dense: int) -> Fitted:
    """Both columns of a head, by their buckets alone: the dense rest is not among the model's common columns."""
    weights = np.zeros((BUCKETS + dense, len(columns)), np.float32)
    weights[:BUCKETS] = np.hstack([c.weights[:BUCKETS] for c in columns])
    return Fitted([label], weights, np.concatenate([c.bias for c in columns]).astype(np.float32), 1.0)


def _parts(dense: Dense, columns: list[Fitted]) -> dict[str, NDArray[Any]]:
    wide = dense.points.shape[1]
    linear = np.hstack([c.weights[BUCKETS : BUCKETS + wide] for c in columns])
    for i in range(len(columns)):
        linear[:, i] *= _pulls(dense.points, (EXAM_PULL, OPEN_PULL)[i % 2])
    pull = np.zeros((len(dense.points), len(columns)), np.float32)
    for i in range(0, len(columns), 2):
        pull[:, i] = dense.whiten @ columns[i].weights[BUCKETS + wide :, 0] * np.float32(POINT_PULL)
    return {
        "hard_mean": dense.mean.astype(np.float32),
        "hard_scale": dense.scale.astype(np.float32),
        "hard_linear": linear.astype(np.float32),
        "hard_points": dense.points.astype(np.float16),
        "hard_pull": pull,
        "hard_width": np.float32(dense.width),
    }
