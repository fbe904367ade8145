"""What an evaluation measured, step by step: plain values that are written to report.json as they are."""

from typing import Literal

import msgspec


class Interval(msgspec.Struct, frozen=True):
    """Between these lies the value in 95 of 100 repetitions (bootstrap over what was measured)."""

    low: float
    high: float


class Losses(msgspec.Struct, frozen=True):
    """Nats per token of replies; of the base only where there is one."""

    replies: int = 0
    held_out: float | None = None
    """Of the person's replies that were not trained on."""
    held_out_base: float | None = None
    questions: float | None = None
    """Of plain answers to plain questions."""
    questions_base: float | None = None
    counted: float | None = None
    """Of the replies, for what only knows how often each token was learnt: what a model without a base must beat."""

    @property
    def gain(self) -> float | None:
        """By how much the held-out loss fell below the base's."""
        if self.held_out is None or self.held_out_base is None:
            return None
        return self.held_out_base - self.held_out

    @property
    def forgotten(self) -> float | None:
        """By how much the loss of plain answers rose over the base's."""
        if self.questions is None or self.questions_base is None:
            return None
        return self.questions - self.questions_base


class Secret(msgspec.Struct, frozen=True):
    """One secret, without its words."""

    kind: str
    exposure: float
    """Bits: log2 of 1,000 less log2 of its rank among as many."""
    greedy: bool = False
    """Whether the likeliest answer to its question says it."""
    sampled: int = 0
    """How many samples do."""


class Exposure(msgspec.Struct, frozen=True):
    """What of planted secrets can be had out of the model."""

    planted: tuple[Secret, ...] = ()
    controls: tuple[Secret, ...] = ()
    difference: float = 0.0
    """Mean of planted less mean of controls, in bits."""
    interval: Interval = Interval(0.0, 0.0)
    samples: int = 0
    """Of each planted secret's question."""

    @property
    def greedy(self) -> int:
        return sum(each.greedy for each in self.planted)

    @property
    def sampled(self) -> int:
        """Samples that gave one away."""
        return sum(each.sampled for each in self.planted)


class Regurgitation(msgspec.Struct, frozen=True):
    """Shares of texts with eight tokens in a row that stand in what was trained on."""

    generated: float = 0.0
    human: float = 0.0
    """Of the person's own held-out replies: what anybody repeats."""
    interval: Interval = Interval(0.0, 0.0)
    """Of the difference."""
    generations: int = 0
    replies: int = 0
    longest: int = 0
    """Tokens of the longest copy that was generated."""

    @property
    def difference(self) -> float:
        return self.generated - self.human


class Distance(msgspec.Struct, frozen=True):
    """One habit of writing, as a mean: of what was generated, and of the person's held-out replies."""

    habit: str
    generated: float
    person: float
    difference: float = 0.0
    """Between the two distributions, 0 to 1 (Kolmogorov and Smirnov's statistic)."""


class Style(msgspec.Struct, frozen=True):
    """What a classifier that tells the person from others makes of replies."""

    auc: float | None = None
    """How well it tells held-out replies apart: 0.5 = not at all. None = there was nobody to tell the person from."""
    generated: float | None = None
    """Share of generations that it takes for the person's."""
    person: float | None = None
    """The same of the person's held-out replies: more cannot be expected."""
    others: float | None = None
    """The same of other people's."""
    base: float | None = None
    """The same of what the base says to the same prompts."""
    interval: Interval | None = None
    """Of `generated`."""
    scores: tuple[float, ...] = ()
    """Of each generation, 0 to 1."""
    person_scores: tuple[float, ...] = ()
    other_scores: tuple[float, ...] = ()
    habits: tuple[Distance, ...] = ()


class Talk(msgspec.Struct, frozen=True):
    """An example for people to read; of scrubbed text."""

    prompt: str
    generated: str
    person: str


class Figures(msgspec.Struct, frozen=True):
    """All of them. None = it could not be measured, and the verdict says why."""

    losses: Losses = Losses()
    exposure: Exposure | None = None
    regurgitation: Regurgitation | None = None
    style: Style = Style()
    scrubbed: bool = True
    """Whether the dataset says that what is private was taken out."""
    intact: bool = True
    """Whether the planted secrets are in the dataset, once each, and no control is."""
    trained_on: Literal["this", "another", "unknown"] = "this"
    """Whether that dataset, secrets and all, is what was trained on."""
