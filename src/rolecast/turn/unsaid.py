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
    re.compile(r"(?i)temperature\b.{1,9}\b(top_p)\b.{1,3}cannot both\b"),
)


def refused(said: Failure) -> str:
    """The field that is refused whatever stands in it, of those that can be helped; '' = something else is."""
    message = said.message[:500]
    names = [said.param or ""] if said.code in _CODES else []
    names += [found[1] for each in _NAMED if (found := each.search(message))]
    for name in names:
        if name in _HINTS or (name in _OTHERWISE and said.code != "unsupported_value"):
            return name
    return ""


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
        if exchange.status not in (400, 422) or plan.backend.spawns or not (name := refused(said)):
            return False
        mark = (plan.answerer_id, name)
        if mark in exchange.respelt:
            return False
        exchange.respelt = (*exchange.respelt, mark)
        learnt, other = self._learnt.setdefault(plan.answerer_id, {}), _OTHERWISE.get(name, "")
        if learnt.get(name) != other:
            learnt.pop(other, None)
            learnt[name] = other
            how = f"is sent as {other}" if other else "is left out"
            log.warning("%s takes no %s, which %s from now on", plan.answerer_id, name, how)
        for each in (plan, *made):
            if each.answerer_id == plan.answerer_id:
                self.apply(each)
        return True
