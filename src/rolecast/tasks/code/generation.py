"""The play of code generation: one question, the code taken out of its fence, its syntax checked, one repair.

The answer of a task is the code alone, in a stream as well; what is said around it is in the metadata.
"""

from typing import Any

import msgspec

from rolecast.errors import RolecastError
from rolecast.syntax.parsers import Found
from rolecast.tasks.aside import aside
from rolecast.tasks.backstage import Backstage
from rolecast.tasks.code import language as languages
from rolecast.tasks.code.fences import Fences, fenced
from rolecast.tasks.job import Job
from rolecast.turn.stage import Answer, Stage
from rolecast.values import Chat, Done, Message, Metadata, Text

USUAL = "python"


class Written(msgspec.Struct, frozen=True):
    """Code, as a model wrote it."""

    code: str
    said: str
    reason: str
    """Why the answer ended, as `Done` says."""
    found: Found


async def generate(stage: Stage, job: Job, backstage: Backstage) -> None:
    """Give the code. Raises RolecastError."""
    language = language_of(job)
    chat = _chat(job, language)
    if stage.streaming:
        written = await _streamed(stage, chat, job, language, backstage)
        stage.tell(_metadata(written, language, repaired=False), Done(written.reason))
        return
    answer = await stage.answer(chat)
    written = await _read(answer, job, language, backstage)
    repaired = False
    if (wrong := _wrong(written)) and written.reason == "stop":
        try:
            again = await _read(await stage.answer(_again(chat, answer, wrong)), job, language, backstage)
        except RolecastError:  # there is an answer already, and the question has grown
            again = written
        if again.code.strip() and not _wrong(again):
            said = written.said if written.code else ""  # the second answer talks of a mistake that nobody has seen
            written, repaired = msgspec.structs.replace(again, said=said), True
    stage.tell(Text(written.code or written.said))
    stage.tell(_metadata(written, language, repaired=repaired), Done(written.reason))


def language_of(job: Job) -> str:
    """The language that is said, else the one that the prompt is about, else the usual one."""
    said = languages.language_named(job.option("language") or "")
    return said or languages.asked_for(job.prompt) or languages.asked_for(job.option("description") or "") or USUAL


def _chat(job: Job, language: str) -> Chat:
    """The question. Code of some languages wants a steadier hand than that of others."""
    chat = job.written(more=f"Write it in {languages.title_of(language)}.")
    if chat.sampling.temperature is not None:
        return chat
    known = languages.BY_NAME.get(language)
    temperature = known.temperature if known is not None else 0.3
    return msgspec.structs.replace(chat, sampling=msgspec.structs.replace(chat.sampling, temperature=temperature))


def _fences(job: Job, language: str) -> Fences:
    return Fences(language, join=bool(job.option("include_tests")))


async def _streamed(stage: Stage, chat: Chat, job: Job, language: str, backstage: Backstage) -> Written:
    """Tell the code as it comes. An answer without a fence is told at its end: only then it is known to have none."""
    fences = _fences(job, language)
    reason = "stop"
    async for event in stage.ask(chat):
        if isinstance(event, Text):
            if code := fences.read(event.text):
                stage.tell(Text(code))
        elif isinstance(event, Done):
            reason = event.reason
    if rest := fences.end():
        stage.tell(Text(rest))
    if not fences.code:
        stage.tell(Text(fences.said))
    return await _checked(fences, reason, language, backstage)


async def _read(answer: Answer, job: Job, language: str, backstage: Backstage) -> Written:
    fences = _fences(job, language)
    await aside(len(answer.text), fences.read, answer.text)
    fences.end()
    return await _checked(fences, answer.reason, language, backstage)


async def _checked(fences: Fences, reason: str, language: str, backstage: Backstage) -> Written:
    """The code with what a parser says of it. An answer without a fence is code if it looks like it."""
    code, said = fences.code, fences.said
    if not code.strip() and not fences.blocks and languages.written_in(said) == language:
        code, said = said, ""
    found = await backstage.code_check.check(code, language) if code.strip() else Found(False, why="there is no code")
    return Written(code, said, reason, found)


def _wrong(written: Written) -> str:
    """What is said to the model of code that must be mended; '' = it need not be."""
    fault = written.found.fault
    if fault is None:
        return ""
    line = written.code.splitlines()[fault.line - 1 : fault.line]
    shown = f":\n\n{fenced(line[0])}\n\n" if line and line[0].strip() else ". "
    return (
        f"The code has a syntax error in line {fault.line} ({fault.message}){shown}"
        "Give the whole code again in one fenced block, with this mended."
    )


def _again(chat: Chat, answer: Answer, wrong: str) -> Chat:
    """The same question with the answer that was wrong, and what is wrong with it."""
    more = (Message("assistant", answer.text), Message("user", wrong))
    return msgspec.structs.replace(chat, messages=(*chat.messages, *more))


def _metadata(written: Written, language: str, *, repaired: bool) -> Metadata:
    found = written.found
    fields: dict[str, Any] = {
        "language": language,
        "code": written.code,
        "explanation": written.said if written.code else "",
        "syntax": ("error" if found.fault else "ok") if found.checked else "not_checked",
        "repaired": repaired,
    }
    if found.fault is not None:
        fields["syntax_error"] = {"line": found.fault.line, "message": found.fault.message}
    if not found.checked:
        fields["syntax_why"] = found.why
    return Metadata(fields)
