"""A chat whose model calls tools that the gateway runs: asked, called, asked again, until it answers.

What the model says goes to the client as it comes, also what it says before a call. Calls of tools that the client
brought go to the client and end the turn, as always; those of ours are run here and the client sees none of them. A
turn with both is the client's: ours are not run, because nobody could tell their results to the model afterwards.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from msgspec.structs import replace

from rolecast.errors import UNREADABLE
from rolecast.tools.naming import name_of
from rolecast.tools.wire import Offered, Result
from rolecast.turn.exchange import clock
from rolecast.turn.stage import Stage
from rolecast.values import Chat, Done, Event, Message, Metadata, Reasoning, Report, Text, Tool, ToolCall, ToolCallDelta

MOST_CALLS = 16
"""So many calls of one turn are run."""
MOST_ARGUMENTS = 1024 * 1024
MOST_TOLD = 50
"""So many calls are told in the metadata."""
CHARS_PER_TOKEN = 3
LEAST_CHARS = 1000
OVERHEAD = 60
"""Characters that a tool takes besides its description and its schema."""

Runs = Callable[[Offered, bytes, float, int], Awaitable[Result]]
"""Runs a tool with these arguments, within so many seconds, for so many characters. Never fails."""


class Limits(msgspec.Struct, frozen=True):
    """How much a chat may make of tools."""

    rounds: int
    seconds: float
    chars: int


class _Turn(msgspec.Struct):
    """What a model said in one turn."""

    texts: list[str] = []
    thoughts: list[str] = []
    calls: dict[int, list[str]] = {}
    """Id, name and arguments of each call that is not the client's, by its number."""
    theirs: dict[int, int] = {}
    """The client's calls, by their numbers: which number each has for the client."""
    done: Done = Done()


