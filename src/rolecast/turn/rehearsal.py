"""Who would answer a request, told without asking anybody: the choice is the one of a real request, nothing is run.

Books nothing, keeps nothing and takes no slot.
"""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from rolecast.config import labels
from rolecast.decision import Choice, Facts, Ranked, Seen
from rolecast.dialects import Dialect
from rolecast.dialects.request import Request
from rolecast.turn.exchange import clock
from rolecast.turn.memory import Memory
from rolecast.turn.plans import Plans
from rolecast.values import Caller

TARGETS = ("standard", "reasoning", "coding")
"""Roles that SLM Server's router delegates to, in capitals."""
HANDLES = "router"
"""The role that answers by itself what it can."""
UNKNOWN_DEPTH = 5
"""Of 1 to 10, where nobody can tell how hard a request is."""
DESTINATION = "destination"
"""The set of labels that says where BestBox's requests go, where a configuration has one."""


class Opined(msgspec.Struct, frozen=True):
    """What the learned model takes a prompt for in one respect."""

    label: str
    confidence: float
    sure: bool
    """Whether it counts."""


class Routed(msgspec.Struct, frozen=True, kw_only=True):
    """Who would answer a request, and why."""

    model: str
    role: str
    task: str
    """The category that it is most like; '' = nobody had to look."""
    tier: str
    domain: str
    difficulty: float | None
    """How probably only a stronger model is right, which is why one would be asked."""
    weak_fails: float | None
    """How probably a weak model is wrong, whoever else is."""
    confidence: float
    """How sure the one who decided was; of the default role, how sure the best guess was that was not enough."""
    source: str
    """Who decided: the first word of `x-rolecast-route`."""
    reason: str
    alternatives: tuple[str, ...]
    """Who is tried next, in order."""
    ranking: tuple[Ranked, ...]
    """How the models were weighed, best first; empty where nothing had to be."""
    labels: Mapping[str, str]
    """Sure labels of your own sets."""
    opinions: Mapping[str, Opined]
    """What the learned model takes it for, sure or not."""
    language: str
    tokens: int
    """Of the prompt, as estimated; 0 = nobody counted."""
    needs: tuple[str, ...]
    """What the model must be able to do."""
    consult: str
    """A real request would first ask this role who answers; '' = it would not."""
    routing_decision: str
    """HANDLE: the router's own model answers; DELEGATE: another one does."""
    target_model: str | None
    """STANDARD, REASONING or CODING; null where the router handles it."""
    reasoning_depth: int
    """1 to 10, by how probably a weak model is wrong."""
    destination: str
    latency_ms: float
    """What looking and choosing took."""


class Rehearsal:
    """Makes choices that nothing comes of."""

    def __init__(self, plans: Plans, memory: Memory) -> None:
        self.plans = plans
        self._memory = memory

    async def of(self, request: Request, dialect: Dialect, caller: Caller) -> Routed:
        """Who would answer this. Raises what the request itself would."""
        await self.plans.mind.wake()  # what it looks like is told also where nothing asks for it
        if request.thread is not None and request.chat is None:
            await self._memory.recall(request, caller.key)
        asked = caller.port_model or request.asked
        began = clock()
        facts, choice, _ = self.plans.chosen(asked, request, caller, dialect)
        took_s = clock() - began
        seen = choice.seen
        if seen is None:
            facts, seen = self.plans.seen(facts, request, caller, dialect)
        return told(facts, choice, seen, took_s)


def told(facts: Facts, choice: Choice, seen: Seen, took_s: float) -> Routed:
    """A choice in the words of the API; looking and choosing took so many seconds."""
    handles = choice.role == HANDLES and not choice.consult
    return Routed(
        model=choice.model,
        role=choice.role,
        task=choice.task,
        tier=choice.tier,
        domain=choice.domain,
        difficulty=_number(seen.difficulty),
        weak_fails=_number(seen.fails),
        confidence=round(_confidence(choice, seen), 4),
        source="llm" if choice.consult else choice.source,
        reason=f"{choice.consult} would be asked; without its word: {choice.reason}"
        if choice.consult
        else choice.reason,
        alternatives=choice.alternatives,
        ranking=tuple(replace(ranked, worth_s=round(ranked.worth_s, 3)) for ranked in choice.ranking),
        labels=choice.labels,
        opinions={of: Opined(said.label, said.confidence, said.sure) for of, said in seen.opinions.items()},
        language=seen.language,
        tokens=seen.tokens,
        needs=seen.needs,
        consult=choice.consult,
        routing_decision="HANDLE" if handles else "DELEGATE",
        target_model=None if handles else _target(choice, seen),
        reasoning_depth=depth_of(seen.fails),
        destination=_destination(facts, choice),
        latency_ms=round(took_s * 1000, 3),
    )


def depth_of(difficulty: float) -> int:
    """How deep to think, from 1 to 10, by how probably a weak model fails."""
    return UNKNOWN_DEPTH if difficulty < 0 else 1 + round(9 * min(difficulty, 1.0))


def _confidence(choice: Choice, seen: Seen) -> float:
    """Of the default role where nobody looked: how sure one that had looked would have been."""
    if choice.source != "default" or choice.seen is not None:
        return choice.confidence
    guess = seen.opinions.get("role")
    return 0.0 if guess is None else guess.confidence


def _target(choice: Choice, seen: Seen) -> str:
    """The nearest of the three: the role itself, else what it looks like for sure, else STANDARD."""
    said = seen.opinions.get("role")
    guess = said.label if said is not None and said.sure else ""
    return next((role.upper() for role in (choice.role, guess) if role in TARGETS), "STANDARD")


def _destination(facts: Facts, choice: Choice) -> str:
    """Where the caller forces it to, else the sure label of the set of that name; '' = nobody knows."""
    forced = facts.hints.metadata.get("force_domain", "")
    return labels.destination(forced)[:64] or choice.labels.get(DESTINATION, "")


def _number(difficulty: float) -> float | None:
    return None if difficulty < 0 else round(difficulty, 4)
