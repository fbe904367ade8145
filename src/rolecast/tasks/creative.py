"""The play of creative writing: its length in words is counted, and a title that is missing is asked for."""

import contextlib
import math
import re

import msgspec

from rolecast.errors import RolecastError
from rolecast.tasks.backstage import Backstage
from rolecast.tasks.job import Job
from rolecast.turn.stage import Stage
from rolecast.values import Chat, Done, Message, Metadata, Text

WORDS = {"short": (200, 500), "medium": (500, 1000), "long": (1000, 0)}
"""Words that each length has, at least and at most; 0 = no limit."""
LONGEST_WORDS = 1500
"""So many are made room for where there is no limit."""
TOKENS_PER_WORD = 1.5 / 0.75
"""A word takes about 4/3 tokens; half as much again so that an ending finds its place."""
TITLE_TOKENS = 24
_TITLE = re.compile(r"\A\s*(?:#{1,3}\s+|\*\*(?=[^*\n]+\*\*\s*$)|(?i:title:)\s*)([^\n]{1,200})", re.MULTILINE)


async def creative(stage: Stage, job: Job, backstage: Backstage) -> None:
    """Write, and count. Metadata: `words`, `length`, `length_ok`, `title`, `title_added`."""
    chat = _with_room(job, stage.room)
    titled = job.option("add_title", False)
    whole = titled and not stage.streaming
    answer = await stage.answer(chat, tell=not whole)
    text, title = answer.text, title_of(answer.text) if titled else ""
    told: dict[str, object] = {}
    if whole:
        if not title and text.strip() and (title := await _asked(stage, chat, text)):
            text = f"# {title}\n\n{text.lstrip()}"
            told["title_added"] = True
        stage.tell(Text(text), Done(answer.reason))
    if title:
        told["title"] = title
    count, length = len(answer.text.split()), job.option("length", "medium")
    least, most = WORDS.get(length, (0, 0))
    told |= {"words": count, "length": length, "length_ok": count >= least and (not most or count <= most)}
    stage.tell(Metadata(told))


def title_of(text: str) -> str:
    """The title that a text begins with; '' = none."""
    found = _TITLE.match(text)
    return found[1].strip().strip("*#").strip() if found else ""


def _with_room(job: Job, room: int) -> Chat:
    """The chat with room for the length that is asked for, unless the request says how long it may get.

    Of a model's context at most three quarters, so that the prompt has its place.
    """
    chat = job.written()
    length = job.option("length", "")
    if job.wishes.max_tokens is not None or "length" not in job.said or length not in WORDS:
        return chat
    tokens = math.ceil((WORDS[length][1] or LONGEST_WORDS) * TOKENS_PER_WORD)
    sampling = msgspec.structs.replace(chat.sampling, max_tokens=min(tokens, room * 3 // 4) if room else tokens)
    return msgspec.structs.replace(chat, sampling=sampling)


async def _asked(stage: Stage, chat: Chat, text: str) -> str:
    """A title for a text, as one line; '' = there is none to be had."""
    asked = Message("user", "Give this text a title of at most eight words. Write the title only.")
    sampling = msgspec.structs.replace(chat.sampling, max_tokens=TITLE_TOKENS)
    words = msgspec.structs.replace(
        chat, messages=(*chat.messages, Message("assistant", text), asked), sampling=sampling
    )
    with contextlib.suppress(RolecastError):  # a text without a title is better than an error
        lines = [line for line in (await stage.answer(words)).text.splitlines() if line.strip()]
        return lines[0].strip().strip('#*"“”').removeprefix("Title:").strip() if lines else ""
    return ""
