"""The play of mathematical reasoning: an answer whose end is checked by computing it, asked again when it is wrong.

A whole answer that is refuted is asked for once more before the client sees one. A stream goes out as it comes, and
what the check came to stands in the metadata of its end.
"""

import msgspec

from rolecast.proofs.answer import final_answer, shown
from rolecast.tasks.backstage import Backstage
from rolecast.tasks.job import Job
from rolecast.tasks.maths.check import NOT_CHECKABLE, REFUTED, Verdict
from rolecast.turn.stage import Answer, Stage
from rolecast.values import Chat, Done, Message, Metadata, Text

AGAIN = (
    "A check of your final answer failed. {why} Go through the problem again from the start, find the mistake, and "
    "give the corrected solution in the same form."
)


async def maths(stage: Stage, job: Job, backstage: Backstage) -> None:
    """Answer, check, and ask once more."""
    words = job.written()
    verify = bool(job.option("verify_answer", True))
    if stage.streaming or not verify:
        answer = await stage.answer(words, tell=True)
        verdict = await backstage.maths.check(job.user(), answer.text) if verify else None
        stage.tell(_metadata(answer, verdict, retried=False))
        return
    answer = await stage.answer(words)
    verdict = await backstage.maths.check(job.user(), answer.text)
    retried = verdict.verification == REFUTED
    if retried:
        answer, verdict = await _again(stage, job, backstage, words, answer, verdict)
    stage.tell(Text(answer.text), Done(answer.reason), _metadata(answer, verdict, retried=retried))


async def _again(
    stage: Stage, job: Job, backstage: Backstage, words: Chat, first: Answer, refuted: Verdict
) -> tuple[Answer, Verdict]:
    """The second answer, or the first where the second says nothing."""
    asked = Message("user", AGAIN.format(why=refuted.why).replace("  ", " "))
    chat = msgspec.structs.replace(words, messages=(*words.messages, Message("assistant", first.text), asked))
    second = await stage.answer(chat)
    if not second.text.strip():
        return first, refuted
    return second, await backstage.maths.check(job.user(), second.text)


def _metadata(answer: Answer, verdict: Verdict | None, *, retried: bool) -> Metadata:
    """What clients are told: the answer that was found, and what the check came to."""
    fields: dict[str, object] = {"answer": shown(final_answer(answer.text))}
    if verdict is None:
        return Metadata(fields)
    fields |= {"verification": verdict.verification, "retried": retried}
    if verdict.checked_by:
        fields["checked_by"] = verdict.checked_by
    if verdict.verification == NOT_CHECKABLE:
        fields["reason"] = verdict.reason
    if verdict.step_errors:
        fields["step_errors"] = list(verdict.step_errors)
    return Metadata(fields)
