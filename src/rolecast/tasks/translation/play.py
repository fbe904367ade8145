"""The play of translations: by a language model or a translation model, in parts that keep what must stay.

A text is cut into pieces (`translation_text`), each with marks in the place of placeholders (`placeholders`). What
comes back is checked; a piece that lost something is asked for once more, and then translated around what must stay.
A single piece of a stream goes out as it comes, and its end says whether it kept everything.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec

from rolecast import backends
from rolecast.errors import Invalid
from rolecast.routing import tokens
from rolecast.tasks.backstage import Backstage
from rolecast.tasks.job import Job
from rolecast.tasks.translation.languages import Language, languages
from rolecast.tasks.translation.placeholders import BRACKETS, TAGS, Masked, Restorer, mask
from rolecast.tasks.translation.text import Piece, opening, pieces, shape
from rolecast.tasks.translation.wish import Wish, wish_of
from rolecast.turn.stage import Answer, Stage
from rolecast.values import Chat, Done, Message, Metadata, Progress, Report, Text

MOST_TOKENS = 250
"""Of a piece: small models lose the thread in longer ones, and other scripts take several times as many."""
SEGMENT, BESIDES = 6, 64
"""A translation has at most so many times the tokens of its text, and so many besides."""
CAREFUL = 1.3
"""An estimate of tokens may be so much too low."""
USUAL_ROOM = 4096
"""Where the model's context is not known."""
LONG = 20_000
"""A text of so many characters is cut in a thread."""
BETWEEN = "\n\n"
"""Between the translations of several texts."""
ENGLISH = "eng_Latn"
NO_EFFECT = ("formal_register", "creative_content", "technical_content")
"""Options that a translation model does not know."""


class Outcome(msgspec.Struct):
    """What became of a piece."""

    text: str
    whole: bool = True
    """All that must stay is there, once."""
    shaped: bool = True
    """It has the lines of its source."""
    repaired: bool = False
    cut: bool = False
    """The answer was ended by the limit on tokens."""


class Part(msgspec.Struct, frozen=True):
    """One text of the request, cut."""

    source: Language | None
    pieces: list[Piece]


async def translation(stage: Stage, job: Job, backstage: Backstage) -> None:
    """Translate what is asked. Raises RolecastError."""
    wish = wish_of(job)
    configured, choice = backstage.current.config.models, stage.plan.choice
    others = {configured[name].backend for name in choice.alternatives if name in configured}
    paired = stage.plan.backend.translates or any(backends.get(name).translates for name in others)
    by_model = _Translator(stage, job, wish, paired=paired)
    parts = await by_model.parts()
    total = sum(not piece.kept for part in parts for piece in part.pieces)
    told = _Told(stage, total)
    if total == 1 and stage.streaming and not by_model.engine_is_nllb:
        await _alive(by_model, parts, told)
    else:
        await _in_order(by_model, parts, told)
    stage.tell(Metadata(_found(by_model, wish, parts, told)))
    if any(outcome.cut for outcome in told.outcomes):
        stage.tell(Done("length"))


def _found(by_model: "_Translator", wish: Wish, parts: list[Part], told: "_Told") -> dict[str, Any]:
    """What the metadata say."""
    sources = [part.source.code if part.source else None for part in parts]
    answering = by_model.stage.exchange.plan or by_model.stage.plan
    engine = ("nllb" if answering.backend.translates else "model") if told.outcomes else "none"
    fields: dict[str, Any] = {
        "source_lang": sources[0] if len(set(sources)) == 1 else sources,
        "source_detected": wish.source is None,
        "target_lang": wish.target.code,
        "engine": engine,
        "placeholders_ok": all(outcome.whole for outcome in told.outcomes),
        "format_ok": all(outcome.shaped for outcome in told.outcomes),
        "repaired": any(outcome.repaired for outcome in told.outcomes),
    }
    if wish.batch:
        fields["translations"] = told.texts
    if engine == "nllb" and (lost := [name for name in NO_EFFECT if by_model.job.option(name)]):
        fields["without_effect"] = lost
    return fields


class _Told:
    """What the client was told, text by text."""

    def __init__(self, stage: Stage, total: int) -> None:
        self._stage = stage
        self._total = total
        self._done = 0
        self._texts: list[list[str]] = []
        self.outcomes: list[Outcome] = []

    @property
    def texts(self) -> list[str]:
        """All of them so far."""
        return ["".join(pieces) for pieces in self._texts]

    def begin(self) -> None:
        """The next text."""
        if self._texts:
            self._stage.tell(Text(BETWEEN))
        self._texts.append([])

    def more(self, text: str) -> None:
        """Some more of it."""
        if text:
            self._texts[-1].append(text)
            self._stage.tell(Text(text))

    def step(self) -> None:
        """A piece is translated."""
        self._done += 1
        if self._total > 1:
            self._stage.tell(Progress(self._done, self._total, "translating"))


