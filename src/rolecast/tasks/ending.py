"""The play of a task that only puts a text below its answer, such as a disclaimer."""

from rolecast.tasks.backstage import Backstage
from rolecast.tasks.job import Job
from rolecast.turn.stage import Stage
from rolecast.values import Text


async def ending(stage: Stage, job: Job, backstage: Backstage) -> None:
    """Answer as it comes, then the text."""
    await stage.answer(job.written(), tell=True)
    stage.tell(Text(f"\n\n{job.task.ends.strip()}"))
