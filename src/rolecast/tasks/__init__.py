"""Tasks: kinds of work with a prompt, options and checks of their own.

A request for a task brings an `Order` (`dialects/conductor_body.py`, the tools of MCP). `Player` looks its `Task` up
(`table.py`: rows of data, changed by the configuration), reads the options into a `Job` (`job.py`), and either writes
the prompt and lets the request go its way as any chat, or gives the task's play: a coroutine on a `turn.stage.Stage`
that asks the model once or several times, checks what it says, and tells the client. Adding a task = a file in
`rolecast/data/tasks`; one that needs code besides names its row in `PLAYS`.
"""

from collections.abc import Awaitable, Callable
from importlib import import_module

from rolecast.tasks.backstage import Backstage
from rolecast.tasks.job import Job
from rolecast.turn.stage import Stage

TaskPlay = Callable[[Stage, Job, Backstage], Awaitable[None]]
"""Sees one request for a task through. Raises RolecastError."""

PLAYS: dict[str, str] = {
    "answers": "rolecast.tasks.answers:answers",
    "creative": "rolecast.tasks.creative:creative",
    "instructions": "rolecast.tasks.instructions:instructions",
    "maths": "rolecast.tasks.maths.play:maths",
    "science": "rolecast.tasks.science:science",
    "code_completion": "rolecast.tasks.code.completion:complete",
    "code_generation": "rolecast.tasks.code.generation:generate",
    "code_review": "rolecast.tasks.code.review:review",
    "translation": "rolecast.tasks.translation.play:translation",
    "image_generation": "rolecast.tasks.images:images",
    "long_context": "rolecast.tasks.long.context:play",
    "summarization": "rolecast.tasks.long.summary:play",
}
"""The plays by the name that a task has in `play`, each as `module:function`; imported with its first request."""


def play_of(name: str) -> TaskPlay:
    """The play of that name, which `PLAYS` has."""
    module, _, function = PLAYS[name].partition(":")
    found: TaskPlay = getattr(import_module(module), function)
    return found
