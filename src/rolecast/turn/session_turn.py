"""One request in its session: it waits for those before it, is told what was said, and its own turn is kept.

A turn is kept when its answer is whole, and before its last byte goes out, so that whoever has an answer finds it again
after a crash. Only what somebody asked and what was answered is kept: no thoughts, no calls of tools, no pictures.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import quote

from msgspec.structs import replace

from rolecast.books.sessions import New, Turn
from rolecast.dialects.request import Request
from rolecast.errors import RolecastError
from rolecast.turn.exchange import Exchange, Outlet, Sink
from rolecast.turn.gate import LOCAL
from rolecast.turn.part import Delegated
from rolecast.turn.plan import Plan
from rolecast.turn.session_budget import Fitted, estimate, texts_of
from rolecast.turn.session_line import Ticket
from rolecast.values import Chat, Done, Event, Message, Outcome, Text, ToolCallDelta, Usage

LAST_BYTE_S = 1.0
"""So long the end of an answer waits for a database that is slow."""
HEADER_CHARS = 300


class Keeper(Protocol):
    """Who keeps turns."""

    def keep(self, turn: "Joined", new: New) -> "asyncio.Task[None]":
        """Write a turn down; the task never raises."""
        ...


class Joined(Delegated):
    """A request that has joined its session: the owner and the sink of its exchange are wrapped by this."""

    def __init__(self, exchange: Exchange, ticket: Ticket, asked: str, keeper: Keeper) -> None:
        super().__init__(exchange.dispatch)  # type: ignore[arg-type]  # it sees whole requests through
        self.asked = asked
        self.plan: Plan | None = None
        """Who answered it, once that is over."""
        self.caller = exchange.caller
        self.ticket = ticket
        self.fitted = Fitted()
        self.summarized = 0
        """The number of the last turn that the summary is of."""
        self.recorder = Recorder(exchange.sink)
        self._keeper = keeper
        exchange.dispatch = self
        exchange.sink = self.recorder

    def tell(self, exchange: Exchange, fitted: Fitted, kept: int) -> None:
        """What goes to the model of what was said before; the answer's header says so."""
        self.fitted = fitted
        name = quote(self.ticket.place[1], safe="")[:HEADER_CHARS]
        numbers = f"kept={kept}; used={len(fitted.turns)}; dropped={fitted.dropped}; summarized={fitted.summarized}"
        line = f"x-rolecast-session: {name}; {numbers}\r\n".encode()
        exchange.caller = replace(exchange.caller, answer_lines=exchange.caller.answer_lines + line)

    # -- turn.exchange.Owner ----------------------------------------------------------------------------------

    def settle(self, exchange: Exchange, outcome: Outcome, usage: Usage, error: RolecastError | None) -> None:
        plan, recorder = exchange.plan, self.recorder
        self.plan = plan
        self._owner.settle(exchange, outcome, usage, error)
        answer = recorder.answer()
        if outcome != "ok" or plan is None or not answer or self.ticket.void:
            self.ticket.leave()
            return
        key, name = self.ticket.place
        request = exchange.request
        stays = exchange.caller.local_only or (request is not None and LOCAL in request.needs)
        new = New(key, name, time.time(), self.asked, answer, plan.model_id, 0, stays)
        new = replace(new, tokens=estimate(Turn(0, 0.0, self.asked, answer)))
        recorder.writing = self._keeper.keep(self, new)

    def over(self, part: Exchange, outcome: Outcome, usage: Usage, error: RolecastError | None) -> None:
        """It is no part."""

    def remember(self, exchange: Exchange) -> None:
        self._owner.remember(exchange)


