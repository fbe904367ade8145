"""What a configuration would have done with requests of the past: counted as they go by, so any number fits.

Knows how a replay is judged, and neither where requests come from nor how the result is shown.
"""

import math
from collections import Counter
from collections.abc import Mapping

import msgspec

from rolecast.decision import Card
from rolecast.routing.price import chance

LIGHT_ROLES = ("router", "standard", "light")
"""Roles of the weaker models, which count as `weak` where a request is labelled by who is right."""
ASSUMED_TOKENS = 200
"""So long an answer is where nobody knows its length."""
Z = 1.96
"""95 % of a normal distribution lie within so many deviations."""


class Case(msgspec.Struct, frozen=True):
    """What is known of one request besides itself."""

    labels: Mapping[str, str] = {}
    """What is right, by what it belongs to: category, role, tier, domain, model."""
    was_model: str = ""
    """Who answered it then; '' = nobody knows."""
    was_role: str = ""
    weak_right: float | None = None
    """Whether, or how probably, a weak model answers it rightly."""
    strong_right: float | None = None
    prompt_tokens: int = 0
    answer_tokens: int = 0
    rating: float | None = None


class Result(msgspec.Struct, frozen=True):
    """What the replay gave for it."""

    model: str
    role: str
    task: str
    tier: str
    domain: str
    source: str
    fails: float
    """How probably a weak model is wrong; -1 = nobody knows."""


class Agreement(msgspec.Struct, frozen=True):
    """How many of those that could be compared are equal."""

    right: int
    of: int
    share: float
    low: float
    """The interval of 95 % (Wilson)."""
    high: float


class Report(msgspec.Struct, frozen=True):
    """The replay of all requests by one configuration."""

    configuration: str
    requests: int
    errors: dict[str, int]
    """Requests that nobody would have answered, by the code of the error."""
    models: dict[str, int]
    roles: dict[str, int]
    sources: dict[str, int]
    agreement: dict[str, Agreement]
    """By what was compared: `was_model` and `was_role` with what was chosen then, the others with labels."""
    matrix: dict[str, dict[str, int]]
    """Requests by the role that was right (or chosen then), and by the role that is chosen now."""
    weak_share: float | None
    """Of requests, for roles of weak models."""
    quality: float | None
    """Share of right answers, where requests are labelled by who is right."""
    all_weak: float | None
    """The same if the weak model answered all; then if the strong one did."""
    all_strong: float | None
    recovered: float | None
    """How much of the gap between these two the choices close, from 0 to 1."""
    weak_estimate: float | None
    """The mean probability, as the learned model says, that a weak model answers rightly what weak ones would get."""
    right_estimate: float | None
    """The mean probability of a right answer, by the quality of the chosen model; see `price.chance`."""
    rating_kept: float | None
    """The mean rating of requests that would go where they went, and of those that would not."""
    rating_changed: float | None
    rated: int
    seconds: float | None
    """All answers one after the other, as far as speeds are known."""
    cents: float
    timed: int
    """Requests whose model's speed is known."""


class _Mean:
    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, value: float | None) -> None:
        if value is not None:
            self.total += value
            self.count += 1

    @property
    def value(self) -> float | None:
        return round(self.total / self.count, 4) if self.count else None


