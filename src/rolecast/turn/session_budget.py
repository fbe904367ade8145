"""How much of a session goes to a model: whole turns, the newest first, in tokens as that model counts them.

A turn is counted once, after its answer, by the worker that gave it. Of a request only what is new is counted, and not
even that where it fits for sure: no tokenizer makes more tokens than a text has bytes. Where a server cannot count,
tokens are estimated, rather too high than too low.
"""

import zlib
from collections.abc import Sequence

import msgspec

from rolecast.books.sessions import Turn
from rolecast.dialects.defaults import filled
from rolecast.errors import RolecastError
from rolecast.routing import tokens
from rolecast.turn.ask import WORDS, request_of
from rolecast.turn.count import Counter
from rolecast.turn.plan import Plan
from rolecast.values import Caller, Chat, Message

UNKNOWN = 4096
"""Tokens that a model is taken to hold where nobody knows."""
ANSWER = 512
"""Tokens that are left to an answer whose length nobody limits; no more than a quarter of what the model holds."""
CAUTION = 1.25
"""Estimates are taken so much higher."""
MARKS = 16
"""Tokens that a template puts around a message, at most."""


class Fitted(msgspec.Struct, frozen=True):
    """What goes to the model of what was said before."""

    turns: tuple[Turn, ...] = ()
    dropped: int = 0
    """So many older turns are left out, and no summary has them."""
    summary: str = ""
    summarized: int = 0
    """So many turns are in the summary."""
    allowance: int = 0
    """Tokens that history could have taken."""

    def messages(self) -> tuple[Message, ...]:
        """The turns as messages."""
        both = ((Message("user", turn.asked), Message("assistant", turn.answer)) for turn in self.turns)
        return tuple(message for pair in both for message in pair)


class Budget:
    """Counts turns, and chooses those that fit."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._bare: dict[str, int] = {}
        """By who answers: tokens of the frame that turns are counted in; -1 = it cannot count."""

    async def fit(
        self, own: Chat, turns: Sequence[Turn], summary: str, plan: Plan, room: int, share: float, caller: Caller
    ) -> Fitted:
        """The newest of these turns that fit besides what is asked now. `room` = what the model holds, 0 = unknown."""
        room, who = room or UNKNOWN, counter_of(plan)
        wished = own.sampling.max_tokens
        answer = wished if wished and 0 < wished < room else min(ANSWER, room // 4)
        sizes = [turn.tokens if turn.counted == who else estimate(turn) for turn in turns]
        told = _cautious([summary]) if summary else 0
        allowance = min(int(room * share), room - answer - _at_most(_with_variant(own, plan)))
        if allowance < min(sum(sizes) + told, int(room * share)):
            needed = await self._count(own, plan, caller)
            allowance = min(int(room * share), room - answer - needed)
        left = max(0, allowance)
        if told > left:
            summary, told = "", 0
        left -= told
        first = len(turns)
        while first and sizes[first - 1] <= left:
            first -= 1
            left -= sizes[first]
        return Fitted(tuple(turns[first:]), first, summary, 0, max(0, allowance))

    async def tokens_of(self, turn: Turn, plan: Plan, caller: Caller) -> int | None:
        """Tokens that a turn adds to a conversation, by the model's own count; None where it cannot be asked."""
        who = counter_of(plan)
        bare = self._bare.get(who)
        if bare == -1 or not self._counter.is_ready(plan):
            return None
        frame = Message("system", "."), Message("user", ".")
        said = Message("user", turn.asked), Message("assistant", turn.answer)
        try:
            if bare is None:
                bare = await self._ask(Chat(plan.asked, frame), plan, caller)
                self._bare[who] = bare
            whole = await self._ask(Chat(plan.asked, (frame[0], *said, frame[1])), plan, caller)
        except RolecastError as error:
            if error.status < 500:  # it has no such path, or its template takes no such chat
                self._bare[who] = -1
            return None
        return max(1, whole - bare)

    def is_ready(self, plan: Plan) -> bool:
        """Whether its model is loaded."""
        return self._counter.is_ready(plan)

    async def _count(self, own: Chat, plan: Plan, caller: Caller) -> int:
        """Tokens of what is asked now."""
        if self._bare.get(counter_of(plan)) != -1:
            try:
                return await self._ask(own, plan, caller)
            except RolecastError:
                pass
        own = _with_variant(own, plan)
        texts = [text for message in own.messages for text in texts_of(message)]
        tools = sum(len(tool.parameters) for tool in own.tools) * tokens.TOOL_SHARE
        media = sum(each.kind != "text" for m in own.messages if isinstance(m.content, tuple) for each in m.content)
        return int(_cautious(texts, len(own.messages)) + CAUTION * (tools + media * tokens.PER_MEDIUM))

    async def _ask(self, chat: Chat, plan: Plan, caller: Caller) -> int:
        request = request_of(msgspec.structs.replace(chat, stream=True))
        request.settled = plan.choice
        return await self._counter.count(request, WORDS, caller)


def _with_variant(own: Chat, plan: Plan) -> Chat:
    """With what a variant brings, which takes its room, too."""
    whole = own if plan.defaults is None else filled(own, plan.defaults)
    return whole if isinstance(whole, Chat) else own


def counter_of(plan: Plan) -> str:
    """Whose tokenizer it is: a model of the same name may be another one after an edit."""
    model = plan.model
    weights = f"{model.source} {model.url} {model.remote_model} {model.chat_template_kwargs}"
    return f"{plan.answerer_id}/{zlib.crc32(weights.encode()):08x}"


def estimate(turn: Turn) -> int:
    """Tokens of a turn that its model did not count."""
    return _cautious([turn.asked, turn.answer], 2)


def texts_of(message: Message) -> list[str]:
    """Its texts; what is no text is left out."""
    if isinstance(message.content, str):
        return [message.content]
    return [part.text for part in message.content if part.kind == "text"]


def _cautious(texts: Sequence[str], messages: int = 1) -> int:
    return int(CAUTION * (tokens.of_texts(list(texts) or [""]) + messages * tokens.PER_MESSAGE)) + 1


def _at_most(chat: Chat) -> int:
    """No tokenizer makes more tokens of this chat; of media and tools nobody knows, so that they are counted."""
    if chat.tools or any(
        part.kind != "text" for m in chat.messages if isinstance(m.content, tuple) for part in m.content
    ):
        return 2**40
    words = sum(len(text.encode("utf-8", "replace")) for m in chat.messages for text in texts_of(m))
    calls = sum(len(call.arguments) + len(call.name) for m in chat.messages for call in m.tool_calls)
    return words + 4 * calls + MARKS * (len(chat.messages) + 4)
