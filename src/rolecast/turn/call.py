"""A leased worker is asked: the body as it must have it, and the carrier that brings the answer."""

from collections.abc import Mapping
from contextlib import suppress

import msgspec

from rolecast.dialects.openai_joined import as_stream, is_joinable, streamed
from rolecast.dialects.request import Request, Upload
from rolecast.errors import UNREADABLE, BadRequest, RolecastError
from rolecast.fleet import Lease
from rolecast.turn import cascade
from rolecast.turn.conversion import Conversion
from rolecast.turn.departure import Cleared
from rolecast.turn.edited import Edited
from rolecast.turn.exchange import Carrier, Exchange, clock
from rolecast.turn.forward import Forward
from rolecast.turn.gathering import Gathering
from rolecast.turn.passage import Passage
from rolecast.turn.plan import JSON, Plan
from rolecast.turn.relay import Relay
from rolecast.turn.renamed import Renamed
from rolecast.turn.seating import seated
from rolecast.values import Chat, Completion, Ranking, Words


def call(  # noqa: C901
    exchange: Exchange, plan: Plan, request: Request, lease: Lease, *, again: bool = False, plainly: bool = False
) -> None:
    """Ask this worker, as the client wrote it where both speak alike. Raises BadRequest for what cannot be said to it.

    `again` = the same attempt once more, `plainly` = without our wish for usage or a stream. One function as far as
    bytes pass, for it runs for every request.
    """
    if not again:
        exchange.lease = lease
        exchange.attempts += 1
        if lease.queue_us or lease.load_us:
            exchange.queue_us += lease.queue_us
            exchange.load_us += lease.load_us
    carrier: Passage | Gathering | Conversion
    if plan.trial is not None and not plainly and request.chat is not None:
        path, body = cascade.asked(plan, request, request.chat)
        keeps = cascade.keeps(request.chat)
        carrier = cascade.Judging(exchange, plan.listens(request.chat), plan.trial, keeps=keeps)
    elif request.family == plan.family:
        path = request.path
        if plan.relays:
            carrier = Relay(exchange, plan.speaks())
        else:
            heard = plan.markup and request.kind == "chat"
            if heard:
                carrier = Edited(exchange, opened=plan.markup == "opened")
            else:
                carrier = Renamed(exchange, *plan.said) if plan.said else Passage(exchange)
            if plan.counts and request.stream:
                carrier.counts = True
                request.edit_usage = plan.injects and not (plainly or request.wants_usage)
            if plan.gathers and not (plainly or request.stream) and is_joinable(request):
                exchange.gathers = True
                carrier = Gathering(exchange, carrier)
        body = plan.body(request)
        if isinstance(carrier, Gathering):
            body = as_stream(body)
    elif request.upload is not None:
        _forward(exchange, plan, request, lease, request.upload)
        return
    else:
        path, body, carrier = _converted(exchange, plan, request, plainly=plainly)
    if lease.station.adapters or plan.adapter:
        body = seated(body, plan, request, lease, exchange.caller, exchange.dialect)
    if lease.pool.leaves or plan.leaves:
        exchange.dispatch.leave(exchange, Letter(path, body, carrier))
        return
    slots = lease.station.keeps
    if slots is not None and not again and slots.asked(path, body):
        exchange.dispatch.bring_back(exchange, Letter(path, body, carrier))
        return
    exchange.carrier = carrier
    carrier.last_activity = clock()
    lease.pool.send(lease.pool.post(path, body, exchange.caller.trace_lines), carrier)


class Letter:
    """A request as it is to be sent once something was awaited, and who brings the answer."""

    __slots__ = ("body", "carrier", "content_type", "path")

    def __init__(self, path: bytes, body: bytes, carrier: Carrier, content_type: bytes = JSON) -> None:
        self.path = path
        self.body = body
        self.carrier = carrier
        self.content_type = content_type

    def post(self, exchange: Exchange, lease: Lease) -> None:
        """Send it to a worker on this machine."""
        exchange.carrier = carrier = self.carrier
        carrier.last_activity = clock()
        lease.pool.send(lease.pool.post(self.path, self.body, exchange.caller.trace_lines), carrier)

    def send(self, exchange: Exchange, lease: Lease, cleared: Cleared) -> None:
        """Send what may be sent elsewhere in its place."""
        exchange.carrier = carrier = self.carrier
        carrier.last_activity = clock()
        if self.content_type == JSON:
            sent = lease.pool.post(self.path, cleared.body, cleared.lines)
        else:
            sent = lease.pool.upload(self.path, cleared.body, self.content_type, cleared.lines)
        lease.pool.send(sent, carrier, seen_off=True)

    def read_by(self, exchange: Exchange, plan: Plan, request: Request, values: Mapping[str, str]) -> None:
        """Have the values put back into the answer, where it can hold some."""
        if request.kind == "embeddings" or request.upload is not None:
            return
        words = request.plain or request.chat
        if words is None and request.kind == "chat":
            with suppress(RolecastError, *UNREADABLE):  # what cannot be said in words is read plainly
                words = request.chat = exchange.dialect.chat(request)
        schema = words.answer_schema if isinstance(words, Chat | Completion) else None
        as_json = schema is not None or b'"json_object"' in request.body
        if isinstance(self.carrier, Conversion) and not isinstance(self.carrier, Relay):
            self.carrier.unveil(values, as_json=as_json)
            return
        family = plan.speaks() if words is None else plan.listens(words)
        self.carrier = Conversion(exchange, family)
        self.carrier.unveil(values, as_json=as_json)


def _forward(exchange: Exchange, plan: Plan, request: Request, lease: Lease, upload: Upload) -> None:
    """Send what is no text as it is. Raises BadRequest."""
    body = plan.forwarded(request, upload)
    carrier = Forward(exchange)
    if lease.pool.leaves or plan.leaves:
        exchange.dispatch.leave(exchange, Letter(request.path, body, carrier, upload.content_type))
        return
    exchange.carrier = carrier
    carrier.last_activity = clock()
    sent = lease.pool.upload(request.path, body, upload.content_type, exchange.caller.trace_lines)
    lease.pool.send(sent, carrier)


def _converted(exchange: Exchange, plan: Plan, request: Request, *, plainly: bool) -> tuple[bytes, bytes, Conversion]:
    """Path, body and carrier for a worker that speaks otherwise than the client. Raises BadRequest."""
    if plan.counts and request.stream:
        request.edit_usage = plan.injects and not (plainly or request.wants_usage)
    words = _words(exchange, plan, request)
    if plan.gathers and not (plainly or request.stream or plan.markup):  # marks are read otherwise in a whole answer
        asked, words = words, streamed(words)
        exchange.gathers = words is not asked
    path, body = plan.written(request, words)
    return path, body, Conversion(exchange, plan.listens(words))


def _words(exchange: Exchange, plan: Plan, request: Request) -> Words:
    """The request in words of no dialect. Raises BadRequest for what cannot be said in them, or to this worker."""
    if request.kind not in plan.speaks().kinds or (request.plain is None and request.kind != "chat"):
        text = f"{plan.model_id} takes chats only: its server has no {request.kind} that is known here."
        raise BadRequest(text, code="wrong_capability")
    if isinstance(request.plain, Ranking):
        request.plain = msgspec.structs.replace(request.plain, logits=plan.logits)
    if request.plain is not None:
        return request.plain
    if request.chat is None:
        request.chat = exchange.dialect.chat(request)
    return request.chat
