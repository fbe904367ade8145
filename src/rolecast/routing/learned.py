"""The learned router: reads the small model file and says of a prompt what it is, how sure it is, and when to abstain.

The file holds one table of int8 weights over the buckets of `features`, one of word vectors, and heads: columns of
both that belong to one question (category, role, tier, domain ...). Pure: no I/O after `load`, no configuration. What
follows from an opinion is decided elsewhere. numpy is imported by whoever imports this file, so import it late.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from math import exp
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import msgspec
import numpy as np
from numpy.typing import NDArray

from rolecast.decision import Said
from rolecast.routing.features import BLOCKS, BUCKETS, SHAPE, Indices, Seen, clip, see
from rolecast.routing.form import Form, form
from rolecast.routing.hardness import Hardness
from rolecast.routing.lexicon import Lexicon
from rolecast.routing.spelling import Spelling

FORMAT = 2
"""Of the file; one of another format is refused."""
MODEL = Path(__file__).parent.parent / "data" / "router.npz"

Floats = NDArray[np.float32]
_ROWS = 2048
"""So many rows of the table are weighed at a time: their numbers stay in the cache of a core."""
_ENDS = np.cumsum(BLOCKS)[:-1].astype(np.int32)


class Head(msgspec.Struct, frozen=True):
    """One question to the model and its possible answers."""

    name: str
    labels: tuple[str, ...]
    """Of a question with one right label; for a probability the one label that it belongs to."""
    start: int
    """The first of its columns, one per label."""
    temperature: float = 1.0
    """Divides the scores before they become probabilities; fitted by cross-validation."""
    threshold: float = 0.0
    """A confidence below it is no opinion."""
    split: bool = False
    """Whether it has two columns: one for texts with answers to choose from, then one for all others."""


class Opinion(msgspec.Struct, frozen=True):
    """What one head says of one prompt."""

    head: str
    label: str
    """The likeliest label, also when `sure` is false."""
    confidence: float
    """Its calibrated probability, 0 to 1."""
    sure: bool
    """Whether the confidence reaches the head's threshold and the prompt has known words; if not, others decide."""
    probabilities: Mapping[str, float]
    """Of every label, the likeliest first."""


class Sight:
    """One prompt as the model sees it; the scores of all heads are computed at once, opinions when asked for."""

    def __init__(self, model: "Learned", text: str) -> None:
        self.model = model
        self.text = text
        mended = model.spelling.mended(text)
        self.seen = see(mended)
        self.telling = len(self.seen.words) > 0 and not model.spelling.strange(mended)
        """Whether it has words, and not only unknown ones: of others there is nothing to be sure of."""

    @cached_property
    def sparse(self) -> Floats:
        """The weights of the seen buckets: each block of length 1."""
        return self.model.weigh(self.seen)

    @cached_property
    def about(self) -> tuple[Indices, Floats]:
        """The seen buckets and their weights without the skeleton: what it is about, and not how it is asked."""
        end = int(self.seen.buckets.searchsorted(_ENDS[-1]))
        return self.seen.buckets[:end], self.sparse[:end]

    @cached_property
    def meaning(self) -> Floats:
        """The mean of its known words' vectors, of length 1; zeros when no word is known."""
        return self.model.lexicon.meaning(self.seen.words)

    @cached_property
    def form(self) -> Form:
        """What tells how hard it may be."""
        return form(clip(self.text)[0])

    @cached_property
    def scores(self) -> Floats:
        """Of all columns, before temperature."""
        return self.model.scores(self)

    @cached_property
    def told(self) -> list[float]:
        """The scores as numbers of Python."""
        numbers: list[float] = self.scores.tolist()
        return numbers

    def opinion(self, head: str) -> Opinion:
        """What one head says. Raises KeyError for a head that the model does not have."""
        return self.model.opinion(self, head)

    def said(self, head: str) -> Said:
        """The same without the labels that are less likely. Raises KeyError likewise."""
        found = self.model.heads[head]
        if len(found.labels) == 1:
            p = self.probability(head)
            return Said(found.labels[0], p, p >= found.threshold)
        raw = self.told[found.start : found.start + len(found.labels)]
        most, heat = max(raw), found.temperature
        best = 1 / sum([exp((score - most) / heat) for score in raw])
        # Without a single word that tells something there is nothing to be sure of, whatever the prior says.
        return Said(found.labels[raw.index(most)], best, best >= found.threshold and self.telling)

    def probability(self, head: str) -> float:
        """Of a head that has one label: how probable it is."""
        found = self.model.heads[head]
        at = found.start + (found.split and not self.form.choices)
        return 1 / (1 + exp(min(-self.told[at] / found.temperature, 700)))


