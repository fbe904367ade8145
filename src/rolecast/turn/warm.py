"""A warm stand-in: while the model that was asked for loads, the best one that is loaded answers.

Only where it is wanted: by `warm` of the model, or by the header `x-rolecast-warm`. The model that was asked for begins
to load, so that the next turn is its own. A chat in the middle of a call of tools stays with its model and waits, since
another one did not make the call. Chooses among models; leases and sends nothing.
"""

from msgspec.structs import replace

from rolecast.decision import Facts
from rolecast.dialects.request import Request
from rolecast.errors import RolecastError
from rolecast.fleet import Fleet, State
from rolecast.turn.exchange import Exchange
from rolecast.turn.look import words_of
from rolecast.turn.plan import Plan
from rolecast.turn.plans import Plans
from rolecast.values import Chat

KINDS = ("chat", "completion")


def stand_in(fleet: Fleet, plans: Plans, exchange: Exchange, plan: Plan, request: Request) -> Plan | None:
    """The plan of the stand-in, with the load of the asked one begun; None when the request waits for its own model."""
    said = exchange.caller.warm
    wanted = plan.model.warm if said is None else said
    if not wanted or request.kind not in KINDS or request.only or not _is_absent(fleet, plan):
        return None
    words = words_of(request, exchange.dialect)
    if words is None or (isinstance(words, Chat) and _is_in_call(words)):
        return None
    best = _best(fleet, plans, plan, request)
    if best is not None and fleet.worker(plan.answerer_id).state in (State.COLD, State.ASLEEP):
        fleet.preload(plan.answerer_id)
    return best


def _is_absent(fleet: Fleet, plan: Plan) -> bool:
    """Whether its model is not loaded, and will be."""
    w = fleet.known(plan.answerer_id)
    return w is not None and w.state in (State.COLD, State.ASLEEP, State.LOADING)


def _is_in_call(chat: Chat) -> bool:
    """Whether the results of a call are what is answered: whoever made the call goes on with it."""
    last = chat.messages[-1] if chat.messages else None
    return last is not None and (last.role in ("tool", "function") or bool(last.tool_calls))


def _best(fleet: Fleet, plans: Plans, plan: Plan, request: Request) -> Plan | None:
    """Of those that are loaded, have a free slot and can do it, the best."""
    found: list[tuple[float, str]] = []
    for w in fleet.models():
        model_id = w.model_id
        here = w.state is State.READY and w.active < w.parallel and not w.waiting
        hidden = fleet.stations.at[model_id].model.hidden
        if here and model_id != plan.answerer_id and not hidden and plans.lives(model_id):
            found.append((-(plans.card(model_id).quality or 0.0), model_id))
    for _, model_id in sorted(found):
        try:
            choice = plans.choose(Facts(model_id, request.kind, request.needs, request.prefers))
        except RolecastError:
            continue  # it cannot see, call tools, hold so much ...
        if choice.model == model_id:
            reason = f"{plan.model_id} is loading"
            return plans.concrete(plan.asked, replace(choice, source="warm", reason=reason, alternatives=()), model_id)
    return None
