"""The play of questions: what kind of question it is, and what the answer has of the context that it was given."""

import asyncio
import re
from typing import Any

from rolecast.tasks import grounds
from rolecast.tasks.backstage import Backstage
from rolecast.tasks.job import Job
from rolecast.turn.stage import Stage
from rolecast.values import Metadata

_KINDS: dict[str, str] = {
    "procedural": r"^how (?:do|can|should|would) (?:i|you|we|one)\b|^how to\b|\bsteps? to\b|\binstructions for\b",
    "comparative": r"\bcompar(?:e|ed|ing|ison)\b|\bdifferences? between\b|\bversus\b|\bvs\b|\bbetter\b.*\bor\b",
    "opinion": r"\b(?:do|would) you (?:think|recommend|prefer|suggest)\b|\byour (?:opinion|view)\b"
    r"|^should (?:i|we|one)\b",
    "analytical": r"\banaly[sz]e\b|\bevaluate\b|\bassess\b|\bimplications?\b|\bconsequences?\b|\bimpacts? of\b",
    "contextual": r"\b(?:in|according to) (?:this|the) (?:context|passage|text|document|article|situation)\b",
    "explanatory": r"\bwhy\b|\bexplain\b|^how (?:does|do|did|is|are|was|were|can|could|come)\b",
    "factual": r"^(?:who|whom|whose|what|when|where|which)\b|^how (?:many|much|old|far|long|big|often|tall|deep)\b"
    r"|^(?:is|are|was|were|did|does|do|has|have|can)\b",
}
_SILENT = re.compile(
    r"\b(?:context|text|passage|document) (?:does not|doesn.t) (?:say|hold|contain|mention|state|provide|give)\b"
    r"|\bnot (?:in|mentioned|stated|given|found|contained) (?:in )?the (?:given |provided )?(?:context|text|passage)\b",
    re.IGNORECASE,
)
_CONFIDENCE = re.compile(r"\bconfidence\W{1,6}(?:is\W+)?(high|medium|low)\b", re.IGNORECASE)


def question_type(prompt: str) -> str:
    """What kind of question it is, by its last sentence that asks; '' = its words do not say."""
    lines = [part.strip().lower() for part in re.split(r"(?<=[.!?])\s+|\n+", prompt[-2000:]) if part.strip()]
    asked = next((line for line in reversed(lines) if line.endswith("?")), lines[-1] if lines else "")
    return next((kind for kind, signs in _KINDS.items() if re.search(signs, asked)), "")


async def answers(stage: Stage, job: Job, backstage: Backstage) -> None:
    """Answer as it comes, then tell what was found.

    Metadata: `question_type`; with a context `answered`, `grounded` (the part of the answer's content words that stand
    in context or question), `quotes`, `quotes_found`, and `sources` where they are wanted; `confidence` likewise.
    """
    told: dict[str, Any] = {}
    if kind := job.option("question_type") or question_type(job.prompt):
        job, told = job.having(question_type=kind), {"question_type": kind}
    answer = await stage.answer(job.written(), tell=True)
    if context := job.option("context"):
        told |= await asyncio.to_thread(_grounds, answer.text, context, job)
    if job.option("confidence_level") and (said := _CONFIDENCE.findall(answer.text)):
        told["confidence"] = said[-1].lower()
    if told:
        stage.tell(Metadata(told))


def _grounds(answer: str, context: str, job: Job) -> dict[str, Any]:
    """What an answer has of its context."""
    if _SILENT.search(answer):
        return {"answered": False}
    told: dict[str, Any] = {"answered": bool(answer.strip())}
    text = _CONFIDENCE.sub("", answer)
    known = {*grounds.words(context), *grounds.words(job.prompt)}
    if (share := grounds.share(text, known)) is not None:
        told["grounded"] = share
    quotes, found = grounds.quotes(text, context)
    if quotes:
        told |= {"quotes": quotes, "quotes_found": found}
    if job.option("sources_requested"):
        told["sources"] = grounds.sources(text, context)
    return told
