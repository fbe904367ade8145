"""What a task puts below its answers, such as a disclaimer.

What a model adds of that kind in its own words is no promise, so ours is put below it all the same; only an answer that
ends in our very words is left as it is.
"""

from rolecast.tasks.job import Job
from rolecast.turn.stage import Stage
from rolecast.values import Text


async def answered(stage: Stage, job: Job) -> str:
    """Answer as it comes; the text of it."""
    return (await stage.answer(job.written(), tell=True)).text


def end(stage: Stage, ends: str, answer: str = "") -> None:
    """Put that text below the answer, of which `answer` is what is known."""
    ends = ends.strip()
    if ends and not _plain(answer).endswith(_plain(ends)):
        stage.tell(Text(f"\n\n{ends}"))


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
