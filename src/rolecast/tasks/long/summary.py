"""The play of summaries: of a text of any length, in so many words, within a fifth.

A whole answer that is too long or too short is asked for once more, and the better one is cut where a sentence ends, if
it must be. A stream ends where its words do, and with it the engine. Nothing is padded: a summary has no more words
than its text. Extractive summaries are sentences of the text, which the model picks by number.
"""

import asyncio
import re
from contextlib import aclosing
from math import ceil, floor

import msgspec

from rolecast.errors import Invalid
from rolecast.tasks import words
from rolecast.tasks.aside import aside
from rolecast.tasks.backstage import Backstage
from rolecast.tasks.job import Job
from rolecast.tasks.long import extract as extract
from rolecast.tasks.long.context import Long, source
from rolecast.tasks.long.prompts import SUMMARY, Wish, Work, fenced
from rolecast.tasks.long.quotes import Quotes
from rolecast.tasks.long.reading import written
from rolecast.turn.stage import Answer, Stage
from rolecast.values import Chat, Done, Message, Metadata, Report, Text

LENGTHS = {"brief": 50, "short": 100, "medium": 200, "long": 400, "detailed": 600}
"""Words of a summary."""
LEAST, MOST = 5, 5000
"""A number of words may be so large."""
TOLERANCE = 0.2
TOKENS_PER_WORD = 1.5 / 0.75
"""Tokens that an answer may take: what words usually have, and half as many again."""
PICK_TOKENS = 5
"""Tokens of a number in a list of them."""
_NUMBER = re.compile(r"(\d{1,6})(?:\s*words?)?", re.IGNORECASE)
_WORK = Work(
    "Note what happens or is claimed here, who and what it is about, and every figure and quote that matters.",
    "Write a summary.",
)


class Target(msgspec.Struct, frozen=True):
    """How many words a summary should have."""

    words: int
    least: int
    most: int

    def holds(self, number: int) -> bool:
        """Whether so many words are within the tolerance."""
        return self.least <= number <= self.most

    def wish(self) -> str:
        """The sentence that asks for it."""
        if self.least <= 1:
            return f"Write at most {self.words} words: no more than the text says."
        return f"Write about {self.words} words: not fewer than {self.least}, not more than {self.most}."


def target_of(length: str, text: str) -> Target:
    """The target for a text. Raises Invalid for a length that is none."""
    number = LENGTHS.get(length, 0)
    if not number and (match := _NUMBER.fullmatch(length.strip())):
        number = int(match[1])
    if not LEAST <= number <= MOST:
        names = ", ".join(LENGTHS)
        raise Invalid(f"`length` must be one of {names}, or {LEAST} to {MOST} words.", param="length")
    has = words.count(text[: 40 * number])  # no word is so long that more would have to be looked at
    if has < number:
        return Target(max(1, has), 1, max(1, has))
    return Target(number, ceil(number * (1 - TOLERANCE)), floor(number * (1 + TOLERANCE)))


async def play(stage: Stage, job: Job, backstage: Backstage) -> None:
    """Summarize the text. Raises RolecastError."""
    text, asked = source(job, "text_to_summarize")
    target = target_of(str(job.option("length", "medium")), text)
    sampling, think = job.chat.sampling, job.chat.think
    if sampling.max_tokens is None:
        sampling = msgspec.structs.replace(sampling, max_tokens=ceil(target.words * TOKENS_PER_WORD))
    if think is None and stage.plan.backend.spawns:
        think = False  # there is no room for thoughts
    job = msgspec.structs.replace(job, chat=msgspec.structs.replace(job.chat, sampling=sampling, think=think))
    summary = Summary(stage, job, target, text, asked)
    if job.option("summary_type") == "extractive":
        await summary.select()
    else:
        await summary.write()


