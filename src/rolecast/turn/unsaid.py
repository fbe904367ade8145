"""Fields that a model's server takes under another name, or not at all: learnt from its refusal, heeded from then on.

Newer models of OpenAI refuse `max_tokens` and want `max_completion_tokens`, other servers the other way round; models
that think refuse `temperature` and its like. Knows how such a refusal is worded, and asks nobody.
"""

import logging
import re
from collections.abc import Iterable, Mapping

from rolecast.turn.exchange import Exchange
from rolecast.turn.plan import Plan
from rolecast.values import Failure

log = logging.getLogger("rolecast.dispatch")

_OTHERWISE: Mapping[str, str] = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_HINTS = frozenset(
    {
        *("temperature", "top_p", "top_k", "min_p", "typical_p", "presence_penalty", "frequency_penalty"),
        *("repetition_penalty", "repeat_penalty"),
    }
)
"""How a model draws its words; without them it draws otherwise. To leave out anything else would ask another thing."""
_CODES = frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter", "extra_forbidden"})
_NAMED = (
    re.compile(
        r"(?i)\b(?:unsupported|unrecognized|unknown|unexpected) (?:request |keyword )?"
        r"(?:parameter|value|argument|field)s?(?: supplied)?:? *['\"`]?(\w+)"
    ),
    re.compile(
        r"(?i)(\w+)['\"`]?:? (?:(?:is|was) )?(?:(?:not|no longer) supported|deprecated|not (?:permitted|allowed)"
        r"|extra inputs are not permitted|does not support)\b"
    ),
)
_NOT_BOTH = re.compile(r"(?i)\btemperature\b.{1,9}\btop_p\b.{1,3}cannot both\b")


def refused(said: Failure) -> tuple[str, str] | None:
    """The field that is refused whatever stands in it, of those that can be helped, and what is sent in its place.

    None = something else is refused. In its place: as `Plan.renames` has it.
    """
    message = said.message[:500]
    if _NOT_BOTH.search(message):
        return "top_p", "!temperature"
    names = [said.param or ""] if said.code in _CODES else []
    names += [found[1] for each in _NAMED if (found := each.search(message))]
    for name in names:
        if name in _HINTS or (name in _OTHERWISE and said.code != "unsupported_value"):
            return name, _OTHERWISE.get(name, "")
    return None


def _told(other: str) -> str:
    if not other:
        return "it is left out"
    return f"it is left out beside {other[1:]}" if other[0] == "!" else f"it is sent as {other}"


class Unsaid:
    """What was learnt of the servers of models, until the configuration changes."""

    def __init__(self) -> None:
        self._learnt: dict[str, dict[str, str]] = {}

    def forget(self) -> None:
        """They may be others now."""
        self._learnt.clear()

    def apply(self, plan: Plan) -> None:
        """Have bodies for it written so."""
        if self._learnt and (learnt := self._learnt.get(plan.answerer_id)):
            plan.renames, plan.edits = {**plan.backend.renames, **learnt}, True

    def learns(self, exchange: Exchange, plan: Plan, said: Failure, made: Iterable[Plan]) -> bool:
        """Learn from a refusal, if there is something in it; whether the request is worth asking again.

        A field is learnt from a request once, so none goes round in circles.
        """
        if exchange.status not in (400, 422) or plan.backend.spawns or (found := refused(said)) is None:
            return False
        name, other = found
        mark = (plan.answerer_id, name)
        if mark in exchange.respelt:
            return False
        exchange.respelt = (*exchange.respelt, mark)
        learnt = self._learnt.setdefault(plan.answerer_id, {})
        if learnt.get(name) != other:
            learnt.pop(other, None)
            learnt[name] = other
            log.warning("%s takes no %s: %s from now on", plan.answerer_id, name, _told(other))
        for each in (plan, *made):
            if each.answerer_id == plan.answerer_id:
                self.apply(each)
        return True