async def _alive(by_model: "_Translator", parts: list[Part], told: _Told) -> None:
    """The one piece as it comes."""
    for part in parts:
        told.begin()
        for piece in part.pieces:
            if piece.kept:
                told.more(piece.text)
            else:
                told.outcomes.append(await by_model.streamed(piece.text, part.source, told))


async def _in_order(by_model: "_Translator", parts: list[Part], told: _Told) -> None:
    """All pieces, as many at once as the model has slots, told in their order."""
    slots = asyncio.Semaphore(max(1, by_model.stage.slots))

    async def one(text: str, source: Language | None) -> Outcome:
        async with slots:
            outcome = await by_model.translated(text, source)
        told.step()
        return outcome

    work: dict[tuple[int, int], asyncio.Task[Outcome]] = {}
    try:
        for number, part in enumerate(parts):
            for at, piece in enumerate(part.pieces):
                if not piece.kept:
                    work[number, at] = _task(one(piece.text, part.source))
        for number, part in enumerate(parts):
            told.begin()
            for at, piece in enumerate(part.pieces):
                if piece.kept:
                    told.more(piece.text)
                else:
                    outcome = await work[number, at]
                    told.outcomes.append(outcome)
                    told.more(outcome.text)
    finally:
        for task in work.values():
            task.cancel()
        await asyncio.gather(*work.values(), return_exceptions=True)


def _task(work: Coroutine[Any, Any, Outcome]) -> "asyncio.Task[Outcome]":
    return asyncio.get_running_loop().create_task(work)


