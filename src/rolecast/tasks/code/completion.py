"""The play of code completion: one question, cut at the next definition as it comes, remembered, and ended by a newer
keystroke of the same session.

A model that knows the marks of a gap fills it. One that runs here and does not, or has nothing behind the cursor, goes
on with the text as it stands, until what follows the cursor begins: even one that was made for chats does that better
than it talks about the place, and what it read for the last keystroke is still there. Any other, and one that is told
in words what is wanted, is asked in a chat.
"""

from contextlib import aclosing
from typing import Any, Literal

import msgspec

from rolecast.errors import Invalid
from rolecast.tasks.backstage import Backstage
from rolecast.tasks.code import language as languages
from rolecast.tasks.code.continuation import Filter, Unfenced, Unindented, Unrepeated, unpadded
from rolecast.tasks.code.definitions import Cut
from rolecast.tasks.code.fences import fenced
from rolecast.tasks.code.gap import Unfollowed, Unmarked
from rolecast.tasks.code.keystrokes import Kept
from rolecast.tasks.job import Job
from rolecast.turn.stage import Stage
from rolecast.values import Chat, Completion, Done, Metadata, Text

Way = Literal["fill", "continue", "chat"]
CERTAIN = 0.2
"""Drawn more freely than this, an answer is meant to differ from time to time, and is not remembered."""
LONGEST = 2**20


class _Wish(msgspec.Struct):
    """What is to be completed."""

    prefix: str
    suffix: str
    language: str
    wish: str
    """What is asked for in words; '' = only the code speaks."""
    most: int | None
    """Longest answer in tokens; None = as the model is set."""


async def complete(stage: Stage, job: Job, backstage: Backstage) -> None:
    """Give the text at the cursor. Raises RolecastError, Conflict when a newer keystroke followed."""
    wish = _wish_of(job)
    caller, request = stage.exchange.caller, stage.exchange.request
    session = caller.session or (request.session if request is not None else "")
    keys, models = backstage.keystrokes, backstage.current.config.models
    with keys.of((caller.key, session)):
        way = _way(stage, wish)
        words = _words(stage, job, wish, way)
        sampling = words.sampling
        sure = sampling.temperature is not None and sampling.temperature <= CERTAIN
        key = (
            keys.key(caller.key, stage.plan.model_id, way, wish.language, [_plain(words), wish.suffix]) if sure else b""
        )
        kept = keys.get(key, models) if sure else None
        if kept is None:
            kept = await _asked(stage, words, wish, way)
            if sure:
                keys.keep(key, kept, models)
            cached = False
        else:
            stage.tell(Text(kept.text))
            cached = True
        stage.tell(Metadata({**kept.found, "cached": cached}), Done(kept.reason))


def _wish_of(job: Job) -> _Wish:
    code = job.option("code") or ""
    prefix, wish = (code, job.prompt.strip()) if code else (job.prompt, "")
    language = languages.language_named(job.option("language") or "") or languages.written_in(prefix)
    most = job.chat.sampling.max_tokens
    if "max_completion_length" in job.said:
        most = job.option("max_completion_length")
        if not isinstance(most, int) or not 1 <= most <= LONGEST:
            text = "`max_completion_length` must be a whole number of tokens, 1 or more."
            raise Invalid(text, param="max_completion_length")
    return _Wish(prefix, job.option("suffix") or "", language, wish, most)


def _way(stage: Stage, wish: _Wish) -> Way:
    base = stage.can("base")
    if wish.wish and not base:
        return "chat"
    here = stage.plan.backend.spawns and "completion" in stage.plan.model.capabilities
    if wish.suffix.strip():
        return "fill" if stage.can("insert") else "continue" if base or here else "chat"
    return "continue" if base or here or stage.can("insert") else "chat"


def _words(stage: Stage, job: Job, wish: _Wish, way: Way) -> Chat | Completion:
    sampling = msgspec.structs.replace(job.chat.sampling, max_tokens=wish.most)
    if way == "chat":
        chat = job.written(_put(wish))
        thinks = False if stage.can("thinking") else chat.think  # somebody waits at the cursor
        return msgspec.structs.replace(chat, sampling=sampling, think=thinks)
    prefix, suffix = (wish.prefix, wish.suffix) if way == "fill" else (unpadded(wish.prefix)[0], "")
    return Completion(job.chat.model, prefix, True, suffix, sampling=sampling, extra=job.chat.extra)


def _put(wish: _Wish) -> str:
    """What a chat model is told of the place."""
    title = languages.title_of(wish.language)
    lines = [f"The {title} code before the cursor:" if title else "The code before the cursor:"]
    lines.append(fenced(wish.prefix, wish.language))
    if wish.suffix.strip():
        lines += ["The code behind the cursor:", fenced(wish.suffix, wish.language)]
    lines.append(wish.wish or "Write what comes next at the cursor.")
    return "\n\n".join(lines)


def _plain(words: Chat | Completion) -> Any:
    """All of a question that its answer depends on, as plain values."""
    return msgspec.to_builtins(msgspec.structs.replace(words, stream=True))


async def _asked(stage: Stage, words: Chat | Completion, wish: _Wish, way: Way) -> Kept:
    """Ask, and tell what belongs to the completion as it comes; the model is stopped where that ends."""
    cut = Cut(wish.language, wish.prefix, wish.suffix)
    filters: list[Filter] = []
    if way == "chat":
        filters = [Unfenced(wish.language), Unrepeated(wish.prefix)]
    elif way == "continue":
        filters = [Unindented(unpadded(wish.prefix)[1])]
    filters += [Unmarked(wish.prefix, wish.suffix), Unfollowed(wish.prefix, wish.suffix), cut]
    told: list[str] = []
    reason = "stop"

    def tell(text: str, *, last: bool = False) -> None:
        for each in filters:
            text = each.read(text) + (each.end() if last else "")
        if text:
            told.append(text)
            stage.tell(Text(text))

    async with aclosing(stage.ask(words)) as events:
        async for event in events:
            if isinstance(event, Text):
                tell(event.text)
                if any(each.over for each in filters):
                    break
            elif isinstance(event, Done):
                reason = event.reason
    tell("", last=True)
    why = cut.why or next((each.why for each in filters if isinstance(each, Unmarked | Unfollowed) and each.over), "")
    found = {"language": wish.language or None, "way": way, "ended_by": why or reason}
    return Kept("".join(told), "stop" if why else reason, found)
