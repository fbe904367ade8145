"""One request from its body to its ledger row: its state, and the ends that it can come to.

Knows who asked, what was chosen and how each side is told that it is over. The bytes of an answer are a `Carrier`'s:
`passage` and `relay` hand them on as they come, `conversion` turns them into another dialect. Chooses nothing.
"""

import asyncio
import itertools
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from rolecast.dialects import Dialect
from rolecast.dialects.request import Request
from rolecast.dialects.usage import BYTES_PER_TOKEN
from rolecast.errors import BudgetSpent, Cancelled, RolecastError
from rolecast.fleet import Lease
from rolecast.money import Rates, told
from rolecast.net.connection import Receiver
from rolecast.turn.plan import Plan
from rolecast.values import Caller, Event, Failure, Outcome, Phases, Usage

if TYPE_CHECKING:
    from rolecast.turn.call import Letter

clock = time.perf_counter


class Outlet(Protocol):
    """Takes the events of one converted answer."""

    def take(self, events: list[Event]) -> None:
        """Some more of the answer."""

    def end(self) -> None:
        """The answer is complete; the exchange is accounted already."""

    def last_words(self, error: RolecastError) -> bytes:
        """What ends a stream that has begun and breaks off."""


class Sink(Protocol):
    """The client's side: frames an answer. `started` turns true with the first byte sent."""

    started: bool

    @property
    def target(self) -> tuple[str, str]:
        """Method and path, without the query, of what was asked."""

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        """A whole answer. `head` is raw header lines, each ending in CRLF, without framing."""

    def start(self, status: int, head: bytes, length: int | None) -> None:
        """Begin an answer; nothing is sent before the first `write`."""

    def write(self, data: bytes) -> None: ...

    def finish(self, data: bytes = b"") -> None:
        """Send the last `data` and end the answer."""

    def refuse(self, error: RolecastError, head: bytes) -> None:
        """Answer with an error where nothing was sent before; `head` is as for `respond`, without a content type."""

    def break_off(self, error: RolecastError, last: bytes | None) -> None:
        """End an answer that was begun with `last`; None: the end cannot be told and must look like a cut."""

    def outlet(self, exchange: "Exchange") -> Outlet:
        """What takes the events of an answer that is converted."""


class Carrier(Receiver, Protocol):
    """Brings the answer of one attempt from the worker to the client."""

    lines: bytes
    """Header lines of the worker's answer that go on to the client."""
    last_activity: float
    """When the worker was last heard of; moved on while it is the client who is slow."""

    @property
    def streaming(self) -> bool:
        """Whether the answer comes as a stream, as far as that is known."""

    @property
    def events(self) -> int:
        """Pieces of the answer so far: about one per token of a stream."""

    def produced(self) -> Usage:
        """What came so far, by our own count where nothing was reported."""

    def gone(self) -> Usage | None:
        """What the client had when it left, if that was the whole answer; None when it was cut off."""

    def last_words(self, error: RolecastError) -> bytes | None:
        """How an answer that has begun tells of an error; None when it cannot."""


class Owner(Protocol):
    """Who sees an exchange through: `dispatch`."""

    def begin(self, exchange: "Exchange", request: Request) -> None: ...

    def remember(self, exchange: "Exchange") -> None:
        """The answer is written: keep of it what its thread says."""

    def leave(self, exchange: "Exchange", letter: "Letter") -> None:
        """The running attempt leaves this machine: see it off, and send it."""

    def bring_back(self, exchange: "Exchange", letter: "Letter") -> None:
        """The running attempt may go on with a conversation that was kept: have that looked up, then send it."""

    def lost(self, exchange: "Exchange", error: RolecastError) -> None:
        """No (more) answer comes from the worker."""

    def answered_error(self, exchange: "Exchange", said: Failure, location: str = "") -> None:
        """The worker answered with an error: a status, or one in place of an answer; `location` of a redirect."""

    def escalate(self, exchange: "Exchange", used: Usage, why: str) -> None:
        """The first answer of a cascade, which took so much, is not good enough: have the next model answer."""

    def ask_plainly(self, exchange: "Exchange") -> None:
        """Ask the same worker once more, without a wish of ours."""

    def accepted(self, exchange: "Exchange") -> None:
        """The worker takes the request without the wish for usage that it had refused."""

    def settle(self, exchange: "Exchange", outcome: Outcome, usage: Usage, error: RolecastError | None) -> None:
        """The exchange is over: free its slot and write the books."""


