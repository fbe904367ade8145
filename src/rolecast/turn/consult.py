"""Asks a model who answers, for a request that nobody else could place: the strategy `llm`.

What it handles itself goes to the client at once; else the request goes on as if its role had been named. Whatever
goes wrong here, the default role answers, and the client never learns more of it than the reason of the choice.
"""

import asyncio
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from rolecast.config.routing import Routing
from rolecast.decision import Choice, Verdict
from rolecast.dialects.request import Request
from rolecast.errors import Internal, RolecastError, UpstreamError, UpstreamTimeout
from rolecast.routing import llm
from rolecast.routing.llm import Decision
from rolecast.turn import departure
from rolecast.turn.accounts import Accounts
from rolecast.turn.ask import WORDS, request_of
from rolecast.turn.exchange import Exchange, ExchangeIds, clock
from rolecast.turn.part import Delegated, Whole
from rolecast.turn.plan import Plan
from rolecast.turn.plans import Plans
from rolecast.values import Caller, Chat, Done, Event, Outcome, Report, Text, Usage

LOOK_S = 0.25
"""So often a question that waits for its model to load is looked at."""
_FALSE = (b"null", b"false", b"0", b"[]", b"{}", b'""')
_EXACT = ("logprobs", "n_probs", "grammar", "json_schema", "logit_bias")
"""Fields that say exactly what is to be generated."""


class Desk(Whole, Protocol):
    """Who sees requests through: `dispatch`."""

    plans: Plans
    new_id: ExchangeIds
    accounts: Accounts


async def resolve(exchange: Exchange, request: Request, plan: Plan, desk: Desk) -> None:
    """Find out who answers this request, and begin it; or answer it. `plan` is what holds if that fails."""
    chat = request.chat
    assert chat is not None  # who asks for a consultation has read it
    routing = desk.plans.config.routing
    may_handle = may_be_handled(request, chat)
    asked = llm.question(chat, may_handle=may_handle, max_tokens=int(routing.llm.max_tokens))
    part = Question(desk, exchange.caller, request)
    try:
        said = await part.decide(asked, plan.choice.consult, routing, may_handle=may_handle)
        exchange.task = None
        if exchange.closed:
            return
        if said is not None and said.routing_decision == "HANDLE" and fits(said.response, chat):
            _answer(exchange, plan, part, said)
            return
        part.book()
        request.settled = _choice(desk.plans, exchange, request, part, said)
        desk.begin(exchange, request)
    except RolecastError as error:
        exchange.fail(error)
    finally:
        part.close()


def may_be_handled(request: Request, chat: Chat) -> bool:
    """Whether an answer of the router model would be what was asked for.

    Not with pictures or tools, for several answers, where the form of the answer is said (schema, grammar, stop
    sequences), where more than its text is wanted (probabilities, thoughts), where it must go on from what the
    assistant began, and with a system prompt that is too long to be shown.
    """
    last = chat.messages[-1].role if chat.messages else ""
    exact = any(_is_said(chat.extra.get(name)) for name in _EXACT)
    offers = bool(chat.tools) and chat.tool_choice != "none"
    told = chat.answer_schema is not None or bool(chat.sampling.stop) or chat.think not in (None, False)
    several = request.split is not None
    return not (several or request.needs or offers or told or exact) and last == "user" and llm.heeds(chat)


def fits(response: str, chat: Chat) -> bool:
    """Whether the answer is no longer than was asked for."""
    most = chat.sampling.max_tokens
    return most is None or most < 0 or len(response) <= most * (llm.CHARS_PER_TOKEN - 1)


def _is_said(value: Any) -> bool:
    """Whether a field holds more than nothing; fields that only engines know stay in their bytes."""
    return bytes(value) not in _FALSE if isinstance(value, msgspec.Raw) else bool(value)


def _choice(plans: Plans, exchange: Exchange, request: Request, part: "Question", said: Decision | None) -> Choice:
    """Who answers by that decision; by none, the default role."""
    if said is None:
        verdict = Verdict("", "default", part.why)
    elif said.routing_decision == "HANDLE":
        standard = replace(said, target_model="STANDARD", why="router's answer is longer than asked for, so standard")
        verdict = llm.verdict(standard, plans.config)
    else:
        verdict = llm.verdict(said, plans.config)
    return plans.after(verdict, request, exchange.caller, exchange.dialect)


def _answer(exchange: Exchange, plan: Plan, part: "Question", said: Decision) -> None:
    """Write the router model's answer for the client. The books have one row: the client's, with what it took."""
    inner = part.exchange
    asked = inner.plan
    assert asked is not None
    choice = replace(
        plan.choice,
        model=asked.model_id,
        role=asked.choice.role,
        source="llm",
        reason="router answers itself",
        confidence=said.confidence,
        alternatives=(),
        equals=(),
        consult="",
    )
    exchange.plan = asked.told(plan.asked, choice)
    exchange.attempts, exchange.queue_us, exchange.load_us = inner.attempts, inner.queue_us, inner.load_us
    exchange.routed = exchange.first = clock()
    exchange.status = 200
    outlet = exchange.sink.outlet(exchange)
    outlet.take([Text(said.response), Done(), part.report])
    part.forget()
    exchange.account("ok", part.report.usage)  # the books come before the last byte
    outlet.end()


