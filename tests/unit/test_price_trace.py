"""A day of requests on virtual time: priced choices against taking the best always, and what is loaded always.

One big model at a time fits beside a small one, so every change of the big one is a load. Models, speeds and loads are
those of a workstation; how hard requests are is drawn as the learned model finds them.
"""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rolecast.config import names
from rolecast.config.schema import Config, Model
from rolecast.decision import Card, Facts, Verdict
from rolecast.routing import build
from rolecast.routing.price import ANSWER_TOKENS, chance, stakes
from rolecast.routing.view import View


class Kept(NamedTuple):
    quality: float
    load_s: float
    tokens_per_s: float


MODELS = {
    "general": Kept(0.71, 8, 40),
    "coder": Kept(0.74, 12, 30),
    "thinker": Kept(0.82, 30, 15),
    "small": Kept(0.5, 0, 90),
}
ROLES = {"standard": ["general", "small"], "coding": ["coder"], "reasoning": ["thinker"]}
CONFIG = Config(models={m: Model(capabilities=["chat"]) for m in MODELS}, roles={**ROLES})
KINDS = [
    ("standard", "conversational_chat", 60),
    ("coding", "code_generation", 25),
    ("reasoning", "mathematical_reasoning", 15),
]
IDLE_S = 600.0


class Arrival(NamedTuple):
    at: float
    role: str
    category: str
    difficulty: float
    tier: str


class Seen(View):
    """What is known of one arrival."""

    def __init__(self, facts: Facts, arrival: Arrival) -> None:
        super().__init__(facts, lambda: None, {})
        self._arrival = arrival

    def sure(self, of: str) -> str:
        return {"category": self._arrival.category, "tier": self._arrival.tier}.get(of, "")

    @property
    def fails(self) -> float:
        return self._arrival.difficulty


class Machine:
    """The models of one machine: who is loaded, and how long each is busy."""

    def __init__(self) -> None:
        self.big = ""
        self.free_at = dict.fromkeys(MODELS, 0.0)
        self.used_at = 0.0
        self.loads = 0

    def card(self, model: str, now: float) -> Card:
        kept = MODELS[model]
        if self.big and now - max(self.used_at, self.free_at[self.big]) > IDLE_S:
            self.big = ""
        ready = model in ("small", self.big)
        ahead = max(0.0, self.free_at[model if ready else self.big or model] - now)
        return Card(
            model,
            quality=kept.quality,
            ready=ready,
            load_s=0.0 if ready else kept.load_s + ahead,
            wait_s=ahead if ready else 0.0,
            tokens_per_s=kept.tokens_per_s,
            prompt_tokens_per_s=kept.tokens_per_s * 8,
        )

    def serve(self, model: str, arrival: Arrival) -> float:
        """Seconds from the request to the end of its answer."""
        card, kept = self.card(model, arrival.at), MODELS[model]
        if not card.ready:
            self.big, self.loads = model, self.loads + 1
        answer_s = 200 / (kept.tokens_per_s * 8) + ANSWER_TOKENS[arrival.category] / kept.tokens_per_s
        took = card.load_s + card.wait_s + answer_s
        self.free_at[model] = self.used_at = arrival.at + took
        return took


Policy = Callable[[Machine, Arrival], str]


def priced(machine: Machine, arrival: Arrival) -> str:
    router = build(names.table(CONFIG), CONFIG)
    facts = Facts("auto", "chat", text="x" * 800, tokens=200)
    view = Seen(facts, arrival)
    choice = router.settle(Verdict(arrival.role, "learned", "x"), view, lambda m: machine.card(m, arrival.at))
    assert choice is not None
    return choice.model


def best(machine: Machine, arrival: Arrival) -> str:
    return ROLES[arrival.role][0]


def warm(machine: Machine, arrival: Arrival) -> str:
    order = dict.fromkeys([*ROLES[arrival.role], *ROLES["standard"]])
    return next((m for m in order if machine.card(m, arrival.at).ready), "small")


def arrivals(seed: int, count: int = 400) -> list[Arrival]:
    drawn = random.Random(seed)
    now, found = 0.0, []
    for _ in range(count):
        now += drawn.expovariate(1 / 45)
        role, category, _ = drawn.choices(KINDS, [share for *_, share in KINDS])[0]
        difficulty = drawn.betavariate(2, 4)
        tier = "light" if difficulty < 0.2 else "heavy" if difficulty > 0.5 else ""
        found.append(Arrival(now, role, category, difficulty, tier))
    return found


class Found(NamedTuple):
    """Of all requests: mean P(right), median and p95 of the seconds, loads, and what a mean request was worth."""

    right: float
    p50: float
    p95: float
    loads: int
    worth_s: float


def run(policy: Policy, seeds: Sequence[int]) -> Found:
    rights: list[float] = []
    times: list[float] = []
    loads, worth = 0, 0.0
    for seed in seeds:
        machine = Machine()
        for arrival in arrivals(seed):
            model = policy(machine, arrival)
            times.append(machine.serve(model, arrival))
            rights.append(chance(MODELS[model].quality, arrival.difficulty))
            worth += 60 * stakes(arrival.tier, arrival.difficulty) * rights[-1] - times[-1]
        loads += machine.loads
    times.sort()
    count = len(times)
    return Found(sum(rights) / count, times[count // 2], times[int(count * 0.95)], loads, worth / count)


def test_priced_choices_wait_less_than_the_best_and_are_right_more_often_than_the_loaded() -> None:
    seeds = range(5)
    by_price, by_quality, by_warmth = run(priced, seeds), run(best, seeds), run(warm, seeds)
    for name, found in (("priced", by_price), ("best always", by_quality), ("loaded always", by_warmth)):
        told = f"right {found.right:.3f}  p50 {found.p50:5.1f} s  p95 {found.p95:5.1f} s  loads {found.loads:4}"
        print(f"{name:14} {told}  worth {found.worth_s:5.1f} s")
    assert by_price.p50 < 0.6 * by_quality.p50
    assert by_price.p95 < 0.8 * by_quality.p95
    assert by_price.loads < 0.7 * by_quality.loads
    assert by_price.right > by_quality.right - 0.05
    assert by_price.right > by_warmth.right + 0.1
    assert by_price.worth_s > max(by_quality.worth_s, by_warmth.worth_s)
