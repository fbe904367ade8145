"""The tasks that Rolecast brings (`rolecast/data/tasks`), and what a configuration makes of them.

The rows are YAML, which takes long to read: they are read at their first use.
"""

from collections.abc import Mapping
from functools import cache
from importlib import resources

import msgspec

from rolecast.config import labels
from rolecast.config.document import parse
from rolecast.config.shape import Problem, build
from rolecast.config.tasks import Option, Task

UNSAID: tuple[object, ...] = ("", None, [], {})
"""What a field holds that the user did not write."""


@cache
def built_in() -> Mapping[str, Task]:
    """The tasks that Rolecast brings, by category, in the order of the categories."""
    folder = resources.files("rolecast").joinpath("data", "tasks")
    found: dict[str, Task] = {}
    for name in labels.CATEGORIES:
        place = folder.joinpath(f"{name}.yaml")
        if not place.is_file():
            continue
        faults: list[Problem] = []
        task = build(Task, parse(place.read_text(encoding="utf-8"), name=place.name).value, (), faults)
        assert task is not None and not faults, (name, faults)  # noqa: PT018  # ours: a test reads them all
        found[name] = task
    return found


def merged(own: Mapping[str, Task]) -> dict[str, Task]:
    """All tasks: those that Rolecast brings, changed by the user's own, then the user's others."""
    found = dict(built_in())
    for word, changes in own.items():
        name = labels.task_of(word)
        found[name] = _changed(found[name], changes) if name in found else changes
    return found


def _changed(task: Task, changes: Task) -> Task:
    """What the user wrote wins, field by field and option by option."""
    options = {
        name: _option(task.options[name], option) if name in task.options else option
        for name, option in changes.options.items()
    }
    return msgspec.structs.replace(task, **_said(changes, "options"), options={**task.options, **options})


def _option(option: Option, changes: Option) -> Option:
    """Likewise; of sentences by value each counts by itself."""
    fields = _said(changes)
    if isinstance(option.says, dict) and isinstance(changes.says, dict):
        fields["says"] = {**option.says, **changes.says}
    if changes.default is not None:
        fields["default"] = changes.default
    return msgspec.structs.replace(option, **fields)


def _said(changes: Task | Option, *but: str) -> dict[str, object]:
    fields = ((name, getattr(changes, name)) for name in changes.__struct_fields__ if name not in but)
    return {name: value for name, value in fields if value not in UNSAID}
