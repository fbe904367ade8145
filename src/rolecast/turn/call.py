"""A leased worker is asked: the body as it must have it, and the carrier that brings the answer."""

from rolecast.dialects.request import Request
from rolecast.errors import BadRequest
from rolecast.fleet import Lease
from rolecast.turn.conversion import Conversion
from rolecast.turn.exchange import Exchange, clock
from rolecast.turn.passage import Passage
from rolecast.turn.plan import Plan


def call(exchange: Exchange, plan: Plan, request: Request, lease: Lease) -> None:
    """Another attempt on this worker. Raises BadRequest for what cannot be said to it."""
    exchange.lease = lease
    exchange.attempts += 1
    if lease.queue_us or lease.load_us:
        exchange.queue_us += lease.queue_us
        exchange.load_us += lease.load_us
    if plan.counts and request.stream:
        request.edit_usage = plan.injects and not request.wants_usage
    send(exchange, plan, request, lease)


def send(exchange: Exchange, plan: Plan, request: Request, lease: Lease) -> None:
    """Send the request, as the client wrote it where both speak alike."""
    carrier: Passage | Conversion
    if request.family == plan.family:
        carrier = Passage(exchange)
        if plan.counts and request.stream:
            carrier.counts = True
        path = request.path
        changed = plan.edits or request.edit or request.edit_usage or (plan.name and plan.name != request.asked)
        body = plan.body(request) if changed else request.body
    else:
        if request.kind != "chat":
            text = f"{plan.model_id} takes chats only: its server has no {request.kind} that is known here."
            raise BadRequest(text, code="wrong_capability")
        if request.chat is None:
            request.chat = exchange.dialect.chat(request)
        path, body = plan.written(request, request.chat)
        carrier = Conversion(exchange, plan.speaks())
    exchange.carrier = carrier
    carrier.last_activity = clock()
    lease.pool.send(lease.pool.post(path, body, exchange.caller.trace_lines), carrier)