class Tally:
    """Counts the results of one configuration. `speeds` are tokens per second by model, where they were measured."""

    def __init__(self, configuration: str, speeds: Mapping[str, float]) -> None:
        self._name = configuration
        self._speeds = speeds
        self._requests = self._weak = self._timed = self._rated = 0
        self._seconds = self._cents = 0.0
        self._errors: Counter[str] = Counter()
        self._models: Counter[str] = Counter()
        self._roles: Counter[str] = Counter()
        self._sources: Counter[str] = Counter()
        self._compared: dict[str, list[int]] = {}
        self._matrix: dict[str, Counter[str]] = {}
        self._right, self._if_weak, self._if_strong = _Mean(), _Mean(), _Mean()
        self._estimate, self._chance, self._kept, self._changed = _Mean(), _Mean(), _Mean(), _Mean()

    def fail(self, code: str) -> None:
        """Nobody would have answered it."""
        self._requests += 1
        self._errors[code] += 1

    def add(self, case: Case, result: Result, card: Card) -> None:
        """One request; `card` tells of the model that is chosen."""
        self._requests += 1
        self._models[result.model] += 1
        self._roles[result.role] += 1
        self._sources[result.source] += 1
        said = {"category": result.task, "role": result.role, "tier": result.tier, "domain": result.domain}
        said["model"] = result.model
        for of, label in case.labels.items():
            if of in said:
                self._compare(of, said[of] == label)
        if case.was_model:
            self._compare("was_model", case.was_model == result.model)
            self._compare("was_role", case.was_role == result.role)
        if expected := case.labels.get("role") or case.was_role:
            self._matrix.setdefault(expected, Counter())[result.role] += 1
        self._judge(case, result)
        if card.quality is not None and result.fails >= 0:
            self._chance.add(chance(card.quality, result.fails))
        self._price(case, card)

    def report(self) -> Report:
        """What it comes to."""
        done = self._requests - self._errors.total()
        low, high, now = self._if_weak.value, self._if_strong.value, self._right.value
        gap = None if low is None or high is None or now is None or high == low else (now - low) / (high - low)
        return Report(
            configuration=self._name,
            requests=self._requests,
            errors=dict(self._errors.most_common()),
            models=dict(self._models.most_common()),
            roles=dict(self._roles.most_common()),
            sources=dict(self._sources.most_common()),
            agreement={of: _agreement(right, count) for of, (right, count) in self._compared.items()},
            matrix={role: dict(row.most_common()) for role, row in sorted(self._matrix.items())},
            weak_share=round(self._weak / done, 4) if done else None,
            quality=now,
            all_weak=low,
            all_strong=high,
            recovered=None if gap is None else round(gap, 4),
            weak_estimate=self._estimate.value,
            right_estimate=self._chance.value,
            rating_kept=self._kept.value,
            rating_changed=self._changed.value,
            rated=self._rated,
            seconds=round(self._seconds, 1) if self._timed else None,
            cents=round(self._cents, 4),
            timed=self._timed,
        )

    def _compare(self, of: str, equal: bool) -> None:
        counts = self._compared.setdefault(of, [0, 0])
        counts[0] += equal
        counts[1] += 1

    def _judge(self, case: Case, result: Result) -> None:
        weak = result.role in LIGHT_ROLES or (not result.role and result.tier == "light")
        self._weak += weak
        if case.weak_right is not None and case.strong_right is not None:
            self._right.add(case.weak_right if weak else case.strong_right)
            self._if_weak.add(case.weak_right)
            self._if_strong.add(case.strong_right)
        if weak and result.fails >= 0:
            self._estimate.add(1 - result.fails)
        if case.rating is not None:
            self._rated += 1
            (self._kept if case.was_model == result.model else self._changed).add(case.rating)

    def _price(self, case: Case, card: Card) -> None:
        tokens = case.answer_tokens or ASSUMED_TOKENS
        self._cents += (case.prompt_tokens * (card.input_cents or 0) + tokens * (card.output_cents or 0)) / 1e6
        measured = self._speeds.get(card.model, 0.0)
        speed = measured or card.tokens_per_s
        if speed <= 0:
            return
        reading = 0.0 if measured or card.prompt_tokens_per_s <= 0 else case.prompt_tokens / card.prompt_tokens_per_s
        self._seconds += tokens / speed + reading
        self._timed += 1


def _agreement(right: int, of: int) -> Agreement:
    """With Wilson's interval (E. B. Wilson, 1927), which holds for shares near 0 and 1 as well."""
    share = right / of
    middle = (share + Z * Z / (2 * of)) / (1 + Z * Z / of)
    wide = Z * math.sqrt(share * (1 - share) / of + Z * Z / (4 * of * of)) / (1 + Z * Z / of)
    return Agreement(right, of, round(share, 4), round(max(0.0, middle - wide), 4), round(min(1.0, middle + wide), 4))
