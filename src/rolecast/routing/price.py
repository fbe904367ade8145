"""What each model is worth for a request just now, in seconds of waiting: the price of a choice. Pure.

worth = value x (P(right) + standing) - load - wait - reading - writing - money - energy. `value` is what a right answer
is worth (`routing.worth.answer`), more for a hard request than for an easy one. Every number comes in by a `Card` or
the facts; what nobody knows counts as the middle of what is known of the others, so it neither wins nor loses by that.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import exp, log
from operator import attrgetter, itemgetter
from typing import NamedTuple

from rolecast.config.routing import Preference, Worth
from rolecast.decision import Card, Ranked
from rolecast.routing.view import View

WEAK = log(0.68 / 0.32)
"""Ability of the model that `View.fails` speaks of (Mixtral 8x7B): it answers 68 % of MMLU's questions."""
USUAL = 0.32
"""Difficulty of a request of which nobody knows it: that model's share of failures on MMLU."""
EXTREME = 0.02
"""A share is kept so far from 0 and 1: nobody is always right, and no request is impossible."""
EASIEST, RANGE, MIDDLE = 0.5, 8.0, 1 / 3
"""A right answer to a light request is worth half as much, to a heavy one four times; at `MIDDLE` as configured."""
OWN, PLACE = 0.35, 0.1
"""Models of the role that was decided are worth so much of a right answer more: they are the user's opinion. The first
by `OWN + PLACE`, the second by `OWN + PLACE / 2` and so on."""
HABIT = 0.15
"""The model that the conversation is used to is worth so much of a right answer more."""
ASSUMED_LOAD_S = 10.0
"""Of a model of which nobody knows how long it loads: 5 GB from a disk that reads 500 MB/s."""
ASSUMED_CENTS = (300.0, 1500.0)
"""What who wants to save fears of a server elsewhere whose price nobody knows, per million tokens read and written:
what large hosted models were sold for in 2025."""
MOST_S = 1e9
"""Nothing is worth a longer wait, so that all sums stay numbers."""
EVEN_S = 1.0
"""Equals whose worth differs by less share their requests."""
ANSWER_TOKENS: Mapping[str, float] = {
    "": 250,
    "classification": 20,
    "translation": 120,
    "question_answering": 120,
    "conversational_chat": 80,
    "summarization": 200,
    "instruction_following": 250,
    "general_reasoning": 350,
    "mathematical_reasoning": 400,
    "code_completion": 150,
    "code_generation": 450,
    "code_review": 500,
    "creative_writing": 500,
    "scientific_research": 600,
    "legal_analysis": 600,
    "long_context": 400,
}
"""How long an answer is, by category: what is assumed before any was seen here, as `turn.paces` learns it."""
PREFERRED: Mapping[str, tuple[float, float]] = {
    "balanced": (1.0, 1.0),
    "quality": (10.0, 1.0),
    "speed": (0.1, 1.0),
    "cost": (1.0, 10.0),
}
"""What a preference multiplies: the worth of a right answer, and that of money and energy."""


class Field(NamedTuple):
    """Who may answer. `members` are the models of the decided role, in its order; `others` can only save a wait."""

    members: Sequence[str]
    others: Sequence[str] = ()
    equals: Sequence[Sequence[str]] = ()
    """Members that have one place."""
    used: str = ""
    """The model that the conversation is used to; it need not be a member."""
    last: frozenset[str] = frozenset()
    """Those that lack what the request would like to have: they come last, whatever they are worth."""


class _Offer:
    """One model and the parts of its price."""

    __slots__ = ("card", "chance", "energy", "load", "model", "money", "standing", "time", "wait", "worth")

    def __init__(self, card: Card) -> None:
        self.card = card
        self.model = card.model
        self.load = 0.0 if card.ready else card.load_s or ASSUMED_LOAD_S
        self.wait = card.wait_s
        self.standing = self.money = self.energy = 0.0

    chance: float
    time: float
    worth: float

    @property
    def gain(self) -> float:
        """What its answer itself is worth, whenever it comes and whoever it comes from."""
        return self.chance - self.time - self.money - self.energy


_WORTH = attrgetter("worth")


