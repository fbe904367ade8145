"""How hard a prompt is: whether the weaker model is right, and how much more often the stronger one is.

Learned from what Mixtral-8x7B (weak) and GPT-4 (strong) really answered to MMLU and GSM8K, as RouteLLM published it.
"""

from typing import Any

import numpy as np
from fit import SEED, Fitted, Space, temperature
from heads import outcomes
from matrix import Floats
from measure import apgr, auroc, calibration_error, cpt
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold

FOLDS = 5
STIFFNESS = 12.0

Report = dict[str, Any]


def fit_difficulty(space: Space) -> list[tuple[str, Fitted, Report]]:
    """Two columns: `difficulty`, a probability that the weaker model is right, and `gain`, what orders prompts."""
    rows_of, weak, strong = outcomes()
    rows = space.rows([r["prompt"] for r in rows_of])
    sets = np.array([r["set"] for r in rows_of])
    subjects = np.array([r.get("subject", "gsm8k") for r in rows_of])
    gap, sure = np.zeros(len(weak)), np.zeros(len(weak))
    for train, test in KFold(FOLDS, shuffle=True, random_state=SEED).split(weak):
        gap[test] = ridge(rows[train], (strong - weak)[train]).scores(rows[test])[:, 0]
        sure[test] = ridge(rows[train], weak[train] * 2 - 1).scores(rows[test])[:, 0]
    unseen = np.zeros(len(weak))
    for train, test in GroupKFold(FOLDS).split(weak, groups=subjects):
        unseen[test] = ridge(rows[train], (strong - weak)[train]).scores(rows[test])[:, 0]
    mmlu, gsm = sets == "mmlu", sets == "gsm8k"
    gain: Report = {
        "mmlu_apgr": figure(gap, weak, strong, mmlu),
        "mmlu_unseen_subject_apgr": figure(unseen, weak, strong, mmlu),
        "gsm8k_apgr": figure(gap, weak, strong, gsm),
        "mmlu_cpt50": round(cpt(gap[mmlu], weak[mmlu], strong[mmlu], 0.5), 3),
    }
    heat = temperature(sure[:, None], weak.astype(np.int64))
    odds = 1 / (1 + np.exp(-sure / heat))
    difficulty: Report = {
        "auroc": round(auroc(odds, weak), 4),
        "ece": round(calibration_error(odds, weak), 4),
    }
    found = ridge(rows, weak * 2 - 1)._replace(labels=["weak_right"], temperature=heat)
    ranked = ridge(rows, strong - weak)._replace(labels=["gain"])
    return [("difficulty", found, difficulty), ("gain", ranked, gain)]


def ridge(rows: sparse.csr_matrix, target: NDArray[np.float64]) -> Fitted:
    """One column by least squares."""
    machine = Ridge(alpha=STIFFNESS, solver="sparse_cg", tol=2e-3).fit(rows, target)
    weights: Floats = machine.coef_.astype(np.float32)[:, None]
    return Fitted(["gain"], weights, np.array([machine.intercept_], np.float32), 1.0)


def figure(score: NDArray[np.float64], weak: Any, strong: Any, some: NDArray[np.bool_]) -> float:
    """APGR over some of the prompts."""
    return round(apgr(score[some], weak[some], strong[some]), 4)
