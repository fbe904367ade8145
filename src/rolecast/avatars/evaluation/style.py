"""Whether replies sound like the person: a classifier of characters, and how far habits of writing are apart.

The classifier is the usual one of authorship verification: TF-IDF of character n-grams (1 to 4) and logistic
regression, fitted to what the person and what others wrote in the same chats. It says nothing of sense: garbled text
in the person's manner passes, which is why the held-out loss is judged beside it.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from rolecast.avatars.evaluation import statistics
from rolecast.avatars.evaluation.figures import Distance, Style
from rolecast.avatars.example import Example

LEAST = 20
"""Messages of each side that a classifier is worth fitting to."""
_EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff]")
_SIGN = re.compile(r"[^\w\s\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff]")
_WORD = re.compile(r"\w+")


def others(examples: Sequence[Example]) -> list[str]:
    """What was said by anybody else, each message once: histories of neighbours overlap."""
    found = {said.message: None for each in examples for said in each.conversation_history
             if said.speaker != each.speaker_name and said.message.strip()}  # fmt: skip
    return list(found)


class Classifier:
    """Tells the person from others."""

    def __init__(self, person: Sequence[str], other: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        self._model: Any = make_pipeline(
            TfidfVectorizer(analyzer="char", ngram_range=(1, 4), lowercase=False, sublinear_tf=True, min_df=2),
            LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000),
        )
        self._model.fit([*person, *other], [1] * len(person) + [0] * len(other))

    def scores(self, texts: Sequence[str]) -> list[float]:
        """How much each sounds like the person, 0 to 1; from 0.5 on it is taken for theirs."""
        if not texts:
            return []
        return [float(each) for each in self._model.predict_proba(list(texts))[:, 1]]


def measure(
    train: Sequence[Example],
    held_out: Sequence[Example],
    generated: Sequence[str],
    base: Sequence[str] = (),
) -> Style:
    """How much generations sound like the person, `base` being what the base says to the same prompts."""
    own = [each.target_text for each in held_out]
    found = Style(habits=habits(generated, own))
    person, other = [each.target_text for each in train], others(train)
    known = {*other}
    unseen = [each for each in others(held_out) if each not in known]
    if len(person) < LEAST or len(other) < LEAST or len(own) < 2 or len(unseen) < 2:
        return found
    from sklearn.metrics import roc_auc_score

    classifier = Classifier(person, other)
    mine, theirs, ours = classifier.scores(own), classifier.scores(unseen), classifier.scores(generated)
    taken = [float(each >= 0.5) for each in ours]
    return Style(
        auc=float(roc_auc_score([1] * len(mine) + [0] * len(theirs), mine + theirs)),
        generated=statistics.mean(taken) if taken else None,
        person=_share(mine),
        others=_share(theirs),
        base=_share(classifier.scores(base)) if base else None,
        interval=statistics.of_mean(taken) if taken else None,
        scores=_rounded(ours),
        person_scores=_rounded(mine),
        other_scores=_rounded(theirs),
        habits=found.habits,
    )


def _share(scores: Sequence[float]) -> float:
    return statistics.mean([float(each >= 0.5) for each in scores])


def _rounded(scores: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(each, 4) for each in scores)


HABITS: dict[str, Callable[[str], float]] = {
    "characters": len,
    "words": lambda text: len(_WORD.findall(text)),
    "emoji per 100 characters": lambda text: 100 * len(_EMOJI.findall(text)) / max(len(text), 1),
    "punctuation per 100 characters": lambda text: 100 * len(_SIGN.findall(text)) / max(len(text), 1),
    "capitals per 100 letters": lambda text: (
        100 * sum(map(str.isupper, text)) / max(sum(map(str.isalpha, text)), 1)
    ),
    "ends with a full stop, 0 or 1": lambda text: float(text.rstrip().endswith(".")),
}  # fmt: skip


def habits(generated: Sequence[str], person: Sequence[str]) -> tuple[Distance, ...]:
    """Each habit of both, and how many of their words and pairs of words are different ones."""
    if not generated or not person:
        return ()
    found = []
    for habit, of in HABITS.items():
        ours, theirs = [of(each) for each in generated], [of(each) for each in person]
        found.append(Distance(habit, statistics.mean(ours), statistics.mean(theirs), kolmogorov(ours, theirs)))
    # Of equally many texts: the more there are, the fewer of their words are new.
    many = min(len(generated), len(person))
    for size in (1, 2):
        pair = distinct(generated[:many], size), distinct(person[:many], size)
        found.append(Distance(f"distinct-{size}", *pair, abs(pair[0] - pair[1])))
    return tuple(found)


def kolmogorov(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest distance of two empirical distribution functions, 0 to 1."""
    places = sorted({*one, *other})
    return max(
        abs(sum(each <= place for each in one) / len(one) - sum(each <= place for each in other) / len(other))
        for place in places
    )


def distinct(texts: Sequence[str], size: int) -> float:
    """Distinct n-grams of words over all of them (Li et al., 2016: distinct-n)."""
    grams = [
        tuple(words[start : start + size])
        for text in texts
        for words in [_WORD.findall(text.casefold())]
        for start in range(len(words) - size + 1)
    ]
    return len(set(grams)) / len(grams) if grams else 0.0
