"""The play of long texts: whole where the model holds them, else in parts by one of five strategies.

- `full_context` asks once, with the whole text.
- `sliding_window` notes overlapping parts in their order; `chunk_and_merge` notes claims that are then compared.
- `hierarchical` cuts at headings, and merges the notes of a section first.
- `key_extraction` copies what matters for the question out of each part; parts without any are left out.
- `summarize_and_refine` reads the parts one after the other, and brings one note up to date with each.
"""

from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from typing import Any

from rolecast.errors import Invalid
from rolecast.tasks.backstage import Backstage
from rolecast.tasks.job import Job
from rolecast.tasks.long import chunks
from rolecast.tasks.long import prompts as prompts
from rolecast.tasks.long.gauge import Gauge
from rolecast.tasks.long.prompts import Wish
from rolecast.tasks.long.reading import Note, Reader
from rolecast.turn.stage import Answer, Stage
from rolecast.values import Chat, Metadata, Progress

ANSWER_SHARE = 3
"""Of the context at least one part in so many is left for the answer, where so much is wished for."""
OVERLAP_SHARE = 4
"""Of a part at most one in so many is what the part before ended with."""

Finish = Callable[[Chat], Awaitable[Answer]]
"""Sees the question whose answer is the answer through."""


async def play(stage: Stage, job: Job, backstage: Backstage) -> None:
    """Answer about the whole text, however long it is. Raises RolecastError."""
    text, asked = source(job, "context_text")
    focus = str(job.option("focus_query", ""))
    task_type = str(job.option("task_type", prompts.SUMMARY))
    wish = Wish(prompts.work_of(task_type), asked, focus)
    said = str(job.option("strategy", "")) if "strategy" in job.said else ""
    found = Long(stage, job, wish)
    strategy = await found.choose(text, said, task_type)
    await found.answer(text, strategy)
    stage.tell(Metadata(found.told(strategy, said)))


def source(job: Job, name: str) -> tuple[str, str]:
    """The text that is worked on, from that option or else the prompt; and what is asked of it, '' = nothing."""
    text, prompt = str(job.option(name, "")), job.prompt.strip()
    if text.strip():
        return text, prompt
    if not prompt:
        raise Invalid(f"There is no text: give it as `{name}`, or as the prompt.", param=name)
    return job.prompt, prompts.asked_in(prompt)


class Long:
    """A text that is read for one request, and the answer that is made of it."""

    def __init__(self, stage: Stage, job: Job, wish: Wish) -> None:
        self._stage = stage
        self._wish = wish
        self._overlap = int(job.option("chunk_overlap", 0))
        if self._overlap < 0:
            raise Invalid("`chunk_overlap` must be 0 or more tokens.", param="chunk_overlap")
        self._whole: Chat | None = None
        self._wished = job.chat.sampling.max_tokens or None
        self.gauge = Gauge(stage)
        own = [each.content for each in job.chat.messages[:-1] if each.role == "system"]  # the client's, in front
        system = "\n\n".join(filter(None, [job.system(), *(each for each in own if isinstance(each, str))]))
        self.reader = Reader(stage, self.gauge, job.chat, system, job.task.system.strip())
        share = self.gauge.room // ANSWER_SHARE
        self._least = min(self._wished or share, share)

    async def choose(self, text: str, said: str, task_type: str) -> str:
        """The strategy that is said, if it can be followed, else the one for this kind of work."""
        await self.gauge.learn(text)
        if (said in ("", "full_context")) and self.gauge.may_fit(text):
            self._whole = await self.reader.fitted(self._wish.of_whole(text), self._wished, self._least)
        if self._whole is not None:
            return "full_context"
        if said and said != "full_context":
            return said
        return prompts.choose(task_type, headings=chunks.has_headings(text))

    async def answer(self, text: str, strategy: str, *, finish: Finish | None = None) -> Answer:
        """Read the text so and tell the answer. `finish` sees the last question through in place of the reader."""
        end = finish or self.reader.finish
        if strategy == "full_context" and self._whole is not None:
            self.reader.parts = 1
            self.reader.read = self.gauge.tokens(text)
            return await end(self._whole)
        if strategy == "summarize_and_refine":
            return await end(await self._refined(text))
        return await end(await self._noted(text, strategy))

    def told(self, strategy: str, said: str = "") -> dict[str, Any]:
        """What the answer says of how the text was read."""
        reader = self.reader
        found: dict[str, Any] = {
            "strategy": strategy,
            "parts": reader.parts,
            "levels": reader.levels,
            "tokens_read": reader.read,
            "context": self.gauge.room,
        }
        if said not in ("", strategy):
            found["strategy_asked"] = said
        if not self.gauge.counts:
            found["tokens_estimated"] = True
        return found

    async def _noted(self, text: str, strategy: str) -> Chat:
        """The last question, after notes on all parts."""
        reader, wish = self.reader, self._wish
        extracts = strategy == "key_extraction"
        prompt = wish.of_extract if extracts else wish.of_part
        size = await reader.room_for_text(prompt, reader.note)
        overlap = min(self._overlap, size // OVERLAP_SHARE) if strategy in prompts.OVERLAPS else 0
        pieces = await reader.cut(text, size, overlap=overlap, at_headings=strategy == "hierarchical")
        notes: Sequence[Note] = await reader.notes(text, pieces, prompt)
        if extracts:
            notes = [note for note in notes if not prompts.is_nothing(note.text)]
        elif strategy == "hierarchical":
            notes = await self._by_section(notes)
        reader.levels += 1

        async def fits(joined: str) -> Chat | None:
            return await reader.fitted(wish.of_all(joined), self._wished, self._least)

        found = await reader.merged(notes, fits, wish.of_notes)
        self._stage.tell(Progress(0, 1, "writing"))
        return found

    async def _by_section(self, notes: Sequence[Note]) -> Sequence[Note]:
        """The notes of each section in one, where there are several sections and one has several notes."""
        sections = [list(section) for _, section in groupby(notes, key=lambda note: note.title)]
        if len(sections) < 2 or len(sections) == len(notes):
            return notes
        batches = [batch for section in sections for batch in await self.reader.batches(section, self._wish.of_notes)]
        return await self.reader.condensed(batches, self._wish.of_notes)

    async def _refined(self, text: str) -> Chat:
        """The last question, after one note was brought up to date with each part but the last."""
        reader, wish = self.reader, self._wish
        note = reader.note
        size = await reader.room_for_text(lambda *part: wish.of_last("", *part), note + max(note, self._least))
        so_far = ""
        pieces = await reader.cut(text, size)
        last = pieces.pop()
        for number, piece in enumerate(pieces, 1):
            self._stage.tell(Progress(number - 1, reader.parts, "reading"))
            known = so_far

            def prompt(part: str, _: int, __: int, *, known: str = known, number: int = number) -> str:
                return wish.of_next(known, part, number, reader.parts)

            so_far = await reader.noted(text, piece, prompt, number)
        self._stage.tell(Progress(len(pieces), reader.parts, "reading"))
        shown = last.shown(text)
        reader.levels = 1
        user = wish.of_last(so_far, shown, reader.parts, reader.parts) if so_far else wish.of_whole(shown)
        chat = await reader.fitted(user, self._wished, self._least)
        if chat is not None:
            reader.read += self.gauge.tokens(shown)
            return chat

        async def fits(joined: str) -> Chat | None:
            return await reader.fitted(wish.of_all(joined), self._wished, self._least)

        rest = await reader.noted(text, last, wish.of_part, reader.parts)
        return await reader.merged([Note(so_far), Note(rest)], fits, wish.of_notes)