class Price:
    """Ranks models by what the configuration says that things are worth.

    `lengths` tells how long answers are, by category.
    """

    def __init__(
        self,
        worth: Worth = Worth(),  # noqa: B008  # frozen
        prefer: Preference = "balanced",
        lengths: Mapping[str, float] = ANSWER_TOKENS,
    ) -> None:
        self._answer = min(float(worth.answer), MOST_S)
        self._cent, self._kilojoule = min(float(worth.cent), MOST_S), min(float(worth.kilojoule), MOST_S)
        self._prefer = prefer
        self._lengths = lengths

    def rank(self, field: Field, view: View, cast: Callable[[str], Card]) -> tuple[tuple[Ranked, ...], str]:
        """The models of the field, the best first, and why it is another than the role's first one; '' = it is not.

        Of equal worth the configured order decides.
        """
        prefer = view.facts.hints.prefer
        quality, saving = PREFERRED[prefer if prefer in PREFERRED else self._prefer]
        fails = view.fails
        value = self._answer * quality * stakes(view.sure("tier"), fails)
        offers = [_Offer(cast(model_id)) for model_id in field.members]
        own = len(offers)
        if field.used and field.used not in field.members:
            offers.append(_Offer(cast(field.used)))
            own += 1
        offers += [_Offer(card) for card in map(cast, field.others) if card.ready and _is_free(card)]
        _chances(offers, value, fails)
        self._costs(offers, view, saving, field.used)
        _standing(offers[:own], field, value)
        if own < len(offers):
            best = max(offer.gain for offer in offers[:own])
            for offer in offers[own:]:  # they may save a wait and are no better, whatever they are
                offer.chance -= max(0.0, offer.gain - best)
        for o in offers:
            o.worth = o.chance + o.standing - o.load - o.wait - o.time - o.money - o.energy
        first = offers[0]
        offers.sort(key=_WORTH, reverse=True)  # keeps the order of equals
        if field.last:
            offers.sort(key=lambda offer: offer.model in field.last)
        ranking = tuple([Ranked(o.model, o.worth, _told(o, field)) for o in offers])
        return ranking, _why(offers[0], first, field)

    def _costs(self, offers: Sequence[_Offer], view: View, saving: float, used: str) -> None:
        """Seconds of waiting, and money and energy as seconds."""
        facts = view.facts
        asked = len(facts.text) / 4
        prompt = facts.tokens or asked + len(facts.system) / 4
        answer = self._lengths.get(view.sure("category")) or self._lengths.get("", ANSWER_TOKENS[""])
        if facts.answer_tokens:
            answer = min(answer, facts.answer_tokens)
        reading: list[float | None] = []
        writing: list[float | None] = []
        for offer in offers:
            card = offer.card
            unread = min(prompt, asked) if offer.model == used and card.ready else prompt
            reading.append(unread / speed if (speed := card.prompt_tokens_per_s) else None)
            writing.append(answer / speed if (speed := card.tokens_per_s) else None)
        for offer, read, write in zip(offers, _filled(reading), _filled(writing), strict=True):
            offer.time = read + write
        self._bills(offers, prompt, answer, saving)

    def _bills(self, offers: Sequence[_Offer], prompt: float, answer: float, saving: float) -> None:
        """Money, and energy of what runs on this machine: elsewhere it is in the bill."""
        for offer in offers:
            card = offer.card
            if card.input_cents != 0 or card.output_cents != 0 or card.watts:
                break
        else:
            return
        cent, joule = self._cent * saving / 1e6, self._kilojoule * saving / 1000
        for place in (True, False):  # a price that nobody knows is like those of the same place
            some = [offer for offer in offers if offer.card.elsewhere is place]
            dues = [_due(offer.card, prompt, answer) for offer in some]
            if place and saving > 1.0:
                dues = _feared(dues, prompt * ASSUMED_CENTS[0] + answer * ASSUMED_CENTS[1])
            if any(due != 0 for due in dues):
                for offer, due in zip(some, _filled(dues), strict=True):
                    offer.money = due * cent
        if any(offer.card.watts for offer in offers):
            some = [offer for offer in offers if not offer.card.elsewhere]
            joules = [_spent(offer) for offer in some]
            for offer, spent in zip(some, _filled(joules), strict=True):
                offer.energy = spent * joule


def stakes(tier: str, difficulty: float) -> float:
    """How much more a right answer is worth than to a usual request: from 0.5 for a light one to 4 for a heavy one.

    Who asks something hard expects to wait for it, and finds a wrong answer late. A tier that is sure counts before the
    difficulty; that of a request of which nothing is known is 1.
    """
    hard = {"light": 0.0, "heavy": 1.0}.get(tier, MIDDLE if difficulty < 0 else min(difficulty, 1.0))
    return EASIEST * float(RANGE**hard)


