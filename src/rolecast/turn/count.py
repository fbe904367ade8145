"""How many tokens a chat has for the model that would answer it: its own worker is asked, and nothing is generated.

The chat is chosen for and written like one that is to be answered, so the number is what the answer would report.
Books nothing, and takes a slot only of a model that leaves again as soon as it has been loaded.
"""

import msgspec

from rolecast.dialects import Dialect, complaint
from rolecast.dialects.request import Request
from rolecast.errors import UNREADABLE, BadRequest, RolecastError, UpstreamError
from rolecast.fleet import Fleet
from rolecast.net import probe
from rolecast.net.pool import Pool
from rolecast.turn import departure, verdict
from rolecast.turn.departure import Departure
from rolecast.turn.plan import Plan
from rolecast.turn.plans import Plans
from rolecast.values import Caller

TIMEOUT_S = 60.0
MISSING = (404, 405, 501)
"""Statuses of servers that do not have the path."""


class _Counted(msgspec.Struct):
    input_tokens: int


_decode = msgspec.json.Decoder(_Counted).decode


class Counter:
    """Asks workers for counts."""

    def __init__(self, plans: Plans, fleet: Fleet) -> None:
        self._plans = plans
        self._fleet = fleet
        self.departure: Departure | None = None
        """Who sees chats off that are counted elsewhere."""

    def is_ready(self, plan: Plan) -> bool:
        """Whether its worker can be asked without loading a model for that."""
        return self._fleet.stations.pool(plan.answerer_id) is not None

    async def count(self, request: Request, dialect: Dialect, caller: Caller) -> int:
        """Tokens of this chat. Raises RolecastError, BadRequest where the model's server cannot be asked."""
        if caller.gated:
            request.needs |= self._plans.needs(caller)
        plan = self._plans.known(request, caller, dialect)
        if request.family == plan.family:
            body = plan.body(request)
        else:
            request.chat = dialect.chat(request)
            _, body = plan.written(request, request.chat)
        asked = plan.backend.counting(body)
        if asked is None:
            raise _cannot(plan)
        pool = self._fleet.stations.pool(plan.answerer_id)
        if pool is None:  # it is loaded, or woken; whoever wants answers of it meanwhile is not waited for
            await self._fleet.load(plan.answerer_id)
            pool = self._fleet.stations.pool(plan.answerer_id)
        if pool is not None:
            return await self._fetched(plan, pool, *asked, request, caller, dialect)
        lease = await self._fleet.lease(plan.answerer_id)
        try:
            return await self._fetched(plan, lease.pool, *asked, request, caller, dialect)
        finally:
            self._fleet.release(lease)

    async def _fetched(
        self, plan: Plan, pool: Pool, path: bytes, body: bytes, request: Request, caller: Caller, dialect: Dialect
    ) -> int:
        place = f"{pool.endpoint.base}{path.decode()}"
        leaves = pool.leaves or plan.leaves
        if leaves:
            self._plans.keep_here(request, caller, dialect)
            parcel = departure.addressed("count", plan, pool.endpoint, place, body)
            parcel = msgspec.structs.replace(parcel, key=caller.key)
            cleared = await departure.see_off(self.departure, request.needs, caller, plan.model, parcel)
            body = cleared.body
        return await _counted(plan, pool, place, body, seen_off=leaves)


async def _counted(plan: Plan, pool: Pool, place: str, body: bytes, *, seen_off: bool) -> int:
    answer = await probe.fetch(pool, "POST", place, msgspec.Raw(body), timeout_s=TIMEOUT_S, seen_off=seen_off)
    if answer.status in MISSING:
        raise _cannot(plan)
    if answer.status != 200:
        raise _explained(plan, pool, answer)
    try:
        return _decode(answer.body).input_tokens
    except UNREADABLE:
        raise UpstreamError(f"{plan.answerer_id} was asked for a number of tokens and gave none.") from None


def _explained(plan: Plan, pool: Pool, answer: probe.Response) -> RolecastError:
    said = complaint.read(answer.body)
    error = plan.backend.explain(answer.status, said)
    return error or verdict.on(answer.status, said, plan.answerer_id, "", pool.endpoint.headers)


def _cannot(plan: Plan) -> BadRequest:
    return BadRequest(
        f"{plan.model_id} cannot count tokens: its server only tells them with an answer, in `usage`. Models on the "
        "built-in engine can.",
        code="wrong_capability",
    )
