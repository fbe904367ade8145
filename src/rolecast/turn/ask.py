"""A chat that the gateway itself asks for, in process: chosen, leased, called and accounted like any request.

For what needs a model's answer to do its own work: tasks, routing by a model, tools, classifiers. Speaks no dialect;
the events are handed over as they come.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping

import msgspec

from rolecast.config.schema import Limits
from rolecast.dialects import Dialect, Read, Writer
from rolecast.dialects.request import NOTHING, Request, needs_of
from rolecast.errors import Internal, RolecastError
from rolecast.turn.exchange import Exchange, ExchangeIds, Owner
from rolecast.values import Caller, Chat, Completion, Event

HIGH = 64
"""So many events may wait for a slow asker before the worker is paused."""


class Asker:
    """Asks models on behalf of the gateway."""

    def __init__(self, dispatch: Owner, new_id: ExchangeIds) -> None:
        self._dispatch = dispatch
        self._new_id = new_id

    async def ask(self, chat: Chat, caller: Caller) -> AsyncIterator[Event]:
        """The answer to this chat, event by event, up to its report.

        Raises RolecastError: before the first event like an error answer, later where an answer breaks off. Whoever
        stops listening (closes the iterator, or is cancelled) frees the slot.
        """
        sink = Inbox()
        exchange = Exchange(self._dispatch, sink, self._new_id(), caller, WORDS)
        sink.exchange = exchange
        chat = msgspec.structs.replace(chat, stream=True)
        try:
            try:
                self._dispatch.begin(exchange, request_of(chat))
            except RolecastError as error:
                exchange.fail(error)
            async for event in sink.events():
                yield event
        finally:
            exchange.client_gone()
            sink.exchange = None


def behind(caller: Caller) -> Caller:
    """Who is behind a question that the gateway asks for its own work: what it may do and pays for, and no more."""
    return Caller(caller.listener, caller.key, run=caller.run, local_only=caller.local_only, rights=caller.rights)


def request_of(chat: Chat | Completion) -> Request:
    """The request for this, which is written for whichever worker gets it."""
    if isinstance(chat, Completion):
        counted = chat.prompt.encode("utf-8", "replace") if isinstance(chat.prompt, str) else b"    " * len(chat.prompt)
        return Request("completion", b"", chat.model, True, counted, family="", plain=chat)
    needs = needs_of(chat.messages)
    forced = bool(chat.tool_named) or chat.tool_choice == "required"
    tools = frozenset({"tools"}) if chat.tools else NOTHING
    return Request(
        "chat",
        b"",
        chat.model,
        True,
        msgspec.json.encode(chat.messages),  # for our own count of tokens, where a worker reports none
        needs | (tools if forced else NOTHING),
        tools,
        family="",
        chat=chat,
    )


class _Words:
    """The dialect of those who take events: nothing is written."""

    id_header = ping = b""
    writer_for = None

    def paths(self, limits: Limits) -> Mapping[str, Read]:
        return {}

    def chat(self, request: Request) -> Chat:
        assert request.chat is not None
        return request.chat

    def writer(self, request: Request, model: str) -> Writer:
        raise Internal

    def error(self, error: RolecastError, *, started: bool = False) -> bytes:
        return b""


WORDS: Dialect = _Words()


class Inbox:
    """Takes an answer as events, in order, with back-pressure: the sink of an exchange whose `exchange` it is told."""

    target = ("ASK", "")

    def __init__(self) -> None:
        self.started = False
        self.exchange: Exchange | None = None
        self._events: asyncio.Queue[Event | RolecastError | None] = asyncio.Queue()

    async def events(self) -> AsyncIterator[Event]:
        """What came, until the answer ends. Raises the error that ended it."""
        while (event := await self._events.get()) is not None:
            if isinstance(event, RolecastError):
                try:
                    raise event
                finally:
                    del event  # no cycle: its trace knows this frame
            yield event
            if self.exchange is not None and self._events.qsize() < HIGH // 2:
                self.exchange.resume()

    # -- turn.exchange.Outlet -----------------------------------------------------------------------------

    def take(self, events: list[Event]) -> None:
        self.started = True
        for event in events:
            self._events.put_nowait(event)
        if self._events.qsize() > HIGH and self.exchange is not None:
            self.exchange.pause()

    def end(self) -> None:
        self._events.put_nowait(None)

    def last_words(self, error: RolecastError) -> bytes:
        return b""

    # -- turn.exchange.Sink -------------------------------------------------------------------------------

    def outlet(self, exchange: Exchange) -> "Inbox":
        return self

    def refuse(self, error: RolecastError, head: bytes) -> None:
        self._events.put_nowait(error)

    def break_off(self, error: RolecastError, last: bytes | None) -> None:
        self._events.put_nowait(error)

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        raise Internal  # an answer for events is always converted

    def start(self, status: int, head: bytes, length: int | None) -> None:
        raise Internal

    def write(self, data: bytes) -> None:
        raise Internal

    def finish(self, data: bytes = b"") -> None:
        raise Internal
