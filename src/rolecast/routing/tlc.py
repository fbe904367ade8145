"""The domain classifier: which domain a text belongs to, what is to be done, and how it is best looked for.

The learned model names one of the seed's domains with a calibrated probability. Topics (`data/taxonomies/domains.json`)
share the probability of a domain among what it may be about, by a few examples each, and every other scheme adds up
the topics of each of its domains. So all schemes say the same of a text, and nothing is made up. Tasks and methods are
told apart by the frame of a question. Pure; learns its examples when it is made, which takes about a second.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

import msgspec

from rolecast.routing import taxonomy
from rolecast.routing.fewshot import Labels
from rolecast.routing.frame import frame
from rolecast.routing.learned import Learned, Opinion, Sight
from rolecast.routing.taxonomy import OTHER, Code, Scheme

MODEL = "rolecast-router"
"""What replies call the learned model."""
DOCUMENTS = 8
"""So many of the documents that come with a question are read; each counts with its head and its tail."""

Odds = Mapping[str, float]
"""Probabilities by name, the likeliest first; their sum is 1."""


class Said(msgspec.Struct, frozen=True):
    """What is said of one question, such as its domain."""

    label: str
    """The answer; OTHER for a domain that nobody can tell."""
    confidence: float
    """The calibrated probability of just that."""
    sure: bool
    odds: Odds


class Classifier:
    """Classifies by one learned model."""

    def __init__(self, model: Learned) -> None:
        self._model = model

    @cached_property
    def _topics(self) -> Labels:
        return Labels("topics", self._model, taxonomy.examples("domains"), plain=True)

    @cached_property
    def _tasks(self) -> Labels:
        return self._framed("tasks")

    @cached_property
    def _methods(self) -> Labels:
        return self._framed("methods")

    @cached_property
    def _v1_tasks(self) -> Labels:
        return self._framed("v1_tasks")

    def _framed(self, name: str) -> Labels:
        found = taxonomy.examples(name)
        return Labels(name, self._model, {label: list(map(frame, texts)) for label, texts in found.items()}, plain=True)

    def learn(self, scheme: str, *, tmd: bool) -> None:
        """Learn what questions of this scheme need. Takes up to a second, so do it in a thread."""
        if scheme != "seed":
            _ = self._topics
        if tmd:
            _ = self._tasks, self._methods
            if scheme in ("v1", "v2"):
                _ = self._v1_tasks

    # -- domains ---------------------------------------------------------------------------------------------

    def odds(self, text: str, scheme: Scheme) -> Odds | None:
        """How probable each domain of this scheme is; None for a text without words."""
        sight = self._model.look(text)
        if not _has_words(sight):
            return None
        said = sight.opinion("domain")
        return said.probabilities if scheme.name == "seed" else _ranked(self._homes(sight, said, scheme))

    def domain(self, text: str, scheme: Scheme, documents: Sequence[Odds] = ()) -> Said:
        """The domain of a text by the names of this scheme; `documents` is what `odds` says of those beside it.

        Documents weigh as much as the text leaves open: beside a text whose domain is certain they say nothing.
        """
        odds = _pooled(self.odds(text, scheme), documents)
        if odds is None:
            names = tuple(dict.fromkeys((OTHER, *scheme.domains)))
            return Said(OTHER, 1 / len(names), False, dict.fromkeys(names, 1 / len(names)))
        best = next(iter(odds))
        is_seed = scheme.name == "seed"
        threshold = self._model.heads["domain"].threshold if is_seed else scheme.sure
        sure = odds[best] >= threshold and (is_seed or best != OTHER)
        label = best if sure else OTHER
        return Said(label, odds.get(label, 0.0), sure, odds)

    def _homes(self, sight: Sight, said: Opinion, scheme: Scheme) -> Odds:
        """What the opinion says in the names of another scheme."""
        found = dict.fromkeys((*scheme.domains, OTHER), 0.0)
        likely = self._topics.opinion(sight).probabilities
        for domain, odds in said.probabilities.items():
            about = _topics_of(domain, likely)
            whole = sum(likely[topic] for topic in about)
            for topic in about:
                found[scheme.home(topic)] += odds * (likely[topic] / whole if whole > 0 else 1 / len(about))
        return found

    # -- tasks, methods, modifiers ---------------------------------------------------------------------------

    def task(self, text: str) -> Said:
        """What is to be done: RETRIEVE, ANSWER, VERIFY, COMPARE or SUMMARIZE."""
        return self._told(self._tasks, text)

    def method(self, text: str) -> Said:
        """How it is best looked for: DENSE, SPARSE, HYBRID or GRAPH."""
        return self._told(self._methods, text)

    def _told(self, labels: Labels, text: str) -> Said:
        sight = self._model.look(frame(text))
        if not _has_words(sight):  # every answer is as good
            names = labels.labels
            return Said(names[0], 1 / len(names), False, dict.fromkeys(names, 1 / len(names)))
        said = labels.opinion(sight)
        return Said(said.label, said.confidence, said.sure, said.probabilities)

    def task_in(self, text: str, scheme: Scheme) -> Said:
        """The task in v1 or v2: of those that the category of the text may be, by the frame of the question."""
        v1 = taxonomy.scheme("v1")
        category = self._model.look(text).opinion("category").probabilities
        likely = self._told(self._v1_tasks, text).odds
        found = dict.fromkeys(scheme.tasks, 0.0)
        for name, odds in category.items():
            tasks = v1.of_task.get(name) or v1.tasks
            whole = sum(likely[task] for task in tasks)
            for task in tasks:
                share = odds * (likely[task] / whole if whole > 0 else 1 / len(tasks))
                found[task if task in found else scheme.of_task[task]] += share
        return _best(found)

    def modifier(self, domain: Said, task: Said, scheme: Scheme) -> Said:
        """The modifier that goes with the task, else with the domain; as probable as those that it goes with."""
        found = dict.fromkeys(scheme.modifiers, 0.0)
        for name, odds in task.odds.items():
            if modifier := scheme.modifier_of_task.get(name):
                found[modifier] += odds
                continue
            for place, share in domain.odds.items():
                found[scheme.modifier_of_domain.get(place, scheme.modifier_else)] += odds * share
        return _best(found)


def code_of(scheme: Scheme, domain: Said, task: Said, modifier: Said) -> Code | None:
    """The numbers of what was said; None where the domain has none."""
    if domain.label not in scheme.domains:
        return None
    return Code(
        scheme.domains.index(domain.label), scheme.tasks.index(task.label), scheme.modifiers.index(modifier.label)
    )


def _best(found: Odds) -> Said:
    ranked = _ranked(found)
    label = next(iter(ranked))
    return Said(label, ranked[label], ranked[label] >= 0.5, ranked)


def _ranked(odds: Odds) -> Odds:
    return dict(sorted(odds.items(), key=lambda item: -item[1]))


def _has_words(sight: Sight) -> bool:
    return sight.telling


def _topics_of(domain: str, topics: Odds) -> Sequence[str]:
    about = taxonomy.scheme("seed").topics.get(domain, ("*",))
    return [topic for topic in topics if topic != "Other"] if "*" in about else about


def _pooled(own: Odds | None, documents: Sequence[Odds]) -> Odds | None:
    """One opinion of several: the text's, and the mean of the documents' for as much as the text is unsure."""
    if not documents:
        return own
    mean = {name: sum(odds[name] for odds in documents) / len(documents) for name in documents[0]}
    if own is None:
        return _ranked(mean)
    open_share = 1.0 - max(own.values())
    return _ranked({name: (1 - open_share) * own[name] + open_share * mean[name] for name in own})
