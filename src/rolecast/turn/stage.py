"""A request that is answered by a coroutine of ours, a play, which asks models on the way, once or several times.

To everybody else it is one request: one answer, one row in the ledger, one end for all. What a play tells goes to the
client as it comes; what it asks are parts, which go to the model that the request was given to. A client that hangs up
ends the play and all that it asked.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol

import msgspec

from rolecast.dialects.request import Request
from rolecast.errors import RolecastError, UpstreamError
from rolecast.turn import departure
from rolecast.turn.ask import WORDS, Inbox, request_of
from rolecast.turn.count import Counter
from rolecast.turn.departure import Cleared, Departure, Parcel
from rolecast.turn.exchange import Exchange, clock
from rolecast.turn.part import Composite, Delegated, Whole
from rolecast.turn.plan import Plan
from rolecast.turn.plans import Plans
from rolecast.values import Chat, Completion, Done, Event, Outcome, Reasoning, Report, Text, Usage

MOST_CHARS = 2_000_000
"""Characters of an answer to a play, which keeps and reads all of it; no model that means it writes so many."""


class Desk(Whole, Protocol):
    """Who sees requests through: `dispatch`."""

    plans: Plans
    departure: Departure | None


class Player(Protocol):
    """Who knows tasks: how a prompt is written for each, and which are plays."""

    async def play(self, exchange: Exchange, request: Request, plan: Plan, desk: Desk) -> None:
        """Write the prompt of a request that is for a task and begin it as any, or give its play on a stage."""
        ...


class Equipper(Protocol):
    """Who knows tools that the gateway runs."""

    def asked(self, exchange: Exchange, request: Request) -> bool:
        """Whether this request asks for tools. Raises BadRequest where it cannot have them."""
        ...

    def given(self, exchange: Exchange, request: Request, plan: Plan) -> bool:
        """Whether a request that says nothing of tools has some by whom it is for."""
        ...

    async def perform(self, exchange: Exchange, request: Request, plan: Plan, desk: Desk) -> None:
        """Have a chat answered with tools, or begin it as any where there are none."""
        ...


class Answer(msgspec.Struct, frozen=True):
    """A whole answer of a model."""

    text: str
    reason: str = "stop"
    """Why it ended, as `Done` says."""
    usage: Usage = Usage()


class Stage(Composite):
    """Where a play is given: the carrier of its request."""

    def __init__(self, exchange: Exchange, plan: Plan, desk: Desk, counter: Counter) -> None:
        self.exchange = exchange
        self.plan = plan
        self._desk = desk
        self._counter = counter
        self._outlet = exchange.sink.outlet(exchange)
        self._running: set[Exchange] = set()
        self._used = Usage()
        self._read_ms = self._wrote_ms = 0.0
        self._reason = "stop"
        self._over = False
        self._begun = False

    # -- for plays ----------------------------------------------------------------------------------------

    @property
    def slots(self) -> int:
        """So many parts are answered at once; more would wait in the model's line."""
        return sum(share.model.parallel for share in self.plan.shares) or self.plan.model.parallel

    @property
    def room(self) -> int:
        """Tokens that the model holds, of prompt and answer together."""
        return min(self._desk.plans.room_of(each) or each.model.context for each in self.plan.shares or (self.plan,))

    def tell(self, *events: Event) -> None:
        """Some more for the client. Its `Done` is kept for the end."""
        told: list[Event] = []
        for event in events:
            if isinstance(event, Done):
                self._reason = event.reason
            else:
                told.append(event)
        if told and not self.closed:
            if self.streaming or any(isinstance(event, Text) for event in told):
                self.exchange.first = self.exchange.first or clock()
            self._outlet.take(told)
            self._begun = True

    def can(self, need: str) -> bool:
        """Whether the model, and each that is as good, is known to be able to do this, in words of `capabilities`."""
        plans = self._desk.plans
        equals = [share.model_id for share in self.plan.shares] or [self.plan.model_id]
        return all(model_id in plans.config.models and plans.can(model_id, need) is True for model_id in equals)

    async def ask(self, words: Chat | Completion) -> AsyncGenerator[Event, None]:
        """The answer of the request's model to this, event by event. Its report is added to the request's.

        Raises RolecastError: before the first event like an error answer, later where an answer breaks off or does not
        end. Whoever stops listening (closes the iterator, or is cancelled) frees the slot.
        """
        inbox = Inbox()
        length = 0
        outer = self.exchange
        part = Exchange(_Part(self), inbox, outer.number, outer.caller, WORDS)
        part.part = True
        inbox.exchange = part
        self._running.add(part)
        if self.paused:
            part.pause()
        request = self._request(words)
        try:
            try:
                part.dispatch.begin(part, request)
            except RolecastError as error:
                part.fail(error)
            async for event in inbox.events():
                self._name(part.plan)
                if isinstance(event, Report):
                    self._read_ms += event.prompt_ms
                    self._wrote_ms += event.completion_ms
                if isinstance(event, Text | Reasoning):
                    length += len(event.text)
                    if length > MOST_CHARS:
                        text = f"The answer of {self.plan.model_id} has more than {MOST_CHARS} characters and no end"
                        raise UpstreamError(f"{text}; set `max_tokens` of the request or of the model.")
                yield event
        finally:
            part.client_gone()
            inbox.exchange = None
            self._running.discard(part)

    async def answer(self, words: Chat | Completion, *, tell: bool = False) -> Answer:
        """The whole answer; with `tell` its text goes to the client as it comes. Raises likewise."""
        texts: list[str] = []
        reason, used = "stop", Usage()
        async for event in self.ask(words):
            if isinstance(event, Text):
                texts.append(event.text)
            elif isinstance(event, Done):
                reason = event.reason
            elif isinstance(event, Report):
                used = event.usage
            if tell and not isinstance(event, Report):
                self.tell(event)
        return Answer("".join(texts), reason, used)

    async def see_off(self, parcel: Parcel) -> Cleared:
        """What may leave this machine in place of something that a play sends itself. Raises StaysHere."""
        exchange = self.exchange
        needs = exchange.request.needs if exchange.request is not None else frozenset()
        parcel = msgspec.structs.replace(parcel, number=exchange.number, key=exchange.caller.key)
        model = None if parcel.kind == "tool" else self.plan.model
        return await departure.see_off(self._desk.departure, needs, exchange.caller, model, parcel)

    async def count(self, chat: Chat) -> int:
        """Tokens that this chat has for the model, by its own count.

        Raises RolecastError; BadRequest where the model's server cannot be asked.
        """
        return await self._counter.count(self._request(chat), WORDS, self.exchange.caller)

    def _request(self, words: Chat | Completion) -> Request:
        request = request_of(msgspec.structs.replace(words, stream=True))
        request.settled, request.trial = self.plan.choice, self.plan.trial
        departure.inherited(request, self.exchange.request)
        return request

    # -- its life -----------------------------------------------------------------------------------------

    async def run(self, play: "Awaitable[None]") -> None:
        """See the play through, and end the request as it ends."""
        exchange = self.exchange
        try:
            await play
            self._over = True
            exchange.task = None
            if self.closed:
                return
            self._outlet.take([Done(self._reason)])
            self.close(self._used)
        except RolecastError as error:
            self._over = True
            exchange.fail(error)

    def _name(self, plan: Plan | None) -> None:
        """Who answers is who is named, as long as nothing was told: another than planned, where that one failed."""
        now = self.exchange.plan
        if plan is None or now is None or self._begun or plan.model_id == now.model_id or self.closed:
            return
        self.exchange.plan = plan
        self._outlet = self.exchange.sink.outlet(self.exchange)

    def parts(self) -> tuple[Exchange, ...]:
        return tuple(self._running)

    def abort(self) -> None:
        """End the play with all that it asked."""
        if not self._over and self.exchange.task is not None:
            self.exchange.task.cancel()
        for part in self.parts():
            part.client_gone()

    def produced(self) -> Usage:
        return self._used

    def report(self, used: Usage) -> Report:
        """With the engine's own times of all questions, which side by side may be more than the whole took."""
        return Report(used, self._read_ms, self._wrote_ms)

    def account(self, part: Exchange, usage: Usage) -> None:
        """A part has ended: what it took, and how long it waited."""
        whole, sum_of = self.exchange, self._used
        whole.bear(part, usage)
        self._used = Usage(
            sum_of.prompt_tokens + usage.prompt_tokens,
            sum_of.completion_tokens + usage.completion_tokens,
            sum_of.cached_tokens + usage.cached_tokens,
            counted=sum_of.counted or usage.counted,
            reasoning_tokens=sum_of.reasoning_tokens + usage.reasoning_tokens,
            written_tokens=sum_of.written_tokens + usage.written_tokens,
            hour_tokens=sum_of.hour_tokens + usage.hour_tokens,
        )
        self.events += usage.completion_tokens
        whole.attempts += part.attempts
        whole.queue_us, whole.load_us = max(whole.queue_us, part.queue_us), max(whole.load_us, part.load_us)
        self._running.discard(part)


Play = Callable[[Stage], Awaitable[None]]
"""Answers a request: tells its client, asks its model. Raises RolecastError."""


class _Part(Delegated):
    """Sees a question of a play through."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage._desk)  # noqa: SLF001  # one of its own
        self._stage = stage

    def over(self, part: Exchange, outcome: Outcome, usage: Usage, error: RolecastError | None) -> None:
        self._stage.account(part, usage)


def begin(exchange: Exchange, plan: Plan, desk: Desk, counter: Counter) -> Stage:
    """A stage for this request, which has its answer from now on."""
    stage = Stage(exchange, plan, desk, counter)
    exchange.plan = plan
    exchange.carrier, exchange.whole = stage, True
    exchange.routed = clock()
    return stage
