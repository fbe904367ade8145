"""Measures the features on CLINC150, by cross-validation: intents, domains, and telling what is out of scope.

The shipped model has no head for CLINC150; this says how much the same sight of a prompt can tell apart.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from corpus import HERE, public
from fit import Space, Words, fit
from measure import accuracy, auroc, interval
from sklearn.model_selection import StratifiedKFold

STRENGTH = 0.5
FOLDS = 3


def main() -> None:
    rows = public("clinc150")
    space = Space([r["prompt"] for r in rows], Words.load(HERE / "data" / "words.npz"))
    inside = [r for r in rows if r["intent"] != "oos"]
    outside = space.rows([r["prompt"] for r in rows if r["intent"] == "oos"])
    matrix = space.rows([r["prompt"] for r in inside])
    intents = sorted({r["intent"] for r in inside})
    domain_of = {r["intent"]: r["domain"] for r in inside}
    truth = np.array([intents.index(r["intent"]) for r in inside])
    guess, best, far = np.zeros(len(inside), int), np.zeros(len(inside)), []
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=1).split(truth, truth):
        model = fit(matrix[train], truth[train], intents, STRENGTH)
        scores = model.scores(matrix[test])
        guess[test], best[test] = scores.argmax(1), scores.max(1)
        far.append(model.scores(outside).max(1))
    right = guess == truth
    domains = np.array([domain_of[intents[g]] == domain_of[intents[t]] for g, t in zip(guess, truth, strict=True)])
    score = np.concatenate((-best, -np.mean(far, axis=0)))
    out = np.concatenate((np.zeros(len(best)), np.ones(outside.shape[0])))
    for name, value, limits, known in (
        ("intents", accuracy(right), interval(accuracy, right), "92.8 % TF-IDF LinearSVC"),
        ("domains", accuracy(domains), interval(accuracy, domains), "97.8 %"),
        ("out of scope, AUROC", auroc(score, out), interval(auroc, score, out, rounds=100), "0.949"),
    ):
        print(f"CLINC150 {name:<20} {value:.4f} [{limits[0]:.4f}, {limits[1]:.4f}]  baseline {known}", flush=True)


if __name__ == "__main__":
    main()
