"""Whose turn it is, of a plan that stands for several: its equals, or a newer version for a share of conversations."""

from msgspec.structs import replace

from rolecast.dialects import Dialect
from rolecast.dialects.request import Request
from rolecast.turn.look import words_of
from rolecast.turn.plan import Plan
from rolecast.turn.plans import Plans
from rolecast.turn.seating import share_of
from rolecast.values import Caller


def turn_of(plans: Plans, plan: Plan, request: Request, caller: Caller, dialect: Dialect) -> Plan:
    """The one that answers this request. A conversation stays with one version for as long as the share is the same."""
    if plan.shares:
        plan = plans.share(plan)
    other, defaults = plan.canary, plan.choice.defaults
    if other is None or defaults is None or not plans.lives(other.model):
        return plan
    if share_of(words_of(request, dialect), caller, other.name) >= other.share:
        return plan
    if plan.canary_plan is None:
        choice = replace(
            plan.choice,
            model=other.model,
            reason=f"{plan.choice.reason}, of which {other.name} answers {other.share:.0%}",
            defaults=replace(defaults, adapter=other.adapter, version=other.name, canary=None),
        )
        plan.canary_plan = plans.concrete(plan.asked, choice, other.model)
    return plan.canary_plan