def chance(quality: float, difficulty: float) -> float:
    """P(right) of a model that answers the share `quality` of MMLU, for a request on which a weak one fails so often.

    sigma(logit(quality) - logit(0.68) - logit(difficulty)): item response theory's one-parameter model (G. Rasch,
    1960), where a right answer depends on ability minus difficulty alone. On the data of `training/router` it holds:
    over MMLU's subjects logit(GPT-4) = 0.68 + 1.06 logit(Mixtral), r = 0.85, where the model says 0.66 + 1.00.
    """
    return 1 / (1 + exp(-(_logit(quality) - WEAK - _logit(difficulty))))


@lru_cache(1024)  # those of models are always the same
def _logit(share: float) -> float:
    kept = min(max(share, EXTREME), 1 - EXTREME)
    return log(kept / (1 - kept))


def _is_free(card: Card) -> bool:
    """Whether it may step in for a role that it does not belong to: nothing leaves the machine, nobody sends a bill."""
    return not (card.elsewhere or card.input_cents or card.output_cents)


def _chances(offers: Sequence[_Offer], value: float, difficulty: float) -> None:
    ease = -_logit(difficulty if difficulty >= 0 else USUAL) - WEAK
    middle = WEAK
    if any(offer.card.quality is None for offer in offers):
        known = sorted(_logit(q) for offer in offers if (q := offer.card.quality) is not None)
        middle = known[(len(known) - 1) // 2] if known else WEAK
    for offer in offers:
        q = offer.card.quality
        offer.chance = value / (1 + exp(-ease - (middle if q is None else _logit(q))))


def _due(card: Card, prompt: float, answer: float) -> float | None:
    """Millionths of a cent; None = nobody knows."""
    if card.input_cents is None or card.output_cents is None:
        return None
    return prompt * card.input_cents + answer * card.output_cents


def _feared(dues: list[float | None], assumed: float) -> list[float | None]:
    """The same with the highest that is known, and at least `assumed`, for those that nobody knows.

    Who wants to save must not get a bill from one that only looked free.
    """
    highest = max((due for due in dues if due is not None), default=0.0)
    return [max(highest, assumed) if due is None else due for due in dues]


def _spent(offer: _Offer) -> float | None:
    """Joules; None = nobody knows, as of one whose time is only that of others."""
    card = offer.card
    known = card.watts and card.tokens_per_s and card.prompt_tokens_per_s
    return card.watts * offer.time if known else None


def _filled(costs: list[float | None]) -> Sequence[float]:
    """The same with the middle of those that are known, of two the higher one, for those that are not; 0 = none is."""
    known = [cost for cost in costs if cost is not None]
    if len(known) == len(costs):
        return known
    usual = sorted(known)[len(known) // 2] if known else 0.0
    return [usual if cost is None else cost for cost in costs]


def _standing(offers: Sequence[_Offer], field: Field, value: float) -> None:
    """What the role's order and the conversation say for its models."""
    place = -1
    group: Sequence[str] = ()
    for offer in offers:
        model = offer.card.model
        if model not in group:
            place += 1
            group = next((g for g in field.equals if model in g), ()) if field.equals else ()
        if model == field.used:
            offer.standing = value * (OWN + PLACE + HABIT)
        else:
            offer.standing = value * (OWN + PLACE / (1 + place))


_PARTS: Sequence[tuple[str, Callable[[_Offer], float]]] = (
    ("already loaded", lambda o: -o.load),
    ("less busy", lambda o: -o.wait),
    ("faster", lambda o: -o.time),
    ("cheaper", lambda o: -o.money),
    ("saves energy", lambda o: -o.energy),
    ("better", lambda o: o.chance),
)


def _why(best: _Offer, first: _Offer, field: Field) -> str:
    """In a few words from a fixed list why it is not the role's first model; '' where it is."""
    if best is first:
        return ""
    if best.card.model == field.used:
        return "as before"
    if first.card.model in field.last:
        return "it can do what is wished"
    word, gained = max(((word, part(best) - part(first)) for word, part in _PARTS), key=itemgetter(1))
    if gained <= 0:
        return ""
    if word == "already loaded" and best.chance < first.chance:
        return "resident before better"
    return word


def _told(offer: _Offer, field: Field) -> str:
    """What speaks for and against a model."""
    card, model = offer.card, offer.model
    used = model == field.used
    own = used or model in field.members
    return _words(used, own, card.ready, card.wait_s > 0, offer.money > 0, model in field.last)


@lru_cache
def _words(used: bool, own: bool, ready: bool, busy: bool, costs: bool, lacks: bool) -> str:
    """The same in words from a fixed list."""
    told = {
        "answered before": used,
        "not of this role": not own,
        "ready": ready,
        "has to load": not ready,
        "busy": busy,
        "costs money": costs,
        "lacks what is wished": lacks,
    }
    return ", ".join(word for word, holds in told.items() if holds)