class _Translator:
    """Asks the model of a request for translations of single pieces."""

    def __init__(self, stage: Stage, job: Job, wish: Wish, *, paired: bool) -> None:
        self.stage = stage
        self.job = job
        self.wish = wish
        self.engine_is_nllb = stage.plan.backend.translates
        self._form = BRACKETS if self.engine_is_nllb else TAGS
        self._paired = paired
        """A translation model may answer, if only when another one fails."""
        self._limited = job.chat.sampling.max_tokens not in (None, job.task.max_tokens)
        """The request itself limits its answer, and so may cut it."""
        self._keeps = bool(job.option("preserve_formatting", True))
        if self.engine_is_nllb and not wish.target.in_nllb:
            raise self._unsupported("target_lang", wish.target)

    async def parts(self) -> list[Part]:
        """The texts, cut. Raises Invalid for a language that the model does not know."""
        most = max(16, min(MOST_TOKENS, (self.stage.room or USUAL_ROOM) // 3))

        def measure(text: str) -> float:
            return CAREFUL * tokens.of_texts([text])

        def cut() -> list[Part]:
            return [self._part(text, most, measure) for text in self.wish.texts]

        return await asyncio.to_thread(cut) if sum(map(len, self.wish.texts)) > LONG else cut()

    def _part(self, text: str, most: float, measure: Any) -> Part:
        source = self.wish.source_of(text)
        if source is not None and source == self.wish.target:
            return Part(source, [Piece(text, True)] if text else [])
        if self.engine_is_nllb:
            source = source or languages()[ENGLISH]
            if not source.in_nllb:
                raise self._unsupported("source_lang", source)
        return Part(source, pieces(text, most, measure))

    def _unsupported(self, option: str, found: Language) -> Invalid:
        why = f"the translation model {self.stage.plan.model_id} does not know {found.shown}"
        how = "choose another language, or give the role `translation` a language model"
        return Invalid(f"`{option}`: {why}; {how}.", param=option, code="unsupported_language")

    async def translated(self, text: str, source: Language | None) -> Outcome:
        """One piece, checked; asked for once more, and in segments at last, where something was lost."""
        masked = mask(text, self._form)
        chat = self._asked(masked, source)
        answer = await self.stage.answer(chat)
        cut = answer.reason == "length"
        told = _bare(answer.text, masked.text)
        wrong = self._wrong(told, masked)
        if self._limited and cut:  # as it was asked for
            return Outcome(masked.restored(told), masked.whole(told), not self._keeps or not wrong, cut=True)
        if not wrong and not cut:
            return Outcome(masked.restored(told))
        if not self.engine_is_nllb and not cut:
            again = await self.stage.answer(_once_more(chat, answer, wrong))
            told = _bare(again.text, masked.text)
            if again.reason != "length" and not self._wrong(told, masked):
                return Outcome(masked.restored(told), repaired=True)
        return await self._around(masked, source)

    async def streamed(self, text: str, source: Language | None, told: _Told) -> Outcome:
        """One piece, told as it comes; what was lost is only said."""
        masked = mask(text, self._form)
        restorer, cut, begun = Restorer(masked), False, False
        async for event in self.stage.ask(self._asked(masked, source)):
            if isinstance(event, Text):
                piece = restorer.take(event.text if begun else event.text.lstrip())
                begun = begun or bool(event.text.strip())
                told.more(piece)
            elif isinstance(event, Done):
                cut = event.reason == "length"
            elif not isinstance(event, Report):
                self.stage.tell(event)
        told.more(restorer.end())
        raw = "".join(restorer.raw).rstrip()
        return Outcome("", masked.whole(raw), not self._keeps or shape(raw) == shape(masked.text), cut=cut)

    async def _around(self, masked: Masked, source: Language | None) -> Outcome:
        """Line by line, and only what stands between the marks."""
        lines = []
        for line in masked.text.split("\n"):
            start = opening(line)
            done = [start]
            for segment in msgspec.structs.replace(masked, text=line[len(start) :]).segments():
                bare = segment.strip()
                if masked.is_mark(segment) or not any(map(str.isalpha, bare)):
                    done.append(segment)
                    continue
                answer = await self.stage.answer(self._brief(self._chat(bare, source, False), bare))
                words = " ".join(masked.form.find.sub(" ", _bare(answer.text, bare)).split())
                at = segment.index(bare)
                done.append(segment[:at] + (words or bare) + segment[at + len(bare) :])
            lines.append("".join(done))
        return Outcome(masked.restored("\n".join(lines)), repaired=True)

    def _asked(self, masked: Masked, source: Language | None) -> Chat:
        """The question for a whole piece, limited by its length where the request sets no limit."""
        chat = self._chat(masked.text, source, bool(masked.kept))
        return chat if self._limited else self._brief(chat, masked.text)

    def _brief(self, chat: Chat, text: str) -> Chat:
        """The question with a limit for this text: small models do not always stop by themselves."""
        limit = int(SEGMENT * CAREFUL * tokens.of_texts([text])) + BESIDES
        sampling = msgspec.structs.replace(chat.sampling, max_tokens=min(chat.sampling.max_tokens or limit, limit))
        return msgspec.structs.replace(chat, sampling=sampling)

    def _wrong(self, answer: str, masked: Masked) -> str:
        """What an answer lost, for the model; '' = nothing."""
        if not answer.strip():
            return "The translation is missing."
        if not masked.whole(answer):
            return f"Each of these marks must stand in the translation exactly once: {' '.join(masked.marks)}."
        if self._keeps and shape(answer) != shape(masked.text):
            return "The translation must have the same lines, lists and headings as the text."
        return ""

    def _chat(self, text: str, source: Language | None, marks: bool) -> Chat:
        """The question for one text."""
        into = f"into {self.wish.target.shown}"
        lines = [f"Translate from {source.shown} {into}." if source else f"Translate {into}."]
        if marks and not self.engine_is_nllb:
            lines.append(f"Copy marks such as {self._form.write(1)} unchanged, each to its place in the sentence.")
        if self.wish.instruction:
            lines.append(self.wish.instruction)
        chat = self.job.written(text, more=" ".join(lines))
        if not self._paired:
            return chat
        pair = {"source": (source or languages()[ENGLISH]).code, "target": self.wish.target.code}
        return msgspec.structs.replace(chat, extra={**chat.extra, "translation": pair})


def _once_more(chat: Chat, answer: Answer, wrong: str) -> Chat:
    """The question again, with what was wrong."""
    more = f"{wrong} Write the whole translation again."
    return msgspec.structs.replace(
        chat, messages=(*chat.messages, Message("assistant", answer.text), Message("user", more))
    )


def _bare(answer: str, asked: str) -> str:
    """The translation without what small models put around it: space, and quotation marks that the text has not."""
    text = answer.strip()
    for left, right in ('""', "“”", "«»", "„“"):
        inner = text[1:-1]
        if len(text) > 2 and text[0] == left and text[-1] == right and asked[:1] != left and left not in inner:
            return inner.strip()
    return text
