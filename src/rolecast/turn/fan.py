"""A request for several answers on an engine that gives one at a time: each is a part, asked for by itself.

To everybody else it is one request: one answer, one row in the ledger, one end for all. A part is chosen, leased,
called and tried again like any request, but has no books. No more run at once than the model has slots for, so that
the others wait here and not in the model's line.
"""

from collections import deque

import msgspec

from rolecast.dialects import UNREAD, Reader, family
from rolecast.dialects.request import Request, Several
from rolecast.errors import RolecastError, UpstreamError
from rolecast.turn.exchange import Exchange, clock
from rolecast.turn.part import Composite, Delegated, Whole
from rolecast.turn.plan import Plan
from rolecast.values import (
    Chances,
    Done,
    Event,
    Failure,
    Outcome,
    Reasoning,
    Text,
    ToolCallDelta,
    Usage,
    Vector,
)

NUMBERED = Text | Reasoning | ToolCallDelta | Chances | Done
"""Events that say whose answer they belong to."""


def start(exchange: Exchange, several: Several, plan: Plan, owner: "Whole") -> None:
    """Ask for all parts. Raises RolecastError when they cannot be asked for."""
    slots = sum(share.model.parallel for share in plan.shares) or plan.model.parallel
    exchange.plan = plan
    fan = Fan(exchange, owner, several.parts, several.each, slots)
    exchange.carrier, exchange.whole = fan, True
    exchange.routed = clock()
    fan.go_on()


class Fan(Composite):
    """The answer to the whole request, made of its parts: the carrier of its exchange."""

    def __init__(self, exchange: Exchange, owner: Whole, parts: tuple[Request, ...], each: int, slots: int) -> None:
        self.exchange = exchange
        self.owner = owner
        self._each = each
        self._slots = slots
        self._outlet = exchange.sink.outlet(exchange)
        self._waiting = deque(enumerate(parts))
        self._running: set[_Part] = set()
        self._usages: dict[int, Usage] = {}

    def go_on(self) -> None:
        """Begin as many parts as may run, or end when all have ended. Raises RolecastError for what cannot begin."""
        while self._waiting and len(self._running) < self._slots and not self.closed:
            index, request = self._waiting.popleft()
            part = _Part(self, index)
            self._running.add(part)
            part.exchange = Exchange(part, part, self.exchange.number, self.exchange.caller, self.exchange.dialect)
            part.exchange.part = True
            self.owner.begin(part.exchange, request)
        if not self._running and not self._waiting and not self.closed:
            self.close(self.produced())

    # -- of the parts -------------------------------------------------------------------------------------

    def take(self, part: "_Part", events: list[Event]) -> None:
        """Some more of one answer."""
        if self.closed:
            return
        if self.paused and part.exchange is not None:
            part.exchange.pause()
        told: list[Event] = []
        for event in events:
            if isinstance(event, Failure):
                self.failed(UpstreamError("The model's worker ended an answer with an error."))
                return
            if isinstance(event, NUMBERED):
                told.append(msgspec.structs.replace(event, choice=part.index))
            elif isinstance(event, Vector):
                told.append(event)
        if told:
            self.exchange.first = self.exchange.first or clock()
            self.events += len(told)
            try:
                self._outlet.take(told)
            except RolecastError as error:  # only the answer shows that what was asked for is not there
                self.failed(error)

    def over(self, part: "_Part", usage: Usage) -> None:
        """A part was accounted: its counts, and how long it waited."""
        whole, exchange = self.exchange, part.exchange
        self._usages[part.index] = usage
        if exchange is not None:
            whole.bear(exchange, usage)
            whole.attempts += exchange.attempts
            whole.queue_us, whole.load_us = (
                max(whole.queue_us, exchange.queue_us),
                max(whole.load_us, exchange.load_us),
            )

    def ended(self, part: "_Part") -> None:
        """A part has said all."""
        self._running.discard(part)
        part.exchange = None
        try:
            self.go_on()
        except RolecastError as error:
            self.failed(error)

    def failed(self, error: RolecastError) -> None:
        """A part has failed, and with it the whole."""
        self.exchange.fail(error)

    # -- turn.part.Composite ------------------------------------------------------------------------------

    def parts(self) -> list[Exchange]:
        return [part.exchange for part in self._running if part.exchange is not None]

    def abort(self) -> None:
        """End all parts."""
        self._waiting.clear()
        while self._running:
            part = self._running.pop()
            if part.exchange is not None:
                part.exchange.client_gone()
                part.exchange = None

    def produced(self) -> Usage:
        """The counts of all parts; a prompt that has several answers counts once."""
        found = self._usages
        heads = [used for index, used in found.items() if index % self._each == 0]
        return Usage(
            sum(used.prompt_tokens for used in heads),
            sum(used.completion_tokens for used in found.values()),
            sum(used.cached_tokens for used in heads),
            counted=any(used.counted for used in found.values()),
            reasoning_tokens=sum(used.reasoning_tokens for used in found.values()),
            written_tokens=sum(used.written_tokens for used in heads),
            hour_tokens=sum(used.hour_tokens for used in heads),
        )


class _Part(Delegated):
    """One answer: what its exchange takes for the client, and for who sees it through."""

    target = ("PART", "")

    def __init__(self, fan: Fan, index: int) -> None:
        super().__init__(fan.owner)
        self._fan = fan
        self.index = index
        self.exchange: Exchange | None = None
        self.started = False
        self._reader: Reader | None = None

    # -- turn.exchange.Sink: bytes of the wire that most workers speak, or events -----------------------------

    def outlet(self, exchange: Exchange) -> "_Part":
        return self

    def start(self, status: int, head: bytes, length: int | None) -> None:
        self._reader = family(UNREAD).reader(streaming=b"text/event-stream" in head)

    def write(self, data: bytes) -> None:
        assert self._reader is not None
        self.take(self._reader.read(data))

    def finish(self, data: bytes = b"") -> None:
        assert self._reader is not None
        self.take([*(self._reader.read(data) if data else ()), *self._reader.end()])
        self.end()

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        self.start(status, head, len(body))
        self.finish(body)

    def refuse(self, error: RolecastError, head: bytes) -> None:
        self._fan.failed(error)

    def break_off(self, error: RolecastError, last: bytes | None) -> None:
        self._fan.failed(error)

    # -- turn.exchange.Outlet -----------------------------------------------------------------------------

    def take(self, events: list[Event]) -> None:
        self.started = self.started or bool(events)
        self._fan.take(self, events)

    def end(self) -> None:
        self._fan.ended(self)

    def last_words(self, error: RolecastError) -> bytes:
        return b""

    # -- turn.part.Delegated ------------------------------------------------------------------------------

    def over(self, part: Exchange, outcome: Outcome, usage: Usage, error: RolecastError | None) -> None:
        self._fan.over(self, usage)
