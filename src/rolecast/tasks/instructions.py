"""The play of instructions: the form that was asked for and the limits that were stated are checked.

JSON is held to by the engine's grammar, where it has one. A whole answer that is not right is asked for once more; a
stream goes out as it comes, and its end says what was found.
"""

import asyncio
import contextlib
from typing import Any

import msgspec

from rolecast.errors import BadRequest, RolecastError
from rolecast.tasks import forms, limits
from rolecast.tasks.backstage import Backstage
from rolecast.tasks.job import Job
from rolecast.turn.stage import Answer, Stage
from rolecast.values import Chat, Done, Message, Metadata, Text

TOLD = 200
"""Characters of a constraint that are told again."""


class _Wanted(msgspec.Struct, frozen=True):
    """What is asked of an answer that can be checked."""

    form: forms.Form | None
    limits: tuple[str, ...]

    def found(self, answer: Answer) -> tuple[list[str], dict[str, Any]]:
        """What is wrong with an answer, each as the end of a sentence that begins with `it`, and what to tell of it."""
        wrong, told = [], dict[str, Any]()
        if not answer.text.strip():
            wrong.append("is empty")
        if self.form is not None:
            fault = forms.fault(self.form, answer.text)
            told |= {"format": self.form.kind, "format_ok": not fault}
            wrong += [fault] if fault else []
        if unmet := limits.unmet(self.limits, answer.text):
            wrong += [f"does not hold to this: {each}" for each in unmet]
            told["unmet"] = [each[:TOLD] for each in unmet]
        return wrong, told


async def instructions(stage: Stage, job: Job, backstage: Backstage) -> None:
    """Answer, and check. Metadata: `format`, `format_ok`, `unmet`, `cut`, `complete`, `repaired`."""
    requirements = job.option("format_requirements", [])
    validates = job.option("validate_completeness", False)
    stated = (*job.option("constraints", []), *requirements) if validates else ()
    wanted = _Wanted(forms.wanted(requirements), stated)
    chat = job.written()
    if wanted.form is not None:
        chat = msgspec.structs.replace(chat, answer_schema=wanted.form.schema)
    answer = await _answered(stage, chat)
    wrong, told = await asyncio.to_thread(wanted.found, answer)
    if wrong and wanted.form is not None and not stage.streaming:
        bare = msgspec.structs.replace(answer, text=forms.unfenced(wanted.form, answer.text))
        if bare != answer:
            answer = bare
            wrong, told = await asyncio.to_thread(wanted.found, answer)
            told["repaired"] = True
    if wrong and validates and not stage.streaming and answer.reason != "length":
        with contextlib.suppress(RolecastError):  # what was answered is better than an error
            again = await _answered(stage, _once_more(chat, answer, wrong))
            still, told_again = await asyncio.to_thread(wanted.found, again)
            if len(still) < len(wrong):
                answer, wrong, told = again, still, told_again | {"repaired": True}
    if validates:
        cut = answer.reason == "length"
        told |= {"complete": not (wrong or cut), **({"cut": True} if cut else {})}
    if not stage.streaming:
        stage.tell(Text(answer.text), Done(answer.reason))
    if told:
        stage.tell(Metadata(told))


async def _answered(stage: Stage, chat: Chat) -> Answer:
    """The answer, held to its form where the model's server can; one that cannot is asked without."""
    try:
        return await stage.answer(chat, tell=stage.streaming)
    except BadRequest:
        if chat.answer_schema is None or stage.exchange.first:  # something was said already
            raise
        return await stage.answer(msgspec.structs.replace(chat, answer_schema=None), tell=stage.streaming)


def _once_more(chat: Chat, answer: Answer, wrong: list[str]) -> Chat:
    """The conversation with what is wrong with its answer."""
    faults = "; it ".join(wrong)
    asked = f"That is not right yet: it {faults}. Write the whole answer again, corrected, and nothing else."
    more = (Message("assistant", answer.text), Message("user", asked))
    return msgspec.structs.replace(chat, messages=(*chat.messages, *more))
