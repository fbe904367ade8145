"""Sessions: conversations that are kept for clients which send only what is new.

One that was begun on purpose is in the database; those that Conductor's clients merely named are remembered by id, in
memory. Whose key named one alone can see it; '' = no key is needed. What becomes of one request is `session_turn`'s,
what of history fits `session_budget`'s.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any
from uuid import uuid4

import msgspec
from msgspec.structs import replace

from rolecast.books import sessions as books
from rolecast.books.sessions import Counts, Head, New, Turn
from rolecast.books.store import Store, StoreError
from rolecast.config.current import Current
from rolecast.config.tasks import Sessions as Settings
from rolecast.dialects.request import Request
from rolecast.errors import BadRequest, Conflict, RolecastError
from rolecast.turn import session_summary
from rolecast.turn.ask import Asker, behind
from rolecast.turn.exchange import Exchange
from rolecast.turn.gate import LOCAL
from rolecast.turn.plan import Plan
from rolecast.turn.plans import Plans
from rolecast.turn.session_budget import Budget, Fitted, counter_of
from rolecast.turn.session_line import Lines, Place
from rolecast.turn.session_turn import Joined, is_whole, last_asked, with_history
from rolecast.turn.session_writer import Writer
from rolecast.values import Caller, Chat, Message

log = logging.getLogger("rolecast.sessions")

LONGEST = 512
"""Characters of an id."""
PRUNE_S = 3600.0
COUNT_S = 2.0
"""So long the next request of a session waits until the turn before it is counted."""
CLOSE_S = 5.0

Voice = Callable[[str], Awaitable[str]]
"""The text of a persona by its name. Raises RolecastError for none."""


async def _nobody(name: str) -> str:
    return ""


class Sessions:
    """All sessions of the gateway."""

    def __init__(self, store: Store, current: Current, plans: Plans, budget: Budget) -> None:
        self._store = store
        self._current = current
        self._plans = plans
        self._budget = budget
        self._lines = Lines()
        self._used: dict[str, OrderedDict[str, float]] = {}
        self._begun: set[Place] = set()
        """Of these the ones that were begun on purpose; the others were merely named."""
        self._writer = Writer(store, lambda: int(self._settings.turns))
        self._running: set[asyncio.Task[Any]] = set()
        self._summing: set[Place] = set()
        self._pruned = 0.0
        self.voice: Voice = _nobody
        """Who knows personas."""
        self.asker: Asker | None = None
        """Who asks for summaries."""

    # -- which there are ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Learn which there are, and delete those that are too old."""
        try:
            for key, name, used in await books.known(self._store):
                self._used.setdefault(key, OrderedDict())[name] = used
                self._begun.add((key, name))
            await self._prune()
        except StoreError as error:
            log.warning("the sessions that were kept are not known: %s", error.message)

    async def close(self) -> None:
        """Wait until all turns are written, a few seconds at most."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=CLOSE_S)
        await self._writer.close()

    def note(self, key: str, name: str) -> None:
        """A request of this session is asked of a model."""
        used = self._used.setdefault(key, OrderedDict())
        used[name] = time.time()
        used.move_to_end(name)
        if len(used) > int(self._settings.most):
            oldest, _ = used.popitem(last=False)
            self._begun.discard((key, oldest))
            if self._pruned:
                self._pruned = 0.0  # the database has too many as well
                self._spawn(self._prune())

    def of(self, key: str) -> Mapping[str, float]:
        """The sessions of a key and when each was used last, in seconds since 1970; that one comes last."""
        return self._used.get(key) or {}

    def knows(self, key: str, name: str) -> bool:
        """Whether it was begun: not only named by a request that keeps nothing."""
        return (key, name) in self._begun

    # -- what people do with them -----------------------------------------------------------------------------

    async def create(self, key: str, name: str = "", persona: str = "", system: str = "") -> str:
        """Begin a session; its id, which is made up where none is given. Raises Conflict for one that is there."""
        name = name or uuid4().hex
        if persona:
            await self.voice(persona)
        if not await books.begin(self._store, key, name, time.time(), persona, system):
            raise Conflict(f"There is a session {name[:100]!r} already; DELETE /sessions/ID deletes one.")
        self._begin((key, name))
        return name

    async def look(self, key: str, name: str) -> tuple[Head, Counts] | None:
        """A session and how much of it is kept; None = there is none. Raises StoreError."""
        await self._writer.flush()
        head = await books.head(self._store, key, name)
        if head is not None:
            return head, await books.counts(self._store, key, name)
        used = self.of(key).get(name)
        return None if used is None else (Head(name, used=used), Counts(0, 0, 0))

    async def turns(self, key: str, name: str, after: int, most: int) -> list[Turn]:
        """Turns behind that number, oldest first. Raises StoreError."""
        await self._writer.flush()
        return await books.page(self._store, key, name, after, most)

    async def clear(self, key: str, name: str, after: int = 0) -> bool:
        """Delete what was said in it behind that turn; whether there is such a session. Raises StoreError."""
        if after:
            await self._writer.flush()  # what waits has no number yet
        self._void((key, name))
        return await books.clear(self._store, key, name, after) or name in self.of(key)

    async def forget(self, key: str, name: str) -> bool:
        """Delete it; whether it was there. Raises StoreError."""
        self._void((key, name))
        kept = await books.forget(self._store, key, name)
        self._begun.discard((key, name))
        return self._used.get(key, OrderedDict()).pop(name, None) is not None or kept

    def _begin(self, place: Place) -> None:
        self._begun.add(place)
        self.note(*place)

    def _void(self, place: Place) -> None:
        self._lines.void(place)
        self._writer.forget(place)

    # -- requests ---------------------------------------------------------------------------------------------

    def named(self, request: Request, caller: Caller) -> str:
        """The session that a chat goes on in; '' = in none. Raises BadRequest where it cannot.

        A header alone counts for a session that was begun: many clients trace their requests by it.
        """
        if request.kind != "chat":
            return ""
        if not request.session:
            is_ours = caller.session and request.split is None and self.knows(caller.key, caller.session)
            follows = request.thread is not None and (request.thread.follows or request.thread.refers)
            return caller.session if is_ours and not follows else ""
        if request.split is not None:
            raise BadRequest("`n` must be 1 in a session: it goes on from one answer.", param="n")
        return request.session

    async def go_on(self, exchange: Exchange, request: Request, name: str, begin: Callable[[], None]) -> None:
        """Put a chat into its session, and begin it."""
        try:
            await self._put(exchange, request, name)
            exchange.task = None
            if not exchange.closed:
                begin()
        except RolecastError as error:
            exchange.task = None
            exchange.fail(error)

    async def _put(self, exchange: Exchange, request: Request, name: str) -> None:
        if request.chat is None:
            request.chat = exchange.dialect.chat(request)
        chat = request.chat
        joined, head = await self.join(exchange, name, last_asked(chat))
        system = await self.system_of(head)
        request.family, request.joined = "", True
        request.take(with_history(chat, system, ()))
        self._rewritten(request)
        plans = self._plans
        if plans.mind.asleep and plans.reads(exchange.caller.port_model or request.asked, request):
            await plans.mind.wake()
        plan = plans.known(request, exchange.caller, exchange.dialect)
        variant = plan.defaults.system if plan.defaults is not None else ""
        if is_whole(chat):
            joined.tell(exchange, Fitted(), (await books.counts(self._store, *joined.ticket.place)).turns)
            request.take(_beside(chat, system, variant))
            self._rewritten(request)
            return
        assert request.chat is not None
        fitted = await self.fit(exchange, joined, head, request.chat, plan)
        system = "\n\n".join(filter(None, [system, told(fitted)]))
        request.take(_beside(chat, system, variant, fitted.messages()))
        self._rewritten(request)

    @staticmethod
    def _rewritten(request: Request) -> None:
        assert request.chat is not None
        request.body = msgspec.json.encode(request.chat.messages)  # for our own count, where a worker reports none

    async def join(self, exchange: Exchange, name: str, asked: str) -> tuple[Joined, Head]:
        """Stand in line, and come first; a request stays here where what was said in its session does.

        Raises Busy and StoreError; what is kept then is only seen by this request.
        """
        place = (exchange.caller.key, name)
        joined = Joined(exchange, self._lines.join(place), asked, self)
        self._begin(place)
        await joined.ticket.come(float(self._current.config.server.limits.queue_timeout))
        head = await books.head(self._store, *place) or Head(name)
        joined.summarized = head.summarized
        request = exchange.request
        if request is not None and (head.stays or self._writer.stays(place)):
            request.needs |= {LOCAL}  # before anybody is chosen who would be told of it
        return joined, head

    async def system_of(self, head: Head) -> str:
        """What stands in front of a session's system prompts: its persona, and its own."""
        persona = await self.voice(head.persona) if head.persona else ""
        return "\n\n".join(filter(None, [persona, head.system]))

    async def fit(self, exchange: Exchange, joined: Joined, head: Head, own: Chat, plan: Plan) -> Fitted:
        """What goes to the model of what was said before, besides `own`, as the answer's header says."""
        place = joined.ticket.place
        turns = await self._writer.turns(place, head.summarized)
        share = float(self._settings.budget)
        room = self._plans.room_of(plan) or plan.model.context or 0
        fitted = await self._budget.fit(own, turns, head.summary, plan, room, share, exchange.caller)
        behind = head.summarized if head.summary else 0
        fitted = msgspec.structs.replace(fitted, summarized=behind if fitted.summary else 0)
        joined.tell(exchange, fitted, len(turns) + behind)
        return fitted

    # -- turns ------------------------------------------------------------------------------------------------

    def keep(self, turn: Joined, new: New) -> "asyncio.Task[None]":
        """Write a turn down, behind those that wait, then let the next request of its session go on."""
        return self._spawn(self._keep(turn, new))

    async def _keep(self, turn: Joined, new: New) -> None:
        if number := await self._writer.write(new):
            self._spawn(self._afterwards(turn, new, number))
        else:
            turn.ticket.leave()
        if self._pruned and time.monotonic() - self._pruned > PRUNE_S:
            self._spawn(self._prune())

    async def _afterwards(self, turn: Joined, new: New, number: int) -> None:
        """Count a turn that is written, and sum up what no longer fits."""
        plan, place = turn.plan, turn.ticket.place
        caller = behind(turn.caller)
        kept = Turn(number, new.at, new.asked, new.answer, new.model, new.tokens)
        try:
            if plan is None:
                return
            async with asyncio.timeout(COUNT_S):
                tokens = await self._budget.tokens_of(kept, plan, caller)
                if tokens is not None:
                    await books.counted(self._store, *place, number, tokens, counter_of(plan))
        except (TimeoutError, StoreError):
            pass
        finally:
            turn.ticket.leave()
        if self._settings.overflow == "summarize" and plan is not None and turn.fitted.allowance:
            await self._sum_up(turn, plan, caller)

    async def _sum_up(self, turn: Joined, plan: Plan, caller: Caller) -> None:
        place = turn.ticket.place
        if self.asker is None or place in self._summing or not self._budget.is_ready(plan):
            return
        self._summing.add(place)
        try:
            head = await books.head(self._store, *place)
            if head is None:
                return
            turns = await books.newest(self._store, *place, head.summarized)
            if not (those := session_summary.due(turns, turn.fitted.allowance)):
                return
            room = self._plans.room_of(plan)
            held = replace(caller, local_only=caller.local_only or head.stays)
            summary, upto = await session_summary.write(self.asker, head.summary, those, plan, room, held)
            if summary:
                await books.summarize(self._store, *place, summary, upto, stays=held.local_only)
        except StoreError as error:
            log.info("no summary of a session: %s", error.code)
        finally:
            self._summing.discard(place)

    # -- bounds -----------------------------------------------------------------------------------------------

    async def _prune(self) -> None:
        """Delete what is too old, or too much."""
        self._pruned = time.monotonic()
        settings = self._settings
        before = time.time() - float(settings.keep) if settings.keep else 0.0
        try:
            for key, name in await books.prune(self._store, before, int(settings.most)):
                self._used.get(key, OrderedDict()).pop(name, None)
                self._begun.discard((key, name))
        except StoreError as error:
            log.info("old sessions could not be deleted: %s", error.message)

    @property
    def _settings(self) -> Settings:
        return self._current.config.sessions

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task


def _beside(chat: Chat, system: str, variant: str, before: Sequence[Message] = ()) -> Chat:
    """The chat in its session; what a session says stands in front of the system prompt of a variant, not for it."""
    begins = bool(chat.messages) and chat.messages[0].role in ("system", "developer")
    if system and variant and not begins:
        system = f"{system}\n\n{variant}"
    return with_history(chat, system, before)


def told(fitted: Fitted) -> str:
    """A summary as a system prompt has it."""
    return session_summary.TOLD + fitted.summary if fitted.summary else ""