class Recorder:
    """The sink of a request whose answer is noted: hands all on, and the end of it once the turn is written."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._texts: list[str] = []
        self._called = False
        self.writing: asyncio.Task[None] | None = None

    def answer(self) -> str:
        """The text of the answer; '' where it is a step on the way to one."""
        return "" if self._called else "".join(self._texts)

    def note(self, events: Sequence[Event]) -> None:
        """Some more of it."""
        for event in events:
            if isinstance(event, Text):
                self._texts.append(event.text)
            elif isinstance(event, ToolCallDelta) or (isinstance(event, Done) and event.reason == "tool_calls"):
                self._called = True

    def outlet(self, exchange: Exchange) -> Outlet:
        """A new attempt begins."""
        self._texts, self._called = [], False
        return _Noting(self, self._sink.outlet(exchange))

    # -- turn.exchange.Sink -----------------------------------------------------------------------------------

    @property
    def started(self) -> bool:
        return self._sink.started

    @started.setter
    def started(self, is_so: bool) -> None:
        self._sink.started = is_so

    @property
    def target(self) -> tuple[str, str]:
        return self._sink.target

    @property
    def peer(self) -> str:
        """The address of the client."""
        return getattr(self._sink, "peer", "")

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        self._sink.respond(status, head, body)

    def start(self, status: int, head: bytes, length: int | None) -> None:
        self._sink.start(status, head, length)

    def write(self, data: bytes) -> None:
        self._sink.write(data)

    def finish(self, data: bytes = b"") -> None:
        self._sink.finish(data)

    def refuse(self, error: RolecastError, head: bytes) -> None:
        self._sink.refuse(error, head)

    def break_off(self, error: RolecastError, last: bytes | None) -> None:
        self._sink.break_off(error, last)


class _Noting:
    """An outlet whose events are noted."""

    def __init__(self, recorder: Recorder, outlet: Outlet) -> None:
        self._recorder = recorder
        self._outlet = outlet
        self.content_type: bytes = getattr(outlet, "content_type", b"")

    def take(self, events: list[Event]) -> None:
        self._recorder.note(events)
        self._outlet.take(events)

    def end(self) -> None:
        writing = self._recorder.writing
        if writing is None or writing.done():
            self._outlet.end()
            return
        over = asyncio.get_running_loop().create_future()
        timer = over.get_loop().call_later(LAST_BYTE_S, _release, over)
        writing.add_done_callback(lambda _: _release(over))
        outlet = self._outlet

        def end(_: Any) -> None:
            timer.cancel()
            outlet.end()

        over.add_done_callback(end)

    def last_words(self, error: RolecastError) -> bytes:
        return self._outlet.last_words(error)


def _release(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def is_whole(chat: Chat) -> bool:
    """Whether a request brings a conversation of its own, which is taken as it stands."""
    roles = [message.role for message in chat.messages]
    return "assistant" in roles or roles.count("user") > 1


def last_asked(chat: Chat) -> str:
    """What somebody asks in it: the text of the last message of the user's, media by their kinds."""
    message = next((each for each in reversed(chat.messages) if each.role == "user"), None)
    if message is None:
        return ""
    texts = texts_of(message)
    media = () if isinstance(message.content, str) else (p.kind for p in message.content if p.kind != "text")
    return "\n".join([*filter(None, texts), *(f"({kind})" for kind in media)])


def with_history(chat: Chat, system: str, messages: Sequence[Message]) -> Chat:
    """The chat with a system prompt in front of its own, and what was said before between it and what is asked."""
    given = list(chat.messages)
    first = next((i for i, each in enumerate(given) if each.role not in ("system", "developer")), len(given))
    opening, rest = given[:first], given[first:]
    if system and opening and isinstance(opening[0].content, str):
        told = opening[0].content
        both = told if system in told else f"{system}\n\n{told}"
        opening[0] = replace(opening[0], content=both)
    elif system:
        opening.insert(0, Message("system", system))
    return replace(chat, messages=(*opening, *messages, *rest))


def is_joined(exchange: Exchange, request: Request) -> bool:
    """Whether nothing is left to do for the session of a request."""
    return request.joined or exchange.part