class Question(Delegated):
    """One question to a router model: leased and called like any request, and given up at the first trouble.

    What its exchange takes for the client, and for who sees it through. Its books are written at the end, when it is
    known whether they are the client's.
    """

    target = ("ASK", "")

    def __init__(self, desk: Desk, caller: Caller, of: Request) -> None:
        super().__init__(desk)
        self._of = of
        self._desk = desk
        caller = replace(caller, port_model="", client_id="", session="", answer_lines=b"")
        self.exchange = Exchange(self, self, desk.new_id(), caller, WORDS)
        self.exchange.part = True  # it is one with the client's for who counts requests
        self.started = False
        self.report = Report(Usage())
        self.why = ""
        """Why there is no decision, for people."""
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._texts: list[str] = []
        self._size = 0
        self._books: tuple[Outcome, Usage, RolecastError | None] | None = None

    async def decide(self, asked: Chat, name: str, routing: Routing, *, may_handle: bool) -> Decision | None:
        """What it decides; None when it says nothing, or takes too long. Who is cancelled here frees the slot."""
        exchange = self.exchange
        try:
            request = request_of(replace(asked, model=name, stream=True))
            try:
                request.settled = self._desk.plans.asked(name)
                departure.inherited(request, self._of)
                self._desk.begin(exchange, request)
            except RolecastError as error:
                exchange.fail(error)
            await self._over(float(routing.llm.timeout))
        finally:
            exchange.client_gone()
        if self.why:
            return None
        return llm.parse("".join(self._texts), least=float(routing.min_confidence), may_handle=may_handle)

    async def _over(self, limit_s: float) -> None:
        """Wait for the end, so long at most; while the model loads, no time passes."""
        exchange, since = self.exchange, clock()
        while not self._ended.done():
            plan = exchange.plan
            if exchange.lease is None and plan is not None and self._desk.plans.is_loading(plan):
                since = clock()
            left = since + limit_s - clock()
            if left <= 0:
                self.why = "router took too long"
                if exchange.task is None:
                    exchange.fail(UpstreamTimeout(f"It decided nothing within {limit_s:g} s."))
                return
            await asyncio.wait({self._ended}, timeout=min(left, LOOK_S) if exchange.lease is None else left)

    def book(self) -> None:
        """Write the row of the question itself, if it came to a model."""
        books, self._books = self._books, None
        if books is not None and self.exchange.plan is not None:
            self.exchange.lease = None  # it was given back
            self._desk.settle(self.exchange, *books)

    def forget(self) -> None:
        """It has no row of its own: the client's has what it took."""
        if self._books is not None:
            self._desk.accounts.drop(self.exchange)
        self._books = None

    def close(self) -> None:
        """Write what is still to be written. Both are freed at once, without the collector."""
        self.book()
        del self.exchange

    def _give_up(self) -> None:
        self.why = self.why or "router could not be asked"
        self._end()

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    # -- turn.exchange.Outlet -----------------------------------------------------------------------------

    def take(self, events: list[Event]) -> None:
        self.started = self.started or bool(events)
        for event in events:
            if isinstance(event, Text) and self._size <= llm.MOST_DECISION:
                self._texts.append(event.text)
                self._size += len(event.text)
            elif isinstance(event, Report):
                self.report = event
        if self._size > llm.MOST_DECISION and not self.exchange.closed:
            self.exchange.fail(UpstreamError("Its decision is too long."))

    def end(self) -> None:
        self._end()

    def last_words(self, error: RolecastError) -> bytes:
        return b""

    # -- turn.exchange.Sink -------------------------------------------------------------------------------

    def outlet(self, exchange: Exchange) -> "Question":
        return self

    def refuse(self, error: RolecastError, head: bytes) -> None:
        self._give_up()

    def break_off(self, error: RolecastError, last: bytes | None) -> None:
        self._give_up()

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        raise Internal  # an answer for events is always converted

    def start(self, status: int, head: bytes, length: int | None) -> None:
        raise Internal

    def write(self, data: bytes) -> None:
        raise Internal

    def finish(self, data: bytes = b"") -> None:
        raise Internal

    # -- turn.part.Delegated: it waits for no worker that went away -------------------------------------------

    def lost(self, exchange: Exchange, error: RolecastError) -> None:
        if exchange.plan is not None and self._desk.plans.has_next(exchange.plan):
            super().lost(exchange, error)
        else:
            exchange.fail(error)

    def over(self, part: Exchange, outcome: Outcome, usage: Usage, error: RolecastError | None) -> None:
        self._books = outcome, usage, error