class Conversation:
    """One request."""

    def __init__(self, stage: Stage, chat: Chat, offer: Sequence[Offered], run: Runs, limits: Limits) -> None:
        self._stage = stage
        self._chat = chat
        self._run = run
        self._limits = limits
        self._until = clock() + limits.seconds
        self._client = frozenset(tool.name for tool in chat.tools)
        self._ours: dict[str, Offered] = {}
        tools = []
        room = stage.room * CHARS_PER_TOKEN // 2  # what tools say of themselves takes half of it at most
        for each in offer:
            taken = len(each.description) + len(bytes(each.parameters)) + OVERHEAD
            if stage.room and taken > room:
                continue
            room -= taken
            name = name_of(each.server, each.tool, {*self._client, *self._ours})
            if name not in self._ours and name not in self._client:
                self._ours[name] = each
                tools.append(Tool(name, each.description, each.parameters))
        self._tools = tuple(tools)
        self._told: list[dict[str, object]] = []
        self._rounds = 0
        self._failed = 0
        self._spoke = False
        """Text was told in an earlier turn."""
        self._why = ""

    def summary(self) -> str:
        """What was done, for a header."""
        parts = [f"offered={len(self._tools)}", f"rounds={self._rounds}", f"calls={len(self._told)}"]
        parts += [f"failed={self._failed}"] * bool(self._failed) + [f"ended={self._why}"] * bool(self._why)
        return "; ".join(parts)

    async def play(self) -> None:
        """See it through. Raises RolecastError."""
        messages = list(self._chat.messages)
        while True:
            last = self._rounds >= self._limits.rounds or clock() >= self._until
            turn = await self._ask(tuple(messages), last)
            if turn.theirs or not turn.calls or last:
                break
            self._rounds += 1
            calls = self._named(turn)
            results = await self._results(calls)
            messages.append(Message("assistant", "".join(turn.texts), "".join(turn.thoughts), tool_calls=calls))
            messages += (
                Message("tool", result.text, tool_call_id=call.id, name=call.name)
                for call, result in zip(calls, results, strict=True)
            )
            self._spoke = self._spoke or bool(turn.texts)
        if turn.calls:
            self._why = "client_call" if turn.theirs else "limit"
        if turn.theirs or turn.done.reason != "tool_calls":
            self._stage.tell(turn.done)
        found: dict[str, object] = {"tool_calls": self._told[:MOST_TOLD], "tool_rounds": self._rounds}
        self._stage.tell(Metadata(found | ({"tools_ended": self._why} if self._why else {})))

    # -- asking ---------------------------------------------------------------------------------------------

    def _equipped(self, messages: tuple[Message, ...], last: bool) -> Chat:
        """The chat for the next turn. What must be called is called once; in the last turn none of ours is."""
        chat = replace(self._chat, messages=messages)
        if last and chat.tools:
            return self._freed(chat)
        chat = replace(chat, tools=(*chat.tools, *self._tools))
        if last:
            return replace(chat, tool_choice="none", tool_named="")
        return self._freed(chat)

    def _freed(self, chat: Chat) -> Chat:
        forced = chat.tool_choice == "required" or chat.tool_named
        return replace(chat, tool_choice="", tool_named="") if forced and self._rounds else chat

    async def _ask(self, messages: tuple[Message, ...], last: bool) -> _Turn:
        """One turn of the model, of which the client gets what is for it as it comes."""
        turn = _Turn()
        async for event in self._stage.ask(self._equipped(messages, last)):
            shown: Event | None = event
            if isinstance(event, ToolCallDelta):
                shown = self._called(turn, event)
            elif isinstance(event, Text):
                turn.texts.append(event.text)
                if self._spoke and event.text:
                    self._spoke = False
                    self._stage.tell(Text("\n\n"))
            elif isinstance(event, Reasoning):
                turn.thoughts.append(event.text)
            elif isinstance(event, Done):
                turn.done, shown = event, None
            if shown is not None and not isinstance(shown, Report):
                self._stage.tell(shown)
        return turn

    def _called(self, turn: _Turn, delta: ToolCallDelta) -> Event | None:
        """Note some more of a call; what of it goes to the client."""
        if delta.index in turn.theirs:
            return replace(delta, index=turn.theirs[delta.index])
        call = turn.calls.get(delta.index)
        if call is None and self._client and delta.name and delta.name not in self._ours:
            number = turn.theirs[delta.index] = len(turn.theirs)  # its client knows what to make of an unknown name
            return replace(delta, index=number)
        if call is None:
            call = turn.calls[delta.index] = ["", "", ""]
        call[0], call[1] = call[0] or delta.id, call[1] or delta.name
        if len(call[2]) <= MOST_ARGUMENTS:
            call[2] += delta.arguments
        return None

    def _named(self, turn: _Turn) -> tuple[ToolCall, ...]:
        """The calls of a turn, each with an id of its own."""
        found, seen = [], set()
        for number, (call_id, name, arguments) in sorted(turn.calls.items()):
            if not call_id or call_id in seen:
                call_id = f"call_{self._rounds}_{number}"
            seen.add(call_id)
            found.append(ToolCall(call_id, name, arguments or "{}"))
        return tuple(found)

    # -- calling --------------------------------------------------------------------------------------------

    async def _results(self, calls: Sequence[ToolCall]) -> list[Result]:
        """What comes of each, side by side."""
        most = self._limits.chars
        if room := self._stage.room:  # half of what the model holds, for all of them
            most = max(min(most, room * CHARS_PER_TOKEN // 2 // len(calls)), LEAST_CHARS)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._result(number, call, most)) for number, call in enumerate(calls)]
        return [task.result() for task in tasks]

    async def _result(self, number: int, call: ToolCall, most: int) -> Result:
        began = clock()
        tool = self._ours.get(call.name)
        result = _refused(call, tool, number, self._ours)
        if result is None and tool is not None:
            result = await self._run(tool, call.arguments.encode("utf-8", "replace"), self._until - clock(), most)
        assert result is not None
        self._failed += result.failed
        told: dict[str, object] = {"tool": call.name if tool else "", "ok": not result.failed}
        told |= {"ms": round((clock() - began) * 1000)} | ({"why": result.why} if result.why else {})
        self._told.append(told)
        return result


def _refused(call: ToolCall, tool: Offered | None, number: int, ours: dict[str, Offered]) -> Result | None:
    """Why a call is not run, as a text for the model; None = it is."""
    if tool is None:
        return Result(f"There is no tool {call.name[:64]!r}; there are: {', '.join([*ours][:50])}.", True, "refused")
    if number >= MOST_CALLS:
        return Result(f"At most {MOST_CALLS} tools are called at once; call this one again.", True, "refused")
    if len(call.arguments) > MOST_ARGUMENTS:
        return Result("The arguments are too long.", True, "refused")
    try:
        is_object = isinstance(msgspec.json.decode(call.arguments), dict)
    except UNREADABLE:
        is_object = False
    return None if is_object else Result("The arguments must be one JSON object.", True, "refused")