class Summary:
    """One summary in the making."""

    def __init__(self, stage: Stage, job: Job, target: Target, text: str, asked: str) -> None:
        self._stage = stage
        self._job = job
        self._target = target
        self._text = text
        self._enforced = bool(job.option("enforce_length", True))
        self._adjusted = ""
        wish = Wish(_WORK, asked, more=target.wish() if self._enforced else f"Write about {target.words} words.")
        self._long = Long(stage, job, wish)
        self._reader = self._long.reader

    # -- in the model's words -----------------------------------------------------------------------------

    async def write(self) -> None:
        """Read the text and tell its summary."""
        strategy = await self._long.choose(self._text, "", SUMMARY)
        answer = await self._long.answer(self._text, strategy, finish=self._finish)
        said = answer.text
        if self._job.option("include_key_quotes"):
            quotes = await asyncio.to_thread(Quotes, self._text)
            checked, there, absent = await asyncio.to_thread(quotes.check, said)
            said = said if self._stage.streaming else checked
            self._stage.tell(Metadata({"quotes_verified": there, "quotes_not_in_text": absent}))
        if not self._stage.streaming:
            self._stage.tell(Text(said), Done(answer.reason))
        await self._tell_length(said)
        self._stage.tell(Metadata(self._long.told(strategy)))

    async def _tell_length(self, said: str) -> None:
        number = await aside(len(said), words.count, said)
        self._stage.tell(
            Metadata(
                {
                    "summary_type": self._job.option("summary_type"),
                    "words": number,
                    "target": self._target.words,
                    "within_tolerance": self._target.holds(number),
                    "adjusted": self._adjusted,
                }
            )
        )

    async def _finish(self, chat: Chat) -> Answer:
        """The summary, in its length; a stream is told as it comes."""
        if self._stage.streaming:
            return await (self._streamed(chat) if self._enforced else self._reader.finish(chat))
        answer = await self._reader.whole(chat)
        answer = msgspec.structs.replace(answer, text=answer.text.strip())
        if not self._enforced or not answer.text:
            return answer
        number = await aside(len(answer.text), words.count, answer.text)
        if number > self._target.most:
            return await self._shortened(answer)
        if number < self._target.least and answer.reason != "length":
            return await self._lengthened(answer, chat)
        return answer

    async def _streamed(self, chat: Chat) -> Answer:
        """The summary as it comes, until it has its words; then the engine is stopped."""
        live = words.LiveCut(self._target.least, self._target.most)
        reason = "stop"
        async with aclosing(self._stage.ask(chat)) as events:
            async for event in events:
                if isinstance(event, Text):
                    if going := live.take(event.text):
                        self._stage.tell(Text(going))
                    if live.full:
                        self._adjusted = "cut"
                        break
                elif isinstance(event, Done):
                    reason = event.reason
                elif not isinstance(event, Report):
                    self._stage.tell(event)
        if going := live.rest():
            self._stage.tell(Text(going))
        if live.full:
            self._adjusted, reason = "cut", "stop"
        self._stage.tell(Done(reason))
        return Answer(live.sent, reason)

    async def _shortened(self, answer: Answer) -> Answer:
        """A summary that is too long: written once more in fewer words, or cut."""
        number = words.count(answer.text)
        user = f"{fenced(answer.text, 'summary')}\n\nThis summary has {number} words. Say the same in fewer words."
        chat = await self._reader.fitted(f"{user} {self._target.wish()}", self._job.chat.sampling.max_tokens, 1)
        again = (await self._reader.whole(chat)).text.strip() if chat is not None else ""
        return await aside(len(answer.text) + len(again), self._best, [answer.text, again], "shortened")

    async def _lengthened(self, answer: Answer, chat: Chat) -> Answer:
        """A summary that is too short: written once more in more words; the closer one stays."""
        number = words.count(answer.text)
        more = f"This summary has {number} words. Write it again with more of what the text says. {self._target.wish()}"
        longer = msgspec.structs.replace(
            chat, messages=(*chat.messages, Message("assistant", answer.text), Message("user", more))
        )
        wished = ceil(self._target.words * TOKENS_PER_WORD)
        left = self._long.gauge.room - await self._long.gauge.measure(longer)
        if left < wished:
            return answer
        most = min(chat.sampling.max_tokens or left, left)
        sampling = msgspec.structs.replace(chat.sampling, max_tokens=most)
        again = (await self._reader.whole(msgspec.structs.replace(longer, sampling=sampling))).text.strip()
        return await aside(len(answer.text) + len(again), self._best, [answer.text, again], "lengthened")

    def _best(self, drafts: list[str], how: str) -> Answer:
        """The draft that has the right length, else the closest one once it is cut."""
        target = self._target
        cut = [words.cut(draft, target.least, target.most) for draft in drafts if draft]
        found = min(cut, key=lambda draft: (self._off(draft), draft not in drafts))
        if found not in drafts:
            self._adjusted = "cut"
        elif found != drafts[0]:
            self._adjusted = how
        return Answer(found)

    def _off(self, draft: str) -> int:
        """How many words are too few or too many; 0 = within the tolerance."""
        number = words.count(draft)
        return 0 if self._target.holds(number) else abs(number - self._target.words)

    # -- in the words of the text -------------------------------------------------------------------------

    async def select(self) -> None:
        """Tell sentences of the text."""
        focus = self._job.option("focus_areas", [])
        ranking = await asyncio.to_thread(extract.ranked, self._text, focus)
        if not ranking:
            raise Invalid("There is no sentence in the text.", param="text_to_summarize")
        wanted, most = self._target.words, self._target.most
        offered = await asyncio.to_thread(extract.candidates, ranking, wanted)
        said = await self._picked(offered)
        order = [*said, *sorted(offered, key=_by_score), *ranking]
        found = await asyncio.to_thread(extract.filled, order, wanted, most)
        for number, each in enumerate(found):
            self._stage.tell(Text(f" {each.text}" if number else each.text))
        await self._tell_length(" ".join(each.text for each in found))
        chosen_by = "model" if any(each in said for each in found) else "scores"
        about = {"strategy": "extraction", "sentences": len(found), "chosen_by": chosen_by}
        self._stage.tell(Metadata({**about, "context": self._long.gauge.room}))

    async def _picked(self, offered: list[extract.Sentence]) -> list[extract.Sentence]:
        """What the model picks of these, the best first; those that do not fit into its context are left out."""
        gauge, kept = self._long.gauge, list(offered)
        while len(kept) > 1:
            chat = self._question(kept)
            left = gauge.room - await gauge.measure(chat)
            needed = PICK_TOKENS * (len(kept) + 1)
            if left >= needed:
                return extract.picked((await self._reader.whole(chat)).text, kept)
            share = max(0.5, 0.9 * gauge.room / (gauge.room - left + needed))
            kept = sorted(sorted(kept, key=_by_score)[: min(len(kept) - 1, int(len(kept) * share))], key=_by_place)
        return []

    def _question(self, kept: list[extract.Sentence]) -> Chat:
        lines = "\n".join(f"{number}. {each.text}" for number, each in enumerate(kept, 1))
        user = (
            f"{fenced(lines, 'text')}\n\nWhich of these sentences together make the best summary of about "
            f"{self._target.words} words? Answer with their numbers alone, the most important first, with commas."
        )
        sampling = msgspec.structs.replace(self._job.chat.sampling, max_tokens=PICK_TOKENS * (len(kept) + 1))
        return written(msgspec.structs.replace(self._job.chat, sampling=sampling), self._job.system(), user)


def _by_score(sentence: extract.Sentence) -> tuple[float, int]:
    return -sentence.score, sentence.place


def _by_place(sentence: extract.Sentence) -> int:
    return sentence.place
