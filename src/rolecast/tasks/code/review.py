"""The play of code review: one question for JSON, asked again once where it is none, and a list made of it.

A stream has steps, and the list at its end: it is sorted, and JSON is not for people.
"""

import textwrap
from typing import Any, cast

import msgspec

from rolecast.errors import BadRequest, RolecastError, TooLarge
from rolecast.syntax.parsers import LONGEST, Found
from rolecast.tasks.aside import aside
from rolecast.tasks.backstage import Backstage
from rolecast.tasks.code import findings as reading
from rolecast.tasks.code import language as languages
from rolecast.tasks.code.fences import Fences, fenced
from rolecast.tasks.code.findings import Finding, Severity
from rolecast.tasks.job import Job
from rolecast.turn import verdict
from rolecast.turn.stage import Answer, Stage
from rolecast.values import Chat, Done, Message, Metadata, Progress, Text

MOST = 2_000_000
"""Characters that are reviewed in one request."""
STEP = "reviewing"
AGAIN = (
    "That was no JSON as it was asked for. Give the same review again as one JSON object with `summary` and "
    "`findings`, and nothing else."
)
NOTHING = "The model said nothing that is a review; give it more `max_tokens`, or ask another model."


class _Code(msgspec.Struct, frozen=True):
    """What is reviewed."""

    text: str
    language: str
    wish: str
    """What is said besides."""
    sure: bool
    """It is code from its first line on, so that a parser may look at it."""


async def review(stage: Stage, job: Job, backstage: Backstage) -> None:
    """Give the findings. Raises RolecastError."""
    if len(job.prompt) + len(job.option("code_to_review") or "") > MOST:
        raise TooLarge(f"A review takes at most {MOST} characters of code; send it in parts.")
    code = await aside(len(job.prompt) + len(job.option("code_to_review") or ""), _code, job)
    suggestions = bool(job.option("include_suggestions"))
    schema = reading.schema(suggestions=suggestions)
    chat = msgspec.structs.replace(job.written(_put(code)), answer_schema=schema)
    stage.tell(Progress(0, 1, STEP))
    answer = await _answer(stage, chat)
    told = await aside(len(answer.text), reading.read, answer.text)
    repaired = False
    if told is None and answer.reason == "stop":
        more = (Message("assistant", answer.text), Message("user", AGAIN))
        try:
            again = await _answer(stage, msgspec.structs.replace(chat, messages=(*chat.messages, *more)))
            told = await aside(len(again.text), reading.read, again.text)
            repaired = told is not None
        except RolecastError:  # there is an answer already, and the question has grown
            pass
    syntax = await _syntax(code, backstage)
    summary, named = told or ("", [])
    least = cast("Severity", job.option("severity_filter", "low"))
    found = [*_of_parser(syntax), *named]
    lines = len(code.text.splitlines())
    found = reading.kept(found, least, lines, suggestions=suggestions)
    words = (answer.text if answer.text.strip() else NOTHING) if told is None else reading.shown(summary, found, least)
    stage.tell(Progress(1, 1, STEP), Text(words))
    fields: dict[str, Any] = {
        "language": code.language or None,
        "findings": [msgspec.to_builtins(each) for each in found],
        "counts": {each: sum(finding.severity == each for finding in found) for each in reading.SEVERITIES},
        "summary": summary,
        "structured": told is not None,
        "repaired": repaired,
        "syntax": ("error" if syntax.fault else "ok") if syntax.checked else "not_checked",
    }
    if not syntax.checked:
        fields["syntax_why"] = syntax.why
    stage.tell(Metadata(fields), Done(answer.reason))


def _code(job: Job) -> _Code:
    """The code with its language: an option, else a fenced block of the prompt, else the prompt."""
    said = languages.language_named(job.option("language") or "")
    if given := job.option("code_to_review"):
        return _Code(given, said or languages.written_in(given), job.prompt.strip(), True)
    fences = Fences(said or languages.asked_for(job.prompt))
    fences.read(job.prompt)
    fences.end()
    if fences.code.strip():
        code = fences.code
        language = said or languages.written_in(code) or languages.asked_for(job.prompt)
        return _Code(code, language, fences.said, True)
    language = said or languages.asked_for(job.prompt)
    first = next((line for line in job.prompt.splitlines() if line.strip()), "")
    return _Code(job.prompt, language, "", languages.may_begin(first, language))


def _put(code: _Code) -> str:
    """The code as the model gets it."""
    lines = code.text.splitlines()
    width = len(str(len(lines)))
    numbered = "\n".join(f"{number:>{width}} | {line}" for number, line in enumerate(lines, 1))
    title = languages.title_of(code.language)
    parts = [code.wish, f"The {title} code:" if title else "The code:", fenced(numbered)]
    return "\n\n".join(filter(None, parts))


async def _answer(stage: Stage, chat: Chat) -> Answer:
    """The answer as JSON by force, or by good words where the model's server refuses to be forced."""
    try:
        return await stage.answer(chat)
    except BadRequest as error:
        if error.code == verdict.TOO_LONG:
            raise
        return await stage.answer(msgspec.structs.replace(chat, answer_schema=None))


async def _syntax(code: _Code, backstage: Backstage) -> Found:
    if not code.sure or not code.language:
        return Found(False, why="it is not known to be code alone" if code.language else "its language is unknown")
    if code.text.startswith(("diff --git", "--- ", "@@ ")):
        return Found(False, why="it is a diff")
    if len(code.text) > LONGEST:
        return await backstage.code_check.check(code.text, code.language)  # which says so
    return await backstage.code_check.check(textwrap.dedent(code.text), code.language)


def _of_parser(syntax: Found) -> list[Finding]:
    if syntax.fault is None:
        return []
    title = f"Syntax error: {syntax.fault.message}"
    return [Finding("high", syntax.fault.line, title, "A parser cannot read the code here.", source="parser")]
