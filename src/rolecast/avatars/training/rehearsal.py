"""What a base itself answers to plain questions: mixed in, it forgets less of what it could.

Of 400 replies alone the loss on plain questions rose from 1.2 to 2.7 nats, with 150 such answers among them to 1.4.
"""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rolecast.avatars.files import write_private
from rolecast.errors import UNREADABLE
from rolecast.jobs.job import Progress, Report

if TYPE_CHECKING:
    from rolecast.avatars.training.encode import Encoder

CACHE = "rehearsal.jsonl"
STRIDE = 7
LONGEST = 48
"""Tokens of an answer: enough for a plain one, and each is read again in each epoch."""
AT_ONCE = 50
"""Answers that are made together: products of one row each would leave a processor waiting for memory."""
TRIAL = 0.3
"""Seconds to find out which numbers are faster."""


class Answer(msgspec.Struct, frozen=True):
    """A question and what the base said; `whole` = it ended by itself."""

    question: str
    answer: str
    whole: bool = True


def questions() -> list[str]:
    """All there are, one after the other; the first ones are of every kind, however few are asked."""
    lines = (files("rolecast.data") / "avatars" / "rehearsal.txt").read_text("utf-8").splitlines()
    each = [line for line in lines if line.strip()]
    # In the file neighbours are of one kind.
    return [one for first in range(STRIDE) for one in each[first::STRIDE]]


def rehearsed(
    hf: Path, encoder: "Encoder", count: int, threads: int, report: Report, stop: Callable[[], bool]
) -> tuple[list[Answer], str]:
    """So many answers of the base in that folder, made once and then kept beside it; and why there are fewer, in a
    sentence ('' = there are not)."""
    count = min(count, len(questions()))
    if not count:
        return [], ""
    kept = _kept(hf.parent / CACHE)
    if len(kept) >= count:
        return kept[:count], ""
    try:
        made = _made(hf, encoder, count, threads, report, stop)
    except (OSError, RuntimeError, ValueError, KeyError, MemoryError) as error:
        return kept, f"the base could not be asked ({str(error)[:200]}), so that nothing is mixed in against forgetting"
    if len(made) == count:
        write_private(hf.parent / CACHE, b"".join(msgspec.json.encode(each) + b"\n" for each in made))
    return made, ""


def _kept(path: Path) -> list[Answer]:
    """Answers to the questions of today alone."""
    try:
        found = [msgspec.json.decode(line, type=Answer) for line in path.read_bytes().splitlines() if line.strip()]
    except (OSError, *UNREADABLE):
        return []
    return found if [each.question for each in found] == questions()[: len(found)] else []


class _Base(msgspec.Struct, frozen=True):
    """See `batched.Speaks`."""

    causal: Any
    end: int

    @property
    def device(self) -> Any:
        return self.causal.device


def _made(
    hf: Path, encoder: "Encoder", count: int, threads: int, report: Report, stop: Callable[[], bool]
) -> list[Answer]:
    """What it says to the first `count` questions, the likeliest token each time; fewer when it is to stop."""
    from rolecast.avatars.inference import batched
    from rolecast.avatars.training import models

    report(Progress("asking the base", 0, count, "answers"))
    base = _Base(models.asked(hf, threads, TRIAL), encoder.end)
    asked = [(each, encoder.asked(each)) for each in questions()[:count]]
    if not all(tokens for _, tokens in asked):
        raise ValueError("its template refuses a plain question")
    made: list[Answer] = []
    for first in range(0, count, AT_ONCE):
        if stop():
            break
        some = asked[first : first + AT_ONCE]
        said = batched.replies(
            base,
            [tokens for _, tokens in some],
            1,
            temperature=0,
            most=LONGEST,
            told=lambda done, before=first: report(  # type: ignore[misc]
                Progress("asking the base", before + done, count, "answers")
            ),
            goes_on=lambda: not stop(),
        )
        if stop():
            break
        for (question, _), [tokens] in zip(some, said, strict=True):
            made.append(Answer(question, encoder.text(tokens).strip(), len(tokens) < LONGEST))
    return made
