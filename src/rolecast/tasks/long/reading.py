"""Reads a text that is longer than the model's context: notes on each part, side by side, until all notes fit.

Every prompt is counted before it is sent, and has room for its answer; a part that turns out too long is read in
halves. A part that fails is read once more; then its error says which one it was.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from rolecast.errors import BadRequest, RolecastError
from rolecast.tasks.long import chunks
from rolecast.tasks.long.chunks import Piece
from rolecast.tasks.long.gauge import Gauge
from rolecast.turn.stage import Answer, Stage
from rolecast.values import Chat, Done, Message, Progress, Text

CHUNK = 4096
"""Tokens of a part, where the model has room for so many."""
MOST_NOTE, LEAST_NOTE = 400, 48
"""Tokens of the notes on a part."""
NOTE_SHARE = 2
"""Notes have at most so many times as many as the answer is to have."""
LEAST_TEXT = 64
"""A part that leaves room for fewer tokens of text is not worth reading."""
AT_A_TIME = 16
"""So many parts are cut before others have their turn."""
TOO_LONG = "context_length_exceeded"
T = TypeVar("T")
Prompt = Callable[[str, int, int], str]
"""What the user says about a part: its text, its number from 1, and how many there are."""


class Note(msgspec.Struct, frozen=True):
    """What the model says of a part of the text."""

    text: str
    title: str = ""
    """The heading that the part stands below."""


class Reader:
    """Reads one text for one request: `chat` has its settings, and `system` is said with the last question alone."""

    def __init__(self, stage: Stage, gauge: Gauge, chat: Chat, system: str, system_of_parts: str) -> None:
        self._stage = stage
        self._chat = chat
        self._system = system
        self._system_of_parts = system_of_parts
        self.gauge = gauge
        self.read = 0
        """Tokens of the text that were read; what is shown twice counts twice."""
        self.parts = self.levels = 0
        """How many there were, and how often notes were made of notes."""
        wished = chat.sampling.max_tokens or MOST_NOTE
        self.note = max(LEAST_NOTE, min(MOST_NOTE, gauge.room // 8, NOTE_SHARE * wished))

    # -- one question -------------------------------------------------------------------------------------

    def chat(self, user: str, most: int) -> Chat:
        """The chat for a part: notes are not thought about, where that can be turned off."""
        think = False if self._chat.think is None and self._stage.plan.backend.spawns else self._chat.think
        sampling = msgspec.structs.replace(self._chat.sampling, max_tokens=most)
        chat = msgspec.structs.replace(self._chat, sampling=sampling, think=think)
        return written(chat, self._system_of_parts, user)

    async def fitted(self, user: str, wished: int | None, least: int) -> Chat | None:
        """The chat for the answer itself, of at most `wished` tokens; None = there is no room for `least`."""
        chat = written(self._chat, self._system, user)
        left = self.gauge.room - await self.gauge.measure(chat)
        if left < least:
            return None
        most = min(wished or left, left)
        return msgspec.structs.replace(chat, sampling=msgspec.structs.replace(chat.sampling, max_tokens=most))

    async def finish(self, chat: Chat) -> Answer:
        """The answer itself: told as it comes where the client gets a stream. Raises RolecastError."""
        if self._stage.streaming:
            return await self._stage.answer(chat, tell=True)
        answer = await self.whole(chat)
        self._stage.tell(Text(answer.text), Done(answer.reason))
        return answer

    async def whole(self, chat: Chat) -> Answer:
        """The answer itself, told to nobody yet. Raises RolecastError."""
        return await self._twice(lambda: self._stage.answer(chat), "The answer could not be written")

    async def room_for_text(self, prompt: Prompt, most: int) -> int:
        """Tokens of text that fit into this prompt beside an answer of `most`. Raises BadRequest when hardly any do."""
        bare = await self.gauge.measure(self.chat(prompt("", 9999, 9999), most))
        left = self.gauge.room - bare - most
        if left < LEAST_TEXT:
            text = f"The model's context of {self.gauge.room} tokens is too small to read a text in parts: {bare} are "
            raise BadRequest(f"{text}taken by the instructions. Choose a model with a longer one.", code=TOO_LONG)
        return min(CHUNK, left)

    # -- all parts ----------------------------------------------------------------------------------------

    async def cut(self, text: str, size: float, *, overlap: int = 0, at_headings: bool = False) -> list[Piece]:
        """The pieces of the text, which are its parts from now on."""
        found: list[Piece] = []
        for piece in chunks.cut(text, size, self.gauge.weigh, overlap=overlap, at_headings=at_headings):
            found.append(piece)
            if len(found) % AT_A_TIME == 0:
                await asyncio.sleep(0)
        self.parts = len(found)
        return found

    async def notes(self, text: str, pieces: Sequence[Piece], prompt: Prompt) -> list[Note]:
        """The notes on all pieces, in their order, made as many at once as the model has slots."""
        titles, title = [], ""
        for piece in pieces:
            titles.append(found := chunks.title_in(text[piece.start : piece.start + 200]) or title)
            title = chunks.title_in(text[piece.start : piece.end]) or found

        async def noted(number: int, piece: Piece) -> Note:
            return Note(await self.noted(text, piece, prompt, number + 1), titles[number])

        return await self._side_by_side(pieces, noted, "reading")

    async def noted(self, text: str, piece: Piece, prompt: Prompt, number: int) -> str:
        """The note on the piece of that number. Raises RolecastError that names it."""
        what = f"Part {number} of {self.parts} of the text could not be read"
        return await self._twice(lambda: self._noted(text, piece, prompt, number), what)

    async def _noted(self, text: str, piece: Piece, prompt: Prompt, number: int) -> str:
        """The note on a piece; on both of its halves, if it does not fit."""
        shown = piece.shown(text)
        chat = self.chat(prompt(shown, number, self.parts), self.note)
        if await self.gauge.measure(chat) + self.note <= self.gauge.room:
            try:
                said = (await self._stage.answer(chat)).text.strip()
            except BadRequest as error:
                if error.code != TOO_LONG or self.gauge.counts:
                    raise
            else:
                self.read += self.gauge.tokens(shown)
                return self.clipped(said, self.note)
        if (parted := chunks.halves(text, piece)) is None:
            raise BadRequest("A single character of the text is too long for the model's context.", code=TOO_LONG)
        return "\n".join([await self._noted(text, half, prompt, number) for half in parted])

    def clipped(self, text: str, most: float) -> str:
        """A text of the model's that is cut if it weighs more than `most`: what it says may have other tokens."""
        if self.gauge.weigh(text) <= most:
            return text
        piece = next(chunks.cut(text, most, self.gauge.weigh))
        return piece.shown(text).rstrip()

    async def merged(self, notes: Sequence[Note], fits: Callable[[str], Awaitable[T | None]], prompt: Prompt) -> T:
        """What `fits` says of all notes together, once they are few enough: until then notes are made of notes."""
        while (found := await fits(joined(notes))) is None:
            if len(notes) < 2:
                text = f"The model's context of {self.gauge.room} tokens is too small for an answer to this."
                raise BadRequest(f"{text} Choose a model with a longer one.", code=TOO_LONG)
            notes = await self.condensed(await self.batches(notes, prompt), prompt)
        return found

    async def condensed(self, batches: Sequence[Sequence[Note]], prompt: Prompt) -> list[Note]:
        """One note for each batch of several."""
        self.levels += 1

        async def one(number: int, batch: Sequence[Note]) -> Note:
            if len(batch) == 1:
                return batch[0]
            user = prompt(joined(batch), number + 1, len(batches))

            async def asked() -> str:
                chat = self.chat(user, self.note)
                if await self.gauge.measure(chat) + self.note > self.gauge.room:
                    return "\n".join(self.clipped(each.text, self.note / len(batch)) for each in batch)
                return (await self._stage.answer(chat)).text.strip()

            what = f"Notes {number + 1} of {len(batches)} could not be merged"
            return Note(self.clipped(await self._twice(asked, what), self.note), _title(batch))

        return await self._side_by_side(batches, one, "merging")

    async def batches(self, notes: Sequence[Note], prompt: Prompt) -> list[list[Note]]:
        """Neighbours together, as many as fit, but at least two."""
        left = self.gauge.room - self.note - await self.gauge.measure(self.chat(prompt("", 9999, 9999), self.note))
        found: list[list[Note]] = []
        weight = 0.0
        for note in notes:
            own = self.gauge.weigh(_labelled(note)) + 2
            if not found or (weight + own > left and len(found[-1]) > 1):
                found.append([])
                weight = 0.0
            found[-1].append(note)
            weight += own
        if len(found) > 1 and len(found[-1]) == 1:
            found[-1].insert(0, found[-2].pop()) if len(found[-2]) > 2 else None
        return found

    async def _side_by_side(
        self, items: Sequence[T], work: "Callable[[int, T], Awaitable[Note]]", step: str
    ) -> list[Note]:
        """The work on each item, in their order; progress is told, and the first error ends all."""
        found: list[Note] = [Note("")] * len(items)
        waiting = iter(range(len(items)))
        done = 0
        self._stage.tell(Progress(0, len(items), step))

        async def worker() -> None:
            nonlocal done
            for number in waiting:
                found[number] = await work(number, items[number])
                done += 1
                self._stage.tell(Progress(done, len(items), step))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._stage.slots, len(items))):
                    group.create_task(worker())
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        return found

    async def _twice(self, work: Callable[[], Awaitable[T]], what: str) -> T:
        """The work, once more if it fails. Raises RolecastError that begins with `what`."""
        try:
            return await work()
        except RolecastError:
            try:
                return await work()
            except RolecastError as error:
                raise renamed(error, f"{what}: {error.message}") from None


def written(chat: Chat, system: str, user: str) -> Chat:
    """The same chat with these words."""
    opening = (Message("system", system),) if system else ()
    return msgspec.structs.replace(chat, messages=(*opening, Message("user", user)))


def joined(notes: Sequence[Note]) -> str:
    """Notes as one text, each below its heading."""
    return "\n\n".join(_labelled(note) for note in notes if note.text)


def renamed(error: RolecastError, message: str) -> RolecastError:
    """The same error in other words; the error itself may have been raised elsewhere too."""
    found = type(error).__new__(type(error))
    RolecastError.__init__(
        found, message, param=error.param, code=error.code, retry_after=error.retry_after, status=error.status
    )
    return found


def _labelled(note: Note) -> str:
    return f"[{note.title}]\n{note.text}" if note.title and note.text else note.text


def _title(batch: Sequence[Note]) -> str:
    first, last = batch[0].title, batch[-1].title
    return first if first == last or not last else f"{first} - {last}"[:100] if first else last


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """An error of a group: one of ours before others, which are mistakes."""
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