class Learned:
    """The model. Every method is a pure function of the file and its arguments."""

    def __init__(self, parts: Mapping[str, NDArray[Any]]) -> None:
        about = msgspec.json.decode(parts["about"].tobytes())
        if about["format"] != FORMAT:
            raise ValueError(f"The router's file has format {about['format']}; this version reads {FORMAT}.")
        self.about: Mapping[str, Any] = about
        self.heads = {h.name: h for h in msgspec.convert(about["heads"], list[Head])}
        self._table = parts["table"]
        self._scale = parts["scale"]
        self._rarity = parts["rarity"].astype(np.float32)
        self._dense = parts["dense"]
        self._bias = parts["bias"]
        self.lexicon = Lexicon(parts["word_hashes"], parts["word_vectors"])
        self._hardness = Hardness(parts)
        self.spelling = Spelling.read(parts)
        columns = len(self._bias)
        wide = self.lexicon.width + SHAPE
        if self._table.shape != (BUCKETS, columns) or self._dense.shape != (wide, columns):
            raise ValueError("The router's file does not fit the features of this version; train it again.")

    @classmethod
    def load(cls, path: Path = MODEL) -> "Learned":
        """Read the file, which holds numbers and no code. Raises OSError without it and ValueError for a wrong one."""
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                return cls({name: file[name] for name in file.files})
        except (BadZipFile, EOFError, KeyError, AttributeError, TypeError, msgspec.MsgspecError) as e:
            raise ValueError(f"{path} is no model file of the router, or a damaged one; install Rolecast again.") from e

    def look(self, text: str) -> Sight:
        """A prompt as the model sees it."""
        return Sight(self, text)

    def weigh(self, seen: Seen) -> Floats:
        """The weight of every seen bucket: how often times how rare, each block of length 1."""
        made: Floats = self._rarity.take(seen.buckets)
        made *= seen.weights
        cuts = [0, *seen.buckets.searchsorted(_ENDS).tolist(), len(made)]
        for part in (made[start:end] for start, end in pairwise(cuts)):
            length = float(part @ part)
            if length > 0:
                part /= np.float32(length**0.5)
        return made

    def scores(self, sight: Sight) -> Floats:
        """Of all columns."""
        buckets, weights = sight.seen.buckets, sight.sparse
        total = np.zeros(len(self._bias), np.float32)
        for i in range(0, len(buckets), _ROWS):
            rows = self._table.take(buckets[i : i + _ROWS], axis=0)
            total += weights[i : i + _ROWS] @ rows.astype(np.float32)
        dense = np.concatenate((sight.meaning, sight.seen.shape))
        made: Floats = total * self._scale + dense @ self._dense + self._bias
        hard = self._hardness.scores(sight.meaning, sight.seen.shape, sight.form.numbers, sight.form.choices)
        made[-len(hard) :] += hard  # the columns for difficulty are the last ones
        return made

    def opinion(self, sight: Sight, name: str) -> Opinion:
        """What one head says of a prompt."""
        head = self.heads[name]
        said = sight.said(name)
        if len(head.labels) == 1:
            ranked = {said.label: said.confidence}
        else:
            ranked = odds(head.labels, sight.told[head.start : head.start + len(head.labels)], head.temperature)
        return Opinion(name, said.label, said.confidence, said.sure, ranked)


def odds(labels: tuple[str, ...], raw: Sequence[float], temperature: float) -> dict[str, float]:
    """The probability of every label, the likeliest first; of few labels that is faster without arrays."""
    most = max(raw)
    weights = [exp((score - most) / temperature) for score in raw]
    total = sum(weights)
    order = sorted(range(len(raw)), key=raw.__getitem__, reverse=True)
    return {labels[i]: weights[i] / total for i in order}
