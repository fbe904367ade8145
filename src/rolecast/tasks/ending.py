"""The play of a task that only puts a text below its answer, such as a disclaimer."""

from rolecast.tasks.backstage import Backstage
from rolecast.tasks.job import Job
from rolecast.turn.stage import Stage
from rolecast.values import Text


async def ending(stage: Stage, job: Job, backstage: Backstage) -> None:
    """Answer as it comes, then the text.

    What a model adds of that kind in its own words is no promise, so ours is put below it all the same; only an answer
    that ends in our very words is left as it is.
    """
    answer = await stage.answer(job.written(), tell=True)
    ends = job.task.ends.strip()
    if not _plain(answer.text).endswith(_plain(ends)):
        stage.tell(Text(f"\n\n{ends}"))


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