class Exchange:
    """State of one request: the client's sink on one side, the carrier of the running attempt on the other."""

    # Defaults live on the class where most requests never touch them: an exchange is made per request. What each
    # reads is the exchange's own, though: to find it on the class costs several times what it takes to put it here.
    request: Request | None = None
    plan: Plan | None = None
    lease: Lease | None = None
    carrier: Carrier | None = None
    task: asyncio.Task[None] | None = None
    part = False
    """One of several answers to a request, which has the books. Set by fan."""
    unasked: bool
    """The request is sent again without our wish for usage. Set by dispatch."""
    gathers: bool
    """The worker was asked for a stream, and the client wants a whole answer. Set by `call`."""
    forgiven = 0
    """Attempts that ended with their worker: they do not count against the request."""
    losses = 0
    """Workers of the present model that ended under it before the first byte."""
    suspicions = 0.0
    """Those of them that nothing else ran on; one that was killed from outside, as it seems, counts half."""
    lost: Lease | None = None
    """The lease that was lost last."""
    lost_after_s = 0.0
    """How long it had run there."""
    patience = 0.0
    """Until when it may wait for another worker, in the loop's time; 0 as long as it lost none."""
    due = 0.0
    """When its time is over, by `clock`; 0 = it has none. Set by `deadline`."""
    tried: tuple[Plan, ...] = ()
    """Servers elsewhere that failed before the present one."""
    respelt: tuple[tuple[str, str], ...] = ()
    """Models and their fields that were learnt from refusals of this request."""
    repeats = 0
    """How often a server elsewhere was asked again."""
    status = 0
    spent: int
    """Picodollars that its parts cost, and attempts that were given up after some of an answer came."""
    aside = 0
    """Those of answers with a row of their own, which nobody got."""
    whole = False
    """It is answered by parts, which are what it costs. Set by who divides it."""
    fell: str
    """The model that was to answer first, where another one was asked after it."""
    cost: int | None
    """Picodollars in all, where its model has a price. Set when it is accounted."""
    routed = 0.0

    def __init__(self, dispatch: Owner, sink: Sink, number: int, caller: Caller, dialect: Dialect) -> None:
        self.dispatch = dispatch
        self.sink = sink
        self.number = number
        self.caller = caller
        self.dialect = dialect
        self.began = clock()
        self.closed = self.unasked = self.gathers = False
        self.attempts = self.queue_us = self.load_us = self.spent = 0
        self.fell, self.cost, self.first = "", None, 0.0

    @property
    def id(self) -> str:
        """The request id as clients see it."""
        return f"req_{self.number:016x}"

    def called(self) -> tuple[Plan, Request, Lease]:
        """What the running attempt consists of; there is one when a carrier speaks of it."""
        assert self.plan is not None
        assert self.request is not None
        assert self.lease is not None
        return self.plan, self.request, self.lease

    # -- the client's side --------------------------------------------------------------------------------

    def client_gone(self) -> None:
        """The client closed: stop the worker at once and account what was produced."""
        if self.closed:
            return
        carrier = self.carrier
        if carrier is not None and carrier.connection is not None:
            carrier.connection.abort()
        elif self.task is not None:
            self.task.cancel()
        whole = carrier.gone() if carrier is not None else None
        if whole is not None:  # it did not wait for the end of the message: that is no cancellation
            self.account("ok", whole)
        else:
            self.account("cancelled", self._produced(), Cancelled("The client went away."))

    def pause(self) -> None:
        """The client reads slowly: stop reading from the worker."""
        if self.carrier is not None and self.carrier.connection is not None:
            self.carrier.connection.pause()

    def resume(self) -> None:
        if self.carrier is not None and self.carrier.connection is not None:
            self.carrier.connection.resume()

    def fail(self, error: RolecastError) -> None:
        """Answer with an error: as a response if nothing was sent, as an event inside a stream, else by a cut."""
        if self.closed:
            return
        carrier = self.carrier
        if carrier is not None and carrier.connection is not None:
            carrier.connection.abort()
        self.status = error.status
        error.request_id = self.id
        outcome: Outcome = "cancelled" if isinstance(error, Cancelled) else "error"
        if isinstance(error, BudgetSpent) and self.request is not None and (why := self.request.broke) is not None:
            error.message, error.retry_after = joined(why.message, error.message), why.retry_after
        if not self.sink.started:
            head = self.error_head(error)
            self.account(outcome, Usage(), error)
            self.sink.refuse(error, head)
            return
        last = carrier.last_words(error) if carrier is not None else None
        self.account(outcome, self._produced(), error)
        self.sink.break_off(error, last)

    # -- head and accounts --------------------------------------------------------------------------------

    def head(self, lines: bytes) -> bytes:
        """The header lines of an answer: those of the answer itself, request id, explanation, phases in ms."""
        plan, began = self.plan, self.began
        if self.caller.rights is not None:
            lines = _without_rates(lines, self.caller)
        waits = b""
        if self.queue_us or self.load_us:
            waits = b"queue;dur=%.1f, load;dur=%.1f, " % (self.queue_us / 1000, self.load_us / 1000)
        if self.cost is not None:  # it is complete already
            lines = b"%bx-rolecast-cost: %b\r\n" % (lines, told(self.cost).encode())
        return b"%b%bx-request-id: req_%016x\r\n%bserver-timing: route;dur=%.3f, %bfirst-token;dur=%.3f\r\n" % (
            self.caller.answer_lines,
            lines,
            self.number,
            plan.head if plan is not None else b"",
            (self.routed - began) * 1000,
            waits,
            (self.first - began) * 1000,
        )

    def price(self, usage: Usage) -> int:
        """Picodollars in all, if its last attempt took so much: by its model's rates, or of its parts by theirs.

        Without a price, what its server elsewhere says that it cost.
        """
        plan = self.plan
        if self.whole or plan is None:
            return self.spent
        if plan.rates is not None:
            return cost_of(plan.rates, usage) + self.spent
        told = usage.paid if plan.leaves and plan.model.price is None else 0  # nobody knows better
        return told + self.spent

    def bear(self, part: "Exchange", usage: Usage) -> None:
        """A part has ended and took so much: what it cost is this one's cost."""
        self.spent += part.price(usage)
        self.aside += part.aside
        self.fell = self.fell or part.fell

    def give_up(self) -> None:
        """This attempt is over without an end; its prompt is paid, and what came of the answer, by our own count."""
        plan, carrier, request = self.plan, self.carrier, self.request
        if plan is None or plan.rates is None or carrier is None or request is None or self.status != 200:
            return
        used = carrier.produced()
        if not used.prompt_tokens and request.upload is None:
            used = replace(used, prompt_tokens=len(request.body) // BYTES_PER_TOKEN)
        self.spent += cost_of(plan.rates, used)

    def id_line(self) -> bytes:
        """The header line in which the client's dialect has the request id, if it has one of its own."""
        name = self.dialect.id_header
        return b"%b: %b\r\n" % (name, self.id.encode()) if name else b""

    def error_head(self, error: RolecastError) -> bytes:
        """Header lines of an error answer, without its content type."""
        explain = self.plan.head if self.plan else b""
        told = self.carrier.lines if self.carrier is not None else b""
        if told:  # but not what describes the worker's body
            kept = [line for line in told.splitlines(keepends=True) if not line.startswith((b"content-", b"cache-"))]
            told = _without_rates(b"".join(kept), self.caller)
        return b"x-request-id: %b\r\n%b%b%b%b%b" % (
            self.id.encode(),
            self.id_line(),
            error.head,
            explain,
            self.caller.answer_lines,
            told,
        )

    def phases(self) -> Phases:
        """How long each phase took until now."""
        now = clock()
        return Phases(
            queue_us=self.queue_us,
            load_us=self.load_us,
            first_us=int(((self.first or now) - self.began) * 1e6),
            total_us=int((now - self.began) * 1e6),
        )

    def account(self, outcome: Outcome, usage: Usage, error: RolecastError | None = None) -> None:
        """Give the slot back and write the books; the exchange is over."""
        if self.closed:
            return
        self.closed = True
        self.carrier = None  # no cycle: both are freed at once, without the collector
        self.dispatch.settle(self, outcome, usage, error)

    def _produced(self) -> Usage:
        return self.carrier.produced() if self.carrier is not None else Usage(counted=True)


def joined(why: str, what: str) -> str:
    """Both sentences, unless the second has the first one already."""
    return what if what.startswith(why) else f"{why} {what}"


def cost_of(rates: Rates, usage: Usage) -> int:
    """Picodollars of an answer that took so much."""
    written, hour = usage.written_tokens, usage.hour_tokens
    return rates.cost(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, written, hour)


_RATES = b"x-ratelimit-"


def _without_rates(lines: bytes, caller: Caller) -> bytes:
    """Header lines of a worker without what it says of its own limits, where the caller has limits of ours."""
    if _RATES not in lines or _RATES not in caller.answer_lines:
        return lines
    return b"".join(line for line in lines.splitlines(keepends=True) if not line.startswith(_RATES))


STEP_BACK = 60_000 << 20
"""A clock that is set back by more than a minute is believed: it was wrong before."""


class ExchangeIds:
    """A source of request numbers: unique across restarts and gateways, growing, below 2^63.

    `number >> 20` is the time of the request in milliseconds since 1970, as of the last look at it, so a span of time
    is a span of numbers; the lower bits begin anywhere, so that gateways which share a database hardly ever meet. So
    they do again after a clock was set back, for then the same time comes twice.
    Between two looks numbers are only counted on: to ask for the time and work a number out costs thirty times as much.
    """

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self.next: Callable[[], int] = itertools.count(self._base()).__next__
        """The next number. Another function after each look: do not keep it."""

    def __call__(self) -> int:
        """The next number."""
        return self.next()

    def look(self) -> None:
        """Go on with the time of now. What is called twice a second decides how far behind numbers may be."""
        last, base = self.next(), self._base()
        self.next = itertools.count(last if base <= last < base + STEP_BACK else base).__next__

    def _base(self) -> int:
        return (self._now_ns() // 1_000_000 << 20) + 1 + int.from_bytes(os.urandom(2)) * 8
