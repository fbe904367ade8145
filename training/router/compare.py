"""Measures the features on CLINC150, by cross-validation: intents, domains, and telling what is out of scope.

The shipped model has no head for CLINC150; this says how much the same sight of a prompt can tell apart.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from corpus import HERE, public
from figures import Figure
from fit import Space, Words, fit
from measure import accuracy, auroc, interval
from sklearn.model_selection import StratifiedKFold

STRENGTH = 0.5
FOLDS = 3


def clinc() -> list[Figure]:
    """Intents, domains, out of scope; takes about a minute."""
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
    hits = {"intents": (right, 0.95, "92.8 % TF-IDF LinearSVC"), "domains": (domains, 0.98, "97.8 % TF-IDF LinearSVC")}
    found = [
        Figure("clinc150", f"CLINC150: {name}", accuracy(hit), *interval(accuracy, hit), len(hit), bar, baseline=known)
        for name, (hit, bar, known) in hits.items()
    ]
    limits = interval(auroc, score, out, rounds=100)
    name = "CLINC150: out of scope, AUROC"
    found.append(
        Figure("clinc150", name, auroc(score, out), *limits, len(out), 0.96, baseline="0.949 TF-IDF LinearSVC")
    )
    return found


if __name__ == "__main__":
    for figure in clinc():
        print(figure.line(), flush=True)
